"""Whether a KPI's target can be proved: the exact test of two Poisson rates, and what a proof needs, known before money is spent.

Counts (stoppages, rejects, alarms) exactly, continuous KPIs by how much their weeks or shifts differ. See
docs/algorithms/business-case.md and roi.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from usecases.domain.errors import InvalidInput
from usecases.domain.sentences import Sentence

Array = NDArray[np.float64]

CONFIDENCE: Final = 0.95
POWER: Final = 0.80
#: Below this many weeks or shifts on a side a bootstrap interval is too short to be honest.
MIN_BLOCKS: Final = 8
#: Beyond this many times the baseline's exposure, waiting is no plan.
MAX_EXPOSURE_RATIO: Final = 20.0
_MAX_EVENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between its confidence limits; limits may be infinite."""

    low: float
    estimate: float
    high: float


def share_of(value: float, field: str) -> float:
    if not 0 < value < 1:
        raise InvalidInput("share_range", "A share lies between 0 and 1.", field=field)
    return value


@dataclass(frozen=True, slots=True)
class Count:
    """Events over an exposure (operating hours, pieces): never calendar time when the machine stood still."""

    events: int
    exposure: float

    def __post_init__(self) -> None:
        if self.events < 0 or self.events != int(self.events):
            raise InvalidInput("events_not_a_count", "Events are counted: 0, 1, 2...", field="events")
        if not (math.isfinite(self.exposure) and self.exposure > 0):
            raise InvalidInput("exposure_not_positive", "The exposure must be above zero.", field="exposure")


@dataclass(frozen=True, slots=True)
class RateRatio:
    """Rate after over rate before: ``ratio.estimate`` 0.75 is a quarter less. NaN and 0..inf where nothing happened."""

    ratio: Interval
    p_value: float
    confidence: float

    @property
    def reduction(self) -> Interval:
        """1 - ratio, 0.25 for a quarter less."""
        return Interval(1.0 - self.ratio.high, 1.0 - self.ratio.estimate, 1.0 - self.ratio.low)


def rate_ratio(before: Count, after: Count, *, confidence: float = CONFIDENCE) -> RateRatio:
    """Exact interval for the ratio of two Poisson rates.

    Given N events in all, those after are Binomial(N, p) with p/(1 - p) = ratio x E1/E0; Clopper-Pearson limits for p give
    the limits of the ratio, and the p-value is twice the smaller tail at ratio 1 (Przyborowski & Wilenski 1940).
    """
    alpha = 1.0 - share_of(confidence, "confidence")
    x0, x1 = int(before.events), int(after.events)
    odds = before.exposure / after.exposure
    low = 0.0 if x1 == 0 else special.betaincinv(x1, x0 + 1, alpha / 2)
    high = 1.0 if x0 == 0 else special.betaincinv(x1 + 1, x0, 1 - alpha / 2)
    if x0 == 0:
        estimate = math.inf if x1 else math.nan
    else:
        estimate = x1 / x0 * odds
    null = after.exposure / (before.exposure + after.exposure)
    total = x0 + x1
    below = special.bdtr(x1, total, null) if total else 1.0
    above = special.bdtrc(x1 - 1, total, null) if x1 else 1.0
    return RateRatio(
        Interval(
            float(low / (1 - low) * odds),
            float(estimate),
            float(high / (1 - high) * odds) if high < 1 else math.inf,
        ),
        float(min(1.0, 2.0 * min(below, above))),
        confidence,
    )


def power(
    baseline_events: float, reduction: float, *, exposure_ratio: float = 1.0, confidence: float = CONFIDENCE
) -> float:
    """Chance that the exact test proves a reduction, if about ``baseline_events`` are seen before.

    ``exposure_ratio`` is exposure after over before. Averaged over the Poisson number of all events, so it is not the
    power for one lucky total.
    """
    if not (math.isfinite(baseline_events) and baseline_events > 0):
        raise InvalidInput("events_not_a_count", "There must be events to reduce.", field="baseline_events")
    if not (math.isfinite(exposure_ratio) and exposure_ratio > 0):
        raise InvalidInput("exposure_not_positive", "The exposure must be above zero.", field="exposure_ratio")
    ratio = 1.0 - share_of(reduction, "reduction")
    alpha = 1.0 - share_of(confidence, "confidence")
    mean = baseline_events * (1.0 + ratio * exposure_ratio)
    reach = 8.0 * math.sqrt(mean) + 10.0
    totals = np.arange(max(1, math.floor(mean - reach)), math.ceil(mean + reach) + 1)
    weight = np.exp(totals * math.log(mean) - mean - special.gammaln(totals + 1))
    null = exposure_ratio / (1.0 + exposure_ratio)
    true = ratio * exposure_ratio / (1.0 + ratio * exposure_ratio)
    critical = np.floor(_largest_rejected(totals, null, alpha / 2))
    reached = critical >= 0
    chance = (weight[reached] * special.bdtr(critical[reached], totals[reached], true)).sum()
    return float(min(1.0, chance))


def _largest_rejected(totals: NDArray[np.int64], null: float, tail: float) -> Array:
    """Largest count whose lower tail stays within ``tail``; -1 where even none at all would not be proof."""
    guess = np.ceil(special.bdtrik(tail, totals, null)) + 1
    guess = np.where(np.isfinite(guess), np.clip(guess, 0, totals), 0)
    for _ in range(4):
        too_many = (guess >= 0) & (special.bdtr(np.maximum(guess, 0), totals, null) > tail)
        if not too_many.any():
            break
        guess = np.where(too_many, guess - 1, guess)
    return guess


def baseline_events_needed(
    reduction: float, *, wanted_power: float = POWER, exposure_ratio: float = 1.0, confidence: float = CONFIDENCE
) -> int:
    """Baseline events from which on a reduction can be proved with the wanted power."""
    share_of(wanted_power, "wanted_power")

    def enough(events: int) -> bool:
        return power(events, reduction, exposure_ratio=exposure_ratio, confidence=confidence) >= wanted_power

    high = 4
    while not enough(high):
        high *= 2
        if high > _MAX_EVENTS:
            raise InvalidInput("reduction_too_small", "So small a reduction cannot be proved.", field="reduction")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def exposure_ratio_needed(
    baseline_events: float, reduction: float, *, wanted_power: float = POWER, confidence: float = CONFIDENCE
) -> float | None:
    """How many times the baseline's exposure must follow it for proof; None when no waiting (up to 20 times) is enough.

    The baseline is frozen, so its own uncertainty stays: few baseline events can make a target unprovable for good.
    """
    share_of(wanted_power, "wanted_power")

    def enough(ratio: float) -> bool:
        return power(baseline_events, reduction, exposure_ratio=ratio, confidence=confidence) >= wanted_power

    if not enough(MAX_EXPOSURE_RATIO):
        return None
    low, high = 0.0, MAX_EXPOSURE_RATIO
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Provability:
    """Whether a target can be proved at all, known before any money is spent.

    ``power`` is that of an equally long time after, ``events_needed`` the baseline events for the wanted power,
    ``plants_to_pool`` how many plants like this one have them, ``exposure_ratio`` how many times the baseline's exposure
    would do for this plant alone (None: never).
    """

    reduction: float
    baseline_events: int
    events_needed: int
    power: float
    plants_to_pool: int
    exposure_ratio: float | None

    @property
    def provable(self) -> bool:
        return self.baseline_events >= self.events_needed

    def explain(self) -> tuple[Sentence, ...]:
        figures: dict[str, str | int | float] = {
            "events": self.baseline_events,
            "needed": self.events_needed,
            "percent": round(100 * self.reduction),
            "power_percent": round(100 * self.power),
        }
        if self.provable:
            return (Sentence("roi.provable", figures),)
        out = [Sentence("roi.too_few_events", figures), Sentence("roi.pool_plants", {"plants": self.plants_to_pool})]
        if self.exposure_ratio is not None:
            out.append(Sentence("roi.wait_times", {"times": round(self.exposure_ratio, 1)}))
        else:
            out.append(Sentence("roi.waiting_does_not_help", {}))
        return tuple(out)


def provability(
    baseline_events: int, reduction: float, *, wanted_power: float = POWER, confidence: float = CONFIDENCE
) -> Provability:
    """What it takes to prove a target reduction of a count."""
    needed = baseline_events_needed(reduction, wanted_power=wanted_power, confidence=confidence)
    if baseline_events < 1:
        return Provability(reduction, 0, needed, 0.0, needed, None)
    # Far beyond what is needed the chance is one, and its sum would only grow long.
    counted = min(baseline_events, 50 * needed)
    return Provability(
        reduction=reduction,
        baseline_events=baseline_events,
        events_needed=needed,
        power=power(counted, reduction, confidence=confidence),
        plants_to_pool=math.ceil(needed / baseline_events),
        exposure_ratio=exposure_ratio_needed(counted, reduction, wanted_power=wanted_power, confidence=confidence),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """How much a continuous KPI varies from block to block (week, shift, month), and what that asks for.

    ``variation``: standard deviation of a block's total about the overall ratio, as a share of its mean. ``needed``: blocks
    before, and as many after, for the wanted power, at least ``MIN_BLOCKS``.
    """

    blocks: int
    variation: float
    needed: int

    @property
    def provable(self) -> bool:
        return self.blocks >= self.needed


def spread(
    totals: ArrayLike,
    exposure: ArrayLike,
    gain: float,
    *,
    falls: bool = True,
    wanted_power: float = POWER,
    confidence: float = CONFIDENCE,
) -> Spread | None:
    """What it takes to prove a gain (a share of the baseline) in a ratio of sums; None where the blocks cannot tell.

    The ratio R = sum y / sum e has the relative standard error c / sqrt(n), c the deviation of y - R e over the mean of y. With n
    blocks before and after, as noisy as each other, that of the relative change is c sqrt((1 + r^2) / n), r = 1 - gain where the
    KPI ``falls`` and 1 + gain where it rises; it must be gain / (z(1 - alpha/2) + z(power)).
    """
    share_of(gain, "gain")
    y, e = np.asarray(totals, dtype=float), np.asarray(exposure, dtype=float)
    if y.ndim != 1 or y.shape != e.shape or not (np.isfinite(y).all() and np.isfinite(e).all() and (e >= 0).all()):
        raise InvalidInput("readings_shape", "Each reading needs a value and an exposure.", field="values")
    used = e > 0
    y, e = y[used], e[used]
    if y.size < MIN_BLOCKS or y.mean() == 0:
        return None
    ratio = y.sum() / e.sum()
    variation = float(np.sqrt(((y - ratio * e) ** 2).sum() / (y.size - 1)) / abs(y.mean()))
    z = special.ndtri((1 + share_of(confidence, "confidence")) / 2) + special.ndtri(
        share_of(wanted_power, "wanted_power")
    )
    after = 1.0 - gain if falls else 1.0 + gain
    needed = max(MIN_BLOCKS, math.ceil((1.0 + after**2) * (variation * z / gain) ** 2))
    return Spread(int(y.size), variation, needed)
