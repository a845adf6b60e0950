import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.usecases.domain.tables import number, numbers, read_table
from usecases.domain.cash_flow import (
    IrrStatus,
    discount_factors,
    irr,
    modified_irr,
    npv,
    npv_curve,
    payback,
    per_quarter,
    per_year,
    sign_changes,
)
from usecases.domain.errors import InvalidInput


@pytest.mark.parametrize("row", read_table("business-case", "case-irr"), ids=lambda r: r["flow"])
def test_rates_are_those_of_the_page(row):
    found = irr([numbers(row["flow"])])
    assert IrrStatus(int(found.status[0])).name.lower() == row["status"]
    assert found.rate[0] == pytest.approx(number(row["rate"]), abs=5e-7, nan_ok=True)


def test_quarters_compound_to_the_year():
    assert (1 + per_quarter(0.08)) ** 4 == pytest.approx(1.08)
    assert per_year(per_quarter(0.3)) == pytest.approx(0.3)
    assert npv([-100, 0, 0, 0, 108], per_quarter(0.08)) == pytest.approx(0, abs=1e-9)


def test_sign_changes_skip_zeros():
    assert list(sign_changes([[-1, 0, 0, 2], [0, 0, 0, 0], [-1, 1, 0, -1], [0, 3, 0, 3]])) == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ([-100, 60, 60], 1 + 40 / 60),
        ([-100, 0, 100], 2),
        ([5, 1], 0),
        ([-100, 1], np.nan),
        ([-100, 150, -100, 80], 100 / 150),
        ([-0.3, 0.1, 0.1, 0.1], 3),
    ],
)
def test_payback(flow, expected):
    assert payback(flow)[0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("row", read_table("business-case", "case-payback"), ids=lambda r: r["flow"])
def test_paybacks_are_those_of_the_page(row):
    shown = np.nan if row["payback"] == "never" else number(row["payback"])
    assert payback(numbers(row["flow"]))[0] == pytest.approx(shown, abs=5e-5, nan_ok=True)


@given(st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=12), st.integers(1, 4))
def test_quarters_in_which_nothing_happens_yet_only_shift_the_payback(later, quarters):
    flow = [-60.0, *later]
    assert payback([0.0] * quarters + flow)[0] == pytest.approx(payback(flow)[0] + quarters, nan_ok=True)


def test_many_rows_at_once_give_what_one_row_gives():
    rows = np.array([[-100, 60, 60], [100, 20, 1], [-100, 230, -132], [-10, 20, 0]], dtype=float)
    together = irr(rows)
    for i, row in enumerate(rows):
        alone = irr(row)
        assert alone.status[0] == together.status[i]
        assert alone.rate[0] == pytest.approx(together.rate[i], nan_ok=True)


@pytest.mark.parametrize("row", read_table("business-case", "case-modified"), ids=lambda r: r["flow"])
def test_modified_rates_are_those_of_the_page(row):
    at = number(row["rate of the case"])
    found = modified_irr(numbers(row["flow"]), finance_rate=at, reinvest_rate=at)[0]
    assert found == pytest.approx(number(row["modified rate"]), abs=5e-7, nan_ok=True)


def test_modified_rate_is_unique_where_the_internal_one_is_not():
    flow = [-50, -100, 600, 300, -100]
    paid = 50 + 100 / 1.08 + 100 / 1.08**4
    earned = 600 * 1.1**2 + 300 * 1.1
    assert modified_irr(flow, finance_rate=0.08, reinvest_rate=0.1)[0] == pytest.approx((earned / paid) ** 0.25 - 1)
    assert np.isnan(modified_irr([1, 2], finance_rate=0.1, reinvest_rate=0.1)[0])
    with np.errstate(all="raise"):
        assert np.isinf(modified_irr([-5e-324, 1e3], finance_rate=0.0, reinvest_rate=0.0)[0])


def test_the_curve_crosses_at_both_rates_of_an_ambiguous_flow():
    assert npv_curve([-100, 230, -132], [0.0, 0.1, 0.15, 0.2]) == pytest.approx([-2, 0, 0.18904, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: npv([1, np.nan], 0.1), "flow_not_a_number"),
        (lambda: npv([], 0.1), "flows_missing"),
        (lambda: npv([1, 2], -1), "rate_impossible"),
        (lambda: discount_factors(float("nan"), 3), "rate_impossible"),
        (lambda: per_quarter(-1.5), "rate_impossible"),
        (lambda: irr([[-1, 2]], lowest=-1), "rate_impossible"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


amounts = st.integers(-10_000, 10_000).map(float)


@given(arrays(float, st.tuples(st.integers(1, 6), st.integers(2, 24)), elements=amounts))
def test_npv_is_zero_at_every_rate_found(flows):
    found = irr(flows)
    for flow, rate in zip(flows, found.rate, strict=True):
        if not np.isnan(rate):
            terms = flow * discount_factors(rate, flow.size)
            assert abs(terms.sum()) <= 1e-11 * np.abs(terms).sum()


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=20), st.floats(-0.5, 3))
def test_an_investment_priced_at_a_rate_earns_that_rate(earnings, rate):
    price = npv([0, *earnings], rate)
    found = irr([-price, *earnings])
    assert found.status[0] == IrrStatus.UNIQUE
    assert found.rate[0] == pytest.approx(rate, rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=12), st.floats(1, 5000), st.floats(0.01, 0.9))
def test_an_investment_gains_below_its_rate_and_loses_above_it(earnings, cost, step):
    flow = [-cost, *earnings]
    found = irr(flow)
    if found.status[0] == IrrStatus.UNIQUE:
        rate = found.rate[0]
        assert npv(flow, rate - step * (rate + 0.95)) > 0 > npv(flow, rate + step)
    else:
        assert found.status[0] == IrrStatus.OUTSIDE


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(3, 9)), elements=st.integers(-20, 20).map(float)))
def test_a_rate_said_to_be_the_only_one_is_the_only_root(flows):
    found = irr(flows)
    for flow, rate, status in zip(flows, found.rate, found.status, strict=True):
        changes = int(sign_changes(flow))
        if status == IrrStatus.NO_SIGN_CHANGE:
            assert changes == 0
        elif changes == 1 and status == IrrStatus.UNIQUE:
            v = 1 / (1 + rate)
            roots = np.roots(flow[::-1])
            real = roots[np.abs(roots.imag) < 1e-7].real
            assert np.abs(real[real > 0] - v).min() <= 1e-6 * max(1.0, v)


def test_thousands_of_rows_in_portions_are_solved_like_each_alone():
    rows = np.round(np.random.default_rng(3).normal(0, 50, (5_000, 12)))
    rows[:, 0] = -np.abs(rows[:, 0]) - 100
    together = irr(rows)
    for at in (0, 2_047, 2_048, 4_095, 4_999):
        alone = irr(rows[at])
        assert alone.status[0] == together.status[at]
        assert alone.rate[0] == pytest.approx(together.rate[at], rel=1e-13, nan_ok=True)


def test_numpy_financial_is_wrong_where_this_is_right():
    several = irr([[-50, -100, 600, 300, -100]])
    assert several.status[0] == IrrStatus.SEVERAL and np.isnan(several.rate[0])
    flow = [-1678.87, 771.96, 1814.05, 3520.30, 3552.95, 3584.99, 4789.91, -1]
    assert irr([flow]).rate[0] == pytest.approx(1.00427, abs=5e-6)
    assert npv(flow, irr([flow]).rate[0]) == pytest.approx(0, abs=1e-9)
