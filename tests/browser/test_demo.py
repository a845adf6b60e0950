"""The demo as a program: its check, its refusals, what it survives, and its second start."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.browser.plant import ROOT, Demo, clean_environment, command, command_line, free_port, run, wait_for
from tests.conftest import skip_or_fail

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(1500),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found through /proc"),
]

GATEWAY = "gt1-gw-a"
STREAM = "turbine/rows"
BLOCKS_SINCE = """
    select m.sequence, m.rows, m.plant_from, m.plant_to from governance_inboxmessage m
    join devices_device d on d.id = m.gateway_id
    where d.code = ? and m.stream = ? and m.sequence > ? order by m.sequence
"""
NEWEST = """
    select max(m.sequence) from governance_inboxmessage m join devices_device d on d.id = m.gateway_id
    where d.code = ? and m.stream = ?
"""
UNDONE = "select count(*) from governance_inboxmessage where processed_at is null and sequence <= ? and stream = ?"


def ask(demo: Demo, sql: str, *values: Any) -> list[Any]:
    """Read the portal's database beside the portal."""
    with closing(sqlite3.connect(f"file:{demo.home / 'phasegate.sqlite3'}?mode=ro", uri=True, timeout=30)) as store:
        return store.execute(sql, values).fetchall()


def newest(demo: Demo) -> int:
    return int(ask(demo, NEWEST, GATEWAY, STREAM)[0][0])


def process_of(demo: Demo, *words: str) -> int:
    """The oldest process of the demo whose command line has all of these words."""
    return min(number for number, line in demo.processes().items() if all(word in line for word in words))


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "--home", str(tmp_path / "home"), "--port", str(port), timeout=60)
    assert done.returncode == 1
    assert f"Phasegate cannot start: port {port} is taken. Choose another: make demo PORT=" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_port_out_of_range_and_a_home_that_is_a_file_are_said(tmp_path: Path) -> None:
    done = run("up", "--home", str(tmp_path / "home"), "--port", "80", timeout=60)
    assert done.returncode == 1
    assert "choose one between 1024 and 65000" in done.stderr
    (tmp_path / "file").write_text("mine")
    done = run("up", "--home", str(tmp_path / "file" / "home"), "--port", "18999", timeout=60)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    """On a real file system of 60 MB, in a mount namespace of its own."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        skip_or_fail("mount namespaces are not available (util-linux, unshare)")
    small = tmp_path / "small"
    small.mkdir()
    start = shlex.join(command("up", "--home", str(small), "--port", "18998"))
    script = f"mount -t tmpfs -o size=60m tmpfs {shlex.quote(str(small))} && {start}; code=$?; ls {small}; exit $code"
    done = subprocess.run(
        [*alone, "sh", "-c", script],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(r"Phasegate cannot start: \d+ MB are free in .* and \d+ MB are needed", done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout.strip() == "", "something was left on the full disk"


def test_reset_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("dear")
    done = run("reset", "--home", str(tmp_path), timeout=60)
    assert done.returncode == 1
    assert "does not look like a demo's folder" in done.stderr
    assert (tmp_path / "photo.jpg").exists()


def test_check_without_a_running_demo_says_so(tmp_path: Path) -> None:
    done = run("check", "--home", str(tmp_path), timeout=60)
    assert done.returncode == 1
    assert "no demo is running" in done.stderr


def test_the_check_of_the_story_holds(demo: Demo) -> None:
    done = run("check", "--home", str(demo.home), timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The whole story holds." in done.stdout


def test_reset_refuses_while_the_demo_runs(demo: Demo) -> None:
    done = run("reset", "--home", str(demo.home), timeout=60)
    assert done.returncode == 1
    assert "the demo is running; stop it first" in done.stderr
    assert (demo.home / "phasegate.sqlite3").exists()


def test_a_second_demo_in_the_same_folder_is_refused(demo: Demo) -> None:
    done = run("up", "--home", str(demo.home), "--port", str(free_port()), timeout=60)
    assert done.returncode == 1
    assert f"runs already: {demo.url}" in done.stderr
    assert (demo.home / "demo.json").exists()


def test_worker_and_gateway_killed_at_work_lose_no_row(demo: Demo) -> None:
    site = demo.one("sites", code="turbine-hall-1")
    if demo.api(f"sites/{site['id']}/replay")["state"] == "finished":
        pytest.skip("the replay is over: no row comes any more")
    before = newest(demo)
    wait_for(lambda: newest(demo) >= before + 3, 120, "rows to come")
    killed = [process_of(demo, "celery", "worker"), process_of(demo, "edge_bridge.agent", GATEWAY)]
    children = [number for number, line in demo.processes().items() if "celery" in line and number not in killed]
    assert children, "the schedule and the pool run beside the worker"
    for number in killed:
        os.kill(number, signal.SIGKILL)
    wait_for(lambda: not any(command_line(number) for number in children), 30, "what the worker had started to end")

    def back() -> bool:
        try:
            now = [process_of(demo, "celery", "worker"), process_of(demo, "edge_bridge.agent", GATEWAY)]
        except ValueError:
            return False
        return not set(now) & set(killed)

    wait_for(back, 120, "worker and gateway to be started again")
    at_kill = newest(demo)
    wait_for(lambda: newest(demo) >= at_kill + 5, 180, "rows to go on")
    blocks = ask(demo, BLOCKS_SINCE, GATEWAY, STREAM, before)
    assert [row[0] for row in blocks] == list(range(before + 1, before + 1 + len(blocks))), "a block is missing"
    hour = timedelta(hours=1)
    for (_, rows, first, last), (_, _, following, _) in pairwise(blocks):
        begins, ends, then = (datetime.fromisoformat(text) for text in (first, last, following))
        assert ends - begins == (rows - 1) * hour
        # A year of the set is shorter than a calendar's: its last row is followed by 1 January.
        assert then - ends == hour or then.year > ends.year, f"rows are missing or doubled between {ends} and {then}"
    wait_for(lambda: ask(demo, UNDONE, at_kill, STREAM)[0][0] == 0, 240, "the worker to take up what came meanwhile")


def test_a_stop_and_a_second_start_go_on_where_it_was(demo: Demo) -> None:
    if demo.process is None:
        pytest.skip("the demo was started by somebody else (PHASEGATE_DEMO_HOME)")
    users = {role: user["token"] for role, user in demo.users.items()}
    assert "first start" in demo.output
    rows = newest(demo)
    use_case = demo.one("use-cases", code="nox-soft-sensor")["id"]
    demo.stop()
    demo.start()
    assert "first start" not in demo.output
    assert "history of" not in demo.output
    assert {role: user["token"] for role, user in demo.users.items()} == users
    assert demo.one("use-cases", code="nox-soft-sensor")["id"] == use_case
    assert newest(demo) >= rows


def test_nothing_is_left_when_the_demo_itself_is_killed(demo: Demo) -> None:
    if demo.process is None:
        pytest.skip("the demo was started by somebody else (PHASEGATE_DEMO_HOME)")
    demo.process.kill()
    demo.process.wait()
    demo.process = None
    wait_for(lambda: not demo.processes(), 60, "every process to end")
    demo.start()
    demo.process.send_signal(signal.SIGHUP)
    assert demo.process.wait(120) == 0, demo.output
    demo.process = None
    assert not demo.processes()
