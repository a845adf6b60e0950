"""From a gateway's envelopes to the inbox: opened, checked against what is registered, stored once with all their effects.

Shared by the HTTPS door and the MQTT bridge. One transaction holds the inbox rows, the live window, the link history and the effects of
events, for accepted messages only; so a message sent twice changes nothing the second time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import structlog
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from kombu.exceptions import OperationalError

from devices.models import Device
from devices.services import (
    Report,
    device_reports,
    machine_stopped_locally,
    predictions_record,
    signals_record,
)
from edge_bridge import wire
from edge_bridge.models import Installation
from edge_bridge.selectors import Source, channels_of, label_names, places_of, signal_names, sources_of
from governance.choices import StreamKind
from governance.lake import Incoming, inbox_append, moment
from governance.models import InboxMessage
from governance.rows import RowBlock
from portal.core import audit
from portal.core.clock import wall_now

log = structlog.get_logger(__name__)
TOPOLOGY_SECONDS = 30.0
# The years 100 to 9899: a time outside cannot be shown or compared, and a century is left for spans that are added to it.
_FIRST_MS, _LAST_MS = -59_011_459_200_000, 250_246_540_800_000
_STREAM_ROOM: int = InboxMessage._meta.get_field("stream").max_length or 60


class Refused(Exception):
    """A message that is never taken; ``code`` as in the protocol page."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Topology:
    """What is registered for a gateway: columns and labels per source, and every (installation id, version) it was ever told."""

    sources: dict[str, Source]
    signals: dict[str, frozenset[str]]
    labels: dict[str, frozenset[str]]
    places: dict[tuple[str, str, str], tuple[Any, str]]
    keys: frozenset[str]
    until: float
    waiting: set[Any] = field(default_factory=set)


_topologies: dict[Any, Topology] = {}


def topology_of(gateway: Device, *, fresh: bool = False) -> Topology:
    """Kept for half a minute in each process; read anew before anything is refused as unknown."""
    known = _topologies.get(gateway.pk)
    if known is not None and not fresh and known.until > time.monotonic():
        return known
    sources = sources_of(gateway)
    channels = channels_of(source.plc for source in sources)
    rows = list(Installation.objects.filter(device=gateway).select_related("version_of_model__model"))
    places = places_of(rows, sources)
    known = Topology(
        sources={source.name: source for source in sources},
        signals={source.name: signal_names(channels[source.plc.pk]) for source in sources},
        labels={source.name: label_names(channels[source.plc.pk]) for source in sources},
        places={
            (place.source, place.key, place.version_id): (
                place.installation.pk,
                place.installation.version_of_model.model.code,
            )
            for place in places
        },
        keys=frozenset(place.key for place in places),
        until=time.monotonic() + TOPOLOGY_SECONDS,
        waiting={row.pk for row in rows if row.predicts_from_plant is None},
    )
    _topologies[gateway.pk] = known
    return known


def forget_topologies() -> None:
    _topologies.clear()


@dataclass
class _Message:
    envelope: wire.Envelope
    body: wire.Body
    incoming: Incoming


def messages_take(gateway: Device, envelopes: Sequence[bytes]) -> wire.AckBatch:
    """Store what can be stored and answer each envelope. WireError when one cannot even be opened: nothing is stored then."""
    opened = [wire.open_envelope(data) for data in envelopes]
    acks: list[wire.Ack] = []
    ready: list[_Message] = []
    for envelope in opened:
        try:
            ready.append(_prepare(gateway, envelope))
        except Refused as refusal:
            acks.append(_ack(envelope, "refused", refusal.code, refusal.message))
        except wire.WireError as error:
            acks.append(_ack(envelope, "refused", error.code, error.message))
    acks += _store(gateway, ready)
    version = Device.objects.filter(pk=gateway.pk).values_list("wanted_version", flat=True).first()
    return wire.AckBatch(acks=acks, desired_version=version or 0)


def _ack(envelope: wire.Envelope, status: Any, code: str = "", message: str = "") -> wire.Ack:
    return wire.Ack(
        stream=envelope.stream, sequence=envelope.sequence, status=status, code=code, message=message[:2000]
    )


# ---- checking --------------------------------------------------------------------------------------------------------


def _prepare(gateway: Device, envelope: wire.Envelope) -> _Message:
    if envelope.gateway != str(gateway.pk):
        raise Refused("wrong_gateway", "the token belongs to another gateway")
    if len(envelope.stream) > _STREAM_ROOM:
        raise Refused("unknown_stream", f"a stream's name has at most {_STREAM_ROOM} characters here")
    body = wire.open_body(envelope)
    try:
        return _Message(envelope, body, _incoming(topology_of(gateway), envelope, body))
    except Refused as refusal:
        if refusal.code not in {"unknown_stream", "unknown_channel", "unknown_installation"}:
            raise
    return _Message(envelope, body, _incoming(topology_of(gateway, fresh=True), envelope, body))


def _incoming(known: Topology, envelope: wire.Envelope, body: wire.Body) -> Incoming:
    block: RowBlock | None = None
    payload = b""
    if isinstance(body, wire.Telemetry):
        kind, block = StreamKind.TELEMETRY, _telemetry(known, envelope, body)
    elif isinstance(body, wire.Inference):
        kind, block = StreamKind.INFERENCE, _inference(known, envelope, body)
    elif isinstance(body, wire.Labels):
        kind, block = StreamKind.LABELS, _labels(known, envelope, body)
    elif isinstance(body, wire.Heartbeat):
        kind, payload = StreamKind.HEALTH, envelope.body
        _stream(envelope, "health")
        _wall(body.wall_ms)
    else:
        kind, payload = StreamKind.EVENT, envelope.body
        _stream(envelope, "events")
        _wall(body.wall_ms)
    return Incoming(envelope.stream, envelope.sequence, kind, envelope.digest, block, payload)


def _stream(envelope: wire.Envelope, expected: str) -> None:
    if envelope.stream != expected:
        raise Refused("unknown_stream", f"{envelope.stream}: such a message belongs to {expected}")


def _source(known: Topology, name: str) -> Source:
    found = known.sources.get(name)
    if found is None:
        raise Refused("unknown_stream", f"{name}: this gateway reads no such source")
    return found


def is_moment(millis: int) -> bool:
    """Whether milliseconds since 1970 are a time that the portal can hold."""
    return _FIRST_MS <= millis <= _LAST_MS


def _wall(millis: int) -> None:
    if not is_moment(millis):
        raise Refused("invalid", "the wall time is not a time")


def _plant(times: Any) -> Any:
    if int(times.min()) < _FIRST_MS or int(times.max()) > _LAST_MS:
        raise Refused("invalid", "a plant time is not a time")
    return times


def _times(packed: wire.PlantTimes, rows: int) -> Any:
    # Python's integers do not overflow: a step so large that the last row leaves the range is caught before NumPy wraps around.
    if packed.each is None and not _FIRST_MS <= packed.start + packed.step * (rows - 1) <= _LAST_MS:
        raise Refused("invalid", "a plant time is not a time")
    return _plant(wire.times(packed, rows))


def _telemetry(known: Topology, envelope: wire.Envelope, body: wire.Telemetry) -> RowBlock:
    _source(known, body.source)
    _stream(envelope, f"{body.source}/rows")
    strange = sorted(body.columns.keys() - known.signals[body.source])
    if strange:
        raise Refused("unknown_channel", f"{body.source} has no channel {', '.join(strange[:5])}")
    _wall(body.read_ms)
    rows = np.arange(body.first_row, body.first_row + body.rows, dtype="<i8")
    meta: dict[str, Any] = {"schema": body.schema, "epoch": body.epoch, "replay": body.replay}
    if body.simulated:
        meta["simulated"] = True
    if body.quality:
        meta["quality"] = body.quality
    return RowBlock(
        source=body.source,
        run=body.run,
        row=rows.tobytes(),
        plant_ms=_times(body.times, body.rows).astype("<i8").tobytes(),
        columns=body.columns,
        meta=meta,
    )


def _inference(known: Topology, envelope: wire.Envelope, body: wire.Inference) -> RowBlock:
    _source(known, body.source)
    _stream(envelope, f"{body.source}/inference/{body.installation}")
    if (body.source, body.installation, body.model_version) not in known.places:
        what = "version" if body.installation in known.keys else "installation"
        raise Refused(
            "unknown_installation",
            f"this gateway was never given that {what}: {body.installation} {body.model_version}",
        )
    rows = np.arange(body.first_row, body.first_row + body.rows, dtype="<i8")
    return RowBlock(
        source=body.source,
        run=body.run,
        row=rows.tobytes(),
        plant_ms=_times(body.times, body.rows).astype("<i8").tobytes(),
        columns={"prediction": body.predictions},
        meta={
            "model_version": body.model_version,
            "installation": body.installation,
            "input_stream": body.input_stream,
            "input_sequence": body.input_sequence,
            "latency_p50_us": body.latency_p50_us,
            "latency_p99_us": body.latency_p99_us,
            "calls": body.calls,
            "refused": body.refused,
            "warming": body.warming,
            "refused_rows": msgspec.to_builtins(body.refused_rows),
            "role": body.role,
            "canary": body.canary,
            "fallback": body.fallback,
        },
    )


def _labels(known: Topology, envelope: wire.Envelope, body: wire.Labels) -> RowBlock:
    _source(known, body.source)
    _stream(envelope, f"{body.source}/labels")
    if body.name not in known.labels[body.source]:
        raise Refused("unknown_channel", f"{body.source} has no label {body.name}")
    _plant(wire.ints(body.plant_ms))
    return RowBlock(
        source=body.source, run=body.run, row=body.row, plant_ms=body.plant_ms, columns={body.name: body.values}
    )


# ---- storing ---------------------------------------------------------------------------------------------------------


def _store(gateway: Device, ready: list[_Message]) -> list[wire.Ack]:
    if not ready:
        return []
    try:
        with transaction.atomic():
            stored = inbox_append(gateway=gateway, messages=[message.incoming for message in ready])
            accepted = [m for m, s in zip(ready, stored, strict=True) if s.status == "accepted"]
            _effects(gateway, accepted)
            if any(isinstance(m.body, (wire.Telemetry, wire.Inference, wire.Labels)) for m in accepted):
                transaction.on_commit(process_soon, robust=True)
    except IntegrityError:
        # Another worker was storing the same messages at this moment: the agent sends them again and hears "duplicate".
        return [_ack(m.envelope, "retry", "busy", "taken at the same moment by another worker") for m in ready]
    acks = []
    for message, answer in zip(ready, stored, strict=True):
        if answer.status == "conflict":
            acks.append(
                _ack(message.envelope, "refused", "conflict", "this sequence was taken before with other contents")
            )
        else:
            acks.append(_ack(message.envelope, answer.status))
    return acks


def process_soon() -> None:
    """Ask a worker to look into the inbox, at most about once a second from this process; the schedule looks anyway."""
    if settings.CELERY_BROKER_URL.startswith("memory:") or not cache.add("edge_bridge.process_inbox", 1, timeout=1):
        return
    try:
        current_app.send_task("governance.process_inbox", retry=False, expires=30)
    except (OSError, OperationalError) as error:
        log.warning("ingest.broker_away", error=str(error))


def _effects(gateway: Device, accepted: list[_Message]) -> None:
    now = wall_now()
    telemetry = [m for m in accepted if isinstance(m.body, wire.Telemetry)]
    inference = [m for m in accepted if isinstance(m.body, wire.Inference)]
    if telemetry or inference:
        known = topology_of(gateway)
        _live(gateway, known, telemetry, inference, now)
        _predicts_from(known, inference)
    beats = [_beat(gateway, m.body, now) for m in accepted if isinstance(m.body, wire.Heartbeat)]
    if accepted and not beats:
        beats = [Report(gateway.pk, now, counts=0)]
    if telemetry:
        # A PLC cannot report: it was seen when a gateway read its newest row.
        plcs = [(known.sources[m.body.source].plc, m.body.read_ms) for m in telemetry]  # type: ignore[union-attr]
        beats += [Report(plc.pk, wall_moment(ms, now) if ms else now, counts=0) for plc, ms in plcs]
    if beats:
        device_reports(beats)
    for message in accepted:
        if isinstance(message.body, wire.Event):
            _event(gateway, message.body, now)


def wall_moment(millis: int, now: datetime) -> datetime:
    """A gateway's wall time, never ahead of ours: its clock may be wrong."""
    return min(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis), now)


def _beat(gateway: Device, body: wire.Heartbeat, now: datetime) -> Report:
    pulses = body.installations
    inferring = bool(pulses) and all(p.state in {"active", "fallback"} and not p.failed for p in pulses)
    return Report(gateway.pk, wall_moment(body.wall_ms, now), inferring=inferring)


def _live(
    gateway: Device, known: Topology, telemetry: list[_Message], inference: list[_Message], now: datetime
) -> None:
    """The live window: the gateway's own for its first source, the PLC's own for further ones (its first gateway writes it)."""
    order = sorted(known.sources)
    for name in sorted({m.body.source for m in (*telemetry, *inference)}):  # type: ignore[union-attr]
        source = known.sources[name]
        if name == order[0]:
            owner = gateway
        elif source.first:
            owner = source.plc
        else:
            continue
        rows = sorted((m for m in telemetry if m.body.source == name), key=lambda m: m.envelope.sequence)  # type: ignore[union-attr]
        said = [m for m in inference if m.body.source == name and m.body.role == "active"]  # type: ignore[union-attr]
        _window(owner, known, rows, said, now)


def _window(owner: Device, known: Topology, rows: list[_Message], said: list[_Message], now: datetime) -> None:
    columns = sorted(known.signals[rows[0].body.source]) if rows else []  # type: ignore[union-attr]
    sequence = rows[-1].envelope.sequence if rows else 0
    times = np.concatenate([m.incoming.block.times for m in rows]) if rows else np.empty(0, np.int64)  # type: ignore[union-attr]
    starts = {}
    at = 0
    for message in rows:
        starts[message.envelope.stream, message.envelope.sequence] = at
        at += message.body.rows  # type: ignore[union-attr]
    beside: dict[str, Any] = {}
    late: dict[str, list[_Message]] = {}
    for message in said:
        body: Any = message.body
        model = known.places[body.source, body.installation, body.model_version][1]
        start = starts.get((body.input_stream, body.input_sequence))
        if start is None:
            late.setdefault(model, []).append(message)
            continue
        values = beside.setdefault(model, np.full(len(times), np.nan))
        values[start : start + body.rows] = wire.floats(body.predictions)[: len(times) - start]
    if rows:
        table = np.full((len(times), len(columns)), np.nan)
        for message in rows:
            start = starts[message.envelope.stream, message.envelope.sequence]
            block: Any = message.incoming.block
            for j, name in enumerate(columns):
                if name in block.columns:
                    table[start : start + message.body.rows, j] = block.column(name)  # type: ignore[union-attr]
        signals_record(owner, columns, times, table, beside, now, sequence)
    for model, messages in late.items():
        predictions_record(
            owner,
            model,
            np.concatenate([m.incoming.block.times for m in messages]),  # type: ignore[union-attr]
            np.concatenate([wire.floats(m.body.predictions) for m in messages]),  # type: ignore[union-attr]
            now,
        )


def _predicts_from(known: Topology, inference: list[_Message]) -> None:
    """Note the first row that an installation predicted, once."""
    for message in sorted(inference, key=lambda m: m.envelope.sequence):
        body: Any = message.body
        pk = known.places[body.source, body.installation, body.model_version][0]
        if pk not in known.waiting or body.fallback:
            continue
        block: Any = message.incoming.block
        done = np.flatnonzero(np.isfinite(block.column("prediction")))
        if len(done):
            Installation.objects.filter(pk=pk, predicts_from_plant=None).update(
                predicts_from_plant=moment(int(block.times[done[0]]))
            )
            known.waiting.discard(pk)


def _event(gateway: Device, body: wire.Event, now: datetime) -> None:
    """An event into the device's history; a stop made on the gateway is a stop here too."""
    at = wall_moment(body.wall_ms, now)
    changes = {
        "severity": body.severity,
        "at": at,
        "source": body.source,
        "installation": body.installation,
        "model_version": body.model_version,
        "detail": body.detail,
        **body.data,
    }
    audit.record(
        actor=None,
        action=f"gateway.{body.code}"[:60],
        obj=gateway,
        changes={key: value for key, value in changes.items() if value not in ("", None)},
    )
    # The reported state says whether the machine stands now; an event counts only where no later report has come.
    if body.code == "stopped" and body.data.get("by") == "local":
        heard = Device.objects.filter(pk=gateway.pk).values_list("actual_at", flat=True).first()
        if heard is None or heard < at:
            machine_stopped_locally(gateway, body.detail, at)
