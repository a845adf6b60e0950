"""Provability: the tables of the page, and what must hold for any count and any spread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, numbers, read_table
from usecases.domain.cash_flow import HIGHEST_RATE, LOWEST_RATE, npv, zero_rates
from usecases.domain.errors import InvalidInput
from usecases.domain.provability import Count, power, provability, rate_ratio, spread

PAGE = "business-case"


@pytest.mark.parametrize("row", read_table(PAGE, "proof-counts"), ids=lambda r: r["before"])
def test_counts_are_judged_as_on_the_page(row):
    found = rate_ratio(Count(int(row["before"]), 1000), Count(int(row["after"]), 1000))
    assert found.ratio.estimate == pytest.approx(number(row["ratio"]))
    assert (found.ratio.low, found.ratio.high) == pytest.approx((number(row["low"]), number(row["high"])), abs=0.0051)
    assert found.p_value == pytest.approx(number(row["p"]), abs=0.0051)
    assert (found.ratio.high < 1) == (row["proved"] == "yes")


@pytest.mark.parametrize("row", read_table(PAGE, "proof-power"), ids=lambda r: r["baseline events"])
def test_power_and_what_it_takes_are_those_of_the_page(row):
    found = provability(int(row["baseline events"]), 0.25)
    assert found.power == pytest.approx(number(row["power"]), abs=0.0051)
    assert (found.events_needed, found.plants_to_pool) == (int(row["events needed"]), int(row["plants"]))
    times = row["times the exposure"]
    assert found.exposure_ratio == (None if times == "never" else pytest.approx(number(times), abs=0.0051))


@pytest.mark.parametrize("row", read_table(PAGE, "proof-spread"), ids=lambda r: r["gain"])
def test_readings_needed_are_those_of_the_page(row):
    weeks = [number(week["before"]) for week in read_table("roi", "roi-weeks")]
    found = spread(weeks, [120.0] * len(weeks), number(row["gain"]))
    assert found is not None
    assert found.needed == int(row["readings needed"])
    assert found.variation == pytest.approx(0.209, abs=0.0005)


@pytest.mark.parametrize("row", read_table(PAGE, "case-zeros"), ids=lambda r: r["flow"])
def test_zeros_are_those_of_the_page(row):
    wanted = [] if row["zeros"] == "none" else numbers(row["zeros"])
    assert list(zero_rates(numbers(row["flow"]))) == pytest.approx(wanted, abs=1e-6)


def test_far_more_events_than_needed_cost_nothing():
    found = provability(10**14, 0.25)
    assert found.provable
    assert found.power == pytest.approx(1.0)


def test_too_few_readings_say_nothing():
    assert spread([1.0] * 7, [1.0] * 7, 0.2) is None
    assert spread([0.0] * 10, [1.0] * 10, 0.2) is None
    with pytest.raises(InvalidInput):
        spread([1.0, math.nan], [1.0, 1.0], 0.2)


@settings(max_examples=30, deadline=None)
@given(events=st.integers(2, 400), reduction=st.floats(0.1, 0.9))
def test_more_events_and_a_larger_gain_are_easier_to_prove(events, reduction):
    assert power(events + 5, reduction) >= power(events, reduction) - 0.03
    assert 0 <= power(events, reduction) <= 1


@settings(max_examples=30, deadline=None)
@given(
    totals=st.lists(st.floats(1.0, 100.0), min_size=8, max_size=60),
    gain=st.floats(0.05, 0.9),
    scale=st.floats(0.01, 1000.0),
)
def test_the_unit_does_not_matter_and_a_larger_gain_needs_fewer(totals, gain, scale):
    exposure = [24.0] * len(totals)
    here, there = spread(totals, exposure, gain), spread(np.multiply(totals, scale), exposure, gain)
    assert here is not None
    assert there is not None
    assert here.variation == pytest.approx(there.variation, rel=1e-6)
    smaller = spread(totals, exposure, gain / 2)
    assert smaller is not None
    assert smaller.needed >= here.needed


def test_what_is_needed_gives_the_power_it_promises():
    """Gamma readings, as noisy as each other: about 80 of 100 studies of that size find the gain."""
    rng, gain, share = np.random.default_rng(7), 0.2, 0.3
    shape = 1 / share**2
    first = rng.gamma(shape, 1 / shape, (1, 4000))
    found = spread(first[0], np.ones(4000), gain)
    assert found is not None
    n = found.needed
    before = rng.gamma(shape, 1 / shape, (4000, n))
    after = 1 - gain + rng.gamma(shape, 1 / shape, (4000, n)) - 1
    change = after.mean(axis=1) / before.mean(axis=1) - 1
    error = np.sqrt(
        (after.std(axis=1, ddof=1) / before.mean(axis=1)) ** 2 / n
        + (after.mean(axis=1) / before.mean(axis=1) ** 2 * before.std(axis=1, ddof=1)) ** 2 / n
    )
    assert (change + 1.96 * error < 0).mean() == pytest.approx(0.8, abs=0.05)


@settings(max_examples=60, deadline=None)
@given(flow=st.lists(st.integers(-1000, 1000), min_size=2, max_size=16).filter(lambda f: any(f)))
def test_npv_is_zero_at_every_zero(flow):
    for rate in zero_rates(flow):
        assert LOWEST_RATE - 1e-9 <= rate <= HIGHEST_RATE * (1 + 1e-9)
        size = float(np.abs(flow) @ (1 + rate) ** -np.arange(len(flow), dtype=float))
        assert abs(float(npv(flow, float(rate)))) <= 1e-7 * size
