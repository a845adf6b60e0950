"""What an accepted message does besides being stored, and that a second copy of it does nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from devices.models import LinkHistory, MachineStop, SignalWindow
from edge_bridge import wire
from edge_bridge.ingest import messages_take
from edge_bridge.models import Installation
from edge_bridge.rollouts import rollout_start
from governance.frame import frame_of
from governance.models import InboxMessage
from governance.rows import unpack
from portal.core import audit
from portal.core.clock import wall_now
from tests.edge_bridge.portal import HOUR, START_MS, Plant, inference, labels, signed_version, telemetry

pytestmark = pytest.mark.django_db


def take(gateway: Any, *messages: tuple[str, int, Any]) -> list[wire.Ack]:
    data = [wire.seal(str(gateway.pk), stream, n, body, wall_ms=0) for stream, n, body in messages]
    return messages_take(gateway, data).acks


def test_rows_predictions_and_labels_meet_in_the_frame(plant: Plant) -> None:
    first, second = plant.gateways
    version = signed_version(plant, bias=50.0)
    rollout_start(actor=None, version=version, adoption=plant.adoption)
    stream = f"turbine/inference/{plant.key()}"
    said = inference(plant.key(), version, 1, np.full(8, 50.0), sequence=1, refused=0, canary=True)
    acks = take(
        first,
        ("turbine/rows", 1, telemetry(1)),
        (stream, 1, said),
        ("turbine/labels", 1, labels(1, np.full(8, 55.0))),
    )
    assert {a.status for a in acks} == {"accepted"}
    take(second, ("turbine/rows", 1, telemetry(1)))
    frame = frame_of(plant.pipeline)
    assert frame.n == 8  # two gateways report the same rows: side by side, never added up
    assert np.isfinite(frame.features[:8]).all()
    assert frame.prediction_of(str(version.pk)).tolist() == [50.0] * 8
    assert frame.label[:8].tolist() == [55.0] * 8
    stored = unpack(InboxMessage.objects.get(kind="inference").payload)
    assert stored.meta["input_sequence"] == 1
    assert stored.meta["canary"] is True
    assert stored.meta["latency_p99_us"] == 120.0
    row = Installation.objects.get()
    assert row.predicts_from_plant is not None
    assert row.predicts_from_plant.timestamp() * 1000 == START_MS + HOUR


def test_the_live_window_has_rows_and_predictions(plant: Plant) -> None:
    from devices.live import live_view

    gateway = plant.gateways[0]
    version = signed_version(plant, bias=50.0)
    rollout_start(actor=None, version=version, adoption=plant.adoption)
    stream = f"turbine/inference/{plant.key()}"
    take(
        gateway,
        ("turbine/rows", 1, telemetry(1)),
        (stream, 1, inference(plant.key(), version, 1, np.full(8, 50.0), sequence=1)),
    )
    take(gateway, ("turbine/rows", 2, telemetry(9)))
    take(gateway, (stream, 2, inference(plant.key(), version, 9, np.full(8, 51.0), sequence=2)))
    ring = live_view(gateway).ring
    assert len(ring) == 16
    assert ring.model(plant.model.code).tolist() == [50.0] * 8 + [51.0] * 8
    window = SignalWindow.objects.get(device=gateway)
    take(gateway, ("turbine/rows", 2, telemetry(9)))
    assert SignalWindow.objects.get(device=gateway).changes == window.changes


def test_a_plc_was_seen_when_a_gateway_read_its_rows(plant: Plant) -> None:
    plc = plant.plc
    assert plc.last_seen_at is None
    read = wall_now() - timedelta(minutes=3)
    body = msgspec.structs.replace(telemetry(1), read_ms=int(read.timestamp() * 1000))
    take(plant.gateways[0], ("turbine/rows", 1, body))
    plc.refresh_from_db()
    assert abs(plc.last_seen_at - read) < timedelta(milliseconds=2)
    take(plant.gateways[0], ("turbine/labels", 1, labels(1, [50.0])))
    plc.refresh_from_db()
    assert abs(plc.last_seen_at - read) < timedelta(milliseconds=2)


def test_a_message_for_an_installation_never_given_is_refused(plant: Plant) -> None:
    gateway = plant.gateways[0]
    version = signed_version(plant)
    stream = f"turbine/inference/{plant.key()}"
    body = inference(plant.key(), version, 1, np.zeros(8), sequence=1)
    (ack,) = take(gateway, (stream, 1, body))
    assert (ack.status, ack.code) == ("refused", "unknown_installation")
    rollout_start(actor=None, version=version, adoption=plant.adoption)
    (ack,) = take(gateway, (stream, 1, body))
    assert ack.status == "accepted"  # read anew before refusing, so no half minute passes
    (ack,) = take(plant.gateways[1], (stream, 1, body))
    assert ack.code == "unknown_installation"


def test_heartbeats_count_once_in_the_minute_they_belong_to(plant: Plant) -> None:
    gateway = plant.gateways[0]
    late = wall_now() - timedelta(minutes=10)
    beat = wire.Heartbeat(
        wall_ms=round(late.timestamp() * 1000),
        seconds=1.0,
        boot="b",
        installations=[wire.InstallationPulse(id="x", state="active", rows=4)],
    )
    for _ in range(2):
        take(gateway, ("health", 1, beat))
    row = LinkHistory.objects.get(device=gateway)
    assert row.minute == late.replace(second=0, microsecond=0)
    assert (row.received, row.inferring) == (1, 1)
    failing = wire.Heartbeat(
        wall_ms=beat.wall_ms,
        seconds=1.0,
        boot="b",
        installations=[wire.InstallationPulse(id="x", state="active", failed=3)],
    )
    take(gateway, ("health", 2, failing))
    row.refresh_from_db()
    assert (row.received, row.inferring) == (2, 1)
    future = wire.Heartbeat(wall_ms=beat.wall_ms + 10**12, seconds=1.0, boot="b")
    take(gateway, ("health", 3, future))
    gateway.refresh_from_db()
    assert gateway.last_seen_at <= wall_now()


def test_events_go_into_the_history_once_and_a_local_stop_is_a_stop(plant: Plant) -> None:
    gateway = plant.gateways[0]
    event = wire.Event(
        wall_ms=round(wall_now().timestamp() * 1000),
        code="stopped",
        severity="warning",
        installation="x",
        detail="sparks",
        data={"by": "local", "fallback": "bypass"},
    )
    for _ in range(2):
        take(gateway, ("events", 1, event))
    assert MachineStop.objects.get(device=gateway, released_at=None).local
    entries = [e for e in audit.history(gateway) if e.action == "gateway.stopped"]
    assert len(entries) == 1
    assert entries[0].changes["detail"] == "sparks"


def test_nothing_half_written_when_an_effect_fails(plant: Plant, monkeypatch: Any) -> None:
    from edge_bridge import ingest

    gateway = plant.gateways[0]

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(ingest, "signals_record", broken)
    with pytest.raises(RuntimeError):
        take(gateway, ("turbine/rows", 1, telemetry(1)))
    assert InboxMessage.objects.count() == 0


def test_missing_values_and_quality_are_kept(plant: Plant) -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    body = telemetry(
        1,
        columns={"AT": wire.pack_floats(values)},
        quality={"AT": bytes([0, 1, 0, 0, 0, 0, 0, 3])},
        times=wire.PlantTimes(start=START_MS, each=wire.pack_ints(START_MS + HOUR * np.arange(8) ** 2)),
    )
    (ack,) = take(plant.gateways[0], ("turbine/rows", 1, body))
    assert ack.status == "accepted"
    block = unpack(InboxMessage.objects.get().payload)
    assert np.isnan(block.column("AT")[1])
    assert block.meta["quality"]["AT"][7] == 3
    assert block.times[7] == START_MS + 49 * HOUR


def test_two_sources_keep_their_own_windows(plant: Plant) -> None:
    from devices.models import Channel
    from tests.factories import make_device

    gateway = plant.gateways[0]
    kiln = make_device(plant.site, "plc", code="zkiln", gateway=gateway, address={"host": "h"})
    Channel.objects.create(device=kiln, code="T", name="T", unit="Cel", source={"register": 6})
    body = wire.Telemetry(
        source="zkiln",
        schema=1,
        run=1,
        epoch=0,
        first_row=1,
        rows=2,
        times=wire.PlantTimes(start=START_MS, step=HOUR),
        columns={"T": wire.pack_floats([1.0, 2.0])},
    )
    acks = take(gateway, ("turbine/rows", 1, telemetry(1)), ("zkiln/rows", 1, body))
    assert {a.status for a in acks} == {"accepted"}
    assert SignalWindow.objects.get(device=gateway).columns != ["T"]
    assert SignalWindow.objects.get(device=kiln).columns == ["T"]
