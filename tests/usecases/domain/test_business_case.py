from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, numbers, read_table
from usecases.domain.business_case import (
    Case,
    Estimate,
    Line,
    LineKind,
    appraise,
    drawn_flows,
    roi_rating,
    scaled,
    simulate,
    tornado,
)
from usecases.domain.cash_flow import IrrStatus, npv, per_quarter
from usecases.domain.errors import InvalidInput


def estimate(cell: str) -> Estimate:
    values = numbers(cell)
    return Estimate(*values) if len(values) == 3 else Estimate.exactly(values[0])


def case_from_docs() -> Case:
    lines = tuple(
        Line(
            key=row["line"],
            kind=LineKind(row["kind"]),
            amount=Estimate(number(row["low"]), number(row["likely"]), number(row["high"])),
            first=int(row["first"]),
            last=None if row["last"] == "-" else int(row["last"]),
            delay=estimate(row["delay"]),
            ramp=estimate(row["ramp"]),
            attribution=number(row["attribution"]),
        )
        for row in read_table("business-case", "case-lines")
    )
    return Case(lines, quarters=12, annual_rate=0.08)


def test_the_flow_is_that_of_the_page():
    result = appraise(case_from_docs())
    for row in read_table("business-case", "case-flow"):
        t = int(row["quarter"])
        for key in ("capex", "opex", "benefit", "flow", "cumulative"):
            assert getattr(result, key)[t] == pytest.approx(number(row[key]), abs=0.005)


def test_the_results_are_those_of_the_page():
    result = appraise(case_from_docs())
    assert result.irr_status == IrrStatus.UNIQUE
    for row in read_table("business-case", "case-results"):
        assert getattr(result, row["figure"]) == pytest.approx(number(row["value"]), abs=0.005, rel=2e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_simulation_is_that_of_the_page_for_any_seed(seed):
    result = simulate(case_from_docs(), seed=seed)
    for row in read_table("business-case", "case-simulation"):
        assert getattr(result, row["figure"]) == pytest.approx(number(row["value"]), abs=number(row["may differ by"]))
    assert result.counts.sum() == result.draws == 10_000
    assert result.payback[0] < result.payback[1] < result.payback[2] == np.inf


def test_the_tornado_is_that_of_the_page():
    rows = read_table("business-case", "case-tornado")
    swings = tornado(case_from_docs())
    assert [s.key for s in swings] == [r["line"] for r in rows]
    for row, swing in zip(rows, swings, strict=True):
        assert (swing.at_low, swing.at_high) == pytest.approx(
            (number(row["at low"]), number(row["at high"])), abs=0.005
        )


@pytest.mark.parametrize("row", read_table("business-case", "case-rating"), ids=lambda r: r["NPV / investment"])
def test_ratings_are_those_of_the_page(row):
    assert roi_rating(1000 * number(row["NPV / investment"]), 1000) == pytest.approx(number(row["rating"]))


def test_no_investment_no_rating():
    assert roi_rating(100, 0) is None
    case = Case((Line("gain", LineKind.BENEFIT, Estimate.exactly(10)),), 4, 0.08)
    result = appraise(case)
    assert result.rating is None and np.isnan(result.profitability) and np.isnan(result.irr)
    assert result.irr_status == IrrStatus.NO_SIGN_CHANGE and result.payback == 0


def test_a_ramp_reaches_63_percent_after_tau():
    line = Line("gain", LineKind.BENEFIT, Estimate.exactly(100), delay=Estimate.exactly(1), ramp=Estimate.exactly(4))
    benefit = appraise(Case((line,), 20, 0.0)).benefit
    assert benefit[1] == 0
    assert benefit[5] == pytest.approx(63.2, abs=0.05)
    assert benefit[13] == pytest.approx(95.0, abs=0.05)


def test_part_of_a_quarter_counts_in_part_and_decay_fades():
    line = Line("gain", LineKind.BENEFIT, Estimate.exactly(100), delay=Estimate.exactly(0.5), last=3)
    assert appraise(Case((line,), 4, 0.0)).benefit == pytest.approx([0, 50, 100, 100, 0])
    fading = replace(line, delay=Estimate.exactly(0), decay=0.1, last=None)
    assert appraise(Case((fading,), 2, 0.0)).benefit == pytest.approx([0, 100 * np.exp(-0.1), 100 * np.exp(-0.2)])


def test_the_same_seed_gives_the_same_draws_and_other_lines_do_not_reshuffle_them():
    case = case_from_docs()
    assert (drawn_flows(case, draws=50, seed=3) == drawn_flows(case, draws=50, seed=3)).all()
    assert (drawn_flows(case, draws=50, seed=3) != drawn_flows(case, draws=50, seed=4)).any()
    fuel = Case((case.lines[3],), 12, 0.08)
    rest = Case(case.lines[:3], 12, 0.08)
    parts = drawn_flows(fuel, draws=50, seed=3) + drawn_flows(rest, draws=50, seed=3)
    assert parts == pytest.approx(drawn_flows(case, draws=50, seed=3))


def test_the_triangle_has_its_mean_and_stays_inside():
    drawn = Estimate(10, 20, 60).draw(np.random.default_rng(0).random(40_000))
    assert drawn.mean() == pytest.approx(30, abs=0.2)
    assert drawn.min() >= 10 and drawn.max() <= 60


def test_another_currency_scales_money_and_nothing_else():
    case = case_from_docs()
    other = appraise(scaled(case, exchange_rate=1.1, currency="USD"))
    assert other.npv == pytest.approx(1.1 * appraise(case).npv)
    assert other.irr == pytest.approx(appraise(case).irr)
    with pytest.raises(InvalidInput):
        scaled(case, exchange_rate=0, currency="USD")


OK = Line("a", LineKind.BENEFIT, Estimate.exactly(1))


@pytest.mark.parametrize(
    ("lines", "code", "field"),
    [
        ((), "lines_missing", "lines"),
        ((OK, OK), "line_twice", "lines"),
        ((replace(OK, amount=Estimate(2, 1, 3)),), "estimate_order", "a.amount"),
        ((replace(OK, amount=Estimate(-1, 1, 3)),), "estimate_negative", "a.amount"),
        ((replace(OK, amount=Estimate(1, 1, float("nan"))),), "estimate_not_a_number", "a.amount"),
        ((replace(OK, delay=Estimate(0, -1, 0)),), "estimate_order", "a.delay"),
        ((replace(OK, first=0),), "line_too_early", "a.first"),
        ((replace(OK, first=9),), "line_after_horizon", "a.first"),
        ((replace(OK, first=3, last=2),), "line_ends_early", "a.last"),
        ((replace(OK, attribution=1.2),), "attribution_range", "a.attribution"),
        ((replace(OK, kind=LineKind.OPEX, attribution=0.5),), "attribution_range", "a.attribution"),
        ((replace(OK, kind=LineKind.CAPEX, delay=Estimate.exactly(1)),), "capex_delayed", "a.delay"),
        ((replace(OK, decay=-0.1),), "decay_negative", "a.decay"),
        (
            (replace(OK, kind=LineKind.OPEX, first=4, last=4, delay=Estimate(0, 0, 1)),),
            "cost_delayed_away",
            "a.delay",
        ),
    ],
)
def test_a_bad_line_is_refused_at_its_field(lines, code, field):
    with pytest.raises(InvalidInput) as refused:
        Case(lines, quarters=8, annual_rate=0.08)
    assert (refused.value.code, refused.value.field) == (code, field)


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 4), st.floats(0, 6))
def test_no_delay_makes_a_cost_vanish(first, length, delay):
    """What is accepted is paid in part at least, in every draw."""
    line = Line("a", LineKind.OPEX, Estimate.exactly(100), first, first + length, delay=Estimate(0, 0, delay))
    try:
        case = Case((line,), 12, 0.0)
    except InvalidInput:
        assert delay >= length + 1
        return
    assert (drawn_flows(case, draws=50).sum(axis=1) < 0).all()


def test_bad_settings_are_refused():
    for bad in ({"quarters": 0}, {"quarters": 121}, {"annual_rate": -1.0}, {"annual_rate": float("nan")}):
        with pytest.raises(InvalidInput):
            Case((OK,), **{"quarters": 8, "annual_rate": 0.08, **bad})
    with pytest.raises(InvalidInput):
        drawn_flows(case_from_docs(), draws=0)


estimates = st.lists(st.floats(0, 1000), min_size=3, max_size=3).map(lambda v: Estimate(*sorted(v)))


@settings(max_examples=40)
@given(estimates, estimates, estimates, st.floats(0, 0.5))
def test_every_draw_lies_between_the_worst_and_the_best_case(capex, opex, benefit, rate):
    def case(*bounds: float) -> Case:
        kinds = zip(("c", "o", "b"), LineKind, bounds, (0, 1, 1), strict=True)
        return Case(tuple(Line(k, kind, Estimate.exactly(a), first=f) for k, kind, a, f in kinds), 8, rate)

    lines = (
        Line("c", LineKind.CAPEX, capex, first=0),
        Line("o", LineKind.OPEX, opex),
        Line("b", LineKind.BENEFIT, benefit),
    )
    values = simulate(Case(lines, 8, rate), draws=100).npv
    worst, best = (
        appraise(case(capex.high, opex.high, benefit.low)).npv,
        appraise(case(capex.low, opex.low, benefit.high)).npv,
    )
    assert values.min() >= worst - 1e-6 and values.max() <= best + 1e-6
    assert npv(drawn_flows(Case(lines, 8, rate), draws=100), per_quarter(rate)) == pytest.approx(values)
