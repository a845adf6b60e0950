"""The plan itself: HiGHS through SciPy, with less left to search.

The relaxed programme (y between 0 and 1) is solved first: its value bounds every plan, and nearly all of its variables are whole
already. Near it a small programme finds a plan that is nearly always good enough. If not, every variable whose reduced cost is above
the distance between the two values is settled, and only the rest is searched. docs/algorithms/portfolio.md has the steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import vstack

from usecases.domain.portfolio import (
    FITS,
    Candidate,
    Plan,
    Problem,
    Rows,
    build_rows,
    keeps_rules,
    objective,
    plan_value,
    starts_of,
    used,
    variable_bounds,
)

Array = NDArray[np.float64]

#: A relaxed variable this close to 0 or 1 is whole.
WHOLE: Final = 1e-6
#: Values within this share of their size are the same to the solver.
SAME: Final = 1e-7
#: Parts of the variables that are left free near the relaxed plan, one after the other, and how long each may take: seconds, and
#: at most this part of the time.
FREE: Final = (0.1, 0.25)
NEAR_SECONDS: Final = 0.5
NEAR_PART: Final = 0.2


@dataclass(frozen=True)
class Relaxed:
    """The relaxed optimum: ``x``, its ``bound`` (of the value divided by the scale) and what a unit of each variable costs at its bound."""

    x: Array
    bound: float
    at_low: Array
    at_high: Array


def solve(
    problem: Problem,
    *,
    gap: float = 0.01,
    time_limit: float = 10.0,
    rows: Rows | None = None,
    values: Array | None = None,
    polish: bool = True,
) -> Plan:
    """The best plan within ``gap``, or the best found within ``time_limit`` seconds of wall time.

    ``values`` (m,) replaces the candidates' values. ``polish`` adds what still fits within the gap.
    """
    began = time.perf_counter()
    rows = rows or build_rows(problem)
    judged = problem if values is None else _revalued(problem, values)
    low, high = variable_bounds(problem)
    if (low > high).any():
        return _nothing("infeasible", began)
    gain = objective(problem, values)
    scale = max(1.0, float(np.abs(gain).max()))
    gain = gain / scale

    def left() -> float:
        return max(0.05, time_limit - (time.perf_counter() - began))

    relaxed, possible = _relax(gain, low, high, rows, left())
    if not possible:
        return _nothing("infeasible", began)
    best: dict[str, int | None] | None = None
    bound = np.inf
    if relaxed is not None:
        bound = relaxed.bound * scale
        for part in FREE:
            found = _near(judged, gain, low, high, rows, relaxed, part, gap, min(NEAR_SECONDS, NEAR_PART * left()))
            best = _better(judged, best, found, polish=polish)
            if best is not None and _gap(bound, plan_value(judged, best)) <= gap:
                return _told("optimal", judged, best, bound, began)
        if best is not None:
            low, high = _settled(relaxed, low, high, plan_value(judged, best) / scale)
    answer = _search(gain, low, high, rows, gap, left())
    starts = starts_of(problem, answer.x) if answer.x is not None else {}
    # HiGHS keeps rows to a tolerance; a plan that keeps them only so is not shown.
    if starts and keeps_rules(problem, starts):
        best = _better(judged, best, starts, polish=polish)
    elif answer.status == 2 and best is None:
        return _nothing("infeasible", began)
    if best is None:
        # The time was over, or what was found kept the rules only nearly.
        first = greedy(judged)
        if first.status == "infeasible":
            return _nothing("nothing_found", began)
        best = improved(judged, first.starts) if polish else dict(first.starts)
    value = plan_value(judged, best)
    bound = min(bound, _bound_of(answer, scale, value, settled=relaxed is not None))
    return _told("optimal" if _gap(bound, value) <= gap + SAME else "time_limit", judged, best, bound, began)


def _better(
    problem: Problem, best: dict[str, int | None] | None, found: dict[str, int | None] | None, *, polish: bool
) -> dict[str, int | None] | None:
    if found is None:
        return best
    if polish:
        found = improved(problem, found)
    return found if best is None or plan_value(problem, found) > plan_value(problem, best) else best


def _nothing(status: str, began: float) -> Plan:
    return Plan(status, {}, 0.0, float("nan"), time.perf_counter() - began)


def _told(status: str, problem: Problem, starts: Mapping[str, int | None], bound: float, began: float) -> Plan:
    value = plan_value(problem, starts)
    return Plan(
        status,
        dict(starts),
        value,
        max(bound, value) if np.isfinite(bound) else float("nan"),
        time.perf_counter() - began,
    )


def _gap(bound: float, value: float) -> float:
    return (bound - value) / max(abs(value), 1e-9)


def _bound_of(answer: Any, scale: float, value: float, *, settled: bool) -> float:
    """What no plan can beat. Where variables were settled, a search that comes back empty has proved the plan at hand."""
    if answer.status == 2:
        return value if settled else np.inf
    dual = answer.mip_dual_bound
    return max(value, -float(dual) * scale) if dual is not None and np.isfinite(dual) else np.inf


def _search(gain: Array, low: Array, high: Array, rows: Rows, gap: float, seconds: float) -> Any:
    return milp(
        -gain,
        integrality=np.ones(gain.size),
        bounds=Bounds(low, high),
        constraints=LinearConstraint(rows.matrix, rows.low, rows.high),
        options={"mip_rel_gap": gap, "time_limit": seconds},
    )


def _relax(gain: Array, low: Array, high: Array, rows: Rows, seconds: float) -> tuple[Relaxed | None, bool]:
    """The relaxed optimum (None when the time was over first), and whether there can be a plan at all."""
    above, below = np.isfinite(rows.high), np.isfinite(rows.low)
    answer = linprog(
        -gain,
        A_ub=vstack([rows.matrix[above], -rows.matrix[below]]).tocsr(),
        b_ub=np.concatenate([rows.high[above], -rows.low[below]]),
        bounds=np.column_stack([low, high]),
        method="highs",
        options={"time_limit": seconds},
    )
    if answer.status == 2:
        return None, False
    if answer.status != 0:
        return None, True
    return Relaxed(answer.x, -float(answer.fun), answer.lower.marginals, -answer.upper.marginals), True


def _near(
    problem: Problem,
    gain: Array,
    low: Array,
    high: Array,
    rows: Rows,
    relaxed: Relaxed,
    part: float,
    gap: float,
    seconds: float,
) -> dict[str, int | None] | None:
    """The best plan near the relaxed one: only what is not whole there, and the ``part`` of variables that cost least to change, is free."""
    whole = np.round(relaxed.x)
    cost = np.where(relaxed.x > 0.5, relaxed.at_high, relaxed.at_low)
    cost[np.abs(relaxed.x - whole) > WHOLE] = -1.0
    fixed = cost > np.quantile(cost, part)
    answer = _search(gain, np.where(fixed, whole, low), np.where(fixed, whole, high), rows, gap / 2, seconds)
    if answer.x is None:
        return None
    starts = starts_of(problem, answer.x)
    return starts if keeps_rules(problem, starts) else None


def _settled(relaxed: Relaxed, low: Array, high: Array, value: float) -> tuple[Array, Array]:
    """Bounds of the search for a better plan: a variable that may not leave its bound without losing more than could be won stays."""
    could_win = relaxed.bound - value + SAME * max(1.0, abs(relaxed.bound))
    at_low = (relaxed.x <= low + WHOLE) & (relaxed.at_low > could_win)
    at_high = (relaxed.x >= high - WHOLE) & (relaxed.at_high > could_win)
    return np.where(at_high, high, low), np.where(at_low, low, high)


def _revalued(problem: Problem, values: Array) -> Problem:
    rows = tuple(replace(c, value=float(v)) for c, v in zip(problem.candidates, values, strict=True))
    return replace(problem, candidates=rows)


class _Left:
    """Money and days that a plan leaves: a quick look before every rule is asked."""

    def __init__(self, problem: Problem, starts: Mapping[str, int | None]) -> None:
        money, days = used(problem, starts)
        self.limits = [np.asarray(problem.budget, dtype=float) - money]
        self.limits += [np.asarray(problem.capacity[role], dtype=float) - days[role] for role in days]
        self.roles = list(days)
        size = [problem.budget, *(problem.capacity[role] for role in days)]
        self.slack = [FITS * np.maximum(1.0, np.asarray(limit, dtype=float)) for limit in size]

    def needs(self, c: Candidate) -> list[tuple[float, ...]]:
        return [c.spend, *(c.effort.get(role, ()) for role in self.roles)]

    def take(self, c: Candidate, start: int, sign: float) -> None:
        for left, need in zip(self.limits, self.needs(c), strict=True):
            part = need[: left.size - start]
            left[start : start + len(part)] -= sign * np.asarray(part, dtype=float)

    def fits(self, c: Candidate, start: int) -> bool:
        for left, slack, need in zip(self.limits, self.slack, self.needs(c), strict=True):
            part = need[: left.size - start]
            end = start + len(part)
            if (np.asarray(part, dtype=float) > left[start:end] + slack[start:end]).any():
                return False
        return True


def improved(problem: Problem, starts: Mapping[str, int | None]) -> dict[str, int | None]:
    """The plan with everything added that still fits and is worth something, and every start moved up where it may."""
    best = {c.key: starts.get(c.key) for c in problem.candidates}
    if not keeps_rules(problem, best):
        return best
    left = _Left(problem, best)
    order = sorted(problem.candidates, key=lambda c: (-c.value, c.key))
    changed = True
    while changed:
        changed = False
        for c in order:
            now = best[c.key]
            if c.value <= 0 or c.key in problem.must_not:
                continue
            if now is not None:
                left.take(c, now, -1.0)
            found = now
            for start in range(problem.quarters if now is None else now):
                if left.fits(c, start) and keeps_rules(problem, best | {c.key: start}):
                    found, changed = start, True
                    break
            best[c.key] = found
            if found is not None:
                left.take(c, found, 1.0)
    return best


def greedy(problem: Problem) -> Plan:
    """A first plan without a solver: what must be in with what it needs, then by value per money. Rarely far from the best where
    nothing depends on anything; infeasible only says that this way found none."""
    began = time.perf_counter()
    starts: dict[str, int | None] = {c.key: None for c in problem.candidates}
    relaxed = replace(problem, must=frozenset(), foundation_share=0.0, site_shares={})
    left = _Left(problem, starts)

    def place(key: str, trail: tuple[str, ...] = ()) -> bool:
        c = problem.candidates[problem.at[key]]
        if starts[key] is not None:
            return True
        if key in problem.must_not or key in trail:
            return False
        kept = dict(starts)
        if all(place(n, (*trail, key)) for n in c.needs if n in problem.at):
            for quarter in range(problem.quarters):
                if left.fits(c, quarter) and keeps_rules(relaxed, starts | {key: quarter}):
                    starts[key] = quarter
                    left.take(c, quarter, 1.0)
                    return True
        for other, was in kept.items():
            now = starts[other]
            if now != was and now is not None:
                left.take(problem.candidates[problem.at[other]], now, -1.0)
        starts.update(kept)
        return False

    placed = all(place(key) for key in sorted(problem.must))
    order = sorted(problem.candidates, key=lambda c: (-c.value / max(sum(c.spend), 1e-9), c.key))
    for c in order:
        if c.value > 0:
            place(c.key)
    if not placed or not keeps_rules(problem, starts):
        return _nothing("infeasible", began)
    return Plan("greedy", starts, plan_value(problem, starts), float("nan"), time.perf_counter() - began)
