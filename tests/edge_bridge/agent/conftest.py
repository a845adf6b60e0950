from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge_bridge.agent.door import Door
from tests.edge_bridge.agent.plant import KEY, KEY_ID, AgentProcess, PlcThread


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door(signing_keys={KEY_ID: KEY.public_key().public_bytes_raw()})
    yield made
    made.close()


@pytest.fixture
def plc() -> Iterator[Callable[..., PlcThread]]:
    made: list[PlcThread] = []

    def make(*arguments: object, **options: object) -> PlcThread:
        made.append(PlcThread(*arguments, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def agent(tmp_path: Path, door: Door) -> Iterator[AgentProcess]:
    made = AgentProcess(tmp_path / "state", door.url)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()
