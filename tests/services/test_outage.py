"""The database or the broker away while the portal, a gateway and a worker run: a clear answer, nothing lost, nothing doubled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import skip_or_fail
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread
from tests.services import servers
from tests.services.servers import ROOT, environment

pytestmark = [pytest.mark.services, pytest.mark.timeout(300), pytest.mark.xdist_group("outage")]

PEOPLE = """
import django, json
django.setup()
from django.test import Client
from devices.services import enrolment_create
from portal.core import tokens
from tests.edge_bridge.portal import make_plant
from tests.factories import make_user
lead = make_user("lead@test.example", is_superuser=True)
plant = make_plant(port=int(__import__("os").environ["PLC_PORT"]), gateways=1)
_row, secret = tokens.token_create(actor=lead, name="probe", scopes=["write"])
_enrolment, claim = enrolment_create(actor=None, device=plant.gateways[0])
browser = Client()
browser.force_login(lead, backend="django.contrib.auth.backends.ModelBackend")
print(json.dumps([secret, claim, browser.cookies["sessionid"].value]))
"""
ROWS = """
import django, json
django.setup()
from governance.models import InboxMessage
from governance.rows import unpack
found = InboxMessage.objects.filter(kind="telemetry").order_by("sequence").values_list("sequence", "payload")
print(json.dumps([[n, unpack(payload).rows.tolist()] for n, payload in found]))
"""


def python(code: str, env: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def until(there: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = there()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen in {seconds:.0f} s")


@dataclass
class Portal:
    """A portal on its own PostgreSQL, which can be stopped and started."""

    folder: Path
    port: int
    env: dict[str, str]
    database: Any = None

    def start(self) -> None:
        self.database = servers.postgres(self.folder, self.port)
        self.database.__enter__()

    def stop(self) -> None:
        self.database, running = None, self.database
        if running is not None:
            running.__exit__(None, None, None)


@pytest.fixture
def plc() -> Iterator[PlcThread]:
    made = PlcThread("turbine", pace=40)
    yield made
    made.close()


@pytest.fixture
def portal(tmp_path: Path, plc: PlcThread) -> Iterator[Portal]:
    try:
        servers.postgres_folder()
    except servers.Missing as error:
        skip_or_fail(str(error))
    port = servers.free_port()
    url = f"postgresql://phasegate@127.0.0.1:{port}/phasegate"
    env = environment(tmp_path, DATABASE_URL=url, DATABASE_POOL_TIMEOUT="2", PLC_PORT=str(plc.port))
    with servers.postgres_place() as folder:
        made = Portal(folder, port, env)
        made.start()
        try:
            with psycopg.connect(f"{url.removesuffix('/phasegate')}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE phasegate")
            done = subprocess.run(
                [sys.executable, "manage.py", "migrate", "--no-input"],
                cwd=ROOT,
                env=env,
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:].decode()
            yield made
        finally:
            made.stop()


def test_the_database_away_and_back(portal: Portal, tmp_path: Path):
    secret, claim, session = python(PEOPLE, portal.env)
    with servers.web(tmp_path, portal.env) as address:
        client = httpx.Client(base_url=address, timeout=30)
        bearer, signed_in = {"Authorization": f"Bearer {secret}"}, {"Cookie": f"sessionid={session}"}
        agent = AgentProcess(tmp_path / "agent" / "state", address, claim_code=claim)
        agent.state_dir.parent.mkdir()
        agent.start()
        try:
            until(lambda: len(python(ROWS, portal.env)) > 3, "rows in the inbox")
            assert client.get("/sites/", headers=signed_in).status_code in {200, 404}
            assert client.get("/api/v1/sites", headers=bearer).status_code == 200
            portal.stop()

            started = time.monotonic()
            refused = client.post("/api/v1/sites", headers=bearer, json={"code": "away", "name": "Away"})
            assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
            assert refused.json()["code"] == "database_away"
            assert int(refused.headers["Retry-After"]) > 0
            page = client.get("/", headers=signed_in)
            assert page.status_code == 503
            assert int(page.headers["Retry-After"]) > 0
            assert "database does not answer" in page.text
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["database"]["ok"]) == (503, False)
            assert client.get("/healthz").status_code == 200
            door = client.post("/edge/v1/reported", content=b"", headers={"Authorization": "Bearer " + "x" * 40})
            assert (door.status_code, door.json()["code"]) == (503, "busy")
            assert time.monotonic() - started < 25, "nobody waits long for a database that is away"

            portal.start()
            until(lambda: client.get("/readyz").json()["checks"]["database"]["ok"], "the return")
            assert client.get("/", headers=signed_in).status_code == 200
            names = [row["code"] for row in client.get("/api/v1/sites", headers=bearer).json()["results"]]
            assert "away" not in names, "half of a refused write is there"
            again = client.post("/api/v1/sites", headers=bearer, json={"code": "back", "name": "Back"})
            assert again.status_code == 201, again.text
            before = len(python(ROWS, portal.env))
            found = until(
                lambda: rows if len(rows := python(ROWS, portal.env)) > before + 3 else None, "new rows", seconds=90
            )
        finally:
            agent.kill()
    assert [number for number, _rows in found] == list(range(1, len(found) + 1))
    rows = [row for _number, numbers in found for row in numbers]
    assert rows == list(range(rows[0], rows[0] + len(rows))), "a row was lost or doubled"


LEAD = """
import django, json
django.setup()
from django.test import Client
from portal.core import tokens
from tests.factories import make_user
lead = make_user("lead@test.example", is_superuser=True)
_row, secret = tokens.token_create(actor=lead, name="probe", scopes=["write"])
browser = Client()
browser.force_login(lead, backend="django.contrib.auth.backends.ModelBackend")
print(json.dumps([secret, browser.cookies["sessionid"].value]))
"""


def test_the_broker_away_keeps_nobody_waiting(tmp_path: Path):
    """Pages and writes answer; what should have been done in the background is said by /readyz (see test_broker for the jobs)."""
    env = environment(tmp_path, REDIS_URL=f"redis://127.0.0.1:{servers.free_port()}/0")
    migrate = [sys.executable, "manage.py", "migrate", "--no-input"]
    assert subprocess.run(migrate, cwd=ROOT, env=env, capture_output=True, check=False).returncode == 0
    secret, session = python(LEAD, env)
    with servers.web(tmp_path, env) as address:
        client = httpx.Client(base_url=address, timeout=30)
        started = time.monotonic()
        assert client.get("/", headers={"Cookie": f"sessionid={session}"}).status_code == 200
        # A new use case has its gates measured in the background.
        body = {"code": "kept", "title": "Kept"}
        made = client.post("/api/v1/use-cases", headers={"Authorization": f"Bearer {secret}"}, json=body)
        assert made.status_code == 201, made.text
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["broker"]["ok"]) == (503, False)
        assert time.monotonic() - started < 15
