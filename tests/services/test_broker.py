"""Broker away, worker killed in mid-work: nothing lost, nothing doubled. Real Valkey/Redis, real Celery worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_or_fail
from tests.services import servers
from tests.services.servers import ROOT, environment

pytestmark = [pytest.mark.services, pytest.mark.timeout(300), pytest.mark.xdist_group("broker")]

START = """
import json, time
import tests.services.worker_app
from portal.core import jobs
started = time.monotonic()
job = jobs.job_start(actor=None, kind="probe", title="A probe", task="tests.slow", args=[])
print(json.dumps([str(job.pk), time.monotonic() - started]))
"""
SWEEP = """
import json, sys
import tests.services.worker_app
from datetime import timedelta
from portal.core import jobs
from portal.core.clock import wall_now
from portal.core.models import Job
old = wall_now() - timedelta(minutes=10)
Job.objects.filter(state="queued").update(created_at=old)
Job.objects.filter(state="running").update(heartbeat_at=old)
print(json.dumps(jobs.sweep()))
"""
STATE = """
import json
import tests.services.worker_app
from portal.core.models import Job
print(json.dumps(list(Job.objects.values("state", "attempts", "kind"))))
"""


def python(code: str, env: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def until(there: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen in {seconds:.0f} s")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: Any) -> Path:
    """A folder with a migrated SQLite database, made once."""
    try:
        servers.redis_binary()
    except servers.Missing as error:
        skip_or_fail(str(error))
    folder = tmp_path_factory.mktemp("migrated")
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input"],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def home(migrated: Path, tmp_path: Path) -> Path:
    for file in migrated.glob("phasegate.sqlite3*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def finished(home: Path) -> list[str]:
    return (home / "done").read_text().split() if (home / "done").exists() else []


def test_a_job_started_while_the_broker_is_away_is_sent_again_and_done_once(home: Path):
    port = servers.free_port()
    env = environment(home, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    job, seconds = python(START, env)
    assert seconds < 15, "nobody waits for a broker that is away"
    assert [row["state"] for row in python(STATE, env)] == ["queued"]
    (home / "go").touch()
    with servers.redis(home, port), servers.worker(home, env):
        assert python(SWEEP, env)["sent_again"] == 1
        python(SWEEP, env)
        until(lambda: finished(home), "the job")
        until(lambda: python(STATE, env)[0]["state"] == "succeeded", "its end")
    assert finished(home) == [job]


def test_a_worker_killed_in_mid_work_loses_the_job_to_the_next_which_ends_it_once(home: Path, redis_url: str):
    env = environment(home, REDIS_URL=f"{redis_url[:-1]}1")
    with servers.worker(home, env, name="first") as first:
        job, _ = python(START, env)
        until((home / "began").exists, "the start")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(10)
    assert [(row["state"], row["attempts"]) for row in python(STATE, env)] == [("running", 1)]
    (home / "go").touch()
    with servers.worker(home, env, name="second"):
        assert python(SWEEP, env) == {"sent_again": 1, "taken_back": 1}
        until(lambda: finished(home), "the job")
        until(lambda: python(STATE, env)[0]["state"] == "succeeded", "its end")
        python(SWEEP, env)
    assert finished(home) == [job]
    assert [(row["state"], row["attempts"]) for row in python(STATE, env)] == [("succeeded", 2)]


def test_ready_names_the_broker(redis_url: str, settings: Any, client: Any, db: Any):
    settings.REDIS_URL = redis_url
    assert client.get("/readyz").json()["checks"]["broker"] == {"ok": True, "detail": "answers"}


def test_a_real_mosquitto_takes_a_retained_message(mqtt_url: str):
    """The broker of the fixtures speaks MQTT 5 as the bridge and the agents use it."""
    import queue
    from urllib.parse import urlsplit

    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    found: queue.Queue[bytes] = queue.Queue()
    port = urlsplit(mqtt_url).port or 0
    clients = [mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5) for _ in range(2)]
    for made in clients:
        made.connect("127.0.0.1", port)
        made.loop_start()
    try:
        clients[0].publish("phasegate/v1/site/gateway/desired", b"{}", qos=1, retain=True).wait_for_publish(10)
        clients[1].on_message = lambda _client, _data, message: found.put(message.payload)
        clients[1].subscribe("phasegate/v1/#", qos=1)
        assert found.get(timeout=10) == b"{}"
    finally:
        for made in clients:
            made.disconnect()
            made.loop_stop()
