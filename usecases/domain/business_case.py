"""A business case: lines of money per quarter, what they are worth today, and how sure that is.

Quarter 0 is the day of the decision, quarter t ends 3 t months later. Amounts are in one currency and positive;
the kind of a line gives the sign. See docs/algorithms/business-case.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from usecases.domain.cash_flow import (
    IrrStatus,
    discount_factors,
    irr,
    modified_irr,
    npv,
    payback,
    per_quarter,
    per_year,
)
from usecases.domain.errors import InvalidInput

Array = NDArray[np.float64]

DRAWS: Final = 10_000
#: Rating 0..5 of "measurable ROI" by NPV over invested money: frozen anchors, linear in between, cut off outside.
RATING_ANCHORS: Final = ((-0.5, 0.0), (0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (1.0, 4.0), (2.0, 5.0))
#: Yearly bounds between which an internal rate is looked for.
LOWEST_ANNUAL_RATE: Final = -0.90
HIGHEST_ANNUAL_RATE: Final = 10.0


class LineKind(StrEnum):
    CAPEX = "capex"
    OPEX = "opex"
    BENEFIT = "benefit"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Low, likely and high of a number nobody knows exactly; low <= likely <= high, drawn from a triangle."""

    low: float
    likely: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Estimate:
        return cls(value, value, value)

    def check(self, field: str) -> None:
        if not np.isfinite([self.low, self.likely, self.high]).all():
            raise InvalidInput("estimate_not_a_number", "Low, likely and high must be numbers.", field=field)
        if self.low < 0:
            raise InvalidInput("estimate_negative", "Amounts are entered without a sign.", field=field)
        if not self.low <= self.likely <= self.high:
            raise InvalidInput("estimate_order", "Low, likely and high must be in this order.", field=field)

    def draw(self, uniform: Array) -> Array:
        """Triangular values for uniform numbers 0..1 (inverse of the distribution function)."""
        width = self.high - self.low
        if width == 0:
            return np.full_like(uniform, self.likely)
        mode = (self.likely - self.low) / width
        rising = self.low + np.sqrt(uniform * width * (self.likely - self.low))
        falling = self.high - np.sqrt((1.0 - uniform) * width * (self.high - self.likely))
        return np.where(uniform < mode, rising, falling)


ZERO: Final = Estimate(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the case, ``amount`` per quarter from ``first`` to ``last`` (None: to the end of the case).

    ``delay`` quarters pass before it starts (part of a quarter counts in part); then it grows as 1 - exp(-q/ramp) of
    its full size, q quarters after the start (ramp 0: full at once). ``last`` stays where it is. ``attribution`` 0..1 is the part of a benefit that this use case may claim;
    ``decay`` per quarter lets a benefit fade, as a model does that nobody retrains.
    """

    key: str
    kind: LineKind
    amount: Estimate
    first: int = 1
    last: int | None = None
    delay: Estimate = ZERO
    ramp: Estimate = ZERO
    attribution: float = 1.0
    decay: float = 0.0

    def check(self) -> None:
        self.amount.check(f"{self.key}.amount")
        self.delay.check(f"{self.key}.delay")
        self.ramp.check(f"{self.key}.ramp")
        if self.first < 0 or (self.kind is LineKind.BENEFIT and self.first < 1):
            raise InvalidInput(
                "line_too_early",
                "Benefits start in quarter 1, costs in quarter 0 at the earliest.",
                field=f"{self.key}.first",
            )
        if self.last is not None and self.last < self.first:
            raise InvalidInput("line_ends_early", "A line cannot end before it starts.", field=f"{self.key}.last")
        if self.kind is LineKind.CAPEX and (self.delay.high or self.ramp.high):
            # A delayed one-off would silently drop out after its last quarter and make the case look better.
            raise InvalidInput(
                "capex_delayed", "Move the quarter of an investment instead of delaying it.", field=f"{self.key}.delay"
            )
        if self.kind is LineKind.OPEX and self.last is not None and self.delay.high >= self.last - self.first + 1:
            raise InvalidInput(
                "cost_delayed_away",
                "Delayed so far, this cost would be over before it begins and count for nothing: move its quarters instead.",
                field=f"{self.key}.delay",
            )
        if not 0 <= self.attribution <= 1 or (self.kind is not LineKind.BENEFIT and self.attribution != 1):
            raise InvalidInput(
                "attribution_range",
                "Attribution is a share from 0 to 1, and for benefits only.",
                field=f"{self.key}.attribution",
            )
        if not np.isfinite(self.decay) or self.decay < 0:
            raise InvalidInput("decay_negative", "Decay is a rate from zero up.", field=f"{self.key}.decay")

    @property
    def sign(self) -> float:
        return 1.0 if self.kind is LineKind.BENEFIT else -1.0

    def profile(self, quarters: int, delay: Array, ramp: Array) -> Array:
        """Share of the full amount in each quarter 0..quarters, shape (N, quarters + 1), for N delays and ramps."""
        t = np.arange(quarters + 1, dtype=float)
        q = t - (self.first - 1) - delay[:, None]
        tau = ramp[:, None]
        with np.errstate(over="ignore"):  # a ramp of next to nothing is full at once
            grown = -np.expm1(-np.maximum(q, 0.0) / np.where(tau > 0, tau, 1.0))
        started = np.where(tau > 0, grown, np.clip(q, 0.0, 1.0))
        share = np.where((q > 0) & (t >= self.first), started, 0.0)
        if self.last is not None:
            share = np.where(t <= self.last, share, 0.0)
        if self.decay:
            share = share * np.exp(-self.decay * np.maximum(q, 0.0))
        return share * self.attribution


@dataclass(frozen=True, slots=True)
class Case:
    """Lines over ``quarters`` quarters after the decision, discounted at ``annual_rate``, all in ``currency``."""

    lines: tuple[Line, ...]
    quarters: int
    annual_rate: float
    currency: str = "EUR"

    def __post_init__(self) -> None:
        if not 1 <= self.quarters <= 120:
            raise InvalidInput("horizon_range", "A case runs over 1 to 120 quarters.", field="quarters")
        per_quarter(self.annual_rate)
        if not self.lines:
            raise InvalidInput("lines_missing", "A case needs at least one line.", field="lines")
        keys = [line.key for line in self.lines]
        if len(set(keys)) != len(keys):
            raise InvalidInput("line_twice", "Each line needs a name of its own.", field="lines")
        for line in self.lines:
            line.check()
            if line.first > self.quarters:
                raise InvalidInput(
                    "line_after_horizon", "This line starts after the case ends.", field=f"{line.key}.first"
                )


def _likely_flow(line: Line, quarters: int, amount: float | None = None) -> Array:
    share = line.profile(quarters, np.array([line.delay.likely]), np.array([line.ramp.likely]))[0]
    return line.sign * (line.amount.likely if amount is None else amount) * share


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The likely case. Money in the case's currency, times in quarters (NaN: never within the horizon).

    ``flow``, ``cumulative``, ``capex``, ``opex``, ``benefit`` have shape (quarters + 1,); costs are negative.
    ``irr`` is yearly and NaN unless it is unique; ``modified`` is the yearly modified rate, money borrowed and put aside at the case's
    own rate. ``investment`` is the present value of all capex, and
    ``profitability`` = 1 + NPV / investment. ``rating`` 0..5 is None without an investment.
    """

    flow: Array
    cumulative: Array
    capex: Array
    opex: Array
    benefit: Array
    npv: float
    irr: float
    irr_status: IrrStatus
    modified: float
    payback: float
    discounted_payback: float
    investment: float
    profitability: float
    rating: float | None


def roi_rating(net_present_value: float, investment: float) -> float | None:
    """Rating 0..5 of measurable ROI from NPV per invested unit of money; None when nothing is invested."""
    if not np.isfinite([net_present_value, investment]).all() or investment <= 0:
        return None
    ratios, ratings = zip(*RATING_ANCHORS, strict=True)
    return float(np.interp(net_present_value / investment, ratios, ratings))


def _modified(flow: Array, rate: float) -> float:
    """Yearly; empty quarters at the end of the case change nothing."""
    moved = np.flatnonzero(flow)
    if not moved.size:
        return float("nan")
    return float(per_year(modified_irr(flow[: moved[-1] + 1], finance_rate=rate, reinvest_rate=rate)[0]))


def appraise(case: Case) -> Appraisal:
    """What the likely amounts, delays and ramps add up to."""
    by_kind = {kind: np.zeros(case.quarters + 1) for kind in LineKind}
    for line in case.lines:
        by_kind[line.kind] = by_kind[line.kind] + _likely_flow(line, case.quarters)
    flow = by_kind[LineKind.CAPEX] + by_kind[LineKind.OPEX] + by_kind[LineKind.BENEFIT]
    rate = per_quarter(case.annual_rate)
    value = float(npv(flow, rate))
    investment = -float(npv(by_kind[LineKind.CAPEX], rate))
    found = irr(flow, lowest=per_quarter(LOWEST_ANNUAL_RATE), highest=per_quarter(HIGHEST_ANNUAL_RATE))
    return Appraisal(
        flow=flow,
        cumulative=flow.cumsum(),
        capex=by_kind[LineKind.CAPEX],
        opex=by_kind[LineKind.OPEX],
        benefit=by_kind[LineKind.BENEFIT],
        npv=value,
        irr=float(per_year(found.rate[0])),
        irr_status=IrrStatus(int(found.status[0])),
        modified=_modified(flow, rate),
        payback=float(payback(flow)[0]),
        discounted_payback=float(payback(flow * discount_factors(rate, flow.size))[0]),
        investment=investment,
        profitability=1.0 + value / investment if investment > 0 else float("nan"),
        rating=roi_rating(value, investment),
    )


@dataclass(frozen=True, slots=True)
class Simulation:
    """NPV over N draws: bad, expected and good case (P10, P50, P90), the chance to gain, and a histogram.

    ``counts`` (b,) between ``edges`` (b + 1,). ``payback`` holds the P10/P50/P90 of the payback in quarters over all
    draws, infinity where that share of the draws never pays back within the horizon.
    """

    npv: Array
    p10: float
    p50: float
    p90: float
    mean: float
    chance_of_gain: float
    payback: tuple[float, float, float]
    counts: NDArray[np.int64]
    edges: Array
    draws: int
    seed: int


def drawn_flows(case: Case, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Cash flows (draws, quarters + 1). Each line draws once per case, so a bad line is bad in all its quarters.

    A line's draws depend on the seed and its key alone: adding or moving another line does not reshuffle it.
    """
    if not 1 <= draws <= 1_000_000:
        raise InvalidInput("draws_range", "Between 1 and 1,000,000 draws.", field="draws")
    total = np.zeros((draws, case.quarters + 1))
    for line in case.lines:
        rng = np.random.default_rng([seed, *line.key.encode()])
        uniform = rng.random((3, draws))
        amount = line.amount.draw(uniform[0])
        varies = line.delay.low < line.delay.high or line.ramp.low < line.ramp.high
        rows = slice(None) if varies else slice(1)
        share = line.profile(case.quarters, line.delay.draw(uniform[1, rows]), line.ramp.draw(uniform[2, rows]))
        total += line.sign * amount[:, None] * share
    return total


def simulate(case: Case, *, draws: int = DRAWS, seed: int = 0, bins: int = 40) -> Simulation:
    """Monte-Carlo over the estimates; the same case, draws and seed give the same numbers."""
    flows = drawn_flows(case, draws=draws, seed=seed)
    values = npv(flows, per_quarter(case.annual_rate))
    p10, p50, p90 = np.percentile(values, [10, 50, 90])
    times = payback(flows)
    times = np.sort(np.where(np.isnan(times), np.inf, times))
    quantiles = times[[min(draws - 1, int(share * draws)) for share in (0.1, 0.5, 0.9)]]
    counts, edges = np.histogram(values, bins=bins)
    return Simulation(
        npv=values,
        p10=float(p10),
        p50=float(p50),
        p90=float(p90),
        mean=float(values.mean()),
        chance_of_gain=float((values > 0).mean()),
        payback=(float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        counts=counts,
        edges=edges,
        draws=draws,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class Swing:
    """NPV when one line's amount is at its low or its high and all the others are likely."""

    key: str
    at_low: float
    at_high: float

    @property
    def width(self) -> float:
        return abs(self.at_high - self.at_low)


def tornado(case: Case) -> tuple[Swing, ...]:
    """One swing per line, the widest first: what to find out more about before anything else."""
    rate = per_quarter(case.annual_rate)
    base = float(sum(npv(_likely_flow(line, case.quarters), rate) for line in case.lines))
    swings = []
    for line in case.lines:
        unit = float(npv(_likely_flow(line, case.quarters, 1.0), rate))
        low, high = ((bound - line.amount.likely) * unit for bound in (line.amount.low, line.amount.high))
        swings.append(Swing(line.key, base + low, base + high))
    return tuple(sorted(swings, key=lambda s: (-s.width, s.key)))


def scaled(case: Case, *, exchange_rate: float, currency: str) -> Case:
    """The same case in another currency: amounts times the units of ``currency`` one unit of the old one buys."""
    if not np.isfinite(exchange_rate) or exchange_rate <= 0:
        raise InvalidInput("exchange_rate_not_positive", "An exchange rate must be above zero.", field="exchange_rate")

    def times(e: Estimate) -> Estimate:
        return Estimate(e.low * exchange_rate, e.likely * exchange_rate, e.high * exchange_rate)

    lines: Sequence[Line] = [replace(line, amount=times(line.amount)) for line in case.lines]
    return replace(case, lines=tuple(lines), currency=currency)
