"""Prints the figures of docs/algorithms/models.md: `python -m tests.governance.modelling.figures`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from governance.modelling import pca, soft_sensor
from governance.modelling.arrays import sliding_windows
from governance.modelling.metrics import regression_metrics
from governance.modelling.pca import PcaParams
from governance.modelling.recipes import (
    MACHINE_TEMPERATURE,
    PROCESS_FAULTS,
    PROCESS_PLANE,
    TURBINE_SENSORS,
    Built,
    build,
)
from governance.modelling.runtime import estimate_memory, measure_latency
from governance.registry_client import Registry
from tests.governance.modelling.data import false_episodes_per_day, machine, process, turbine, with_sensor_faults


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def built_line(name: str, built: Built) -> None:
    report, delta = built.report, built.report.accuracy
    if delta is None or delta.detection_fp32 is None or delta.detection_int8 is None:
        raise ValueError("the figures need labels")
    before, after = delta.detection_fp32, delta.detection_int8
    say(
        f"{name}: {report.status} {report.reason}\n  {report.fp32_bytes} -> {report.int8_bytes} B, found "
        f"{before.detection_rate:.3f} -> {after.detection_rate:.3f}, false {before.false_alarm_rate:.4f} -> "
        f"{after.false_alarm_rate:.4f}, F1 {before.f1:.3f} -> {after.f1:.3f}, log-score correlation "
        f"{delta.score_correlation:.4f}, judged alike {delta.alarm_agreement:.4f}, p50 {report.latency_fp32} -> "
        f"{report.latency_int8}, {dict(built.reference.seconds)}, quantise {report.seconds:.3f} s, "
        f"{estimate_memory(built.shipped.onnx).total_kb} KB"
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
    judged, faulty = with_sensor_faults(data.rows[data.year == 2013], rows.std(axis=0))
    built_line("turbine", build(TURBINE_SENSORS, rows, judged_rows=judged, faulty=faulty))


def machine_temperature() -> None:
    data, window = machine(), MACHINE_TEMPERATURE.spec.window
    windows = sliding_windows(data.values[:, None], window)
    row = np.arange(window - 1, len(data.values))
    judged = row >= data.learnt
    built = build(
        MACHINE_TEMPERATURE,
        data.values[: data.learnt, None],
        usable=~data.faulty[: data.learnt],
        judged_rows=windows[judged],
        faulty=data.faulty[row][judged],
    )
    built_line("machine", built)
    for name, item in (("fp32", built.reference), ("shipped", built.shipped)):
        alarm = np.zeros(len(data.values), dtype=bool)
        alarm[row] = item.alarm(windows)
        found = [bool(alarm[start : end + 1].any()) for start, end in data.windows if start >= data.learnt]
        say(f"  {name}: windows found {found}, false alarm episodes a day {false_episodes_per_day(alarm, data):.2f}")


def chemical_process() -> None:
    data = process()
    rows, judged, faulty = data.of("d00"), data.rows[data.judged], data.faulty[data.judged]
    for folds in (1, 5):
        detector = pca.train(rows, channels=52, params=PcaParams(folds=folds))
        say(f"pca, {folds} folds: {len(detector.onnx)} B, {detector.judge(judged, faulty)}, {detector.seconds}")
    built_line("process plane", build(PROCESS_PLANE, rows, judged_rows=judged, faulty=faulty))
    built_line("process autoencoder", build(PROCESS_FAULTS, rows, judged_rows=judged, faulty=faulty))


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
