"""Rows of a pipeline as arrays for charts and the API: a snapshot of its frame, thinned to what a chart can show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np

from governance.frame import Frame, frame_of
from governance.models import Pipeline
from governance.rows import Floats, Ints

MAX_POINTS = 1500

# Frames are one process-wide cache that grows in place; threads of a web server take turns.
_turn = Lock()


def snapshot(pipeline: Pipeline) -> Frame:
    """A copy of the pipeline's frame as it is now, rows in order of plant time; safe to read while others bring it up to date."""
    with _turn:
        frame = frame_of(pipeline)
        n = frame.n
        order = np.argsort(frame.plant_ms[:n], kind="stable")
        return Frame(
            names=frame.names,
            label_name=frame.label_name,
            n=n,
            plant_ms=frame.plant_ms[:n][order],
            features=frame.features[:n][order],
            label=frame.label[:n][order],
            predictions={version: values[:n][order] for version, values in frame.predictions.items()},
        )


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def iso(plant_ms: Ints) -> list[str]:
    """Plant times as text without a zone, which a chart shows as they are."""
    return [str(value) for value in plant_ms.astype("datetime64[ms]").astype("datetime64[s]")]


def thin(rows: int, points: int = MAX_POINTS) -> Ints:
    """Places of at most ``points`` of ``rows`` rows, evenly spread, first and last included."""
    if rows <= points:
        return np.arange(rows)
    return np.unique(np.linspace(0, rows - 1, points).round().astype(np.int64))


def rolling_mean(values: Floats, window: int) -> Floats:
    """Mean of the last ``window`` values at each place, shape as ``values``; of all so far while fewer exist."""
    if values.size == 0:
        return values.astype(np.float64)
    total = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, values.size + 1)
    starts = np.maximum(0, ends - window)
    return (total[ends] - total[starts]) / (ends - starts)


@dataclass(frozen=True)
class Buckets:
    """Consecutive rows taken together. ``plant_ms``: the last row of each; arrays of shape (buckets,), NaN where all were missing."""

    plant_ms: Ints
    starts: Ints
    rows: int

    def of(self, values: Floats) -> dict[str, list[float | None]]:
        """Mean, lowest and highest value of each bucket, missing values left out."""
        finite = np.isfinite(values)
        count = np.add.reduceat(finite.astype(np.int64), self.starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.add.reduceat(np.where(finite, values, 0.0), self.starts) / count
        low = np.minimum.reduceat(np.where(finite, values, np.inf), self.starts)
        high = np.maximum.reduceat(np.where(finite, values, -np.inf), self.starts)
        empty = count == 0
        return {
            name: [None if gone else float(value) for value, gone in zip(array.tolist(), empty.tolist(), strict=True)]
            for name, array in (("mean", mean), ("low", low), ("high", high))
        }


def buckets(plant_ms: Ints, points: int) -> Buckets | None:
    """At most ``points`` buckets of about equally many rows; None without rows."""
    rows = len(plant_ms)
    if rows == 0:
        return None
    starts = np.unique(np.linspace(0, rows, min(points, rows) + 1)[:-1].astype(np.int64))
    ends = np.concatenate((starts[1:], [rows])) - 1
    return Buckets(plant_ms[ends], starts, rows)


def between(frame: Frame, since: datetime | None, until: datetime | None) -> slice:
    """Rows of a snapshot in ``[since, until]`` of plant time."""
    first = 0 if since is None else int(np.searchsorted(frame.plant_ms, milliseconds(since), "left"))
    last = frame.n if until is None else int(np.searchsorted(frame.plant_ms, milliseconds(until), "right"))
    return slice(first, max(first, last))


def _answer(pipeline: Pipeline, frame: Frame, here: slice, points: int, columns: dict[str, Any]) -> dict[str, Any]:
    rows = here.stop - here.start
    grouped = buckets(frame.plant_ms[here], points)
    return {
        "pipeline": str(pipeline.pk),
        "rows": rows,
        "points": len(grouped.starts) if grouped else 0,
        "downsampled": bool(grouped and len(grouped.starts) < rows),
        "plant_at": [f"{text}.000Z" for text in iso(grouped.plant_ms)] if grouped else [],
        "columns": [
            {"name": name, "unit": unit, "version": version}
            | (grouped.of(values[here]) if grouped else {"mean": [], "low": [], "high": []})
            for name, unit, version, values in columns.values()
        ],
    }


def readings(
    pipeline: Pipeline, *, since: datetime | None, until: datetime | None, points: int, units: dict[str, str]
) -> dict[str, Any]:
    """Inputs and label over a stretch of plant time, taken together to at most ``points`` points (mean, lowest, highest)."""
    frame = snapshot(pipeline)
    columns: dict[str, Any] = {
        name: (name, units.get(name, ""), None, frame.features[:, at]) for at, name in enumerate(frame.names)
    }
    if frame.label_name:
        columns[frame.label_name] = (
            frame.label_name,
            units.get(frame.label_name, pipeline.model.unit),
            None,
            frame.label,
        )
    return _answer(pipeline, frame, between(frame, since, until), points, columns)


def predictions(pipeline: Pipeline, *, since: datetime | None, until: datetime | None, points: int) -> dict[str, Any]:
    """What each version predicted, and what the plant saw (``live``), like ``readings``."""
    from governance.services import loop

    frame = snapshot(pipeline)
    live = loop.live_predictions(frame, loop.LoopState.of(pipeline))
    columns: dict[str, Any] = {"live": ("live", pipeline.model.unit, None, live)}
    for version in sorted(frame.predictions):
        columns[version] = ("version", pipeline.model.unit, version, frame.predictions[version])
    return _answer(pipeline, frame, between(frame, since, until), points, columns)
