"""Outcomes and their KPI readings: what the use case is to move, from where, and to where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.clock import day_text
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import entity_create, entity_delete, entity_update, versioned_update
from usecases.choices import Direction, KpiSource, Phase
from usecases.domain.periods import Span, clashes
from usecases.models import KpiReading, Outcome, UseCase
from usecases.services.gates import gates_remeasure

#: What says which stretch of whose time a reading counts.
PLACED = ("outcome", "site", "period_from", "period_to")
#: What a gate is decided on: the window, what was measured in it, in which unit, and what a unit is worth.
FROZEN = (
    "baseline_from",
    "baseline_to",
    "baseline_value",
    "baseline_exposure",
    "unit",
    "exposure_unit",
    "direction",
    "counts_events",
    "value_per_unit",
    "currency",
)


def baseline_readings(outcome: Outcome) -> Any:
    """Readings that lie wholly inside the baseline window (both days included)."""
    window = baseline_window(outcome)
    if window is None:
        return KpiReading.objects.none()
    return KpiReading.objects.filter(outcome=outcome, period_from__gte=window[0], period_to__lte=window[1])


def baseline_window(outcome: Outcome) -> tuple[datetime, datetime] | None:
    """Both days belong to it whole: a month that ends at midnight after the last day is inside. Plant time."""
    if outcome.baseline_from is None or outcome.baseline_to is None:
        return None
    after = min(outcome.baseline_to, date.max - timedelta(days=1)) + timedelta(days=1)
    return datetime.combine(outcome.baseline_from, time.min, UTC), datetime.combine(after, time.min, UTC)


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
    moved = [name for name in FROZEN if name in data and data[name] != getattr(outcome, name)]
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
            actor=actor,
            action="outcome.freeze_baseline",
            obj=outcome,
            changes={
                "gate": Phase.ALIGN.value,
                "value": outcome.baseline_value,
                "exposure": outcome.baseline_exposure,
                "from": outcome.baseline_from,
                "to": outcome.baseline_to,
            },
        )


def _fresh_baseline(actor: Any, outcome: Outcome) -> None:
    """Readings inside the window of a baseline that no gate has used yet move it."""
    if outcome.baseline_frozen_at is not None:
        return
    found = baseline_of(outcome)
    if found is not None and (outcome.baseline_value, outcome.baseline_exposure) != found:
        outcome_update(actor=actor, outcome=outcome, data={"baseline_value": found[0], "baseline_exposure": found[1]})


def in_frozen_window(outcome: Outcome, period_from: datetime, period_to: datetime) -> bool:
    """Whether a reading of this period is part of a baseline that a gate has used."""
    window = baseline_window(outcome)
    if outcome.baseline_frozen_at is None or window is None:
        return False
    return window[0] <= period_from and period_to <= window[1]


def _rebaseline(actor: Any, outcome: Outcome, reason: str, what: dict[str, Any]) -> None:
    """A reading behind a frozen baseline changed, with a reason: the baseline follows, and the log says from what to what."""
    audit.record(actor=actor, action="outcome.rebaseline", obj=outcome, changes={"reason": reason, **what})
    found = baseline_of(outcome)
    value, exposure = found if found is not None else (None, None)
    moved: dict[str, Any] = {"baseline_value": value, "baseline_exposure": exposure}
    if any(getattr(outcome, name) != wanted for name, wanted in moved.items()):
        outcome_update(actor=actor, outcome=outcome, data=moved, reason=reason)


def _needs_reason(reason: str) -> None:
    if not reason.strip():
        raise DomainError(
            "baseline_frozen",
            _(
                "A gate was decided on the baseline that this reading belongs to. Changing it is re-baselining: give a reason."
            ),
            errors=[{"field": "reason", "message": _("Why does a reading change after a gate has used it?")}],
        )


def _as_logged(reading: KpiReading) -> str:
    return f"{reading.value:g} in {reading.exposure:g} from {day_text(reading.period_from)}"


def _locked(outcome: Outcome) -> Outcome:
    """As it is now: a gate may have frozen its baseline since it was read."""
    return Outcome.objects.select_for_update().get(pk=outcome.pk)


def overlapping(outcome: Outcome, site_id: Any, period_from: datetime, period_to: datetime) -> Any:
    """Readings that count a part of this period already: of the same plant, of all together, or, for all together, of any plant."""
    rows = KpiReading.objects.filter(outcome=outcome, period_from__lt=period_to, period_to__gt=period_from)
    return rows if site_id is None else rows.filter(Q(site=site_id) | Q(site=None))


def twice_text(period_from: datetime, period_to: datetime) -> str:
    return _("The reading from {first} to {last} counts a part of this period already; it would count twice.").format(
        first=day_text(period_from), last=day_text(period_to)
    )


def _counts_once(reading: KpiReading, outcome: Outcome) -> None:
    if reading.period_from >= reading.period_to:
        return  # its own rules refuse that
    rows = overlapping(outcome, reading.site_id, reading.period_from, reading.period_to).exclude(pk=reading.pk)
    other = rows.order_by("period_from", "id").first()
    if other is not None:
        raise InvalidInput({"period_from": twice_text(other.period_from, other.period_to)})


def _count_once(outcome: Outcome, written: set[Any]) -> None:
    """The same for many readings at once."""
    rows = KpiReading.objects.filter(outcome=outcome).values_list("period_from", "period_to", "site_id", "pk")
    for one, other in clashes(Span(*row) for row in rows):
        if one.what in written or other.what in written:
            raise InvalidInput({"period_from": twice_text(one.start, one.end)})


@transaction.atomic
def reading_create(*, actor: Any, reason: str = "", **data: Any) -> KpiReading:
    """A new reading. Inside a frozen baseline it needs a reason and re-baselines, unless the plant's records computed it."""
    data.setdefault("source", KpiSource.FORM)
    outcome = data["outcome"] = _locked(data["outcome"])
    frozen = in_frozen_window(outcome, data["period_from"], data["period_to"]) and data["source"] != KpiSource.COMPUTED
    if frozen:
        _needs_reason(reason)
    reading = entity_create(actor=actor, model=KpiReading, data=data)
    _counts_once(reading, outcome)
    if frozen:
        _rebaseline(actor, outcome, reason, {"reading": [None, _as_logged(reading)]})
    _fresh_baseline(actor, outcome)
    gates_remeasure(use_case=outcome.use_case_id)
    return reading


@transaction.atomic
def reading_update(
    *,
    actor: Any,
    reading: KpiReading,
    data: dict[str, Any],
    expected_version: int | None = None,
    reason: str = "",
) -> KpiReading:
    """Change a reading. Inside a frozen baseline (before or after) it needs a reason and re-baselines. A new computation by the
    plant's records only changes the reading: the frozen baseline stays, and the outcome's page shows that the two differ."""
    before, held = _as_logged(reading), _locked(reading.outcome)
    outcomes = {held.pk: held}
    ends = [(held, reading.period_from, reading.period_to)]
    moved = any(getattr(reading, name) != value for name, value in data.items() if name not in {"note", "source"})
    if moved:
        after = _locked(data["outcome"]) if "outcome" in data else held
        outcomes[after.pk] = after
        ends.append((after, data.get("period_from", reading.period_from), data.get("period_to", reading.period_to)))
    computed = data.get("source", reading.source) == KpiSource.COMPUTED and actor is None
    frozen = {o.pk for o, start, end in ends if in_frozen_window(o, start, end)} if moved and not computed else set()
    if frozen:
        _needs_reason(reason)
    placed = any(name in data and data[name] != getattr(reading, name) for name in PLACED)
    reading = entity_update(actor=actor, obj=reading, data=data, expected_version=expected_version)
    if placed:
        _counts_once(reading, reading.outcome)
    for pk, outcome in outcomes.items():
        if pk in frozen:
            _rebaseline(actor, outcome, reason, {"reading": [before, _as_logged(reading)]})
        _fresh_baseline(actor, outcome)
        gates_remeasure(use_case=outcome.use_case_id)
    return reading


@transaction.atomic
def reading_delete(*, actor: Any, reading: KpiReading, reason: str = "") -> None:
    outcome, before = _locked(reading.outcome), _as_logged(reading)
    frozen = in_frozen_window(outcome, reading.period_from, reading.period_to)
    if frozen:
        _needs_reason(reason)
    entity_delete(actor=actor, obj=reading)
    if frozen:
        _rebaseline(actor, outcome, reason, {"reading": [before, None]})
    _fresh_baseline(actor, outcome)
    gates_remeasure(use_case=outcome.use_case_id)


@transaction.atomic
def readings_put(*, actor: Any, rows: Sequence[tuple[KpiReading, KpiReading | None, str]]) -> None:
    """Many readings of one outcome at once: (as it shall be, as it is or None, reason). One audit row each; the baseline and the
    gate are looked at once at the end."""
    if not rows:
        return
    outcome = _locked(rows[0][0].outcome)
    fresh: list[KpiReading] = []
    reasons: dict[str, list[Any]] = {}
    for made, found, reason in rows:
        ends = {made.period_to} | ({found.period_to} if found is not None else set())
        if any(in_frozen_window(outcome, made.period_from, end) for end in ends):
            _needs_reason(reason)
            old = None if found is None else _as_logged(found)
            reasons.setdefault(reason.strip(), []).append([old, _as_logged(made)])
        if found is None:
            fresh.append(made)
            continue
        values = {name: getattr(made, name) for name in ("period_to", "value", "exposure", "note", "source")}
        entity_update(actor=actor, obj=found, data=values, action="kpireading.import")
    try:
        with transaction.atomic():
            KpiReading.objects.bulk_create(fresh, batch_size=500)
    except IntegrityError as error:
        raise DomainError("conflict", _("Somebody wrote one of these readings meanwhile. Check again.")) from error
    _count_once(outcome, {made.pk if found is None else found.pk for made, found, _reason in rows})
    for reading in fresh:
        audit.record(actor=actor, action="kpireading.import", obj=reading, changes={"reading": _as_logged(reading)})
    for reason, changed in reasons.items():
        shown = {"readings": changed[:100]} if len(changed) > 1 else {"reading": changed[0]}
        _rebaseline(actor, outcome, reason, shown)
    _fresh_baseline(actor, outcome)
    gates_remeasure(use_case=outcome.use_case_id)


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
    reason: str = "",
) -> KpiReading:
    """Write what plant records say about one period (plant time), replacing an earlier computation of the same period."""
    data = {"period_to": period_to, "value": value, "exposure": exposure, "note": note, "source": source}
    found = KpiReading.objects.filter(outcome=outcome, site=site, period_from=period_from).first()
    if found is None:
        return reading_create(actor=actor, outcome=outcome, site=site, period_from=period_from, reason=reason, **data)
    return reading_update(actor=actor, reading=found, data=data, reason=reason)


def target_better(outcome: Outcome) -> bool | None:
    """Whether the target lies on the good side of the baseline; None while one of them is missing."""
    if outcome.baseline_value is None or outcome.target_value is None:
        return None
    if outcome.direction == Direction.DOWN:
        return outcome.target_value < outcome.baseline_value
    return outcome.target_value > outcome.baseline_value
