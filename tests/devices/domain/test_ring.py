"""The ring of newest rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.domain import ring


def rows(start: int, n: int) -> tuple[list[int], list[list[float]]]:
    return list(range(start, start + n)), [[float(i), -float(i)] for i in range(start, start + n)]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 60))
def test_whatever_the_batches_the_newest_rows_stay_in_order(sizes, keep):
    held, at = ring.empty(["a", "b"]), 0
    for n in sizes:
        times, values = rows(at, n)
        held = ring.append(held, ["a", "b"], times, values, {}, keep)
        at += n
    wanted = list(range(max(0, at - keep), at))
    assert held.times.tolist() == wanted
    assert held.column("a").tolist() == [float(i) for i in wanted]


def test_it_survives_packing():
    times, values = rows(5, 3)
    held = ring.append(ring.empty(), ["a", "b"], times, values, {"m": [1.0, None, 3.0]})
    again = ring.unpack(
        held.columns, held.models, held.times.tobytes(), held.values.tobytes(), held.predicted.tobytes()
    )
    assert again.times.tolist() == [5, 6, 7]
    np.testing.assert_equal(again.model("m"), [1.0, np.nan, 3.0])
    assert again.column("nothing") is None


def test_a_new_model_has_no_past_and_other_columns_begin_anew():
    held = ring.append(ring.empty(), ["a", "b"], *rows(0, 2), {"m": [1.0, 2.0]})
    held = ring.append(held, ["a", "b"], *rows(2, 1), {"n": [9.0]})
    np.testing.assert_equal(held.model("m"), [1.0, 2.0, np.nan])
    np.testing.assert_equal(held.model("n"), [np.nan, np.nan, 9.0])
    assert len(ring.append(held, ["a"], [3], [[1.0]], {})) == 1


def test_late_predictions_find_their_rows():
    held = ring.append(ring.empty(), ["a", "b"], *rows(10, 4), {})
    held = ring.fill(held, "m", [11, 13, 99, 1], [1.0, 3.0, 5.0, 7.0])
    np.testing.assert_equal(held.model("m"), [np.nan, 1.0, np.nan, 3.0])
    with pytest.raises(ValueError, match="m"):
        ring.fill(held, "m", [11, 13], [1.0])


def test_after_a_jump_back_the_newer_row_gets_the_prediction():
    held = ring.append(ring.empty(), ["a"], [10, 11, 10], [[1.0], [2.0], [3.0]], {})
    np.testing.assert_equal(ring.fill(held, "m", [10], [7.0]).model("m"), [np.nan, np.nan, 7.0])


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="predictions"):
        ring.append(ring.empty(), ["a"], [1, 2], [[1.0], [2.0]], {"m": [1.0]})
    with pytest.raises(ValueError):
        ring.append(ring.empty(), ["a"], [1, 2], [[1.0]], {})
