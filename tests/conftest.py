"""The cast and the tools every test may use. A domain test runs with ``-p no:django`` and needs nothing of this."""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("PHASEGATE_TESTING", "1")
os.environ.setdefault("PHASEGATE_SECRET_KEY", "tests-only-not-a-secret-0123456789abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("PHASEGATE_HOME", tempfile.mkdtemp(prefix="phasegate-tests-"))

REQUIRE_SERVICES = os.environ.get("PHASEGATE_REQUIRE_SERVICES") == "1"


def skip_or_fail(reason: str) -> None:
    """A real service is missing: skip, or fail where PHASEGATE_REQUIRE_SERVICES=1."""
    if REQUIRE_SERVICES:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def _celery_knows_no_broker() -> Any:
    try:
        from portal.celery import app
    except ImportError:
        yield
        return
    app.conf.task_always_eager = True
    app.conf.task_eager_propagates = True
    yield


@pytest.fixture(scope="session")
def django_db_use_migrations() -> bool:
    """Tables come from the models, which is ten times quicker; tests/services runs the migrations on both databases."""
    return False


@pytest.fixture
def cast(db: Any) -> Any:
    """Two sites and two use cases; people who may see the first pair, and a stranger who may see neither."""
    from portal.core.access import grant_role
    from portal.core.models import User
    from tests.factories import make_site, make_use_case

    home, away = make_site("home"), make_site("away")
    ours, theirs = make_use_case("ours"), make_use_case("theirs")
    people: dict[str, Any] = {}
    for key in (
        "plant_manager",
        "ot_engineer",
        "data_scientist",
        "edge_architect",
        "data_steward",
        "safety_officer",
        "coe_lead",
        "executive",
        "integrator",
    ):
        person = User.objects.create(email=f"{key.replace('_', '-')}@test.example", name=key)
        grant_role(person, key, home, ours)
        people[key] = person
    stranger = User.objects.create(email="stranger@test.example", name="stranger")
    grant_role(stranger, "ot_engineer", away)
    grant_role(stranger, "data_scientist", theirs)
    return SimpleNamespace(home=home, away=away, ours=ours, theirs=theirs, stranger=stranger, **people)


@pytest.fixture
def api() -> Any:
    """``api(user)`` gives a DRF client that is signed in as the user (or nobody)."""
    from rest_framework.test import APIClient

    def client(user: Any = None) -> APIClient:
        made = APIClient()
        if user is not None:
            made.force_authenticate(user)
        return made

    return client


@pytest.fixture
def as_user(client: Any) -> Any:
    """``as_user(user)`` gives the page client signed in as the user."""

    def sign_in(user: Any) -> Any:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


@pytest.fixture
def htmx() -> dict[str, str]:
    return {"HTTP_HX_REQUEST": "true"}
