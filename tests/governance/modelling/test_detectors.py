"""Autoencoder and PCA monitor on the turbine, the machine temperature and the process; fp32 and INT8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from governance.modelling import autoencoder, pca
from governance.modelling.arrays import sliding_windows
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.detector import Detector
from governance.modelling.graph import WindowSpec, read_metadata, window_statistics
from governance.modelling.pca import PcaParams
from governance.modelling.quantise import QuantisationLimits, QuantisationReport, quantise
from governance.modelling.recipes import (
    MACHINE_TEMPERATURE,
    PROCESS_FAULTS,
    PROCESS_PLANE,
    TURBINE_SENSORS,
    Recipe,
    build,
    healthy_windows,
)
from governance.modelling.runtime import run
from tests.governance.modelling.data import false_episodes_per_day, machine, process, turbine, with_sensor_faults


@pytest.fixture(scope="module")
def turbine_case() -> tuple[Detector, Detector, QuantisationReport, np.ndarray, np.ndarray]:
    """Trained on 2011-12, judged on 2013 with simulated sensor faults: 3 standard deviations on one channel."""
    data = turbine()
    rows = data.rows[data.year <= 2012]
    judged, faulty = with_sensor_faults(data.rows[data.year == 2013], rows.std(axis=0))
    built = build(TURBINE_SENSORS, rows, judged_rows=judged, faulty=faulty)
    return built.reference, built.shipped, built.report, judged, faulty


def test_the_turbine_graph_scores_as_numpy_does(turbine_case: tuple) -> None:
    detector, _, _, judged, _ = turbine_case
    constants = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_model_from_string(detector.onnx).graph.initializer
    }
    z = (judged[:50].astype(np.float64) - constants["scaler_mean"]) / constants["scaler_scale"]
    layer = z
    for index in range(4):
        layer = layer @ constants[f"layer{index}_weights"] + constants[f"layer{index}_bias"]
        layer = np.maximum(layer, 0) if index < 3 else layer
    outputs = run(detector.onnx, judged[:50])
    assert list(outputs) == ["score", "reconstruction"]
    np.testing.assert_allclose(outputs["score"].ravel(), ((z - layer) ** 2).mean(axis=1), rtol=1e-4)
    expected = layer * constants["scaler_scale"] + constants["scaler_mean"]
    np.testing.assert_allclose(outputs["reconstruction"], expected, rtol=1e-4, atol=1e-2)


def test_int8_keeps_the_turbine_detector_accurate(turbine_case: tuple) -> None:
    detector, smaller, report, judged, _ = turbine_case
    assert report.status == "int8"
    assert report.reasons_against() == []
    assert report.accuracy is not None
    assert report.accuracy.score_correlation > 0.99
    assert report.accuracy.alarm_agreement > 0.99
    assert abs(report.accuracy.f1_delta) < 0.02
    assert report.int8_bytes < report.fp32_bytes
    assert smaller.precision == "int8"
    assert smaller.threshold != detector.threshold
    assert read_metadata(smaller.onnx)["threshold"] == repr(smaller.threshold)
    assert read_metadata(detector.onnx)["threshold"] == repr(detector.threshold)
    weights = {t.data_type for t in onnx.load_model_from_string(smaller.onnx).graph.initializer if len(t.dims) == 2}
    assert weights == {onnx.TensorProto.INT8}
    assert run(smaller.onnx, judged[:3])["reconstruction"].shape == (3, 9)


def test_the_int8_score_sees_values_outside_the_calibrated_range(turbine_case: tuple) -> None:
    """The quantiser must not clip the input of the residual: a far outlier keeps a far score."""
    detector, smaller, _, judged, _ = turbine_case
    outlier = judged[:1].copy()
    outlier[0, 5] += 100 * 20
    assert smaller.score(outlier)[0] > 0.5 * detector.score(outlier)[0] > 100 * detector.threshold


def test_a_healthy_year_stays_quiet_and_simulated_faults_are_found(turbine_case: tuple) -> None:
    _, smaller, _, judged, faulty = turbine_case
    found = smaller.judge(judged, faulty)
    assert found.detection_rate > 0.6
    assert found.false_alarm_rate < 0.02


def test_the_machine_failures_are_found_from_one_channel() -> None:
    data, window = machine(), MACHINE_TEMPERATURE.spec.window
    windows = sliding_windows(data.values[:, None], window)
    row = np.arange(window - 1, len(data.values))
    learnt = data.learnt
    judged = row >= learnt
    built = build(
        MACHINE_TEMPERATURE,
        data.values[:learnt, None],
        usable=~data.faulty[:learnt],
        judged_rows=windows[judged],
        faulty=data.faulty[row][judged],
    )
    assert built.report.status == "int8"
    alarm = np.zeros(len(data.values), dtype=bool)
    alarm[row] = built.shipped.alarm(windows)
    later = [(start, end) for start, end in data.windows if start >= learnt]
    assert len(later) == 3
    assert all(alarm[start : end + 1].any() for start, end in later)
    assert false_episodes_per_day(alarm, data) < 0.8
    names = MACHINE_TEMPERATURE.spec.feature_names(["temperature"])
    assert (
        built.shipped.reconstruction(windows[:5]).shape
        == (5, len(names))
        == window_statistics(windows[:5], MACHINE_TEMPERATURE.spec).shape
    )


def test_the_process_faults_are_found_better_than_with_textbook_limits() -> None:
    data = process()
    judged, faulty = data.rows[data.judged], data.faulty[data.judged]
    textbook = pca.train(data.of("d00"), channels=52, params=PcaParams(folds=1)).judge(judged, faulty)
    found = pca.train(data.of("d00"), channels=52).judge(judged, faulty)
    assert found.faulty_rows == 4800
    assert found.detection_rate > 0.97 > 0.80
    assert found.false_alarm_rate < 0.04 < 0.077 < textbook.false_alarm_rate


def test_the_process_autoencoder_survives_int8() -> None:
    data = process()
    built = build(PROCESS_FAULTS, data.of("d00"), judged_rows=data.rows[data.judged], faulty=data.faulty[data.judged])
    assert built.report.status == "int8"
    found = built.shipped.judge(data.rows[data.judged], data.faulty[data.judged])
    assert found.detection_rate > 0.93 > 0.80
    assert found.false_alarm_rate < 0.05 < 0.077
    assert built.report.int8_bytes < 0.6 * built.report.fp32_bytes


def test_the_process_plane_survives_int8() -> None:
    data = process()
    built = build(PROCESS_PLANE, data.of("d00"), judged_rows=data.rows[data.judged], faulty=data.faulty[data.judged])
    assert built.report.status == "int8"
    assert built.report.int8_bytes < 0.7 * built.report.fp32_bytes


def test_an_int8_detector_that_strays_is_refused_and_float32_ships() -> None:
    strict = Recipe(
        AutoencoderParams(hidden=(8, 3, 8), max_iter=3), block=20, limits=QuantisationLimits(min_score_correlation=1.0)
    )
    built = build(strict, process().of("d00"))
    assert built.report.status == "refused"
    assert "correlate" in built.report.reason
    assert built.report.accuracy is not None
    assert built.shipped is built.reference
    assert built.shipped.precision == "fp32"


def test_without_labels_the_held_back_rows_judge() -> None:
    built = build(Recipe(AutoencoderParams(hidden=(8, 3, 8), max_iter=3), block=20), process().of("d00"))
    assert built.report.accuracy.rows == 100
    assert built.report.accuracy.f1_delta is None


def test_a_window_with_one_bad_row_is_not_learnt_from() -> None:
    recipe = Recipe(AutoencoderParams(), spec=WindowSpec(3, (2,)), block=2)
    usable = np.arange(12) != 5
    windows, held_back = healthy_windows(np.arange(12, dtype=np.float32)[:, None], recipe, usable)
    assert 5.0 not in windows
    assert windows[:, -1].tolist() == [2, 3, 4, 8, 9, 10, 11]
    assert held_back.tolist() == [False, False, False, True, True, False, False]
    with pytest.raises(ValueError, match="usable must have shape"):
        healthy_windows(np.zeros((4, 1), np.float32), recipe, [True])
    with pytest.raises(ValueError, match="five blocks"):
        build(Recipe(AutoencoderParams(), block=100), np.zeros((50, 2)))


def test_the_pca_graph_equals_its_formula() -> None:
    data = process()
    rows = data.of("d00")
    plane = pca.fit_plane(rows, 10)
    t2, spe = plane.statistics(data.of("d06_te"))
    outputs = run(pca.train(rows, channels=52).onnx, data.of("d06_te"))
    np.testing.assert_allclose(outputs["t2"].ravel(), t2, rtol=2e-3, atol=1e-2)
    np.testing.assert_allclose(outputs["spe"].ravel(), spe, rtol=2e-3, atol=1e-2)


def test_equal_data_give_equal_detectors() -> None:
    rows = process().of("d00")
    params = AutoencoderParams(hidden=(8, 2, 8), max_iter=3)
    one, two = (autoencoder.train(rows, healthy_rows=rows, channels=52, params=params) for _ in range(2))
    assert one.onnx == two.onnx
    assert pca.train(rows, channels=52).onnx == pca.train(rows, channels=52).onnx


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.normal(size=(200, 3)), np.full(200, 41.7)])
    detector = autoencoder.train(rows, healthy_rows=rows, channels=4, params=AutoencoderParams(hidden=(4,), max_iter=3))
    assert np.isfinite(detector.score(rows)).all()


def test_one_channel_without_a_window_works() -> None:
    rows = np.random.default_rng(4).normal(size=(100, 1))
    detector = autoencoder.train(rows, healthy_rows=rows, channels=1, params=AutoencoderParams(hidden=(2,), max_iter=2))
    assert detector.reconstruction(rows).shape == (100, 1)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must have 6 columns"):
        autoencoder.train(np.zeros((9, 5)), healthy_rows=np.zeros((9, 6)), channels=3, spec=WindowSpec(2, (2,)))
    with pytest.raises(ValueError, match="folds"):
        pca.train(np.zeros((5, 3)), channels=3)
    with pytest.raises(ValueError, match="components"):
        pca.train(np.random.default_rng(0).normal(size=(50, 3)), channels=3)
    flat = np.tile(np.random.default_rng(0).normal(size=(50, 1)), 12)
    with pytest.raises(ValueError, match="independent directions"):
        pca.train(flat, channels=12)


def test_a_bad_int8_model_is_refused_with_reasons(turbine_case: tuple) -> None:
    _, smaller, report, judged, _ = turbine_case
    strict = QuantisationLimits(min_score_correlation=1.1, min_alarm_agreement=1.1, max_f1_drop=-1)
    reasons = report.reasons_against(strict)
    assert [word in text for word, text in zip(("correlate", "judged alike", "F1"), reasons, strict=True)] == [True] * 3
    with pytest.raises(ValueError, match="only a float32"):
        quantise(smaller, calibration_rows=judged, healthy_rows=judged, judged_rows=judged)


def test_a_kind_without_operators_is_refused(turbine_case: tuple) -> None:
    detector, _, _, judged, _ = turbine_case
    with pytest.raises(ValueError, match="no operators"):
        quantise(replace(detector, kind="forest"), calibration_rows=judged, healthy_rows=judged, judged_rows=judged)
