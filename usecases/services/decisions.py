"""The decision on a gate: go, conditional go, hold, recycle or kill, on the evidence as frozen, and what each moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from portal.core import audit, signing
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.notifications import notify
from portal.core.records import change_state, versioned_update
from usecases import evidence as registry
from usecases import measuring, signals
from usecases.choices import ConditionKind, Decision, GateState, Phase, ReviewState, UseCaseState
from usecases.domain import gates as domain
from usecases.gate_rules import CONDITION_SPAN, LONGEST_WAIVER, PASSED, REVIEWABLE
from usecases.models import Adoption, Gate, GateCondition, GateReview, UseCase
from usecases.services.audience import site_of, tell, who_see
from usecases.services.gates import decisions_allowed, gate_measure, gates_remeasure
from usecases.services.reviews import (
    gate_in_the_way,
    missing_signatures,
    passed_first,
    review_intact,
    review_withdraw,
    signed_by,
    signing_kind,
)

_STATE_AFTER = {
    Decision.GO: GateState.PASSED,
    Decision.CONDITIONAL_GO: GateState.CONDITIONAL,
    Decision.HOLD: GateState.HELD,
    Decision.RECYCLE: GateState.OPEN,
    Decision.KILL: GateState.KILLED,
}


@dataclass(frozen=True)
class Term:
    """What a decision asks for: a criterion (``key``) or a sentence, who sees to it, and by when."""

    key: str = ""
    text: str = ""
    owner: Any = None
    due_at: datetime | None = None


def name_to_type(gate: Gate) -> str:
    """What somebody types who kills this gate."""
    return str(gate.adoption or gate.use_case)


def _same_name(typed: str, name: str) -> bool:
    return " ".join(typed.split()).casefold() == " ".join(name.split()).casefold()


@transaction.atomic
def review_decide(
    *,
    actor: Any,
    review: GateReview,
    decision: str,
    note: str = "",
    conditions: str = "",
    conditions_due: datetime | None = None,
    terms: Sequence[Term] = (),
    confirm: str = "",
    expected_version: int | None = None,
) -> GateReview:
    """Go, conditional go, hold, recycle or kill, on the evidence as frozen. Moves the gate and the phase.

    ``terms``: the conditions of a conditional go, or what a recycle sends back; open criteria that nobody named are added.
    ``confirm``: the name of what a kill ends, because there is no way back.
    """
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
    verdict = signing.may_sign(user=actor, kind=signing_kind(gate), site=site_of(gate), now=now)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, {"kind": signing_kind(gate)}, status=403)
    if chosen in {Decision.GO, Decision.CONDITIONAL_GO}:
        _check_go(gate, review, chosen, now)
    elif not note.strip():
        raise InvalidInput({"note": "Say why, so that whoever reads this later knows what to change."})
    if chosen == Decision.KILL and not _same_name(confirm, name_to_type(gate)):
        raise InvalidInput({"confirm": f"There is no way back: type “{name_to_type(gate)}” to kill it."})
    if chosen == Decision.CONDITIONAL_GO and not conditions.strip() and not terms:
        raise InvalidInput({"conditions": "Name the conditions."})
    asked: list[Term] = []
    if chosen in {Decision.CONDITIONAL_GO, Decision.RECYCLE}:
        asked = _asked(gate, review, chosen, terms, conditions.strip(), conditions_due, note.strip(), actor, now)
    if chosen == Decision.CONDITIONAL_GO:
        conditions_due = min(term.due_at for term in asked if term.due_at is not None)
        conditions = conditions.strip() or "; ".join(_said(term) for term in asked)
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
            conditions=conditions,
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
    _ask(review, chosen, asked, actor)
    _move(gate, chosen, actor)
    told = f"{actor} decided {gate}: {chosen.label}."
    tell(gate, f"{told} {note.strip()}".strip(), f"decided:{review.pk}", mail=True)
    signals.gate_decided.send(sender=Gate, gate=gate, review=review)
    gates_remeasure(use_case=gate.use_case_id)
    return review


def _said(term: Term) -> str:
    by = f", by {day_text(term.due_at.date())}" if term.due_at is not None else ""
    return f"{term.text or labels([term.key])}: {term.owner}{by}"


def _asked(
    gate: Gate,
    review: GateReview,
    chosen: Decision,
    terms: Sequence[Term],
    text: str,
    due: datetime | None,
    note: str,
    actor: Any,
    now: datetime,
) -> list[Term]:
    """The terms as they are kept: every open criterion has one, each with an owner who sees the gate; a condition has a date."""
    conditional = chosen == Decision.CONDITIONAL_GO
    still_open = [r.key for r in measuring.frozen_results(review.snapshot) if r.criterion.required and r.is_open]
    known = {row["key"] for row in review.snapshot["criteria"]}
    keys = [term.key for term in terms if term.key]
    unknown = [key for key in keys if key not in (still_open if conditional else known)]
    if unknown or len(set(keys)) != len(keys):
        raise InvalidInput(
            {"terms": f"Not a criterion that is open here, or named twice: {', '.join(unknown or keys)}."}
        )
    made = [term for term in terms if term.key or term.text.strip()]
    # A recycle that says what to redo is not added to.
    if conditional or not made:
        made += [Term(key) for key in still_open if key not in keys]
    if not made:
        made = [Term(text=text or note)]
    # One text for the criteria, unless it stands as a sentence of its own.
    shared = text if conditional and not any(not term.key for term in terms) else ""
    fallback = gate.use_case.owner if gate.use_case.owner_id else actor
    made = [
        replace(
            term,
            text=(term.text.strip() or shared or labels([term.key]))[:500],
            owner=term.owner or fallback,
            due_at=term.due_at or due or (now + CONDITION_SPAN if conditional else None),
        )
        for term in made
    ]
    late = [term for term in made if term.due_at is not None and not now < term.due_at <= now + LONGEST_WAIVER]
    if late:
        raise InvalidInput({"conditions_due": "The date must lie in the future, within a year."})
    owners = {term.owner.pk for term in made}
    blind = owners - set(who_see(gate).filter(pk__in=owners).values_list("pk", flat=True))
    if blind:
        names = ", ".join(sorted(str(term.owner) for term in made if term.owner.pk in blind))
        raise InvalidInput({"terms": f"May not see this gate, so cannot see to it: {names}."})
    return made


def _ask(review: GateReview, chosen: Decision, terms: list[Term], actor: Any) -> None:
    kind = ConditionKind.CONDITION if chosen == Decision.CONDITIONAL_GO else ConditionKind.REDO
    for term in terms:
        row = GateCondition.objects.create(
            review=review, kind=kind, key=term.key, text=term.text, owner=term.owner, due_at=term.due_at
        )
        audit.record(
            actor=actor,
            action="condition.ask",
            obj=row,
            changes={"criterion": term.key, "owner": term.owner, "due_at": term.due_at, "kind": kind},
        )
        until = f" until {day_text(term.due_at.date())}" if term.due_at is not None else ""
        notify(
            user_ids=[term.owner.pk],
            kind="condition",
            text=f"You see to it{until}: {labels([term.key]) if term.key else term.text} ({review.gate}).",
            url=review.get_absolute_url(),
            dedupe_key=f"condition:{row.pk}",
            mail=True,
        )


@transaction.atomic
def condition_meet(
    *, actor: Any, condition: GateCondition, note: str, expected_version: int | None = None
) -> GateCondition:
    """A person confirms what no measurement can. A criterion is met by its evidence alone."""
    if condition.key:
        raise DomainError("measured", "This is met by its evidence, not by hand: it closes by itself when it is.")
    if condition.met_at is not None:
        raise DomainError("wrong_state", "This is met already.")
    if not note.strip():
        raise InvalidInput({"note": "Say how it was met, and where that can be seen."})
    versioned_update(
        condition,
        expected_version=expected_version,
        where={"met_at": None},
        met_at=wall_now(),
        met_by=actor,
        met_note=note.strip()[:300],
    )
    audit.record(actor=actor, action="condition.met", obj=condition, changes={"note": note.strip()})
    gates_remeasure(use_case=condition.review.gate.use_case_id)
    return condition


def _check_go(gate: Gate, review: GateReview, chosen: Decision, now: datetime) -> None:
    option = next(o for o in decisions_allowed(review.snapshot) if o.decision == chosen.value)
    if not option.allowed:
        raise DomainError(
            option.why,
            f"{chosen.label} is not possible: {why_not(option)}",
            {"criteria": list(option.criteria)},
        )
    before = gate_in_the_way(gate)
    if before is not None:
        raise DomainError("earlier_gate", passed_first(before), {"gate": str(before.pk)})
    current = [row.result for row in gate_measure(gate=gate, now=now)]
    then = domain.frozen_criteria(review.snapshot)
    worse = [r.key for r in domain.regressions(then, current) if then[r.key].required]
    if worse:
        raise DomainError(
            "evidence_regressed",
            f"Since the evidence was frozen this is no longer met: {labels(worse)}. Withdraw this review and open a new one.",
            {"criteria": worse},
        )
    against = [signed_by(s) for s in review.signatures.select_related("user", "on_behalf_of") if not s.approves]
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
        "essential_open": f"later decisions are measured against {labels(option.criteria)}.",
        "safety_open": f"a safety criterion is open: {labels(option.criteria)}.",
        "too_many_conditions": f"more than {domain.MAX_CONDITIONS} criteria are open: {labels(option.criteria)}.",
        "nothing_proven": "no criterion of this gate is met yet, so nothing is proven.",
    }.get(option.why, "the evidence does not allow it.")


def _move(gate: Gate, decision: Decision, actor: Any) -> None:
    if decision in {Decision.GO, Decision.CONDITIONAL_GO}:
        _advance(gate, actor)
    elif decision == Decision.KILL:
        others = GateReview.objects.filter(state=ReviewState.OPEN, gate__use_case=gate.use_case_id)
        if gate.adoption_id is None:
            _use_case_state(gate.use_case, UseCaseState.KILLED, actor)
        else:
            others = others.filter(gate__adoption=gate.adoption_id)
        for other in others:
            review_withdraw(actor=actor, review=other, reason=f"{gate} was killed.")
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
    if gate.number in (Phase.ARCHITECT, Phase.OPERATE):
        _open_next(Gate.objects.filter(adoption=gate.adoption_id, number=gate.number + 1), actor)
    elif gate.number != Phase.MONETISE:
        _open_next(Gate.objects.filter(use_case=use_case, number=gate.number + 1), actor)
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


def _open_next(gates: QuerySet[Gate], actor: Any) -> None:
    """Those that nobody has reached yet; another decision may have opened one meanwhile."""
    names = ("use_case", "adoption__site", "adoption__use_case")
    for gate in gates.filter(state=GateState.CLOSED).select_related(*names):
        try:
            versioned_update(gate, where={"state": GateState.CLOSED}, state=GateState.OPEN)
        except StaleWrite:
            continue
        audit.record(actor=actor, action="gate.open", obj=gate, changes={"state": [GateState.CLOSED, GateState.OPEN]})


def _raise_phase(obj: UseCase | Adoption, phase: int, actor: Any) -> None:
    old = obj.phase
    versioned_update(obj, where={"phase": old}, phase=phase)
    audit.record(actor=actor, action=f"{obj._meta.model_name}.phase", obj=obj, changes={"phase": [old, phase]})


@transaction.atomic
def use_case_not_pursue(*, actor: Any, use_case: UseCase, reason: str) -> UseCase:
    """Leave phase 5 out: the use case is finished after phase 4, not unfinished."""
    if not reason.strip():
        raise InvalidInput({"reason": "Say why it will not be sold."})
    gate = Gate.objects.get(use_case=use_case, number=5)
    change_state(gate, old=(GateState.CLOSED, GateState.OPEN, GateState.HELD), new=GateState.NOT_PURSUED)
    versioned_update(use_case, pursue_monetisation=False)
    audit.record(actor=actor, action="usecase.not_pursue", obj=use_case, changes={"reason": reason})
    audit.record(actor=actor, action="gate.not_pursue", obj=gate, changes={"reason": reason})
    if Gate.objects.filter(use_case=use_case, number=4, state__in=PASSED).exists():
        _use_case_state(use_case, UseCaseState.FINISHED, actor)
    return use_case
