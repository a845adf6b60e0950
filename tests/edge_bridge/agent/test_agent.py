"""The agent as a real process, a real PLC, a real door."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_bridge import wire
from edge_bridge.demo.profiles import source
from edge_bridge.demo.replay import TURBINE_INPUTS, load_turbine
from tests.edge_bridge.agent.door import Door
from tests.edge_bridge.agent.plant import (
    ROOT,
    AgentProcess,
    PlcThread,
    linear_model,
    order,
    shrinking_autoencoder,
    tree_model,
)

FEATURES = list(TURBINE_INPUTS)
MakePlc = Callable[..., PlcThread]


def _quick(**more: object) -> dict[str, object]:
    return {"poll_s": 0.2, "report_s": 1.0, "heartbeat_s": 1.0, **more}


def _source(plc: PlcThread, **more: object) -> wire.SourceConfig:
    return source("turbine", port=plc.port, poll_ms=20, window_ms=50, **more)


def test_rows_predictions_and_labels_arrive_exactly(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    data = load_turbine()
    tree, fitted = tree_model(data.values[:3000], data.label[:3000])
    encoder = shrinking_autoencoder(9)
    mean, scale = data.values[:3000].mean(axis=0).tolist(), data.values[:3000].std(axis=0).tolist()
    door.artefacts = {}
    orders = [
        order(tree, features=FEATURES, output="NOX", unit="mg/m3"),
        order(encoder, key="anomaly", version="a1", features=FEATURES, task="reconstruction", mean=mean, scale=scale),
    ]
    door.artefacts = {orders[0].manifest.sha256: tree, orders[1].manifest.sha256: encoder}
    door.want(sources=[_source(machine)], installations=orders, **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 300 and len(door.bodies(wire.Labels)) > 5, 30)
    assert agent.terminate() == 0

    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1))
    for body in door.bodies(wire.Telemetry):
        at = slice(body.first_row - 1, body.first_row - 1 + body.rows)
        assert wire.times(body.times, body.rows).tolist() == data.plant_ms[at].tolist()
        for i, name in enumerate(FEATURES):
            assert np.array_equal(wire.floats(body.columns[name]), data.values[at, i])
        assert body.replay and not body.simulated and not body.quality
    predicted = door.bodies(wire.Inference, "turbine/inference/nox")
    assert predicted
    telemetry = {wire.open_envelope(d).sequence: d for (s, _), d in door.inbox.items() if s == "turbine/rows"}
    for body in predicted:
        linked = wire.open_body(wire.open_envelope(telemetry[body.input_sequence]))
        assert (linked.first_row, linked.rows) == (body.first_row, body.rows)
        at = slice(body.first_row - 1, body.first_row - 1 + body.rows)
        expected = fitted.predict(data.values[at].astype(np.float32))
        assert np.allclose(wire.floats(body.predictions), expected, atol=1e-3)
        assert body.latency_p99_us >= body.latency_p50_us > 0
    for body in door.bodies(wire.Inference, "turbine/inference/anomaly"):
        z = (data.values[body.first_row - 1 : body.first_row - 1 + body.rows] - mean) / scale
        assert np.allclose(wire.floats(body.predictions), np.mean((0.5 * z) ** 2, axis=1), rtol=1e-4)
    labels = np.concatenate([wire.ints(body.row) for body in door.bodies(wire.Labels)])
    assert labels.tolist() == list(range(1, len(labels) + 1)) and len(labels) <= len(rows)
    values = np.concatenate([wire.floats(body.values) for body in door.bodies(wire.Labels)])
    assert np.array_equal(values, data.label[: len(values)])
    codes = door.codes()
    assert codes.count("started") == 1 and codes.count("activated") == 2 and codes[-1] == "shut_down"
    beats = door.bodies(wire.Heartbeat)
    assert beats and sum(beat.rows for beat in beats) == len(rows)
    assert door.last().memory_bytes < 220e6
    assert door.last().clock_offset_ms is not None


def test_killed_in_mid_work_nothing_is_lost_or_doubled(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=600)
    model = linear_model([0.1] * 9)
    wanted = order(model, features=FEATURES)
    door.artefacts = {wanted.manifest.sha256: model}
    door.want(sources=[_source(machine)], installations=[wanted], **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 100, 30)
    for fault in ("cut_after", "cut", "503", "cut_after"):
        before = len(door.inbox)
        with door.news:
            door.faults.append(fault)
        door.wait(lambda before=before: len(door.inbox) > before + 20, 30)
        agent.kill()
        agent.start()
        before = len(door.inbox)
        door.wait(lambda before=before: len(door.inbox) > before + 20, 30)
    assert agent.terminate() == 0
    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1)) and len(rows) > 300
    assert door.conflicts == 0
    for stream in {stream for stream, _ in door.inbox}:
        sequences = sorted(sequence for name, sequence in door.inbox if name == stream)
        assert sequences == list(range(1, len(sequences) + 1)), stream
    inferred = sorted((b.first_row, b.rows) for b in door.bodies(wire.Inference))
    stored = sorted((b.first_row, b.rows) for b in door.bodies(wire.Telemetry))
    assert set(inferred) <= set(stored) and len(set(inferred)) == len(inferred)
    assert len(door.rows("turbine")) == machine.plc.slots[0]["acked"]


def test_portal_away_is_bridged_and_the_agent_starts_without_it(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=300)
    door.want(sources=[_source(machine)], **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 50, 30)
    with door.news:
        door.away = True
        stored = len(door.rows("turbine"))
    agent.kill()
    agent.start()
    assert _until(lambda: machine.plc.slots[0]["acked"] > stored + 300)
    with door.news:
        assert len(door.rows("turbine")) == stored
        door.away = False
    door.wait(lambda: len(door.rows("turbine")) > stored + 300, 40)
    assert agent.terminate() == 0
    rows = door.rows("turbine")
    assert rows == list(range(1, len(rows) + 1))
    assert door.duplicates == 0 or door.conflicts == 0


def test_local_stop_needs_no_portal(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=50)
    model = linear_model([1.0] + [0.0] * 8)
    wanted = [
        order(model, features=FEATURES, fallback="bypass"),
        order(model, key="other", features=FEATURES, fallback="last_good"),
    ]
    door.artefacts = {wanted[0].manifest.sha256: model}
    door.want(sources=[_source(machine)], installations=wanted, **_quick())
    agent.start()
    door.wait(lambda: len(door.bodies(wire.Inference)) > 5, 30)
    with door.news:
        door.away = True
    stopped = agent.command("stop", "--reason", "smoke at the burner")
    assert stopped.returncode == 0, stopped.stderr
    assert "nox: bypassed" in stopped.stdout
    acked = machine.plc.slots[0]["acked"]
    assert _until(lambda: machine.plc.slots[0]["acked"] > acked + 20)
    status = json.loads(agent.command("status").stdout)
    assert status["running"] and status["last_status"]["stopped_locally"]
    assert status["stopped_locally"] == {"*": "smoke at the burner"}
    with door.news:
        door.away = False
        door.want(stopped=False)
    door.wait(lambda: bool(door.reported) and door.last().stopped_locally, 40)
    door.wait(lambda: len(door.rows("turbine")) >= acked + 20, 40)
    inferred = max(b.first_row + b.rows for b in door.bodies(wire.Inference))
    assert inferred <= acked + 50, "inference went on after the stop"
    assert {place.state for place in door.last().installations} == {"bypassed"}
    assert {place.stopped_by for place in door.last().installations} == {"local"}
    resumed = agent.command("resume")
    assert resumed.returncode == 0, resumed.stderr
    count = len(door.bodies(wire.Inference))
    door.wait(lambda: len(door.bodies(wire.Inference)) > count + 3, 20)
    assert [c for c in door.codes() if c in ("stopped", "resumed")] == ["stopped", "stopped", "resumed", "resumed"]


def test_shutdown_fallback_releases_the_plc(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=0)
    other = machine.plc.slots[1]
    model = linear_model([1.0] + [0.0] * 8)
    wanted = order(model, features=FEATURES, fallback="shutdown")
    door.artefacts = {wanted.manifest.sha256: model}
    door.want(sources=[_source(machine)], installations=[wanted], **_quick())
    agent.start()
    door.wait(lambda: len(door.bodies(wire.Inference)) > 2, 30)
    assert agent.command("stop").returncode == 0
    assert _until(lambda: not machine.plc.slots[0]["active"])
    acked = machine.plc.slots[0]["acked"]
    # Another gateway reads on, far beyond what the PLC holds for the one that is shut down.
    other["active"], other["acked"] = True, machine.plc.produced
    while machine.plc.remaining and machine.plc.produced < acked + 9000:
        machine.plc.tick(machine.plc.produced)
        other["acked"] = machine.plc.produced
    assert agent.command("resume").returncode == 0
    door.wait(lambda: "rows_missed" in door.codes(), 20)
    missed = next(event for event in door.bodies(wire.Event) if event.code == "rows_missed")
    assert missed.data["first"] == acked + 1
    door.wait(lambda: door.rows("turbine")[-1] > missed.data["last"], 20)
    rows = door.rows("turbine")
    assert rows[:acked] == list(range(1, acked + 1)) and rows[acked] == missed.data["last"] + 1


def test_portal_stop_falls_back_to_last_good(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    first, second = linear_model([1.0] + [0.0] * 8), linear_model([0.0] * 9, bias=7.0)
    one = order(first, features=FEATURES)
    two = order(second, version="v2", features=FEATURES)
    door.artefacts = {one.manifest.sha256: first, two.manifest.sha256: second}
    door.want(sources=[_source(machine)], installations=[one], **_quick())
    agent.start()
    door.wait(lambda: (p := door.installation("nox")) is not None and p.running == "v1", 30)
    door.want(installations=[two])
    door.wait(lambda: door.installation("nox").running == "v2", 20)
    assert door.installation("nox").last_good == "v1"
    door.want(stopped=True)
    door.wait(lambda: door.installation("nox").state == "fallback", 20)
    assert door.installation("nox").stopped_by == "portal" and door.installation("nox").running == "v1"
    door.wait(lambda: any(b.fallback for b in door.bodies(wire.Inference)), 20)
    assert all(b.model_version == "v1" for b in door.bodies(wire.Inference) if b.fallback)
    door.want(stopped=False, installations=[one])
    door.wait(lambda: door.installation("nox").running == "v1" and door.installation("nox").state == "active", 20)
    assert len(door.ranges) == 2, "a rollback needs no download"
    agent.kill()
    agent.start()
    count = len(door.reported)
    door.wait(lambda: len(door.reported) > count and door.installation("nox").running == "v1", 20)


@pytest.mark.parametrize("profile", ["workshop", "process"])
def test_other_profiles(door: Door, plc: MakePlc, agent: AgentProcess, profile: str) -> None:
    from edge_bridge.demo.replay import load

    start = 10100 if profile == "workshop" else 0
    machine = plc(profile, pace=0, start_row=start)
    data = load(profile)
    model = linear_model([0.25] * 4) if profile == "workshop" else linear_model([1.0] + [0.0] * 51)
    wanted = order(model, source=profile, features=list(data.columns), window=4 if profile == "workshop" else 1)
    door.artefacts = {wanted.manifest.sha256: model}
    door.want(sources=[source(profile, port=machine.port, poll_ms=20)], installations=[wanted], **_quick())
    agent.start()
    door.wait(lambda: len(door.bodies(wire.Inference)) > 20, 30)
    agent.kill()
    agent.start()
    count = len(door.bodies(wire.Inference))
    door.wait(lambda: len(door.bodies(wire.Inference)) > count + 10, 30)
    assert agent.terminate() == 0
    rows = door.rows(profile)
    assert rows == list(range(1, len(rows) + 1))
    times = np.concatenate([wire.times(b.times, b.rows) for b in door.bodies(wire.Telemetry)])
    assert np.array_equal(times, data.plant_ms[start : start + len(times)])
    if profile == "workshop":
        assert (np.diff(times) < 0).sum() == 1
        values = data.values[start:, 0]
        warming = 0
        for body in door.bodies(wire.Inference):
            at = body.first_row - 1
            found = wire.floats(body.predictions)
            warming += body.warming
            for i in range(body.warming, body.rows):
                assert found[i] == pytest.approx(values[at + i - 3 : at + i + 1].mean(), rel=1e-5)
        assert warming <= 3, "the rows before a restart are remembered"
    else:
        assert all(body.simulated for body in door.bodies(wire.Telemetry))


def test_the_portal_steers_the_replay(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=50)
    steered = _source(machine, controls_replay=True)
    door.want(sources=[steered], **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 30, 30)
    jump = wire.ReplayJump(id="jump-1", row=21591)
    door.want(replay=[wire.ReplayControl(source="turbine", pace=200, jump=jump)])
    door.wait(lambda: "replay_jumped" in door.codes(), 20)
    door.wait(lambda: any(body.epoch == 1 for body in door.bodies(wire.Telemetry)), 20)
    agent.kill()
    agent.start()
    count = len(door.rows("turbine"))
    door.wait(lambda: len(door.rows("turbine")) > count + 200, 20)
    assert machine.plc.epoch == 1 and machine.plc.pace == 200, "a jump is made once"
    door.want(replay=[wire.ReplayControl(source="turbine", pace=200, paused=True, jump=jump)])
    door.wait(lambda: door.last().sources[0].replay == "paused", 20)
    report = door.last().sources[0]
    assert report.position == machine.plc.position and report.remaining == machine.plc.remaining
    assert report.last_jump == "jump-1"
    door.want(
        replay=[wire.ReplayControl(source="turbine", pace=0, paused=False, jump=wire.ReplayJump(id="end", row=29300))]
    )
    door.wait(lambda: "replay_finished" in door.codes(), 30)
    door.wait(lambda: machine.plc.slots[0]["lab_acked"] == machine.plc.produced, 20)
    assert agent.terminate() == 0
    rows = door.rows("turbine")
    assert rows == list(range(1, machine.plc.produced + 1))
    data = load_turbine()
    for body in door.bodies(wire.Telemetry):
        at = machine.plc.index_of(body.first_row)
        assert np.array_equal(wire.floats(body.columns["AT"]), data.values[at : at + body.rows, 0])
    labels = np.concatenate([wire.ints(body.row) for body in door.bodies(wire.Labels)])
    assert labels.tolist() == rows, "every row gets its laboratory value, across jumps and the end"


def test_two_gateways_read_one_plc(tmp_path: Path, door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=200)
    other_door = Door(gateway="gw-2", signing_keys=door.signing_keys)
    other = AgentProcess(tmp_path / "b" / "state", other_door.url)
    other.state_dir.parent.mkdir()
    try:
        door.want(sources=[_source(machine, slot=0)], **_quick())
        other_door.want(sources=[_source(machine, slot=1)], **_quick())
        agent.start()
        other.start()
        for one in (door, other_door):
            one.wait(lambda one=one: len(one.rows("turbine")) > 200, 30)
        assert agent.terminate() == 0
        assert other.terminate() == 0
        for one in (door, other_door):
            assert one.rows("turbine") == list(range(1, len(one.rows("turbine")) + 1))
        assert {b.run for b in door.bodies(wire.Telemetry)} == {b.run for b in other_door.bodies(wire.Telemetry)}
    finally:
        if other.process is not None and other.process.poll() is None:
            other.kill()
        other_door.close()


def test_plain_registers_are_polled(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    machine.plc.slots[0]["active"] = True
    polled = wire.SourceConfig(
        name="plain",
        host="127.0.0.1",
        port=machine.port,
        mode="poll",
        poll_ms=20,
        window_rows=5,
        window_ms=500,
        channels=[
            wire.ChannelConfig(name="produced", address=6, type="uint32"),
            wire.ChannelConfig(name="pace", address=10, type="uint16", divisor=100.0, high=50.0),
        ],
    )
    door.want(sources=[polled], **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("plain")) > 20, 30)
    agent.kill()
    agent.start()
    count = len(door.rows("plain"))
    door.wait(lambda: len(door.rows("plain")) > count + 20, 30)
    assert agent.terminate() == 0
    rows = door.rows("plain")
    assert rows == list(range(1, len(rows) + 1))
    for body in door.bodies(wire.Telemetry):
        assert wire.floats(body.columns["pace"]).tolist() == [100.0] * body.rows
        assert set(body.quality["pace"]) == {wire.HIGH} and "produced" not in body.quality
        assert not body.replay


def test_a_configuration_that_cannot_be_carried_out_is_reported(door: Door, plc: MakePlc, agent: AgentProcess) -> None:
    machine = plc("turbine", pace=100)
    door.want(sources=[_source(machine)], **_quick())
    agent.start()
    door.wait(lambda: len(door.rows("turbine")) > 20, 30)
    door.want(sources=[_source(machine), _source(machine)])
    door.wait(lambda: "config_invalid" in door.codes(), 20)
    count = len(door.rows("turbine"))
    door.wait(lambda: len(door.rows("turbine")) > count + 50, 20)
    wrong = source("process", port=machine.port)
    door.want(sources=[wrong])
    door.wait(lambda: any(error.code == "plc_refused" for error in door.last().errors), 20)
    door.want(sources=[_source(machine)])
    count = len(door.rows("turbine"))
    door.wait(lambda: len(door.rows("turbine")) > count + 50, 20)
    door.wait(lambda: not door.last().errors, 20)


def test_a_gateway_needs_nothing_of_the_portal() -> None:
    code = (
        "import sys, edge_bridge.agent.cli, edge_bridge.agent.runner;"
        "ours = {m for m in sys.modules if m.split('.')[0] in ('portal','devices','usecases','governance','coe','marketplace','django')"
        " or (m.startswith('edge_bridge.') and not m.startswith(('edge_bridge.agent', 'edge_bridge.wire')))};"
        "sys.exit(f'imports {ours}' if ours else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    import threading
    import time

    pause = threading.Event()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        pause.wait(0.05)
    return False
