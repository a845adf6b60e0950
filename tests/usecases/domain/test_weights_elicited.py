"""The four ways to weights, against the tables of the page, other libraries' figures, and what must always hold."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, numbers, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.measured import coverage, link_percent, mean_percent, measured_rating
from usecases.domain.weights import (
    DEFAULT_RANDOM_INDEX,
    RANDOM_INDEX,
    aggregate_judgements,
    agreeing_value,
    ahp,
    rank_order_centroid,
    reciprocal_matrix,
    require_unit_sum,
    scale_step,
    swing,
    whole_percents,
)

answers = st.floats(1 / 9, 9)


def matrix_of(given_answers: list[float]) -> np.ndarray:
    size = next(n for n in range(2, 11) if n * (n - 1) // 2 == len(given_answers))
    return reciprocal_matrix(size, dict(zip(combinations(range(size), 2), given_answers, strict=True)))


# ---- the tables of docs/algorithms/scoring.md ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", read_table("scoring", "weights-direct"), ids=lambda r: r["typed"])
def test_direct_entry_takes_offers_and_sums_as_the_page_says(row):
    typed = numbers(row["typed"])
    assert sum(typed) == pytest.approx(number(row["sum"]))
    assert whole_percents(typed) == numbers(row["offered"])
    shares = [percent / 100 for percent in typed]
    if row["taken"] == "yes":
        assert require_unit_sum(shares).sum() == pytest.approx(1)
    else:
        with pytest.raises(InvalidInput) as refused:
            require_unit_sum(shares)
        assert refused.value.extra["total"] == pytest.approx(number(row["sum"]) / 100)


@pytest.mark.parametrize("row", read_table("scoring", "weights-swing"), ids=lambda r: r["points"])
def test_swing_as_the_page_says(row):
    assert swing(numbers(row["points"])) == pytest.approx(numbers(row["weights"]))


def test_the_random_indices_are_those_of_the_page():
    rows = {row["table"]: row for row in read_table("scoring", "weights-random-index")}
    assert set(rows) == set(RANDOM_INDEX)
    assert DEFAULT_RANDOM_INDEX in rows
    for name, table in RANDOM_INDEX.items():
        assert {n: number(rows[name][str(n)]) for n in range(3, 11)} == table


@pytest.mark.parametrize("row", read_table("scoring", "scoring-ahp"), ids=lambda r: r["weights"])
def test_the_agreeing_value_of_three_is_the_product_of_the_other_two(row):
    result = ahp(matrix_of(numbers(row["answers (1:2, 1:3, 2:3)"])))
    if result.revisit is None:
        assert row["agreeing"] == "-"
    else:
        assert result.revisit.agreeing == pytest.approx(number(row["agreeing"]))


def test_the_agreeing_value_of_four_repairs_the_matrix():
    (row,) = read_table("scoring", "scoring-ahp-worst")
    given_answers = numbers(row["answers (1:2, 1:3, 1:4, 2:3, 2:4, 3:4)"])
    found = ahp(matrix_of(given_answers)).revisit
    assert found.agreeing == pytest.approx(number(row["agreeing"]))
    repaired = [*given_answers[:-1], scale_step(found.agreeing)]
    assert ahp(matrix_of(repaired)).consistency_ratio == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("row", read_table("scoring", "measured-ratings"), ids=lambda r: f"{r['value']} {r['x0']}")
def test_a_measured_number_has_the_rating_of_the_page(row):
    assert measured_rating(*(number(row[name]) for name in ("value", "x0", "x1"))) == pytest.approx(
        number(row["rating"])
    )


@pytest.mark.parametrize("row", read_table("scoring", "measured-facts"), ids=lambda r: r["fact"])
def test_a_fact_is_the_arithmetic_of_the_page(row):
    parts = numbers(row["numbers"])
    found = {
        "sensor coverage": lambda n: (
            coverage(
                [f"S{i}" for i in range(int(n[0]))],
                {"a": [f"S{i}" for i in range(int(n[1]))], "b": [f"S{i}" for i in range(int(n[2]))]},
            ).percent
        ),
        "network readiness": lambda n: link_percent(int(n[0]), int(n[1]), int(n[2])),
        "availability": lambda n: 100 * n[0] / n[1],
        "quality": lambda n: 100 * n[0] / n[1],
        "governance": lambda n: mean_percent([n[0] / n[1], n[2] / n[3]]),
    }[row["fact"]](parts)
    assert found == pytest.approx(number(row["value"]), abs=0.005)


# ---- figures of other libraries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "ratio"),
    # saaty-1980 and AHPy with its default table of Donegan and Dodd; pymcdm uses Tummala and Ling.
    [("saaty-1980", 0.0032), ("donegan-dodd", 0.0038), ("tummala-ling", 0.0032)],
)
def test_other_libraries_give_the_same_weights_and_the_ratio_of_their_table(table, ratio):
    result = ahp(matrix_of([3.0, 5.0, 2.0]), random_index=table)
    assert result.weights == pytest.approx([0.6483, 0.2297, 0.1220], abs=5e-5)
    assert result.consistency_ratio == pytest.approx(ratio, abs=5e-5)


# ---- what must always hold ------------------------------------------------------------------------------------------------


@given(st.lists(answers, min_size=6, max_size=6))
def test_entering_one_direction_gives_the_other(given_answers):
    matrix = matrix_of(given_answers)
    assert matrix * matrix.T == pytest.approx(np.ones((4, 4)))
    turned = reciprocal_matrix(4, {(j, i): 1 / matrix[i, j] for i, j in combinations(range(4), 2)})
    assert turned == pytest.approx(matrix)


@given(st.lists(st.lists(answers, min_size=3, max_size=3), min_size=1, max_size=6))
def test_a_group_stays_reciprocal_and_its_weights_sum_to_one(raters):
    group = aggregate_judgements([matrix_of(rater) for rater in raters])
    assert group * group.T == pytest.approx(np.ones((3, 3)))
    assert ahp(group).weights.sum() == pytest.approx(1)


@given(st.lists(answers, min_size=3, max_size=3))
def test_the_agreeing_value_leaves_nothing_to_disagree_about(given_answers):
    for row, column in combinations(range(3), 2):
        matrix = matrix_of(given_answers)
        value = agreeing_value(matrix, row, column)
        matrix[row, column], matrix[column, row] = value, 1 / value
        assert ahp(matrix).consistency_ratio == pytest.approx(0, abs=1e-6)


@given(st.lists(answers, min_size=10, max_size=10))
def test_taking_the_agreeing_value_never_makes_it_worse(given_answers):
    matrix = matrix_of(given_answers)
    before = ahp(matrix)
    if before.revisit is None:
        return
    row, column = before.revisit.row, before.revisit.column
    matrix[row, column], matrix[column, row] = before.revisit.agreeing, 1 / before.revisit.agreeing
    assert ahp(matrix).consistency_ratio <= before.consistency_ratio + 1e-9


@given(st.integers(2, 10))
def test_order_alone_gives_falling_weights_that_sum_to_one(n):
    weights = rank_order_centroid(range(1, n + 1))
    assert weights.sum() == pytest.approx(1)
    assert all(earlier > later for earlier, later in pairwise(weights))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_a_better_place_never_weighs_less(places):
    weights = rank_order_centroid(places)
    assert weights.sum() == pytest.approx(1)
    for i, j in combinations(range(len(places)), 2):
        if places[i] < places[j]:
            assert weights[i] > weights[j]
        elif places[i] == places[j]:
            assert weights[i] == pytest.approx(weights[j])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_swing_sums_to_one_and_keeps_the_proportions(points):
    points = [*points, 100.0]
    weights = swing(points)
    assert weights.sum() == pytest.approx(1)
    assert weights * sum(points) == pytest.approx(points)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=10).filter(lambda w: sum(w) > 0))
def test_whole_percents_sum_to_a_hundred_and_are_never_a_percent_off(weights):
    percents = whole_percents(weights)
    assert sum(percents) == 100
    assert all(abs(p - 100 * w / sum(weights)) < 1 for p, w in zip(percents, weights, strict=True))


@given(answers)
def test_the_offered_step_is_on_the_scale_and_near(value):
    step = scale_step(value)
    assert step in {*(1 / n for n in range(1, 10)), *range(1, 10)}
    assert abs(np.log(step / value)) <= np.log(2) / 2 + 1e-9


@given(st.floats(-1000, 1000), st.floats(-100, 100), st.floats(-100, 100))
def test_a_measured_rating_stays_on_the_scale(value, x0, x1):
    if x0 == x1:
        with pytest.raises(InvalidInput):
            measured_rating(value, x0, x1)
    else:
        assert 0 <= measured_rating(value, x0, x1) <= 5


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: swing([80, 40]), "swing_none_at_100"),
        (lambda: agreeing_value([[1, 2], [0.5, 1]], 0, 1), "judgement_alone"),
        (lambda: agreeing_value(np.ones((3, 3)), 0, 3), "judgement_unknown_pair"),
        (lambda: scale_step(0), "judgement_not_positive"),
        (lambda: whole_percents([0, 0]), "weights_all_zero"),
        (lambda: measured_rating(float("nan"), 0, 1), "value_not_a_number"),
        (lambda: measured_rating(1, 2, 2), "anchors_equal"),
        (lambda: coverage([], {"a": []}), "nothing_required"),
        (lambda: link_percent(1, 0, 6), "no_time"),
        (lambda: mean_percent([]), "nothing_measured"),
    ],
)
def test_bad_input_is_refused_with_its_code(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code
