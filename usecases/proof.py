"""Can the target of an outcome be proved, and what would it take? Said before the money is spent, from the readings there are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from usecases.choices import Direction
from usecases.domain import provability as domain
from usecases.domain.errors import InvalidInput
from usecases.models import KpiReading, Outcome
from usecases.services.outcomes import baseline_window, target_better

MONTH, YEAR = 30.44, 365.25


@dataclass(frozen=True)
class Proof:
    """``sentence`` says whether the target can be proved; where nothing can be said it is empty and ``reason`` says why.

    ``method``: "counts" (exact test of two rates), "spread" (how much the readings differ) or empty. ``figures`` are pairs of
    label and value for the page, ``numbers`` the same as plain numbers for the API.
    """

    outcome: Outcome
    method: str = ""
    provable: bool | None = None
    sentence: str = ""
    since: str = ""
    reason: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return {True: "ok", False: "watch", None: "unknown"}[self.provable]

    @property
    def verdict(self) -> str:
        return {True: _("Provable"), False: _("Not provable yet"), None: _("Cannot be said yet")}[self.provable]

    def as_data(self) -> dict[str, Any]:
        return {
            "outcome": str(self.outcome.pk),
            "method": self.method,
            "provable": self.provable,
            "sentence": self.sentence,
            "since": self.since,
            "reason": self.reason,
            **self.numbers,
        }


def proofs(outcomes: Iterable[Outcome]) -> list[Proof]:
    """One proof per outcome; one query for the readings of all."""
    chosen = list(outcomes)
    readings: dict[Any, list[KpiReading]] = defaultdict(list)
    for row in KpiReading.objects.filter(outcome__in=[o.pk for o in chosen]).order_by("period_from", "id"):
        readings[row.outcome_id].append(row)
    return [proof_of(outcome, readings[outcome.pk]) for outcome in chosen]


def proof_of(outcome: Outcome, readings: Sequence[KpiReading]) -> Proof:
    """``readings``: all of the outcome's."""
    window = baseline_window(outcome)
    if not outcome.baseline_value or window is None:
        return Proof(outcome, reason=_("No baseline above zero yet: the readings of the baseline window give it."))
    if outcome.target_value is None:
        return Proof(outcome, reason=_("No target yet."))
    if not target_better(outcome):
        return Proof(outcome, reason=_("The target is no better than the baseline."))
    start, end = window
    before = [r for r in readings if start <= r.period_from and r.period_to <= end and r.exposure > 0]
    after = [r for r in readings if r.period_from >= end and r.exposure > 0]
    gain = min(0.999999, abs(outcome.target_value - outcome.baseline_value) / abs(outcome.baseline_value))
    if not outcome.counts_events:
        return _by_spread(outcome, before, gain)
    if outcome.direction != Direction.DOWN:
        return Proof(outcome, reason=_("Events that are to become more cannot be judged by the test for fewer."))
    return _by_counts(outcome, before, after, gain, (end - start) / timedelta(days=1))


@lru_cache(maxsize=256)
def _provability(events: int, reduction: float) -> domain.Provability:
    return domain.provability(events, reduction)


def _by_counts(
    outcome: Outcome, before: list[KpiReading], after: list[KpiReading], reduction: float, days: float
) -> Proof:
    events = round(sum(r.value for r in before)) if before else 0
    if not before and outcome.baseline_value and outcome.baseline_exposure:
        events = round(outcome.baseline_value * outcome.baseline_exposure)
    if events < 1:
        return Proof(outcome, method="counts", reason=_("No event in the baseline, so there is nothing to reduce."))
    try:
        found = _provability(events, round(reduction, 6))
    except InvalidInput as error:
        return Proof(outcome, method="counts", reason=error.message)
    unit, percent = event_word(outcome.unit), round(100 * reduction)
    sites = len({r.site_id for r in before if r.site_id})
    words = {"events": f"{events:,}", "needed": f"{found.events_needed:,}", "unit": unit, "percent": percent}
    if found.provable:
        sentence = _("{events} {unit} in the baseline are enough to prove {percent} % less.").format(**words)
    elif sites > 1:
        sentence = _(
            "{events} {unit} are too few to prove {percent} % less; about {needed} are, or {times} times as many plants."
        ).format(**words, times=found.plants_to_pool)
    else:
        sentence = _(
            "{events} {unit} are too few to prove {percent} % less; about {needed} are, or pool {plants} plants like this one."
        ).format(**words, plants=found.plants_to_pool)
    pace = events / days
    figures = [
        (_("Events in the baseline"), f"{events:,} ({span_text(days)})"),
        (_("Needed for 80 % power"), _("about {n}").format(n=f"{found.events_needed:,}")),
        (_("Chance to prove it now"), _("{n} %, if as long is measured after").format(n=f"{100 * found.power:.0f}")),
    ]
    if not found.provable:
        figures.append(
            (_("At the present pace"), _("a baseline of {span}").format(span=span_text(found.events_needed / pace)))
        )
    figures.append((_("Or longer after the start"), _waiting(found, days)))
    return Proof(
        outcome,
        method="counts",
        provable=found.provable,
        sentence=sentence,
        since=_since(outcome, before, after, unit),
        figures=figures,
        numbers={
            "baseline_events": events,
            "reduction": round(reduction, 4),
            "events_needed": found.events_needed,
            "power": round(found.power, 4),
            "plants_to_pool": found.plants_to_pool,
            "exposure_ratio": None if found.exposure_ratio is None else round(found.exposure_ratio, 2),
            "days_at_present_pace": round(found.events_needed / pace),
        },
    )


def _waiting(found: domain.Provability, days: float) -> str:
    if found.exposure_ratio is None:
        return _("does not help: the baseline itself is too uncertain")
    return _("{times} times the baseline, about {span}").format(
        times=f"{found.exposure_ratio:.1f}", span=span_text(found.exposure_ratio * days)
    )


def _since(outcome: Outcome, before: list[KpiReading], after: list[KpiReading], unit: str) -> str:
    """What has been measured since the baseline, with its interval."""
    if not before or not after:
        return ""
    try:
        found = domain.rate_ratio(
            domain.Count(round(sum(r.value for r in before)), sum(r.exposure for r in before)),
            domain.Count(round(sum(r.value for r in after)), sum(r.exposure for r in after)),
        )
    except InvalidInput:  # readings from before the KPI was said to count events
        return ""
    if not math.isfinite(found.ratio.high):
        return ""
    gain = found.reduction
    words = {
        "n": f"{sum(r.value for r in after):,.0f}",
        "unit": unit,
        "exposure": f"{sum(r.exposure for r in after):,.0f} {outcome.exposure_unit}",
        "change": _change(gain.estimate),
        "low": _change(gain.low),
        "high": _change(gain.high),
    }
    if gain.low > 0:
        return _("Since then {n} {unit} in {exposure}: {change}, proved (between {low} and {high}).").format(**words)
    if gain.high < 0:
        return _("Since then {n} {unit} in {exposure}: {change}; it got worse (between {low} and {high}).").format(
            **words
        )
    return _("Since then {n} {unit} in {exposure}: {change}, but anything between {low} and {high} fits.").format(
        **words
    )


def _change(gain: float) -> str:
    percent = round(100 * gain)
    return _("{n} % less").format(n=percent) if percent >= 0 else _("{n} % more").format(n=-percent)


def _by_spread(outcome: Outcome, before: list[KpiReading], gain: float) -> Proof:
    falls = outcome.direction == Direction.DOWN
    values, exposure = [r.value for r in before], [r.exposure for r in before]
    found = domain.spread(values, exposure, gain, falls=falls) if before else None
    if found is None:
        return Proof(
            outcome,
            method="spread",
            reason=_(
                "The baseline holds {n} readings; from {least} on their spread tells how many are needed. "
                "Weekly readings get there soonest."
            ).format(n=len(before), least=domain.MIN_BLOCKS),
        )
    days = sum((r.period_to - r.period_from) / timedelta(days=1) for r in before) / len(before)
    words = {
        "blocks": found.blocks,
        "needed": f"{found.needed:,}",
        "percent": round(100 * gain),
        "change": _("less") if outcome.direction == Direction.DOWN else _("more"),
    }
    if found.provable:
        sentence = _(
            "The {blocks} readings of the baseline are steady enough to prove {percent} % {change}, with as many after the start."
        ).format(**words)
    else:
        sentence = _(
            "{blocks} readings are too few to prove {percent} % {change}: they differ too much. About {needed} before and as many "
            "after are enough."
        ).format(**words)
    return Proof(
        outcome,
        method="spread",
        provable=found.provable,
        sentence=sentence,
        figures=[
            (_("Readings in the baseline"), _("{n} of about {span}").format(n=found.blocks, span=span_text(days))),
            (_("From reading to reading"), _("{n} % up or down").format(n=f"{100 * found.variation:.0f}")),
            (
                _("Needed for 80 % power"),
                _("about {n}, {span} at this length").format(
                    n=f"{found.needed:,}", span=span_text(found.needed * days)
                ),
            ),
        ],
        numbers={
            "baseline_readings": found.blocks,
            "gain": round(gain, 4),
            "variation": round(found.variation, 4),
            "readings_needed": found.needed,
        },
    )


def event_word(unit: str) -> str:
    """A counted KPI's unit in a sentence: UCUM writes {stops}, or 1 for a bare number."""
    word = unit.strip().removeprefix("{").removesuffix("}").strip()
    return word if word and word != "1" else _("events")


def span_text(days: float) -> str:
    """A span of plant time, rounded as one would say it."""
    if days < 14:
        return _("{n} days").format(n=f"{days:.0f}")
    if days < 3 * MONTH:
        return _("{n} weeks").format(n=f"{days / 7:.0f}")
    if days < 2 * YEAR:
        return _("{n} months").format(n=f"{days / MONTH:.0f}")
    return _("{n} years").format(n=f"{days / YEAR:.1f}")
