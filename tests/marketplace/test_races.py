"""Many calls at the same moment: not a row over the quota, no call billed twice. On a SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
# As race_child.py runs it (importing it would set Django up a second time).
THREADS, CALLS, ROWS, QUOTA = 6, 8, 3, 100


def binaries() -> Path:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("createdb")
    if not places and found:
        places = [Path(found).resolve().parent]
    if not places:
        skip_or_fail("PostgreSQL is not installed")
    return places[-1]


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own on a free port; it does not run as root, so root lends it to the user postgres."""
    tools = binaries()
    folder = Path(tempfile.mkdtemp(prefix="phasegate-pg-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        who = {"user": "postgres", "group": "postgres"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([tools / "initdb", "-D", data, "-U", "pg", "-A", "trust", "--no-sync"], check=True, **quiet, **who)
    command = [tools / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
    with subprocess.Popen(command, **quiet, **who) as server:
        try:
            ask = [tools / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "pg", "race"]
            until = time.monotonic() + 60
            while subprocess.run(ask, check=False, **quiet).returncode != 0:
                if time.monotonic() > until:
                    pytest.fail("PostgreSQL did not start")
                time.sleep(0.2)
            yield f"postgresql://pg@127.0.0.1:{port}/race"
        finally:
            server.terminate()
            server.wait(20)
            shutil.rmtree(folder, ignore_errors=True)


def run_child(url: str, home: Path) -> dict[str, Any]:
    environment = os.environ | {"DATABASE_URL": url, "PHASEGATE_HOME": str(home), "PHASEGATE_TESTING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.marketplace.race_child"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def judge(found: dict[str, Any]) -> None:
    once = CALLS * ROWS
    assert found["after_repeats"] == once
    assert found["repeated"]["answered"] == CALLS
    assert found["repeated"]["replayed"] == CALLS * (THREADS - 1)
    fit = (QUOTA - once) // ROWS
    assert found["plain"]["answered"] == fit
    assert found["plain"]["quota_exceeded"] == CALLS * THREADS - fit
    assert found["units"] == found["used"] == once + fit * ROWS <= QUOTA
    assert found["events"] == CALLS + fit


def test_a_race_on_sqlite(tmp_path: Path) -> None:
    judge(run_child(f"sqlite:///{tmp_path / 'race.sqlite3'}", tmp_path))


@pytest.mark.services
def test_a_race_on_postgresql(tmp_path: Path) -> None:
    with postgres() as url:
        judge(run_child(url, tmp_path))
