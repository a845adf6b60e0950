"""From the registry of facts to the states of a gate's criteria: what providers say, handed to usecases.domain.gates."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from portal.core.api.renderers import dumps
from portal.core.clock import wall_now
from usecases import evidence as registry
from usecases.choices import Comparator, ConditionKind, CriterionState, Decision, ReviewState
from usecases.domain import gates as domain
from usecases.evidence import CriterionSpec, Subject
from usecases.models import Evidence, Gate, GateReview, Waiver

_COMPARATORS = {
    Comparator.AT_LEAST: domain.Comparator.AT_LEAST,
    Comparator.ABOVE: domain.Comparator.ABOVE,
    Comparator.AT_MOST: domain.Comparator.AT_MOST,
    Comparator.EQUAL: domain.Comparator.EQUALS,
    Comparator.TRUE: domain.Comparator.EQUALS,
}
#: A criterion that is not due yet and names no date keeps saying so for this long at a time.
_OPEN_END = timedelta(days=1)


@dataclass(frozen=True)
class Measured:
    """One criterion as measured now: its specification, the provider's words, and what counts."""

    spec: CriterionSpec
    said: registry.Measurement
    result: domain.Result


def in_unit(spec: CriterionSpec, detail: Mapping[str, Any]) -> CriterionSpec:
    """The criterion in the unit it was measured in, where the provider named one: money is in the currency of its business case."""
    unit = detail.get("unit")
    return replace(spec, unit=unit) if isinstance(unit, str) else spec


def as_criterion(spec: CriterionSpec) -> domain.Criterion:
    number = spec.threshold if _numeric(spec.threshold) else 1.0
    return domain.Criterion(
        key=spec.key,
        comparator=_COMPARATORS[spec.comparator],
        threshold=1.0 if spec.comparator == Comparator.TRUE else float(number),
        unit=spec.unit,
        max_age=spec.max_age,
        safety=spec.safety,
        required=spec.required,
        grace=spec.grace,
        essential=spec.essential,
    )


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_measurement(spec: CriterionSpec, said: registry.Measurement, now: datetime) -> domain.Measurement:
    if said.status == "not_applicable":
        return domain.Measurement.not_applicable(said.text or "The provider gave no reason.", said.link)
    if said.status == "not_yet_due":
        return domain.Measurement.not_yet_due(said.due_at or now + _OPEN_END, said.text, said.link)
    if said.status != "measured":
        return domain.Measurement.missing(said.text or "The provider gave no reason.", said.link)
    value = said.value
    if spec.comparator == Comparator.TRUE:
        number: float | None = float(bool(value))
    elif spec.comparator == Comparator.EQUAL and not _numeric(spec.threshold):
        number = float(value == spec.threshold)
    else:
        number = float(value) if isinstance(value, (int, float)) else None
    if number is None or said.measured_at is None:
        return domain.Measurement.missing("The provider gave no number and time.", said.link)
    return domain.Measurement.of(number, said.measured_at, said.link)


def subject_of(gate: Gate, now: datetime) -> Subject:
    return Subject(use_case=gate.use_case, adoption=gate.adoption, now=now)


def current_rows(gate: Gate) -> dict[str, Evidence]:
    return {row.key: row for row in Evidence.objects.filter(gate=gate, current=True)}


def waivers_in_force(gates: Iterable[Gate], now: datetime) -> dict[tuple[Any, str], Waiver]:
    """The waiver that lasts longest, by gate and criterion."""
    rows = Waiver.objects.filter(gate__in=list(gates), revoked_at=None, expires_at__gt=now).select_related("granted_by")
    return {(row.gate_id, row.key): row for row in rows.order_by("expires_at")}


def _history(row: Evidence | None) -> domain.History | None:
    if row is None:
        return None
    met_at = row.detail.get("met_at")
    if not met_at:
        return None
    slipped = row.detail.get("slipped_at")
    return domain.History(datetime.fromisoformat(met_at), datetime.fromisoformat(slipped) if slipped else None)


def _domain_waiver(row: Waiver | None, spec: CriterionSpec) -> domain.Waiver | None:
    if row is None:
        return None
    # A waiver of a safety criterion is only ever granted through the safety officer's signing rule.
    return domain.Waiver(str(row.granted_by), row.reason, row.created_at, row.expires_at, spec.safety)


def measure(gate: Gate, now: datetime | None = None) -> list[Measured]:
    """Every registered criterion of the gate, measured now. Reads only."""
    now = now or wall_now()
    subject = subject_of(gate, now)
    known = current_rows(gate)
    waivers = waivers_in_force([gate], now)
    rows = []
    for registered in registry.specs_for(gate.number):
        said = registered.provider(subject)
        spec = in_unit(registered, said.detail)
        result = domain.evaluate(
            as_criterion(spec),
            as_measurement(spec, said, now),
            now=now,
            waiver=_domain_waiver(waivers.get((gate.pk, spec.key)), spec),
            history=_history(known.get(spec.key)),
        )
        rows.append(Measured(spec, said, result))
    return rows


def in_words(row: Measured) -> str:
    """What the provider said, or why its number does not count."""
    lost = {
        "too_old": "Too old: the age limit has passed.",
        "from_the_future": "Its time lies in the future.",
        "overdue": "It was due and has not come.",
        "not_a_number": "The provider gave no finite number.",
    }.get(row.result.why)
    return " ".join(part for part in (row.said.text, lost) if part)[:300]


def _plain(value: Any) -> Any:
    """As the database will give it back, so that an unchanged fact compares equal."""
    return json.loads(dumps(value))


def values_of(row: Measured, known: Evidence | None, now: datetime) -> dict[str, Any]:
    """The columns of the evidence row of one criterion."""
    result = row.result
    met = result.measured_state is domain.CriterionState.MET
    before = (known.detail if known else {}).get("met_at")
    detail = {**_plain(row.said.detail), "measured_state": str(result.measured_state), "why": result.why}
    if met or before:
        detail["met_at"] = now.isoformat() if met and not before else before
    if result.slipped_at is not None:
        detail["slipped_at"] = result.slipped_at.isoformat()
    shown = _plain(row.said.value) if row.said.status == "measured" else None
    if isinstance(shown, float) and not math.isfinite(shown):
        shown = None
    return {
        "state": CriterionState(str(result.state)),
        "value": shown,
        "text": in_words(row),
        "measured_at": row.said.measured_at,
        "plant_at": row.said.plant_at,
        "link": row.said.link[:300],
        "detail": detail,
        "deadline": result.deadline if result.state is not domain.CriterionState.NOT_YET_DUE else row.said.due_at,
    }


def last_passed_review(gate: Gate) -> GateReview | None:
    """The review whose decision the gate's present state rests on."""
    return (
        GateReview.objects.filter(
            gate=gate, state=ReviewState.DECIDED, decision__in=[Decision.GO, Decision.CONDITIONAL_GO]
        )
        .order_by("-decided_at")
        .first()
    )


def conditions_of(review: GateReview) -> dict[str, datetime]:
    """What a conditional go asks for and is not met yet, each with its deadline: by criterion, or by the row of what people confirm."""
    if review.decision != Decision.CONDITIONAL_GO:
        return {}
    terms = list(review.terms.filter(kind=ConditionKind.CONDITION))
    if terms:
        return {
            term.key or f"condition:{term.pk}": term.due_at
            for term in terms
            if term.met_at is None and term.due_at is not None
        }
    if review.conditions_due is None:
        return {}
    # Reviews decided before conditions had rows of their own.
    frozen = domain.frozen_criteria(review.snapshot)
    return {
        key: review.conditions_due for key, row in frozen.items() if row.required and row.state in domain.OPEN_STATES
    }


def frozen_since(review: GateReview) -> dict[str, domain.Frozen]:
    """The criteria as the decision saw them, with the conditions that were met since: from then on those may regress like the others."""
    frozen = domain.frozen_criteria(review.snapshot)
    if review.decision == Decision.CONDITIONAL_GO:
        for key in review.terms.filter(met_at__isnull=False).exclude(key="").values_list("key", flat=True):
            if key in frozen:
                frozen[key] = replace(frozen[key], state=domain.CriterionState.MET)
    return frozen


def frozen_results(document: dict[str, Any]) -> list[domain.Result]:
    """The results a snapshot was made of, as far as a decision needs them."""
    rows = []
    for row in document["criteria"]:
        criterion = domain.Criterion(
            key=row["key"],
            comparator=domain.Comparator(row["comparator"]),
            threshold=row["threshold"],
            upper=row["upper"],
            unit=row["unit"],
            safety=row["safety"],
            required=row["required"],
            essential=row.get("essential", False),
        )
        rows.append(
            domain.Result(
                criterion,
                domain.CriterionState(row["state"]),
                domain.CriterionState(row["measured_state"]),
                value=row["value"],
                why=row["why"],
                reason=row["reason"],
            )
        )
    return rows
