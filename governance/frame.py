"""The working set of a pipeline: its rows with inputs, predictions per version and labels, aligned by (run, row), in plant order.

A frame is a cache. It is built from the Delta tables and the part of the inbox that is not compacted yet, and then kept up to date message by message;
a worker that starts anew builds the same frame again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from governance import lake
from governance.choices import StreamKind
from governance.models import InboxMessage, Pipeline
from governance.rows import Floats, Ints, RowBlock, unpack

KEEP_ROWS = 120_000


@dataclass
class Frame:
    """Growing arrays with spare room; ``n`` rows are in use.

    ``features`` (n, k) in the model's order; ``label`` and each array of ``predictions`` (n,), NaN where there is none.
    """

    names: tuple[str, ...]
    label_name: str
    n: int = 0
    keys: dict[tuple[int, int], int] = field(default_factory=dict)
    plant_ms: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    features: Floats = field(default_factory=lambda: np.empty((0, 0)))
    label: Floats = field(default_factory=lambda: np.empty(0))
    predictions: dict[str, Floats] = field(default_factory=dict)
    last_inbox: int = -1
    first_inbox: int = -1
    taken: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.features.shape[1] != len(self.names):
            self.features = np.empty((0, len(self.names)))

    def _grow(self, need: int) -> None:
        room = len(self.plant_ms)
        if need <= room:
            return
        size = max(need, 2 * room, 4096)

        def bigger(old: np.ndarray, fill: float | int) -> np.ndarray:
            new = np.full((size, *old.shape[1:]), fill, dtype=old.dtype)
            new[: len(old)] = old
            return new

        self.plant_ms = bigger(self.plant_ms, 0)
        self.features = bigger(self.features, np.nan)
        self.label = bigger(self.label, np.nan)
        self.predictions = {version: bigger(values, np.nan) for version, values in self.predictions.items()}

    def _places(self, run: int, rows: Ints, times: Ints) -> Ints:
        """Index of each (run, row), new rows appended."""
        places = np.empty(len(rows), dtype=np.int64)
        self._grow(self.n + len(rows))
        for i, row in enumerate(rows.tolist()):
            at = self.keys.get((run, row))
            if at is None:
                at = self.keys[(run, row)] = self.n
                self.plant_ms[at] = times[i]
                self.n += 1
            places[i] = at
        return places

    def add(self, kind: str, block: RowBlock) -> Ints:
        """Take a block in; returns the places of its rows. The same block twice changes nothing."""
        places = self._places(block.run, block.rows, block.times)
        if kind == StreamKind.TELEMETRY:
            for j, name in enumerate(self.names):
                if name in block.columns:
                    self.features[places, j] = block.column(name)
        elif kind == StreamKind.LABELS and self.label_name in block.columns:
            self.label[places] = block.column(self.label_name)
        elif kind == StreamKind.INFERENCE:
            version = str(block.meta.get("model_version", ""))
            if version not in self.predictions:
                self.predictions[version] = np.full(len(self.plant_ms), np.nan)
            self.predictions[version][places] = block.column("prediction")
        return places

    def labelled(self) -> Ints:
        """Places of the rows that have a label and all inputs, in plant order: position in this array is the labelled row number."""
        usable = np.isfinite(self.label[: self.n]) & np.isfinite(self.features[: self.n]).all(axis=1)
        return np.flatnonzero(usable)

    def prediction_of(self, version: str) -> Floats:
        found = self.predictions.get(version)
        return found[: self.n] if found is not None else np.full(self.n, np.nan)


_frames: dict[Any, Frame] = {}
# A message with a lower id may be committed after one with a higher: so far back is looked again for what was not taken.
_LOOK_BACK = 400


def frame_of(pipeline: Pipeline) -> Frame:
    """The frame of a pipeline with everything the inbox and the lake hold of it."""
    frame = _frames.get(pipeline.pk)
    if frame is None:
        frame = Frame(tuple(pipeline.model.features), pipeline.model.target)
        _load_compacted(pipeline, frame)
        _frames[pipeline.pk] = frame
    rows = InboxMessage.objects.filter(
        gateway__site_id=pipeline.adoption.site_id,
        stream__startswith=f"{pipeline.stream}/",
        id__gt=frame.last_inbox - _LOOK_BACK,
        kind__in=lake.ROW_KINDS,
    ).order_by("id")
    known = frame.taken
    fresh = [pk for pk in rows.values_list("id", flat=True) if pk not in known and pk > frame.first_inbox]
    if not fresh:
        return frame
    mine = _version_ids(pipeline)
    for first in range(0, len(fresh), 500):
        part = (
            InboxMessage.objects.filter(pk__in=fresh[first : first + 500]).order_by("id").only("id", "kind", "payload")
        )
        for message in part:
            _take(frame, message.kind, unpack(message.payload), mine)
            frame.taken.add(message.pk)
            frame.last_inbox = max(frame.last_inbox, message.pk)
    frame.taken = {pk for pk in frame.taken if pk > frame.last_inbox - _LOOK_BACK}
    return frame


def forget_frames() -> None:
    """Drop the cache (tests, and a worker after a failed pass)."""
    _frames.clear()


def _version_ids(pipeline: Pipeline) -> set[str]:
    return {str(pk) for pk in pipeline.model.versions.values_list("pk", flat=True)}


def _take(frame: Frame, kind: str, block: RowBlock, mine: set[str]) -> None:
    if kind == StreamKind.INFERENCE and str(block.meta.get("model_version", "")) not in mine:
        return
    frame.add(kind, block)


def _load_compacted(pipeline: Pipeline, frame: Frame) -> None:
    site, source = pipeline.adoption.site.code, pipeline.stream
    mine = _version_ids(pipeline)
    for kind in (StreamKind.TELEMETRY, StreamKind.LABELS, StreamKind.INFERENCE):
        table = lake.read_table(site, source, kind)
        if table is None:
            continue
        order = np.argsort(table["inbox"], kind="stable")[-KEEP_ROWS:]
        columns = {name[2:]: table[name][order] for name in table if name.startswith("v_")}
        versions = table["model_version"][order]
        runs = table["run"][order]
        for run in np.unique(runs):
            for version in np.unique(versions[runs == run]):
                if kind == StreamKind.INFERENCE and version not in mine:
                    continue
                here = (runs == run) & (versions == version)
                block = RowBlock.of(
                    source=source,
                    run=int(run),
                    row=table["row"][order][here],
                    plant_ms=table["plant_ms"][order][here],
                    columns={name: values[here] for name, values in columns.items()},
                    model_version=str(version),
                )
                frame.add(kind, block)
    # Everything the lake holds was committed before what the inbox still keeps uncompacted; take those again, they change nothing twice.
    first_open = (
        InboxMessage.objects.filter(
            gateway__site_id=pipeline.adoption.site_id, compacted_in=None, kind__in=lake.ROW_KINDS
        )
        .order_by("id")
        .values_list("id", flat=True)
        .first()
    )
    newest = InboxMessage.objects.order_by("-id").values_list("id", flat=True).first()
    frame.last_inbox = (first_open - 1) if first_open is not None else (newest if newest is not None else -1)
    # Nothing up to here is looked at again: it is in the arrays.
    frame.first_inbox = frame.last_inbox
