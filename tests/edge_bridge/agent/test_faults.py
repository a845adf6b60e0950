"""Models that must not run, messages that cannot be sent, disks that are full."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_bridge import wire
from edge_bridge.agent.model import Model, ModelRefused
from edge_bridge.agent.store import Cursor, Store, StoreFull
from edge_bridge.demo.profiles import source
from edge_bridge.demo.replay import TURBINE_INPUTS
from tests.edge_bridge.agent.door import Door
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread, failing_model, linear_model, order

FEATURES = list(TURBINE_INPUTS)
MakePlc = Callable[..., PlcThread]


def _start(door: Door, machine: PlcThread, agent: AgentProcess, **more: object) -> wire.Installation:
    """An agent with version v1 running."""
    first = linear_model([1.0] + [0.0] * 8)
    one = order(first, features=FEATURES)
    door.artefacts[one.manifest.sha256] = first
    door.want(
        sources=[source("turbine", port=machine.port, poll_ms=20, window_ms=50)],
        installations=[one],
        poll_s=0.2,
        report_s=1.0,
        heartbeat_s=5.0,
        **more,
    )
    agent.start()
    door.wait(lambda: (p := door.installation("nox")) is not None and p.running == "v1", 30)
    return one


def _error(door: Door) -> str:
    place = door.installation("nox")
    return place.error.code if place is not None and place.error is not None else ""


def test_wrong_models_are_refused_and_the_running_one_keeps_running(
    door: Door, plc: MakePlc, agent: AgentProcess
) -> None:
    machine = plc("turbine", pace=100)
    _start(door, machine, agent)
    two = linear_model([0.0] * 9, bias=2.0)
    stranger = Ed25519PrivateKey.generate()
    downloads = len(door.ranges)
    orders = {
        "signature_invalid": order(two, version="v2", features=FEATURES, signed_by=stranger),
        "signing_key_unknown": order(two, version="v3", features=FEATURES, signed_by=stranger, key_id="other"),
    }
    for code, wanted in orders.items():
        door.artefacts[wanted.manifest.sha256] = two
        door.want(installations=[wanted])
        door.wait(lambda code=code: _error(door) == code, 20)
    assert len(door.ranges) == downloads, "not even downloaded"
    golden = wire.Golden(inputs=[[1.0] * 9], outputs=[99.0])
    rubbish = b"this is no model" * 10
    later = {
        "golden_mismatch": (two, order(two, version="v4", features=FEATURES, golden=golden)),
        "model_invalid": (rubbish, order(rubbish, version="v5", features=FEATURES)),
        "artefact_size": (two, order(two, version="v6", features=FEATURES, size=len(two) + 5)),
        "artefact_hash": (rubbish, order(two, version="v7", features=FEATURES, size=len(rubbish), sha256="ab" * 32)),
    }
    for code, (data, wanted) in later.items():
        door.artefacts[wanted.manifest.sha256] = data
        door.want(installations=[wanted])
        door.wait(lambda code=code: _error(door) == code, 20)
        assert door.installation("nox").running == "v1"
    count = len(door.bodies(wire.Inference))
    door.wait(lambda: len(door.bodies(wire.Inference)) > count + 3, 20)
    assert {body.model_version for body in door.bodies(wire.Inference)} == {"v1"}
    assert set(orders) | set(later) <= set(door.codes())


def test_a_download_goes_on_where_it_was_cut(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    _start(door, machine, agent)
    big = linear_model([0.0] * 9, bias=3.0)
    wide = order(big, version="v2", features=FEATURES)
    door.artefacts[wide.manifest.sha256] = big
    with door.news:
        door.artefact_faults += ["cut", "404", "wrong", "short"]
    door.want(installations=[wide])
    door.wait(lambda: door.installation("nox").running == "v2", 60)
    ranges = door.ranges[-4:]
    assert ranges[0] == "" and ranges[1] == f"bytes={len(big) // 2}-", ranges
    assert {"artefact_unavailable", "artefact_hash", "artefact_size", "activated"} <= set(door.codes())


def test_a_model_that_fails_at_work_is_rolled_back(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=300)
    _start(door, machine, agent)
    bad = failing_model(9)
    two = order(bad, version="v2", features=FEATURES)
    door.artefacts[two.manifest.sha256] = bad
    door.want(installations=[two])
    door.wait(lambda: "rolled_back" in door.codes(), 30)
    door.wait(lambda: door.installation("nox").state == "fallback" and door.installation("nox").running == "v1", 20)
    failed = [body for body in door.bodies(wire.Inference) if body.model_version == "v2"]
    assert failed and all(body.refused == body.rows for body in failed if body.rows > 1)
    agent.kill()
    agent.start()
    count = len(door.reported)
    door.wait(lambda: len(door.reported) > count + 1, 30)
    assert door.installation("nox").running == "v1", "a restart does not try the bad one again"
    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1))


def test_refused_and_postponed_messages(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    with door.news:
        door.faults += ["retry", "503", "retry"]
        door.refuse["turbine/labels"] = "unknown_stream"
    _start(door, machine, agent)
    door.wait(lambda: "message_refused" in door.codes() and len(door.rows("turbine")) > 100, 30)
    door.wait(lambda: door.last().refused_messages > 0, 20)
    assert any(error.code == "message_refused" for error in door.last().errors)
    with door.news:
        door.token = "changed"
    _wait_for(lambda: "bad_token" in agent.log())
    acked = machine.plc.slots[0]["acked"]
    _wait_for(lambda: machine.plc.slots[0]["acked"] > acked + 50)
    assert agent.terminate() == 0


def test_a_full_store_holds_the_plc_back_and_loses_nothing(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=0)
    _start(door, machine, agent, max_backlog_bytes=65536)
    with door.news:
        door.away = True
    log = agent.state_dir.parent / "agent.log"
    _wait_for(lambda: "store_full" in log.read_text())
    held = machine.plc.slots[0]["acked"]
    with door.news:
        door.away = False
    door.wait(lambda: len(door.rows("turbine")) > held + 200, 40)
    door.wait(lambda: "store_back" in door.codes(), 20)
    assert "store_full" in door.codes()
    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1))


def test_enrolment(door: Door, agent: AgentProcess) -> None:
    with door.news:
        door.enrol_faults.append("cut")
        door.sequences = {"events": 41}
    state = agent.state_dir
    lost = agent.command("enrol", "--portal", door.url, "--claim-code", "CLAIM-1")
    assert lost.returncode == 1 and "not enrolled" in lost.stderr
    again = agent.command("enrol", "--portal", door.url, "--claim-code", "CLAIM-1")
    assert again.returncode == 0 and "Gateway A" in again.stdout, again.stderr
    assert stat.S_IMODE((state / "identity.json").stat().st_mode) == 0o600
    assert not (state / "enrolment.json").exists()
    twice = agent.command("enrol", "--portal", door.url, "--claim-code", "CLAIM-1")
    assert twice.returncode == 2 and "enrolled already" in twice.stderr
    agent.start()
    door.wait(lambda: ("events", 42) in door.inbox, 20)
    assert min(sequence for stream, sequence in door.inbox if stream == "events") == 42
    second = agent.command("run")
    assert second.returncode == 2 and "runs already" in second.stderr
    assert agent.terminate() == 0
    other = AgentProcess(state.parent / "other", door.url)
    for code, wanted in (("CLAIM-1", "claim_used"), ("NOPE-9", "claim_unknown")):
        refused = other.command("run", "--portal", door.url, "--claim-code", code)
        assert refused.returncode == 3 and wanted in refused.stderr
    plain = other.command("enrol", "--portal", "http://portal.example", "--claim-code", "CLAIM-1")
    assert plain.returncode == 2 and "unencrypted" in plain.stderr


# ---- parts ---------------------------------------------------------------------------------------------------------------


def test_rows_that_no_model_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(linear_model([1.0, 1.0]))
    wanted = order(path.read_bytes(), features=["a", "b"], limits={"a": (0.0, 10.0)})
    model = Model(path, wanted.manifest)
    rows = np.array([[1, 1], [np.nan, 1], [11, 1], [-1, 1], [2, np.inf], [3, 4]], dtype=float)
    answer = model.ask(100, rows, rows[:0])
    assert np.array_equal(np.isnan(answer.values), [False, True, True, True, True, False])
    assert answer.values[[0, 5]].tolist() == [2.0, 7.0]
    assert [(r.row, r.reason, r.feature) for r in answer.named] == [
        (101, "missing", "a"),
        (102, "high", "a"),
        (103, "low", "a"),
        (104, "missing", "b"),
    ]
    assert answer.refused == 4
    p50, p99, calls = model.latency()
    assert 0 < p50 <= p99 and calls == 1


def test_a_window_warms_up_and_a_bad_row_spoils_its_windows(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(linear_model([1.0, 10.0, 100.0]))
    model = Model(path, order(path.read_bytes(), features=["a"], window=3).manifest)
    answer = model.ask(1, np.array([[1.0], [2.0], [3.0], [np.nan], [5.0], [6.0], [7.0]]), np.empty((0, 1)))
    assert answer.warming == 2 and answer.refused == 3
    assert answer.values[2] == 321.0 and answer.values[6] == 765.0
    again = model.ask(8, np.array([[8.0]]), np.array([[6.0], [7.0]]))
    assert again.values.tolist() == [876.0] and not again.warming


def test_a_model_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(linear_model([1.0, 1.0]))
    with pytest.raises(ModelRefused) as caught:
        Model(path, order(path.read_bytes(), features=["a", "b", "c"]).manifest)
    assert caught.value.code == "model_invalid"


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db", "gw")
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages + 4}")
    body = wire.Event(wall_ms=1, code="x", detail="y" * 1500)
    stored, full = 0, False
    while not full:
        try:
            with store.transaction(rows=True) as step:
                step.add("s/rows", body)
                step.move(Cursor("s", run=1, row=stored + 1))
            stored += 1
        except StoreFull:
            full = True
    assert 0 < stored < 99
    assert store.cursor("s").row == stored == store.backlog_messages
    sent = store.oldest()
    assert [message.sequence for message in sent] == list(range(1, stored + 1))
    gone, _ = store.settle(sent, [wire.Ack(stream=m.stream, sequence=m.sequence, status="accepted") for m in sent])
    assert gone == stored and store.backlog_bytes == 0
    with store.transaction(rows=True) as step:
        assert step.add("s/rows", body) == stored + 1
    store.close()


def _wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    import threading
    import time

    pause = threading.Event()
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        pause.wait(0.05)
