"""A gateway that was broken into harms itself and nobody else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from django.test import Client

from devices.models import PlantClock
from edge_bridge import wire
from edge_bridge.connectors.mqtt import Broker
from edge_bridge.ingest import messages_take
from edge_bridge.mqtt import Bridge, Received
from governance.models import InboxMessage
from governance.services import processing
from portal.core.clock import wall_now
from tests.edge_bridge.conftest import plant  # noqa: F401 - the fixture
from tests.edge_bridge.portal import Plant, make_plant, report, telemetry

pytestmark = pytest.mark.django_db
FAR = 2**53


def test_a_reading_time_beyond_the_calendar_is_refused(plant: Plant) -> None:  # noqa: F811
    gateway = plant.gateways[0]
    bad = wire.seal(str(gateway.pk), "turbine/rows", 1, telemetry(1, read_ms=FAR), wall_ms=0)
    good = wire.seal(str(gateway.pk), "turbine/rows", 2, telemetry(9), wall_ms=0)
    acks = {ack.sequence: (ack.status, ack.code) for ack in messages_take(gateway, [bad, good]).acks}
    assert acks == {1: ("refused", "invalid"), 2: ("accepted", "")}


@pytest.mark.parametrize(
    "said", [{"plant_ms": FAR}, {"plant_ms": -FAR}, {"pace": float("inf")}, {"pace": float("nan")}]
)
def test_a_clock_beyond_the_calendar_does_not_move_the_site(plant: Plant, said: dict[str, Any]) -> None:  # noqa: F811
    gateway, now = plant.gateways[0], wall_now()
    PlantClock.objects.create(
        site=plant.site, state="running", plant_now=now, wall_at=now, rows_total=10, wanted={"rows_per_second": 2.0}
    )
    source = wire.SourceReport(**({"name": "turbine", "connected": True, "replay": "running", "plant_ms": 1} | said))
    body = wire.encode(report(plant, gateway, sources=[source]))
    answer = Client().post(
        "/edge/v1/reported",
        body,
        content_type=wire.CONTENT_TYPE,
        headers={"Authorization": f"Bearer {plant.token(gateway)}"},
    )
    assert answer.status_code == 204
    clock = PlantClock.objects.get()
    assert (clock.plant_now, clock.wanted) == (now, {"rows_per_second": 2.0})


class Silent:
    """Stands for the broker: keeps what is published and which messages are acknowledged."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.acknowledged: list[int] = []

    def publish(self, topic: str, payload: bytes, **_named: Any) -> None:
        self.published.append(topic)

    def ack(self, mid: int, qos: int) -> None:
        self.acknowledged.append(mid)


def test_a_gateway_that_breaks_the_bridge_does_not_take_the_others_with_it(
    plant: Plant,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bridge = Bridge(Broker("localhost", 1883, tls=False))
    client: Any = Silent()
    bridge._client = client
    first, second = plant.gateways

    def broken(gateway: Any, envelopes: Any) -> Any:
        if gateway.pk == first.pk:
            raise OverflowError("date value out of range")
        return messages_take(gateway, envelopes)

    monkeypatch.setattr("edge_bridge.mqtt.messages_take", broken)
    sent = [
        Received(
            plant.site.code, str(g.pk), "up", wire.seal(str(g.pk), "turbine/rows", 1, telemetry(1), wall_ms=0), n, 1
        )
        for n, g in enumerate((first, second), start=1)
    ]
    bridge._take(sent)
    assert client.acknowledged == [1, 2]
    assert [m.gateway_id for m in InboxMessage.objects.all()] == [second.pk]
    assert client.published == [wire.topic(plant.site.code, str(second.pk), "ack")]


def test_a_message_of_another_gateway_is_refused(plant: Plant) -> None:  # noqa: F811
    first, second = plant.gateways
    sealed = wire.seal(str(second.pk), "turbine/rows", 1, telemetry(1), wall_ms=0)
    assert [a.code for a in messages_take(first, [sealed]).acks] == ["wrong_gateway"]
    body = wire.encode(report(plant, second))
    headers = {"Authorization": f"Bearer {plant.token(first)}"}
    answer = Client().post("/edge/v1/reported", body, content_type=wire.CONTENT_TYPE, headers=headers)
    assert answer.status_code == 400
    assert msgspec.json.decode(answer.content)["code"] == "wrong_gateway"


def test_rows_that_cannot_be_processed_do_not_hold_up_other_sites(
    plant: Plant,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_plant("other")
    for n in range(1, 4):
        take(plant.gateways[0], n)
    take(other.gateways[0], 1)
    whole = processing._process_source

    def broken(site_id: Any, source: str, ids: list[int], fast_forwarded: bool) -> Any:
        if site_id == plant.site.pk:
            raise OverflowError("date value out of range")
        return whole(site_id, source, ids, fast_forwarded)

    monkeypatch.setattr(processing, "_process_source", broken)
    with pytest.raises(OverflowError):
        processing.process_pending(limit=2)
    assert {m.gateway_id for m in InboxMessage.objects.filter(processed_at=None)} == {plant.gateways[0].pk}
    assert InboxMessage.objects.exclude(processed_at=None).get().gateway_id == other.gateways[0].pk


def take(gateway: Any, n: int) -> None:
    sealed = wire.seal(str(gateway.pk), "turbine/rows", n, telemetry(8 * n), wall_ms=0)
    assert [a.status for a in messages_take(gateway, [sealed]).acks] == ["accepted"]
