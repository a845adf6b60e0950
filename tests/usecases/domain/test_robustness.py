import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.usecases.domain.tables import number, read_table
from tests.usecases.domain.test_scoring import ratings_from_docs, tree_from_docs
from usecases.domain.errors import InvalidInput
from usecases.domain.robustness import (
    Thresholds,
    Verdict,
    assess,
    classify,
    dirichlet_weights,
    ordinal_weights,
    overtakings,
    smaa,
    swings,
    tree_weights,
    uniform_weights,
)
from usecases.domain.scoring import CriteriaTree, SubCriterion, TopCriterion

DRAWS = 400


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def worked_example(**options):
    tree = tree_from_docs()
    names, ratings = ratings_from_docs(tree)
    return assess(tree, ratings, names, **options)


@pytest.mark.parametrize(
    "row", read_table("robustness", "robustness-kappa"), ids=lambda r: f"{r['weight']}-{r['kappa']}"
)
def test_weights_stray_as_far_as_the_page_says(row):
    w = number(row["weight"])
    drawn = dirichlet_weights([w, 1 - w], number(row["kappa"]), 40_000, rng())[:, 0]
    assert drawn.mean() == pytest.approx(w, abs=0.002)
    assert drawn.std() == pytest.approx(number(row["standard deviation"]), rel=0.02)


@pytest.mark.parametrize(
    "row", read_table("robustness", "robustness-verdict"), ids=lambda r: f"{r['first in']}-{r['verdict']}"
)
def test_verdicts_are_those_of_the_page(row):
    change = None if row["smallest change"] == "none" else number(row["smallest change"])
    assert classify(number(row["first in"]), change, tied=row["shares first place"] == "yes") == row["verdict"]


def test_thresholds_are_arguments():
    assert classify(0.7, 0.02, thresholds=Thresholds(clear=0.7, close=0.3, margin=0.01)) == Verdict.CLEAR_WINNER


def test_overtakings_are_those_of_the_page():
    result = worked_example(draws=DRAWS)
    rows = read_table("robustness", "robustness-overtakings")
    assert len(result.overtakings) == len(rows)
    for row, found in zip(rows, result.overtakings, strict=True):
        assert (result.names[found.rival], result.criteria[found.criterion]) == (row["rival"], row["criterion"])
        assert (found.weight, found.at, found.change) == pytest.approx(
            tuple(number(row[key]) for key in ("weight now", "weight at", "change")), abs=5e-6
        )


def test_acceptability_is_that_of_the_page_for_any_seed():
    for seed in (0, 1):
        result = worked_example(seed=seed)
        for i, row in enumerate(read_table("robustness", "robustness-first")):
            assert abs(100 * result.smaa.first[i] - number(row["first in 100"])) <= number(row["may differ by"]) + 0.5


def test_the_tornado_is_that_of_the_page():
    result = worked_example(draws=DRAWS)
    rows = read_table("robustness", "robustness-tornado")
    found = swings(result.overtakings, tree_from_docs().top_weights)
    for row, swing in zip(rows, found, strict=True):
        assert (result.criteria[swing.criterion], swing.weight) == (
            row["criterion"],
            pytest.approx(number(row["weight"])),
        )
        assert swing.change == pytest.approx(number(row["change"]), abs=5e-6)
        for way, at, rival in ((swing.down, "falls to", "rival"), (swing.up, "rises to", "rival then")):
            if row[at] == "never":
                assert way is None
            else:
                assert way.at == pytest.approx(number(row[at]), abs=5e-6)
                assert result.names[way.rival] == row[rival]


def test_a_weight_that_never_matters_comes_last_and_has_no_change():
    values, weights = np.array([[0.9, 0.5], [0.1, 0.5]]), [0.5, 0.5]
    found = swings(overtakings(values, weights, 0), weights)
    assert all(s.change is None or s.change == pytest.approx(0.5) for s in found)
    alone = swings((), weights)
    assert [s.change for s in alone] == [None, None]


def test_central_weights_are_those_of_the_page_for_any_seed():
    tree = tree_from_docs()
    for seed in (0, 1):
        result = worked_example(seed=seed)
        tops = np.stack([result.smaa.central_weights[:, tree.parent == t].sum(axis=1) for t in range(3)], axis=1)
        for row in read_table("robustness", "robustness-central"):
            at = result.names.index(row["use case"])
            shown = [number(row[key]) for key in ("roi", "feasibility", "data")]
            assert 100 * tops[at] == pytest.approx(shown, abs=number(row["may differ by"]) + 0.5)


def plainly_counted(values, weights):
    """Acceptability by a plain sort of each draw's scores."""
    m = len(values)
    orders = np.argsort(-(weights @ values.T), axis=1)
    return np.stack([np.bincount(orders[:, r], minlength=m) for r in range(m)], axis=1) / len(weights), orders


@pytest.mark.parametrize(
    ("m", "n", "draws"), [(2, 1, 50), (30, 12, 3_000), (200, 10, 2_000), (256, 4, 300), (300, 5, 400)]
)
def test_counting_is_that_of_a_plain_sort_to_the_draw(m, n, draws):
    values = rng(m).random((m, n))
    weights = uniform_weights(n, draws, rng(1))
    result = smaa(values, weights)
    expected, orders = plainly_counted(values, weights)
    assert (result.acceptability == expected).all()
    assert (result.orders == orders).all()


def test_scores_closer_than_the_sorted_words_are_told_apart():
    close = 0.5 + np.arange(40)[:, None] * 1e-11
    values = np.hstack([close, close[::-1]])[rng().permutation(40)]
    weights = uniform_weights(2, 500, rng())
    assert (smaa(values, weights).acceptability == plainly_counted(values, weights)[0]).all()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 3.7, 1e6])
def test_values_of_any_size_are_counted_alike(scale):
    values = scale * (rng().random((25, 4)) - 0.3)
    weights = uniform_weights(4, 400, rng(3))
    result = smaa(values, weights)
    assert (result.acceptability == plainly_counted(values, weights)[0]).all()


def test_the_sentences_carry_the_figures_of_the_page():
    said = worked_example().explain()
    assert [s.key for s in said] == [
        "robustness.close_call",
        "robustness.first_in",
        "robustness.runner_up",
        "robustness.overtakes_if_falls",
        "robustness.overtakes_if_rises",
        "robustness.overtakes_if_rises",
    ]
    assert said[0].figures == {"winner": "NOx soft sensor", "runner_up": "Energy forecast"}
    assert said[3].figures == {
        "rival": "Energy forecast",
        "winner": "NOx soft sensor",
        "criterion": "roi",
        "from_percent": 50,
        "to_percent": 47,
    }


def test_the_same_seed_gives_the_same_answer():
    first, again, other = worked_example(draws=DRAWS), worked_example(draws=DRAWS), worked_example(draws=DRAWS, seed=1)
    assert (first.smaa.acceptability == again.smaa.acceptability).all()
    assert (first.smaa.acceptability != other.smaa.acceptability).any()


def test_hierarchical_draws_respect_the_tree():
    tree = tree_from_docs()
    fixed = tree_weights(tree, kappa=30, kappa_within=None, draws=DRAWS, rng=rng())
    drawn = tree_weights(tree, kappa=30, kappa_within=30, draws=4_000, rng=rng())
    assert fixed.sum(axis=1) == pytest.approx(np.ones(DRAWS)) and drawn.sum(axis=1) == pytest.approx(np.ones(4_000))
    assert fixed[:, 0] / fixed[:, 1] == pytest.approx(np.full(DRAWS, 3.0))
    assert drawn.mean(axis=0) == pytest.approx(tree.leaf_weights, abs=0.01)
    assert (drawn[:, 0] / drawn[:, 1]).std() > 0.1


def test_uniform_weights_cover_the_simplex_and_ordinal_ones_keep_the_order():
    uniform = uniform_weights(3, 20_000, rng())
    # The share above one half in a corner of the simplex is a quarter; normalised uniforms give about a sixth.
    assert (uniform[:, 0] > 0.5).mean() == pytest.approx(0.25, abs=0.015)
    ordinal = ordinal_weights(3, DRAWS, rng())
    assert (np.diff(ordinal, axis=1) <= 0).all()


def test_a_zero_weight_stays_zero():
    assert (dirichlet_weights([0.5, 0, 0.5], 30, DRAWS, rng())[:, 1] == 0).all()


def test_alike_use_cases_share_their_ranks():
    result = smaa([[0.8, 0.2], [0.8, 0.2], [0.1, 0.1]], uniform_weights(2, DRAWS, rng()))
    assert result.first == pytest.approx([0.5, 0.5, 0])
    assert result.pairwise[0, 1] == 0.5
    assert result.central_weights[0] == pytest.approx(result.central_weights[1])


def test_what_no_weight_sees_does_not_separate():
    weights = dirichlet_weights([1, 0], 30, DRAWS, rng())
    assert smaa([[0.5, 0.9], [0.5, 0.1]], weights).first == pytest.approx([0.5, 0.5])


def test_a_gap_shows_up_as_doubt():
    tree = CriteriaTree((TopCriterion("t", 1, (SubCriterion("a", 1), SubCriterion("b", 1))),))
    known = assess(tree, [[4, 4], [3, 3]], ["x", "y"], draws=2_000)
    doubt = assess(tree, [[4, np.nan], [3, 3]], ["x", "y"], draws=2_000)
    assert known.smaa.first[0] == 1 and known.verdict == Verdict.CLEAR_WINNER
    # x wins if b >= 2 of 5, so in 60 of 100 draws.
    assert doubt.smaa.first[0] == pytest.approx(0.6, abs=0.04)
    assert doubt.smaa.confidence[0] == pytest.approx(0.6, abs=0.06)
    assert doubt.verdict == Verdict.CLOSE_CALL


def test_one_use_case_alone():
    result = assess(tree_from_docs(), [[3, 3, 50, 3, 3, 10]], ["x"], draws=DRAWS)
    assert result.verdict == Verdict.ONLY_ONE
    assert [s.key for s in result.explain()] == ["robustness.only_one"]


def test_an_exact_tie_is_a_coin_toss_and_says_so():
    result = assess(tree_from_docs(), [[3, 3, 50, 3, 3, 10]] * 2, ["x", "y"], draws=DRAWS)
    assert result.verdict == Verdict.COIN_TOSS and result.tied
    assert [s.key for s in result.explain()][:2] == ["robustness.coin_toss", "robustness.tied"]


def test_a_winner_everywhere_cannot_be_dethroned_by_one_weight():
    result = assess(tree_from_docs(), [[5, 5, 90, 5, 5, 0], [1, 1, 10, 1, 1, 40]], ["x", "y"], draws=DRAWS)
    assert result.overtakings == () and result.smallest_change is None
    assert result.explain()[-1].key == "robustness.no_single_weight"


def test_small_changes_are_said_in_tenths():
    tree = CriteriaTree(tuple(TopCriterion(k, w, (SubCriterion(k, 1, 0, 1),)) for k, w in (("a", 50), ("b", 50))))
    result = assess(tree, [[0.601, 0.4], [0.4, 0.6]], ["x", "y"], draws=DRAWS)
    figures = next(s.figures for s in result.explain() if s.key == "robustness.overtakes_if_falls")
    assert (figures["from_percent"], figures["to_percent"]) == (50.0, 49.9)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: assess(tree_from_docs(), [[1, 2]], ["x"]), "ratings_shape"),
        (lambda: assess(tree_from_docs(), [[1] * 6], []), "names_shape"),
        (lambda: assess(tree_from_docs(), [[np.nan] * 6], ["x"]), "nothing_known"),
        (lambda: smaa(np.ones((0, 2)), np.ones((1, 2))), "no_alternatives"),
        (lambda: smaa(np.ones((2, 2)), np.ones((1, 3))), "weights_missing"),
        (lambda: smaa([[0.5]], [[1.0]], low=[[0.6]], high=[[0.4]]), "value_range"),
        (lambda: dirichlet_weights([1], 0, 1, rng()), "kappa_not_positive"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


coarse = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, float("nan")])
cases = arrays(float, st.tuples(st.integers(1, 7), st.just(4)), elements=coarse)


@settings(max_examples=40)
@given(cases, st.integers(0, 5))
def test_acceptability_rows_and_columns_sum_to_one(values, seed):
    result = smaa(values, uniform_weights(4, 200, rng(seed)), seed=seed)
    ones = np.ones(len(values))
    assert result.acceptability.sum(axis=0) == pytest.approx(ones)
    assert result.acceptability.sum(axis=1) == pytest.approx(ones)
    assert result.pairwise + result.pairwise.T == pytest.approx(np.ones((len(values), len(values))))
    shown = ~np.isnan(result.confidence)
    assert (shown == (result.first > 0)).all()
    assert result.central_weights[shown].sum(axis=1) == pytest.approx(np.ones(shown.sum()))


@settings(max_examples=60)
@given(arrays(float, st.tuples(st.integers(2, 6), st.just(3)), elements=st.floats(0, 1)))
def test_at_the_changed_weight_the_two_draw_level(values):
    weights = np.array([0.5, 0.3, 0.2])
    winner = int((values @ weights).argmax())
    for found in overtakings(values, weights, winner):
        moved = weights * (1 - found.at) / (1 - found.weight)
        moved[found.criterion] = found.at
        assert values[winner] @ moved == pytest.approx(values[found.rival] @ moved, abs=1e-6)


@settings(max_examples=60)
@given(
    arrays(float, st.tuples(st.integers(2, 6), st.just(3)), elements=st.floats(0, 1)),
    st.integers(0, 5),
    st.integers(0, 2),
    st.floats(0.01, 0.5),
)
def test_a_better_answer_never_costs_a_place(values, row, column, gain):
    weights = uniform_weights(3, 200, rng())
    at = row % len(values)
    better = values.copy()
    better[at, column] = min(1.0, values[at, column] + gain)
    before, after = smaa(values, weights), smaa(better, weights)
    assert after.first[at] >= before.first[at] - 1e-12
    assert (after.acceptability[at].cumsum() >= before.acceptability[at].cumsum() - 1e-12).all()
    assert (better @ [0.5, 0.3, 0.2])[at] >= (values @ [0.5, 0.3, 0.2])[at] - 1e-12
