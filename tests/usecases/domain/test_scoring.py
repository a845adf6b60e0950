import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.scoring import (
    CriteriaTree,
    SubCriterion,
    TopCriterion,
    anchored_values,
    ranking,
    weighted_sum,
)


def tree_from_docs() -> CriteriaTree:
    tops: dict[str, tuple[float, list[SubCriterion]]] = {}
    for row in read_table("scoring", "scoring-tree"):
        _, children = tops.setdefault(row["top criterion"], (number(row["top weight"]), []))
        children.append(SubCriterion(row["sub-criterion"], number(row["weight"]), number(row["x0"]), number(row["x1"])))
    return CriteriaTree(tuple(TopCriterion(key, weight, tuple(subs)) for key, (weight, subs) in tops.items()))


def ratings_from_docs(tree: CriteriaTree) -> tuple[list[str], np.ndarray]:
    rows = read_table("scoring", "scoring-ratings")
    return [r["use case"] for r in rows], np.array([[number(r[key]) for key in tree.keys] for r in rows])


def test_leaf_weights_are_those_of_the_page():
    expected = [number(r["leaf weight"]) for r in read_table("scoring", "scoring-tree")]
    assert tree_from_docs().leaf_weights == pytest.approx(expected, abs=1e-12)


def test_scores_and_ranks_are_those_of_the_page():
    tree = tree_from_docs()
    names, ratings = ratings_from_docs(tree)
    scores = weighted_sum(tree, ratings)
    ranks = ranking(scores.score).rank
    for i, row in enumerate(read_table("scoring", "scoring-scores")):
        assert row["use case"] == names[i]
        shown = [number(row[key]) for key in (*tree.top_keys, "score", "known", "low", "high", "rank")]
        computed = [*scores.by_top[i], scores.score[i], scores.known[i], scores.low[i], scores.high[i], ranks[i]]
        assert computed == pytest.approx(shown, abs=1e-9)


def test_less_is_better_where_the_anchors_are_turned_round():
    assert anchored_values([0, 12, 48, 60, np.nan], 48, 0) == pytest.approx([1, 0.75, 0, 0, np.nan], nan_ok=True)


def test_an_idea_nobody_rated_has_no_score_and_comes_last():
    scores = weighted_sum(tree_from_docs(), [[np.nan] * 6, [0] * 5 + [48]])
    assert np.isnan(scores.score[0]) and scores.known[0] == 0
    assert (scores.low[0], scores.high[0]) == (0, 1)
    assert list(ranking(scores.score).rank) == [2, 1]


def test_equals_share_a_place_and_the_next_is_counted_on():
    result = ranking([0.2, 0.9, 0.5, 0.5 + 1e-12, np.nan, np.nan])
    assert list(result.rank) == [4, 1, 2, 2, 5, 5]
    assert list(result.order) == [1, 3, 2, 0, 4, 5]
    assert result.shared(2) and not result.shared(0)


def test_small_steps_do_not_add_up_to_one_big_tie():
    assert list(ranking([0.30, 0.25, 0.20], tolerance=0.06).rank) == [1, 1, 3]


def test_a_moved_slider_changes_top_weights_only():
    tree = tree_from_docs().weighted([20, 20, 60])
    assert tree.top_weights == pytest.approx([0.2, 0.2, 0.6])
    assert tree.within == pytest.approx(tree_from_docs().within)


SUB = SubCriterion("a", 1)


@pytest.mark.parametrize(
    ("criteria", "code"),
    [
        ((), "criteria_missing"),
        ((TopCriterion("roi", 1, ()),), "criterion_empty"),
        ((TopCriterion("roi", 1, (SUB, SUB)),), "criterion_twice"),
        ((TopCriterion("roi", 1, (SUB,)), TopCriterion("roi", 1, (SubCriterion("b", 1),))), "criterion_twice"),
        ((TopCriterion("roi", 1, (SubCriterion("a", 1, 3, 3),)),), "anchors_equal"),
        ((TopCriterion("roi", 1, (SubCriterion("a", 1, 0, float("nan")),)),), "anchors_equal"),
        ((TopCriterion("roi", -1, (SUB,)),), "weight_negative"),
        ((TopCriterion("roi", 0, (SUB,)),), "weights_all_zero"),
        ((TopCriterion("roi", 1, (SubCriterion("a", float("nan")),)),), "weight_not_a_number"),
    ],
)
def test_a_bad_tree_is_refused_at_its_place(criteria, code):
    with pytest.raises(InvalidInput) as refused:
        CriteriaTree(criteria)
    assert refused.value.code == code
    assert refused.value.field


def test_bad_ratings_are_refused():
    with pytest.raises(InvalidInput, match="sub-criterion"):
        weighted_sum(tree_from_docs(), [[1, 2]])
    with pytest.raises(InvalidInput, match="finite"):
        weighted_sum(tree_from_docs(), [[1, 2, 3, 4, 5, np.inf]])


cells = st.one_of(st.floats(-1, 7), st.just(float("nan")))


@given(arrays(float, st.tuples(st.integers(2, 8), st.just(6)), elements=cells), st.data())
def test_dropping_a_use_case_moves_no_other(ratings, data):
    tree = tree_from_docs()
    gone = data.draw(st.integers(0, len(ratings) - 1))
    whole, rest = weighted_sum(tree, ratings), weighted_sum(tree, np.delete(ratings, gone, axis=0))
    assert np.delete(whole.score, gone) == pytest.approx(rest.score, abs=1e-12, nan_ok=True)
    order = [i - (i > gone) for i in ranking(np.round(whole.score, 9)).order if i != gone]
    assert order == list(ranking(np.round(rest.score, 9)).order)


@given(arrays(float, st.tuples(st.integers(1, 6), st.just(6)), elements=cells))
def test_scores_stay_between_their_bounds(ratings):
    scores = weighted_sum(tree_from_docs(), ratings)
    known = ~np.isnan(scores.score)
    assert (scores.low >= 0).all() and (scores.high <= 1).all()
    assert (scores.low[known] <= scores.score[known] + 1e-12).all()
    assert (scores.score[known] <= scores.high[known] + 1e-12).all()
