"""The newest rows of a stream as packed arrays: append, fill in predictions, cut to size. Nothing here is slower than a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEEP = 400


@dataclass(frozen=True)
class Ring:
    """``times``: int64 milliseconds of plant time, n. ``values``: float64, n x len(columns). ``predicted``: float64, n x len(models)."""

    columns: tuple[str, ...]
    models: tuple[str, ...]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    predicted: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    def column(self, code: str) -> NDArray[np.float64] | None:
        """One channel's values, or None when the stream does not carry it."""
        return self.values[:, self.columns.index(code)] if code in self.columns else None

    def model(self, name: str) -> NDArray[np.float64] | None:
        return self.predicted[:, self.models.index(name)] if name in self.models else None


def empty(columns: Sequence[str] = ()) -> Ring:
    return Ring(tuple(columns), (), np.zeros(0, np.int64), np.zeros((0, len(columns))), np.zeros((0, 0)))


Packed = bytes | memoryview


def unpack(columns: Sequence[str], models: Sequence[str], times: Packed, values: Packed, predicted: Packed) -> Ring:
    """From stored little-endian bytes. ValueError when the lengths do not fit together."""
    moments = np.frombuffer(times, "<i8").astype(np.int64, copy=False)
    n = len(moments)
    return Ring(
        tuple(columns),
        tuple(models),
        moments,
        np.frombuffer(values, "<f8").reshape(n, len(columns)),
        np.frombuffer(predicted, "<f8").reshape(n, len(models)),
    )


def append(
    ring: Ring,
    columns: Sequence[str],
    times: Any,
    rows: Any,
    predictions: Mapping[str, Any],
    keep: int = KEEP,
) -> Ring:
    """The ring with n more rows at its end, the newest ``keep`` of them. Other columns than before begin a new ring.

    ``times``: n milliseconds; ``rows``: n x len(columns), None or NaN is missing; ``predictions``: per model n values, None is none.
    ValueError when the lengths differ.
    """
    moments = np.asarray(times, np.int64)
    n = len(moments)
    values = _floats(rows).reshape(n, len(columns)) if n else np.zeros((0, len(columns)))
    if ring.columns != tuple(columns):
        ring = empty(columns)
    models = ring.models + tuple(name for name in predictions if name not in ring.models)
    ring = _with_models(ring, models)
    added = np.full((n, len(models)), np.nan)
    for name, given in predictions.items():
        column = _floats(given)
        if column.shape != (n,):
            raise ValueError(f"{name}: {len(column)} predictions for {n} rows")
        added[:, models.index(name)] = column
    return Ring(
        ring.columns,
        models,
        np.concatenate([ring.times, moments])[-keep:],
        np.concatenate([ring.values, values])[-keep:],
        np.concatenate([ring.predicted, added])[-keep:],
    )


def fill(ring: Ring, model: str, times: Any, values: Any) -> Ring:
    """The ring with a model's late predictions put beside the rows of the same plant time; others are left out."""
    moments, given = np.asarray(times, np.int64), _floats(values)
    if moments.shape != given.shape:
        raise ValueError(f"{model}: {len(given)} predictions for {len(moments)} rows")
    ring = _with_models(ring, ring.models if model in ring.models else (*ring.models, model))
    predicted = ring.predicted.copy()
    order = np.argsort(ring.times, kind="stable")
    # The right-most match: after a jump back the same plant time may stand twice, and the newer row is meant.
    at = np.searchsorted(ring.times[order], moments, side="right") - 1
    inside = at >= 0
    rows = order[at[inside]]
    hit = ring.times[rows] == moments[inside]
    predicted[rows[hit], ring.models.index(model)] = given[inside][hit]
    return replace(ring, predicted=predicted)


def _with_models(ring: Ring, models: tuple[str, ...]) -> Ring:
    if ring.models == models:
        return ring
    wider = np.full((len(ring), len(models)), np.nan)
    for at, name in enumerate(ring.models):
        wider[:, models.index(name)] = ring.predicted[:, at]
    return replace(ring, models=models, predicted=wider)


def _floats(values: Any) -> NDArray[np.float64]:
    # float64 of an object array turns None into NaN.
    return np.asarray(values, dtype=np.float64)
