"""What a budget buys: ours against one call of `scipy.optimize.milp` on the same rows, the same question in "starts in" variables, and
the limit of ten seconds.

    python -m benchmarks.bench_portfolio

200 use cases, four quarters, 100 dependencies, 20 exclusions, spending over two quarters, a gap of 1 %, five seeds; all are solved by the
HiGHS in SciPy on the same questions in one run. The values must agree within the gap. Times are wall time, the median over the seeds;
the slowest counts against the limit.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from benchmarks.runner import Row, report
from usecases.domain.portfolio import Candidate, Problem, build_rows, keeps_rules, objective, variable_bounds
from usecases.domain.portfolio_solver import solve

SEEDS = range(5)
CASES, QUARTERS, NEEDS, EXCLUSIONS = 200, 4, 100, 20
GAP, LIMIT_S = 0.01, 10.0


def question(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(20e3, 200e3, CASES)
    value = cost * rng.uniform(0.5, 3.0, CASES)
    waits: list[set[int]] = [set() for _ in range(CASES)]
    while sum(map(len, waits)) < NEEDS:
        a, b = sorted(rng.integers(CASES, size=2))
        if a != b:
            waits[b].add(int(a))
    pairs: set[tuple[str, str]] = set()
    while len(pairs) < EXCLUSIONS:
        a, b = sorted(rng.integers(CASES, size=2))
        if a != b:
            pairs.add((f"c{a}", f"c{b}"))
    rows = tuple(
        Candidate(
            f"c{i}",
            f"C{i}",
            float(value[i]),
            (0.6 * cost[i], 0.4 * cost[i]),
            needs=tuple(f"c{j}" for j in sorted(waits[i])),
        )
        for i in range(CASES)
    )
    return Problem(rows, (float(cost.sum()) * 0.1,) * QUARTERS, rate=0.02, exclusions=tuple(sorted(pairs)))


def in_starts(problem: Problem) -> tuple[float, float]:
    """The same question with x[i, p] = 1 when i starts in p: seconds and value."""
    began = time.perf_counter()
    m, quarters = len(problem.candidates), problem.quarters
    at = problem.at
    gain = np.array([c.value * problem.discounts for c in problem.candidates]).ravel()
    rows = lil_array((m + quarters + len(problem.exclusions) + NEEDS * quarters, m * quarters))
    high = []
    for i in range(m):
        rows[i, i * quarters : (i + 1) * quarters] = 1.0
        high.append(1.0)
    for i, c in enumerate(problem.candidates):
        for start in range(quarters):
            for k, amount in enumerate(c.spend[: quarters - start]):
                rows[m + start + k, i * quarters + start] = amount
    high += list(problem.budget)
    row = m + quarters
    for a, b in problem.exclusions:
        for key in (a, b):
            rows[row, at[key] * quarters : (at[key] + 1) * quarters] = 1.0
        high.append(1.0)
        row += 1
    for i, c in enumerate(problem.candidates):
        for needed in c.needs:
            for p in range(quarters):
                rows[row, i * quarters : i * quarters + p + 1] = 1.0
                rows[row, at[needed] * quarters : at[needed] * quarters + p + 1] = -1.0
                high.append(0.0)
                row += 1
    answer = milp(
        -gain,
        integrality=np.ones(gain.size),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows.tocsr()[:row], -np.inf, np.array(high)),
        options={"mip_rel_gap": GAP, "time_limit": 60.0},
    )
    return time.perf_counter() - began, -float(answer.fun)


def plain(problem: Problem) -> tuple[float, float]:
    """Our rows as they are, in one call of `scipy.optimize.milp`: seconds and value."""
    began = time.perf_counter()
    rows, (low, high), gain = build_rows(problem), variable_bounds(problem), objective(problem)
    answer = milp(
        -gain,
        integrality=np.ones(gain.size),
        bounds=Bounds(low, high),
        constraints=LinearConstraint(rows.matrix, rows.low, rows.high),
        options={"mip_rel_gap": GAP, "time_limit": 60.0},
    )
    return time.perf_counter() - began, -float(answer.fun)


def main() -> int:
    ours, theirs, bare, worst_gap, apart = [], [], [], 0.0, 0.0
    for seed in SEEDS:
        problem = question(seed)
        began = time.perf_counter()
        plan = solve(problem, gap=GAP, time_limit=LIMIT_S)
        ours.append(time.perf_counter() - began)
        assert keeps_rules(problem, plan.starts)
        worst_gap = max(worst_gap, plan.gap)
        for times, answer in ((theirs, in_starts), (bare, plain)):
            seconds, value = answer(problem)
            times.append(seconds)
            apart = max(apart, abs(value - plan.value) / plan.value)
    hard = question(0)
    began = time.perf_counter()
    cut = solve(hard, gap=0.0, time_limit=1.0)
    took = time.perf_counter() - began
    middle = statistics.median
    return report(
        "portfolio",
        [
            Row("200 x 4, 100 needs, 1 % gap, median", middle(ours), middle(theirs), "starts-in variables"),
            Row("the same", middle(ours), middle(bare), "scipy.milp at once"),
            Row("the slowest of five", max(ours), LIMIT_S, "limit", required=1.0),
            Row("values apart, share", apart, GAP, "gap", unit="", required=1.0),
        ],
        notes=[
            "seconds by seed, ours / starts-in / at once: "
            + ", ".join(f"{a:.2f} / {b:.2f} / {c:.2f}" for a, b, c in zip(ours, theirs, bare, strict=True)),
            f"largest gap of ours {worst_gap:.4f}",
            f"cut off after 1 s: {cut.status}, plan kept, gap {cut.gap:.4f}, {len(cut.chosen)} in, {took:.2f} s",
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
