"""The same rules on a real PostgreSQL: migrations, a slice of the suite, COPY, races."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.services.servers import ROOT, environment

pytestmark = [pytest.mark.services, pytest.mark.timeout(600), pytest.mark.xdist_group("postgres")]
# What differs between databases: constraints, transactions, JSON, conditional updates, ordering.
SLICE = ("tests/core", "tests/devices/test_services.py", "tests/devices/test_api.py", "tests/usecases/test_gates.py")


def run(arguments: list[str], env: dict[str, str], seconds: int = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="module")
def migrated(postgres_url: str, tmp_path_factory: Any) -> dict[str, str]:
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE phasegate")
    env = environment(tmp_path_factory.mktemp("home"), DATABASE_URL=f"{postgres_url}/phasegate")
    done = run(["manage.py", "migrate", "--no-input"], env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return env


def test_all_migrations_forwards(migrated: dict[str, str]):
    done = run(["manage.py", "migrate", "--check"], migrated)
    assert done.returncode == 0, done.stdout + done.stderr
    roles = run(
        [
            "-c",
            "import django; django.setup(); from django.contrib.auth.models import Group; print(Group.objects.count())",
        ],
        migrated,
    )
    assert int(roles.stdout.split()[-1]) >= 10, roles.stderr


def test_all_migrations_forwards_on_sqlite(tmp_path: Path):
    env = environment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/fresh.sqlite3")
    done = run(["manage.py", "migrate", "--no-input"], env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert run(["manage.py", "migrate", "--check"], env).returncode == 0


def test_a_slice_of_the_suite(postgres_url: str, tmp_path: Path):
    env = environment(tmp_path, DATABASE_URL=f"{postgres_url}/slice") | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    chosen = [path for path in SLICE if (ROOT / path).exists()]
    done = run(
        [
            "-m",
            "pytest",
            *chosen,
            "-q",
            "-m",
            "not browser and not services",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:logging",
        ],
        env,
        seconds=480,
    )
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    assert done.returncode == 0, "\n".join(failures[:60]) or done.stdout[-3000:] + done.stderr[-2000:]


PROBE = """
import django, json, sys
django.setup()
from datetime import UTC, date, datetime
from django.db import connection, models
from portal.core.bulk import bulk_write
from portal.core.ids import uuid7
from uuid import UUID

class Probe(models.Model):
    key = models.UUIDField(primary_key=True)
    a_float = models.FloatField(null=True)
    a_big = models.BigIntegerField()
    an_int = models.IntegerField()
    a_small = models.PositiveSmallIntegerField()
    a_time = models.DateTimeField(null=True)
    a_date = models.DateField()
    a_char = models.CharField(max_length=20)
    a_text = models.TextField()
    a_bool = models.BooleanField()
    some_bytes = models.BinaryField()
    a_json = models.JSONField(null=True)
    class Meta:
        app_label = "core"

with connection.schema_editor() as editor:
    editor.create_model(Probe)
names = [field.name for field in Probe._meta.concrete_fields]
def row(i):
    return [UUID(int=i), None if i == 3 else i / 3, 2**62 - i, -i, i, None if i == 4 else datetime(2014, 1, 1, 2, 3, 4, 5000 + i, tzinfo=UTC),
            date(2014, 2, 28), f"name {i}", "tab\\t newline\\n quote' back\\\\slash", i % 2 == 0, bytes([0, 255, i % 256]), None if i == 5 else {"k": [i, None, "ä"]}]
written = bulk_write(Probe, names, (row(i) for i in range(1, 801)))
again = bulk_write(Probe, names, (row(i) for i in range(791, 811)), ignore_conflicts=True)
found = [[str(v) if not isinstance(v, (bytes, memoryview)) else bytes(v).hex() for v in values] for values in Probe.objects.order_by("key").values_list(*names)]
print(json.dumps([connection.vendor, written, again, found]))
with connection.schema_editor() as editor:
    editor.delete_model(Probe)
"""


def test_bulk_write_gives_equal_rows_on_both_databases(migrated: dict[str, str], tmp_path: Path):
    lite = environment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/bulk.sqlite3")
    answers = []
    for env in (migrated, lite):
        done = run(["-c", PROBE], env)
        assert done.returncode == 0, done.stderr[-3000:]
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    (first, *postgres), (second, *sqlite) = answers
    assert (first, second) == ("postgresql", "sqlite")
    assert postgres[:2] == [800, 10]
    assert postgres == sqlite


RACE = """
import django, json
django.setup()
from threading import Barrier, Thread
from django.db import connection, connections
from devices.models import Device, DeviceType, Site
from portal.core.errors import DomainError
from portal.core.records import change_state, entity_update
from portal.core.errors import StaleWrite

site = Site.objects.create(code="race", name="Race")
kind = DeviceType.objects.create(name="race", kind="gateway", protocol="https")
outcomes = []
for i in range(20):
    device = Device.objects.create(site=site, device_type=kind, code=f"d{i}", name="d", state="planned")
    barrier, told = Barrier(2), []
    def move():
        mine = Device.objects.get(pk=device.pk)
        barrier.wait()
        try:
            change_state(mine, old="planned", new="active")
            told.append("won")
        except DomainError as error:
            told.append(error.code)
        finally:
            connections.close_all()
    def rename(name):
        mine = Device.objects.get(pk=device.pk)
        barrier.wait()
        try:
            entity_update(actor=None, obj=mine, data={"name": name}, expected_version=2)
            told.append("won")
        except StaleWrite:
            told.append("stale")
        finally:
            connections.close_all()
    for targets in ([(move, ()), (move, ())], [(rename, ("left",)), (rename, ("right",))]):
        told.clear()
        threads = [Thread(target=f, args=a) for f, a in targets]
        [t.start() for t in threads]
        [t.join() for t in threads]
        outcomes.append(sorted(told))
    fresh = Device.objects.get(pk=device.pk)
    assert (fresh.state, fresh.version) == ("active", 3), (fresh.state, fresh.version)
print(json.dumps([connection.vendor, outcomes]))
"""


@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
def test_of_two_writers_one_wins(migrated: dict[str, str], tmp_path: Path, vendor: str):
    env = migrated
    if vendor == "sqlite":
        env = environment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/race.sqlite3")
        assert run(["manage.py", "migrate", "--no-input"], env).returncode == 0
    done = run(["-c", RACE], env)
    assert done.returncode == 0, done.stderr[-3000:]
    found, outcomes = json.loads(done.stdout.splitlines()[-1])
    assert found == vendor
    assert outcomes[::2] == [["won", "wrong_state"]] * 20
    assert outcomes[1::2] == [["stale", "won"]] * 20


LAST_MANAGER = """
import django, json
django.setup()
from threading import Barrier, Thread
from django.db import connection, connections
from portal.core import people
from portal.core.access import grant_role
from portal.core.errors import DomainError
from portal.core.models import User

outcomes = []
for i in range(15):
    User.objects.all().delete()
    pair = [User.objects.create(email=f"{name}{i}@test.example") for name in ("left", "right")]
    for person in pair:
        grant_role(person, "coe_lead")
    barrier, told = Barrier(2), []
    def remove(actor, person):
        barrier.wait()
        try:
            people.person_revoke(actor=actor, person=person, role="coe_lead")
            told.append("won")
        except DomainError as error:
            told.append(error.code)
        finally:
            connections.close_all()
    threads = [Thread(target=remove, args=args) for args in (pair, pair[::-1])]
    [t.start() for t in threads]
    [t.join() for t in threads]
    outcomes.append(sorted(told))
    assert User.objects.filter(groups__name="coe_lead").count() == 1
print(json.dumps([connection.vendor, outcomes]))
"""


@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
def test_two_who_manage_people_cannot_remove_each_other(migrated: dict[str, str], tmp_path: Path, vendor: str):
    env = migrated
    if vendor == "sqlite":
        env = environment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/race.sqlite3")
        assert run(["manage.py", "migrate", "--no-input"], env).returncode == 0
    done = run(["-c", LAST_MANAGER], env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [vendor, [["last_manager", "won"]] * 15]
