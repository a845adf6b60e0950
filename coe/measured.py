"""What one adoption planned and measured in one quarter of plant time. Reads only; the maths is in coe.domain.roi."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.utils.translation import gettext as _

from coe.domain import roi
from coe.periods import months_between, quarter_of, span
from coe.wording import paragraph
from usecases.choices import Direction, LineKind
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.models import Adoption, BusinessCase, KpiReading, Outcome
from usecases.services.outcomes import baseline_readings, target_better

WEEK: Final = timedelta(days=7)
#: Units (UCUM) of a KPI that is counted: a bare number or an annotation such as {stops}.
_COUNTED: Final = "1"


@dataclass(frozen=True)
class Plan:
    """The business case's benefit of one quarter for one adoption; ``amount`` None with the reason in ``text``."""

    amount: float | None
    currency: str
    text: str
    assumption: str = ""
    attribution: float = 1.0
    index: int | None = None
    adoptions: int = 1
    next_cost: float | None = None


def plan_of(adoption: Adoption, quarter: date) -> Plan:
    """Planned benefit, a labelled assumption. A case for several adoptions is shared among them equally, and says so."""
    case = BusinessCase.objects.filter(use_case_id=adoption.use_case_id).prefetch_related("lines").first()
    if case is None or not case.result:
        return Plan(None, adoption.site.currency, _("There is no business case with lines yet."))
    # Quarter t of a case ends 3 t months after its start, so quarter 1 begins with it.
    index = months_between(quarter_of(case.start), quarter) // 3 + 1
    benefits: list[float] = case.result.get("benefit", [])
    shared = max(1, Adoption.objects.filter(use_case_id=adoption.use_case_id).count())
    lines = [line for line in case.lines.all() if line.kind == LineKind.BENEFIT]
    weight = sum(float(line.likely) for line in lines)
    attribution = sum(float(line.likely) * line.attribution for line in lines) / weight if weight else 1.0
    common: dict[str, Any] = {
        "currency": case.currency,
        "assumption": case.assumption,
        "attribution": attribution,
        "adoptions": shared,
    }
    if not 1 <= index < len(benefits):
        return Plan(None, text=_("The business case does not cover this quarter."), **common)
    text = _("Quarter %(index)s of the business case; its amounts are labelled assumptions.") % {"index": index}
    if shared > 1:
        text += " " + _("Shared equally among %(n)s adoptions.") % {"n": shared}
    cost = None
    if index + 1 < len(benefits):
        cost = -(case.result["capex"][index + 1] + case.result["opex"][index + 1]) / shared
    return Plan(benefits[index] / shared, text=text, index=index, next_cost=cost, **common)


@dataclass(frozen=True)
class Gained:
    """One outcome in one quarter. Shares of the baseline (0.1: a tenth better); ``worth`` in ``currency`` or None with a reason."""

    outcome: str
    kpi: str
    unit: str
    exposure_unit: str
    baseline: float | None = None
    baseline_exposure: float | None = None
    measured: float | None = None
    exposure: float | None = None
    planned_gain: float | None = None
    gain: dict[str, float | None] | None = None
    finding: str = ""
    plan: str = ""
    method: str = ""
    blocks: tuple[int, int] | None = None
    p_value: float | None = None
    until: str | None = None
    enough: bool = False
    worth: dict[str, float | None] | None = None
    price: str | None = None
    currency: str = ""
    assumption: str = ""
    text: str = ""
    reason: str = ""

    @property
    def measured_at_all(self) -> bool:
        return self.gain is not None


def _finite(value: float | None) -> float | None:
    return round(float(value), 6) if value is not None and math.isfinite(value) else None


def _interval(found: roi.Interval) -> dict[str, float | None]:
    return {"low": _finite(found.low), "estimate": _finite(found.estimate), "high": _finite(found.high)}


def _is_count(outcome: Outcome, readings: list[KpiReading]) -> bool:
    counted = (
        outcome.counts_events
        or outcome.unit == _COUNTED
        or (outcome.unit.startswith("{") and outcome.unit.endswith("}"))
    )
    whole = all(r.value >= 0 and r.value == int(r.value) for r in readings)
    return counted and whole and outcome.direction == Direction.DOWN


def _blocks(readings: list[KpiReading]) -> tuple[roi.Blocks, timedelta]:
    """Totals and exposure of whole ISO weeks, and how long a block is; readings longer than a week are a block each."""
    longest = max(r.period_to - r.period_from for r in readings)
    by_week = longest <= WEEK
    labels = [r.period_from.isocalendar()[:2] if by_week else r.period_from for r in readings]
    values = [r.value for r in readings]
    return roi.by_block(values, labels, [r.exposure for r in readings]), WEEK if by_week else longest


def gained(outcome: Outcome, adoption: Adoption, quarter: date, plan: Plan) -> Gained:
    """Measured gain of one outcome against its frozen baseline, or the reason why there is none."""
    told = Gained(
        outcome=str(outcome.pk),
        kpi=outcome.kpi,
        unit=outcome.unit,
        exposure_unit=outcome.exposure_unit,
        currency=outcome.currency,
        assumption=outcome.assumption,
        price=str(outcome.value_per_unit) if outcome.value_per_unit is not None else None,
        baseline=outcome.baseline_value,
        baseline_exposure=outcome.baseline_exposure,
    )
    if outcome.baseline_frozen_at is None or outcome.baseline_value is None:
        return replace(told, reason=_("The baseline is not frozen yet: gate 1 freezes it."))
    begin, end = span(quarter, 3)
    site = adoption.site_id
    before = [r for r in baseline_readings(outcome) if r.site_id in {None, site} and r.exposure > 0]
    after = [
        r
        for r in KpiReading.objects.filter(outcome=outcome, period_from__gte=begin, period_from__lt=end)
        if r.site_id in {None, site} and r.exposure > 0
    ]
    if not after:
        return replace(told, reason=_("No reading of this quarter yet."))
    exposure = sum(r.exposure for r in after)
    told = replace(told, measured=sum(r.value for r in after) / exposure, exposure=exposure)
    if not before:
        return replace(told, reason=_("No reading lies in the baseline window at this site."))
    if not target_better(outcome) or not outcome.baseline_value:
        return replace(told, reason=_("There is no target better than the baseline."))
    planned = abs(float(outcome.target_value or 0.0) - outcome.baseline_value) / abs(outcome.baseline_value)
    try:
        review, method, blocks = _review(outcome, before, after, min(planned, 0.999999), end)
    except DomainInvalid as error:
        return replace(told, planned_gain=planned, reason=error.message)
    if math.isnan(review.measured.estimate):
        return replace(told, planned_gain=planned, reason=paragraph(review.explain()))
    worth = None
    reason = ""
    enough = review.finding is roi.Finding.NOT_PROVABLE_YET and _enough(review, outcome, blocks, exposure)
    if outcome.value_per_unit is None:
        reason = _("No worth per unit is set, so there is no money to show.")
    else:
        amount = roi.money(
            review.measured,
            baseline=abs(outcome.baseline_value) * exposure,
            price=float(outcome.value_per_unit),
            attribution=plan.attribution,
        )
        worth = _interval(amount)
    return replace(
        told,
        planned_gain=planned,
        gain=_interval(review.measured),
        finding=str(review.finding),
        plan=str(review.plan or ""),
        method=method,
        blocks=blocks,
        p_value=_finite(review.p_value),
        until=review.until.date().isoformat() if review.until else None,
        worth=worth,
        enough=enough,
        text=paragraph(review.explain(), enough=enough),
        reason=reason,
    )


def _review(
    outcome: Outcome, before: list[KpiReading], after: list[KpiReading], planned: float, now: datetime
) -> tuple[roi.Review, str, tuple[int, int]]:
    if _is_count(outcome, before + after):
        days = sum((r.period_to - r.period_from).total_seconds() for r in after) / 86_400
        exposure = sum(r.exposure for r in after)
        found = roi.review_counts(
            roi.Count(round(sum(r.value for r in before)), sum(r.exposure for r in before)),
            roi.Count(round(sum(r.value for r in after)), exposure),
            planned_reduction=planned,
            now=now,
            exposure_per_day=exposure / days if days > 0 else None,
        )
        return found, "counts", (len(before), len(after))
    blocks_before, _length = _blocks(before)
    blocks_after, length = _blocks(after)
    change = roi.bootstrap_change(blocks_before, blocks_after)
    found = roi.review_change(
        change,
        planned_gain=planned,
        higher_is_better=outcome.direction == Direction.UP,
        now=now,
        block_length=length,
    )
    return found, "bootstrap", change.blocks


def _enough(review: roi.Review, outcome: Outcome, blocks: tuple[int, int], exposure: float) -> bool:
    """Whether what the calculator says it takes to prove the planned gain is there already."""
    if review.provability is not None:
        ratio = review.provability.exposure_ratio
        return ratio is not None and exposure >= ratio * (outcome.baseline_exposure or math.inf)
    return review.blocks_needed is not None and min(blocks) >= roi.MIN_BLOCKS and blocks[1] >= review.blocks_needed


@dataclass(frozen=True)
class Measured:
    """All outcomes together: the sum of the estimates between the sums of their limits (wider than need be, never narrower)."""

    low: float | None
    estimate: float | None
    high: float | None
    provable: bool
    text: str


def together(rows: list[Gained], currency: str) -> Measured:
    with_gain = [row for row in rows if row.measured_at_all]
    if not with_gain:
        return Measured(None, None, None, False, " ".join(dict.fromkeys(r.reason for r in rows if r.reason)))
    open_rows = [row for row in with_gain if row.finding == roi.Finding.NOT_PROVABLE_YET]
    text = " ".join(f"{row.kpi}: {row.text}" if len(rows) > 1 else row.text for row in open_rows)
    foreign = [row.kpi for row in with_gain if row.worth is not None and row.currency != currency]
    if foreign:
        text += " " + _("Left out of the sum, in another currency: %(kpis)s.") % {"kpis": ", ".join(foreign)}
    sums: dict[str, float | None] = {}
    for name in ("low", "estimate", "high"):
        values = [row.worth[name] for row in with_gain if row.worth is not None and row.currency == currency]
        known = [value for value in values if value is not None]
        sums[name] = sum(known) if values and len(known) == len(values) else None
    return Measured(sums["low"], sums["estimate"], sums["high"], not open_rows, text.strip())


def cents(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(f"{value:.2f}")


def measure(adoption: Adoption, quarter: date) -> tuple[Plan, list[Gained], Measured]:
    """Plan, each outcome, and all together for one adoption and quarter (about four queries and two per outcome)."""
    plan = plan_of(adoption, quarter)
    outcomes = Outcome.objects.filter(use_case_id=adoption.use_case_id).order_by("kpi", "pk")
    rows = [gained(outcome, adoption, quarter, plan) for outcome in outcomes]
    return plan, rows, together(rows, plan.currency)


def as_detail(plan: Plan, rows: list[Gained], sum_of: Measured) -> dict[str, Any]:
    """The plain data kept with the review."""
    outcomes = [asdict(row) | {"blocks": list(row.blocks) if row.blocks else None} for row in rows]
    return {"plan": asdict(plan), "outcomes": outcomes, "text": sum_of.text}
