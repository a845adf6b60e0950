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
#: Rows that are solved together: what one of them needs stays in the processor's cache.
_PORTION: Final = 2_048
_MOST_ACTIVE: Final = 0.7


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
    return sign_changes_along(np.moveaxis(_flows(flows), -1, 0))


def sign_changes_along(flows: Array) -> Ints:
    """The same with the periods along the first axis."""
    changes = np.zeros(flows.shape[1:], dtype=np.int64)
    last = np.sign(flows[0])
    for row in flows[1:]:
        sign = np.sign(row)
        changes += sign * last < 0
        last = np.where(sign != 0, sign, last)
    return changes


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

    No sign change means no rate, one means one (Descartes' rule in v = 1/(1 + r)). Between the bounds the NPV is looked
    at on a grid of 257 values of v; exactly one crossing counts as unique, so with several sign changes two rates closer
    than a step are taken for none. Roots are polished by bracketed Newton in v (rtsafe: Numerical Recipes, 9.4), which
    bisects whenever a step would leave the bracket or shrink it too slowly; Newton in r crawls near -100 %.
    """
    cf = np.atleast_2d(_flows(flows))
    if not -1 < lowest < highest:
        raise InvalidInput(
            "rate_impossible", "The lowest rate must be above -100 % and below the highest.", field="rate"
        )
    v_low, v_high = 1.0 / (1.0 + highest), 1.0 / (1.0 + lowest)
    rate, status = np.full(len(cf), np.nan), np.empty(len(cf), dtype=np.int64)
    for start in range(0, len(cf), _PORTION):
        rows = slice(start, start + _PORTION)
        # Periods in rows: each step of Horner's rule then runs along memory.
        _solve(np.ascontiguousarray(cf[rows].T), v_low, v_high, rate[rows], status[rows])
    return Irr(rate, status)


def _solve(flows: Array, v_low: float, v_high: float, rate: Array, status: Ints) -> None:
    """Fills rate and status of flows (T, k)."""
    changing = np.flatnonzero(sign_changes_along(flows))
    status[:] = int(IrrStatus.NO_SIGN_CHANGE)
    if not changing.size:
        return
    flows = flows[:, changing]
    grid, value, crossing = _crossings(flows, v_low, v_high)
    step, column = np.divmod(np.flatnonzero(crossing), changing.size)
    number = np.bincount(column, minlength=changing.size)
    cell = np.zeros(changing.size, dtype=np.int64)
    cell[column] = step
    status[changing] = np.select(
        [number == 1, number == 0], [int(IrrStatus.UNIQUE), int(IrrStatus.OUTSIDE)], int(IrrStatus.SEVERAL)
    )
    found = np.flatnonzero(number == 1)
    rate[changing[found]] = 1.0 / _roots(flows, grid, value, found, cell[found]) - 1.0


def _crossings(flows: Array, v_low: float, v_high: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The grid of v between the bounds, each NPV (T, k) on it, shape (257, k), and in which of its steps it crosses zero."""
    grid = np.geomspace(v_low, v_high, _GRID)
    value = (grid[:, None] ** np.arange(len(flows))) @ flows
    below = value < 0
    crossing = below[1:] != below[:-1]
    if (zero := np.flatnonzero((value == 0).any(axis=0))).size:
        # A zero on the grid belongs to the step that begins there, at the upper bound to the last one.
        signs = np.sign(value[:, zero])
        exact = (signs[:-1] * signs[1:] < 0) | ((signs[:-1] == 0) & (signs[1:] != 0))
        exact[-1] |= signs[-1] == 0
        crossing[:, zero] = exact
    return grid, value, crossing


def zero_rates(flow: ArrayLike, *, lowest: float = LOWEST_RATE, highest: float = HIGHEST_RATE) -> Array:
    """Every rate per period between the bounds at which the NPV of one flow (T,) crosses zero, rising: none, one, or several."""
    cf = np.atleast_2d(_flows(flow)).T
    if not sign_changes_along(cf)[0]:
        return np.empty(0)
    grid, value, crossing = _crossings(cf, 1.0 / (1.0 + highest), 1.0 / (1.0 + lowest))
    cells = np.flatnonzero(crossing[:, 0])
    return np.sort(1.0 / _roots(cf, grid, value, np.zeros(cells.size, dtype=np.int64), cells) - 1.0)


def _horner(flows: Array, v: Array) -> tuple[Array, Array]:
    value, slope = flows[-1].copy(), np.zeros(flows.shape[1])
    for row in flows[-2::-1]:
        slope *= v
        slope += value
        value *= v
        value += row
    return value, slope


def _roots(flows: Array, grid: Array, value: Array, which: Ints, cell: Ints) -> Array:
    """The root in v of each of the NPVs ``which`` of flows (T, k) in its step of the grid, where ``value`` changes its sign."""
    left, right = grid[cell], grid[cell + 1]
    at_left, at_right = value[cell, which], value[cell + 1, which]
    rising = (at_left < 0) | (at_right > 0)
    low, high = np.where(rising, left, right), np.where(rising, right, left)
    # The line between both ends is close already: a step is less than two per cent of v.
    apart = at_right - at_left
    v = left - at_left * np.divide(right - left, apart, out=np.zeros_like(apart), where=apart != 0)
    root = np.where(at_left == 0, left, np.where(at_right == 0, right, v))
    active = np.flatnonzero((at_left != 0) & (at_right != 0))
    before = right - left
    flows, v, low, high, before = flows[:, which[active]], v[active], low[active], high[active], before[active]
    step, going = before, np.ones(active.size, dtype=bool)
    for _ in range(_STEPS):
        if not active.size:
            break
        value, slope = _horner(flows, v)
        under = value < 0
        np.copyto(low, v, where=under)
        np.copyto(high, v, where=~under)
        newton = np.divide(value, slope, out=np.full_like(value, np.inf), where=slope != 0)
        there = v - newton
        # Newton's step must stay inside the bracket and be at most half of the step before the last.
        good = ((there - low) * (there - high) < 0) & (np.abs(2.0 * newton) <= before)
        enough = _CLOSE * np.abs(v)
        done = np.abs(newton) <= enough
        before, step = step, np.abs(np.where(good | done, newton, v - 0.5 * (low + high)))
        v = np.where(good | done, there, 0.5 * (low + high))
        root[active[going]] = v[going]
        going &= ~done & (step > enough)
        # The finished ones are cut out only when there are many: until then they are solved along, to no effect.
        if np.count_nonzero(going) < _MOST_ACTIVE * active.size:
            active, flows, v = active[going], flows[:, going], v[going]
            low, high, before, step = low[going], high[going], before[going], step[going]
            going = np.ones(active.size, dtype=bool)
    return root


def modified_irr(flows: ArrayLike, *, finance_rate: float, reinvest_rate: float) -> Array:
    """MIRR per period of each row: unique whatever the signs, at the price of two assumed rates; NaN one-sided."""
    cf = np.atleast_2d(_flows(flows))
    last = cf.shape[1] - 1
    paid = -np.minimum(cf, 0.0) @ discount_factors(finance_rate, last + 1)
    earned = np.maximum(cf, 0.0) @ discount_factors(reinvest_rate, last + 1) * (1.0 + reinvest_rate) ** last
    usable = (paid > 0) & (earned > 0) & (last > 0)
    with np.errstate(over="ignore"):  # next to nothing is paid
        ratio = np.divide(earned, paid, out=np.full(len(cf), np.nan), where=usable)
    return ratio ** (1.0 / max(last, 1)) - 1.0


def payback(flows: ArrayLike) -> Array:
    """Periods until the money of each row is back, interpolated; 0 where it was never out, NaN where it never comes back.

    t - 1 + |cum(t-1)|/CF(t) for the first t at which the cumulative flow, once below zero, has reached it again: before
    anything is spent nothing is paid back. Feed discounted flows for the discounted payback.
    """
    cf = np.atleast_2d(_flows(flows))
    cumulative = cf.cumsum(axis=1)
    # A cent's rounding in a long sum must not push the payback one period on.
    above = cumulative >= -1e-9 * np.abs(cf).max(axis=1, keepdims=True)
    back = above & np.logical_or.accumulate(~above, axis=1)
    t = back.argmax(axis=1)
    row = np.arange(len(cf))
    before = np.where(t > 0, cumulative[row, t - 1], 0.0)
    gained = cf[row, t]
    part = np.divide(-before, gained, out=np.zeros(len(cf)), where=(t > 0) & (gained > 0))
    found = np.maximum(t - 1, 0) + np.minimum(part, 1.0)
    return np.where(above.all(axis=1), 0.0, np.where(back.any(axis=1), found, np.nan))
