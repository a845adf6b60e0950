"""The wire types: what goes in comes out, and nothing bad comes in."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bridge import wire

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
INT64 = st.integers(-(2**53), 2**53)


@st.composite
def telemetry(draw: st.DrawFn) -> wire.Telemetry:
    rows = draw(st.integers(1, 20))
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    columns = {
        name: wire.pack_floats(draw(st.lists(st.floats(width=64), min_size=rows, max_size=rows))) for name in names
    }
    plant = np.array(draw(st.lists(INT64, min_size=rows, max_size=rows)), dtype=np.int64)
    return wire.Telemetry(
        source="s",
        schema=draw(st.integers(1, 9)),
        run=draw(st.integers(0, 2**32)),
        epoch=0,
        first_row=draw(st.integers(0, 2**40)),
        rows=rows,
        times=wire.pack_times(plant),
        columns=columns,
        quality={names[0]: bytes(rows)},
    )


@given(telemetry(), st.integers(1, 2**50))
def test_an_envelope_comes_back_as_it_went(body: wire.Telemetry, sequence: int) -> None:
    sealed = wire.seal("gw", "s/rows", sequence, body, 1)
    envelope = wire.open_envelope(sealed)
    assert envelope.key == ("gw", "s/rows", sequence)
    assert wire.open_body(envelope) == body


@given(st.lists(INT64, min_size=1, max_size=50))
def test_plant_times_come_back(stamps: list[int]) -> None:
    array = np.array(stamps, dtype=np.int64)
    assert wire.times(wire.pack_times(array), len(array)).tolist() == stamps


@given(telemetry(), st.data())
def test_a_damaged_envelope_is_one_wire_error(body: wire.Telemetry, data: st.DataObject) -> None:
    sealed = bytearray(wire.seal("gw", "s/rows", 1, body, 1))
    at = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        damaged = bytes(sealed[:at])
    else:
        sealed[at] ^= data.draw(st.integers(1, 255))
        damaged = bytes(sealed)
    code = ""
    try:
        envelope = wire.open_envelope(damaged)
        assert wire.open_body(envelope) == body, "only what the digest does not cover may have changed"
    except wire.WireError as error:
        code = error.code
    assert code in {"", "malformed", "invalid", "unsupported_version", "digest_mismatch", "too_large"}


@given(st.binary(max_size=300))
def test_noise_is_a_wire_error(noise: bytes) -> None:
    for open_it in (wire.open_envelope, wire.open_batch):
        try:
            open_it(noise)
        except wire.WireError:
            continue
        assert open_it is wire.open_batch


def _telemetry(**changes: object) -> wire.Telemetry:
    values = {
        "source": "s",
        "schema": 1,
        "run": 1,
        "epoch": 0,
        "first_row": 1,
        "rows": 2,
        "times": wire.PlantTimes(start=0, step=1),
        "columns": {"AT": wire.pack_floats([1, 2])},
        **changes,
    }
    return wire.Telemetry(**values)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rows": 3}, "bad_length"),
        ({"rows": 0}, "invalid"),
        ({"rows": wire.MAX_ROWS + 1}, "invalid"),
        ({"columns": {}}, "invalid"),
        ({"columns": {"AT": b"\0" * 15}}, "bad_length"),
        ({"quality": {"AT": b"\0"}}, "bad_length"),
        ({"quality": {"AP": b"\0\0"}}, "invalid"),
        ({"times": wire.PlantTimes(start=0, each=b"\0" * 8)}, "bad_length"),
        ({"source": "../etc"}, "invalid"),
        ({"schema": "one"}, "invalid"),
    ],
)
def test_bodies_are_checked(changes: dict[str, object], code: str) -> None:
    envelope = wire.open_envelope(wire.seal("gw", "s/rows", 1, _telemetry(**changes), 1))
    with pytest.raises(wire.WireError) as caught:
        wire.open_body(envelope)
    assert caught.value.code == code


def test_versions_sizes_and_digest() -> None:
    sealed = wire.seal("gw", "s/rows", 1, _telemetry(), 1)
    plain = msgspec.msgpack.decode(sealed)
    with pytest.raises(wire.WireError) as caught:
        wire.open_envelope(msgspec.msgpack.encode({**plain, "v": 2}))
    assert caught.value.code == "unsupported_version"
    with pytest.raises(wire.WireError) as caught:
        wire.open_envelope(msgspec.msgpack.encode({"v": 2, "other": "shape"}))
    assert caught.value.code == "unsupported_version"
    with pytest.raises(wire.WireError) as caught:
        wire.open_envelope(msgspec.msgpack.encode({**plain, "body": plain["body"] + b"x"}))
    assert caught.value.code == "digest_mismatch"
    assert wire.open_envelope(msgspec.msgpack.encode({**plain, "later_field": 1})).sequence == 1
    with pytest.raises(wire.WireError) as caught:
        wire.seal("gw", "s/rows", 1, _telemetry(columns={"AT": b"\0" * wire.MAX_ENVELOPE_BYTES}), 1)
    assert caught.value.code == "too_large"
    with pytest.raises(wire.WireError) as caught:
        wire.open_envelope(b"\0" * (wire.MAX_ENVELOPE_BYTES + 1))
    assert caught.value.code == "too_large"
    with pytest.raises(wire.WireError) as caught:
        wire.open_batch(wire.seal_batch([b"x"] * (wire.MAX_BATCH_ENVELOPES + 1)))
    assert caught.value.code == "too_large"


def _manifest(**changes: object) -> wire.Manifest:
    values = {
        "model": "nox",
        "model_version": "v1",
        "sha256": "0" * 64,
        "size": 10,
        "task": "regression",
        "features": ["b", "a"],
        **changes,
    }
    return wire.Manifest(**values)


def test_what_is_signed_is_the_same_on_both_sides() -> None:
    made = _manifest(
        mean=[1, 2],
        scale=[1, 1],
        limits={"b": (0, 1), "a": (1e-300, 1e300)},
        golden=wire.Golden(inputs=[[1, 2]], outputs=[3]),
    )
    received = wire.decode(wire.encode(made), wire.Manifest)
    assert wire.manifest_bytes(made) == wire.manifest_bytes(received)
    assert wire.manifest_bytes(_manifest(limits={"a": (0, 1), "b": (0, 1)})) == wire.manifest_bytes(
        _manifest(limits={"b": (0, 1), "a": (0, 1)})
    )
    assert wire.manifest_bytes(made).startswith(b'phasegate-manifest-v1\n{"features":["b","a"],')
    assert wire.manifest_bytes(made) != wire.manifest_bytes(_manifest())
    for bad in (float("nan"), float("inf")):
        with pytest.raises(wire.WireError):
            wire.manifest_bytes(_manifest(threshold=bad))


def test_a_manifest_written_by_governance_is_signed_over_the_same_bytes() -> None:
    from governance.modelling.package import manifest_bytes

    written = {
        "model": "NOx soft sensor",
        "model_version": "nox-3",
        "sha256": "a" * 64,
        "size": 100,
        "task": "score",
        "features": ["AT", "AP"],
        "output": "NOX",
        "unit": "mg/m3",
        "window": 3,
        "mean": [],
        "scale": [],
        "limits": {"AT": [-30.0, 1.7976931348623157e308]},
        "threshold": 0.1,
        "golden": {"inputs": [[1.5, 2.0]], "outputs": [3.25], "tolerance": 0.0001},
    }
    assert wire.manifest_bytes(msgspec.convert(written, wire.Manifest)) == manifest_bytes(written)


def test_topics() -> None:
    assert wire.topic("hall-1", "gw-1", "up") == "phasegate/v1/hall-1/gw-1/up"
