"""Gates: what the evidence says about each criterion, which decisions it allows, and what has regressed since.

Nothing here asks a clock, a database or a person: measurements, waivers, what was known before, and ``now`` are
arguments. See docs/algorithms/gates.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from usecases.domain.errors import InvalidInput
from usecases.domain.snapshot import Snapshot, freeze

SNAPSHOT_SCHEMA: Final = "phasegate.gate-snapshot/1"
#: Clocks differ a little; a measurement from further ahead than this is not believed.
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
#: How many criteria may be left open by a conditional go.
MAX_CONDITIONS: Final = 2


class Comparator(StrEnum):
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    ABOVE = "above"
    BELOW = "below"
    EQUALS = "equals"
    BETWEEN = "between"


class Availability(StrEnum):
    """What a provider of evidence can say."""

    MEASURED = "measured"
    NOT_MEASURED = "not_measured"
    NOT_APPLICABLE = "not_applicable"
    NOT_YET_DUE = "not_yet_due"


class CriterionState(StrEnum):
    MET = "met"
    NOT_MET = "not_met"
    SLIPPED = "slipped"
    NOT_MEASURED = "not_measured"
    NOT_APPLICABLE = "not_applicable"
    NOT_YET_DUE = "not_yet_due"
    WAIVED = "waived"


OPEN_STATES: Final = frozenset({CriterionState.NOT_MET, CriterionState.NOT_MEASURED, CriterionState.SLIPPED})


def _aware(moment: datetime | None, field: str) -> None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput("time_without_zone", "A time needs its zone.", field=field)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A number with a threshold and an age limit.

    ``upper`` closes the range of BETWEEN (both ends count). ``grace`` is how long a criterion that was met may slip
    before it counts as open; a safety criterion has none. Only required criteria decide about the gate.
    """

    key: str
    comparator: Comparator
    threshold: float
    upper: float | None = None
    unit: str = ""
    max_age: timedelta | None = None
    safety: bool = False
    required: bool = True
    grace: timedelta = timedelta(0)
    essential: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InvalidInput("threshold_not_a_number", "A threshold must be a finite number.", field=self.key)
        if (self.comparator is Comparator.BETWEEN) != (self.upper is not None):
            raise InvalidInput("range_incomplete", "A range needs both ends, and only a range has two.", field=self.key)
        if self.upper is not None and not self.threshold <= self.upper < math.inf:
            raise InvalidInput("range_reversed", "The upper end lies below the lower one.", field=self.key)
        if self.grace < timedelta(0) or (self.max_age is not None and self.max_age <= timedelta(0)):
            raise InvalidInput(
                "duration_negative", "An age limit or a grace period cannot be negative.", field=self.key
            )

    def holds(self, value: float) -> bool:
        """Whether the value passes the threshold."""
        match self.comparator:
            case Comparator.AT_LEAST:
                return value >= self.threshold
            case Comparator.AT_MOST:
                return value <= self.threshold
            case Comparator.ABOVE:
                return value > self.threshold
            case Comparator.BELOW:
                return value < self.threshold
            case Comparator.EQUALS:
                return math.isclose(value, self.threshold, rel_tol=1e-12, abs_tol=1e-12)
            case Comparator.BETWEEN:
                return self.threshold <= value <= (math.inf if self.upper is None else self.upper)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One fact from a provider. Whatever is not measured says why; what is not due yet says when it is."""

    availability: Availability
    value: float | None = None
    measured_at: datetime | None = None
    link: str = ""
    reason: str = ""
    due_at: datetime | None = None

    def __post_init__(self) -> None:
        _aware(self.measured_at, "measured_at")
        _aware(self.due_at, "due_at")
        if self.availability is Availability.MEASURED and (self.value is None or self.measured_at is None):
            raise InvalidInput("measurement_incomplete", "A measurement needs its value and its time.", field="value")
        if self.availability in (Availability.NOT_APPLICABLE, Availability.NOT_MEASURED) and not self.reason.strip():
            raise InvalidInput("reason_missing", "Say why there is no number.", field="reason")
        if self.availability is Availability.NOT_YET_DUE and self.due_at is None:
            raise InvalidInput("due_missing", "Say when it is due.", field="due_at")

    @classmethod
    def of(cls, value: float, measured_at: datetime, link: str = "") -> Measurement:
        return cls(Availability.MEASURED, value=float(value), measured_at=measured_at, link=link)

    @classmethod
    def missing(cls, reason: str, link: str = "") -> Measurement:
        return cls(Availability.NOT_MEASURED, reason=reason, link=link)

    @classmethod
    def not_applicable(cls, reason: str, link: str = "") -> Measurement:
        return cls(Availability.NOT_APPLICABLE, reason=reason, link=link)

    @classmethod
    def not_yet_due(cls, due_at: datetime, reason: str = "", link: str = "") -> Measurement:
        return cls(Availability.NOT_YET_DUE, due_at=due_at, reason=reason, link=link)


@dataclass(frozen=True, slots=True)
class Waiver:
    """A named person lets a criterion go, for a reason and until a moment."""

    by: str
    reason: str
    granted_at: datetime
    expires_at: datetime
    by_safety_officer: bool = False

    def __post_init__(self) -> None:
        _aware(self.granted_at, "granted_at")
        _aware(self.expires_at, "expires_at")
        if not self.by.strip() or not self.reason.strip():
            raise InvalidInput("waiver_incomplete", "A waiver names a person and a reason.", field="reason")
        if self.expires_at <= self.granted_at:
            raise InvalidInput("waiver_expires_early", "A waiver must expire after it is granted.", field="expires_at")

    def covers(self, criterion: Criterion, now: datetime) -> bool:
        """Whether it counts now; safety criteria only yield to the AI Safety Officer."""
        return self.granted_at <= now < self.expires_at and (self.by_safety_officer or not criterion.safety)


@dataclass(frozen=True, slots=True)
class History:
    """What was known before: the criterion has been met, and since when it no longer is (None: not noticed yet)."""

    met_at: datetime
    slipped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One evidence row. ``state`` is what counts; ``measured_state`` is what it would be without waiver and grace.

    ``why`` is a stable code where there is no usable number (too_old, from_the_future, overdue, not_a_number,
    not_measured, not_applicable, not_yet_due), ``reason`` the provider's words, ``deadline`` the end of the grace
    period or the due date, ``waiver`` any waiver in force, needed or not.
    """

    criterion: Criterion
    state: CriterionState
    measured_state: CriterionState
    value: float | None = None
    measured_at: datetime | None = None
    age: timedelta | None = None
    link: str = ""
    why: str = ""
    reason: str = ""
    slipped_at: datetime | None = None
    deadline: datetime | None = None
    waiver: Waiver | None = None

    @property
    def key(self) -> str:
        return self.criterion.key

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


def evaluate(
    criterion: Criterion,
    measurement: Measurement | None,
    *,
    now: datetime,
    waiver: Waiver | None = None,
    history: History | None = None,
) -> Result:
    """The state of one criterion now. None stands for a fact that no provider offers yet."""
    _aware(now, "now")
    found = measurement or Measurement.missing("No part of this installation measures it.")
    measured_state, why = _measured_state(criterion, found, now)
    state, slipped_at, deadline = measured_state, None, None
    if measured_state is CriterionState.NOT_YET_DUE:
        deadline = found.due_at
    if measured_state in OPEN_STATES and history is not None:
        slipped_at = history.slipped_at or now
        deadline = slipped_at + (timedelta(0) if criterion.safety else criterion.grace)
        if now < deadline:
            state = CriterionState.SLIPPED
    in_force = waiver if waiver is not None and waiver.covers(criterion, now) else None
    if in_force is not None and state in OPEN_STATES:
        state = CriterionState.WAIVED
    return Result(
        criterion=criterion,
        state=state,
        measured_state=measured_state,
        value=found.value if why != "not_a_number" else None,
        measured_at=found.measured_at,
        age=now - found.measured_at if found.measured_at is not None else None,
        link=found.link,
        why=why,
        reason=found.reason,
        slipped_at=slipped_at,
        deadline=deadline,
        waiver=in_force,
    )


def _measured_state(criterion: Criterion, found: Measurement, now: datetime) -> tuple[CriterionState, str]:
    if found.availability is Availability.NOT_APPLICABLE:
        return CriterionState.NOT_APPLICABLE, "not_applicable"
    if found.availability is Availability.NOT_YET_DUE:
        if found.due_at is not None and now < found.due_at:
            return CriterionState.NOT_YET_DUE, "not_yet_due"
        return CriterionState.NOT_MEASURED, "overdue"
    if found.availability is Availability.NOT_MEASURED or found.value is None or found.measured_at is None:
        return CriterionState.NOT_MEASURED, "not_measured"
    if not math.isfinite(found.value):
        return CriterionState.NOT_MEASURED, "not_a_number"
    if found.measured_at > now + CLOCK_TOLERANCE:
        return CriterionState.NOT_MEASURED, "from_the_future"
    if criterion.max_age is not None and now - found.measured_at > criterion.max_age:
        return CriterionState.NOT_MEASURED, "too_old"
    return (CriterionState.MET if criterion.holds(found.value) else CriterionState.NOT_MET), ""


class EvidenceState(StrEnum):
    """What all required criteria of a gate say together."""

    COMPLETE = "complete"
    SLIPPING = "slipping"
    INCOMPLETE = "incomplete"


def evidence_state(results: Iterable[Result]) -> EvidenceState:
    """Complete when nothing required is open and at least one required criterion is met or waived."""
    required = [r for r in results if r.criterion.required]
    states = {r.state for r in required}
    if states & {CriterionState.NOT_MET, CriterionState.NOT_MEASURED}:
        return EvidenceState.INCOMPLETE
    if CriterionState.SLIPPED in states:
        return EvidenceState.SLIPPING
    proven = states & {CriterionState.MET, CriterionState.WAIVED}
    return EvidenceState.COMPLETE if proven else EvidenceState.INCOMPLETE


class Decision(StrEnum):
    GO = "go"
    CONDITIONAL_GO = "conditional_go"
    HOLD = "hold"
    RECYCLE = "recycle"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class DecisionOption:
    """Whether a decision can be taken now; if not, ``why`` (a code) and the keys of the ``criteria`` that stand in the way.

    For a conditional go that is allowed, ``criteria`` are the conditions it must name.
    """

    decision: Decision
    allowed: bool
    why: str = ""
    criteria: tuple[str, ...] = ()


def allowed_decisions(results: Iterable[Result], *, max_conditions: int = MAX_CONDITIONS) -> tuple[DecisionOption, ...]:
    """All five decisions with what the evidence allows. Hold, recycle and kill are always people's to take."""
    rows = [r for r in results if r.criterion.required]
    still_open = tuple(sorted(r.key for r in rows if r.is_open))
    unsafe = tuple(sorted(r.key for r in rows if r.is_open and r.criterion.safety))
    essential = tuple(sorted(r.key for r in rows if r.is_open and r.criterion.essential))
    proven = any(r.state in (CriterionState.MET, CriterionState.WAIVED) for r in rows)
    if still_open:
        go = DecisionOption(Decision.GO, False, "criteria_open", still_open)
    else:
        go = DecisionOption(Decision.GO, proven, "" if proven else "nothing_proven")
    if unsafe:
        conditional = DecisionOption(Decision.CONDITIONAL_GO, False, "safety_open", unsafe)
    elif essential:
        conditional = DecisionOption(Decision.CONDITIONAL_GO, False, "essential_open", essential)
    elif not proven:
        conditional = DecisionOption(Decision.CONDITIONAL_GO, False, "nothing_proven", still_open)
    elif len(still_open) > max_conditions:
        conditional = DecisionOption(Decision.CONDITIONAL_GO, False, "too_many_conditions", still_open)
    else:
        conditional = DecisionOption(Decision.CONDITIONAL_GO, True, "", still_open)
    others = (DecisionOption(d, True) for d in (Decision.HOLD, Decision.RECYCLE, Decision.KILL))
    return (go, conditional, *others)


@dataclass(frozen=True, slots=True)
class Frozen:
    """One criterion as a decision saw it."""

    key: str
    state: CriterionState
    value: float | None = None
    required: bool = True


def freeze_evidence(results: Iterable[Result], *, now: datetime, context: Mapping[str, Any]) -> Snapshot:
    """The evidence a decision is taken on; ``context`` says which gate, use case, site and decision it belongs to."""
    rows = sorted(results, key=lambda r: r.key)
    if len({r.key for r in rows}) != len(rows):
        raise InvalidInput("criterion_twice", "A criterion appears twice in the evidence.", field="results")
    return freeze(
        {
            "schema": SNAPSHOT_SCHEMA,
            "context": context,
            "taken_at": now,
            "criteria": [_frozen_row(r) for r in rows],
        }
    )


def _frozen_row(r: Result) -> dict[str, Any]:
    c, w = r.criterion, r.waiver
    return {
        "key": c.key,
        "comparator": c.comparator,
        "threshold": c.threshold,
        "upper": c.upper,
        "unit": c.unit,
        "max_age_seconds": c.max_age.total_seconds() if c.max_age is not None else None,
        "required": c.required,
        "safety": c.safety,
        "essential": c.essential,
        "state": r.state,
        "measured_state": r.measured_state,
        "value": r.value,
        "measured_at": r.measured_at,
        "link": r.link,
        "why": r.why,
        "reason": r.reason,
        "deadline": r.deadline,
        "waiver": None
        if w is None
        else {
            "by": w.by,
            "reason": w.reason,
            "granted_at": w.granted_at,
            "expires_at": w.expires_at,
            "by_safety_officer": w.by_safety_officer,
        },
    }


def frozen_criteria(document: Mapping[str, Any]) -> dict[str, Frozen]:
    """The criteria of a frozen document by key."""
    if document.get("schema") != SNAPSHOT_SCHEMA:
        raise InvalidInput("snapshot_unknown", "This document is not a gate snapshot.", field="schema")
    return {
        row["key"]: Frozen(row["key"], CriterionState(row["state"]), row["value"], row["required"])
        for row in document["criteria"]
    }


@dataclass(frozen=True, slots=True)
class Regression:
    """A criterion that was good enough when the decision was taken and is not any more.

    ``reopens`` is False while its grace period lasts, and for criteria that are not required.
    """

    key: str
    then: CriterionState
    now: CriterionState
    value_then: float | None
    value_now: float | None
    deadline: datetime | None
    reopens: bool


def regressions(then: Mapping[str, Frozen], results: Iterable[Result]) -> tuple[Regression, ...]:
    """What has regressed since the decision, the ones that reopen the gate first.

    A criterion that nobody reports any more has regressed too; one that was added since has not.
    """
    current = {r.key: r for r in results}
    found = []
    for key, was in then.items():
        is_now = current.get(key)
        state = is_now.state if is_now is not None else CriterionState.NOT_MEASURED
        if was.state in OPEN_STATES or state not in OPEN_STATES:
            continue
        found.append(
            Regression(
                key=key,
                then=was.state,
                now=state,
                value_then=was.value,
                value_now=is_now.value if is_now is not None else None,
                deadline=is_now.deadline if is_now is not None else None,
                reopens=was.required and state is not CriterionState.SLIPPED,
            )
        )
    return tuple(sorted(found, key=lambda r: (not r.reopens, r.key)))


class GateState(StrEnum):
    NOT_READY = "not_ready"
    READY = "ready"
    PASSED = "passed"
    PASSED_CONDITIONALLY = "passed_conditionally"
    SLIPPING = "slipping"
    REOPENED = "reopened"
    ON_HOLD = "on_hold"
    RECYCLED = "recycled"
    KILLED = "killed"


def gate_state(
    results: Iterable[Result],
    *,
    now: datetime,
    decision: Decision | None = None,
    frozen: Mapping[str, Frozen] | None = None,
    conditions: Mapping[str, datetime] | None = None,
) -> GateState:
    """Where a gate stands: by its evidence until a decision, then by the decision and what happened since.

    ``frozen`` is the evidence of the last decision, ``conditions`` the deadlines of a conditional go by criterion.
    """
    rows = list(results)
    match decision:
        case None:
            ready = evidence_state(rows) is EvidenceState.COMPLETE
            return GateState.READY if ready else GateState.NOT_READY
        case Decision.KILL:
            return GateState.KILLED
        case Decision.HOLD:
            return GateState.ON_HOLD
        case Decision.RECYCLE:
            return GateState.RECYCLED
        case _:
            pass
    before = frozen or {}
    worse = [r for r in regressions(before, rows) if before[r.key].required]
    # A condition nobody reports on any more is still a condition.
    closed_keys = {r.key for r in rows if not r.is_open}
    pending = {key: due for key, due in (conditions or {}).items() if key not in closed_keys}
    if any(r.reopens for r in worse) or any(now >= due for due in pending.values()):
        return GateState.REOPENED
    if worse:
        return GateState.SLIPPING
    return GateState.PASSED_CONDITIONALLY if pending else GateState.PASSED
