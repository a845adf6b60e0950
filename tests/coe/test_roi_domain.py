from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from coe.domain.roi import (
    Blocks,
    Finding,
    Plan,
    against_plan,
    bootstrap_change,
    by_block,
    money,
    review_change,
    review_counts,
)
from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.provability import (
    Count,
    Interval,
    baseline_events_needed,
    exposure_ratio_needed,
    power,
    provability,
    rate_ratio,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.mark.parametrize("row", read_table("roi", "roi-counts"), ids=lambda r: r["before"])
def test_counts_are_judged_as_on_the_page(row):
    before, after = Count(int(row["before"]), 1000), Count(int(row["after"]), 1000)
    found = rate_ratio(before, after)
    assert (found.ratio.estimate, found.ratio.low, found.ratio.high, found.p_value) == pytest.approx(
        tuple(number(row[key]) for key in ("ratio", "low", "high", "p")), abs=6e-4
    )
    review = review_counts(before, after, planned_reduction=0.25, now=NOW)
    assert (review.finding == Finding.IMPROVED) == (row["proved"] == "yes")


@pytest.mark.parametrize("row", read_table("roi", "roi-power"), ids=lambda r: r["baseline events"])
def test_power_is_that_of_the_page(row):
    assert power(number(row["baseline events"]), number(row["reduction"])) == pytest.approx(
        number(row["power"]), abs=6e-4
    )


@pytest.mark.parametrize("row", read_table("roi", "roi-needed"), ids=lambda r: r["reduction"])
def test_events_needed_are_those_of_the_page(row):
    assert baseline_events_needed(number(row["reduction"])) == number(row["baseline events for 80 %"])


@pytest.mark.parametrize("row", read_table("roi", "roi-provability"), ids=lambda r: r["baseline events"])
def test_provability_is_that_of_the_page(row):
    found = provability(int(row["baseline events"]), 0.25)
    assert found.provable == (row["provable"] == "yes")
    assert found.plants_to_pool == int(row["plants to pool"])
    if row["times the baseline's exposure"] == "never":
        assert found.exposure_ratio is None
    else:
        assert found.exposure_ratio == pytest.approx(number(row["times the baseline's exposure"]), rel=0.01)


def test_power_is_what_a_simulation_of_the_test_finds():
    rng = np.random.default_rng(5)
    before, after = rng.poisson(60, 3000), rng.poisson(60 * 0.6 * 2, 3000)
    proved = [rate_ratio(Count(int(b), 1), Count(int(a), 2)).ratio.high < 1 for b, a in zip(before, after, strict=True)]
    assert power(60, 0.4, exposure_ratio=2) == pytest.approx(np.mean(proved), abs=0.025)


def test_the_page_says_what_it_takes():
    said = provability(40, 0.25).explain()
    assert [s.key for s in said] == ["roi.too_few_events", "roi.pool_plants", "roi.waiting_does_not_help"]
    assert said[0].figures == {"events": 40, "needed": 227, "percent": 25, "power_percent": 19}
    assert provability(300, 0.25).explain()[0].key == "roi.provable"
    assert provability(150, 0.25).explain()[2].figures == {"times": 3.0}
    assert provability(0, 0.25).plants_to_pool == 227


def test_not_provable_until_counts_the_exposure_still_missing():
    review = review_counts(Count(150, 2000), Count(130, 2000), planned_reduction=0.25, now=NOW, exposure_per_day=20)
    ratio = exposure_ratio_needed(150, 0.25)
    assert review.finding == Finding.NOT_PROVABLE_YET and review.plan is None
    assert review.until == NOW + timedelta(days=int(np.ceil((ratio - 1) * 2000 / 20)))
    keys = [s.key for s in review.explain()]
    assert keys[:2] == ["roi.not_provable_yet", "roi.not_provable_until"]
    assert review_counts(Count(150, 2000), Count(130, 2000), planned_reduction=0.25, now=NOW).until is None


def test_more_stoppages_than_before_is_said_too():
    review = review_counts(Count(40, 1000), Count(90, 1000), planned_reduction=0.25, now=NOW)
    assert (review.finding, review.plan) == (Finding.WORSENED, Plan.BELOW_PLAN)
    assert [s.key for s in review.explain()] == ["roi.worsened", "roi.below_plan"]


def test_nothing_happened_at_all():
    review = review_counts(Count(0, 10), Count(0, 10), planned_reduction=0.25, now=NOW)
    assert review.finding == Finding.NOT_PROVABLE_YET
    assert review.explain()[0].key == "roi.nothing_to_compare"
    assert rate_ratio(Count(0, 10), Count(3, 10)).ratio.estimate == np.inf


def weeks(column: str) -> Blocks:
    values = [number(r[column]) for r in read_table("roi", "roi-weeks")]
    return Blocks(np.array(values), np.full(len(values), 120.0))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("row", read_table("roi", "roi-bootstrap"), ids=lambda r: f"{r['column']}-{r['paired']}")
def test_the_bootstrap_is_that_of_the_page_for_any_seed(row, seed):
    change = bootstrap_change(weeks("before"), weeks(row["column"]), paired=row["paired"] == "yes", seed=seed)
    review = review_change(change, planned_gain=0.2, higher_is_better=False, now=NOW, block_length=WEEK)
    assert review.measured.estimate == pytest.approx(number(row["gain"]), abs=5e-4)
    assert (review.measured.low, review.measured.high) == pytest.approx(
        (number(row["low"]), number(row["high"])), abs=0.01
    )
    assert review.finding == row["finding"]
    assert (review.plan or "-") == row["against the plan"]


def test_the_blocks_still_needed_become_a_date():
    change = bootstrap_change(weeks("before"), weeks("after, small change"))
    review = review_change(change, planned_gain=0.2, higher_is_better=False, now=NOW, block_length=WEEK)
    assert review.blocks_needed > 10
    assert review.until == NOW + (review.blocks_needed - 10) * WEEK
    hopeless = review_change(change, planned_gain=0.05, higher_is_better=False, now=NOW, block_length=WEEK)
    assert hopeless.blocks_needed is None and hopeless.until is None
    assert hopeless.explain()[-1].key == "roi.waiting_does_not_help"


def test_the_blocks_needed_are_enough():
    rng = np.random.default_rng(2)

    def blocks(n: int, mean: float) -> Blocks:
        return Blocks(rng.normal(mean, 2, n), np.ones(n))

    first = bootstrap_change(blocks(60, 10), blocks(8, 10), draws=2000)
    needed = review_change(first, planned_gain=0.15, higher_is_better=False, now=NOW).blocks_needed
    proved = [
        bootstrap_change(blocks(60, 10), blocks(needed, 8.5), draws=300, seed=i).relative.high < 0 for i in range(200)
    ]
    assert np.mean(proved) > 0.7


def test_few_blocks_prove_nothing():
    change = bootstrap_change(
        Blocks(np.full(4, 10.0) + np.arange(4), np.ones(4)), Blocks(np.full(4, 5.0) + np.arange(4), np.ones(4))
    )
    review = review_change(change, planned_gain=0.2, higher_is_better=False, now=NOW)
    assert review.measured.low > 0 and review.finding == Finding.NOT_PROVABLE_YET
    assert review.blocks_needed >= 8


def test_readings_are_summed_by_block():
    blocks = by_block([1, 2, 3, 4], ["w2", "w1", "w2", "w1"], [1, 1, 2, 2])
    assert (list(blocks.totals), list(blocks.exposure)) == ([4, 6], [3, 3])
    assert blocks.mean == pytest.approx(10 / 6)


def test_the_same_seed_gives_the_same_interval():
    a, b = (bootstrap_change(weeks("before"), weeks("after"), seed=3) for _ in range(2))
    assert a == b


def test_the_plan_against_the_interval():
    measured = Interval(0.1, 0.2, 0.3)
    assert [against_plan(p, measured) for p in (0.05, 0.1, 0.3, 0.31)] == [
        Plan.ABOVE_PLAN,
        Plan.AS_PLANNED,
        Plan.AS_PLANNED,
        Plan.BELOW_PLAN,
    ]


def test_money_is_that_of_the_page():
    (row,) = read_table("roi", "roi-money")
    worth = money(
        Interval(number(row["low"]), number(row["gain"]), number(row["high"])),
        baseline=number(row["baseline rate"]) * number(row["exposure after"]),
        price=number(row["price"]),
        attribution=number(row["attribution"]),
    )
    assert (worth.estimate, worth.low, worth.high) == pytest.approx(
        (number(row["worth"]), number(row["at least"]), number(row["at most"]))
    )
    assert money(Interval(-np.inf, 0.1, 0.2), baseline=0, price=1) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: Count(-1, 10), "events_not_a_count"),
        (lambda: Count(1.5, 10), "events_not_a_count"),
        (lambda: Count(1, 0), "exposure_not_positive"),
        (lambda: rate_ratio(Count(1, 1), Count(1, 1), confidence=1.0), "share_range"),
        (lambda: power(0, 0.25), "events_not_a_count"),
        (lambda: power(10, 1.0), "share_range"),
        (lambda: power(10, 0.5, exposure_ratio=0), "exposure_not_positive"),
        (lambda: baseline_events_needed(0.001), "reduction_too_small"),
        (lambda: by_block([1, 2], ["a"]), "readings_shape"),
        (lambda: by_block([1, np.nan], ["a", "a"]), "reading_not_a_number"),
        (lambda: by_block([1, 2], ["a", "b"], [1, 0]), "exposure_not_positive"),
        (lambda: bootstrap_change(Blocks(np.ones(1), np.ones(1)), weeks("after")), "too_few_blocks"),
        (lambda: bootstrap_change(Blocks(np.ones(3), np.ones(3)), weeks("after"), paired=True), "blocks_not_paired"),
        (lambda: bootstrap_change(Blocks(np.zeros(3), np.ones(3)), weeks("after")), "baseline_zero"),
        (
            lambda: review_change(
                bootstrap_change(weeks("before"), weeks("after"), draws=10),
                planned_gain=0,
                higher_is_better=True,
                now=NOW,
            ),
            "gain_not_positive",
        ),
        (lambda: money(Interval(0, 0, 0), baseline=-1, price=1), "baseline_not_a_number"),
        (lambda: money(Interval(0, 0, 0), baseline=1, price=1, attribution=2), "attribution_range"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.2, 5))
def test_the_interval_is_that_of_scipy_and_agrees_with_the_p_value(x0, x1, exposure_ratio):
    found = rate_ratio(Count(x0, 1), Count(x1, exposure_ratio))
    if x0 + x1:
        exact = stats.binomtest(x1, x0 + x1).proportion_ci(0.95, method="exact")
        assert found.ratio.low == pytest.approx(exact.low / (1 - exact.low) / exposure_ratio, rel=1e-6)
        if x0:
            assert found.ratio.high == pytest.approx(exact.high / (1 - exact.high) / exposure_ratio, rel=1e-6)
    excludes = found.ratio.low > 1 + 1e-9 or found.ratio.high < 1 - 1e-9
    assert excludes == (found.p_value < 0.05) or found.p_value == pytest.approx(0.05, abs=1e-6)


@settings(max_examples=30)
@given(st.floats(5, 400), st.floats(0.05, 0.9))
def test_more_events_and_larger_reductions_are_easier_to_prove(events, reduction):
    assert power(events * 1.5, reduction) >= power(events, reduction) - 0.02
    assert power(events, min(0.95, reduction + 0.05)) >= power(events, reduction) - 0.02
