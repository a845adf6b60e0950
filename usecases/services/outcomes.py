"""Outcomes and their KPI readings: what the use case is to move, from where, and to where."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django.db import transaction

from portal.core import audit
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import entity_create, entity_delete, entity_update, versioned_update
from usecases.choices import Direction, KpiSource
from usecases.models import KpiReading, Outcome, UseCase
from usecases.services.gates import gates_remeasure

_BASELINE = ("baseline_from", "baseline_to", "baseline_value", "baseline_exposure")


def baseline_readings(outcome: Outcome) -> Any:
    """Readings that lie wholly inside the baseline window (both days included)."""
    if outcome.baseline_from is None or outcome.baseline_to is None:
        return KpiReading.objects.none()
    return KpiReading.objects.filter(
        outcome=outcome,
        period_from__gte=datetime.combine(outcome.baseline_from, time.min, UTC),
        period_to__lte=datetime.combine(outcome.baseline_to, time.max, UTC),
    )


def baseline_of(outcome: Outcome) -> tuple[float, float] | None:
    """(value per exposure, exposure) over the readings of the window; None without exposure."""
    rows = list(baseline_readings(outcome).values_list("value", "exposure"))
    exposure = sum(row[1] for row in rows)
    return (sum(row[0] for row in rows) / exposure, exposure) if exposure > 0 else None


@transaction.atomic
def outcome_create(*, actor: Any, **data: Any) -> Outcome:
    outcome = entity_create(actor=actor, model=Outcome, data=data)
    gates_remeasure(use_case=outcome.use_case_id)
    return outcome


@transaction.atomic
def outcome_update(
    *, actor: Any, outcome: Outcome, data: dict[str, Any], expected_version: int | None = None, reason: str = ""
) -> Outcome:
    """Change an outcome. Once a gate has used its baseline, changing that is re-baselining and needs a reason."""
    moved = [name for name in _BASELINE if name in data and data[name] != getattr(outcome, name)]
    rebaselined = bool(moved) and outcome.baseline_frozen_at is not None
    if rebaselined and not reason.strip():
        raise DomainError(
            "baseline_frozen",
            "A gate was decided on this baseline. Changing it is re-baselining: give a reason.",
            errors=[{"field": "reason", "message": "Why does the baseline change after a gate has used it?"}],
        )
    if rebaselined:
        audit.record(
            actor=actor,
            action="outcome.rebaseline",
            obj=outcome,
            changes={"reason": reason} | {name: [getattr(outcome, name), data[name]] for name in moved},
        )
    outcome = entity_update(actor=actor, obj=outcome, data=data, expected_version=expected_version)
    gates_remeasure(use_case=outcome.use_case_id)
    return outcome


@transaction.atomic
def baseline_compute(*, actor: Any, outcome: Outcome, reason: str = "") -> Outcome:
    """Take the baseline from the readings in its window."""
    if outcome.baseline_from is None or outcome.baseline_to is None:
        raise InvalidInput({"baseline_from": "Give the window first: when does the baseline begin and end?"})
    found = baseline_of(outcome)
    if found is None:
        raise DomainError(
            "no_readings", "There is no reading with exposure inside the baseline window, so nothing can be computed."
        )
    data = {"baseline_value": found[0], "baseline_exposure": found[1]}
    return outcome_update(actor=actor, outcome=outcome, data=data, reason=reason)


def baseline_freeze(*, use_case: UseCase, now: datetime, actor: Any) -> None:
    """A gate is about to use the baselines: from now on they change with a reason only."""
    for outcome in Outcome.objects.filter(use_case=use_case, baseline_frozen_at=None, baseline_value__isnull=False):
        versioned_update(outcome, baseline_frozen_at=now)
        audit.record(
            actor=actor, action="outcome.freeze_baseline", obj=outcome, changes={"value": outcome.baseline_value}
        )


def _fresh_baseline(actor: Any, outcome: Outcome) -> None:
    """Readings inside the window of a baseline that no gate has used yet move it."""
    if outcome.baseline_frozen_at is not None:
        return
    found = baseline_of(outcome)
    if found is not None and (outcome.baseline_value, outcome.baseline_exposure) != found:
        outcome_update(actor=actor, outcome=outcome, data={"baseline_value": found[0], "baseline_exposure": found[1]})


@transaction.atomic
def reading_create(*, actor: Any, **data: Any) -> KpiReading:
    data.setdefault("source", KpiSource.FORM)
    reading = entity_create(actor=actor, model=KpiReading, data=data)
    _fresh_baseline(actor, reading.outcome)
    gates_remeasure(use_case=reading.outcome.use_case_id)
    return reading


@transaction.atomic
def reading_update(
    *, actor: Any, reading: KpiReading, data: dict[str, Any], expected_version: int | None = None
) -> KpiReading:
    reading = entity_update(actor=actor, obj=reading, data=data, expected_version=expected_version)
    _fresh_baseline(actor, reading.outcome)
    gates_remeasure(use_case=reading.outcome.use_case_id)
    return reading


@transaction.atomic
def reading_delete(*, actor: Any, reading: KpiReading) -> None:
    outcome = reading.outcome
    entity_delete(actor=actor, obj=reading)
    _fresh_baseline(actor, outcome)


@transaction.atomic
def reading_upsert(
    *,
    actor: Any = None,
    outcome: Outcome,
    site: Any,
    period_from: datetime,
    period_to: datetime,
    value: float,
    exposure: float,
    note: str = "",
    source: str = KpiSource.COMPUTED,
) -> KpiReading:
    """Write what plant records say about one period (plant time), replacing an earlier computation of the same period."""
    data = {"period_to": period_to, "value": value, "exposure": exposure, "note": note, "source": source}
    found = KpiReading.objects.filter(outcome=outcome, site=site, period_from=period_from).first()
    if found is None:
        return reading_create(actor=actor, outcome=outcome, site=site, period_from=period_from, **data)
    return reading_update(actor=actor, reading=found, data=data)


def target_better(outcome: Outcome) -> bool | None:
    """Whether the target lies on the good side of the baseline; None while one of them is missing."""
    if outcome.baseline_value is None or outcome.target_value is None:
        return None
    if outcome.direction == Direction.DOWN:
        return outcome.target_value < outcome.baseline_value
    return outcome.target_value > outcome.baseline_value
