"""Gates: measure their criteria, keep the evidence, notice regression, reopen; waive a criterion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from kombu.exceptions import OperationalError

from portal.core import audit, signing
from portal.core.clock import moment_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.records import change_state, versioned_update
from usecases import evidence as registry
from usecases import measuring, signals
from usecases.choices import ConditionKind, CriterionState, Decision, GateState, Phase, UseCaseState
from usecases.domain import gates as domain
from usecases.gate_rules import LONGEST_WAIVER, MEASURED, WHAT_REOPENING_DOES
from usecases.measuring import Measured
from usecases.models import Adoption, Evidence, Gate, GateCondition, GateReview, UseCase, Waiver
from usecases.selectors import gates_alive
from usecases.services.audience import tell

log = structlog.get_logger(__name__)
#: Gates measured per run of the periodic task, the longest unmeasured first.
GATES_A_RUN = 300
#: A reopening names what was measured while it fits into one line.
_REASON = 260


def gate_measure(*, gate: Gate, actor: Any = None, now: datetime | None = None) -> list[Measured]:
    """Measure all criteria of one gate, keep what changed, and move the gate where its evidence moves it."""
    if actor is not None and gate.state not in MEASURED:
        raise DomainError("wrong_state", f"This gate is {gate.get_state_display().lower()}: it is measured no more.")
    now = now or wall_now()
    rows = measuring.measure(gate, now)
    decided_since = gate.decided_at is not None and (gate.measured_at is None or gate.measured_at <= gate.decided_at)
    if _store(gate, rows, now) or decided_since:
        _redone(gate, rows, now)
    _follow(gate, rows, now)
    if actor is not None:
        audit.record(
            actor=actor,
            action="gate.measure",
            obj=gate,
            changes={row.spec.key: str(row.result.state) for row in rows},
        )
    return rows


def _store(gate: Gate, rows: list[Measured], now: datetime) -> bool:
    """Keep what was measured; whether a state changed."""
    known = measuring.current_rows(gate)
    refresh: list[Evidence] = []
    new: list[tuple[Evidence | None, Evidence]] = []
    for row in rows:
        old = known.get(row.spec.key)
        values = measuring.values_of(row, old, now)
        if old is None or old.state != values["state"]:
            fresh = Evidence(gate=gate, key=row.spec.key, since=now, **values)
            new.append((old, fresh))
        elif any(getattr(old, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(old, name, value)
            old.updated_at = now
            refresh.append(old)
    gone = [row for key, row in known.items() if key not in {r.spec.key for r in rows}]
    with transaction.atomic():
        Gate.objects.filter(pk=gate.pk).update(measured_at=now)
        if refresh:
            names = ["value", "text", "measured_at", "plant_at", "link", "detail", "deadline", "updated_at"]
            Evidence.objects.bulk_update(refresh, names)
        if gone:
            Evidence.objects.filter(pk__in=[row.pk for row in gone]).update(current=False, updated_at=now)
        for old, fresh in new:
            _replace(gate, old, fresh)
    gate.measured_at = now
    return bool(new)


def _replace(gate: Gate, old: Evidence | None, fresh: Evidence) -> None:
    """One new row per change of state; of two that measure at once, one writes."""
    if old is not None:
        changed = Evidence.objects.filter(pk=old.pk, current=True).update(
            current=False, updated_at=fresh.since, version=F("version") + 1
        )
        if changed != 1:
            return
    try:
        with transaction.atomic():
            fresh.save(force_insert=True)
    except IntegrityError:
        return
    if old is not None:
        audit.record(
            actor=None,
            action="evidence.change",
            obj=gate,
            changes={fresh.key: [str(old.state), str(fresh.state)]},
        )
        if fresh.state == CriterionState.SLIPPED:
            spec = registry.spec(fresh.key)
            tell(
                gate,
                f"{spec.label if spec else fresh.key} has slipped at {gate}; grace ends "
                f"{moment_text(fresh.deadline)} UTC."
                if fresh.deadline
                else f"{fresh.key} has slipped at {gate}.",
                f"slipped:{fresh.pk}",
            )


def _follow(gate: Gate, rows: list[Measured], now: datetime) -> None:
    """Reopen a passed gate whose evidence regressed; close the conditions of a conditional one that are met."""
    if gate.state not in {GateState.PASSED, GateState.CONDITIONAL}:
        return
    review = measuring.last_passed_review(gate)
    if review is None:
        return
    results = [row.result for row in rows]
    if review.decision == Decision.CONDITIONAL_GO:
        _close_met(review.terms.all(), results, now)
    frozen = measuring.frozen_since(review)
    conditions = measuring.conditions_of(review)
    state = domain.gate_state(
        results, now=now, decision=domain.Decision(review.decision), frozen=frozen, conditions=conditions
    )
    if state is domain.GateState.REOPENED:
        worse = [r.key for r in domain.regressions(frozen, results) if r.reopens]
        closed = {r.key for r in results if not r.is_open}
        overdue = [key for key, due in conditions.items() if now >= due and key not in closed]
        first = (worse or overdue)[0]
        gate_reopen(
            gate=gate,
            reason=_why_reopened(rows, worse, _in_words(review, overdue)),
            now=now,
            anchor=f"#evidence-{first}" if ":" not in first else "",
        )
    elif state is domain.GateState.PASSED and gate.state == GateState.CONDITIONAL:
        with transaction.atomic():
            change_state(gate, old=GateState.CONDITIONAL, new=GateState.PASSED)
            audit.record(actor=None, action="gate.conditions_met", obj=gate, changes={"review": review.pk})
            tell(gate, f"All conditions of {gate} are met.", f"conditions:{review.pk}")


def _redone(gate: Gate, rows: list[Measured], now: datetime) -> None:
    """What a recycle sent back and the evidence shows as done."""
    if gate.state in {GateState.OPEN, GateState.HELD, GateState.REOPENED}:
        terms = GateCondition.objects.filter(review__gate=gate, kind=ConditionKind.REDO)
        _close_met(terms, [row.result for row in rows], now)


@transaction.atomic
def _close_met(terms: Any, results: list[domain.Result], now: datetime) -> None:
    """What their evidence meets now. What people must confirm waits for them."""
    good = [r.key for r in results if not r.is_open]
    for term in terms.filter(key__in=good, met_at=None):
        if GateCondition.objects.filter(pk=term.pk, met_at=None).update(
            met_at=now, updated_at=now, version=F("version") + 1
        ):
            audit.record(actor=None, action="condition.met", obj=term, changes={"criterion": term.key})


def _label(key: str) -> str:
    return str(spec.label) if (spec := registry.spec(key)) else key


def _in_words(review: GateReview, overdue: list[str]) -> list[str]:
    """Conditions past their date: the criterion, or the sentence of what people were to confirm."""
    rows = {f"condition:{term.pk}": term.text for term in review.terms.filter(key="")} if overdue else {}
    return [rows.get(key) or _label(key) for key in overdue]


def _why_reopened(rows: list[Measured], worse: list[str], overdue: list[str]) -> str:
    """Which criteria, and what was measured there."""
    said = {row.spec.key: measuring.in_words(row) for row in rows}
    parts = []
    if worse:
        words = [f"{_label(key)} ({said[key].rstrip('.')})" if said.get(key) else _label(key) for key in worse]
        long = f"No longer met: {', '.join(words)}."
        parts.append(long if len(long) <= _REASON else f"No longer met: {', '.join(map(_label, worse))}.")
    if overdue:
        parts.append(f"Condition still open at its date: {', '.join(overdue)}.")
    return " ".join(parts)[:300]


@transaction.atomic
def gate_reopen(*, gate: Gate, reason: str, now: datetime | None = None, actor: Any = None, anchor: str = "") -> None:
    """A passed gate opens again: new rollouts and later gates stop, running services keep serving."""
    change_state(
        gate,
        old=(GateState.PASSED, GateState.CONDITIONAL),
        new=GateState.REOPENED,
        reopened_at=now or wall_now(),
        reopened_reason=reason[:300],
    )
    audit.record(actor=actor, action="gate.reopen", obj=gate, changes={"reason": reason})
    signals.gate_reopened.send(sender=Gate, gate=gate, reason=reason)
    stops = " ".join(map(str, WHAT_REOPENING_DOES[gate.number]))
    tell(
        gate,
        f"{gate} is reopened. {_shorter(reason, 280 - len(str(gate)) - len(stops))} {stops}",
        f"reopened:{gate.pk}:{gate.version}",
        anchor=anchor,
        mail=True,
    )


def _shorter(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: max(20, longest) - 1].rstrip()}…"


@transaction.atomic
def gate_resume(*, actor: Any, gate: Gate, note: str = "", expected_version: int | None = None) -> Gate:
    """End a hold: the gate is worked on again, and gate 1 takes its use case off hold."""
    if expected_version is not None and gate.version != expected_version:
        raise StaleWrite
    change_state(gate, old=GateState.HELD, new=GateState.OPEN, expected_version=expected_version)
    audit.record(actor=actor, action="gate.resume", obj=gate, changes={"note": note.strip()})
    if gate.number == Phase.ALIGN and gate.use_case.state == UseCaseState.HELD:
        versioned_update(gate.use_case, where={"state": UseCaseState.HELD}, state=UseCaseState.ACTIVE)
        audit.record(
            actor=actor,
            action="usecase.active",
            obj=gate.use_case,
            changes={"state": [UseCaseState.HELD, UseCaseState.ACTIVE]},
        )
    text = f"{actor} resumed {gate}."
    tell(gate, f"{text} {note.strip()}".strip(), f"resumed:{gate.pk}:{gate.version}")
    gates_remeasure(use_case=gate.use_case_id)
    return gate


def gates_of(*, use_case: Any = None, adoption: Any = None, site: Any = None) -> Any:
    """Gates that facts about this use case, adoption or site can move."""
    wanted = Q(pk__in=[])
    if use_case is not None:
        wanted |= Q(use_case=use_case)
    if adoption is not None:
        wanted |= Q(adoption=adoption)
    if site is not None:
        wanted |= Q(adoption__site=site) | Q(adoption=None, use_case__adoptions__site=site)
    return gates_alive(Gate.objects.filter(wanted, state__in=MEASURED)).distinct()


def gates_remeasure(*, use_case: Any = None, adoption: Any = None, site: Any = None) -> None:
    """Ask for a fresh measurement of these gates once the present transaction is committed.

    Arguments are rows or ids. Safe to call often; the work happens in the background.
    """
    ids = [str(pk) for pk in gates_of(use_case=use_case, adoption=adoption, site=site).values_list("pk", flat=True)]
    if ids:
        transaction.on_commit(lambda: _send(ids), robust=True)


def _send(ids: list[str]) -> None:
    from usecases.tasks import measure_gate_now

    # The periodic task measures what a broker that is away did not take.
    try:
        measure_gate_now.apply_async(args=[ids], retry=False)
    except (OSError, OperationalError) as error:
        log.warning("gates.broker_away", gates=len(ids), error=str(error))


def gates_measure(*, limit: int = GATES_A_RUN, ids: list[str] | None = None) -> dict[str, int]:
    """Measure the gates that have waited longest (or these). One provider that fails does not keep the others from being read."""
    rows = gates_alive(Gate.objects.filter(state__in=MEASURED))
    rows = rows.select_related("use_case", "adoption__site", "adoption__location")
    rows = rows.filter(pk__in=ids) if ids is not None else rows
    done = failed = 0
    for gate in rows.order_by(F("measured_at").asc(nulls_first=True), "pk")[:limit]:
        try:
            gate_measure(gate=gate)
            done += 1
        except (ArithmeticError, AttributeError, DomainError, LookupError, TypeError, ValueError) as error:
            failed += 1
            log.exception("gate.measure_failed", gate=str(gate.pk), error=str(error))
            Gate.objects.filter(pk=gate.pk).update(measured_at=wall_now())
    return {"measured": done, "failed": failed}


@transaction.atomic
def gates_create(*, use_case: UseCase, adoption: Adoption | None = None) -> list[Gate]:
    """The gates that belong to a new use case (1, 5) or adoption (2, 3, 4); the first that can be worked on is open."""
    from usecases.gate_rules import ADOPTION_GATES, PASSED, USE_CASE_GATES

    numbers = ADOPTION_GATES if adoption is not None else USE_CASE_GATES
    aligned = adoption is not None and Gate.objects.filter(use_case=use_case, number=1, state__in=PASSED).exists()
    made = []
    for number in numbers:
        ready = number == 1 or (number == 2 and aligned)
        gate, _created = Gate.objects.get_or_create(
            use_case=use_case,
            adoption=adoption,
            number=number,
            defaults={"state": GateState.OPEN if ready else GateState.CLOSED},
        )
        made.append(gate)
    return made


@transaction.atomic
def waiver_grant(*, actor: Any, gate: Gate, key: str, reason: str, expires_at: datetime) -> Waiver:
    """Let one criterion pass for a time. A safety criterion needs the AI Safety Officer."""
    now = wall_now()
    spec = registry.spec(key)
    wrong: dict[str, str] = {}
    if spec is None or spec.gate != gate.number:
        wrong["key"] = "This gate has no such criterion."
    if not reason.strip():
        wrong["reason"] = "Say why it may pass without."
    if expires_at <= now:
        wrong["expires_at"] = "A waiver must end in the future."
    elif expires_at > now + LONGEST_WAIVER:
        wrong["expires_at"] = f"A waiver lasts {LONGEST_WAIVER.days} days at most."
    if wrong:
        raise InvalidInput(wrong)
    if gate.state in {GateState.KILLED, GateState.NOT_PURSUED}:
        raise DomainError("wrong_state", "This gate is over: there is nothing left to waive.")
    kind = "safety_waiver" if spec is not None and spec.safety else "waiver"
    verdict = signing.may_sign(
        user=actor, kind=kind, site=gate.adoption.site if gate.adoption is not None else None, now=now
    )
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, {"kind": kind}, status=403)
    waiver = Waiver.objects.create(gate=gate, key=key, reason=reason.strip(), granted_by=actor, expires_at=expires_at)
    audit.record(
        actor=actor,
        action="waiver.grant",
        obj=waiver,
        changes={
            "criterion": key,
            "expires_at": expires_at.isoformat(),
            "role": verdict.role,
            "basis": verdict.basis,
        },
    )
    tell(gate, f"{actor} waived {spec.label if spec else key} at {gate}: {reason.strip()}", f"waiver:{waiver.pk}")
    gates_remeasure(adoption=gate.adoption_id) if gate.adoption_id else gates_remeasure(use_case=gate.use_case_id)
    return waiver


@transaction.atomic
def waiver_revoke(*, actor: Any, waiver: Waiver) -> Waiver:
    if waiver.revoked_at is not None:
        raise DomainError("wrong_state", "This waiver was taken back already.")
    versioned_update(waiver, where={"revoked_at": None}, revoked_at=wall_now())
    audit.record(actor=actor, action="waiver.revoke", obj=waiver, changes={"criterion": waiver.key})
    text = f"{actor} took back the waiver of {_label(waiver.key)} at {waiver.gate}: it counts again."
    tell(waiver.gate, text, f"waiver-back:{waiver.pk}")
    gates_remeasure(use_case=waiver.gate.use_case_id)
    return waiver


def decisions_allowed(document: dict[str, Any]) -> tuple[domain.DecisionOption, ...]:
    """The five decisions with what the frozen evidence allows."""
    return domain.allowed_decisions(measuring.frozen_results(document))


__all__ = [
    "Decision",
    "decisions_allowed",
    "gate_measure",
    "gate_reopen",
    "gate_resume",
    "gates_create",
    "gates_measure",
    "gates_of",
    "gates_remeasure",
    "waiver_grant",
    "waiver_revoke",
]
