"""The list endpoint of 100 devices: requests a second against a plain framework view, and its layer against bare psycopg.

    python -m benchmarks.bench_lists

A private PostgreSQL holds 100 devices of one site. One server, started as the portal's (one worker, four threads), serves our endpoint and
`benchmarks/listing/plain.py`, the peer, on the same rows; four clients, each on one kept connection, ask in turns of 200 requests, so
that whatever else the machine does hits both. Ours filters by permission, keeps a rate limit and answers with an ETag; the peer does not.

The layer is what lies between database and bytes: the person's permissions, our permitted rows, shaped and encoded, against the same columns by a
prepared SQL statement through psycopg and orjson. Its limit is four times the peer's time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.runner import ROOT, Row, report

DEVICES = 100
TURNS, REQUESTS, CLIENTS = 7, 200, 4
RAW = """
    SELECT id, site_id, location_id, asset_id, device_type_id, gateway_id, code, name, serial, state, address, fallback, report_every_s,
           wanted, wanted_version, actual, actual_version, actual_at, last_seen_at, external_source, external_id, version, created_at, updated_at,
           CASE WHEN last_seen_at IS NULL THEN 'never' WHEN last_seen_at >= now() - report_every_s * interval '{online} s' THEN 'online'
                WHEN last_seen_at >= now() - report_every_s * interval '{late} s' THEN 'late' ELSE 'offline' END AS connectivity
    FROM devices_device WHERE site_id = %s ORDER BY id LIMIT 101
"""


def prepare() -> dict[str, str]:
    """Runs in a process of its own: tables, one plant manager with the role on one site, 100 devices, a token."""
    import django

    django.setup()
    from django.core.management import call_command

    from portal.core.access import grant_role
    from portal.core.clock import wall_now
    from portal.core.tokens import token_create
    from tests.factories import make_device, make_device_type, make_site, make_user

    call_command("migrate", verbosity=0)
    site, kind = make_site("bench"), make_device_type("plc")
    for number in range(DEVICES):
        make_device(site, device_type=kind, code=f"bench-{number:03}", last_seen_at=wall_now(), serial=f"SN-{number}")
    manager = make_user("manager@bench.example")
    grant_role(manager, "plant_manager", site)
    _, secret = token_create(actor=manager, name="bench", scopes=["devices:read"])
    return {"token": secret, "site": str(site.pk), "user": str(manager.pk)}


def layer(known: dict[str, str]) -> dict[str, float]:
    """Runs in a process of its own: median seconds of our layer and of bare psycopg with orjson, in turns."""
    import django

    django.setup()
    import orjson
    import psycopg
    from django.db import connection
    from rest_framework.request import Request
    from rest_framework.test import APIRequestFactory

    from devices.api.views import DeviceViewSet
    from devices.domain.connectivity import LATE_PERIODS, ONLINE_PERIODS
    from portal.core.api.renderers import dumps
    from portal.core.api.rows import plan_for
    from portal.core.models import User

    columns = [field.attname for field in User._meta.concrete_fields]
    person = User.objects.values_list(*columns).get(pk=known["user"])
    plan = plan_for(DeviceViewSet.serializer_class)
    if plan is None:
        raise SystemExit("the list of devices is not made from rows any more")

    def ours() -> bytes:
        """What the endpoint does between signing in and answering; the person is a new object with each request."""
        asked = Request(APIRequestFactory().get("/"))
        asked.user = User.from_db(None, columns, person)
        view = DeviceViewSet(request=asked, format_kwarg=None, action="list", kwargs={})
        return dumps(plan.shape(view.kept_list(asked, plan, None)[:101]))

    statement = RAW.format(online=ONLINE_PERIODS, late=LATE_PERIODS)
    connection.ensure_connection()
    bare = psycopg.connect(os.environ["DATABASE_URL"], row_factory=psycopg.rows.dict_row, autocommit=True)

    def raw() -> bytes:
        return orjson.dumps(bare.execute(statement, (known["site"],), prepare=True).fetchall())

    mine, plain = json.loads(ours()), json.loads(raw())
    if [row["id"] for row in mine] != [row["id"] for row in plain] or len(mine) != DEVICES:
        raise SystemExit("the two do not answer with the same devices")
    if {row["connectivity"] for row in mine} != {row["connectivity"] for row in plain}:
        raise SystemExit("the two do not agree on the devices' connectivity")
    taken: dict[str, list[float]] = {"ours": [], "raw": []}
    for _ in range(TURNS * 4):
        for name, work in (("ours", ours), ("raw", raw)):
            began = time.perf_counter()
            for _ in range(5):
                work()
            taken[name].append((time.perf_counter() - began) / 5)
    bare.close()
    return {name: statistics.median(values) for name, values in taken.items()}


def requests(port: int, path: str, token: str, count: int) -> tuple[float, Any]:
    """Requests a second by as many clients as the server has threads, each on one kept connection, and the last answer."""
    last: list[bytes] = []

    def client() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as line:
            for _ in range(count // CLIENTS):
                line.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = line.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        last.append(body)

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    return count // CLIENTS * CLIENTS / (time.perf_counter() - began), json.loads(last[-1])


def over_http(environment: dict[str, str], token: str) -> dict[str, float]:
    from tests.services import servers

    port = servers.free_port()
    command = [str(Path(sys.executable).with_name("granian")), "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--blocking-threads", "4", "--no-ws", "--log-level", "warning"]
    folder = Path(environment["PHASEGATE_HOME"])
    with servers.running(
        [*command, "portal.wsgi:application"],
        folder,
        "portal",
        lambda: servers.answers(port),
        env=environment,
    ):
        paths = {"ours": "/api/v1/devices", "plain": "/plain/devices"}
        answers = {name: requests(port, path, token, 20)[1]["results"] for name, path in paths.items()}
        if [row["code"] for row in answers["ours"]] != [row["code"] for row in answers["plain"]]:
            raise SystemExit("the two do not answer with the same devices")
        if len(answers["ours"]) != DEVICES or set(answers["ours"][0]) != set(answers["plain"][0]):
            raise SystemExit(f"the two answer differently: {set(answers['ours'][0]) ^ set(answers['plain'][0])}")
        taken: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(TURNS):
            for name, path in paths.items():
                taken[name].append(requests(port, path, token, REQUESTS)[0])
    return {name: statistics.median(values) for name, values in taken.items()}


def child(part: str, environment: dict[str, str], argument: str = "") -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_lists", "--child", part, "--known", argument]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", choices=["prepare", "layer"], help=argparse.SUPPRESS)
    parser.add_argument("--known", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "prepare":
        print(json.dumps(prepare()))
        return 0
    if arguments.child == "layer":
        print(json.dumps(layer(json.loads(arguments.known))))
        return 0
    from tests.services import servers

    try:
        servers.postgres_folder()
    except servers.Missing as error:
        print(f"not measured: {error}")
        return 1
    with tempfile.TemporaryDirectory(prefix="phasegate-bench-") as made:
        folder = Path(made)
        with servers.postgres_place() as place, servers.postgres(place) as server:
            environment = servers.environment(
                folder,
                DATABASE_URL=f"{server}/postgres",
                DJANGO_SETTINGS_MODULE="benchmarks.listing.settings",
                PHASEGATE_API_RATE="1000000/min",
            )
            known = child("prepare", environment)
            rates = over_http(environment, known["token"])
            times = child("layer", environment, json.dumps(known))
    return report(
        f"List of {DEVICES} devices, PostgreSQL",
        [
            Row(
                "the endpoint over HTTP",
                rates["ours"],
                rates["plain"],
                "plain ModelSerializer view",
                unit="requests/s",
                higher_is_better=True,
                required=3.0,
            ),
            Row("read, shape, encode (limit: 4 x bare)", times["ours"], 4 * times["raw"], "limit", required=1.0),
            Row("read, shape, encode", times["ours"], times["raw"], "psycopg + orjson"),
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
