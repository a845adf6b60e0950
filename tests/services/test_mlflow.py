"""The registry connector against a real MLflow server: proxied artefacts, aliases, polling, outage and return."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from governance.registry_client import CHALLENGER, CHAMPION, Registry, RegistryError, Timeouts

pytestmark = pytest.mark.services
START_SECONDS = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """`mlflow server` on SQLite with proxied artefacts, its own process group, stopped at the end."""
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artefacts"), "--serve-artifacts",
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OMP_NUM_THREADS": "1",
    }
    log = (folder / "server.log").open("ab")
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_healthy(process, address, folder / "server.log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            log.close()


def wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"mlflow server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow-server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Registry]:
    with mlflow_server(folder, free_port()) as address:
        yield Registry(address, timeouts=Timeouts(request_s=20, retries=1))


@pytest.fixture
def timed(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    return lambda name, started: record_property(name, round(time.perf_counter() - started, 3))


def test_a_version_goes_through_the_server_and_comes_back(
    server: Registry, folder: Path, timed: Callable[[str, float], None]
) -> None:
    content = os.urandom(200_000)
    started = time.perf_counter()
    made = server.register(
        model="NOx soft sensor",
        onnx=content,
        key="job-1",
        documents={"record.json": b"{}"},
        metrics={"r2": 0.59},
        params={"max_iter": 100},
        tags={"kind": "soft_sensor"},
    )
    timed("register_s", started)
    assert made.version == "1"
    assert made.source.startswith("mlflow-artifacts:")
    assert server.download("NOx soft sensor", "1") == content
    assert server.metrics(made) == {"r2": 0.59}
    assert [path.read_bytes() for path in (folder / "artefacts").rglob("model.onnx")] == [content]
    assert server.register(model="NOx soft sensor", onnx=content, key="job-1") == made


def test_champion_and_challenger_move_and_polling_sees_it(server: Registry) -> None:
    one = server.register(model="moving", onnx=b"1", key="a")
    two = server.register(model="moving", onnx=b"2", key="b")
    server.move_alias("moving", CHAMPION, one.version)
    server.move_alias("moving", CHALLENGER, two.version)
    assert server.move_alias("moving", CHAMPION, two.version) == one.version
    found = server.changes_since(two.updated_ms, overlap_ms=0)
    assert ("moving", "2", (CHALLENGER, CHAMPION)) in {(v.model, v.version, v.aliases) for v in found.versions}
    assert found.aliases["moving"] == {CHAMPION: "2", CHALLENGER: "2"}
    assert server.health().ok


def test_an_unknown_version_is_an_answer_and_not_an_outage(server: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        server.get("nobody", "1")
    assert (caught.value.code, caught.value.temporary) == ("RESOURCE_DOES_NOT_EXIST", False)


def test_an_outage_is_said_and_nothing_is_lost_when_the_server_is_back(tmp_path: Path) -> None:
    port = free_port()
    with mlflow_server(tmp_path, port) as address:
        registry = Registry(address, timeouts=Timeouts(request_s=5, retries=0))
        registry.register(model="kept", onnx=b"kept", key="k")
    assert not registry.health().ok
    with pytest.raises(RegistryError) as caught:
        registry.register(model="kept", onnx=b"later", key="l")
    assert caught.value.temporary
    with mlflow_server(tmp_path, port):
        assert registry.register(model="kept", onnx=b"later", key="l").version == "2"
        assert registry.download("kept", "1") == b"kept"
