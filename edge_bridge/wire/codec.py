"""Encoding, limits and canonical bytes of the wire."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from edge_bridge.wire.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ENVELOPES,
    MAX_ENVELOPE_BYTES,
    MAX_STATE_BYTES,
    TOPIC_PREFIX,
    VERSION,
    Body,
    Envelope,
    Inference,
    Labels,
    Manifest,
    Message,
    PlantTimes,
    Telemetry,
    WireError,
)

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_MANIFEST_MARK = b"phasegate-manifest-v1\n"


class _Version(Struct):
    v: int = VERSION


def encode(message: Message) -> bytes:
    """msgpack bytes of any message of this module."""
    return _encoder.encode(message)


def decode(data: bytes, kind: type[T], *, limit: int = MAX_STATE_BYTES) -> T:
    """The message of type `kind` in `data`; WireError `too_large`, `malformed` or `invalid` otherwise."""
    if len(data) > limit:
        raise WireError("too_large", f"{len(data)} bytes, at most {limit} are taken")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise WireError("invalid", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WireError("malformed", str(error)) from None


def seal(gateway: str, stream: str, sequence: int, body: Body, wall_ms: int) -> bytes:
    """Bytes of the envelope around `body`; WireError `too_large` above MAX_ENVELOPE_BYTES."""
    payload = _encoder.encode(body)
    data = _encoder.encode(
        Envelope(
            v=VERSION,
            gateway=gateway,
            stream=stream,
            sequence=sequence,
            wall_ms=wall_ms,
            digest=hashlib.sha256(payload).digest(),
            body=payload,
        )
    )
    if len(data) > MAX_ENVELOPE_BYTES:
        raise WireError("too_large", f"an envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} are taken")
    return data


def open_envelope(data: bytes) -> Envelope:
    """The envelope in `data`, its version and digest checked; the body is still bytes (see `open_body`). WireError
    else."""
    try:
        envelope = decode(data, Envelope, limit=MAX_ENVELOPE_BYTES)
    except WireError as error:
        if error.code == "invalid" and decode(data, _Version, limit=MAX_ENVELOPE_BYTES).v != VERSION:
            raise WireError("unsupported_version", f"this side speaks version {VERSION}") from None
        raise
    if envelope.v != VERSION:
        raise WireError("unsupported_version", f"version {envelope.v}, this side speaks {VERSION}")
    if hashlib.sha256(envelope.body).digest() != envelope.digest:
        raise WireError("digest_mismatch", f"{envelope.stream} {envelope.sequence}: the body is not what was sent")
    return envelope


def open_body(envelope: Envelope) -> Body:
    """The body of an envelope, with every array as long as its row count says; WireError else."""
    body: Body = decode(envelope.body, Body, limit=MAX_ENVELOPE_BYTES)  # type: ignore[arg-type]
    if isinstance(body, Telemetry):
        _check_times(body.times, body.rows)
        for name, data in body.columns.items():
            _check_length(name, data, body.rows * 8)
        for name, data in body.quality.items():
            if name not in body.columns:
                raise WireError("invalid", f"quality of {name}, which is not a column")
            _check_length(f"quality of {name}", data, body.rows)
    elif isinstance(body, Inference):
        _check_times(body.times, body.rows)
        _check_length("predictions", body.predictions, body.rows * 8)
    elif isinstance(body, Labels):
        for name in ("row", "plant_ms", "values"):
            _check_length(name, getattr(body, name), body.rows * 8)
    return body


def seal_batch(envelopes: Sequence[bytes]) -> bytes:
    """Body of `POST messages`: a msgpack array of envelopes, each as binary."""
    return _encoder.encode(list(envelopes))


def open_batch(data: bytes) -> list[bytes]:
    """The envelopes of `POST messages`, still closed; WireError if too many, too large, or not an array of binaries."""
    envelopes = decode(data, list[bytes], limit=MAX_BATCH_BYTES)
    if len(envelopes) > MAX_BATCH_ENVELOPES:
        raise WireError("too_large", f"{len(envelopes)} envelopes, at most {MAX_BATCH_ENVELOPES} are taken")
    return envelopes


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes that are signed: a mark and the manifest as JSON, keys sorted, no spaces, every field present.

    Raises WireError `invalid` if a number is not finite (JSON has no such number)."""
    numbers = [*manifest.mean, *manifest.scale, *(x for pair in manifest.limits.values() for x in pair)]
    if manifest.threshold is not None:
        numbers.append(manifest.threshold)
    if manifest.golden is not None:
        numbers += [x for row in manifest.golden.inputs for x in row] + manifest.golden.outputs
        numbers.append(manifest.golden.tolerance)
    if not all(math.isfinite(x) for x in numbers):
        raise WireError("invalid", "a manifest holds finite numbers only")
    # Numbers that are whole are floats in the struct whoever built it, so both sides write 1.0 and never 1.
    plain = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    return _MANIFEST_MARK + msgspec.json.encode(plain, order="sorted")


# ---- arrays ----------------------------------------------------------------------------------------------------------


def pack_floats(values: ArrayLike) -> bytes:
    """float64[n] -> 8n bytes."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def pack_ints(values: ArrayLike) -> bytes:
    """int64[n] -> 8n bytes."""
    return np.ascontiguousarray(values, dtype="<i8").tobytes()


def floats(data: bytes) -> NDArray[np.float64]:
    """8n bytes -> float64[n], read-only view."""
    _check_length("float64 array", data, len(data) // 8 * 8)
    return np.frombuffer(data, dtype="<f8")


def ints(data: bytes) -> NDArray[np.int64]:
    """8n bytes -> int64[n], read-only view."""
    _check_length("int64 array", data, len(data) // 8 * 8)
    return np.frombuffer(data, dtype="<i8")


def pack_times(plant_ms: NDArray[np.int64]) -> PlantTimes:
    """int64[n] ms, n >= 1 -> start and step where the steps are equal and fit the message, else each one."""
    steps = np.diff(plant_ms)
    if steps.size == 0 or (abs(int(steps[0])) <= 2**53 and bool((steps == steps[0]).all())):
        return PlantTimes(start=int(plant_ms[0]), step=int(steps[0]) if steps.size else 0)
    return PlantTimes(start=int(plant_ms[0]), each=pack_ints(plant_ms))


def times(packed: PlantTimes, rows: int) -> NDArray[np.int64]:
    """Plant time of each row, int64[rows] ms."""
    _check_times(packed, rows)
    if packed.each is not None:
        return ints(packed.each)
    return packed.start + packed.step * np.arange(rows, dtype=np.int64)


def topic(site: str, gateway: str, leaf: Literal["up", "ack", "desired", "reported"]) -> str:
    """MQTT topic of a gateway."""
    return f"{TOPIC_PREFIX}/{site}/{gateway}/{leaf}"


def _check_times(packed: PlantTimes, rows: int) -> None:
    if packed.each is not None:
        _check_length("plant times", packed.each, rows * 8)


def _check_length(name: str, data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise WireError("bad_length", f"{name}: {len(data)} bytes instead of {expected}")
