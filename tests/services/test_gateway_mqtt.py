"""The bridge with a real Mosquitto (the shipped access list and password file) and a real agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.services import enrolment_create
from edge_bridge import wire
from edge_bridge.broker import broker_hash
from edge_bridge.connectors.mqtt import Broker, MqttUnreachable, probe_broker
from edge_bridge.mqtt import Bridge, PasswordFile, envelopes_take
from edge_bridge.progress import rollouts_advance
from edge_bridge.rollouts import rollout_start
from governance.models import InboxMessage
from tests.conftest import skip_or_fail
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread
from tests.edge_bridge.portal import Plant, make_plant, signed_version, telemetry
from tests.edge_bridge.server import Portal
from tests.services.test_gateway import assert_gap_free, rows_of

pytestmark = [pytest.mark.django_db, pytest.mark.services]
ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Mosquitto:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passwords = folder / "passwords"
        self.passwords.write_text(f"bridge:{broker_hash('bridge-secret')}\n")
        self.passwords.chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        shutil.copy(ROOT / "deploy" / "mosquitto.acl", folder / "mosquitto.acl")
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {self.passwords}\n"
            f"acl_file {folder / 'mosquitto.acl'}\npid_file {folder / 'pid'}\nuser root\n"
            "message_size_limit 600000\nmax_inflight_messages 256\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    @property
    def url(self) -> str:
        return f"mqtt://bridge:bridge-secret@127.0.0.1:{self.port}"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        skip_or_fail("no mosquitto program on this machine")
    folder = tmp_path / "broker"
    folder.mkdir()
    made = Mosquitto(folder)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def plc() -> Iterator[PlcThread]:
    made = PlcThread("turbine", pace=40)
    yield made
    made.close()


@pytest.fixture
def plant(db: Any, tmp_path: Path, settings: Any, plc: PlcThread, mosquitto: Mosquitto) -> Iterator[Plant]:
    from edge_bridge.ingest import forget_topologies
    from governance.frame import forget_frames

    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.LAKE_URI = str(tmp_path / "lake")
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    settings.MQTT_URL = mosquitto.url
    forget_topologies()
    forget_frames()
    yield make_plant(port=plc.port, gateways=1)
    forget_topologies()


@pytest.fixture
def portal(plant: Plant) -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()


@pytest.fixture
def bridge(portal: Portal, mosquitto: Mosquitto) -> Iterator[Bridge]:
    made = Bridge(
        Broker.of(mosquitto.url),
        passwords=PasswordFile(mosquitto.passwords, mosquitto.folder / "pid", (("bridge", "bridge-secret"),)),
    )
    stop = threading.Event()

    def step(work: Any) -> None:
        with portal.lock, portal.shared():
            work()

    thread = threading.Thread(target=made.run, args=(stop,), kwargs={"step": step}, daemon=True)
    thread.start()
    yield made
    stop.set()
    thread.join(10)


def test_rows_answers_and_orders_over_the_broker(
    plant: Plant, portal: Portal, bridge: Bridge, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (gateway,) = plant.gateways
    with portal.lock:
        _row, code = enrolment_create(actor=None, device=gateway)
    (tmp_path / "agent").mkdir()
    agent = AgentProcess(tmp_path / "agent" / "state", portal.url, claim_code=code).start()
    try:
        portal.wait(lambda: len(rows_of(gateway)) > 40, say=agent.log)
        with portal.lock:
            assert not [c for c in portal.calls if c.endswith("/messages")]  # nothing went past the broker
            version = signed_version(plant, bias=7.0)
            rollout_start(actor=None, version=version, adoption=plant.adoption)

        def live() -> bool:
            rollouts_advance()
            version.refresh_from_db()
            return version.state == "live"

        portal.wait(live)
        with portal.lock:
            gateway.refresh_from_db()
            assert gateway.actual["transport"] == "mqtt"
        # The broker is away and comes back: nothing lost, nothing doubled.
        mosquitto.stop()
        mosquitto.start()
        before = portal.wait(lambda: len(rows_of(gateway)))
        portal.wait(lambda: len(rows_of(gateway)) > before + 60, 90.0, say=agent.log)
        with portal.lock:
            assert_gap_free(gateway)
    finally:
        agent.kill()


def test_a_gateway_can_write_as_itself_only(plant: Plant, portal: Portal, bridge: Bridge, mosquitto: Mosquitto) -> None:
    (gateway,) = plant.gateways
    with portal.lock:
        from edge_bridge.broker import broker_login_set

        secret = plant.token(gateway)
        broker_login_set(gateway, secret)
        other = make_plant("other", gateways=1).gateways[0]
    portal.wait(lambda: str(gateway.pk) in mosquitto.passwords.read_text())
    assert bridge.connected.wait(10)
    own = wire.seal(str(gateway.pk), "turbine/rows", 1, telemetry(1), wall_ms=0)
    forged = wire.seal(str(other.pk), "turbine/rows", 1, telemetry(1), wall_ms=0)
    connected = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="thief", protocol=paho.MQTTv5)
    client.username_pw_set(str(gateway.pk), secret)
    client.on_connect = lambda c, d, f, reason, p: None if reason.is_failure else connected.set()
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    try:
        assert connected.wait(20)
        client.publish(wire.topic("other", str(other.pk), "up"), forged, qos=1)  # refused by the broker
        client.publish(wire.topic("other", str(gateway.pk), "up"), own, qos=1)  # its own name at a foreign site
        client.publish(
            wire.topic("hall", str(gateway.pk), "up"), forged, qos=1
        )  # a foreign envelope under its own name
        client.publish(wire.topic("hall", str(gateway.pk), "up"), b"\xc1 rubbish", qos=1)
        client.publish(wire.topic("hall", str(gateway.pk), "up"), own, qos=1)
        portal.wait(lambda: InboxMessage.objects.filter(gateway=gateway).exists())
    finally:
        client.disconnect()
        client.loop_stop()
    with portal.lock:
        assert InboxMessage.objects.get().gateway == gateway


def test_wrong_password_and_no_broker_are_said(mosquitto: Mosquitto) -> None:
    broker = Broker.of(mosquitto.url)
    ready = threading.Event()
    for _ in range(50):
        try:
            assert probe_broker(broker, timeout=3) < 3
            break
        except MqttUnreachable:
            ready.wait(0.1)
    with pytest.raises(MqttUnreachable, match=r"(?i)not authori|bad user|refuses"):
        probe_broker(Broker.of(mosquitto.url.replace("bridge-secret", "wrong")), timeout=3)
    with pytest.raises(MqttUnreachable):
        probe_broker(Broker("127.0.0.1", 1, False), timeout=1)
    with pytest.raises(MqttUnreachable, match="MQTT_URL"):
        Broker.of("http://x")


@pytest.mark.parametrize("cut", [1, 40])
def test_a_damaged_message_is_refused_by_name_where_it_can_be_read(plant: Plant, cut: int) -> None:
    (gateway,) = plant.gateways
    good = wire.seal(str(gateway.pk), "turbine/rows", 1, telemetry(1), wall_ms=0)
    bad = wire.seal(str(gateway.pk), "turbine/rows", 2, telemetry(9), wall_ms=0)
    flipped = bad[:-cut] + bytes([bad[-cut] ^ 0xFF]) + bad[len(bad) - cut + 1 :]
    answer = envelopes_take(gateway, [good, flipped, b"\xc1"])
    assert [(a.sequence, a.status, a.code) for a in answer.acks] == [
        (1, "accepted", ""),
        (2, "refused", "digest_mismatch"),
    ]
