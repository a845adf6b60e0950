"""Every write leaves its row: each write route of API and pages is driven to its success by somebody who may (see ``tests.deeds``)."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from tests.deeds import deed_for
from tests.drive import basename, set_stage, why
from tests.objects import ROLES
from tests.permission_matrix import API, PAGES
from tests.routes import Route, routes

# POSTs that read, or change only what is the asker's own and nobody else's business.
NOTHING_WRITTEN = {
    "scoring-round what_if",
    "usecases:round-what-if",
    "usecases:criteria-weights-preview",
    "core:site-switch",
    "core:demo-switch",
    "gate measure",
    "usecases:gate-measure",
    "usecases:review-verify",
    "gate-review check",
}

# Routes that cannot be driven to success here, each with its reason. A refusal of any other route fails the test.
NOT_DRIVEN: dict[str, str] = {}

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        yield set_stage()
        transaction.set_rollback(True)


def _api() -> list[Any]:
    return [
        pytest.param(route, method, id=f"{basename(route)} {action}")
        for route in routes("api")
        for method, action in route.actions.items()
        if method != "get" and basename(route) in API and f"{basename(route)} {action}" not in NOTHING_WRITTEN
    ]


def _pages() -> list[Any]:
    return [
        pytest.param(route, id=route.name)
        for route in routes("page")
        if route.name in PAGES and PAGES[route.name].post and route.name not in NOTHING_WRITTEN
    ]


def _first_success(stage: Any, route: Route, method: str, model: str) -> tuple[Any, list[str]]:
    """The first answer that says it was done, over everybody who might do it; else what each was told."""
    told, deed = [], deed_for(route, method)
    for key in ROLES:
        answer = stage.send(route, method, getattr(stage.cast, key), model, deed=deed)
        if answer.status_code < 400:
            return answer, told
        if answer.status_code >= 500:
            pytest.fail(f"{answer.address}: {answer.status_code}{why(answer)}")
        told.append(
            f"{key}: {answer.status_code} {bytes(getattr(answer, 'content', b''))[:160].decode(errors='replace')}"
        )
    return None, told


@pytest.mark.parametrize(("route", "method"), _api())
def test_api_write(stage: Any, route: Route, method: str):
    model = route.cls.queryset.model
    answer, told = _first_success(stage, route, method, model._meta.label if "pk" in route.params else "")
    if answer is None:
        _not_driven(f"{basename(route)} {route.actions[method]}", told)
    if answer.status_code == 200 and route.actions[method] == "partial_update":
        return  # an empty change writes nothing; test_a_change_is_written has the full one
    assert answer.written, f"{method.upper()} {answer.address}: {answer.status_code} without an audit entry"
    _consistent(answer.written)
    if route.actions[method] == "create":
        made = answer.json()["id"]
        assert any(entry.object_id == made for entry in answer.written), "the entry names another object"


@pytest.mark.parametrize("route", _pages())
def test_page_write(stage: Any, route: Route):
    answer, told = _first_success(stage, route, "post", PAGES[route.name].model)
    if answer is None:
        _not_driven(route.name, told)
    assert answer.status_code in {201, 204, 302}, (
        f"POST {answer.address}: {answer.status_code} is neither done nor refused"
    )
    assert answer.written, f"POST {answer.address}: done without an audit entry"
    _consistent(answer.written)


def _not_driven(name: str, told: list[str]) -> None:
    if name in NOT_DRIVEN:
        pytest.skip(f"{name}: {NOT_DRIVEN[name]}")
    pytest.fail("refused for everybody with this body (tests/deeds.py):\n" + "\n".join(told))


def _consistent(entries: list[Any]) -> None:
    """The person's own entry, and what the application did of itself because of it."""
    assert any(entry.actor_id is not None for entry in entries)
    for entry in entries:
        assert entry.via in {"page", "api"}
        assert entry.request_id
        assert apps.get_model(entry.object_type) is not None
        assert entry.action.count(".") == 1


NAMES = ("name", "title", "text", "note", "assumption", "kpi", "reason", "went_well", "source")


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(r, id=basename(r))
        for r in routes("api")
        if "partial_update" in r.actions.values() and basename(r) in API
    ],
)
def test_a_change_is_written(stage: Any, route: Route):
    fields = route.cls.serializer_class().fields
    field = next(
        (name for name in NAMES if name in fields and not fields[name].read_only),
        "started_on" if "started_on" in fields else "days",
    )
    value = {"started_on": "2013-04-05", "days": 17.5}.get(field, "Changed by a test")
    model = route.cls.queryset.model
    for key in ROLES:
        answer = stage.send(route, "patch", getattr(stage.cast, key), model._meta.label, body={field: value})
        if answer.status_code == 200:
            break
    assert answer.status_code == 200, answer.content
    mine = [entry for entry in answer.written if entry.object_id == str(stage.ours.one(model).pk)]
    entries = [entry for entry in mine if field in entry.changes]
    assert len(entries) == 1
    assert entries[0].changes[field][1] == value
