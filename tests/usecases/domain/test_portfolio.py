"""The optimiser against complete enumeration, the worked tables, and what it says about its answers."""

from __future__ import annotations

import io
import itertools
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.usecases.domain.tables import read_table
from usecases.domain import portfolio_runner as runner
from usecases.domain import portfolio_study as study
from usecases.domain.errors import InvalidInput
from usecases.domain.portfolio import (
    Candidate,
    Problem,
    build_rows,
    keeps_rules,
    missing_shares,
    objective,
    plan_value,
    used,
    variable_bounds,
)
from usecases.domain.portfolio_solver import greedy, improved, solve

EXACT = {"gap": 0.0, "time_limit": 20.0}


def numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part.strip())


def keys(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def worked(budget: tuple[float, ...], **more: object) -> Problem:
    rows = tuple(
        Candidate(
            row["key"],
            row["key"],
            float(row["value"]),
            numbers(row["spend"]),
            needs=keys(row["needs"]),
            foundation=row["foundation"] == "yes",
        )
        for row in read_table("portfolio", "portfolio-candidates")
    )
    return Problem(rows, budget, exclusions=(("C", "D"),), **more)  # type: ignore[arg-type]


def enumerated(problem: Problem) -> float | None:
    """The best value over every assignment of starts; None where none keeps the rules."""
    best = None
    names = [c.key for c in problem.candidates]
    for choice in itertools.product([None, *range(problem.quarters)], repeat=len(names)):
        starts = dict(zip(names, choice, strict=True))
        if keeps_rules(problem, starts):
            value = plan_value(problem, starts)
            best = value if best is None or value > best else best
    return best


@pytest.mark.parametrize("row", read_table("portfolio", "portfolio-answers"), ids=lambda r: r["question"])
def test_worked_table(row: dict[str, str]) -> None:
    problem = worked(
        numbers(row["budget"]),
        must=frozenset(keys(row["must"])),
        must_not=frozenset(keys(row["must not"])),
        lag=int(row["lag"]),
    )
    plan = solve(problem, **EXACT)
    if row["value"] == "none":
        assert plan.status == "infeasible"
        assert enumerated(problem) is None
        return
    assert plan.value == pytest.approx(float(row["value"]))
    assert enumerated(problem) == pytest.approx(float(row["value"]))
    told = {key: int(quarter) - 1 for key, quarter in (part.split() for part in row["starts"].split(","))}
    assert {k: s for k, s in plan.starts.items() if s is not None} == told


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small questions whose needs only point backwards, so that there is no circle."""
    quarters = draw(st.integers(1, 3))
    m = draw(st.integers(1, 4))
    money = st.integers(0, 60).map(float)
    rows = []
    for i in range(m):
        needs = tuple(f"k{j}" for j in range(i) if draw(st.integers(0, 3)) == 0)
        rows.append(
            Candidate(
                f"k{i}",
                f"K{i}",
                float(draw(st.integers(-20, 100))),
                tuple(draw(st.lists(money, max_size=3))),
                {"data_scientist": (float(draw(st.integers(0, 9))),)},
                needs,
                draw(st.booleans()),
                tuple(draw(st.lists(st.sampled_from(["s", "t"]), max_size=2, unique=True))),
            )
        )
    names = [c.key for c in rows]
    must = frozenset(draw(st.lists(st.sampled_from(names), max_size=1)))
    return Problem(
        tuple(rows),
        tuple(draw(st.lists(st.integers(0, 100).map(float), min_size=quarters, max_size=quarters))),
        {"data_scientist": tuple(draw(st.lists(st.integers(0, 20).map(float), min_size=quarters, max_size=quarters)))},
        rate=draw(st.sampled_from([0.0, 0.05])),
        lag=draw(st.integers(0, 2)),
        exclusions=((names[0], names[-1]),) if m > 1 and draw(st.booleans()) and not set(names) <= must else (),
        must=must,
        must_not=frozenset(draw(st.lists(st.sampled_from(names), max_size=1))) - must,
        foundation_share=draw(st.sampled_from([0.0, 0.0, 0.4])),
        site_shares=draw(st.sampled_from([{}, {"s": 0.5}])),
    )


@given(problems())
@settings(max_examples=120, deadline=None)
def test_optimum_is_that_of_enumeration(problem: Problem) -> None:
    plan, best = solve(problem, **EXACT), enumerated(problem)
    if best is None:
        assert not plan.starts
        assert plan.status == "infeasible"
        return
    assert keeps_rules(problem, plan.starts)
    assert plan.value == pytest.approx(best, abs=1e-6)
    assert plan.bound >= best - 1e-6
    first = greedy(problem)
    assert first.status == "infeasible" or (keeps_rules(problem, first.starts) and first.value <= best + 1e-9)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_relief_makes_it_possible(problem: Problem) -> None:
    if enumerated(problem) is not None:
        return
    relief = study.relax(problem)
    if relief.raises:
        assert solve(study.relaxed(problem, relief.raises), **EXACT).starts
    if relief.drops:
        assert solve(replace(problem, must=problem.must - set(relief.drops)), **EXACT).starts
    assert relief.raises or relief.drops


@given(problems())
@settings(max_examples=60, deadline=None)
def test_each_reason_is_true(problem: Problem) -> None:
    plan = solve(problem, **EXACT)
    if not plan.starts:
        return
    inside = set(plan.chosen)
    reasons = study.why_out(problem, plan)
    assert {r.key for r in reasons} == {c.key for c in problem.candidates} - inside
    for r in reasons:
        c = problem.candidates[problem.at[r.key]]
        if r.code == "must_not":
            assert r.key in problem.must_not
        elif r.code == "excluded":
            assert r.other in inside
        elif r.code == "no_value":
            assert c.value <= 0
        elif r.code == "needs":
            assert r.other in c.needs
            assert r.other not in inside
        elif r.code in {"budget", "capacity"}:
            assert r.lacking is not None
            assert r.lacking > 0
            for start in range(problem.quarters):
                assert not keeps_rules(problem, dict(plan.starts) | {r.key: start})


def test_marginal_gain_is_really_had() -> None:
    problem = worked((100.0, 60.0))
    base = solve(problem, **EXACT)
    found = study.marginal(problem, base, 10.0, 1)
    richer = replace(problem, budget=(100.0, 70.0))
    assert found.gain == pytest.approx((enumerated(richer) or 0.0) - (enumerated(problem) or 0.0))
    assert study.marginal(problem, base, 10.0, None).gain >= 0


def test_enabling_and_costs_are_differences_of_optima() -> None:
    problem = worked((100.0, 60.0))
    base = solve(problem, **EXACT)
    without = enumerated(replace(problem, must_not=frozenset({"A"})))
    assert study.enabling_value(problem, base, "A") == pytest.approx(base.value - (without or 0.0))
    freed = enumerated(replace(problem, exclusions=()))
    assert study.cost_of_rule(problem, base, "exclusion", "C|D").amount == pytest.approx((freed or 0.0) - base.value)
    forced = enumerated(replace(problem, must=frozenset({"C"})))
    assert study.cost_of_forcing(problem, base, "C").amount == pytest.approx(base.value - (forced or 0.0))
    broke = replace(problem, budget=(0.0, 0.0))
    assert study.cost_of_forcing(broke, solve(broke, **EXACT), "C").amount is None


def test_frontier_never_falls() -> None:
    problem = worked((100.0, 60.0))
    last = None
    values = []
    for factor in study.FRONTIER:
        last = study.frontier_point(problem, factor, last, gap=0.01, seconds=5.0)
        assert last is not None
        values.append(last.value)
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == enumerated(replace(problem, budget=(200.0, 120.0)))


def test_core_draws_hit_their_quantiles() -> None:
    drawn = study.core_draws([(10.0, 20.0, 50.0), (5.0, 5.0, 5.0)], 20_000, 3)
    assert np.percentile(drawn[:, 0], [10, 50, 90]) == pytest.approx([10, 20, 50], abs=0.9)
    assert (drawn[:, 1] == 5.0).all()
    assert (drawn == study.core_draws([(10.0, 20.0, 50.0), (5.0, 5.0, 5.0)], 20_000, 3)).all()


def test_a_plan_cut_short_keeps_what_it_has() -> None:
    rng = np.random.default_rng(5)
    cost = rng.uniform(20, 200, 120)
    rows = tuple(
        Candidate(
            f"k{i}",
            f"K{i}",
            float(c * rng.uniform(0.5, 3)),
            (0.6 * c, 0.4 * c),
            needs=(f"k{i // 2}",) if i > 60 else (),
        )
        for i, c in enumerate(map(float, cost))
    )
    problem = Problem(rows, (float(cost.sum() * 0.1),) * 4, rate=0.02)
    plan = solve(problem, gap=0.0, time_limit=0.05)
    assert plan.starts
    assert keeps_rules(problem, plan.starts)
    assert plan.status in {"time_limit", "optimal"}
    assert math.isnan(plan.gap) or plan.gap >= 0


def test_what_is_used_adds_up() -> None:
    problem = worked((200.0, 200.0))
    starts = {"A": 0, "B": 1, "C": None, "D": 1}
    money, _days = used(problem, starts)
    assert money.tolist() == [50.0, 10.0 + 40.0 + 30.0]
    assert improved(problem, starts)["B"] is not None
    assert missing_shares(replace(problem, foundation_share=0.9), starts)


BAD = {
    "budget": lambda p: replace(p, budget=()),
    "budget[1]": lambda p: replace(p, budget=(1.0, -1.0)),
    "budget[0]": lambda p: replace(p, budget=(float("nan"), 1.0)),
    "capacity.ot_engineer": lambda p: replace(p, capacity={"ot_engineer": (1.0,)}),
    "lag": lambda p: replace(p, lag=-1),
    "rate": lambda p: replace(p, rate=float("nan")),
    "foundation_share": lambda p: replace(p, foundation_share=1.5),
    "site_shares": lambda p: replace(p, site_shares={"s": 0.6, "t": 0.6}),
    "must": lambda p: replace(p, must=frozenset({"Z"})),
    "must_not": lambda p: replace(p, must=frozenset({"A"}), must_not=frozenset({"A"})),
    "exclusions": lambda p: replace(p, must=frozenset({"C", "D"})),
}


@pytest.mark.parametrize("field", BAD)
def test_bad_questions_are_refused_at_the_field(field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        BAD[field](worked((100.0, 60.0)))
    assert refused.value.field == field


def test_a_circle_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"wait for each other: .*A.* → .*B.*") as refused:
        Problem((Candidate("a", "A", 1.0, needs=("b",)), Candidate("b", "B", 1.0, needs=("a",))), (1.0,))
    assert refused.value.code == "circular"


def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problem: dict[str, object], kind: str) -> list[dict[str, object]]:  # fmt: skip
    options = {"gap": 0.0, "time_limit": 5, "draws": 12, "seed": 1, "ranges": {k: [v / 2, v, 2 * v] for k, v in (("A", 10), ("B", 90), ("C", 80), ("D", 70))}}  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"kind": kind, "problem": problem, "options": options})))
    runner.main()
    return [json.loads(row) for row in capsys.readouterr().out.splitlines()]


def test_the_process_tells_each_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    problem = worked((100.0, 60.0))
    data = runner.problem_as_data(problem)
    assert runner.problem_from_data(json.loads(json.dumps(data))) == problem
    said = ask(monkeypatch, capsys, data, "plan")
    assert said[-1] == {"done": True}
    assert said[0]["result"]["status"] == "greedy"  # type: ignore[index]
    last = said[-2]["result"]
    assert isinstance(last, dict)
    assert last["value"] == enumerated(problem)
    assert {"marginal", "enabling", "costs", "out"} <= set(last)
    core = ask(monkeypatch, capsys, data, "core")[-2]["result"]
    assert isinstance(core, dict)
    assert core["done"] == 12
    assert all(0 <= share <= 1 for share in core["share"].values())
    frontier = ask(monkeypatch, capsys, data, "frontier")[-2]["result"]
    assert isinstance(frontier, dict)
    assert len(frontier["points"]) == len(study.FRONTIER)


def test_the_process_refuses_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = runner.problem_as_data(worked((100.0, 60.0))) | {"budget": [-1, 2]}
    said = ask(monkeypatch, capsys, data, "plan")
    assert said == [{"error": {"code": "limit_negative", "message": "Each quarter needs a number, 0 or more.", "field": "budget[0]"}}]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_settling_variables_loses_no_plan(seed: int) -> None:
    """Against one call of the solver on the same rows, at sizes no enumeration reaches."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(20.0, 200.0, 24)
    rows = tuple(
        Candidate(
            f"c{i}",
            f"C{i}",
            float(c * rng.uniform(-0.2, 3.0)),
            (0.6 * c, 0.4 * c),
            needs=(f"c{i - 9}",) if i > 15 else (),
            foundation=i < 6,
        )
        for i, c in enumerate(cost)
    )
    problem = Problem(
        rows,
        (float(cost.sum()) * 0.12,) * 3,
        rate=0.02,
        lag=seed % 2,
        exclusions=(("c1", "c2"), ("c20", "c21")),
        foundation_share=0.2 * (seed % 2),
        must=frozenset({"c0"}),
    )
    stated = build_rows(problem)
    low, high = variable_bounds(problem)
    gain = objective(problem)
    plain = milp(
        -gain,
        integrality=np.ones(gain.size),
        bounds=Bounds(low, high),
        constraints=LinearConstraint(stated.matrix, stated.low, stated.high),
        options={"mip_rel_gap": 0.0},
    )
    plan = solve(problem, gap=0.0, time_limit=60.0)
    assert plan.status == "optimal"
    assert keeps_rules(problem, plan.starts)
    assert plan.value == pytest.approx(-plain.fun, rel=1e-6)
    assert plan.gap <= 1e-6
