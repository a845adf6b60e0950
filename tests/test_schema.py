"""The OpenAPI document: generated without a warning, and kept by the API under schemathesis."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings

from tests.drive import set_stage

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(180)]
EXAMPLES = 6


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    from drf_spectacular.generators import SchemaGenerator

    return json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))


def test_it_is_generated_without_a_warning():
    from drf_spectacular.drainage import GENERATOR_STATS

    GENERATOR_STATS.reset()
    err = StringIO()
    call_command("spectacular", stdout=StringIO(), stderr=err)
    told = sorted({*map(str, GENERATOR_STATS._warn_cache), *map(str, GENERATOR_STATS._error_cache)})
    assert not told, "\n".join(told)


def test_it_is_served(client: Any):
    answer = client.get("/api/schema/", HTTP_ACCEPT="application/json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.1")


def test_every_operation_has_its_own_id_and_a_problem_answer(document: dict[str, Any]):
    seen: dict[str, str] = {}
    wrong = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            if name in seen:
                wrong.append(f"{name}: {method} {path} and {seen[name]}")
            seen[name] = f"{method} {path}"
            if "application/problem+json" not in operation["responses"]["404"]["content"]:
                wrong.append(f"{method} {path}: no problem answer")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def stage(django_db_setup: Any, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), transaction.atomic():
        made = set_stage()
        yield made
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Any]:
    import schemathesis

    from portal.wsgi import application

    schema = schemathesis.openapi.from_dict(document)
    schema.app = application
    found = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.method.upper() in {"GET", "POST"} and operation.path.startswith("/api/v1"):
            found.append(operation)
    return found


def test_no_failure_and_no_violation(stage: Any, operations: list[Any]):
    """Every GET and POST operation with a few made-up requests of an authorised person: no 5xx, every answer as documented."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    from portal.core import tokens

    _, secret = tokens.token_create(actor=stage.cast.coe_lead, name="schema", scopes=["write"])
    headers = {"Authorization": f"Bearer {secret}"}
    wanted = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    wrong: dict[str, str] = {}
    for operation in operations:
        label = f"{operation.method.upper()} {operation.path}"
        for case, answer in _tried(operation, stage, headers):
            try:
                case.validate_response(answer, checks=wanted, headers=headers)
            except FailureGroup as group:
                told = "; ".join(str(error).replace("\n", " ")[:240] for error in group.exceptions)
                wrong.setdefault(label, told)
    assert not wrong, f"{len(wrong)} operations:\n" + "\n".join(f"{label}: {text}" for label, text in wrong.items())


def _tried(operation: Any, stage: Any, headers: dict[str, str]) -> list[tuple[Any, Any]]:
    """A few made-up requests of one operation with their answers; what they did is undone."""
    from hypothesis import given

    tried = []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def probe(case: Any) -> None:
        _known_keys(case, stage)
        with transaction.atomic():
            tried.append((case, case.call(headers=headers)))
            transaction.set_rollback(True)

    probe()
    return tried


def _known_keys(case: Any, stage: Any) -> None:
    """A request for one row addresses a row that is there, so that more than 404 is seen."""
    from tests.routes import viewsets

    if "id" in (case.path_parameters or {}):
        noun = case.path.split("/")[3]
        for route_name, cls in viewsets().items():
            if _plural(route_name) == noun:
                case.path_parameters["id"] = str(stage.ours.one(cls.queryset.model).pk)


def _plural(basename: str) -> str:
    from tests.routes import routes

    path = next(route.path for route in routes("api") if route.name == f"api:{basename}-list")
    return path.removeprefix("api/v1/^").removesuffix("$")
