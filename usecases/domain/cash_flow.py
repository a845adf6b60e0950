"""Discounting, internal rate of return and payback over many cash flows at once.

Flows have shape (..., T): column t is money at the end of period t, column 0 is today. Rates are per period.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usecases.domain.errors import InvalidInput

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

QUARTERS_A_YEAR: Final = 4
#: Where an internal rate is looked for, per period; outside it no rate means anything to a plant.
LOWEST_RATE: Final = -0.90
HIGHEST_RATE: Final = 10.0
_GRID: Final = 257
_STEPS: Final = 100
_CLOSE: Final = 1e-15


def per_quarter(annual_rate: float) -> float:
    """Quarterly rate that compounds to the annual one: (1 + r)^(1/4) - 1."""
    if not np.isfinite(annual_rate) or annual_rate <= -1:
        raise InvalidInput("rate_impossible", "A yearly rate must be above -100 %.", field="rate")
    return float((1.0 + annual_rate) ** (1 / QUARTERS_A_YEAR) - 1.0)


def per_year(quarterly_rate: ArrayLike) -> Array:
    """Yearly rate that quarterly compounding adds up to."""
    return (1.0 + np.asarray(quarterly_rate, dtype=float)) ** QUARTERS_A_YEAR - 1.0


def _flows(flows: ArrayLike) -> Array:
    cf = np.asarray(flows, dtype=float)
    if cf.ndim == 0 or cf.shape[-1] == 0:
        raise InvalidInput("flows_missing", "There is no cash flow.", field="flows")
    if not np.isfinite(cf).all():
        raise InvalidInput("flow_not_a_number", "Every amount must be a finite number.", field="flows")
    return cf


def discount_factors(rate: float, periods: int) -> Array:
    """1/(1 + rate)^t for t = 0..periods - 1."""
    if not np.isfinite(rate) or rate <= -1:
        raise InvalidInput("rate_impossible", "A rate must be above -100 %.", field="rate")
    return (1.0 + rate) ** -np.arange(periods, dtype=float)


def npv(flows: ArrayLike, rate: float) -> Array:
    """Net present value of each row, shape flows.shape[:-1]."""
    cf = _flows(flows)
    return cf @ discount_factors(rate, cf.shape[-1])


def npv_curve(flow: ArrayLike, rates: ArrayLike) -> Array:
    """NPV of one flow (T,) at many rates (k,): what a page shows where no single IRR exists."""
    cf = _flows(flow)
    v = 1.0 / (1.0 + np.asarray(rates, dtype=float))
    return v[:, None] ** np.arange(cf.shape[-1]) @ cf


def sign_changes(flows: ArrayLike) -> Ints:
    """How often the sign turns along each row, zeros skipped: at most that many rates exist (Descartes)."""
    signs = np.sign(_flows(flows))
    at = np.where(signs != 0, np.arange(signs.shape[-1]), 0)
    last = np.take_along_axis(signs, np.maximum.accumulate(at, axis=-1), axis=-1)
    return (last[..., 1:] * last[..., :-1] < 0).sum(axis=-1)


class IrrStatus(IntEnum):
    """Why a row has a rate, or why it has none."""

    UNIQUE = 0
    NO_SIGN_CHANGE = 1
    SEVERAL = 2
    OUTSIDE = 3


@dataclass(frozen=True, slots=True)
class Irr:
    """``rate`` per period, NaN unless ``status`` (an `IrrStatus` per row) is UNIQUE."""

    rate: Array
    status: Ints


def irr(flows: ArrayLike, *, lowest: float = LOWEST_RATE, highest: float = HIGHEST_RATE) -> Irr:
    """The internal rate of return of each row of flows (N, T), only where there is exactly one between the bounds.

    One sign change means one rate (Descartes' rule in v = 1/(1 + r)). With several, the bounds are searched on a grid
    of 257 steps of v; exactly one crossing counts as unique, so two rates closer than a step would be taken for none.
    Roots are polished by bracketed Newton in v (rtsafe: Numerical Recipes, 9.4), which bisects whenever a step would
    leave the bracket or shrink it too slowly; Newton in r crawls near -100 %.
    """
    cf = np.atleast_2d(_flows(flows))
    if not -1 < lowest < highest:
        raise InvalidInput(
            "rate_impossible", "The lowest rate must be above -100 % and below the highest.", field="rate"
        )
    v_low, v_high = 1.0 / (1.0 + highest), 1.0 / (1.0 + lowest)
    changes = sign_changes(cf)
    status = np.full(len(cf), int(IrrStatus.NO_SIGN_CHANGE))
    left, right = np.full(len(cf), v_low), np.full(len(cf), v_high)
    single = changes == 1
    inside = single.copy()
    inside[single] = _horner(cf[single], left[single])[0] * _horner(cf[single], right[single])[0] <= 0
    status[single] = int(IrrStatus.OUTSIDE)
    status[inside] = int(IrrStatus.UNIQUE)
    if (several := np.flatnonzero(changes > 1)).size:
        grid = np.geomspace(v_low, v_high, _GRID)
        signs = np.sign(cf[several] @ grid[None, :] ** np.arange(cf.shape[1])[:, None])
        crossing = (signs[:, :-1] * signs[:, 1:] < 0) | ((signs[:, :-1] == 0) & (signs[:, 1:] != 0))
        crossing[:, -1] |= signs[:, -1] == 0
        number, cell = crossing.sum(axis=1), crossing.argmax(axis=1)
        status[several] = np.select(
            [number == 1, number == 0], [int(IrrStatus.UNIQUE), int(IrrStatus.OUTSIDE)], int(IrrStatus.SEVERAL)
        )
        left[several], right[several] = grid[cell], grid[cell + 1]
    rate = np.full(len(cf), np.nan)
    found = np.flatnonzero(status == IrrStatus.UNIQUE)
    if found.size:
        rate[found] = 1.0 / _roots(cf[found], left[found], right[found]) - 1.0
    return Irr(rate, status)


def _horner(cf: Array, v: Array) -> tuple[Array, Array]:
    value, slope = cf[:, -1].copy(), np.zeros(len(cf))
    for column in cf.T[-2::-1]:
        slope = slope * v + value
        value = value * v + column
    return value, slope


def _roots(cf: Array, left: Array, right: Array) -> Array:
    at_left, at_right = _horner(cf, left)[0], _horner(cf, right)[0]
    rising = (at_left < 0) | (at_right > 0)
    below, above = np.where(rising, left, right), np.where(rising, right, left)
    root = np.where(at_left == 0, left, np.where(at_right == 0, right, 0.5 * (left + right)))
    before = np.abs(right - left)
    step = before.copy()
    active = np.flatnonzero((at_left != 0) & (at_right != 0))
    for _ in range(_STEPS):
        if not active.size:
            break
        v, rows = root[active], cf[active]
        value, slope = _horner(rows, v)
        lo, hi = below[active], above[active]
        lo, hi = np.where(value < 0, v, lo), np.where(value < 0, hi, v)
        below[active], above[active] = lo, hi
        newton = np.divide(value, slope, out=np.full_like(value, np.inf), where=slope != 0)
        good = ((v - newton - lo) * (v - newton - hi) < 0) & (np.abs(2.0 * newton) <= np.abs(before[active]))
        done = np.abs(newton) <= _CLOSE * np.abs(v)
        new_step = np.where(good | done, newton, v - 0.5 * (lo + hi))
        before[active] = step[active]
        step[active] = new_step
        root[active] = v - new_step
        active = active[~done & (np.abs(new_step) > _CLOSE * np.abs(v))]
    return root


def modified_irr(flows: ArrayLike, *, finance_rate: float, reinvest_rate: float) -> Array:
    """MIRR per period of each row: unique whatever the signs, at the price of two assumed rates; NaN one-sided."""
    cf = np.atleast_2d(_flows(flows))
    last = cf.shape[1] - 1
    paid = -np.minimum(cf, 0.0) @ discount_factors(finance_rate, last + 1)
    earned = np.maximum(cf, 0.0) @ discount_factors(reinvest_rate, last + 1) * (1.0 + reinvest_rate) ** last
    usable = (paid > 0) & (earned > 0) & (last > 0)
    ratio = np.divide(earned, paid, out=np.full(len(cf), np.nan), where=usable)
    return ratio ** (1.0 / max(last, 1)) - 1.0


def payback(flows: ArrayLike) -> Array:
    """Periods until the cumulative flow of each row first reaches zero, interpolated; NaN when it never does.

    t - 1 + |cum(t-1)|/CF(t). Feed discounted flows for the discounted payback.
    """
    cf = np.atleast_2d(_flows(flows))
    cumulative = cf.cumsum(axis=1)
    # A cent's rounding in a long sum must not push the payback one period on.
    reached = cumulative >= -1e-9 * np.abs(cf).max(axis=1, keepdims=True)
    t = reached.argmax(axis=1)
    row = np.arange(len(cf))
    before = np.where(t > 0, cumulative[row, t - 1], 0.0)
    gained = cf[row, t]
    part = np.divide(-before, gained, out=np.zeros(len(cf)), where=(t > 0) & (gained > 0))
    return np.where(reached.any(axis=1), np.maximum(t - 1, 0) + np.minimum(part, 1.0), np.nan)
