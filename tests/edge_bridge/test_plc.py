"""The replaying PLC: its data, its state machine, and the registers as a real Modbus client sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_bridge.agent.modbus import PlcClient, PlcRefused, PlcUnreachable
from edge_bridge.demo.machine import BLOCK_ROWS, RING, SLOT_BASE, Refused, ReplayPlc, StateError
from edge_bridge.demo.profiles import CODES, channels, source
from edge_bridge.demo.replay import load, load_process, load_turbine, load_workshop
from tests.edge_bridge.agent.plant import ROOT, PlcThread

TAKE, ACK, ACK_LAB = SLOT_BASE + 28, SLOT_BASE + 20, SLOT_BASE + 24


def _words(number: int, count: int = 4) -> list[int]:
    return [number >> 16 * i & 0xFFFF for i in reversed(range(count))]


# ---- data --------------------------------------------------------------------------------------------------------------


def test_turbine() -> None:
    data = load_turbine()
    assert data.values.shape == (29349, 9) and data.label.shape == (29349,)
    assert data.values[0].tolist() == [4.5878, 1018.7, 83.675, 3.5758, 23.979, 1086.2, 549.83, 134.67, 11.898]
    assert data.label[0] == 81.952 and data.label_delay == 24
    steps = np.diff(data.plant_ms)
    assert data.plant_ms[0] == 1293840000000 and np.count_nonzero(steps != 3_600_000) == 3
    assert (data.plant_ms[data.first_of("2014")] - np.datetime64("2014-01-01", "ms").astype(np.int64)) == 0
    assert [data.first_of(year) for year in ("2011", "2012", "2013", "2014")] == [0, 7411, 15039, 22191]
    assert data.nominal_time and not data.simulated
    with pytest.raises(KeyError):
        data.first_of("2015")


def test_workshop() -> None:
    data = load_workshop()
    assert data.values.shape == (22695, 1) and not data.nominal_time
    back = np.flatnonzero(np.diff(data.plant_ms) < 0)
    assert back.size == 1
    assert np.datetime64(int(data.plant_ms[back[0]]), "ms") == np.datetime64("2014-01-07T02:55")
    assert np.datetime64(int(data.plant_ms[back[0] + 1]), "ms") == np.datetime64("2014-01-07T02:00")
    assert len(data.anomalies) == 4


def test_process() -> None:
    data = load_process()
    assert data.values.shape == (7220, 52) and data.simulated
    assert data.group[0] == "d00" and data.first_of("d01_te") == 1460
    assert data.fault.sum() == 6 * 800 and not data.fault[:1460].any()


@pytest.mark.parametrize("profile", list(CODES))
def test_registers_hold_the_data_exactly(profile: str) -> None:
    data = load(profile)
    for column, channel in enumerate(channels(profile)):
        values = data.values[:, column]
        assert channel.name == data.columns[column]
        assert channel.low < values.min() and values.max() < channel.high
        if channel.type == "int32":
            assert np.array_equal(np.rint(values * channel.divisor) / channel.divisor, values)
            assert np.abs(values * channel.divisor).max() < 2**31


# ---- state machine ---------------------------------------------------------------------------------------------------------


def test_it_waits_for_its_first_reader_and_keeps_pace() -> None:
    plc = ReplayPlc(load_turbine(), pace=4)
    plc.tick(0)
    plc.tick(100)
    assert plc.produced == 0
    plc.write(TAKE, [1])
    for tenth in range(1, 101):
        plc.tick(100 + tenth / 10)
    assert plc.produced == 40
    plc.write(41, [1])
    plc.tick(200)
    assert plc.produced == 40
    plc.write(41, [0])
    plc.write(40, [1000])
    plc.tick(200.0)
    plc.tick(201.0)
    assert plc.produced == 50


def test_it_never_runs_past_what_a_reader_has_not_acknowledged() -> None:
    plc = ReplayPlc(load_turbine(), pace=0)
    plc.write(TAKE, [1])
    plc.write(TAKE + 4000, [1])
    plc.tick(0)
    plc.tick(1)
    assert plc.produced == RING
    plc.write(ACK, _words(16))
    plc.tick(2)
    assert plc.produced == RING, "the other slot still waits"
    plc.write(ACK + 4000, _words(10))
    plc.tick(3)
    assert plc.produced == RING + 10
    plc.write(TAKE + 4000, [0])
    plc.tick(4)
    assert plc.produced == RING + 16, "a released slot holds nothing"
    for bad in (15, plc.produced + 1):
        with pytest.raises(Refused):
            plc.write(ACK, _words(bad))


def test_laboratory_values_come_24_rows_late_and_all_of_them() -> None:
    plc = ReplayPlc(load_turbine(), pace=10, start_row=29349 - 40)
    plc.write(TAKE, [1])
    plc.tick(0)
    plc.tick(4)
    assert plc.produced == 40 and plc.remaining == 0
    assert plc.lab_released == 16
    plc.tick(5)
    assert plc.lab_released == 26
    plc.tick(8)
    assert plc.lab_released == 40 and plc.state == 3


def test_a_jump_begins_an_epoch_and_no_block_spans_it() -> None:
    plc = ReplayPlc(load_turbine(), pace=0)
    plc.write(TAKE, [1])
    plc.pace = 10
    plc.tick(0)
    plc.tick(0.5)
    assert plc.produced == 5
    plc.write(42, _words(20000, 2))
    plc.tick(1.5)
    assert (plc.epoch, plc.index_of(5), plc.index_of(6), plc.position) == (1, 4, 20000, 20010)
    assert plc.block(plc.slots[0]) == (1, 5)
    plc.write(ACK, _words(5))
    assert plc.block(plc.slots[0]) == (6, 10)
    with pytest.raises(Refused):
        plc.write(42, _words(29349, 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["tick", "ack", "jump", "restart"]), st.integers(0, 29348)), max_size=30))
def test_whatever_happens_a_reader_sees_every_row_once(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    path = tmp_path_factory.mktemp("plc") / "state.json"
    plc = ReplayPlc(load_turbine(), pace=10, state=path)
    plc.write(TAKE, [1])
    seen: list[int] = []
    now = 0.0
    for what, number in steps:
        now += 1.0
        plc.tick(now)
        if what == "ack":
            first, count = plc.block(plc.slots[0])
            assert count <= BLOCK_ROWS
            seen += range(first, first + count)
            if count:
                plc.write(ACK, _words(first + count - 1))
            plc.save()
        elif what == "jump":
            plc.write(42, _words(number, 2))
        elif what == "restart":
            plc.save()
            rows = [plc.index_of(n) for n in range(1, plc.produced + 1)]
            plc = ReplayPlc(load_turbine(), state=path)
            assert [plc.index_of(n) for n in range(1, plc.produced + 1)] == rows
    assert seen == list(range(1, len(seen) + 1))


def test_a_state_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    with pytest.raises(StateError, match="damaged"):
        ReplayPlc(load_turbine(), state=path)
    path.unlink()
    ReplayPlc(load_turbine(), state=path).save()
    with pytest.raises(StateError, match="turbine"):
        ReplayPlc(load_workshop(), state=path)
    with pytest.raises(StateError, match="start row"):
        ReplayPlc(load_workshop(), start_row=99999)


# ---- over the wire -------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine() -> Iterator[PlcThread]:
    made = PlcThread("turbine", pace=0)
    yield made
    made.close()


def test_two_readers_read_the_same_rows_each_at_its_own_speed(machine: PlcThread) -> None:
    data = load_turbine()
    clients = [PlcClient(source("turbine", port=machine.port, slot=slot)) for slot in (0, 1)]
    for client in clients:
        client.connect()
        client.take(True)
    read = [0, 0]
    for turn in range(60):
        which = 0 if turn % 3 else 1
        client = clients[which]
        head, slot = client.head(), client.slot()
        rows = client.rows(head, slot)
        assert rows.first == read[which] + 1 and len(rows) == 16
        at = slice(rows.first - 1, rows.first - 1 + len(rows))
        assert np.array_equal(rows.values, data.values[at]) and np.array_equal(rows.plant_ms, data.plant_ms[at])
        lab = client.lab(slot)
        if lab.row.size:
            assert np.array_equal(lab.values, data.label[lab.row - 1])
        read[which] += len(rows)
        client.acknowledge(read[which])
    assert read == [40 * 16, 20 * 16]
    again = clients[0].slot()
    assert (again.first, again.acked) == (641, 640)
    for client in clients:
        client.close()


def test_what_the_plc_refuses(machine: PlcThread) -> None:
    client = PlcClient(source("turbine", port=machine.port))
    client.connect()
    with pytest.raises(PlcRefused):
        client.acknowledge(2**40)
    with pytest.raises(PlcRefused):
        client.jump(99999)
    with pytest.raises(PlcRefused):
        client._read(60000, 2)
    wrong = PlcClient(source("process", port=machine.port))
    wrong.connect()
    with pytest.raises(PlcRefused, match="outside a row"):
        wrong.head()
    client.close()
    wrong.close()
    machine.close()
    with pytest.raises(PlcUnreachable):
        client.connect()


def test_the_command_resumes_and_says_what_is_wrong(tmp_path: Path) -> None:
    state = tmp_path / "plc.json"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_bridge.demo.plc", "--profile", "workshop", *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    state.write_text("not json")
    broken = run("--port", "0", "--state", str(state))
    assert broken.returncode == 2 and "damaged" in broken.stderr
    first = PlcThread("turbine")
    taken = run("--port", str(first.port))
    first.close()
    assert taken.returncode == 2 and "cannot listen" in taken.stderr and str(first.port) in taken.stderr
    assert run("--port", "0", "--pace", "1000").returncode == 2

    state.unlink()
    one = PlcThread("turbine", state=state, pace=0)
    client = PlcClient(source("turbine", port=one.port))
    client.connect()
    client.take(True)
    client.acknowledge(100)
    client.close()
    one.close()
    two = PlcThread("turbine", state=state)
    assert two.plc.slots[0]["acked"] == 100 and two.plc.run == one.plc.run
    two.close()
