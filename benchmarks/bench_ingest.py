"""Ingest of gateway messages, validated and stored with all effects: points per second into SQLite and PostgreSQL.

    python -m benchmarks.bench_ingest [--postgres postgresql://user:password@host/database]

A point is one value of one row. Each call carries 64 envelopes of 16 rows x 9 channels, opened, checked against the registered channels, and
stored in one transaction with the live window, as the door does it. The limit is a plain ``executemany`` of the same bytes into a
table with the same unique key, one transaction a call. One process, one run, same data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CALLS, ENVELOPES, ROWS = 60, 64, 16
REQUIRED = {"sqlite": 20_000.0, "postgresql": 50_000.0}


def child() -> dict[str, float]:
    """Runs in a process of its own, whose environment names the database."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    from edge_bridge import wire
    from edge_bridge.ingest import messages_take
    from tests.edge_bridge.portal import FEATURES, make_plant, telemetry

    call_command("migrate", verbosity=0)
    plant = make_plant(f"bench-{time.time_ns() % 10**9}")
    gateway = plant.gateways[0]
    calls = [
        [
            wire.seal(
                str(gateway.pk),
                "turbine/rows",
                1 + call * ENVELOPES + at,
                telemetry(1 + (call * ENVELOPES + at) * ROWS, ROWS),
                wall_ms=0,
            )
            for at in range(ENVELOPES)
        ]
        for call in range(CALLS)
    ]
    points = CALLS * ENVELOPES * ROWS * len(FEATURES)
    batches = [wire.seal_batch(call) for call in calls]
    started = time.perf_counter()
    for batch in batches:
        answer = messages_take(gateway, wire.open_batch(batch))
        if any(ack.status != "accepted" for ack in answer.acks):
            raise SystemExit(f"not accepted: {answer.acks[:1]}")
    ours = time.perf_counter() - started

    blob, key = ("bytea", "serial") if connection.vendor == "postgresql" else ("blob", "integer")
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_plain")
        cursor.execute(
            f"CREATE TABLE bench_plain (id {key} PRIMARY KEY, gateway text, stream text, sequence bigint, payload {blob}, "
            "UNIQUE (gateway, stream, sequence))"
        )
    name, sequence = str(gateway.pk), 0
    started = time.perf_counter()
    for call in calls:
        rows = []
        for data in call:
            sequence += 1
            rows.append((name, "turbine/rows", sequence, data))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO bench_plain (gateway, stream, sequence, payload) VALUES (%s, %s, %s, %s)", rows
            )
    plain = time.perf_counter() - started
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE bench_plain")
    return {"points": points, "ours": points / ours, "plain": points / plain, "call_ms": 1000 * ours / CALLS}


def measured(url: str, home: Path) -> dict[str, Any]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PHASEGATE_HOME": str(home),
        "PHASEGATE_TESTING": "1",
        "DATABASE_URL": url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_ingest", "--child"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the run on {url.split('@')[-1]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    from benchmarks.runner import Row, report

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgres", default="", help="also measure into this database")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child()))
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="phasegate-bench-") as folder:
        ends = [("sqlite", f"sqlite:///{folder}/bench.sqlite3")]
        if arguments.postgres:
            ends.append(("postgresql", arguments.postgres))
        for vendor, url in ends:
            found = measured(url, Path(folder))
            rows += [
                Row(
                    f"ingest into {vendor}, a call of {ENVELOPES} messages {found['call_ms']:.1f} ms",
                    found["ours"],
                    REQUIRED[vendor],
                    "required",
                    unit="points/s",
                    higher_is_better=True,
                    required=1.0,
                ),
                Row(
                    f"ingest into {vendor}, against storing the bytes only",
                    found["ours"],
                    found["plain"],
                    "plain executemany",
                    unit="points/s",
                    higher_is_better=True,
                ),
            ]
    return report("Ingest", rows)


if __name__ == "__main__":
    raise SystemExit(main())
