"""What a use case has really returned: planned against measured, with an interval, or "not provable until".

Counts (stoppages, rejects) are judged by the exact conditional test of two Poisson rates, continuous KPIs (hours, kWh,
mg/m3) by a bootstrap over whole weeks or shifts. See docs/algorithms/roi.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from usecases.domain.errors import InvalidInput
from usecases.domain.provability import (
    CONFIDENCE,
    MIN_BLOCKS,
    POWER,
    Count,
    Interval,
    Provability,
    provability,
    rate_ratio,
    share_of,
)
from usecases.domain.sentences import Sentence

Array = NDArray[np.float64]

DRAWS: Final = 10_000


class Finding(StrEnum):
    IMPROVED = "improved"
    WORSENED = "worsened"
    NOT_PROVABLE_YET = "not_provable_yet"


class Plan(StrEnum):
    """Where the plan lies against what was measured."""

    AS_PLANNED = "as_planned"
    ABOVE_PLAN = "above_plan"
    BELOW_PLAN = "below_plan"


def against_plan(planned: float, measured: Interval) -> Plan:
    """Gains (more is better): the plan holds while it lies inside the interval."""
    if measured.low > planned:
        return Plan.ABOVE_PLAN
    return Plan.BELOW_PLAN if measured.high < planned else Plan.AS_PLANNED


@dataclass(frozen=True, slots=True)
class Review:
    """One KPI in an ROI review. ``measured`` is the gain as a share of the baseline (0.25: a quarter better).

    ``plan`` is None while nothing is provable. ``until`` is when proof of the planned gain can be expected at the present
    pace, None when it is here already, when the pace is unknown, or when waiting does not help.
    """

    finding: Finding
    measured: Interval
    planned: float
    plan: Plan | None
    confidence: float
    p_value: float | None = None
    provability: Provability | None = None
    blocks_needed: int | None = None
    until: datetime | None = None

    def explain(self) -> tuple[Sentence, ...]:
        figures: dict[str, str | int | float] = {
            "percent": round(100 * self.measured.estimate, 1),
            "low_percent": round(100 * self.measured.low, 1),
            "high_percent": round(100 * self.measured.high, 1),
            "planned_percent": round(100 * self.planned, 1),
            "confidence_percent": round(100 * self.confidence, 1),
        }
        if math.isnan(self.measured.estimate):
            out = [Sentence("roi.nothing_to_compare", {"planned_percent": figures["planned_percent"]})]
        else:
            out = [Sentence(f"roi.{self.finding}", figures)]
        if self.plan is not None:
            out.append(Sentence(f"roi.{self.plan}", figures))
        if self.finding is Finding.NOT_PROVABLE_YET:
            if self.until is not None:
                out.append(Sentence("roi.not_provable_until", {"until": self.until.isoformat()}))
            if self.blocks_needed is not None:
                out.append(Sentence("roi.blocks_needed", {"blocks": self.blocks_needed}))
            if self.provability is not None:
                out.extend(self.provability.explain())
            elif self.blocks_needed is None:
                out.append(Sentence("roi.waiting_does_not_help", {}))
        return tuple(out)


def _finding(gain: Interval) -> Finding:
    if gain.low > 0:
        return Finding.IMPROVED
    return Finding.WORSENED if gain.high < 0 else Finding.NOT_PROVABLE_YET


def review_counts(
    before: Count,
    after: Count,
    *,
    planned_reduction: float,
    now: datetime,
    exposure_per_day: float | None = None,
    wanted_power: float = POWER,
    confidence: float = CONFIDENCE,
) -> Review:
    """Planned against measured for a KPI that is counted and should fall.

    ``exposure_per_day`` (operating hours a day, say) turns the exposure still missing into a date.
    """
    found = rate_ratio(before, after, confidence=confidence)
    gain = found.reduction
    finding = _finding(gain)
    if finding is not Finding.NOT_PROVABLE_YET:
        return Review(
            finding, gain, planned_reduction, against_plan(planned_reduction, gain), confidence, found.p_value
        )
    proof = provability(before.events, planned_reduction, wanted_power=wanted_power, confidence=confidence)
    until = None
    if proof.exposure_ratio is not None and exposure_per_day is not None and exposure_per_day > 0:
        missing = max(0.0, proof.exposure_ratio * before.exposure - after.exposure)
        # With all the exposure there and still no proof, a date would be a promise nobody can keep.
        until = now + timedelta(days=math.ceil(missing / exposure_per_day)) if missing > 0 else None
    return Review(finding, gain, planned_reduction, None, confidence, found.p_value, proof, None, until)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A KPI summed over whole blocks (weeks, shifts): ``totals`` and ``exposure``, both (n,); the KPI is their ratio."""

    totals: Array
    exposure: Array

    @property
    def mean(self) -> float:
        return float(self.totals.sum() / self.exposure.sum())


def by_block(values: ArrayLike, labels: Sequence[object], exposure: ArrayLike | None = None) -> Blocks:
    """Sum readings (k,) by their block; ``exposure`` per reading defaults to 1, so the KPI is a plain mean.

    Blocks come in the order of their first reading. Readings of one shift hang together; whole shifts hardly do.
    """
    x = np.asarray(values, dtype=float)
    e = np.ones_like(x) if exposure is None else np.asarray(exposure, dtype=float)
    if x.ndim != 1 or x.size == 0 or e.shape != x.shape or len(labels) != x.size:
        raise InvalidInput("readings_shape", "Each reading needs one block and one exposure.", field="values")
    if not (np.isfinite(x).all() and np.isfinite(e).all() and (e >= 0).all()):
        raise InvalidInput("reading_not_a_number", "Readings must be finite, exposures not negative.", field="values")
    order: dict[object, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in labels])
    totals: Array = np.bincount(index, weights=x).astype(float)
    sums: Array = np.bincount(index, weights=e).astype(float)
    if (sums <= 0).any():
        raise InvalidInput("exposure_not_positive", "A block has no exposure.", field="exposure")
    return Blocks(totals, sums)


@dataclass(frozen=True, slots=True)
class Change:
    """KPI before and after with the bootstrap interval of the difference and of the relative change (after/before - 1).

    ``standard_error`` is that of the relative change, ``from_before`` the part of it that stays as long as the baseline
    does (0 for pairs, which grow on both sides).
    """

    before: float
    after: float
    difference: Interval
    relative: Interval
    standard_error: float
    from_before: float
    blocks: tuple[int, int]
    draws: int
    seed: int
    confidence: float


def bootstrap_change(
    before: Blocks,
    after: Blocks,
    *,
    paired: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Change:
    """Percentile bootstrap over whole blocks (Efron & Tibshirani 1993), seeded.

    ``paired`` draws block k of before and after together (the same week of two years, the same shift of two lines).
    """
    alpha = 1.0 - share_of(confidence, "confidence")
    n0, n1 = before.totals.size, after.totals.size
    if min(n0, n1) < 2:
        raise InvalidInput("too_few_blocks", "At least two blocks are needed on each side.", field="blocks")
    if paired and n0 != n1:
        raise InvalidInput("blocks_not_paired", "Pairs need as many blocks before as after.", field="blocks")
    if before.mean == 0:
        raise InvalidInput("baseline_zero", "Relative to zero nothing can change.", field="before")
    rng = np.random.default_rng([seed, 2])
    # How often each block is drawn: a matrix product with these counts is the whole bootstrap.
    times0 = rng.multinomial(n0, np.full(n0, 1 / n0), size=draws).astype(float)
    times1 = times0 if paired else rng.multinomial(n1, np.full(n1, 1 / n1), size=draws).astype(float)
    mean0 = (times0 @ before.totals) / (times0 @ before.exposure)
    mean1 = (times1 @ after.totals) / (times1 @ after.exposure)
    difference = mean1 - mean0
    relative = np.divide(difference, np.abs(mean0), out=np.full(draws, np.nan), where=mean0 != 0)
    cuts = (100 * alpha / 2, 100 * (1 - alpha / 2))
    low, high = np.percentile(difference, cuts)
    relative_low, relative_high = np.nanpercentile(relative, cuts)
    b, a = before.mean, after.mean
    return Change(
        before=b,
        after=a,
        difference=Interval(float(low), a - b, float(high)),
        relative=Interval(float(relative_low), (a - b) / abs(b), float(relative_high)),
        standard_error=float(np.nanstd(relative)),
        from_before=0.0 if paired else float(abs(a) * mean0.std() / b**2),
        blocks=(n0, n1),
        draws=draws,
        seed=seed,
        confidence=confidence,
    )


def review_change(
    change: Change,
    *,
    planned_gain: float,
    higher_is_better: bool,
    now: datetime,
    block_length: timedelta | None = None,
    wanted_power: float = POWER,
) -> Review:
    """Planned against measured for a continuous KPI; ``planned_gain`` is a share of the baseline, always positive.

    With fewer than 8 blocks on a side nothing is called proved. Otherwise the blocks needed after follow from the
    standard error that the planned gain allows, gain/(z(1 - alpha/2) + z(power)): the baseline's part of it is fixed, the
    rest falls with the root of the number of blocks. None when the baseline alone is too uncertain.
    """
    if not (math.isfinite(planned_gain) and planned_gain > 0):
        raise InvalidInput("gain_not_positive", "The planned gain is a share above zero.", field="planned_gain")
    r = change.relative
    gain = r if higher_is_better else Interval(-r.high, -r.estimate, -r.low)
    fewest = min(change.blocks)
    finding = _finding(gain) if fewest >= MIN_BLOCKS else Finding.NOT_PROVABLE_YET
    if finding is not Finding.NOT_PROVABLE_YET:
        return Review(finding, gain, planned_gain, against_plan(planned_gain, gain), change.confidence)
    z = special.ndtri((1 + change.confidence) / 2) + special.ndtri(share_of(wanted_power, "wanted_power"))
    room = (planned_gain / z) ** 2 - change.from_before**2
    if room <= 0:
        return Review(finding, gain, planned_gain, None, change.confidence)
    shrinks = max(0.0, change.standard_error**2 - change.from_before**2)
    needed = max(MIN_BLOCKS, math.ceil(change.blocks[1] * shrinks / room))
    missing = needed - change.blocks[1]
    until = now + missing * block_length if block_length is not None and missing > 0 else None
    return Review(finding, gain, planned_gain, None, change.confidence, blocks_needed=needed, until=until)


def money(gain: Interval, *, baseline: float, price: float, attribution: float = 1.0) -> Interval:
    """What a gain is worth: share gained x what the baseline would have come to x price per unit x attribution.

    ``baseline`` is the baseline's rate times the exposure after, in KPI units (h0/E0 x E1 hours of downtime, say).
    """
    if not (math.isfinite(baseline) and baseline >= 0 and math.isfinite(price)):
        raise InvalidInput("baseline_not_a_number", "Baseline and price must be numbers.", field="baseline")
    if not 0 <= attribution <= 1:
        raise InvalidInput("attribution_range", "Attribution is a share from 0 to 1.", field="attribution")
    worth = baseline * price * attribution
    low, high = sorted((gain.low * worth, gain.high * worth)) if worth else (0.0, 0.0)
    return Interval(low, gain.estimate * worth, high)
