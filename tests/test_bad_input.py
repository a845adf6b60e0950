"""Every write route against bad input: never a 5xx, the error at its field, nothing written (see also core/test_api_conventions)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import transaction
from django.test.client import encode_multipart

from tests.badness import strangers_id, written_tables, wrong_json, wrong_typed
from tests.bodies import serializer_body, value_for
from tests.deeds import deed_for
from tests.drive import basename, set_stage, undone, why
from tests.objects import ROLES
from tests.permission_matrix import API, PAGES
from tests.routes import Route, routes

TEN_MEGABYTES = 10 * 2**20
SHOWN_ONCE = {"secret", "claim_code", "token", "set_password_url"}

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        yield set_stage()
        transaction.set_rollback(True)


@dataclass
class Ready:
    """A route in the state in which its good ``body`` would be taken, and who may send it."""

    stage: Any
    route: Route
    method: str
    address: str
    body: dict[str, Any]
    person: Any
    client: Any

    def send(self, content: bytes | None = None, body: Any = None, kind: str = "", **headers: str) -> Any:
        with undone():
            return self.post(content, body, kind, **headers)

    def post(self, content: bytes | None = None, body: Any = None, kind: str = "", **headers: str) -> Any:
        if content is None and self.route.kind == "api":
            content = json.dumps(body, allow_nan=False).encode()
        elif content is None:
            content = urlencode({k: v for k, v in body.items() if v is not None}, doseq=True).encode()
        kind = kind or ("application/json" if self.route.kind == "api" else "application/x-www-form-urlencoded")
        headers.setdefault("HTTP_IF_MATCH", "*")
        return self.client.generic(self.method.upper(), self.address, content, content_type=kind, **headers)

    def refused(self, what: str, answer: Any, before: Any, *, must: bool) -> str:
        """Empty when the answer to bad input is as it should be."""
        status = answer.status_code
        if status >= 500:
            return f"{what}: {status}{why(answer)}"
        if status < 400:
            return f"{what}: {status}, taken" if must else ""
        if written_tables() != before:
            return f"{what}: {status}, but something was written"
        problem = answer["Content-Type"].startswith("application/problem+json")
        if self.route.kind == "api" and not problem:
            return f"{what}: {status} is not problem+json"
        return ""


def _performer(stage: Any, route: Route, method: str, model: str) -> str:
    known = stage.__dict__.setdefault("performers", {})
    for key in () if (route, method) in known else [key for key in ROLES if key != "coe_lead"] + ["coe_lead"]:
        answer = stage.send(route, method, getattr(stage.cast, key), model, deed=deed_for(route, method))
        if answer.status_code < 400:
            known[route, method] = key
            break
    assert (route, method) in known, "nobody comes to success: see tests/test_audit_everywhere.py"
    return str(known[route, method])


@contextmanager
def ready(stage: Any, route: Route, method: str, model: str) -> Iterator[Ready]:
    """The first person for whom the route comes to success; those who may see only a part come first."""
    deed = deed_for(route, method)
    person = getattr(stage.cast, _performer(stage, route, method, model))
    with undone():
        named = deed.state(stage) if deed.state is not None else None
        body = deed.body(stage) if deed.body is not None else stage.body(route, method, stage.ours)
        if route.kind == "api" and route.actions[method] == "partial_update":
            body = _full(route, stage)
        client = stage.api(person) if route.kind == "api" else stage.pages(person)
        yield Ready(stage, route, method, stage.url(route, model, None, named), body, person, client)


def _full(route: Route, stage: Any) -> dict[str, Any]:
    """A change of every field that a creation names."""
    return serializer_body(route.cls.serializer_class, stage.ours)


def _api() -> list[Any]:
    return [
        pytest.param(route, method, id=f"{basename(route)} {action}")
        for route in routes("api")
        for method, action in route.actions.items()
        if method != "get" and basename(route) in API
    ]


def _pages() -> list[Any]:
    return [
        pytest.param(route, id=route.name)
        for route in routes("page")
        if route.name in PAGES and PAGES[route.name].post and PAGES[route.name].post != "nobody"
    ]


def _model(route: Route) -> str:
    if route.kind != "api":
        return PAGES[route.name].model
    return route.cls.queryset.model._meta.label if "pk" in route.params else ""


# ---- the API ----------------------------------------------------------------------------------------------------------

WHOLE = [
    ("no body", b""),
    ("an empty object", b"{}"),
    ("a list", b"[]"),
    ("a text", b'"text"'),
    ("a number", b"7"),
    ("null", b"null"),
    ("half an object", b'{"name": '),
    ("not UTF-8", b'{"name": "\xff"}'),
    ("an unknown field", b'{"no-such-field": 1}'),
]


@pytest.mark.parametrize(("route", "method"), _api())
def test_api(stage: Any, route: Route, method: str):
    wrong = []
    with ready(stage, route, method, _model(route)) as it:
        before = written_tables()
        for what, content in WHOLE:
            wrong.append(it.refused(what, it.send(content), before, must=False))
        large = it.send(json.dumps(it.body | {"name": "x" * TEN_MEGABYTES}).encode())
        wrong.append(it.refused("10 MB", large, before, must=bool(it.body)))
        if it.body and large.status_code != 413:
            wrong.append(f"10 MB: {large.status_code} instead of 413")
        if it.body and method != "delete":
            wrong += _fields(it, before)
    assert not any(wrong), f"{method.upper()} {it.address}\n" + "\n".join(filter(None, wrong))


def _fields(it: Ready, before: Any) -> Iterator[str]:
    """Each field of the good body broken in turn: refused, with a pointer to it."""
    bulk = it.route.actions[it.method] == "bulk"
    good = it.body["rows"][0] if bulk else it.body
    known = getattr(it.route.cls.serializer_class(context={}), "fields", {})
    action = it.route.actions[it.method]
    optional = _optional(known, good, it.stage) if action in {"create", "partial_update"} else {}
    for name, value in (good | optional).items():
        cases = list(wrong_json(known.get(name), value))
        stranger = strangers_id(value, it.stage.ours, it.stage.theirs, it.person)
        if stranger is not None:
            cases.append(("a stranger's id", stranger))
        for what, bad in cases[:1] if bulk else cases:
            row = good | {name: bad}
            answer = it.send(body={"rows": [row]} if bulk else row)
            said = it.refused(f"{name} is {what}", answer, before, must=True)
            yield said or _pointer(name, what, answer, bulk=bulk)


def _optional(known: Any, good: dict[str, Any], stage: Any) -> dict[str, Any]:
    """Values for the fields that a body may leave out."""
    left = {n: f for n, f in known.items() if n not in good and not f.read_only}
    return {name: value_for(field, stage.ours) for name, field in left.items()}


def _pointer(name: str, what: str, answer: Any, *, bulk: bool) -> str:
    said = answer.json()
    if answer.status_code in {403, 404} and "id" in what.split():
        return ""  # a container that is not there for this person
    errors = said["refused"][0]["errors"] if bulk and "refused" in said else said.get("errors", [])
    if any(re.split(r"[.\[]", row["field"])[0] == name for row in errors):
        return ""
    return f"{name} is {what}: {answer.status_code} without a pointer to it: {json.dumps(said)[:200]}"


@pytest.mark.parametrize(
    ("route", "method"), [case for case in _api() if "pk" in case.values[0].params or "by_external" in case.id]
)
def test_a_stale_write_of_the_api(stage: Any, route: Route, method: str):
    with ready(stage, route, method, _model(route)) as it:
        if route.actions[method] == "by_external_id":
            row = stage.ours.one(route.cls.queryset.model)
            type(row).objects.filter(pk=row.pk).update(external_source="erp", external_id="4711")
        before = written_tables()
        answer = it.send(body=it.body, HTTP_IF_MATCH='"an-older-version"')
        said = it.refused("a stale ETag", answer, before, must=True)
    assert not said, said
    assert answer.status_code == 412, answer.content[:300]
    assert answer.json()["code"] == "stale_write"


@pytest.mark.parametrize(("route", "method"), [case for case in _api() if case.values[1] == "post"])
def test_a_double_submit_of_the_api(stage: Any, route: Route, method: str):
    with ready(stage, route, method, _model(route)) as it:
        headers = {"HTTP_IDEMPOTENCY_KEY": "once-and-no-more", "HTTP_IF_MATCH": "*"}
        first = it.post(body=it.body, **headers)
        after = written_tables()
        again = it.post(body=it.body, **headers)
        assert written_tables() == after, "the second submit has written something"
        assert first.status_code < 300, first.content[:300]
        assert again.status_code == first.status_code
        assert _kept(again) == _kept(first)
        assert again["Idempotent-Replay"] == "true"
        other = it.post(body=it.body | {"name": "another body"}, **headers)
        assert other.status_code == 422
        assert written_tables() == after


def _kept(answer: Any) -> Any:
    """An answer without what is shown once only and never kept."""
    said = answer.json() if answer.content else None
    return {k: v for k, v in said.items() if k not in SHOWN_ONCE} if isinstance(said, dict) else said


# ---- the pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", _pages())
def test_page(stage: Any, route: Route):
    wrong = []
    with ready(stage, route, "post", _model(route)) as it:
        before = written_tables()
        wrong.append(it.refused("nothing", it.send(b""), before, must=False))
        wrong.append(it.refused("no form", it.send(b'{"a": 1}', kind="application/json"), before, must=False))
        torn = encode_multipart("limit", {"name": "x"})[:-9]
        wrong.append(
            it.refused("half a form", it.send(torn, kind="multipart/form-data; boundary=limit"), before, must=False)
        )
        if it.body:
            large = it.send(body=it.body | {"name": "x" * TEN_MEGABYTES})
            wrong.append(it.refused("10 MB", large, before, must=True))
            if large.status_code != 413:
                wrong.append(f"10 MB: {large.status_code} instead of 413")
            wrong += _form_fields(it, before)
    assert not any(wrong), f"POST {it.address}\n" + "\n".join(filter(None, wrong))


def _main(answer: Any) -> str:
    """The page without the shell around it."""
    return str(answer.content.decode().split("<main")[-1])


def _form_fields(it: Ready, before: Any) -> Iterator[str]:
    """Each field that the page shows, broken in turn."""
    known = getattr(getattr(it.route.cls, "form_class", None), "base_fields", {})
    shown = it.client.get(it.address) if "get" in it.route.methods else None
    tags = re.findall(r"<(?:input|select|textarea)[^>]*>", _main(shown)) if shown is not None else []
    names = {name for tag in tags if "disabled" not in tag for name in re.findall(r' name="([^"]+)"', tag)}
    names = names if tags else set(it.body)
    for name in sorted(names & (set(known) | set(it.body)) - {"version"}):
        if name.endswith("_FORMS"):
            continue  # the count of rows of a table of fields, which no person types
        value = it.body.get(name, "")
        cases = list(wrong_typed(known.get(name), value))
        single = value[0] if isinstance(value, list) and value else value
        stranger = strangers_id(single, it.stage.ours, it.stage.theirs, it.person)
        if stranger is not None:
            cases.append(("a stranger's id", stranger))
        for what, bad in cases:
            answer = it.send(body=it.body | {name: bad})
            said = it.refused(f"{name} is {what}", answer, before, must=True)
            yield said or _beside(name, what, answer)


def _beside(name: str, what: str, answer: Any) -> str:
    """The error stands beside the field; where the page draws its own fields, the page says what is wrong."""
    text = answer.content.decode()
    if answer["Content-Type"] == "application/json":
        text = "".join(f'id="id_{row["field"]}_error"' for row in answer.json()["errors"])
    if f'id="id_{name}_error"' in text or answer.status_code in {403, 404}:
        return ""
    if f'id="id_{name}"' not in text and ('role="alert"' in text or "pg-field-error" in text):
        return ""
    return f"{name} is {what}: {answer.status_code} without an error beside the field"


_EDITS = [case for case in _pages() if case.id.endswith("-edit")]


@pytest.mark.parametrize("route", _EDITS)
def test_a_stale_form(stage: Any, route: Route):
    with ready(stage, route, "post", _model(route)) as it:
        before = written_tables()
        for version in ("999", "²", "9" * 5000, "-3"):
            answer = it.send(body=it.body | {"version": version})
            said = it.refused(f"version {version[:9]}", answer, before, must=True)
            assert not said, said
            assert answer.status_code == 412, answer.content[:300]


@pytest.mark.parametrize("route", _pages())
def test_a_double_submit_of_a_page(stage: Any, route: Route):
    """The same rendering of a form sent twice is taken once; the second click leads to what the first has made."""
    with ready(stage, route, "post", _model(route)) as it:
        body = it.body | {"csrfmiddlewaretoken": "of-this-rendering"}
        first = it.post(body=body)
        after = written_tables()
        again = it.post(body=body)
        assert written_tables() == after, "the second submit has written something"
        if first.status_code == 302:
            assert (again.status_code, again["Location"]) == (302, first["Location"])
        else:
            assert again.status_code in {first.status_code, 204, 409}
