from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, numbers, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.weights import (
    RANDOM_INDEX,
    aggregate_judgements,
    aggregate_priorities,
    ahp,
    entropy,
    normalised,
    rank_order_centroid,
    reciprocal_matrix,
    require_unit_sum,
    swing,
)


def matrix_of(answers: list[float]) -> np.ndarray:
    size = next(n for n in range(2, 11) if n * (n - 1) // 2 == len(answers))
    return reciprocal_matrix(size, dict(zip(combinations(range(size), 2), answers, strict=True)))


@pytest.mark.parametrize("row", read_table("scoring", "scoring-ahp"), ids=lambda r: r["weights"])
def test_ahp_says_what_the_page_says(row):
    result = ahp(matrix_of(numbers(row["answers (1:2, 1:3, 2:3)"])))
    assert result.weights == pytest.approx(numbers(row["weights"]), abs=5e-5)
    assert result.lambda_max == pytest.approx(number(row["lambda"]), abs=5e-5)
    assert result.consistency_ratio == pytest.approx(number(row["CR"]), abs=5e-5)
    assert result.consistent == (row["consistent"] == "yes")
    named = f"{result.revisit.row + 1}:{result.revisit.column + 1}" if result.revisit else "nothing"
    assert named == row["look again at"]


def test_the_worst_judgement_is_the_one_on_the_page():
    (row,) = read_table("scoring", "scoring-ahp-worst")
    result = ahp(matrix_of(numbers(row["answers (1:2, 1:3, 1:4, 2:3, 2:4, 3:4)"])))
    assert not result.consistent
    assert f"{result.revisit.row + 1}:{result.revisit.column + 1}" == row["look again at"]
    assert result.revisit.given == pytest.approx(number(row["given"]))
    assert result.revisit.implied == pytest.approx(number(row["implied"]), abs=5e-5)


def test_three_criteria_match_the_closed_form():
    a12, a13, a23 = 3.0, 5.0, 2.0
    q = a12 * a23 / a13
    result = ahp(matrix_of([a12, a13, a23]))
    assert result.lambda_max == pytest.approx(1 + q ** (1 / 3) + q ** (-1 / 3))
    means = np.array([(a12 * a13) ** (1 / 3), (a23 / a12) ** (1 / 3), (1 / (a13 * a23)) ** (1 / 3)])
    assert result.weights == pytest.approx(means / means.sum())


def test_the_table_of_random_indices_decides_and_is_named():
    borderline = matrix_of([2, 4, 8, 2, 4, 0.5])
    ratios = {table: ahp(borderline, random_index=table).consistency_ratio for table in RANDOM_INDEX}
    assert ratios["donegan-dodd"] > ratios["saaty-1980"]
    assert ahp(borderline, random_index="donegan-dodd").random_index == "donegan-dodd"


def test_one_or_two_criteria_are_always_consistent():
    assert ahp([[1]]).weights == pytest.approx([1])
    assert ahp([[1, 4], [0.25, 1]]).weights == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("row", read_table("scoring", "scoring-centroid"), ids=lambda r: r["places"])
def test_rank_order_weights_are_those_of_the_page(row):
    assert rank_order_centroid(numbers(row["places"])) == pytest.approx(numbers(row["weights"]), abs=5e-5)


def test_swing_and_direct_entry():
    assert swing([100, 60, 40]) == pytest.approx([0.5, 0.3, 0.2])
    assert require_unit_sum([0.33, 0.33, 0.33]) == pytest.approx([1 / 3] * 3)
    with pytest.raises(InvalidInput) as refused:
        require_unit_sum([0.5, 0.3, 0.3])
    assert refused.value.code == "weights_do_not_sum"
    assert refused.value.extra["total"] == pytest.approx(1.1)


def test_entropy_points_at_what_separates():
    weights = entropy([[1, 5], [1, 1], [1, 0]])
    assert weights == pytest.approx([0, 1])
    assert entropy([[2, 3], [2, 3]]) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: normalised([]), "weights_missing"),
        (lambda: normalised([1, float("inf")]), "weight_not_a_number"),
        (lambda: normalised([1, -1]), "weight_negative"),
        (lambda: normalised([0, 0]), "weights_all_zero"),
        (lambda: swing([120, 100]), "swing_above_100"),
        (lambda: ahp([[1, 2], [2, 1]]), "matrix_not_reciprocal"),
        (lambda: ahp([[1, 2]]), "matrix_not_square"),
        (lambda: ahp([[1, -2], [-0.5, 1]]), "judgement_not_positive"),
        (lambda: ahp(np.ones((11, 11))), "too_many_criteria"),
        (lambda: ahp([[1]], random_index="mine"), "random_index_unknown"),
        (lambda: reciprocal_matrix(3, {(0, 1): 2, (0, 2): 3}), "judgement_missing"),
        (lambda: reciprocal_matrix(2, {(0, 1): 2, (1, 0): 0.5}), "judgement_twice"),
        (lambda: reciprocal_matrix(2, {(0, 2): 2}), "judgement_unknown_pair"),
        (lambda: reciprocal_matrix(2, {(0, 1): 0}), "judgement_not_positive"),
        (lambda: aggregate_judgements([]), "no_raters"),
        (lambda: aggregate_judgements([np.ones((2, 2)), np.ones((3, 3))]), "matrix_sizes_differ"),
        (lambda: aggregate_priorities(np.ones((2, 3)), [1]), "weights_missing"),
        (lambda: rank_order_centroid([1, float("nan")]), "position_not_a_number"),
        (lambda: entropy([[1, 2]]), "too_few_alternatives"),
        (lambda: entropy([[1, 2], [-1, 2]]), "value_negative"),
    ],
)
def test_bad_input_is_refused_with_its_code(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


judgement = st.floats(1 / 9, 9)


@given(st.lists(st.lists(judgement, min_size=6, max_size=6), min_size=1, max_size=5), st.data())
def test_joined_judgements_stay_reciprocal(raters, data):
    weights = data.draw(st.lists(st.floats(0.1, 5), min_size=len(raters), max_size=len(raters)))
    group = aggregate_judgements([matrix_of(answers) for answers in raters], weights)
    assert (group * group.T) == pytest.approx(np.ones((4, 4)))
    assert np.diag(group) == pytest.approx(np.ones(4))


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=8))
def test_a_consistent_matrix_gives_back_its_weights(raw):
    weights = normalised(raw)
    result = ahp(weights[:, None] / weights[None, :])
    assert result.weights == pytest.approx(weights, rel=1e-6)
    assert result.consistency_ratio == pytest.approx(0, abs=1e-6)


def test_group_priorities_are_the_mean():
    assert aggregate_priorities([[2, 2], [0.2, 0.6]], [1, 3]) == pytest.approx([0.3125, 0.6875])
