"""The cast and the tools every test may use. A domain test runs with ``-p no:django`` and needs nothing of this."""

from __future__ import annotations

import os
from typing import Any

import pytest

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
    from tests.objects import make_cast

    return make_cast()


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
