"""Every route of the URLconf against anonymous, stranger, viewer and each role: pages, API actions, doors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from portal.core.access import may
from tests.drive import basename, set_stage, why
from tests.objects import ROLES
from tests.permission_matrix import API, DOORS, OPEN, PAGES, READS, Row
from tests.routes import Route, all_routes, routes, viewsets

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        yield set_stage()
        transaction.set_rollback(True)


def test_every_route_has_a_row_and_every_row_a_route():
    known = set(PAGES) | set(DOORS) | set(OPEN)
    found = {route.name for route in routes("page", "door", "open")}
    missing = sorted(found - known)
    for route in routes("api"):
        if basename(route) not in API:
            missing.append(f"api:{basename(route)}")
            continue
        for action in route.actions.values():
            if action not in READS and action not in API[basename(route)]:
                missing.append(f"api:{basename(route)} {action}")
    gone = sorted((known - found) | {f"api:{name}" for name in set(API) - {basename(route) for route in routes("api")}})
    assert not missing, "No row in tests/permission_matrix.py for: " + ", ".join(dict.fromkeys(missing))
    assert not gone, "Rows without a route: " + ", ".join(gone)


def asking(stage: Any, rule: str, model: str, *, reads: bool) -> list[tuple[str, Any, str]]:
    """Who asks, and what each should get. A read is asked by two roles of each outcome, a write by every role."""
    people = [
        ("anonymous", None),
        ("stranger", stage.cast.stranger),
        *((key, getattr(stage.cast, key)) for key in ROLES),
    ]
    chosen, seen = [], Counter()
    for who, user in people:
        wanted = expected(stage, who, user, rule, model)
        seen[wanted] += 1
        if not reads or user is None or who == "stranger" or seen[wanted] <= 2:
            chosen.append((who, user, wanted))
    return chosen


def expected(stage: Any, who: str, user: Any, rule: str, model: str) -> str:
    """signed-out, unseen, forbidden, refused (any 4xx, nothing written) or allowed."""
    if rule == "anyone":
        return "allowed"
    if rule == "nobody":
        return "unseen"
    if who == "anonymous":
        return "signed-out"
    obj = stage.ours.one(model) if model else None
    if obj is not None and not may(obj, user, "view"):
        return "unseen"
    if rule == "by rule":
        return "judged"
    if rule == "signed in":
        return "allowed"
    if rule.startswith("perm:"):
        return "allowed" if user.has_perm(rule[5:]) else "forbidden"
    if rule.startswith("named:"):
        _, named, verb = rule.split(":")
        return "allowed" if may(stage.ours.one(named), user, verb) else "refused"
    if rule.startswith("some:"):
        _, named, verb = rule.split(":")
        return "allowed" if apps.get_model(named).objects.permitted(user, verb).exists() else "forbidden"
    return "allowed" if obj is None or may(obj, user, rule) else "forbidden"


def verdict(answer: Any, wanted: str, *, api: bool, door: bool = False) -> str:
    """Empty when the answer is the wanted one."""
    status = answer.status_code
    if status >= 500:
        return f"{status}{why(answer)}"
    if wanted == "signed-out":
        if api or door:
            return "" if status == 401 else f"{status} instead of 401"
        login = status == 302 and "/account/login/" in answer["Location"]
        return "" if login else f"{status} instead of the way to sign in"
    if wanted == "unseen":
        return "" if status == 404 else f"{status} instead of 404"
    if wanted == "judged":
        return "" if status != 401 else f"{status} though seen"
    if wanted == "forbidden":
        return "" if status == 403 else f"{status} instead of 403"
    if wanted == "refused":
        return (
            ""
            if 400 <= status < 500 and not answer.written
            else f"{status} with {len(answer.written)} writes instead of a refusal"
        )
    if status in {403, 404} and api and answer.json().get("code") not in {"not_allowed", "not_found"}:
        return ""  # a rule of the business beyond permission, with its own code (who may sign, no replay here)
    return "" if status not in {401, 403, 404} else f"{status} though allowed"


def _page_cases() -> list[Any]:
    cases = []
    for route in routes("page"):
        row = PAGES.get(route.name)
        if row is None:
            continue
        cases += [
            pytest.param(route, method, row, id=f"{route.name}-{method}")
            for method in ("get", "post")
            if getattr(row, method)
        ]
    return cases


@pytest.mark.parametrize(("route", "method", "row"), _page_cases())
def test_page(stage: Any, route: Route, method: str, row: Row):
    rule, wrong = getattr(row, method), []
    for who, user, wanted in asking(stage, rule, row.model, reads=method == "get"):
        answer = stage.send(route, method, user, row.model)
        problem = verdict(answer, wanted, api=False)
        if problem:
            wrong.append(f"{who} {method.upper()} {answer.address}: {problem}")
    assert not wrong, "\n".join(wrong)


def _api_cases() -> list[Any]:
    return [
        pytest.param(route, method, id=f"{basename(route)}-{action}-{method}")
        for route in routes("api")
        if basename(route) in API
        for method, action in route.actions.items()
        if action in READS or action in API[basename(route)]
    ]


@pytest.mark.parametrize(("route", "method"), _api_cases())
def test_api(stage: Any, route: Route, method: str):
    action, wrong = route.actions[method], []
    model = route.cls.queryset.model._meta.label if "pk" in route.params else ""
    rule = "view" if method == "get" else API[basename(route)].get(action, "view")
    if method == "get" and not model:
        rule = "signed in"
    for who, user, wanted in asking(stage, rule, model, reads=method == "get"):
        if wanted == "forbidden" and not model and method != "get":
            wanted = "refused"
        answer = stage.send(route, method, user, model)
        problem = verdict(answer, wanted, api=True)
        if problem:
            body = bytes(getattr(answer, "content", b""))[:200] if answer.status_code < 500 else b""
            wrong.append(f"{who} {method.upper()} {answer.address}: {problem} {body.decode(errors='replace')}")
        if answer.status_code >= 400 and not answer["Content-Type"].startswith("application/problem+json"):
            wrong.append(f"{who} {method.upper()} {answer.address}: {answer.status_code} is not problem+json")
    assert not wrong, "\n".join(wrong)


def test_a_stranger_finds_only_his_own_rows_in_every_list(stage: Any):
    """The stranger's list of each resource holds none of our rows."""
    wrong = []
    detailed = {route.name.removeprefix("api:").removesuffix("-detail") for route in routes("api")}
    for name, cls in viewsets().items():
        model = cls.queryset.model
        if any("view" in way.everybody for way in model.access) or name not in detailed:
            continue
        mine = str(stage.ours.one(model).pk)
        answer = stage.api(stage.cast.stranger).get(f"/api/v1/{_path(name)}")
        if answer.status_code != 200 or mine in answer.content.decode():
            wrong.append(f"{name}: {answer.status_code}{why(answer)}")
    assert not wrong, "\n".join(wrong)


def _path(name: str) -> str:
    return (
        next(route.path for route in routes("api") if route.name == f"api:{name}-list")
        .removeprefix("api/v1/^")
        .removesuffix("$")
    )


@pytest.mark.parametrize(
    "route", [route for route in routes("door") if route.name in DOORS], ids=lambda route: route.name
)
def test_doors_do_not_open_to_people(stage: Any, route: Route):
    row = DOORS[route.name]
    for method in ("get", "post"):
        if getattr(row, method) != "door":
            continue
        for user in (None, stage.cast.ot_engineer):
            answer = stage.send(route, method, user, body={})
            assert answer.status_code in {400, 401, 403, 404, 415, 422}, (
                f"{route.name}: {answer.status_code}{why(answer)}"
            )
            assert not answer.written


@pytest.mark.parametrize(
    "route", [route for route in routes("open") if route.name in OPEN], ids=lambda route: route.name
)
def test_open_routes(stage: Any, route: Route):
    method = "get" if OPEN[route.name].get else "post"
    answer = stage.send(route, method, None, body={})
    assert answer.status_code < 400, f"{answer.status_code}{why(answer)}"


def test_every_model_with_rows_says_who_may_see_them():
    without = [model._meta.label for model in apps.get_models() if hasattr(model, "access") and not model.access]
    assert not without, f"No access on: {without}"


def test_the_urlconf_is_read_whole():
    names = [route.name for route in all_routes()]
    assert len(names) > 150
    assert "devices:device" in names
