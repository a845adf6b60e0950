"""What a plan means: why something is out, what more money would buy, what to relax, which choices are safe.

Everything is a difference of two optima of `usecases.domain.portfolio_solver.solve`: a mixed-integer programme has no shadow prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from usecases.domain.portfolio import (
    FITS,
    Plan,
    Problem,
    build_rows,
    missing_shares,
    used,
    variable_bounds,
)
from usecases.domain.portfolio_solver import solve

Array = NDArray[np.float64]

#: Differences of two optima are asked for more exactly than the plan itself, and for less long.
FINE_GAP: Final = 0.0005
STEP_SECONDS: Final = 3.0
FRONTIER: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
CORE_DRAWS: Final = 100


@dataclass(frozen=True)
class Reason:
    """Why a use case is out. ``code``: must_not, excluded (``other``), needs (``other``), no_value, too_late, budget or capacity
    (``quarter``, ``role``, ``lacking`` in money or days), share (``other``: the rule), within_gap."""

    key: str
    code: str
    other: str = ""
    role: str = ""
    quarter: int | None = None
    lacking: float | None = None


def why_out(problem: Problem, plan: Plan) -> list[Reason]:
    """One reason for each candidate that the plan leaves out, the most direct first."""
    return [_why(problem, plan.starts, c.key) for c in problem.candidates if plan.starts.get(c.key) is None]


def _why(problem: Problem, starts: Mapping[str, int | None], key: str) -> Reason:
    c = problem.candidates[problem.at[key]]
    if key in problem.must_not:
        return Reason(key, "must_not")
    for a, b in problem.exclusions:
        other = b if a == key else a if b == key else None
        if other is not None and starts.get(other) is not None:
            return Reason(key, "excluded", other=other)
    if c.value <= 0:
        return Reason(key, "no_value")
    needed = [n for n in c.needs if n in problem.at]
    for n in needed:
        if starts.get(n) is None:
            return Reason(key, "needs", other=n)
    earliest = max((int(starts[n] or 0) + problem.lag for n in needed), default=0)
    if earliest >= problem.quarters:
        return Reason(key, "too_late", other=max(needed, key=lambda n: starts[n] or 0))
    return _shortage(problem, starts, key, earliest)


def _shortage(problem: Problem, starts: Mapping[str, int | None], key: str, earliest: int) -> Reason:
    """The start quarter with the smallest worst shortage, measured as a share of its limit."""
    best: tuple[float, Reason] | None = None
    for start in range(earliest, problem.quarters):
        trial = dict(starts) | {key: start}
        money, days = used(problem, trial)
        worst: tuple[float, Reason] | None = None
        rows = [("budget", "", money, problem.budget), *(("capacity", r, days[r], problem.capacity[r]) for r in days)]
        for code, role, total, limit in rows:
            over = total - np.asarray(limit)
            at = int(over.argmax())
            if over[at] > FITS * max(1.0, limit[at]):
                size = float(over[at]) / max(float(np.mean(limit)), 1e-9)
                if worst is None or size > worst[0]:
                    worst = (size, Reason(key, code, role=role, quarter=at, lacking=float(over[at])))
        if worst is None:
            lacking = missing_shares(problem, trial)
            if lacking:
                name, amount = max(lacking.items(), key=lambda item: item[1])
                worst = (np.inf, Reason(key, "share", other=name, lacking=amount))
            else:
                return Reason(key, "within_gap")
        if best is None or worst[0] < best[0]:
            best = worst
    return best[1] if best else Reason(key, "within_gap")


@dataclass(frozen=True)
class Marginal:
    """``gain``: value that a raise of the budget by ``step`` adds at least (money); ``added`` and ``dropped`` keys; ``quarter`` None: spread
    over all quarters as the budget is."""

    quarter: int | None
    step: float
    gain: float
    added: tuple[str, ...]
    dropped: tuple[str, ...]


def _difference(base: Plan, other: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    now, then = set(other.chosen), set(base.chosen)
    return tuple(sorted(now - then)), tuple(sorted(then - now))


def step_of(problem: Problem) -> float:
    """A twentieth of the budget, rounded to one figure: what a page may offer as "the next 50 k"."""
    raw = sum(problem.budget) / 20
    if raw <= 0:
        raw = max((sum(c.spend) for c in problem.candidates), default=0.0) or 1000.0
    power = 10.0 ** np.floor(np.log10(raw))
    return float(max(1.0, round(raw / power)) * power)


def marginal(
    problem: Problem, base: Plan, step: float, quarter: int | None, *, seconds: float = STEP_SECONDS
) -> Marginal:
    """What ``step`` more buys. The base plan stays possible, so the gain is never below zero."""
    budget = np.asarray(problem.budget, dtype=float)
    if quarter is not None:
        budget[quarter] += step
    else:
        budget += step * (budget / budget.sum() if budget.sum() > 0 else 1.0 / budget.size)
    richer = replace(problem, budget=tuple(budget))
    plan = solve(richer, gap=FINE_GAP, time_limit=seconds)
    if plan.value <= base.value + FITS * abs(base.value):
        return Marginal(quarter, step, 0.0, (), ())
    return Marginal(quarter, step, plan.value - base.value, *_difference(base, plan))


@dataclass(frozen=True)
class Cost:
    """What a rule or a wish costs: ``amount`` of value lost by it (None: no plan at all with it). ``key`` names the use case or the pair."""

    kind: str
    key: str
    amount: float | None


def cost_of_forcing(problem: Problem, base: Plan, key: str, *, seconds: float = STEP_SECONDS) -> Cost:
    """Value lost when ``key`` must be in."""
    forced = replace(problem, must=problem.must | {key})
    plan = solve(forced, gap=FINE_GAP, time_limit=seconds)
    return Cost("force", key, None if not plan.starts else max(0.0, base.value - plan.value))


def cost_of_rule(problem: Problem, base: Plan, kind: str, key: str, *, seconds: float = STEP_SECONDS) -> Cost:
    """Value that comes back when one exclusion (``a|b``), must or must-not is dropped."""
    if kind == "exclusion":
        freed = replace(problem, exclusions=tuple(p for p in problem.exclusions if "|".join(p) != key))
    elif kind == "must":
        freed = replace(problem, must=problem.must - {key})
    else:
        freed = replace(problem, must_not=problem.must_not - {key})
    plan = solve(freed, gap=FINE_GAP, time_limit=seconds)
    return Cost(kind, key, max(0.0, plan.value - base.value))


def enabling_value(problem: Problem, base: Plan, key: str, *, seconds: float = STEP_SECONDS) -> float:
    """V*(with) - V*(without) of a foundation: what would be lost if it could not be had, with all that stands on it."""
    without = replace(problem, must_not=problem.must_not | {key}, must=_not_above(problem, key))
    plan = solve(without, gap=FINE_GAP, time_limit=seconds)
    return max(0.0, base.value - plan.value)


def _not_above(problem: Problem, key: str) -> frozenset[str]:
    """The musts that can still be had when ``key`` cannot."""
    gone = {key}
    while True:
        more = {c.key for c in problem.candidates if c.key not in gone and any(n in gone for n in c.needs)}
        if not more:
            return problem.must - gone
        gone |= more


@dataclass(frozen=True)
class Point:
    """One point of the frontier: ``factor`` of the budget asked for, money ``spent`` in the horizon, ``value``, keys ``chosen``."""

    factor: float
    budget: float
    spent: float
    value: float
    chosen: tuple[str, ...]


def frontier_point(problem: Problem, factor: float, last: Point | None, *, gap: float, seconds: float) -> Point | None:
    """The optimum with ``factor`` times the budget, never below the point before it (a smaller budget's plan stays possible)."""
    scaled = replace(problem, budget=tuple(b * factor for b in problem.budget))
    plan = solve(scaled, gap=gap, time_limit=seconds)
    if not plan.starts and last is None:
        return None
    total = sum(scaled.budget)
    if last is not None and plan.value < last.value:
        return replace(last, factor=factor, budget=total)
    money, _ = used(scaled, plan.starts)
    return Point(factor, total, float(money.sum()), plan.value, tuple(plan.chosen))


def core_draws(values: Sequence[tuple[float, float, float]], draws: int, seed: int) -> Array:
    """Values (draws, m): each between its bad and good case, by a split normal whose 10, 50 and 90 % points are those given."""
    low, middle, high = (np.array(column, dtype=float) for column in zip(*values, strict=True))
    z = np.random.default_rng([seed, 7]).standard_normal((draws, len(values)))
    ten = 1.2815515655446004
    return middle + np.where(z < 0, z * (middle - low), z * (high - middle)) / ten


def core_plan(problem: Problem, values: Array, rows: Any, *, seconds: float = STEP_SECONDS) -> Plan:
    return solve(problem, gap=0.01, time_limit=seconds, rows=rows, values=values, polish=False)


@dataclass(frozen=True)
class Relaxation:
    """What to give so that a plan exists: ``raises`` (kind, role, quarter, amount) or ``drops`` (keys of musts). Empty where that
    way alone cannot help."""

    raises: tuple[tuple[str, str, int, float], ...]
    drops: tuple[str, ...]


def relax(problem: Problem, *, seconds: float = STEP_SECONDS) -> Relaxation:
    """The cheapest way out of an impossible question, once by raising limits and once by dropping musts.

    Elastic programme: each limit may be passed at the price of one over the sum of its kind, so that a tenth of all money weighs as
    much as a tenth of all days; the least total is found.
    """
    return Relaxation(_raises(problem, seconds), _drops(problem, seconds))


def _raises(problem: Problem, seconds: float) -> tuple[tuple[str, str, int, float], ...]:
    rows = build_rows(problem)
    low, high = variable_bounds(problem)
    if (low > high).any():
        return ()
    soft = [i for i, name in enumerate(rows.names) if name[0] in {"budget", "capacity", "share"}]
    price, sign = [], []
    for i in soft:
        kind, what, _ = rows.names[i]
        limits = problem.capacity[what] if kind == "capacity" else problem.budget
        price.append(1.0 / max(float(np.sum(limits)), 1.0))
        sign.append(1.0 if kind == "share" else -1.0)
    count, n = len(soft), rows.matrix.shape[1]
    slack = csr_array((sign, (soft, range(count))), shape=(rows.matrix.shape[0], count))
    answer = milp(
        np.concatenate([np.zeros(n), price]),
        integrality=np.concatenate([np.ones(n), np.zeros(count)]),
        bounds=Bounds(np.concatenate([low, np.zeros(count)]), np.concatenate([high, np.full(count, np.inf)])),
        constraints=LinearConstraint(csr_array(hstack([rows.matrix, slack])), rows.low, rows.high),
        options={"mip_rel_gap": 0.001, "time_limit": seconds},
    )
    if answer.x is None:
        return ()
    found = []
    for i, amount in zip(soft, answer.x[n:], strict=True):
        kind, what, quarter = rows.names[i]
        limit = rows.high[i] if kind != "share" else 0.0
        if amount > 1e-6 * max(1.0, float(limit)):
            found.append((kind, what, quarter, float(amount)))
    return tuple(found)


def _drops(problem: Problem, seconds: float) -> tuple[str, ...]:
    """The smallest set of musts without which a plan exists; of equally small sets the one that keeps most value."""
    if not problem.must:
        return ()
    rows = build_rows(problem)
    free = replace(problem, must=frozenset())
    low, high = variable_bounds(free)
    last = [problem.at[key] * problem.quarters + problem.quarters - 1 for key in sorted(problem.must)]
    worth = max(1.0, sum(abs(c.value) for c in problem.candidates))
    cost = np.zeros(rows.matrix.shape[1])
    for key, column in zip(sorted(problem.must), last, strict=True):
        cost[column] = -1.0 - 0.5 * max(0.0, problem.candidates[problem.at[key]].value) / worth
    answer = milp(
        cost,
        integrality=np.ones(cost.size),
        bounds=Bounds(low, high),
        constraints=LinearConstraint(rows.matrix, rows.low, rows.high),
        options={"mip_rel_gap": 0.001, "time_limit": seconds},
    )
    if answer.x is None:
        return ()
    return tuple(key for key, column in zip(sorted(problem.must), last, strict=True) if answer.x[column] < 0.5)


def relaxed(problem: Problem, raises: Sequence[tuple[str, str, int, float]]) -> Problem:
    """The problem with limits raised as `relax` says (a hair more, against rounding). Shares are lowered to nothing."""
    budget = np.array(problem.budget, dtype=float)
    capacity = {role: np.array(days, dtype=float) for role, days in problem.capacity.items()}
    foundation, sites = problem.foundation_share, dict(problem.site_shares)
    for kind, what, quarter, amount in raises:
        if kind == "budget":
            budget[quarter] += amount * (1 + 1e-6) + 1e-6
        elif kind == "capacity":
            capacity[what][quarter] += amount * (1 + 1e-6) + 1e-6
        elif what == "foundations":
            foundation = 0.0
        else:
            sites.pop(what.removeprefix("site:"), None)
    return replace(
        problem,
        budget=tuple(budget),
        capacity={role: tuple(days) for role, days in capacity.items()},
        foundation_share=foundation,
        site_shares=sites,
    )
