"""What it earned: the newest ROI review of each adoption, and where each outcome's KPI stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Case, F, Value, When, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext as _

from coe.choices import ReviewVerdict
from coe.models import RoiReview
from coe.periods import quarter_name
from devices.domain.sparkline import sparkline
from portal.core.templatetags.phasegate import quantity
from usecases.choices import Direction
from usecases.models import KpiReading, Outcome

#: Readings of each KPI and site that a trend shows.
TREND = 24
_PROVEN = {ReviewVerdict.ON_PLAN, ReviewVerdict.ABOVE, ReviewVerdict.BELOW}
_TONES = {"on_plan": "ok", "above": "ok", "below": "breach", "not_provable": "watch", "open": "not_measured"}


@dataclass(frozen=True)
class Earned:
    """The newest review of one adoption that has a verdict, else its newest."""

    review: RoiReview

    @property
    def value(self) -> Decimal | None:
        """The measured value where it is proven."""
        return self.review.measured if self.review.verdict in _PROVEN else None

    @property
    def proven(self) -> bool:
        return self.value is not None

    @property
    def state(self) -> str:
        return _TONES[self.review.verdict]

    @property
    def quarter(self) -> str:
        return quarter_name(self.review.quarter)

    @property
    def interval(self) -> str:
        """The interval of the measured value; empty where there is none."""
        review = self.review
        if review.measured_low is None or review.measured_high is None:
            return ""
        words = {"low": f"{review.measured_low:,.0f}", "high": f"{review.measured_high:,.0f}", "in": review.currency}
        return _("between %(low)s and %(high)s %(in)s") % words

    @property
    def reason(self) -> str:
        """Why there is no proven value."""
        if self.proven:
            return ""
        review = self.review
        return review.provable_from or str(review.detail.get("text") or "") or _("No outcome was measured yet")


@dataclass
class Total:
    """All newest reviews of one currency together. The ends of the intervals are added, which is the widest they can be."""

    currency: str
    planned: Decimal | None = None
    measured: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    proven: int = 0
    of: int = 0

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        words = {"low": f"{self.low:,.0f}", "high": f"{self.high:,.0f}", "in": self.currency}
        return _("between %(low)s and %(high)s %(in)s") % words


@dataclass
class Money:
    earned: list[Earned] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """Why no value is proven, from the reviews; empty where one is."""
        if any(one.proven for one in self.earned):
            return ""
        if not self.earned:
            return _("No ROI review yet: the first comes when a quarter of plant time is over")
        return self.told.reason if self.told else ""

    @property
    def told(self) -> Earned | None:
        """The review that says most about why nothing is proven."""
        unsure = (one for one in self.earned if one.review.verdict == ReviewVerdict.NOT_PROVABLE)
        return next(unsure, self.earned[0] if self.earned else None)


def newest_reviews(user: Any, site_id: Any = None) -> Money:
    """The newest review of each adoption in sight, those with a verdict before those without; one query."""
    rows = RoiReview.objects.permitted(user)
    if site_id:
        rows = rows.filter(adoption__site=site_id)
    judged = Case(When(verdict=ReviewVerdict.OPEN, then=Value(False)), default=Value(True), output_field=BooleanField())
    place = Window(RowNumber(), partition_by=F("adoption"), order_by=[judged.desc(), F("quarter").desc()])
    newest = (
        rows.select_related("adoption__site", "adoption__use_case")
        .annotate(place=place)
        .filter(place=1)
        .order_by("adoption__use_case__title", "adoption__site__name", "id")
    )
    found = [Earned(review) for review in newest]
    order = {"on_plan": 0, "above": 0, "below": 0, "not_provable": 1, "open": 2}
    found.sort(key=lambda one: order[one.review.verdict])
    return Money(found, totals(found))


def totals(found: Iterable[Earned]) -> list[Total]:
    """One sum per currency; measured sums the proven values only."""
    by: dict[str, Total] = {}
    for one in found:
        review = one.review
        total = by.setdefault(review.currency, Total(review.currency))
        total.of += 1
        if review.planned is not None:
            total.planned = (total.planned or Decimal(0)) + review.planned
        if one.value is not None:
            total.proven += 1
            total.measured = (total.measured or Decimal(0)) + one.value
            if review.measured_low is not None and review.measured_high is not None:
                total.low = (total.low or Decimal(0)) + review.measured_low
                total.high = (total.high or Decimal(0)) + review.measured_high
    return sorted(by.values(), key=lambda total: total.currency)


@dataclass(frozen=True)
class Trend:
    """One KPI at one site: newest value per exposure against baseline and target. ``at`` is plant time."""

    outcome: Outcome
    site: str
    newest: float
    at: datetime
    path: str
    readings: int

    @property
    def unit(self) -> str:
        return f"{self.outcome.unit} / {self.outcome.exposure_unit}"

    @property
    def url(self) -> str:
        return self.outcome.get_absolute_url()

    @property
    def state(self) -> str:
        """ok: at the target or beyond; watch: between baseline and target; breach: no better than the baseline."""
        goal, base = self.outcome.target_value, self.outcome.baseline_value
        if goal is not None and self._better(self.newest, goal):
            return "ok"
        if base is None:
            return "unknown"
        if self.newest == base or self._better(base, self.newest):
            return "breach"
        return "watch" if goal is not None else "ok"

    @property
    def state_label(self) -> str:
        return {
            "ok": _("At target") if self.outcome.target_value is not None else _("Better than before"),
            "watch": _("On the way"),
            "breach": _("No better yet"),
            "unknown": _("No baseline"),
        }[self.state]

    @property
    def against(self) -> str:
        """Baseline and target in words."""
        parts = []
        if self.outcome.baseline_value is not None:
            parts.append(_("baseline %(value)s") % {"value": quantity(self.outcome.baseline_value)})
        if self.outcome.target_value is not None:
            parts.append(_("target %(value)s") % {"value": quantity(self.outcome.target_value)})
        return ", ".join(parts)

    def _better(self, one: float, other: float) -> bool:
        """At least as good."""
        return one <= other if self.outcome.direction == Direction.DOWN else one >= other


def trends(user: Any, site_id: Any = None) -> list[Trend]:
    """Each KPI in sight with its newest readings, by site; one query, at most ``TREND`` readings each."""
    rows = KpiReading.objects.permitted(user).filter(exposure__gt=0)
    if site_id:
        rows = rows.filter(site=site_id)
    place = Window(RowNumber(), partition_by=[F("outcome"), F("site")], order_by=F("period_from").desc())
    newest = (
        rows.annotate(place=place).filter(place__lte=TREND).select_related("outcome", "site").order_by("period_from")
    )
    grouped: dict[tuple[UUID, UUID | None], list[KpiReading]] = defaultdict(list)
    for reading in newest:
        grouped[reading.outcome_id, reading.site_id].append(reading)
    return sorted((_trend(readings) for readings in grouped.values()), key=lambda t: (t.outcome.kpi, t.site))


def _trend(readings: Sequence[KpiReading]) -> Trend:
    last = readings[-1]
    rates = [r.value / r.exposure for r in readings]
    return Trend(
        outcome=last.outcome,
        site=str(last.site) if last.site else "",
        newest=rates[-1],
        at=last.period_to,
        path=sparkline(rates),
        readings=len(rates),
    )
