"""Gate reviews: freeze the evidence, collect signatures on its hash, and verify it later. ``decisions`` takes the decision."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from portal.core import audit, signing
from portal.core.access import may
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import User
from portal.core.notifications import notify
from portal.core.records import change_state, versioned_update
from usecases import measuring
from usecases.choices import GateState, Phase, ReviewState, UseCaseState
from usecases.domain import gates as domain
from usecases.domain import snapshot as frozen
from usecases.gate_rules import PASSED, REVIEWABLE, SIGNERS, Signed, slots_filled
from usecases.models import Gate, GateReview, Signature
from usecases.services.audience import deputies_of, site_of, wanted_signers
from usecases.services.gates import gate_measure
from usecases.services.outcomes import baseline_freeze

#: Signatures may be wanted within this long.
LONGEST_WAIT = timedelta(days=180)


def signing_kind(gate: Gate) -> str:
    return f"gate_{gate.number}"


def gate_in_the_way(gate: Gate) -> Gate | None:
    """The first earlier gate that stops a go: the one before it unless it is passed, and any that is reopened or killed.

    Gate 5 follows the best adoption's gate 4.
    """
    if gate.number == Phase.ALIGN:
        return None
    rows = Gate.objects.filter(use_case_id=gate.use_case_id, number__lt=gate.number).order_by("number", "pk")
    earlier = list(rows.select_related("use_case", "adoption__use_case", "adoption__site"))
    if gate.number == Phase.MONETISE:
        fourth = [g for g in earlier if g.number == gate.number - 1]
        best = next((g for g in fourth if g.state in PASSED), fourth[0] if fourth else None)
        earlier = [g for g in earlier if g.adoption_id is None or g == best]
    else:
        earlier = [g for g in earlier if g.adoption_id in (None, gate.adoption_id)]
    for other in earlier:
        over = other.state in {GateState.REOPENED, GateState.KILLED}
        if over or (other.number == gate.number - 1 and other.state not in PASSED):
            return other
    return None


def passed_first(other: Gate) -> str:
    return f"{other} must be passed first; it is {other.get_state_display().lower()}."


def _wanted_by(moment: datetime | None, now: datetime) -> datetime:
    if moment is None:
        return now + timedelta(days=settings.GATE_SIGNATURES_DAYS)
    if not now < moment <= now + LONGEST_WAIT:
        raise InvalidInput({"signatures_due": f"The date must lie in the future, within {LONGEST_WAIT.days} days."})
    return moment


@transaction.atomic
def review_open(*, actor: Any, gate: Gate, signatures_due: datetime | None = None) -> GateReview:
    """Measure once more and freeze what the decision will be taken on. Signatures go under its hash."""
    if gate.use_case.state == UseCaseState.KILLED:
        raise DomainError("wrong_state", "This use case was killed: there is nothing left to decide.")
    if gate.adoption_id and Gate.objects.filter(adoption=gate.adoption_id, state=GateState.KILLED).exists():
        raise DomainError("wrong_state", "This adoption was killed: there is nothing left to decide.")
    if gate.state not in REVIEWABLE:
        raise DomainError(
            "wrong_state",
            f"This gate is {gate.get_state_display().lower()}: a review needs an open, held or reopened gate.",
            {"state": gate.state},
        )
    now = wall_now()
    wanted_by = _wanted_by(signatures_due, now)
    if gate.number == Phase.ALIGN:
        baseline_freeze(use_case=gate.use_case, now=now, actor=actor)
    rows = gate_measure(gate=gate, now=now)
    made = domain.freeze_evidence((row.result for row in rows), now=now, context=_context(gate, rows))
    review = GateReview(
        gate=gate,
        opened_by=actor,
        snapshot=made.document,
        snapshot_text=frozen.canonical_json(made.document),
        snapshot_sha256=made.sha256,
        signatures_due=wanted_by,
    )
    try:
        with transaction.atomic():
            review.save(force_insert=True)
    except IntegrityError as error:
        raise DomainError("review_open", "A review of this gate is open already.") from error
    audit.record(
        actor=actor, action="review.open", obj=review, changes={"sha256": made.sha256, "signatures_due": wanted_by}
    )
    people = set(wanted_signers(review, SIGNERS[gate.number]))
    people |= {s.deputy_id for s in deputies_of(people, gate, now)}
    notify(
        user_ids=people - {actor.pk},
        kind="review",
        text=f"{review} waits for signatures until {day_text(wanted_by.date())}.",
        url=review.get_absolute_url(),
        dedupe_key=f"review:{review.pk}",
        mail=True,
    )
    return review


@transaction.atomic
def review_want_by(
    *, actor: Any, review: GateReview, signatures_due: datetime, expected_version: int | None = None
) -> GateReview:
    """Another date by which signatures are wanted; reminders follow it."""
    if review.state != ReviewState.OPEN:
        raise DomainError("wrong_state", "This review is over; nobody signs it any more.", {"state": review.state})
    before, after = review.signatures_due, _wanted_by(signatures_due, wall_now())
    versioned_update(review, expected_version=expected_version, where={"state": ReviewState.OPEN}, signatures_due=after)
    audit.record(actor=actor, action="review.want_by", obj=review, changes={"signatures_due": [before, after]})
    return review


def _context(gate: Gate, rows: list[measuring.Measured]) -> dict[str, Any]:
    use_case, adoption = gate.use_case, gate.adoption
    return {
        "gate": {"id": gate.pk, "number": gate.number},
        "use_case": {"id": use_case.pk, "code": use_case.code, "title": use_case.title},
        "adoption": None
        if adoption is None
        else {
            "id": adoption.pk,
            "site": {"id": adoption.site_id, "name": adoption.site.name},
            "location": str(adoption.location) if adoption.location else None,
            "scope": adoption.scope,
        },
        "criteria": {
            row.spec.key: {
                "label": str(row.spec.label),
                "owner": str(row.spec.owner),
                "said": measuring.in_words(row),
                "plant_at": row.said.plant_at,
            }
            for row in rows
        },
    }


@transaction.atomic
def review_sign(
    *,
    actor: Any,
    review: GateReview,
    approves: bool = True,
    statement: str = "",
    on_behalf_of: Any = None,
    expected_version: int | None = None,
) -> Signature:
    """Sign the frozen snapshot, for or against, as oneself or as somebody's deputy. What the right rests on is frozen with it."""
    gate = review.gate
    if review.state != ReviewState.OPEN:
        raise DomainError("wrong_state", "This review is over; nobody can sign it any more.", {"state": review.state})
    if not approves and not statement.strip():
        raise InvalidInput({"statement": "Say why you do not approve."})
    if not review_intact(review):
        raise DomainError("snapshot_changed", "The stored evidence does not match its hash: nobody can sign it.")
    now = wall_now()
    other = on_behalf_of if on_behalf_of is not None and on_behalf_of.pk != actor.pk else None
    verdict = _verdict(actor, other, review, now)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, {"kind": signing_kind(gate)}, status=403)
    # The version of the review rises with each signature, so that nobody decides on fewer than they saw. The row is held from
    # here on: of two who sign for one person at once, the second sees the first.
    versioned_update(review, expected_version=expected_version, where={"state": ReviewState.OPEN})
    _place_free(actor, other, review)
    try:
        with transaction.atomic():
            signature = Signature.objects.create(
                review=review,
                user=actor,
                on_behalf_of=other,
                role=(verdict.role or ", ".join(actor.role_keys))[:60],
                approves=approves,
                statement=statement.strip(),
                snapshot_sha256=review.snapshot_sha256,
                basis={**verdict.basis, "reason": verdict.reason, "roles": sorted(_words(verdict))},
                signed_at=now,
            )
    except IntegrityError as error:
        raise DomainError("signed_already", "You have signed this already.") from error
    audit.record(
        actor=actor,
        action="review.sign",
        obj=review,
        changes={
            "approves": approves,
            "role": verdict.role,
            "on_behalf_of": other,
            "sha256": review.snapshot_sha256,
            "basis": verdict.basis,
        },
    )
    if other is not None:
        notify(
            user_ids=[other.pk],
            kind="review",
            text=f"{actor} signed {review} in your place, {'for' if approves else 'against'} it.",
            url=review.get_absolute_url(),
            dedupe_key=f"signed-for:{signature.pk}",
        )
    return signature


def _verdict(actor: Any, other: Any, review: GateReview, now: datetime) -> signing.SigningVerdict:
    gate, kind = review.gate, signing_kind(review.gate)
    if other is None:
        return signing.may_sign(user=actor, kind=kind, site=site_of(gate), now=now)
    if not may(review, other, "sign"):
        return signing.SigningVerdict(False, f"{other} could not sign this either, so nobody can for them.")
    return signing.may_sign_for(deputy=actor, person=other, kind=kind, site=site_of(gate), now=now)


def _place_free(actor: Any, other: Any, review: GateReview) -> None:
    """Each person fills one place, by their own hand or a deputy's."""
    person = other or actor
    for signed in review.signatures.select_related("user", "on_behalf_of"):
        if signed.user_id == actor.pk:
            raise DomainError("signed_already", "You have signed this already.")
        if signed.person_id == person.pk:
            whose = "You have" if other is None else f"{other} has"
            by = f" by {signed.user}" if signed.on_behalf_of_id else ""
            raise DomainError("signed_for_already", f"{whose} been signed for already{by}; one person fills one place.")


def signed_by(signature: Signature) -> str:
    """The hand, and whose place it filled."""
    return f"{signature.user} for {signature.on_behalf_of}" if signature.on_behalf_of_id else str(signature.user)


def may_sign_as(*, actor: Any, review: GateReview) -> list[tuple[Any, signing.SigningVerdict]]:
    """Whose signature this person may give now: their own (None), and those they stand in for, each with its verdict."""
    now = wall_now()
    found: list[tuple[Any, signing.SigningVerdict]] = [(None, _verdict(actor, None, review, now))]
    others = signing.stand_ins(deputy=actor, site=site_of(review.gate), now=now)
    if others:
        taken = {s.person_id for s in review.signatures.all()}
        people = User.objects.filter(pk__in={s.person_id for s in others} - taken, is_active=True)
        found += [(person, _verdict(actor, person, review, now)) for person in people.order_by("name", "email")]
    return found


def _words(verdict: signing.SigningVerdict) -> set[str]:
    """Role keys the verdict speaks for, and no others: holding a role is not yet being allowed to sign in it. A deputy speaks
    for the roles of the person stood in for."""
    whose = verdict.basis.get("signed_for")
    basis = whose["basis"] if whose else verdict.basis
    named = {str(basis.get(name, "")) for name in ("role", "role_key")} | {verdict.role}
    named |= {str(key) for key in basis.get("portal_roles", ())}
    return {word.strip().lower().replace(" ", "_") for word in named if word}


def signatures_of(review: GateReview) -> list[Signed]:
    sponsor = review.gate.use_case.sponsor_id
    return [
        Signed(s.person_id, frozenset(s.basis.get("roles", ())), s.approves, s.person_id == sponsor)
        for s in review.signatures.all()
    ]


def missing_signatures(review: GateReview) -> list[str]:
    """Labels of the slots nobody has filled yet."""
    filled = slots_filled(review.gate.number, signatures_of(review))
    return [str(slot.label) for slot in SIGNERS[review.gate.number] if filled[slot.key] is None]


@transaction.atomic
def review_withdraw(*, actor: Any, review: GateReview, reason: str = "", expected_version: int | None = None) -> None:
    """Close a review without a decision: its evidence is out of date, or it was opened too early."""
    if expected_version is not None and review.version != expected_version:
        raise StaleWrite
    change_state(review, old=ReviewState.OPEN, new=ReviewState.WITHDRAWN, note=reason.strip())
    audit.record(actor=actor, action="review.withdraw", obj=review, changes={"reason": reason})


def review_intact(review: GateReview) -> bool:
    """Whether the stored document, its text and its hash still agree."""
    return frozen.verify(review.snapshot, review.snapshot_sha256) and (
        frozen.canonical_json(review.snapshot) == review.snapshot_text
    )


def differences(then: Any, now: Any, path: str = "$") -> list[str]:
    """Where two documents differ, as paths, with both values; the first twenty."""
    found: list[str] = []
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            found += differences(then.get(key), now.get(key), f"{path}.{key}")
    elif isinstance(then, list) and isinstance(now, list):
        for at in range(max(len(then), len(now))):
            mine = then[at] if at < len(then) else None
            other = now[at] if at < len(now) else None
            named = next((row["key"] for row in (mine, other) if isinstance(row, dict) and "key" in row), at)
            found += differences(mine, other, f"{path}[{named}]")
    elif then != now or type(then) is not type(now):
        found.append(f"{path}: {_brief(then)} → {_brief(now)}")
    return found[:20]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def review_verify(review: GateReview) -> dict[str, Any]:
    """Hash the stored text and the stored document again, compare both with the hash that was signed, and say what differs."""
    computed = frozen.digest(review.snapshot)
    of_text = hashlib.sha256(review.snapshot_text.encode()).hexdigest()
    signatures = [
        {
            "user": str(s.user),
            "on_behalf_of": str(s.on_behalf_of) if s.on_behalf_of_id else "",
            "role": s.role,
            "approves": s.approves,
            "same_hash": s.snapshot_sha256 == computed,
        }
        for s in review.signatures.select_related("user", "on_behalf_of")
    ]
    return {
        "valid": review_intact(review) and all(s["same_hash"] for s in signatures),
        "stored": review.snapshot_sha256,
        "computed": computed,
        "of_text": of_text,
        "text_matches": frozen.canonical_json(review.snapshot) == review.snapshot_text,
        "differences": _of_texts(review.snapshot_text, review.snapshot),
        "signatures": signatures,
    }


def _of_texts(text: str, document: Any) -> list[str]:
    try:
        return differences(json.loads(text), document)
    except ValueError:
        return ["$: the stored text is no JSON"]


def document_check(review: GateReview, content: bytes) -> dict[str, Any]:
    """Whether a copy is the document that was signed: byte by byte, or at least in every value. Says where it differs, or in
    ``problem`` why nothing can be compared."""
    digest = hashlib.sha256(content).hexdigest()
    same_bytes = hmac.compare_digest(digest, review.snapshot_sha256)
    answer = {"same_bytes": same_bytes, "same_values": same_bytes, "sha256": digest, "differences": [], "problem": ""}
    if same_bytes:
        return answer
    try:
        found = json.loads(content.decode("utf-8-sig"))
        return answer | {
            "same_values": frozen.verify(found, review.snapshot_sha256),
            "differences": differences(review.snapshot, found),
        }
    except (ValueError, RecursionError):
        return answer | {"problem": "This is no JSON document."}
