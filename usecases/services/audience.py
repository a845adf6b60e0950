"""Who is concerned by a gate: who sees it, who signs it, who is told, and who stands in for whom."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q

from portal.core import signing
from portal.core.models import RoleGrant, User
from portal.core.notifications import notify, reach
from portal.core.roles import SITE
from usecases.gate_rules import SIGNERS, SignerSlot, slots_filled
from usecases.measuring import last_passed_review
from usecases.models import Adoption, Gate, GateReview


def _holding(gate: Gate, verb: str) -> Q:
    held = reach(gate.use_case, verb)
    return held if gate.adoption is None else held | reach(gate.adoption.site, verb)


def _holders(gate: Gate, verb: str) -> set[Any]:
    return set(User.objects.filter(_holding(gate, verb), is_active=True).values_list("pk", flat=True))


def who_see(gate: Gate) -> Any:
    """Active people who may see the gate: those who can be mentioned on it and can own what it asks for. One query."""
    seeing = User.objects.filter(_holding(gate, "view") | Q(is_superuser=True), is_active=True)
    return User.objects.filter(pk__in=seeing.values("pk")).order_by("name", "email")


def plant_managers(gate: Gate) -> list[Any]:
    """Ids of the managers of the plant of the gate; of a use case's gate, of every plant that adopted it."""
    if gate.adoption is not None:
        sites = [gate.adoption.site_id]
    else:
        sites = list(Adoption.objects.filter(use_case=gate.use_case_id).values_list("site_id", flat=True))
    rows = RoleGrant.objects.filter(role="plant_manager", container=SITE, container_id__in=sites, user__is_active=True)
    return list(rows.values_list("user_id", flat=True))


def concerned(gate: Gate) -> list[Any]:
    """Owner, sponsor, who may sign, the signers of the last decision (their deputies too), and the plant's manager."""
    people = _holders(gate, "sign") | set(plant_managers(gate))
    people |= {gate.use_case.owner_id, gate.use_case.sponsor_id}
    review = last_passed_review(gate)
    if review is not None:
        for user_id, other_id in review.signatures.values_list("user_id", "on_behalf_of_id"):
            people |= {user_id, other_id}
    return sorted(people - {None})


def tell(gate: Gate, text: str, key: str, *, anchor: str = "", mail: bool = False) -> None:
    notify(
        user_ids=concerned(gate),
        kind="gate",
        text=text,
        url=gate.get_absolute_url() + anchor,
        dedupe_key=key,
        mail=mail,
    )


def site_of(gate: Gate) -> Any:
    return gate.adoption.site if gate.adoption is not None else None


def _fits(slot: SignerSlot, roles: set[str], *, sponsor: bool) -> bool:
    return bool(slot.roles & roles) or (slot.sponsor and sponsor)


def missing_slots(review: GateReview, signed: Iterable[Any]) -> list[SignerSlot]:
    filled = slots_filled(review.gate.number, signed)
    return [slot for slot in SIGNERS[review.gate.number] if filled[slot.key] is None]


def wanted_signers(review: GateReview, slots: Iterable[SignerSlot]) -> dict[Any, list[SignerSlot]]:
    """Ids of those who may still fill one of these places, with the places. Who has signed, or been signed for, is not asked again."""
    gate = review.gate
    done = {pk for pair in review.signatures.values_list("user_id", "on_behalf_of_id") for pk in pair if pk}
    people = _holders(gate, "sign") - done
    roles: dict[Any, set[str]] = {pk: set() for pk in people}
    for pk, role in User.objects.filter(pk__in=people).values_list("pk", "groups__name"):
        roles[pk].add(role or "")
    found: dict[Any, list[SignerSlot]] = {}
    for pk in sorted(people):
        fits = [slot for slot in slots if _fits(slot, roles[pk], sponsor=pk == gate.use_case.sponsor_id)]
        if fits:
            found[pk] = fits
    return found


def deputies_of(people: Iterable[Any], gate: Gate, now: datetime) -> list[signing.StandIn]:
    return signing.stand_ins(people=list(people), site=site_of(gate), now=now)
