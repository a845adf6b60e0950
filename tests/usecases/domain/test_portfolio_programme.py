"""The rows given to the solver against the rules of docs/algorithms/portfolio.md, written out once more in plain arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests.usecases.domain import test_portfolio as questions
from tests.usecases.domain.tables import read_table
from usecases.domain import portfolio_study as study
from usecases.domain.portfolio import (
    Candidate,
    Problem,
    build_rows,
    keeps_rules,
    missing_shares,
    objective,
    used,
    variable_bounds,
)

ENOUGH = (1000.0, 1000.0, 1000.0)
SPEND = {"a": (30.0, 20.0), "b": (25.0,), "c": (10.0, 10.0, 40.0)}
DAYS = {"a": (3.0,), "b": (2.0, 2.0), "c": (1.0,)}
KEYS = tuple(SPEND)
VALUES = np.array([50.0, -7.0, 20.0])
Y = np.ndarray


def question(*, needs: dict[str, tuple[str, ...]] | None = None, **more: object) -> Problem:
    rows = tuple(
        Candidate(key, key, VALUES[i], SPEND[key], {"ot_engineer": DAYS[key]}, (needs or {}).get(key, ()), key == "a")
        for i, key in enumerate(KEYS)
    )
    return Problem(rows, **({"budget": ENOUGH, "rate": 0.02} | more))  # type: ignore[arg-type]


def starts(y: Y) -> Y:
    return np.diff(y, axis=1, prepend=0.0)


def taken(y: Y, needed: dict[str, tuple[float, ...]], q: int) -> float:
    """The sum over i, k of need_i[k] s[i, q - k]."""
    s = starts(y)
    return sum(amount * s[i, q - k] for i, key in enumerate(KEYS) for k, amount in enumerate(needed[key]) if q - k >= 0)


def counts(y: Y, share: float) -> bool:
    """Foundations ("a") have at least this share of all that is spent within the horizon."""
    s = starts(y)
    spent = [sum(s[i, p] * sum(SPEND[key][: 3 - p]) for p in range(3)) for i, key in enumerate(KEYS)]
    return spent[0] - share * sum(spent) >= -1e-9


# The rule of the page -> what the page says, a question in which it alone can bind, and the same rule in plain arithmetic.
RULES: dict[str, tuple[str, Problem, Callable[[Y], bool]]] = {
    "started stays started": ("y[i, p] <= y[i, p + 1]", question(), lambda y: True),
    "budget of quarter q": (
        "sum over i, k of c_i[k] s[i, q - k] <= B_q",
        question(budget=(40.0, 45.0, 50.0)),
        lambda y: all(taken(y, SPEND, q) <= limit + 1e-9 for q, limit in enumerate((40.0, 45.0, 50.0))),
    ),
    "person-days of a role in q": (
        "the same with e_i[k] and its capacity",
        question(capacity={"ot_engineer": (3.0, 2.0, 4.0)}),
        lambda y: all(taken(y, DAYS, q) <= limit + 1e-9 for q, limit in enumerate((3.0, 2.0, 4.0))),
    ),
    "i needs j, lag L": (
        "y[i, p] <= y[j, p - L], and y[i, p] = 0 for p < L",
        question(needs={"b": ("a",), "c": ("a", "b")}, lag=1),
        lambda y: all(
            y[i, p] <= (y[j, p - 1] if p else 0) for i, j in ((1, 0), (2, 0), (2, 1)) for p in range(3)
        ),
    ),
    "a and b exclude each other": (
        "y[a, P - 1] + y[b, P - 1] <= 1",
        question(exclusions=(("a", "b"),)),
        lambda y: y[0, 2] + y[1, 2] <= 1,
    ),
    "must, must not": (
        "y[i, P - 1] = 1; y[i, .] = 0",
        question(must=frozenset("a"), must_not=frozenset("c")),
        lambda y: y[0, 2] == 1 and not y[2].any(),
    ),
    "least share w of the spending": (
        "spending that counts - w times all spending within the horizon >= 0",
        question(foundation_share=0.6),
        lambda y: counts(y, 0.6),
    ),
}  # fmt: skip
VALUE = ("value", "maximise the sum of v_i (1 + r)^-p s[i, p]")


def every_table() -> list[Y]:
    return [np.array(cells, dtype=float).reshape(3, 3) for cells in itertools.product((0, 1), repeat=9)]


def test_the_page_names_these_rules() -> None:
    told = {row["rule"]: row["in the programme"] for row in read_table("portfolio", "portfolio-rules")}
    assert told == {rule: says for rule, (says, _, _) in RULES.items()} | dict([VALUE])


@pytest.mark.parametrize("rule", RULES)
def test_the_rows_allow_what_the_rule_allows_and_nothing_else(rule: str) -> None:
    _, problem, keeps = RULES[rule]
    rows, (low, high) = build_rows(problem), variable_bounds(problem)
    allowed = refused = 0
    for y in every_table():
        flat = y.ravel()
        sums = rows.matrix @ flat
        passes = bool(
            (sums >= rows.low - 1e-9).all()
            and (sums <= rows.high + 1e-9).all()
            and (flat >= low).all()
            and (flat <= high).all()
        )
        stays = bool((np.diff(y, axis=1) >= 0).all())
        assert passes == (stays and keeps(y))
        allowed, refused = allowed + passes, refused + (stays and not passes)
    assert allowed
    assert refused or rule == "started stays started"


def test_the_objective_is_the_discounted_value_of_the_starts() -> None:
    problem = question()
    for y in every_table():
        told = sum(VALUES[i] * 1.02**-p * starts(y)[i, p] for i in range(3) for p in range(3))
        assert objective(problem) @ y.ravel() == pytest.approx(told)


# ---- what to give when nothing fits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", read_table("portfolio", "portfolio-relief"), ids=lambda r: r["question"])
def test_relief_is_that_of_the_page(row: dict[str, str]) -> None:
    problem = questions.worked(
        questions.numbers(row["budget"]),
        must=frozenset(questions.keys(row["must"])),
        foundation_share=float(row["share of foundations"]),
    )
    assert questions.enumerated(problem) is None
    found = study.relax(problem)
    told = [
        f"{round(amount, 6):g} " + ("for foundations" if kind == "share" else f"in quarter {quarter + 1}")
        for kind, _, quarter, amount in found.raises
    ]
    assert (", ".join(told), ", ".join(found.drops)) == (row["raise"], row["drop"])


def test_half_the_money_weighs_less_than_most_of_the_days() -> None:
    """Not 8 against 50, but four fifths of all days against half of all money."""
    case = Candidate("x", "X", 1.0, (50.0,), {"ot_engineer": (8.0,)})
    problem = Problem((case,), (0.0, 100.0), {"ot_engineer": (10.0, 0.0)}, must=frozenset("x"))
    assert study.relax(problem).raises == (("budget", "", 0, pytest.approx(50.0)),)
    fewer = replace(problem, candidates=(replace(case, effort={"ot_engineer": (4.0,)}),))
    assert study.relax(fewer).raises == (("capacity", "ot_engineer", 1, pytest.approx(4.0)),)


def price(problem: Problem, starts: dict[str, int | None]) -> float:
    """What a plan passes its limits by, each in shares of the sum of its kind."""
    money, days = used(problem, starts)
    sums = [(money, problem.budget), *((days[role], problem.capacity[role]) for role in days)]
    over = sum(np.maximum(0.0, total - np.array(limit)).sum() / max(sum(limit), 1.0) for total, limit in sums)
    return float(over) + sum(missing_shares(problem, starts).values()) / max(sum(problem.budget), 1.0)


def cheapest(problem: Problem) -> float | None:
    """The least price over every plan that keeps what no money can change; None where there is none."""
    endless = replace(
        problem,
        budget=(1e6,) * problem.quarters,
        capacity=dict.fromkeys(problem.capacity, (1e6,) * problem.quarters),
        foundation_share=0.0,
        site_shares={},
    )
    names = [c.key for c in problem.candidates]
    plans = (
        dict(zip(names, choice, strict=True))
        for choice in itertools.product([None, *range(problem.quarters)], repeat=len(names))
    )
    return min((price(problem, starts) for starts in plans if keeps_rules(endless, starts)), default=None)


@given(questions.problems())
@settings(max_examples=80, deadline=None)
def test_nothing_cheaper_than_the_relief_would_do(problem: Problem) -> None:
    least = cheapest(problem)
    if least is None or least <= 1e-6:
        return
    found = study.relax(problem)
    sums = {"budget": problem.budget, "share": problem.budget}
    given_up = sum(
        amount / max(sum(problem.capacity[what] if kind == "capacity" else sums[kind]), 1.0)
        for kind, what, _, amount in found.raises
    )
    assert given_up == pytest.approx(least, rel=0.002, abs=1e-5)
