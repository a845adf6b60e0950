"""Prints the figures of docs/algorithms/models.md: `python -m tests.governance.modelling.figures`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from governance.modelling import autoencoder, pca, soft_sensor
from governance.modelling.arrays import sliding_windows
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.detector import Detector
from governance.modelling.graph import WindowSpec
from governance.modelling.metrics import regression_metrics
from governance.modelling.pca import PcaParams
from governance.modelling.quantise import QuantisationReport, quantise
from governance.modelling.runtime import estimate_memory, measure_latency
from governance.registry_client import Registry
from tests.governance.modelling.data import machine, process, turbine


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def report_line(name: str, detector: Detector, report: QuantisationReport) -> None:
    delta = report.accuracy
    if delta is None or delta.detection_fp32 is None or delta.detection_int8 is None:
        raise ValueError("the figures need labels")
    before, after = delta.detection_fp32, delta.detection_int8
    say(
        f"{name}: {report.fp32_bytes} -> {report.int8_bytes} B, found {before.detection_rate:.3f} -> "
        f"{after.detection_rate:.3f}, false {before.false_alarm_rate:.4f} -> {after.false_alarm_rate:.4f}, F1 "
        f"{before.f1:.3f} -> {after.f1:.3f}, log-score correlation {delta.score_correlation:.4f}, judged alike "
        f"{delta.alarm_agreement:.4f}, p50 {report.latency_fp32.p50_us} -> {report.latency_int8.p50_us} us, "
        f"train {detector.seconds['train']:.2f} s, convert {detector.seconds['convert']:.4f} s, "
        f"quantise {report.seconds:.3f} s, reasons against {report.reasons_against()}"
    )


def nox() -> bytes:
    data = turbine()
    past, following, last = (data.year <= 2012), (data.year == 2013), (data.year == 2014)
    sensor = soft_sensor.train(
        data.rows[past], data.nox[past], held_out_rows=data.rows[following], held_out_target=data.nox[following]
    )
    decayed = regression_metrics(data.nox[last], sensor.predict(data.rows[last]))
    say(f"NOx: {len(sensor.onnx)} B, {estimate_memory(sensor.onnx).total_kb} KB, {sensor.seconds}")
    say(f"  2013 {sensor.metrics}\n  2014 {decayed}\n  {sensor.parity}\n  {measure_latency(sensor.onnx, data.rows[0])}")
    return sensor.onnx


def turbine_sensors() -> None:
    data = turbine()
    rows = data.rows[data.year <= 2012]
    healthy = (np.arange(len(rows)) // 100) % 5 == 4
    judged, faulty = data.rows[data.year == 2013].copy(), np.zeros(int((data.year == 2013).sum()), dtype=bool)
    rng = np.random.default_rng(0)
    for start in range(200, len(judged), 400):
        channel = rng.integers(9)
        judged[start : start + 100, channel] += 3 * rows[:, channel].std()
        faulty[start : start + 100] = True
    detector = autoencoder.train(rows[~healthy], healthy_rows=rows[healthy], channels=9)
    _, report = quantise(
        detector, calibration_rows=rows[~healthy], healthy_rows=rows[healthy], judged_rows=judged, faulty=faulty
    )
    report_line("turbine", detector, report)


def machine_temperature() -> None:
    data, spec = machine(), WindowSpec(144, (12, 144))
    windows = sliding_windows(data.values[:, None], spec.window)
    row = np.arange(spec.window - 1, len(data.values))
    faulty, judged, healthy = data.faulty[row], row >= 3404, (row // 72) % 5 == 4
    learnt = ~judged & ~faulty
    params = AutoencoderParams(hidden=(16, 3, 16), max_iter=80)
    detector = autoencoder.train(
        windows[learnt & ~healthy], healthy_rows=windows[learnt & healthy], channels=1, spec=spec, params=params
    )
    smaller, report = quantise(
        detector,
        calibration_rows=windows[learnt & ~healthy],
        healthy_rows=windows[learnt & healthy],
        judged_rows=windows[judged],
        faulty=faulty[judged],
    )
    report_line("machine", detector, report)
    for name, item in (("fp32", detector), ("int8", smaller)):
        alarm = np.zeros(len(data.values), dtype=bool)
        alarm[row] = item.alarm(windows)
        found = [bool(alarm[start : end + 1].any()) for start, end in data.windows if start >= 3404]
        false = np.flatnonzero(alarm & ~data.faulty & (np.arange(len(alarm)) >= 3404))
        episodes = (1 + int((np.diff(false) > 36).sum())) / ((judged & ~faulty).sum() / 288)
        say(f"  {name}: windows found {found}, false alarm episodes a day {episodes:.2f}")


def chemical_process() -> None:
    data = process()
    rows, judged, faulty = data.of("d00"), data.rows[data.judged], data.faulty[data.judged]
    for folds in (1, 5):
        detector = pca.train(rows, channels=52, params=PcaParams(folds=folds))
        say(f"pca, {folds} folds: {len(detector.onnx)} B, {detector.judge(judged, faulty)}, {detector.seconds}")
    healthy = (np.arange(len(rows)) // 50) % 5 == 4
    _, report = quantise(
        detector, calibration_rows=rows, healthy_rows=data.of("d00_te"), judged_rows=judged, faulty=faulty
    )
    report_line("process pca", detector, report)
    params = AutoencoderParams(hidden=(32, 10, 32), max_iter=80)
    network = autoencoder.train(
        rows[~healthy], healthy_rows=rows[healthy], channels=52, threshold_quantile=0.99, params=params
    )
    _, report = quantise(
        network, calibration_rows=rows[~healthy], healthy_rows=rows[healthy], judged_rows=judged, faulty=faulty
    )
    report_line("process autoencoder", network, report)


def registering(model: bytes) -> None:
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        registry = Registry(f"sqlite:///{folder}/mlflow.db", artifact_root=Path(folder, "files").as_uri())
        registry.health()
        first = time.perf_counter() - started
        spent = []
        for number in range(5):
            started = time.perf_counter()
            registry.register(model="NOx", onnx=model, key=str(number), metrics={"r2": 0.5}, params={"max_iter": 100})
            spent.append(time.perf_counter() - started)
        started = time.perf_counter()
        registry.move_alias("NOx", "champion", "5")
        alias = time.perf_counter() - started
        started = time.perf_counter()
        registry.changes_since(0)
        polled = time.perf_counter() - started
    say(
        f"registry (sqlite): first use {first:.1f} s, register {spent[0]:.2f} s then {np.median(spent[1:]):.3f} s, "
        f"alias {alias * 1000:.0f} ms, changes_since {polled * 1000:.0f} ms"
    )


if __name__ == "__main__":
    onnx_bytes = nox()
    turbine_sensors()
    machine_temperature()
    chemical_process()
    registering(onnx_bytes)
