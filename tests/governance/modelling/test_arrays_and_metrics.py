"""Shapes, fingerprints, windows and figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, mean_absolute_error, r2_score, root_mean_squared_error

from governance.modelling.arrays import as_rows, as_vector, fingerprint, sliding_windows
from governance.modelling.metrics import detection_metrics, regression_metrics

FINITE = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros(3), "two dimensions"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros((3, 0)), "empty"),
        (np.array([[1.0, np.nan]]), r"columns \[1\]"),
        (np.array([[1e300, 0.0]]), r"columns \[0\]"),
        (np.zeros((2, 4)), "must have 2 columns"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_rows_that_cannot_be_used_are_refused_by_name(bad: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        as_rows(bad, columns=2)


def test_a_vector_must_have_its_length_and_be_finite() -> None:
    with pytest.raises(ValueError, match="target must have shape"):
        as_vector([1.0, 2.0], length=3, name="target")
    with pytest.raises(ValueError, match="finite"):
        as_vector([1.0, np.inf], length=2, name="target")


def test_fingerprint_depends_on_values_order_shape_and_target_only() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert fingerprint(rows) == fingerprint(rows.astype(np.float64)) == fingerprint(np.asfortranarray(rows))
    others = [rows[::-1], rows.reshape(2, 3), rows + np.float32(1e-6)]
    assert len({fingerprint(rows), *(fingerprint(other) for other in others)}) == 4
    assert fingerprint(rows, [1.0, 2.0, 3.0]) != fingerprint(rows)


@given(arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=FINITE), st.integers(1, 6))
def test_windows_are_the_last_rows_oldest_first(rows: np.ndarray, window: int) -> None:
    if len(rows) < window:
        with pytest.raises(ValueError, match="do not fill"):
            sliding_windows(rows, window)
        return
    flat = sliding_windows(rows, window)
    assert flat.shape == (len(rows) - window + 1, window * rows.shape[1])
    for index, row in enumerate(flat):
        np.testing.assert_array_equal(row, rows[index : index + window].ravel())


@given(arrays(np.float64, st.tuples(st.just(2), st.integers(2, 40)), elements=st.floats(-1e3, 1e3)))
def test_regression_metrics_equal_scikit_learn(pair: np.ndarray) -> None:
    actual, predicted = pair
    found = regression_metrics(actual, predicted)
    assert found.mae == pytest.approx(mean_absolute_error(actual, predicted))
    assert found.rmse == pytest.approx(root_mean_squared_error(actual, predicted))
    assert found.bias == pytest.approx((actual - predicted).mean(), abs=1e-9)
    if np.ptp(actual) > 1e-3:
        assert found.r2 == pytest.approx(r2_score(actual, predicted), rel=1e-6)


def test_a_constant_target_scores_one_when_met_and_zero_when_missed() -> None:
    assert regression_metrics([2, 2, 2], [2, 2, 2]).r2 == 1
    assert regression_metrics([2, 2, 2], [2, 2, 3]).r2 == 0


@given(arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 40))))
def test_detection_metrics_equal_scikit_learn(pair: np.ndarray) -> None:
    alarm, faulty = pair
    found = detection_metrics(alarm, faulty)
    assert found.f1 == pytest.approx(f1_score(faulty, alarm, zero_division=0))
    assert found.faulty_rows + found.healthy_rows == alarm.size
    assert 0 <= found.false_alarm_rate <= 1
    assert 0 <= found.detection_rate <= 1


def test_unequal_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="equal vectors"):
        regression_metrics([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="equal vectors"):
        detection_metrics([True], [True, False])
