"""MQTT over TLS with an authority of one's own: bridge and agent trust it alone. Real Mosquitto, real agent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.services import enrolment_create
from edge_bridge.connectors.mqtt import Broker, MqttUnreachable, probe_broker
from edge_bridge.mqtt import Bridge, PasswordFile
from tests.conftest import skip_or_fail
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread
from tests.edge_bridge.portal import Plant, make_plant
from tests.edge_bridge.server import Portal
from tests.services import servers
from tests.services.certificates import Authority
from tests.services.test_gateway import assert_gap_free, rows_of
from tests.services.test_gateway_mqtt import MOSQUITTO, Mosquitto

pytestmark = [pytest.mark.django_db, pytest.mark.services, pytest.mark.timeout(240)]


class TlsMosquitto(Mosquitto):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.trusted, self.other = Authority(folder, "trusted"), Authority(folder, "other")
        certificate, key = self.trusted.server()
        with self.config.open("a") as config:
            config.write(f"certfile {certificate}\nkeyfile {key}\ntls_version tlsv1.2\n")

    def address(self, authority: Authority | None) -> str:
        ca = f"?ca={authority.ca}" if authority else ""
        return f"mqtts://bridge:bridge-secret@127.0.0.1:{self.port}{ca}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TlsMosquitto]:
    if MOSQUITTO is None:
        skip_or_fail("no mosquitto program on this machine")
    folder = tmp_path / "broker"
    folder.mkdir()
    made = TlsMosquitto(folder)
    made.start()
    while not servers.answers(made.port):
        assert made.process is not None
        assert made.process.poll() is None, "mosquitto did not start"
    yield made
    made.stop()


@pytest.fixture
def plc() -> Iterator[PlcThread]:
    made = PlcThread("turbine", pace=40)
    yield made
    made.close()


@pytest.fixture
def plant(db: Any, tmp_path: Path, settings: Any, plc: PlcThread, broker: TlsMosquitto) -> Iterator[Plant]:
    from edge_bridge.ingest import forget_topologies
    from governance.frame import forget_frames

    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.LAKE_URI = str(tmp_path / "lake")
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    settings.MQTT_URL = broker.address(broker.trusted)
    forget_topologies()
    forget_frames()
    yield make_plant(port=plc.port, gateways=1)
    forget_topologies()


@pytest.fixture
def portal(plant: Plant) -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()


@contextmanager
def bridging(portal: Portal, broker: TlsMosquitto, authority: Authority | None) -> Iterator[Bridge]:
    passwords = PasswordFile(broker.passwords, broker.folder / "pid", (("bridge", "bridge-secret"),))
    made, stop = Bridge(Broker.of(broker.address(authority)), passwords=passwords), threading.Event()

    def step(work: Any) -> None:
        with portal.lock, portal.shared():
            work()

    thread = threading.Thread(target=made.run, args=(stop,), kwargs={"step": step}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(10)


def test_the_probe_trusts_the_named_authority_alone(broker: TlsMosquitto):
    assert probe_broker(Broker.of(broker.address(broker.trusted)), timeout=5) < 5
    for authority in (broker.other, None):
        with pytest.raises(MqttUnreachable, match=r"(?i)certificate verify failed"):
            probe_broker(Broker.of(broker.address(authority)), timeout=5)
    plain = broker.address(None).replace("mqtts://", "mqtt://")
    with pytest.raises(MqttUnreachable):
        probe_broker(Broker.of(plain), timeout=2)
    missing = broker.address(None) + "?ca=/nowhere/ca.pem"
    with pytest.raises(MqttUnreachable, match="certificate cannot be used"):
        probe_broker(Broker.of(missing), timeout=2)


def test_rows_come_over_tls_and_not_by_way_of_another_authority(
    plant: Plant, portal: Portal, broker: TlsMosquitto, tmp_path: Path
):
    (gateway,) = plant.gateways
    with portal.lock:
        _row, code = enrolment_create(actor=None, device=gateway)
    (tmp_path / "agent").mkdir()
    agent = AgentProcess(tmp_path / "agent" / "state", portal.url, claim_code=code, ca=broker.other.ca)
    agent.start()
    try:
        with bridging(portal, broker, broker.trusted) as bridge:
            assert bridge.connected.wait(20)
            # An agent that trusts another authority says so, sends nothing and keeps its rows.
            portal.wait(lambda: "no secure connection to the broker" in agent.log(), say=agent.log)
            with portal.lock:
                assert rows_of(gateway) == []
            agent.kill()
            identity = agent.state_dir / "identity.json"
            text = identity.read_text()
            identity.write_text(text.replace(str(broker.other.ca), str(broker.trusted.ca)))
            agent.ca = broker.trusted.ca
            agent.start()
            portal.wait(lambda: len(rows_of(gateway)) > 40, say=agent.log)
            with portal.lock:
                gateway.refresh_from_db()
                assert_gap_free(gateway)
                assert rows_of(gateway)[0] == 1
                assert not [call for call in portal.calls if call.endswith("/messages")], "went past the broker"
    finally:
        agent.kill()


def test_a_bridge_that_trusts_another_authority_never_connects(
    portal: Portal, broker: TlsMosquitto, caplog: pytest.LogCaptureFixture
):
    with bridging(portal, broker, broker.other) as bridge:
        portal.wait(lambda: "bridge.unreachable" in caplog.text, say=lambda: caplog.text)
        assert not bridge.connected.is_set()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
