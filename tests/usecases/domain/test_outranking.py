import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.outranking import agreement, promethee, topsis
from usecases.domain.scoring import ranking

ROWS = read_table("second-opinions", "second-opinions-example")
VALUES = np.array([[number(r[key]) for key in ("price", "storage", "camera", "looks")] for r in ROWS])
BENEFIT = [False, True, True, True]


def test_topsis_is_that_of_the_page():
    assert topsis(VALUES, [1] * 4, BENEFIT) == pytest.approx([number(r["TOPSIS"]) for r in ROWS], abs=5e-7)


def test_promethee_is_that_of_the_page():
    assert promethee(VALUES, [1] * 4, BENEFIT) == pytest.approx([number(r["PROMETHEE II"]) for r in ROWS], abs=1e-12)


ORACLE = read_table("second-opinions", "second-opinions-oracle")


def test_other_programs_say_the_same():
    values = np.array([[number(row[f"c{n}"]) for n in range(1, 6)] for row in ORACLE])
    weights, benefit = [0.3, 0.25, 0.2, 0.15, 0.1], [True, True, False, True, False]

    def column(name: str) -> list[float]:
        return [number(row[name]) for row in ORACLE]

    closeness = topsis(values, weights, benefit)
    assert closeness == pytest.approx(column("TOPSIS, pymcdm"), abs=5e-10)
    assert closeness == pytest.approx(column("TOPSIS, scikit-criteria"), abs=5e-10)
    assert list(ranking(closeness).rank) == column("rank, scikit-criteria")
    assert promethee(values, weights, benefit) == pytest.approx(column("usual, pymcdm"), abs=5e-10)
    linear = promethee(values, weights, benefit, indifference=[1.0] * 5, preference=[4.0] * 5)
    assert linear == pytest.approx(column("linear, pymcdm"), abs=5e-9)
    assert promethee(values, weights, benefit, preference=[3.0] * 5) == pytest.approx(column("ramp, pymcdm"), abs=5e-9)


METHODS = ("weighted sum", "TOPSIS", "PROMETHEE II")


@pytest.mark.parametrize("row", read_table("second-opinions", "second-opinions-agreement"), ids=lambda r: r["agree"])
def test_methods_agree_as_the_page_says(row):
    firsts = {method: {"ABC".index(name.strip()) for name in row[method].split(",")} for method in METHODS}
    together, others = agreement(firsts)
    assert (", ".join(together), ", ".join(others) or "none") == (row["agree"], row["others"])


def by_pairs(x, w, low, high):
    d = x[:, None, :] - x[None, :, :]
    p = (d > 0).astype(float) if high is None else np.clip((d - low) / (high - low), 0, 1)
    flow = (p * w).sum(axis=2)
    return (flow.sum(axis=1) - flow.sum(axis=0)) / (len(x) - 1)


tables = arrays(float, st.tuples(st.integers(2, 9), st.just(3)), elements=st.integers(-4, 4).map(float))


@given(tables)
def test_sorting_gives_what_all_pairs_give(x):
    w = np.array([0.5, 0.3, 0.2])
    assert promethee(x, w) == pytest.approx(by_pairs(x, w, None, None), abs=1e-12)
    assert promethee(x, w, preference=[3, 2, 4], indifference=[1, 0, 0.5]) == pytest.approx(
        by_pairs(x, w, np.array([1, 0, 0.5]), np.array([3, 2, 4])), abs=1e-12
    )


@given(tables)
def test_net_flows_cancel_out(x):
    assert promethee(x, [1, 1, 1]).sum() == pytest.approx(0, abs=1e-12)


def test_all_alike_stand_in_the_middle():
    assert topsis(np.ones((3, 2)), [1, 1]) == pytest.approx([0.5] * 3)
    assert topsis(np.zeros((3, 2)), [1, 1]) == pytest.approx([0.5] * 3)
    assert promethee([[1, 2]], [1, 1]) == pytest.approx([0])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: topsis([[1, np.nan]], [1, 1]), "value_missing"),
        (lambda: topsis(np.ones((0, 2)), [1, 1]), "no_alternatives"),
        (lambda: topsis(np.ones((2, 2)), [1, 1, 1]), "weights_missing"),
        (lambda: promethee(np.ones((2, 2)), [1, 1], preference=[1, 1], indifference=[1, 0]), "threshold_order"),
        (lambda: promethee(np.ones((2, 2)), [1, 1], indifference=[1, 0]), "threshold_missing"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


@given(tables, st.integers(0, 8), st.integers(0, 2), st.floats(0.1, 5))
def test_what_gets_better_is_preferred_no_less(x, row, column, gain):
    better = x.copy()
    better[row % len(x), column] += gain
    at = row % len(x)
    assert promethee(better, [0.5, 0.3, 0.2])[at] >= promethee(x, [0.5, 0.3, 0.2])[at] - 1e-12
