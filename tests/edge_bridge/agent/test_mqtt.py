"""The same messages over a real Mosquitto with MQTT 5, user names and an access list."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_bridge import wire
from edge_bridge.demo.profiles import source
from edge_bridge.demo.replay import TURBINE_INPUTS
from tests.edge_bridge.agent.door import Door
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread, linear_model, order

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
pytestmark = [pytest.mark.services]


class Broker:
    """Mosquitto on a free port; `take` handles an envelope and its acknowledgement is published like a bridge does."""

    def __init__(self, folder: Path, door: Door) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.door = folder, door
        (folder / "acl").write_text(
            "user bridge\ntopic readwrite phasegate/#\n"
            "pattern write phasegate/v1/+/%u/up\npattern write phasegate/v1/+/%u/reported\n"
            "pattern read phasegate/v1/+/%u/ack\npattern read phasegate/v1/+/%u/desired\n"
        )
        (folder / "passwords").write_text("")
        (folder / "passwords").chmod(0o600)
        self.password("bridge", "bridge-secret")
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\n"
            f"acl_file {folder}/acl\npersistence false\n" + ("user root\n" if os.getuid() == 0 else "")
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.connected = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bridge", protocol=paho.MQTTv5)
        self.client.username_pw_set("bridge", "bridge-secret")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.silent = 0

    def password(self, user: str, secret: str) -> None:
        tool = shutil.which("mosquitto_passwd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
        subprocess.run([tool, "-b", str(self.folder / "passwords"), user, secret], check=True, capture_output=True)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.connected.clear()
        self.client.connect_async("127.0.0.1", self.port)
        self.client.loop_start()
        assert self.connected.wait(10)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.process.terminate()
        self.process.wait(10)

    def publish_desired(self) -> None:
        payload = wire.encode(self.door.state)
        self.client.publish(wire.topic("hall-1", "gw-1", "desired"), payload, qos=1, retain=True)

    def _on_connect(self, client: paho.Client, *rest: object) -> None:
        client.subscribe([("phasegate/v1/+/+/up", 1), ("phasegate/v1/+/+/reported", 1)])
        self.connected.set()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self.door.news:
            if message.topic.endswith("/reported"):
                self.door.reported.append(wire.decode(bytes(message.payload), wire.ReportedState))
            elif self.silent:
                self.silent -= 1
            else:
                ack = self.door.take(bytes(message.payload))
                batch = wire.AckBatch(acks=[ack], desired_version=self.door.state.version)
                client.publish(message.topic.removesuffix("up") + "ack", wire.encode(batch), qos=1)
            self.door.news.notify_all()


@pytest.fixture
def broker(tmp_path: Path, door: Door) -> Iterator[Broker]:
    if MOSQUITTO is None:
        if os.environ.get("PHASEGATE_REQUIRE_SERVICES") == "1":
            pytest.fail("Mosquitto is required and no mosquitto program is on this machine")
        pytest.skip("no mosquitto program on this machine")
    folder = tmp_path / "broker"
    folder.mkdir()
    made = Broker(folder, door)
    made.start()
    yield made
    made.stop()


def test_messages_states_and_a_broker_away(
    door: Door, plc: Callable[..., PlcThread], agent: AgentProcess, broker: Broker
) -> None:
    machine = plc("turbine", pace=100)
    model = linear_model([1.0] + [0.0] * 8)
    wanted = order(model, features=list(TURBINE_INPUTS))
    door.artefacts[wanted.manifest.sha256] = model
    door.mqtt = wire.MqttAccess(host="127.0.0.1", port=broker.port, tls=False)
    enrolled = agent.command("enrol", "--portal", door.url, "--claim-code", "CLAIM-1")
    assert enrolled.returncode == 0, enrolled.stderr
    broker.password("gw-1", door.token)
    broker.stop()
    broker.start()
    door.want(
        sources=[source("turbine", port=machine.port, poll_ms=20, window_ms=50)],
        installations=[wanted],
        poll_s=0.2,
        report_s=1.0,
        heartbeat_s=1.0,
    )
    broker.publish_desired()
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 100 and door.bodies(wire.Inference) and door.reported, 40)
    assert door.last().transport == "mqtt" and door.last().desired_version == 1
    broker.stop()
    acked = machine.plc.slots[0]["acked"]
    broker.start()
    door.want(stopped=True)
    broker.publish_desired()
    door.wait(lambda: len(door.rows("turbine")) > acked + 200, 60)
    door.wait(lambda: door.last().installations[0].stopped_by == "portal", 30)
    assert agent.terminate() == 0
    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1))
    assert door.conflicts == 0
    assert door.calls == 1, "only the enrolment went over HTTPS by POST"
