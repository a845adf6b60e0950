"""Run by test_races.py in a process of its own, on the database named by DATABASE_URL: many threads call one subscription at once."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()

THREADS, CALLS, ROWS, QUOTA = 6, 8, 3, 100


def prepare() -> Any:
    from django.core.management import call_command

    from marketplace.models import ClientKey, Plan, Service, Subscription
    from portal.core.clock import wall_now
    from tests.factories import make_model, make_use_case, make_user

    call_command("migrate", verbosity=0)
    case = make_use_case()
    service = Service.objects.create(use_case=case, model=make_model(case), code="race", name="Race", state="published")
    plan = Plan.objects.create(service=service, name="P", monthly_quota=QUOTA, rate_per_minute=10_000)
    person = make_user()
    subscription = Subscription.objects.create(
        service=service, plan=plan, customer="C", owner=person, started_at=wall_now()
    )
    return ClientKey.objects.create(subscription=subscription, name="k", prefix="pgc_", key_hash="0" * 64)


def race(key_id: Any, idempotency: str) -> Counter[str]:
    """Every thread calls; the key of idempotency is shared by all ("" for none)."""
    from django.db import connection

    from marketplace.models import ClientKey
    from marketplace.services.metering import Call, call_score
    from portal.core.errors import DomainError

    start = threading.Barrier(THREADS)
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> None:
        start.wait()
        for number in range(CALLS):
            key = ClientKey.objects.select_related("subscription__plan", "subscription__service__model").get(pk=key_id)
            name = f"{idempotency}{number}" if idempotency else ""
            rows = [{"AT": 1.0, "AP": 1.0}] * ROWS
            try:
                answer = call_score(key=key, call=Call(rows, name, "0" * 64, "/x"))
                word = "replayed" if answer.replayed else "answered"
            except DomainError as error:
                word = error.code
            with lock:
                outcomes[word] += 1
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def main() -> None:
    import numpy as np
    from django.db.models import Sum

    from marketplace import scoring
    from marketplace.models import Subscription, UsageEvent

    runner = SimpleNamespace(
        session=None, version_id=None, number=1, features=("AT", "AP"), limits={}, output="NOX", unit=""
    )
    scoring.runner_for = lambda model: runner  # type: ignore[assignment,return-value]
    scoring.predict = lambda runner, values: [0.0] * len(np.asarray(values))  # type: ignore[assignment]
    key = prepare()
    repeated = race(key.pk, "same-")
    after_repeats = UsageEvent.objects.aggregate(n=Sum("units"))["n"]
    plain = race(key.pk, "")
    subscription = Subscription.objects.get()
    sys.stdout.write(
        json.dumps(
            {
                "repeated": repeated,
                "after_repeats": after_repeats,
                "plain": plain,
                "units": UsageEvent.objects.aggregate(n=Sum("units"))["n"],
                "events": UsageEvent.objects.count(),
                "used": subscription.used_in_period,
                "rate_used": subscription.rate_used,
            }
        )
    )


if __name__ == "__main__":
    main()
