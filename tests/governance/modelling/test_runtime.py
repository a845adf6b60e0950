"""What a model costs on a gateway: the memory estimate bounds what a process really gains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from governance.modelling import autoencoder, soft_sensor
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.runtime import estimate_memory, measure_latency, run
from governance.modelling.soft_sensor import SoftSensorParams
from tests.governance.modelling.data import turbine

MEASURE = """
import gc, sys
import numpy as np
from governance.modelling.runtime import open_session
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4
model = open(sys.argv[1], 'rb').read()
row = {'features': np.zeros((1, int(sys.argv[2])), np.float32)}
held = [open_session(model)]
held[0].run(None, row)
gc.collect()
before = resident()
for _ in range(20):
    held.append(open_session(model))
    held[-1].run(None, row)
print((resident() - before) / 20)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figure of a process's memory")
@pytest.mark.parametrize("kind", ["trees", "network"])
def test_the_memory_estimate_is_an_upper_bound_and_not_absurd(kind: str, tmp_path: Path) -> None:
    data = turbine()
    rows, nox = data.rows[:6000], data.nox[:6000]
    if kind == "trees":
        params = SoftSensorParams(max_iter=100)
        model = soft_sensor.train(rows, nox, held_out_rows=rows, held_out_target=nox, params=params).onnx
    else:
        params = AutoencoderParams(hidden=(256, 32, 256), max_iter=1)
        model = autoencoder.train(rows, healthy_rows=rows, channels=9, params=params).onnx
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), "9"], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    measured = float(done.stdout)
    assert measured <= estimate_memory(model).total_kb <= 6 * measured + 512


def test_latency_is_measured_for_one_row() -> None:
    rows = turbine().rows[:200]
    model = autoencoder.train(
        rows, healthy_rows=rows, channels=9, params=AutoencoderParams(hidden=(4,), max_iter=1)
    ).onnx
    found = measure_latency(model, rows[0], repeats=20, warm_up=1)
    assert 0 < found.p50_us <= found.p99_us
    assert found.as_dict()["threads"] == 1
    with pytest.raises(ValueError, match="repeats"):
        measure_latency(model, rows[0], repeats=0)


def test_rows_of_another_width_are_refused_before_the_runtime_sees_them() -> None:
    rows = turbine().rows[:200]
    model = autoencoder.train(
        rows, healthy_rows=rows, channels=9, params=AutoencoderParams(hidden=(4,), max_iter=1)
    ).onnx
    with pytest.raises(ValueError, match="must have 9 columns"):
        run(model, np.zeros((1, 8)))
