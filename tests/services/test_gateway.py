"""Real agents, a real PLC and the portal's own door: from registers to the inbox, from a signed version to its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.models import MachineStop, PlantClock
from devices.services import device_set_state, enrolment_create, machine_release, machine_stop
from edge_bridge.choices import InstallationState, RolloutState
from edge_bridge.models import Installation, Rollout
from edge_bridge.progress import rollouts_advance
from edge_bridge.rollouts import rollout_start
from governance.frame import frame_of
from governance.models import InboxMessage
from governance.rows import unpack
from portal.core import audit
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread
from tests.edge_bridge.portal import Plant, make_plant, signed_version
from tests.edge_bridge.server import Portal

pytestmark = pytest.mark.django_db


@pytest.fixture
def plc() -> Iterator[PlcThread]:
    made = PlcThread("turbine", pace=60)
    yield made
    made.close()


@pytest.fixture
def plant(db: Any, tmp_path: Path, settings: Any, plc: PlcThread) -> Iterator[Plant]:
    from edge_bridge.ingest import forget_topologies
    from governance.frame import forget_frames

    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.LAKE_URI = str(tmp_path / "lake")
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    forget_topologies()
    forget_frames()
    yield make_plant(port=plc.port)
    forget_topologies()
    forget_frames()


@pytest.fixture
def portal(plant: Plant) -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()


@pytest.fixture
def agents(plant: Plant, portal: Portal, tmp_path: Path) -> Iterator[Callable[[int], AgentProcess]]:
    made: list[AgentProcess] = []

    def make(number: int) -> AgentProcess:
        with portal.lock:
            _row, code = enrolment_create(actor=None, device=plant.gateways[number])
        folder = tmp_path / f"agent{number}"
        folder.mkdir()
        made.append(AgentProcess(folder / "state", portal.url, claim_code=code))
        return made[-1]

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()


def rows_of(gateway: Any) -> list[int]:
    """Row numbers in the inbox, by sequence."""
    found: list[int] = []
    for payload in (
        InboxMessage.objects.filter(gateway=gateway, kind="telemetry")
        .order_by("sequence")
        .values_list("payload", flat=True)
    ):
        found += unpack(payload).rows.tolist()
    return found


def assert_gap_free(gateway: Any) -> None:
    rows = rows_of(gateway)
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    sequences = list(
        InboxMessage.objects.filter(gateway=gateway, stream="turbine/rows")
        .order_by("sequence")
        .values_list("sequence", flat=True)
    )
    assert sequences == list(range(1, len(sequences) + 1))


def test_from_registers_to_canary_to_every_gateway(
    plant: Plant, portal: Portal, agents: Callable[[int], AgentProcess], plc: PlcThread
) -> None:
    first, second = plant.gateways
    agents(0).start()
    agents(1).start()
    portal.wait(lambda: len(rows_of(first)) > 40 and len(rows_of(second)) > 40)
    with portal.lock:
        assert_gap_free(first)
        assert rows_of(first)[0] == 1
        old = signed_version(plant, bias=200.0)
        rollout_start(actor=None, version=old, adoption=plant.adoption)
    portal.wait(lambda: rollouts_advance() == {} and Rollout.objects.get().state == RolloutState.SUCCEEDED)
    with portal.lock:
        first.refresh_from_db()
        assert first.state == "active"
        assert first.actual["models"] == first.wanted["models"] == {plant.key(): "v1"}
        clock = PlantClock.objects.get(site=plant.site)
        assert clock.state == "running"
        assert clock.rows_per_second == 60
        new = signed_version(plant, bias=60.0)
        rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)

    def state() -> str:
        rollouts_advance()
        rollout.refresh_from_db()
        return rollout.state

    portal.wait(
        lambda: (
            state() == RolloutState.SOAKING
            or (rollout.state == RolloutState.RUNNING and rollout.waves.first().state == "passed")
        )
    )
    portal.wait(lambda: state() == RolloutState.SUCCEEDED, say=lambda: (rollout.state, rollout.reason))
    with portal.lock:
        soak = rollout.waves.first().gate["soak"][0]
        assert soak["ok"]
        assert soak["rows"] >= 24
        assert soak["old"] > soak["new"]
        frame = frame_of(plant.pipeline)
        both = np.isfinite(frame.prediction_of(str(new.pk))) & np.isfinite(frame.prediction_of(str(old.pk)))
        assert both.sum() >= 24  # two gateways, the same rows
        assert_gap_free(first)
        assert_gap_free(second)
        assert audit.history(first)


def test_nothing_lost_or_doubled_through_kill_and_outage(
    plant: Plant, portal: Portal, agents: Callable[[int], AgentProcess]
) -> None:
    first = plant.gateways[0]
    agent = agents(0).start()
    portal.wait(lambda: len(rows_of(first)) > 20)
    agent.kill()
    agent.start()
    before = portal.wait(lambda: len(rows_of(first)))
    portal.wait(lambda: len(rows_of(first)) > before + 60)
    portal.away = True
    for _ in range(2):
        agent.kill()
        agent.start()
    portal.away = False
    before = portal.wait(lambda: len(rows_of(first)))
    portal.wait(lambda: len(rows_of(first)) > before + 60, 60.0)
    with portal.lock:
        assert_gap_free(first)


@pytest.mark.parametrize(("broken", "code"), [("hash", "artefact_hash"), ("signature", "signature_invalid")])
def test_a_tampered_version_never_runs_and_the_portal_says_so(
    plant: Plant, portal: Portal, agents: Callable[[int], AgentProcess], broken: str, code: str
) -> None:
    first = plant.gateways[0]
    with portal.lock:
        good = signed_version(plant, bias=1.0)
        rollout_start(actor=None, version=good, adoption=plant.adoption, fast_forward=True)
    agents(0).start()
    key = plant.key()

    def running() -> str:
        first.refresh_from_db()
        return first.actual.get("installations", {}).get(key, {}).get("running", "")

    portal.wait(lambda: running() == str(good.pk))
    with portal.lock:
        bad = signed_version(plant, bias=2.0, break_it=broken)
        rollout = rollout_start(actor=None, version=bad, adoption=plant.adoption)

    def over() -> bool:
        rollouts_advance()
        rollout.refresh_from_db()
        return rollout.state == RolloutState.ROLLED_BACK

    portal.wait(over)
    with portal.lock:
        assert code in rollout.reason
        row = Installation.objects.get(version_of_model=bad)
        assert row.state == InstallationState.REFUSED
        assert row.reason.startswith(code)
        assert running() == str(good.pk)
        assert not InboxMessage.objects.filter(kind="inference", payload__contains=str(bad.pk).encode()).exists()


def test_stop_from_the_portal_on_the_gateway_and_a_retired_gateway(
    plant: Plant, portal: Portal, agents: Callable[[int], AgentProcess]
) -> None:
    first = plant.gateways[0]
    with portal.lock:
        rollout_start(actor=None, version=signed_version(plant, bias=1.0), adoption=plant.adoption, fast_forward=True)
    agent = agents(0).start()
    portal.wait(lambda: InboxMessage.objects.filter(kind="inference").exists())
    with portal.lock:
        stop = machine_stop(actor=None, device=first, reason="bearing", fallback="bypass")
    portal.wait(lambda: MachineStop.objects.get(pk=stop.pk).confirmed_at)
    with portal.lock:
        machine_release(actor=None, device=first)
    assert agent.command("stop", "--reason", "sparks").returncode == 0
    local = portal.wait(lambda: MachineStop.objects.filter(device=first, released_at=None, local=True).first())
    assert local.reason == "sparks"
    assert agent.command("resume").returncode == 0
    portal.wait(lambda: not MachineStop.objects.filter(device=first, released_at=None).exists())
    portal.wait(lambda: any(e.action == "gateway.resumed" for e in audit.history(first)))
    with portal.lock:
        plant.plc.gateway = plant.gateways[1]
        plant.plc.save()
        device_set_state(actor=None, device=first, state="retired")
        kept = InboxMessage.objects.filter(gateway=first).count()
        portal.calls.clear()
    portal.wait(lambda: len(portal.calls) >= 1)
    with portal.lock:
        assert InboxMessage.objects.filter(gateway=first).count() == kept
    assert agent.process is not None
    assert agent.process.poll() is None  # it keeps its data and tries again slowly
