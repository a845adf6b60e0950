"""One model version in ONNX Runtime: trusted, loaded, checked on this machine, and asked about rows."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from edge_bridge import wire

ORT_ERRORS = (
    ort.EPFail,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
    RuntimeError,
    ValueError,
)
LATENCIES = 256
NAMED_ROWS = 50


class ModelRefused(Exception):
    """This model version must not run here. `code` is from the table of error codes in the protocol page."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class CallFailed(Exception):
    """ONNX Runtime failed while computing."""


@dataclass(frozen=True)
class Answer:
    """Of n rows: `values` float64[n], NaN where there is none; rows refused (count, and the first 50 named), rows still
    warming up a window."""

    values: NDArray[np.float64]
    refused: int
    warming: int
    named: list[wire.RefusedRow] = field(default_factory=list)


def check_signature(installation: wire.Installation, keys: dict[str, bytes]) -> None:
    """ModelRefused `signing_key_unknown` or `signature_invalid` unless a pinned key signed exactly this manifest."""
    raw = keys.get(installation.signature.key)
    if raw is None:
        raise ModelRefused("signing_key_unknown", f"key {installation.signature.key} was not pinned at enrolment")
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(
            installation.signature.value, wire.manifest_bytes(installation.manifest)
        )
    except (InvalidSignature, ValueError, wire.WireError) as error:
        version = installation.manifest.model_version
        raise ModelRefused("signature_invalid", f"the manifest of {version} is not what was signed") from error


def check_file(path: Path, manifest: wire.Manifest) -> None:
    """ModelRefused `artefact_size` or `artefact_hash` unless the file is the very one of the manifest."""
    size = path.stat().st_size
    if size != manifest.size:
        raise ModelRefused("artefact_size", f"{size} bytes instead of {manifest.size}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != manifest.sha256:
        raise ModelRefused("artefact_hash", f"SHA-256 {found} instead of {manifest.sha256}")


class Model:
    """A loaded model version. Raises ModelRefused `model_invalid` or `golden_mismatch`."""

    def __init__(self, path: Path, manifest: wire.Manifest) -> None:
        self.manifest = manifest
        self.latencies: deque[float] = deque(maxlen=LATENCIES)
        k = len(manifest.features)
        if len(manifest.mean) not in (0, k) or len(manifest.scale) not in (0, k) or 0.0 in manifest.scale:
            raise ModelRefused("model_invalid", "mean and scale need one number per feature, and no scale of 0")
        self._mean = np.tile(np.array(manifest.mean or [0.0] * k), manifest.window)
        self._scale = np.tile(np.array(manifest.scale or [1.0] * k), manifest.window)
        bounds = [manifest.limits.get(name, (-np.inf, np.inf)) for name in manifest.features]
        self._low = np.array([low for low, _ in bounds])
        self._high = np.array([high for _, high in bounds])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise ModelRefused("model_invalid", f"ONNX Runtime refuses it: {error}"[:1000]) from error
        self._input = self._check_shape(k * manifest.window)
        self._check_golden()
        self.latencies.clear()

    def _check_shape(self, width: int) -> str:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            raise ModelRefused("model_invalid", "one float32 input is expected")
        shape = inputs[0].shape
        if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != width) or shape[0] == 0:
            raise ModelRefused("model_invalid", f"the input has shape {shape}, the manifest says [rows, {width}]")
        if isinstance(shape[0], int):
            raise ModelRefused("model_invalid", "the number of rows must be free")
        return inputs[0].name

    def _check_golden(self) -> None:
        width = self._mean.size
        golden = self.manifest.golden
        inputs = np.array(golden.inputs if golden else [self._mean.tolist()], dtype=np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise ModelRefused("model_invalid", f"golden rows need {width} numbers each")
        try:
            found = self._compute(inputs)
        except CallFailed as error:
            raise ModelRefused("model_invalid", f"a first call failed: {error}"[:1000]) from error
        if golden is None:
            return
        if len(golden.outputs) != len(found):
            raise ModelRefused("model_invalid", "golden rows and outputs differ in number")
        off = float(np.max(np.abs(found - np.array(golden.outputs)), initial=0.0))
        if not off <= golden.tolerance:
            raise ModelRefused(
                "golden_mismatch", f"off by {off:.6g} on this machine, {golden.tolerance:.6g} is allowed"
            )

    def _compute(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n, window x features] -> float64[n]."""
        fed = ((rows - self._mean) / self._scale).astype(np.float32)
        began = time.perf_counter_ns()
        try:
            output = np.asarray(self._session.run(None, {self._input: fed})[0])
        except ORT_ERRORS as error:
            raise CallFailed(str(error)[:1000]) from error
        self.latencies.append((time.perf_counter_ns() - began) / 1000)
        if self.manifest.task == "reconstruction":
            if output.shape != fed.shape:
                raise CallFailed(f"a reconstruction of shape {output.shape} for an input of {fed.shape}")
            difference = output.astype(np.float64) - fed
            return np.mean(difference * difference, axis=1)
        flat = output.reshape(-1)
        if flat.shape[0] != rows.shape[0] or flat.dtype.kind not in "fiub":
            raise CallFailed(f"an output of shape {output.shape} and type {output.dtype} for {rows.shape[0]} rows")
        return flat.astype(np.float64)

    def ask(self, first: int, fresh: NDArray[np.float64], before: NDArray[np.float64]) -> Answer:
        """Predict `fresh` float64[n, features], rows `first`...; `before` float64[m, features] are the rows just before
        them (only used with a window). Rows that must not be asked about are refused. Raises CallFailed."""
        n = len(fresh)
        window = self.manifest.window
        history = before[max(0, len(before) - (window - 1)) :] if window > 1 else fresh[:0]
        rows = np.vstack([history, fresh])
        good = np.isfinite(rows) & (rows >= self._low) & (rows <= self._high)
        fine = good.all(axis=1)
        values = np.full(n, np.nan)
        warming = max(0, min(n, window - 1 - len(history)))
        usable = np.zeros(n, dtype=bool)
        if len(rows) >= window:
            usable[warming:] = np.lib.stride_tricks.sliding_window_view(fine, window).all(axis=1)
            chosen = np.flatnonzero(usable)
            if chosen.size:
                views = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0)[chosen - warming]
                values[chosen] = self._compute(views.transpose(0, 2, 1).reshape(chosen.size, -1))
        odd = np.flatnonzero(~usable[warming:]) + warming
        named = [self._name(first, fresh, good[len(history) :], int(i)) for i in odd[:NAMED_ROWS]]
        unnatural = usable & ~np.isfinite(values)
        named += [wire.RefusedRow(row=first + int(i), reason="failed") for i in np.flatnonzero(unnatural)]
        values[unnatural] = np.nan
        return Answer(values, int(odd.size + unnatural.sum()), warming, named[:NAMED_ROWS])

    def _name(self, first: int, fresh: NDArray[np.float64], good: NDArray[np.bool_], row: int) -> wire.RefusedRow:
        bad = np.flatnonzero(~good[row])
        if not bad.size:  # an earlier row of its window
            return wire.RefusedRow(row=first + row, reason="missing")
        column = int(bad[0])
        value = float(fresh[row, column])
        reason: Literal["missing", "low", "high"] = (
            "missing" if not np.isfinite(value) else "low" if value < self._low[column] else "high"
        )
        return wire.RefusedRow(
            row=first + row,
            reason=reason,
            feature=self.manifest.features[column],
            value=value if np.isfinite(value) else None,
        )

    def latency(self) -> tuple[float, float, int]:
        """p50 and p99 of the last calls in wall microseconds, and how many calls these are."""
        if not self.latencies:
            return 0.0, 0.0, 0
        p50, p99 = np.percentile(self.latencies, [50, 99])
        return round(float(p50), 1), round(float(p99), 1), len(self.latencies)
