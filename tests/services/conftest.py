"""Real servers for the session; a missing binary skips with its reason, or fails where services are required."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import skip_or_fail
from tests.services import servers


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    try:
        servers.postgres_folder()
    except servers.Missing as error:
        skip_or_fail(str(error))
    with servers.postgres_place() as folder, servers.postgres(folder) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: Any) -> Iterator[str]:
    try:
        servers.redis_binary()
    except servers.Missing as error:
        skip_or_fail(str(error))
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def mqtt_url(tmp_path_factory: Any) -> Iterator[str]:
    try:
        servers.find("mosquitto")
    except servers.Missing as error:
        skip_or_fail(str(error))
    with servers.mosquitto(tmp_path_factory.mktemp("mosquitto")) as url:
        yield url
