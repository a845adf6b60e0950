"""Drives routes: one prepared world per module, every request in a savepoint that is rolled back, so that order does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from portal.core.api.renderers import dumps
from tests.bodies import api_body, form_body
from tests.objects import ROLES, World, make_cast, spare, worlds
from tests.routes import Route

BACKEND = "django.contrib.auth.backends.ModelBackend"
PARAMETERS = {
    "source": "erp",
    "key": "4711",
    "sha256": "0" * 64,
    "uidb36": "1",
    "number": "1",
    "month": "2013-01",
    "name": "probe",
    "slug": "probe",
    "code": "probe",
}


class Stage(SimpleNamespace):
    """``cast``, ``ours`` and ``theirs`` (worlds), a signed-in page client and an API client for each person."""

    cast: Any
    ours: World
    theirs: World

    def pages(self, user: Any) -> Client:
        return self._client("page", user)

    def api(self, user: Any) -> APIClient:
        return self._client("api", user)

    def _client(self, kind: str, user: Any) -> Any:
        key = (kind, getattr(user, "pk", None))
        if key not in self.clients:
            made = APIClient(raise_request_exception=False) if kind == "api" else Client(raise_request_exception=False)
            if user is not None and kind == "api":
                made.force_authenticate(user)
            elif user is not None:
                made.force_login(user, backend=BACKEND)
            self.clients[key] = made
        return self.clients[key]

    def url(self, route: Route, model: str = "", world: World | None = None, obj: Any = None) -> str:
        values = {
            name: str((obj or (world or self.ours).one(model)).pk)
            if name == "pk" and model
            else str((world or self.ours).one("marketplace.Service").code)
            if name == "service"
            else PARAMETERS.get(name, "00000000-0000-7000-8000-000000000000")
            for name in route.params
        }
        return reverse(route.name, kwargs=values)

    def send(
        self,
        route: Route,
        method: str,
        user: Any,
        model: str = "",
        world: World | None = None,
        body: Any = None,
        deed: Any = None,
    ) -> Any:
        """The answer of one request whose effects are undone; ``answer.written`` are the audit entries it made.

        ``deed``: the state it starts from and its body (see ``tests.deeds``), where they are not those of the stage."""
        from portal.core.models import AuditEntry

        client = self.api(user) if route.kind == "api" else self.pages(user)
        with undone():
            named = deed.state(self) if deed is not None and deed.state is not None else None
            if body is None and deed is not None and deed.body is not None:
                body = deed.body(self)
            address = self.url(route, model, world, named)
            before = set(AuditEntry.objects.values_list("pk", flat=True))
            if route.kind == "api":
                extra = {"HTTP_IF_MATCH": "*"} if method != "get" else {}
                if method == "get":
                    answer = client.get(
                        address, {"since": "2020-01-01T00:00:00Z"} if address.endswith("/deleted") else {}
                    )
                else:
                    content = dumps(body if body is not None else self.body(route, method, world or self.ours))
                    answer = client.generic(method.upper(), address, content, content_type="application/json", **extra)
            elif method == "get":
                answer = client.get(address)
            else:
                content = body if body is not None else self.body(route, method, world or self.ours)
                answer = client.post(address, content)
            if getattr(answer, "streaming", False):
                b"".join(answer.streaming_content)
            answer.written = list(AuditEntry.objects.exclude(pk__in=before))
            answer.address = address
        return answer

    def body(self, route: Route, method: str, world: World) -> dict[str, Any]:
        if route.kind == "api":
            return api_body(route.cls, route.actions[method], world, basename(route))
        form_class = getattr(route.cls, "form_class", None)
        return form_body(form_class, world) if form_class is not None else {}


def basename(route: Route) -> str:
    return str(route.initkwargs["basename"])


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def set_stage() -> Stage:
    cast = make_cast()
    spare()
    ours, theirs = worlds(cast)
    theirs.shares(ours, "edge_bridge.Connection")
    stage = Stage(cast=cast, ours=ours.fill(), theirs=theirs.fill(), clients={})
    for person in (None, cast.stranger, *(getattr(cast, key) for key in ROLES)):
        stage.pages(person)  # signed in here, outside every savepoint
    return stage


def why(answer: Any) -> str:
    """The exception behind a 5xx, in one line."""
    found = getattr(answer, "exc_info", None)
    return f" {found[0].__name__}: {str(found[1])[:200]}" if found else ""
