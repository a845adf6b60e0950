"""Lists of the API: the quick rows equal the serializer's output; fields, pages, ordering, CSV, ETag."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from django.db import transaction
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from portal.core.api.renderers import dumps
from portal.core.api.viewsets import _flat
from tests.drive import set_stage
from tests.routes import routes, viewsets
from usecases.choices import RoundState
from usecases.models import ScoringRound

_DETAILS = {route.name for route in routes("api")}
# A window over the lake has no rows with addresses; its app tests it.
RESOURCES = sorted(name for name in viewsets() if f"api:{name}-detail" in _DETAILS)

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        made = set_stage()
        made.admin = _all_seeing()
        # A rating is there for its rater and, once it is revealed, for the facilitator; to everybody else its list is empty.
        ScoringRound.objects.update(state=RoundState.REVEALED, facilitator=made.admin)
        yield made
        transaction.set_rollback(True)


def _all_seeing() -> Any:
    from portal.core.models import User

    return User.objects.create(email="all@test.example", name="all", is_superuser=True)


def address(name: str) -> str:
    path = next(route.path for route in routes("api") if route.name == f"api:{name}-list")
    return "/" + path.replace("^", "").removesuffix("$")


def read(stage: Any, name: str, /, **query: Any) -> Any:
    return stage.api(stage.admin).get(address(name), query)


def serialized(stage: Any, cls: Any, pks: list[str]) -> dict[str, Any]:
    """What the serializer itself says of these rows."""
    request = Request(APIRequestFactory().get("/"))
    request.user = stage.admin
    view = cls(request=request, format_kwarg=None, action="list", kwargs={})
    rows = cls.queryset.filter(pk__in=pks)
    return {str(row["id"]): row for row in json.loads(dumps(view.get_serializer(rows, many=True).data))}


@pytest.mark.parametrize("name", RESOURCES)
def test_each_row_of_a_list_is_what_the_serializer_says(stage: Any, name: str):
    answer = read(stage, name)
    assert answer.status_code == 200, answer.content
    rows = answer.json()["results"]
    assert rows, "no row to compare"
    wanted = serialized(stage, viewsets()[name], [row["id"] for row in rows])
    for row in rows:
        assert row == wanted[row["id"]]


@pytest.mark.parametrize("name", RESOURCES)
def test_a_row_of_a_list_is_its_detail(stage: Any, name: str):
    row = read(stage, name).json()["results"][0]
    answer = stage.api(stage.admin).get(f"{address(name)}/{row['id']}")
    assert answer.status_code == 200, answer.content
    detail = answer.json()
    assert {key: detail[key] for key in row if key in detail} == row
    assert answer["ETag"]
    assert (
        stage.api(stage.admin).get(f"{address(name)}/{row['id']}", HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 304
    )


@pytest.mark.parametrize("name", RESOURCES)
def test_parameters_of_a_list(stage: Any, name: str):
    whole = read(stage, name)
    assert stage.api(stage.admin).get(address(name), HTTP_IF_NONE_MATCH=whole["ETag"]).status_code == 304
    rows = whole.json()["results"]
    some = sorted(rows[0])[:2]
    assert set(read(stage, name, fields=",".join(some)).json()["results"][0]) == {*some, "id"}
    assert len(read(stage, name, page_size=1).json()["results"]) == 1
    for field in viewsets()[name].ordering_fields:
        up, down = read(stage, name, ordering=field), read(stage, name, ordering=f"-{field}")
        assert (up.status_code, down.status_code) == (200, 200), f"ordering={field}"
        assert {row["id"] for row in up.json()["results"]} == {row["id"] for row in down.json()["results"]}
    for wrong in (
        {"page_size": "0"},
        {"page_size": "x"},
        {"ordering": "no_such"},
        {"fields": "no_such"},
        {"cursor": "abc"},
    ):
        answer = read(stage, name, **wrong)
        assert answer.status_code == 400, wrong
        assert answer["Content-Type"].startswith("application/problem+json")
        assert answer.json()["errors"][0]["field"] in wrong


@pytest.mark.parametrize("name", RESOURCES)
def test_csv_has_every_row(stage: Any, name: str):
    from portal.core.exports import safe_cell

    answer = read(stage, name, format="csv")
    assert answer.status_code == 200
    lines = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines(keepends=True)))
    rows = {row["id"]: row for row in read(stage, name, page_size=1000).json()["results"]}
    at = lines[0].index("id")
    assert {line[at] for line in lines[1:]} == set(rows)
    for line in lines[1:]:
        row = rows[line[at]]
        assert line == [str(safe_cell(_flat(row[column]))) for column in lines[0]]


@pytest.mark.parametrize("name", RESOURCES)
def test_filters_take_nonsense_calmly(stage: Any, name: str):
    """Each filter with a value of the wrong kind: rows, none, or a named input error, never a failure."""
    cls = viewsets()[name]
    filterset = getattr(cls, "filterset_class", None)
    names = list(filterset.base_filters) if filterset else list(getattr(cls, "filterset_fields", ()) or ())
    for field in names:
        for value in ("", "nonsense", "\0", "9" * 40, "-1", "01a203bc-0dc2-7421-a082-000000000000"):
            answer = read(stage, name, **{field: value})
            assert answer.status_code in {200, 400}, f"{field}={value!r}: {answer.status_code}"
            if answer.status_code == 400:
                assert answer["Content-Type"].startswith("application/problem+json")
