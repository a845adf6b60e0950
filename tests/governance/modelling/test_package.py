"""Packages: manifest equal to the wire's, signatures, budget, fingerprint."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_bridge import wire
from governance.modelling import autoencoder, package, soft_sensor
from governance.modelling.arrays import fingerprint
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.graph import WindowSpec
from governance.modelling.package import Budget, Feature, ModelPackage, PlantTime
from governance.modelling.quantise import QuantisationParams, not_applicable, quantise
from governance.modelling.runtime import Latency, MemoryEstimate, run
from governance.modelling.soft_sensor import SoftSensorParams
from tests.governance.modelling.data import TURBINE_INPUTS, turbine

FEATURES = tuple(Feature(name, "u", low=-1e4 if name == "AT" else None, high=1e4) for name in TURBINE_INPUTS)
TIME = PlantTime(1_293_840_000_000, 1_294_000_000_000)


@pytest.fixture(scope="module")
def nox() -> ModelPackage:
    data = turbine()
    sensor = soft_sensor.train(
        data.rows[:1000],
        data.nox[:1000],
        held_out_rows=data.rows[1000:1500],
        held_out_target=data.nox[1000:1500],
        params=SoftSensorParams(max_iter=20),
    )
    return package.from_soft_sensor(
        sensor, features=FEATURES, target="NOX", unit="mg/m3", plant_time=TIME, sample_rows=data.rows[1000:1100]
    )


@pytest.fixture(scope="module")
def anomaly() -> ModelPackage:
    rows = np.lib.stride_tricks.sliding_window_view(turbine().rows[:400, 0], 4)
    spec = WindowSpec(4, (2, 4))
    params = AutoencoderParams(hidden=(8, 2, 8), max_iter=5)
    detector = autoencoder.train(rows, healthy_rows=rows, channels=1, spec=spec, params=params)
    small, report = quantise(
        detector,
        calibration_rows=rows,
        healthy_rows=rows,
        judged_rows=rows,
        params=QuantisationParams(latency_repeats=20),
    )
    return package.from_detector(
        small, features=[Feature("AT", "degC")], plant_time=TIME, sample_rows=rows, quantisation=report
    )


def wired(item: ModelPackage) -> tuple[dict, wire.Manifest]:
    manifest = item.manifest(model="NOx", model_version="7")
    return manifest, msgspec.convert(manifest, wire.Manifest)


@pytest.mark.parametrize("name", ["nox", "anomaly"])
def test_a_gateway_computes_the_same_bytes_from_the_manifest_it_got(name: str, request: pytest.FixtureRequest) -> None:
    manifest, received = wired(request.getfixturevalue(name))
    assert set(manifest) == set(wire.Manifest.__struct_fields__)
    assert package.manifest_bytes(manifest) == wire.manifest_bytes(received)
    again = wire.decode(wire.encode(received), wire.Manifest)
    assert package.manifest_bytes(manifest) == wire.manifest_bytes(again)


def test_the_manifest_says_what_a_gateway_needs(nox: ModelPackage, anomaly: ModelPackage) -> None:
    sensor, detector = wired(nox)[0], wired(anomaly)[0]
    assert (sensor["task"], sensor["window"], sensor["threshold"]) == ("regression", 1, None)
    assert sensor["features"] == list(TURBINE_INPUTS)
    assert (sensor["output"], sensor["unit"], sensor["size"]) == ("NOX", "mg/m3", len(nox.onnx))
    assert sensor["limits"]["AT"] == [-1e4, 1e4]
    assert sensor["limits"]["AP"][0] < -1e300
    assert (detector["task"], detector["window"], detector["threshold"]) == ("score", 4, anomaly.threshold)
    assert detector["limits"] == {}


@pytest.mark.parametrize("name", ["nox", "anomaly"])
def test_golden_rows_are_met_by_the_first_output(name: str, request: pytest.FixtureRequest) -> None:
    item: ModelPackage = request.getfixturevalue(name)
    first = next(iter(run(item.onnx, item.golden.inputs).values())).ravel()
    assert np.abs(first - item.golden.outputs).max() <= item.golden.tolerance


def test_a_signature_holds_for_these_bytes_this_key_and_this_kind_of_document(nox: ModelPackage) -> None:
    key = Ed25519PrivateKey.generate()
    private, public = key.private_bytes_raw(), key.public_key().public_bytes_raw()
    manifest = nox.manifest(model="NOx", model_version="7")
    signature = package.sign(package.manifest_bytes(manifest), private)
    assert len(signature) == 64
    assert package.verify(package.manifest_bytes(manifest), signature, public)
    assert not package.verify(package.manifest_bytes(manifest | {"size": 1}), signature, public)
    assert not package.verify(package.record_bytes(manifest), signature, public)
    assert not package.verify(package.manifest_bytes(manifest), bytes(64), public)
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert not package.verify(package.manifest_bytes(manifest), signature, stranger)


def test_the_record_holds_everything_and_reads_back(anomaly: ModelPackage) -> None:
    record = anomaly.record(model="Anomaly", model_version="3")
    data = package.record_bytes(record)
    read = json.loads(data.removeprefix(package.RECORD_MARK))
    assert read["manifest"]["sha256"] == anomaly.sha256
    assert read["quantisation"]["status"] == "int8"
    assert read["quantisation"]["accuracy"]["rows"] == 397
    assert read["training"]["plant_time_start_ms"] == TIME.start_ms
    assert set(read["frameworks"]) == {"scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy"}
    assert read["memory"]["total_kb"] > 0
    assert read["latency"]["p50_us"] > 0
    assert package.record_bytes(record | {"kind": record["kind"]}) == data


def test_canonical_json_sorts_keeps_utf8_and_refuses_infinity() -> None:
    assert package.canonical_json({"b": 1.0, "a": {"z": "µ", "y": None}}) == '{"a":{"y":null,"z":"µ"},"b":1.0}'.encode()
    with pytest.raises(ValueError, match=r"a\.b\[1\]"):
        package.canonical_json({"a": {"b": [1.0, float("nan")]}})


@given(st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)))
def test_canonical_json_does_not_depend_on_the_order_of_keys(document: dict) -> None:
    turned = dict(reversed(document.items()))
    assert package.canonical_json(document) == package.canonical_json(turned)
    assert json.loads(package.canonical_json(document)) == document


def test_a_device_that_is_too_small_or_too_slow_gets_reasons() -> None:
    memory = MemoryEstimate(file_bytes=10_000, parameter_bytes=10_000, activation_bytes=1)
    latency = Latency(p50_us=400, p99_us=900, repeats=10)
    assert memory.total_kb == 256 + 20
    assert package.budget_reasons(memory, latency, Budget(memory_kb=276, latency_ms=1)) == []
    reasons = package.budget_reasons(memory, latency, Budget(memory_kb=275, latency_ms=0.5))
    assert ["276 KB" in reasons[0], "0.900 ms" in reasons[1], len(reasons)] == [True, True, 2]


def test_a_package_checks_its_own_budget(nox: ModelPackage) -> None:
    assert nox.over_budget(Budget(memory_kb=512 * 1024, latency_ms=1000)) == []
    slow = replace(nox, latency=Latency(p50_us=1, p99_us=1e6, repeats=1))
    assert len(slow.over_budget(Budget(memory_kb=1, latency_ms=1))) == 2


def test_features_that_do_not_fit_are_refused(nox: ModelPackage) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    detector = autoencoder.train(rows, healthy_rows=rows, channels=2, params=AutoencoderParams(hidden=(2,), max_iter=2))
    report = not_applicable("test", fp32_bytes=1)
    with pytest.raises(ValueError, match="reads 2 channels"):
        package.from_detector(detector, features=[Feature("a")], plant_time=TIME, sample_rows=rows, quantisation=report)
    with pytest.raises(ValueError, match="must differ"):
        package.from_detector(
            detector, features=[Feature("a")] * 2, plant_time=TIME, sample_rows=rows, quantisation=report
        )
    with pytest.raises(ValueError, match="before it starts"):
        PlantTime(2, 1)


def test_the_fingerprint_is_that_of_the_training_rows(nox: ModelPackage) -> None:
    data = turbine()
    assert nox.training_fingerprint == fingerprint(data.rows[:1000], data.nox[:1000])
    assert nox.training_rows == 1000
