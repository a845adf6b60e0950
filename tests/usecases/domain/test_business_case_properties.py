"""What must hold for any business case: reproducible draws, monotone money, a histogram that adds up, currencies that commute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usecases.domain.business_case import Case, Estimate, Line, LineKind, appraise, scaled, simulate, tornado
from usecases.domain.cash_flow import IrrStatus, npv, per_quarter

DRAWS = 400


@st.composite
def estimates(draw, most: float = 1e5) -> Estimate:
    low, likely, high = sorted(draw(st.tuples(*[st.floats(0.0, most)] * 3)))
    return Estimate(low, likely, high)


@st.composite
def cases(draw) -> Case:
    quarters = draw(st.integers(2, 16))
    lines = []
    for at in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(list(LineKind)))
        first = draw(st.integers(1, quarters))
        capex = kind is LineKind.CAPEX
        last = draw(st.integers(0 if capex else first, quarters))
        # A running cost that its delay makes vanish is refused.
        late = min(3.0, last - first + 0.99) if kind is LineKind.OPEX else 3.0
        lines.append(
            Line(
                key=f"{kind} {at}",
                kind=kind,
                amount=draw(estimates()),
                first=0 if capex else first,
                last=last,
                delay=Estimate(0, 0, 0) if capex else draw(estimates(late)),
                ramp=Estimate(0, 0, 0) if capex else Estimate.exactly(draw(st.floats(0.0, 4.0))),
                attribution=draw(st.floats(0.0, 1.0)) if kind is LineKind.BENEFIT else 1.0,
            )
        )
    return Case(tuple(lines), quarters=quarters, annual_rate=draw(st.floats(0.0, 0.5)))


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_npv_at_the_internal_rate_is_nothing(case):
    found = appraise(case)
    if found.irr_status is not IrrStatus.UNIQUE:
        assert np.isnan(found.irr)
        return
    size = float(np.abs(found.flow) @ (1 + per_quarter(found.irr)) ** -np.arange(found.flow.size, dtype=float))
    assert abs(float(npv(found.flow, per_quarter(found.irr)))) <= 1e-6 * max(size, 1e-9)


@settings(max_examples=40, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_numbers(case, seed):
    one, two = (simulate(case, draws=DRAWS, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(one.npv, two.npv)
    assert (one.p10, one.p50, one.p90, one.chance_of_gain) == (two.p10, two.p50, two.p90, two.chance_of_gain)


@settings(max_examples=40, deadline=None)
@given(case=cases(), seed=st.integers(0, 1000))
def test_the_histogram_holds_every_draw_and_the_cases_are_in_order(case, seed):
    drawn = simulate(case, draws=DRAWS, seed=seed)
    assert drawn.counts.sum() == DRAWS
    assert drawn.edges[0] <= drawn.p10 <= drawn.p50 <= drawn.p90 <= drawn.edges[-1]
    assert 0 <= drawn.chance_of_gain <= 1


@settings(max_examples=40, deadline=None)
@given(case=cases(), at=st.integers(0, 3), times=st.floats(1.0, 3.0))
def test_more_benefit_never_makes_a_draw_worse_and_more_cost_never_better(case, at, times):
    line = case.lines[at % len(case.lines)]
    amount = Estimate(line.amount.low * times, line.amount.likely * times, line.amount.high * times)
    lines = tuple(replace(other, amount=amount) if other is line else other for other in case.lines)
    before, after = (simulate(c, draws=DRAWS, seed=3).npv for c in (case, replace(case, lines=lines)))
    room = 1e-9 * (1 + np.abs(before))
    assert ((after - before) * line.sign >= -room).all()


@settings(max_examples=40, deadline=None)
@given(case=cases(), rate=st.floats(0.01, 200.0))
def test_converting_first_or_last_is_the_same(case, rate):
    here, there = appraise(case), appraise(scaled(case, exchange_rate=rate, currency="USD"))
    size = float(np.abs(here.flow).sum()) + 1.0
    assert there.npv == pytest.approx(here.npv * rate, rel=1e-9, abs=1e-9 * size * rate)
    drawn = [simulate(c, draws=DRAWS, seed=5).npv for c in (case, scaled(case, exchange_rate=rate, currency="USD"))]
    np.testing.assert_allclose(drawn[1], drawn[0] * rate, rtol=1e-9, atol=1e-9 * size * rate)
    assert [s.key for s in tornado(case)][:1] == [
        s.key for s in tornado(scaled(case, exchange_rate=2.0, currency="USD"))
    ][:1]
    back = scaled(scaled(case, exchange_rate=rate, currency="USD"), exchange_rate=1 / rate, currency="EUR")
    assert appraise(back).npv == pytest.approx(here.npv, rel=1e-9, abs=1e-9 * size)
