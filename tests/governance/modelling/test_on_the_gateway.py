"""From training to the gateway's own code: signed here, trusted, loaded, checked and asked there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_bridge import wire
from edge_bridge.agent.model import Model, ModelRefused, check_file, check_signature
from governance.modelling import autoencoder, package
from governance.modelling.arrays import sliding_windows
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.graph import WindowSpec
from governance.modelling.package import Feature, PlantTime
from governance.modelling.quantise import QuantisationParams, quantise
from tests.governance.modelling.data import machine

SPEC = WindowSpec(24, (6, 24))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return machine().values[:1500, None]


@pytest.fixture(scope="module")
def installed(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    rows = sliding_windows(values, SPEC.window)
    params = AutoencoderParams(hidden=(16, 3, 16), max_iter=10)
    detector = autoencoder.train(rows, healthy_rows=rows, channels=1, spec=SPEC, params=params)
    small, report = quantise(
        detector,
        calibration_rows=rows,
        healthy_rows=rows,
        judged_rows=rows,
        params=QuantisationParams(latency_repeats=10),
    )
    made = package.from_detector(
        small,
        features=[Feature("temperature", "degF", low=0.0, high=150.0)],
        plant_time=PlantTime(0, 1),
        sample_rows=rows,
        quantisation=report,
    )
    path = tmp_path_factory.mktemp("gateway") / "model.onnx"
    path.write_bytes(made.onnx)
    manifest = made.manifest(model="workshop", model_version="1")
    return small, manifest, path


def installation(manifest: dict, signature: bytes) -> wire.Installation:
    return wire.Installation(
        id="i1",
        source="s1",
        manifest=msgspec.convert(manifest, wire.Manifest),
        signature=wire.Signature(key="k1", value=signature),
        url="/edge/v1/artefacts/x",
    )


def test_the_gateway_trusts_loads_and_scores_it_alike(installed: tuple, values: np.ndarray) -> None:
    detector, manifest, path = installed
    key = Ed25519PrivateKey.generate()
    signature = package.sign(package.manifest_bytes(manifest), key.private_bytes_raw())
    wanted = wire.decode(wire.encode(installation(manifest, signature)), wire.Installation)
    check_signature(wanted, {"k1": key.public_key().public_bytes_raw()})
    check_file(path, wanted.manifest)
    model = Model(path, wanted.manifest)
    answer = model.ask(0, values[:200].astype(np.float64), np.empty((0, 1)))
    assert answer.warming == SPEC.window - 1
    assert answer.refused == 0
    expected = detector.score(sliding_windows(values[:200], SPEC.window))
    np.testing.assert_allclose(answer.values[SPEC.window - 1 :], expected, rtol=1e-5)
    assert wanted.manifest.threshold == detector.threshold


def test_the_gateway_refuses_a_manifest_that_was_changed_after_signing(installed: tuple) -> None:
    _, manifest, _ = installed
    key = Ed25519PrivateKey.generate()
    signature = package.sign(package.manifest_bytes(manifest), key.private_bytes_raw())
    changed = installation(manifest | {"threshold": 1e9}, signature)
    with pytest.raises(ModelRefused, match="signature_invalid"):
        check_signature(changed, {"k1": key.public_key().public_bytes_raw()})


def test_the_gateway_refuses_another_file(installed: tuple, tmp_path: Path) -> None:
    _, manifest, path = installed
    wanted = msgspec.convert(manifest, wire.Manifest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = tmp_path / "other.onnx"
    other.write_bytes(content)
    with pytest.raises(ModelRefused, match="artefact_hash"):
        check_file(other, wanted)
