"""Deputies: a signer who will be away names somebody who signs in their place, for ninety days at most."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q

from coe.models import Deputy
from devices.models import Site
from portal.core import audit
from portal.core.clock import day_text, rfc3339, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import User
from portal.core.notifications import notify
from portal.core.records import entity_create, versioned_update
from portal.core.signing import StandIn

LONGEST: Final = timedelta(days=90)
MANAGE: Final = "coe.manage_people"


def in_force(now: datetime) -> Any:
    """Rows that count at this moment."""
    return Deputy.objects.filter(
        Q(revoked_at=None) | Q(revoked_at__gt=now), valid_from__lte=now, valid_until__gt=now, deputy__is_active=True
    )


def stand_ins(
    *, people: Any = None, deputy: Any = None, site: Any = None, now: datetime | None = None
) -> list[StandIn]:
    """Registered with ``portal.core.signing``. Without a site (gates of the use case) only deputies for all sites count."""
    rows = in_force(now or wall_now()).filter(Q(site=None) | Q(site=site) if site is not None else Q(site=None))
    if people is not None:
        rows = rows.filter(person__in=list(people))
    if deputy is not None:
        rows = rows.filter(deputy=deputy)
    return [
        StandIn(
            row.person_id,
            row.deputy_id,
            row.site_id,
            {
                "id": str(row.pk),
                "site": str(row.site_id) if row.site_id else None,
                "from": rfc3339(row.valid_from),
                "until": rfc3339(row.valid_until),
                "reason": row.reason,
            },
        )
        for row in rows.order_by("valid_from", "pk")
    ]


@transaction.atomic
def deputy_name(
    *,
    actor: Any,
    deputy: User,
    valid_until: datetime,
    reason: str,
    person: User | None = None,
    site: Site | None = None,
    valid_from: datetime | None = None,
) -> Deputy:
    """Name a deputy for oneself; whoever manages people names one for somebody who fell ill, but never themselves."""
    now = wall_now()
    person = person or actor
    begins = max(now, valid_from or now)
    if person.pk != actor.pk and not actor.has_perm(MANAGE):
        raise DomainError(
            "not_allowed",
            "You name deputies for yourself. For somebody else the CoE lead does: ask there.",
            errors=[{"field": "person", "message": "Leave it out to name a deputy for yourself."}],
            status=403,
        )
    wrong: dict[str, str] = {}
    if not reason.strip():
        wrong["reason"] = "Say why somebody else signs: holiday, illness, a journey."
    if deputy.pk == person.pk:
        wrong["deputy"] = "Nobody is their own deputy."
    elif deputy.pk == actor.pk:
        wrong["deputy"] = "Nobody makes themselves a deputy: ask somebody else who manages people."
    elif not deputy.is_active:
        wrong["deputy"] = "This account is not active."
    if valid_until <= begins:
        wrong["valid_until"] = "It must end in the future, after it begins."
    elif valid_until - begins > LONGEST:
        wrong["valid_until"] = f"A deputy is named for {LONGEST.days} days at most. Appoint somebody for longer."
    if wrong:
        raise InvalidInput(wrong)
    # Serialises two namings of one person, so that they see each other.
    User.objects.select_for_update().get(pk=person.pk)
    same = Deputy.objects.filter(
        person=person, deputy=deputy, site=site, revoked_at=None, valid_from__lt=valid_until, valid_until__gt=begins
    )
    if same.exists():
        raise DomainError("named_already", f"{deputy} is named as deputy of {person} in that time already.")
    row = entity_create(
        actor=actor,
        model=Deputy,
        data={
            "person": person,
            "deputy": deputy,
            "site": site,
            "valid_from": begins,
            "valid_until": valid_until,
            "reason": reason.strip(),
        },
    )
    where = f" for {site}" if site is not None else " for all sites"
    notify(
        user_ids=[deputy.pk, person.pk],
        kind="deputy",
        text=f"{deputy} signs gates in the place of {person}{where}, {day_text(begins)} to {day_text(valid_until)}: {reason.strip()}",
        url=row.get_absolute_url(),
        dedupe_key=f"deputy:{row.pk}",
        mail=True,
    )
    return row


@transaction.atomic
def deputy_revoke(*, actor: Any, deputy: Deputy, expected_version: int | None = None) -> Deputy:
    """From now on the deputy signs nothing in that place. What was signed before stays signed."""
    now = wall_now()
    if deputy.revoked_at is not None or deputy.valid_until <= now:
        raise DomainError("wrong_state", "This has ended already.")
    versioned_update(
        deputy,
        expected_version=expected_version,
        where={"revoked_at": None},
        revoked_at=now,
        revoked_by=actor if getattr(actor, "is_authenticated", False) else None,
    )
    audit.record(
        actor=actor,
        action="deputy.revoke",
        obj=deputy,
        changes={"person": deputy.person_id, "deputy": deputy.deputy_id},
    )
    notify(
        user_ids=[deputy.deputy_id, deputy.person_id],
        kind="deputy",
        text=f"{deputy.deputy} no longer signs in the place of {deputy.person}.",
        url=deputy.get_absolute_url(),
        dedupe_key=f"deputy-end:{deputy.pk}",
    )
    return deputy
