"""The demo as a child process of the tests: started, watched, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 900
STOP_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """The demo makes its own settings; those of the test run must not reach it."""
    foreign = ("PHASEGATE_", "DJANGO_", "DATABASE_", "REDIS_", "MLFLOW_", "MQTT_", "PYTEST_")
    return {key: value for key, value in os.environ.items() if not key.startswith(foreign)}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "portal.demo", *words]


def run(*words: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """One demo command to its end; its output as text."""
    return subprocess.run(
        command(*words), cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def command_line(number: int) -> str:
    """Of a process that runs; empty for one that has ended."""
    try:
        return (
            (Path("/proc") / str(number) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return ""


@dataclass
class Demo:
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What the last start printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def _log(self) -> Path:
        return self.home.parent / f"{self.home.name}-start-{self.starts}.log"

    def start(self) -> None:
        self.starts += 1
        file = self.home / "demo.json"
        left = file.stat().st_mtime_ns if file.exists() else 0  # by a demo that was killed
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command("up", "--home", str(self.home), "--port", str(self.port)),
                cwd=ROOT,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def ready() -> bool:
            try:
                return file.stat().st_mtime_ns != left
            except FileNotFoundError:
                return False

        wait_for(lambda: ready() or self.process.poll() is not None, START_S, "demo.json")
        assert self.process.poll() is None, f"the demo ended at once:\n{self.output}"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        self.read()

    def read(self) -> None:
        known = json.loads((self.home / "demo.json").read_text(encoding="utf-8"))
        self.port = int(known["url"].rsplit(":", 1)[1])
        self.users = {user["role"]: user for user in known["users"]}

    def stop(self) -> None:
        """Ctrl-C, as in a terminal. Ends well, leaves no process and no demo.json."""
        assert self.process is not None
        family = self.family()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.process = None
        assert code == 0, self.output
        assert not (self.home / "demo.json").exists()
        wait_for(lambda: not self.processes(), 20, "every process to end")
        left = {number: line for number, line in family.items() if command_line(number) == line}
        assert not left, left

    def processes(self) -> dict[int, str]:
        """Processes that work for this home: number and command line (Linux)."""
        found = {}
        needle = f"PHASEGATE_HOME={self.home}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes()
                if needle not in (folder / "environ").read_bytes().split(b"\0") and str(self.home).encode() not in line:
                    continue
            except OSError:
                continue
            if line:
                found[int(folder.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def family(self) -> dict[int, str]:
        """The demo's process and all that descend from it: number and command line (Linux)."""
        assert self.process is not None
        parents: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        found = {self.process.pid}
        while more := {child for child, parent in parents.items() if parent in found and child not in found}:
            found |= more
        return {number: line for number in found if (line := command_line(number))}

    def api(self, path: str, *, role: str = "coe_lead", method: str = "GET", **extra: Any) -> Any:
        """The answer of /api/v1/<path> as this role, as JSON."""
        answer = httpx.request(
            method,
            f"{self.url}/api/v1/{path}",
            headers={"Authorization": f"Bearer {self.users[role]['token']}"},
            timeout=60,
            **extra,
        )
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def one(self, path: str, **wanted: Any) -> dict[str, Any]:
        rows = self.api(path, params={"page_size": 1000})["results"]
        return next(row for row in rows if all(row.get(key) == value for key, value in wanted.items()))


def wait_for(holds: Any, seconds: float, what: str, every: float = 0.5) -> Any:
    """Ask until the answer is true; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(every)
