"""A model version as it leaves the workshop: file, figures, manifest, signature and the check against a device.

Two documents are signed with Ed25519, each under its own mark so that one can never pass for the other:

* the *manifest*: what a gateway must know to run the file and to prove it runs the right one (`docs/edge-protocol.md`);
* the *record*: everything else known about the version (metrics, quantisation, memory, latency, origin of the data).

Both are canonical JSON: UTF-8, keys sorted, no spaces, every field present, numbers finite.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from numpy.typing import ArrayLike

from governance.modelling.arrays import as_rows
from governance.modelling.detector import Detector
from governance.modelling.metrics import DetectionMetrics
from governance.modelling.quantise import INT8, QuantisationReport
from governance.modelling.runtime import Latency, MemoryEstimate, estimate_memory, measure_latency, run
from governance.modelling.soft_sensor import KIND as SOFT_SENSOR
from governance.modelling.soft_sensor import SoftSensor

RECORD_SCHEMA = "phasegate-model-record/1"
MANIFEST_MARK = b"phasegate-manifest-v1\n"
RECORD_MARK = b"phasegate-model-record-v1\n"
FRAMEWORKS = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Feature:
    """One input channel: name and unit, and the plausible range outside which a row is refused (None: any)."""

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlantTime:
    """Plant time of the training rows, in milliseconds since 1970-01-01T00:00Z: first and last row."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError("plant time must not end before it starts")


@dataclass(frozen=True)
class Budget:
    """What a device grants one model: kilobytes (1024 bytes) beside the runtime itself, and milliseconds per row."""

    memory_kb: int
    latency_ms: float


@dataclass(frozen=True)
class Golden:
    """Raw rows and the first output expected for them, to be met within `tolerance` on the device itself."""

    inputs: tuple[tuple[float, ...], ...]
    outputs: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True)
class ModelPackage:
    """A model version ready to be registered, signed and installed. See `from_soft_sensor` and `from_detector`."""

    onnx: bytes
    kind: str
    task: str
    precision: str
    features: tuple[Feature, ...]
    output: str
    unit: str
    window: int
    threshold: float | None
    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    quantisation: QuantisationReport
    memory: MemoryEstimate
    latency: Latency
    golden: Golden
    training_fingerprint: str
    training_rows: int
    plant_time: PlantTime
    frameworks: Mapping[str, str] = field(default_factory=lambda: framework_versions())
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.onnx).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.onnx)

    def manifest(self, *, model: str, model_version: str) -> dict[str, Any]:
        """The manifest a gateway gets. `mean` and `scale` are empty: the graph standardises by itself."""
        limits = {
            item.name: (
                -math.inf if item.low is None else float(item.low),
                math.inf if item.high is None else float(item.high),
            )
            for item in self.features
            if item.low is not None or item.high is not None
        }
        finite = np.finfo(np.float64)
        return {
            "model": model,
            "model_version": model_version,
            "sha256": self.sha256,
            "size": self.size,
            "task": self.task,
            "features": [item.name for item in self.features],
            "output": self.output,
            "unit": self.unit,
            "window": self.window,
            "mean": [],
            "scale": [],
            # An open side is written as the largest number there is, because JSON knows no infinity.
            "limits": {
                name: [max(low, float(finite.min)), min(high, float(finite.max))]
                for name, (low, high) in limits.items()
            },
            "threshold": None if self.threshold is None else float(self.threshold),
            "golden": {
                "inputs": [list(row) for row in self.golden.inputs],
                "outputs": list(self.golden.outputs),
                "tolerance": self.golden.tolerance,
            },
        }

    def record(self, *, model: str, model_version: str) -> dict[str, Any]:
        """Everything known about the version, the manifest included."""
        return {
            "schema": RECORD_SCHEMA,
            "manifest": self.manifest(model=model, model_version=model_version),
            "kind": self.kind,
            "precision": self.precision,
            "features": [{"name": f.name, "unit": f.unit, "low": f.low, "high": f.high} for f in self.features],
            "frameworks": dict(self.frameworks),
            "metrics": dict(self.metrics),
            "params": dict(self.params),
            "quantisation": self.quantisation.as_dict(),
            "memory": self.memory.as_dict(),
            "latency": self.latency.as_dict(),
            "training": {
                "fingerprint": self.training_fingerprint,
                "rows": self.training_rows,
                "plant_time_start_ms": self.plant_time.start_ms,
                "plant_time_end_ms": self.plant_time.end_ms,
            },
            "seconds": dict(self.seconds),
        }

    def over_budget(self, budget: Budget) -> list[str]:
        """Why the model does not fit the device: an empty list when it does."""
        return budget_reasons(self.memory, self.latency, budget)


def from_soft_sensor(
    sensor: SoftSensor,
    *,
    features: Sequence[Feature],
    target: str,
    unit: str,
    plant_time: PlantTime,
    sample_rows: ArrayLike,
) -> ModelPackage:
    """Package a soft sensor; `sample_rows` (n, features) give the golden rows and the row whose latency is measured."""
    metrics = {key: float(value) for key, value in sensor.metrics.as_dict().items()}
    return assemble(
        sensor.onnx,
        kind=SOFT_SENSOR,
        task="regression",
        precision="fp32",
        features=features,
        output=target,
        unit=unit,
        window=1,
        threshold=None,
        metrics=metrics | {"parity_max_abs": sensor.parity.max_abs},
        params=sensor.params.as_dict(),
        quantisation=sensor.quantisation,
        training_fingerprint=sensor.training_fingerprint,
        training_rows=sensor.training_rows,
        plant_time=plant_time,
        sample_rows=sample_rows,
        seconds=sensor.seconds,
    )


def from_detector(
    detector: Detector,
    *,
    features: Sequence[Feature],
    plant_time: PlantTime,
    sample_rows: ArrayLike,
    quantisation: QuantisationReport,
    judged: DetectionMetrics | None = None,
    output: str = "anomaly score",
) -> ModelPackage:
    """Package a detector; `sample_rows` are flat windows. Raises ValueError when the features do not fit its channels."""
    if len(features) != detector.channels:
        raise ValueError(f"the detector reads {detector.channels} channels, got {len(features)} features")
    metrics: dict[str, float] = {"threshold": detector.threshold, "threshold_quantile": detector.threshold_quantile}
    if judged is not None:
        metrics |= {key: float(value) for key, value in judged.as_dict().items()}
    return assemble(
        detector.onnx,
        kind=detector.kind,
        task="score",
        precision=detector.precision,
        features=features,
        output=output,
        unit="",
        window=detector.spec.window,
        threshold=detector.threshold,
        metrics=metrics,
        params={**detector.params, "spans": list(detector.spec.spans)},
        quantisation=quantisation,
        training_fingerprint=detector.training_fingerprint,
        training_rows=detector.training_rows,
        plant_time=plant_time,
        sample_rows=sample_rows,
        seconds=detector.seconds,
    )


def golden_rows(model: bytes, rows: ArrayLike, *, precision: str, threshold: float | None, count: int = 4) -> Golden:
    """`count` rows spread over `rows`, with the first output of the model here.

    float32 differs between CPUs by the order of its sums: 1e-5 of the largest output, at least 1e-4. An INT8 kernel may
    round one step apart as well: 2 % of the largest output or of the threshold.
    """
    array = as_rows(rows)
    chosen = array[np.unique(np.linspace(0, len(array) - 1, count).astype(int))]
    outputs = next(iter(run(model, chosen).values())).ravel()
    largest = float(max(np.abs(outputs).max(), abs(threshold or 0.0)))
    return Golden(
        inputs=tuple(tuple(float(value) for value in row) for row in chosen),
        outputs=tuple(float(value) for value in outputs),
        tolerance=max(1e-4, (0.02 if precision == INT8 else 1e-5) * largest),
    )


def budget_reasons(memory: MemoryEstimate, latency: Latency, budget: Budget) -> list[str]:
    """Compare the estimate and the measured p99 with what the device grants."""
    reasons = []
    if memory.total_kb > budget.memory_kb:
        reasons.append(f"needs about {memory.total_kb} KB of memory, the device grants {budget.memory_kb} KB")
    spent = latency.p99_us / 1000
    if spent > budget.latency_ms:
        reasons.append(f"takes {spent:.3f} ms for a row (p99), the device grants {budget.latency_ms:g} ms")
    return reasons


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest that are signed; equal to what the gateway computes from the manifest it received."""
    return MANIFEST_MARK + canonical_json(manifest)


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record that are signed."""
    return RECORD_MARK + canonical_json(record)


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces and shortest floats; raises ValueError for a number that is not finite."""
    _refuse_infinite(document, "")
    return msgspec.json.encode(document, order="sorted")


def sign(document: bytes, private_key: bytes) -> bytes:
    """Ed25519 signature (64 bytes) of `manifest_bytes` or `record_bytes` by a raw private key (32 bytes)."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(document)


def verify(document: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether `signature` over `document` was made by the owner of a raw public key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, document)
    except InvalidSignature:
        return False
    return True


def framework_versions() -> dict[str, str]:
    """Versions of what trained, exported and ran the model."""
    return {name: version(name) for name in FRAMEWORKS}


def assemble(model: bytes, *, sample_rows: ArrayLike, features: Sequence[Feature], **values: Any) -> ModelPackage:
    names = [feature.name for feature in features]
    if len(set(names)) != len(names):
        raise ValueError("feature names must differ")
    rows = as_rows(sample_rows, columns=len(names) * values["window"], name="sample_rows")
    return ModelPackage(
        onnx=model,
        features=tuple(features),
        memory=estimate_memory(model),
        latency=measure_latency(model, rows[0]),
        golden=golden_rows(model, rows, precision=values["precision"], threshold=values["threshold"]),
        **values,
    )


def _refuse_infinite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path or 'the document'} is not a finite number")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_infinite(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_infinite(item, f"{path}[{index}]")
