"""A block of consecutive rows as the inbox keeps it: plain arrays with their row numbers and plant times."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RowBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one stream of one gateway.

    ``run`` and ``row`` (int64, one per row) name a row of a PLC; ``plant_ms`` int64; ``columns`` float64 per name, NaN is missing.
    ``meta`` holds what belongs to the block: for predictions the model version, the telemetry sequence they were made from, and latency.
    """

    source: str
    run: int
    row: bytes
    plant_ms: bytes
    columns: dict[str, bytes]
    meta: dict[str, Any] = {}

    @property
    def rows(self) -> Ints:
        return np.frombuffer(self.row, dtype="<i8")

    @property
    def times(self) -> Ints:
        return np.frombuffer(self.plant_ms, dtype="<i8")

    def column(self, name: str) -> Floats:
        return np.frombuffer(self.columns[name], dtype="<f8")

    @classmethod
    def of(cls, *, source: str, run: int, row: Any, plant_ms: Any, columns: dict[str, Any], **meta: Any) -> RowBlock:
        """From arrays; raises ValueError when lengths differ."""
        rows = np.ascontiguousarray(row, dtype="<i8")
        times = np.ascontiguousarray(plant_ms, dtype="<i8")
        arrays = {name: np.ascontiguousarray(values, dtype="<f8") for name, values in columns.items()}
        if any(a.shape != rows.shape for a in (times, *arrays.values())):
            raise ValueError("row numbers, times and columns must have one length")
        return cls(
            source=source,
            run=run,
            row=rows.tobytes(),
            plant_ms=times.tobytes(),
            columns={k: a.tobytes() for k, a in arrays.items()},
            meta=meta,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RowBlock)


def pack(block: RowBlock) -> bytes:
    return _encoder.encode(block)


def unpack(data: bytes | memoryview) -> RowBlock:
    return _decoder.decode(bytes(data))
