"""The plants' past, fast-forwarded: sealed messages through the same door functions, the same agent model code, the same processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from devices.choices import ReplayState
from devices.models import Device
from devices.plant_time import plant_clock_update
from edge_bridge import wire
from edge_bridge.agent.model import Model as EdgeModel
from edge_bridge.demo.replay import Replay
from edge_bridge.ingest import forget_topologies, messages_take
from edge_bridge.selectors import installations_in_force, places_of, sources_of
from governance import artefacts, lake
from governance.models import ModelVersion, Pipeline
from governance.services import processing
from portal.core.clock import wall_now
from portal.core.errors import DomainError

Progress = Callable[[str], None]
HISTORY_RUN = 1


@dataclass
class Driver:
    """Plays rows of a replay into the inbox as one gateway would have sent them."""

    gateway: Device
    source: str
    replay: Replay
    block: int = 150
    position: int = 0
    labels_sent: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    _models: dict[str, EdgeModel] = field(default_factory=dict)

    def play(self, until: int) -> None:
        """Rows up to (not including) ``until``; each block is sent, stored, processed and acted upon before the next."""
        while self.position < until:
            end = min(until, self.position + self.block)
            self._send(self.position, end)
            self.position = end
            processing.process_pending(fast_forwarded=True, site_id=self.gateway.site_id)

    def _next(self, stream: str) -> int:
        self.sequences[stream] = self.sequences.get(stream, 0) + 1
        return self.sequences[stream]

    def _seal(self, stream: str, body: Any) -> tuple[bytes, int]:
        sequence = self._next(stream)
        return wire.seal(str(self.gateway.pk), stream, sequence, body, int(wall_now().timestamp() * 1000)), sequence

    def _send(self, first: int, last: int) -> None:
        data = self.replay
        rows = last - first
        telemetry = wire.Telemetry(
            source=self.source,
            schema=1,
            run=HISTORY_RUN,
            epoch=0,
            first_row=first,
            rows=rows,
            times=wire.pack_times(self.replay.plant_ms[first:last]),
            columns={name: wire.pack_floats(data.values[first:last, j]) for j, name in enumerate(data.columns)},
            replay=True,
            simulated=data.simulated,
            read_ms=int(wall_now().timestamp() * 1000),
        )
        stream = f"{self.source}/rows"
        sealed, sequence = self._seal(stream, telemetry)
        envelopes = [sealed, *self._inference(first, last, stream, sequence), *self._labels(last)]
        for chunk in _chunks(envelopes):
            answer = messages_take(self.gateway, chunk)
            refused = [ack for ack in answer.acks if ack.status not in {"accepted", "duplicate"}]
            if refused:
                raise DomainError(
                    "history_refused",
                    f"The door refused a message of the history: {refused[0].code} {refused[0].message}",
                )

    def _inference(self, first: int, last: int, stream: str, sequence: int) -> Iterator[bytes]:
        places = places_of(installations_in_force(self.gateway), sources_of(self.gateway))
        columns = list(self.replay.columns)
        for place in places:
            if place.source != self.source:
                continue
            version = place.installation.version_of_model
            model = self._model(version)
            at = [columns.index(name) for name in model.manifest.features]
            before = self.replay.values[max(0, first - model.manifest.window) : first, at]
            answer = model.ask(first, self.replay.values[first:last, at], before)
            p50, p99, calls = model.latency()
            body = wire.Inference(
                source=self.source,
                installation=place.key,
                model_version=str(version.pk),
                run=HISTORY_RUN,
                first_row=first,
                rows=last - first,
                times=wire.pack_times(self.replay.plant_ms[first:last]),
                output=model.manifest.output,
                predictions=wire.pack_floats(answer.values),
                input_stream=stream,
                input_sequence=sequence,
                latency_p50_us=p50,
                latency_p99_us=p99,
                calls=calls,
                refused=answer.refused,
                warming=answer.warming,
                refused_rows=answer.named,
            )
            yield self._seal(f"{self.source}/inference/{place.key}", body)[0]

    def _model(self, version: ModelVersion) -> EdgeModel:
        key = str(version.pk)
        if key not in self._models:
            manifest = msgspec.json.decode(version.manifest.encode(), type=wire.Manifest)
            self._models[key] = EdgeModel(artefacts.path_of(version.sha256), manifest)
        return self._models[key]

    def _labels(self, last: int) -> Iterator[bytes]:
        data = self.replay
        if data.label is None:
            return
        end = max(self.labels_sent, last - data.label_delay)
        while self.labels_sent < end:
            first, stop = self.labels_sent, min(end, self.labels_sent + 500)
            rows = np.arange(first, stop, dtype=np.int64)
            body = wire.Labels(
                source=self.source,
                name=data.label_name,
                run=HISTORY_RUN,
                rows=len(rows),
                row=wire.pack_ints(rows),
                plant_ms=wire.pack_ints(data.plant_ms[first:stop]),
                values=wire.pack_floats(data.label[first:stop]),
                unit="mg/m3",
            )
            self.labels_sent = stop
            yield self._seal(f"{self.source}/labels", body)[0]

    def finish(self, state: str) -> None:
        """The site's plant clock stands where the history ends; the lake takes what was written."""
        plant_clock_update(
            self.gateway.site,
            state=state,
            plant_now=lake.moment(int(self.replay.plant_ms[self.position - 1])),
            rows_done=self.position,
            rows_total=len(self.replay),
            rows_per_second=4.0,
            nominal=self.replay.nominal_time,
        )
        while lake.compact():
            continue
        forget_topologies()


def _chunks(envelopes: list[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if chunk and (size + len(envelope) > wire.MAX_BATCH_BYTES - 4096 or len(chunk) == wire.MAX_BATCH_ENVELOPES):
            yield chunk
            chunk, size = [], 0
        chunk.append(envelope)
        size += len(envelope)
    if chunk:
        yield chunk


def new_year(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


def running() -> str:
    return ReplayState.RUNNING


def pipelines_of(site: Any) -> dict[str, Pipeline]:
    return {
        p.model.code: p
        for p in Pipeline.objects.filter(adoption__site=site).select_related(
            "model", "adoption__site", "adoption__use_case"
        )
    }
