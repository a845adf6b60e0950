"""Queries of every list page, detail page and list endpoint with twenty rows, against tests/query_counts.json.

Equal or fewer passes; more fails; a page or endpoint without a baseline fails with the number to write down.
``PHASEGATE_WRITE_QUERY_COUNTS=1`` writes the file anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from portal.core.errors import DomainError
from tests.drive import set_stage, why
from tests.objects import entity_models
from tests.permission_matrix import PAGES
from tests.routes import Route, routes

BASELINES = Path(__file__).with_name("query_counts.json")
MOST = {"page": 12, "api": 6}
ROWS = 20
# The first of these who may see the page asks for it.
ASKERS = ("coe_lead", "ot_engineer", "data_scientist")
NOT_COUNTED = {
    "usecases:round-ranking": "private while the round is open; tests/usecases/test_ranking.py counts a closed one",
    "governance:version-file": "a file, read from the registry",
    "governance:drift-distribution": "two columns of the lake; tests/governance asks with rows",
    "marketplace:invoice": "an invoice is drawn up from usage; tests/marketplace/test_invoices.py counts there",
    "marketplace:invoice-print": "the same",
    "api:reading-list": "a window over the lake; tests/governance/test_api.py",
    "api:prediction-list": "the same",
}
WRITE = os.environ.get("PHASEGATE_WRITE_QUERY_COUNTS") == "1"
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def known() -> Iterator[dict[str, int]]:
    counts = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    yield counts
    if WRITE:
        BASELINES.write_text(json.dumps(dict(sorted(counts.items())), indent=2) + "\n")


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        made = set_stage()
        for model in entity_models():
            for _ in range(ROWS - 1):
                try:
                    with transaction.atomic():
                        made.ours.another(model)
                except (IntegrityError, DomainError):
                    break  # one of a kind, by a constraint
        yield made
        transaction.set_rollback(True)


def _cases() -> list[Any]:
    pages = [
        (route, PAGES[route.name].model)
        for route in routes("page")
        if route.name in PAGES and PAGES[route.name].get and set(route.params) <= {"pk"}
    ]
    endpoints = [(route, "") for route in routes("api") if "list" in route.actions.values()]
    return [pytest.param(route, model, id=route.name) for route, model in [*pages, *endpoints]]


@pytest.mark.parametrize(("route", "model"), _cases())
def test_queries(stage: Any, known: dict[str, int], route: Route, model: str):
    address = stage.url(route, model)
    for who in ASKERS:
        client = (stage.api if route.kind == "api" else stage.pages)(getattr(stage.cast, who))
        if client.get(address).status_code in {200, 302}:  # content types and the like are read once per process
            break
    with CaptureQueriesContext(connection) as seen:
        answer = client.get(address)
    if route.name in NOT_COUNTED:
        pytest.skip(NOT_COUNTED[route.name])
    assert answer.status_code in {200, 302}, f"{address}: {answer.status_code}{why(answer)}"
    ours = [q["sql"] for q in seen.captured_queries if not _session(q["sql"])]
    if WRITE:
        known[route.name] = len(ours)
    assert len(ours) <= MOST[route.kind], f"{address}: {len(ours)} queries, at most {MOST[route.kind]}:\n" + _short(
        ours
    )
    assert route.name in known, f'no baseline: write "{route.name}": {len(ours)} into tests/query_counts.json'
    assert len(ours) <= known[route.name], f"{address}: {len(ours)} queries, baseline {known[route.name]}:\n" + _short(
        ours
    )


def _session(sql: str) -> bool:
    """Session, the signed-in person and savepoints are the same for every page."""
    return (
        "django_session" in sql
        or "SAVEPOINT" in sql
        or ('FROM "core_user" WHERE "core_user"."id"' in sql and "JOIN" not in sql)
    )


def _short(statements: list[str]) -> str:
    return "\n".join(statement[:160] for statement in statements)
