"""The NOx soft sensor on the real turbine: known decay, exact export, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import r2_score

from governance.modelling import soft_sensor
from governance.modelling.runtime import OPSETS, estimate_memory, measure_latency, open_session, run
from governance.modelling.soft_sensor import SoftSensor, SoftSensorParams
from tests.governance.modelling.data import turbine


@pytest.fixture(scope="module")
def sensor() -> SoftSensor:
    data = turbine()
    past, next_year = data.year <= 2012, data.year == 2013
    return soft_sensor.train(
        data.rows[past],
        data.nox[past],
        held_out_rows=data.rows[next_year],
        held_out_target=data.nox[next_year],
        params=SoftSensorParams(max_iter=200),
    )


def small(rows: np.ndarray, target: np.ndarray, **options: object) -> SoftSensor:
    params = SoftSensorParams(max_iter=20, min_samples_leaf=5)
    return soft_sensor.train(rows, target, held_out_rows=rows, held_out_target=target, params=params, **options)


def test_the_turbine_decays_as_known(sensor: SoftSensor) -> None:
    data = turbine()
    last = data.year == 2014
    assert round(sensor.metrics.r2, 2) == 0.59
    assert round(r2_score(data.nox[last], sensor.predict(data.rows[last])), 2) == -0.27


def test_the_exported_file_predicts_what_the_trained_model_predicts(sensor: SoftSensor) -> None:
    assert sensor.parity.ok
    assert sensor.parity.rows == 7152
    assert sensor.parity.max_abs < 1e-4
    assert sensor.parity.max_ulp < 16


def test_the_file_is_plain_onnx_a_gateway_can_open(sensor: SoftSensor) -> None:
    proto = onnx.load_model_from_string(sensor.onnx)
    assert {entry.domain: entry.version for entry in proto.opset_import} == OPSETS
    assert [node.op_type for node in proto.graph.node] == ["TreeEnsembleRegressor"]
    session = open_session(sensor.onnx)
    assert [(i.name, i.shape[1]) for i in session.get_inputs()] == [("features", 9)]
    assert [o.name for o in session.get_outputs()] == ["prediction"]
    assert len(sensor.onnx) < 450_000
    assert estimate_memory(sensor.onnx).total_kb < 4_096
    assert measure_latency(sensor.onnx, turbine().rows[0], repeats=50).p50_us < 5_000


def test_quantisation_is_not_applicable_and_says_why(sensor: SoftSensor) -> None:
    report = sensor.quantisation
    assert report.status == "not_applicable"
    assert "tree ensemble" in report.reason
    assert report.fp32_bytes == len(sensor.onnx)
    assert report.reasons_against() == []


def test_equal_data_and_parameters_give_equal_bytes() -> None:
    data = turbine()
    one, two = (small(data.rows[:600], data.nox[:600]) for _ in range(2))
    assert one.onnx == two.onnx
    assert one.training_fingerprint == two.training_fingerprint


def test_weights_decide_which_rows_count() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 2)).astype(np.float32)
    target = np.where(np.arange(400) < 200, 10.0, 20.0)
    weights = np.where(np.arange(400) < 200, 0.0, 1.0)
    sensor = small(rows, target, sample_weight=weights)
    np.testing.assert_allclose(sensor.predict(rows), 20.0, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.zeros(40), "not all 0"),
        (np.full(40, -1.0), "at least 0"),
        (np.ones(3), "sample_weight must have shape"),
        (np.full(40, np.nan), "finite"),
    ],
)
def test_bad_weights_are_refused(weights: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(np.ones((40, 2)), np.ones(40), sample_weight=weights)


def test_rows_and_target_must_fit() -> None:
    with pytest.raises(ValueError, match="target must have shape"):
        small(np.ones((40, 2)), np.ones(39))
    with pytest.raises(ValueError, match="finite"):
        small(np.full((40, 2), np.nan), np.ones(40))


@given(arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)))
def test_rounding_down_never_changes_a_comparison(thresholds: np.ndarray) -> None:
    rounded = soft_sensor.round_down(thresholds)
    for threshold, single in zip(thresholds, rounded, strict=True):
        nearest = np.float32(threshold)
        up, down = np.nextafter(nearest, np.float32(np.inf)), np.nextafter(nearest, np.float32(-np.inf))
        for value in (down, nearest, up):
            assert (float(value) <= threshold) == bool(value <= single)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_on_and_beside_a_threshold_take_the_same_branch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.float32(rng.normal()) * np.float32(100)
    ladder = [values]
    for _ in range(63):
        ladder.append(np.nextafter(ladder[-1], np.float32(np.inf)))
    rows = np.repeat(np.array(ladder, dtype=np.float32), 8)[:, None]
    target = rng.normal(size=len(rows)).cumsum()
    model = soft_sensor.fit(rows, target, None, SoftSensorParams(max_iter=30, min_samples_leaf=2))
    found = run(soft_sensor.export(model), rows)["prediction"].ravel()
    np.testing.assert_allclose(found, model.predict(rows), rtol=1e-5, atol=1e-4)
