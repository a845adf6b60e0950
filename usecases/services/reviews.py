"""Gate reviews: freeze the evidence, collect signatures on its hash, decide, and move the phase."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from portal.core import audit, signing
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state, versioned_update
from usecases import evidence as registry
from usecases import measuring, signals
from usecases.choices import Decision, GateState, Phase, ReviewState, UseCaseState
from usecases.domain import gates as domain
from usecases.domain import snapshot as frozen
from usecases.gate_rules import CONDITION_SPAN, PASSED, REVIEWABLE, SIGNERS, Signed, slots_filled
from usecases.models import Adoption, Gate, GateReview, Signature, UseCase
from usecases.services.gates import decisions_allowed, gate_measure, gates_remeasure
from usecases.services.outcomes import baseline_freeze

_STATE_AFTER = {
    Decision.GO: GateState.PASSED,
    Decision.CONDITIONAL_GO: GateState.CONDITIONAL,
    Decision.HOLD: GateState.HELD,
    Decision.RECYCLE: GateState.OPEN,
    Decision.KILL: GateState.KILLED,
}


def signing_kind(gate: Gate) -> str:
    return f"gate_{gate.number}"


def _site(gate: Gate) -> Any:
    return gate.adoption.site if gate.adoption is not None else None


def gate_before(gate: Gate) -> Gate | None:
    """The gate that must be passed first; None for gate 1. Gate 5 follows the best adoption's gate 4."""
    if gate.number == 1:
        return None
    rows = Gate.objects.filter(use_case_id=gate.use_case_id, number=gate.number - 1)
    if gate.number in (3, 4):
        return rows.filter(adoption=gate.adoption_id).first()
    return rows.filter(state__in=PASSED).first() or rows.first()


@transaction.atomic
def review_open(*, actor: Any, gate: Gate) -> GateReview:
    """Measure once more and freeze what the decision will be taken on. Signatures go under its hash."""
    if gate.state not in REVIEWABLE:
        raise DomainError(
            "wrong_state",
            f"This gate is {gate.get_state_display().lower()}: a review needs an open, held or reopened gate.",
            {"state": gate.state},
        )
    now = wall_now()
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
    )
    try:
        with transaction.atomic():
            review.save(force_insert=True)
    except IntegrityError as error:
        raise DomainError("review_open", "A review of this gate is open already.") from error
    audit.record(actor=actor, action="review.open", obj=review, changes={"sha256": made.sha256})
    people = set(people_who_may(gate.use_case, "sign"))
    if gate.adoption is not None:
        people |= set(people_who_may(gate.adoption.site, "sign"))
    notify(
        user_ids=people - {actor.pk},
        kind="review",
        text=f"{review} waits for signatures.",
        url=review.get_absolute_url(),
        dedupe_key=f"review:{review.pk}",
    )
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
    *, actor: Any, review: GateReview, approves: bool = True, statement: str = "", expected_version: int | None = None
) -> Signature:
    """Sign the frozen snapshot, for or against. The appointment and certificate it rests on are frozen with it."""
    gate = review.gate
    if review.state != ReviewState.OPEN:
        raise DomainError("wrong_state", "This review is over; nobody can sign it any more.", {"state": review.state})
    if not approves and not statement.strip():
        raise InvalidInput({"statement": "Say why you do not approve."})
    if not review_intact(review):
        raise DomainError("snapshot_changed", "The stored evidence does not match its hash: nobody can sign it.")
    now = wall_now()
    verdict = signing.may_sign(user=actor, kind=signing_kind(gate), site=_site(gate), now=now)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, {"kind": signing_kind(gate)}, status=403)
    # The version of the review rises with each signature, so that nobody decides on fewer than they saw.
    versioned_update(review, expected_version=expected_version, where={"state": ReviewState.OPEN})
    roles = sorted(_words(verdict))
    try:
        with transaction.atomic():
            signature = Signature.objects.create(
                review=review,
                user=actor,
                role=(verdict.role or ", ".join(actor.role_keys))[:60],
                approves=approves,
                statement=statement.strip(),
                snapshot_sha256=review.snapshot_sha256,
                basis={**verdict.basis, "reason": verdict.reason, "roles": roles},
                signed_at=now,
            )
    except IntegrityError as error:
        raise DomainError("signed_already", "You have signed this already.") from error
    audit.record(
        actor=actor,
        action="review.sign",
        obj=review,
        changes={"approves": approves, "role": verdict.role, "sha256": review.snapshot_sha256, "basis": verdict.basis},
    )
    return signature


def _words(verdict: signing.SigningVerdict) -> set[str]:
    """Role keys the verdict speaks for, and no others: holding a role is not yet being allowed to sign in it."""
    named = {str(verdict.basis.get(name, "")) for name in ("role", "role_key")} | {verdict.role}
    named |= {str(key) for key in verdict.basis.get("portal_roles", ())}
    return {word.strip().lower().replace(" ", "_") for word in named if word}


def signatures_of(review: GateReview) -> list[Signed]:
    sponsor = review.gate.use_case.sponsor_id
    return [
        Signed(s.user_id, frozenset(s.basis.get("roles", ())), s.approves, s.user_id == sponsor)
        for s in review.signatures.all()
    ]


def missing_signatures(review: GateReview) -> list[str]:
    """Labels of the slots nobody has filled yet."""
    filled = slots_filled(review.gate.number, signatures_of(review))
    return [str(slot.label) for slot in SIGNERS[review.gate.number] if filled[slot.key] is None]


@transaction.atomic
def review_decide(
    *,
    actor: Any,
    review: GateReview,
    decision: str,
    note: str = "",
    conditions: str = "",
    conditions_due: datetime | None = None,
    expected_version: int | None = None,
) -> GateReview:
    """Go, conditional go, hold, recycle or kill, on the evidence as frozen. Moves the gate and the phase."""
    gate = review.gate
    now = wall_now()
    chosen = Decision(decision)
    if expected_version is not None and review.version != expected_version:
        raise StaleWrite
    if review.state != ReviewState.OPEN:
        raise DomainError("wrong_state", "This review is decided already.", {"state": review.state})
    if not review_intact(review):
        raise DomainError(
            "snapshot_changed", "The stored evidence does not match its hash: nothing can be decided on it."
        )
    verdict = signing.may_sign(user=actor, kind=signing_kind(gate), site=_site(gate), now=now)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, {"kind": signing_kind(gate)}, status=403)
    if chosen in {Decision.GO, Decision.CONDITIONAL_GO}:
        _check_go(gate, review, chosen, now)
    elif not note.strip():
        raise InvalidInput({"note": "Say why, so that whoever reads this later knows what to change."})
    if chosen == Decision.CONDITIONAL_GO:
        if not conditions.strip():
            raise InvalidInput({"conditions": "Name the conditions."})
        conditions_due = conditions_due or now + CONDITION_SPAN
        if conditions_due <= now:
            raise InvalidInput({"conditions_due": "The date must lie in the future."})
    else:
        conditions, conditions_due = "", None
    try:
        # The version as it was read: a signature that came since, perhaps against it, is no part of what this rests on.
        change_state(
            review,
            old=ReviewState.OPEN,
            new=ReviewState.DECIDED,
            expected_version=review.version,
            decision=chosen,
            note=note.strip(),
            conditions=conditions.strip(),
            conditions_due=conditions_due,
            decided_at=now,
            decided_by=actor,
        )
        change_state(gate, old=(*REVIEWABLE, GateState.PASSED), new=_STATE_AFTER[chosen], decided_at=now)
    except DomainError as error:
        if error.extra.get("state") == ReviewState.OPEN:
            raise StaleWrite from error
        raise DomainError("decided_meanwhile", "Somebody decided this gate a moment ago.", error.extra) from error
    audit.record(
        actor=actor,
        action="review.decide",
        obj=review,
        changes={"decision": chosen, "note": note, "sha256": review.snapshot_sha256, "basis": verdict.basis},
    )
    _move(gate, chosen, actor)
    signals.gate_decided.send(sender=Gate, gate=gate, review=review)
    gates_remeasure(use_case=gate.use_case_id)
    return review


def _check_go(gate: Gate, review: GateReview, chosen: Decision, now: datetime) -> None:
    option = next(o for o in decisions_allowed(review.snapshot) if o.decision == chosen.value)
    if not option.allowed:
        raise DomainError(
            option.why,
            f"{chosen.label} is not possible: {why_not(option)}",
            {"criteria": list(option.criteria)},
        )
    before = gate_before(gate)
    if before is not None and before.state not in PASSED:
        raise DomainError("earlier_gate", f"{before} must be passed first; it is {before.get_state_display().lower()}.")
    current = [row.result for row in gate_measure(gate=gate, now=now)]
    then = domain.frozen_criteria(review.snapshot)
    worse = [r.key for r in domain.regressions(then, current) if then[r.key].required]
    if worse:
        raise DomainError(
            "evidence_regressed",
            f"Since the evidence was frozen this is no longer met: {labels(worse)}. Withdraw this review and open a new one.",
            {"criteria": worse},
        )
    against = [str(s.user) for s in review.signatures.select_related("user") if not s.approves]
    if against:
        raise DomainError("signed_against", f"{', '.join(against)} signed against it.", {"against": against})
    missing = missing_signatures(review)
    if missing:
        raise DomainError("signatures_missing", f"Still to sign: {', '.join(missing)}.", {"missing": missing})


def labels(keys: Any) -> str:
    return ", ".join(str(spec.label) if (spec := registry.spec(key)) else key for key in keys)


def why_not(option: domain.DecisionOption) -> str:
    return {
        "criteria_open": f"still open: {labels(option.criteria)}.",
        "safety_open": f"a safety criterion is open: {labels(option.criteria)}.",
        "too_many_conditions": f"more than {domain.MAX_CONDITIONS} criteria are open: {labels(option.criteria)}.",
        "nothing_proven": "no criterion of this gate is met yet, so nothing is proven.",
    }.get(option.why, "the evidence does not allow it.")


def _move(gate: Gate, decision: Decision, actor: Any) -> None:
    if decision in {Decision.GO, Decision.CONDITIONAL_GO}:
        _advance(gate, actor)
    elif decision == Decision.KILL and gate.adoption_id is None:
        _use_case_state(gate.use_case, UseCaseState.KILLED, actor)
    elif decision == Decision.HOLD and gate.number == Phase.ALIGN:
        _use_case_state(gate.use_case, UseCaseState.HELD, actor)


def _use_case_state(use_case: UseCase, state: UseCaseState, actor: Any) -> None:
    old = use_case.state
    if old != state:
        versioned_update(use_case, where={"state": old}, state=state)
        audit.record(actor=actor, action=f"usecase.{state}", obj=use_case, changes={"state": [old, state]})


def _advance(gate: Gate, actor: Any) -> None:
    """A passed gate ends its phase: the next gate opens, and the phase rises (it never falls)."""
    use_case = gate.use_case
    if use_case.state == UseCaseState.HELD and gate.number == Phase.ALIGN:
        _use_case_state(use_case, UseCaseState.ACTIVE, actor)
    if gate.number == Phase.ALIGN:
        Gate.objects.filter(use_case=use_case, number=2, state=GateState.CLOSED).update(state=GateState.OPEN)
    elif gate.number in (2, 3):
        Gate.objects.filter(adoption=gate.adoption_id, number=gate.number + 1, state=GateState.CLOSED).update(
            state=GateState.OPEN
        )
    elif gate.number == 4:
        Gate.objects.filter(use_case=use_case, number=5, state=GateState.CLOSED).update(state=GateState.OPEN)
    reached = min(gate.number + 1, int(Phase.MONETISE))
    if gate.adoption is not None and gate.adoption.phase < reached:
        _raise_phase(gate.adoption, reached, actor)
    if use_case.phase < reached:
        _raise_phase(use_case, reached, actor)
    if gate.number == Phase.ALIGN:
        for adoption in Adoption.objects.filter(use_case=use_case, phase=Phase.ALIGN).order_by("pk"):
            _raise_phase(adoption, reached, actor)
    if gate.number == 4 and not use_case.pursue_monetisation:
        _use_case_state(use_case, UseCaseState.FINISHED, actor)


def _raise_phase(obj: UseCase | Adoption, phase: int, actor: Any) -> None:
    old = obj.phase
    versioned_update(obj, where={"phase": old}, phase=phase)
    audit.record(actor=actor, action=f"{obj._meta.model_name}.phase", obj=obj, changes={"phase": [old, phase]})


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


def review_verify(review: GateReview) -> dict[str, Any]:
    """Hash the stored evidence again and compare. ``{"valid", "stored", "computed", "signatures": [...]}``."""
    computed = frozen.digest(review.snapshot)
    signatures = [
        {"user": str(s.user), "role": s.role, "approves": s.approves, "same_hash": s.snapshot_sha256 == computed}
        for s in review.signatures.select_related("user")
    ]
    return {
        "valid": review_intact(review) and all(s["same_hash"] for s in signatures),
        "stored": review.snapshot_sha256,
        "computed": computed,
        "text_matches": frozen.canonical_json(review.snapshot) == review.snapshot_text,
        "signatures": signatures,
    }


@transaction.atomic
def use_case_not_pursue(*, actor: Any, use_case: UseCase, reason: str) -> UseCase:
    """Leave phase 5 out: the use case is finished after phase 4, not unfinished."""
    if not reason.strip():
        raise InvalidInput({"reason": "Say why it will not be sold."})
    gate = Gate.objects.get(use_case=use_case, number=5)
    change_state(gate, old=(GateState.CLOSED, GateState.OPEN, GateState.HELD), new=GateState.NOT_PURSUED)
    versioned_update(use_case, pursue_monetisation=False)
    audit.record(actor=actor, action="usecase.not_pursue", obj=use_case, changes={"reason": reason})
    if Gate.objects.filter(use_case=use_case, number=4, state__in=PASSED).exists():
        _use_case_state(use_case, UseCaseState.FINISHED, actor)
    return use_case
