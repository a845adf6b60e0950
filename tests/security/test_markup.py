"""What people and gateways write is shown as text, wherever it is shown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import models
from django.test import Client

from portal.core.models import User
from tests.objects import World, entity_models, make_cast
from tests.routes import Route, routes

pytestmark = pytest.mark.django_db
MARK = "<i id=x1>\"'</script><script>x1()</script>"
AS_MARKUP = re.compile(rb"<i id=x1>|<script>x1\(\)")
# Names by which something is found, and documents that are read by programs.
KEPT = {
    "password",
    "code",
    "key",
    "url",
    "path",
    "link",
    "manifest",
    "signature",
    "snapshot_text",
    "time_zone",
    "task",
    "recipe",
}


def mark_all() -> None:
    """Puts markup into every free text of every row, past all forms."""
    for model in entity_models():
        together = {name for one in model._meta.constraints for name in getattr(one, "fields", ())}
        for field in model._meta.concrete_fields:
            free = isinstance(field, (models.CharField, models.TextField)) and not field.choices and not field.unique
            if free and field.name not in KEPT | together and (field.max_length or 1000) >= len(MARK):
                model._default_manager.update(**{field.name: MARK})
    User.objects.update(name=MARK, organisation=MARK)


def address(route: Route, world: World) -> str | None:
    """The page's address for a row of the world; None where the page takes something else."""
    if not route.params:
        return f"/{route.path}"
    if route.params != ("pk",):
        return None
    model = getattr(route.cls, "model", None)
    by_name = (m for m in entity_models() if m.__name__.lower() == route.name.split(":")[1].split("-")[0])
    model = model or next(by_name, None)
    return re.sub(r"<[^>]+>", str(world.one(model).pk), f"/{route.path}") if model is not None else None


def test_no_page_runs_what_somebody_wrote() -> None:
    cast = make_cast()
    admin = User.objects.create_superuser("root@test.example", "x")
    world = World(cast.home, cast.ours, admin).fill()
    mark_all()
    client = Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    shown: set[str] = set()
    runs: list[str] = []
    for route in routes("page"):
        path = address(route, world) if "get" in route.methods else None
        for headers in ({}, {"HX-Request": "true"}) if path else ():
            answer: Any = client.get(path, headers=headers)
            if answer.status_code == 200 and not answer.streaming and "html" in answer["Content-Type"]:
                shown |= {route.name} if b"x1()" in answer.content else set()
                runs += [f"{route.name} {headers}"] if AS_MARKUP.search(answer.content) else []
    assert not runs
    assert len(shown) > 40, sorted(shown)
