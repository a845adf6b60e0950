"""Scores rows in this process with the live version of a model: ONNX Runtime, one thread, sessions kept by the file's SHA-256.

A version runs only when its manifest carries our signature and names the very file. Nothing here touches quota or money.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from math import isfinite
from threading import Lock
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from governance import artefacts
from governance.models import Model, ModelVersion
from marketplace.contract import limits_of, live_version
from portal.core.errors import DomainError

#: What stands before a manifest when it is signed, so that no other signed document can pass for one. The training code has
#: the same mark (a test compares them); importing that here would bring the whole training stack into the web process.
MANIFEST_MARK: Final = b"phasegate-manifest-v1\n"
KEPT_SESSIONS: Final = 4
KEPT_TRUST: Final = 64


@dataclass(frozen=True)
class Runner:
    """A version ready to score: ``session`` is ONNX Runtime's, features in order, limits (None: open)."""

    session: Any
    version_id: Any
    number: int
    features: tuple[str, ...]
    limits: dict[str, tuple[float | None, float | None]]
    output: str
    unit: str


@dataclass(frozen=True)
class Judged:
    """``values`` (n accepted, k) in the model's order; ``reasons``: one a row, empty when it is accepted."""

    values: np.ndarray[Any, np.dtype[np.float32]]
    reasons: tuple[str, ...]

    @property
    def accepted(self) -> int:
        return len(self.values)


_sessions: OrderedDict[str, Any] = OrderedDict()
_trusted: OrderedDict[str, None] = OrderedDict()
_lock = Lock()


def forget() -> None:
    """Drop what is kept in memory (tests, a changed signing key)."""
    with _lock:
        _sessions.clear()
        _trusted.clear()


def unavailable(detail: str) -> DomainError:
    return DomainError("model_unavailable", detail, {"retry_after": 60}, status=503)


def runner_for(model: Model) -> Runner:
    """The live version of a model, its signature checked; DomainError 503 when there is none that may run."""
    version = live_version(model)
    if version is None:
        raise unavailable("No version of the model is live now. Nothing was billed.")
    _trust(version)
    manifest = json.loads(version.manifest)
    if int(manifest.get("window", 1) or 1) != 1:
        raise unavailable("The live version does not score single rows. Nothing was billed.")
    if set(manifest["features"]) != set(model.features):
        raise unavailable("The live version reads other inputs than the service promises. Nothing was billed.")
    return Runner(
        _session(version.sha256),
        version.pk,
        version.number,
        tuple(manifest["features"]),
        limits_of(manifest),
        manifest["output"],
        manifest["unit"],
    )


def _trust(version: ModelVersion) -> None:
    """Refuses a version that is not signed by us, or whose manifest names another file."""
    document = MANIFEST_MARK + version.manifest.encode()
    mark = hashlib.sha256(document + version.signature.encode() + version.sha256.encode()).hexdigest()
    if mark in _trusted:
        return
    manifest = json.loads(version.manifest)
    refused = unavailable("The live version is not signed as it must be, so it is not run. Nothing was billed.")
    if manifest.get("sha256") != version.sha256 or manifest.get("model_version") != str(version.pk):
        raise refused
    try:
        signature = base64.b64decode(version.signature, validate=True)
    except binascii.Error as error:
        raise refused from error
    for key in artefacts.public_keys().values():
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, document)
        except InvalidSignature:
            continue
        with _lock:
            _trusted[mark] = None
            while len(_trusted) > KEPT_TRUST:
                _trusted.popitem(last=False)
        return
    raise refused


def _session(sha256: str) -> Any:
    with _lock:
        found = _sessions.get(sha256)
        if found is not None:
            _sessions.move_to_end(sha256)
            return found
    try:
        made = _open(artefacts.load(sha256))
    except DomainError as error:
        raise unavailable(f"{error.message} Nothing was billed.") from error
    with _lock:
        _sessions[sha256] = made
        while len(_sessions) > KEPT_SESSIONS:
            _sessions.popitem(last=False)
    return made


def _open(data: bytes) -> Any:
    import onnxruntime as ort  # loaded with the first call: pages of a portal that sells nothing do not pay for it
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
    ) as error:
        raise unavailable("The model file cannot be opened. Nothing was billed.") from error


def judge(runner: Runner, rows: list[dict[str, Any]]) -> Judged:
    """Which rows the model may score. ``rows`` have every feature as a number or None (see ``doors.parse_rows``)."""
    reasons: list[str] = []
    accepted: list[list[float]] = []
    for row in rows:
        reason = ""
        for name in runner.features:
            value = row[name]
            low, high = runner.limits.get(name, (None, None))
            if value is None:
                reason = f"{name} has no value."
            elif (low is not None and value < low) or (high is not None and value > high):
                reason = f"{name} is {value:g}; the model is valid {_between(low, high)}."
            if reason:
                break
        reasons.append(reason)
        if not reason:
            accepted.append([row[name] for name in runner.features])
    values = np.asarray(accepted, dtype=np.float32).reshape(len(accepted), len(runner.features))
    return Judged(values, tuple(reasons))


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"up to {high:g}"
    return f"from {low:g}" if high is None else f"from {low:g} to {high:g}"


def predict(runner: Runner, values: np.ndarray[Any, Any]) -> list[float]:
    """One number a row; DomainError 503 when the model's answer is none."""
    if not len(values):
        return []
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    session = runner.session
    try:
        first = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: values})[0]
    except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
        raise unavailable("The model could not score these rows. Nothing was billed.") from error
    scores = [float(value) for value in np.asarray(first).ravel()]
    if len(scores) != len(values) or not all(isfinite(score) for score in scores):
        raise unavailable("The model gave no number for some of these rows. Nothing was billed.")
    return scores
