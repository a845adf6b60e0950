"""A disk that is really full (a small tmpfs): the lake, the model files and a gateway's store lose nothing and go on afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from governance import artefacts, lake
from governance.choices import StreamKind
from governance.models import InboxMessage
from governance.rows import RowBlock
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from tests.conftest import skip_or_fail
from tests.edge_bridge.agent.conftest import door, plc  # noqa: F401 - fixtures
from tests.edge_bridge.agent.plant import AgentProcess, PlcThread
from tests.edge_bridge.agent.test_faults import _start, _wait_for
from tests.factories import make_device

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]


@dataclass
class Disk:
    """``fill()`` leaves no byte free, ``free()`` gives the room back."""

    path: Path

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (65_536, 4096, 1):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 4 MiB of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "phasegate-test", str(where)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        skip_or_fail("a small file system can be mounted by root alone")
    yield Disk(where)
    subprocess.run(["umount", "-l", str(where)], check=False)


def take(gateway: Any, first: int, rows: int = 2000) -> None:
    """``rows`` processed rows in the inbox."""
    numbers = np.arange(first, first + rows)
    noise = np.random.default_rng(first).normal(size=(rows, 4))
    block = RowBlock.of(
        source="turbine", run=1, row=numbers, plant_ms=numbers * 3_600_000,
        columns={f"C{i}": noise[:, i] for i in range(4)},
    )  # fmt: skip
    message = lake.Incoming("turbine/rows", first, StreamKind.TELEMETRY, lake.digest_of(block), block=block)
    lake.inbox_append(gateway=gateway, messages=[message])
    InboxMessage.objects.update(processed_at=wall_now())


@pytest.mark.django_db
def test_the_lake_on_a_full_disk_keeps_the_inbox_and_follows_later(cast: Any, disk: Disk, settings: Any):
    settings.LAKE_URI = str(disk.path / "lake")
    gateway = make_device(cast.home)
    take(gateway, 1)
    assert lake.compact() == 1
    disk.fill()
    take(gateway, 2001)
    assert lake.compact() == 0
    assert InboxMessage.objects.filter(compacted_in=None).count() == 1
    ok, said = lake.health()
    assert not ok
    assert "No space left" in said
    disk.free()
    assert lake.health()[0]
    assert lake.compact() == 1
    assert lake.compact() == 0
    table = lake.read_table(cast.home.code, "turbine", StreamKind.TELEMETRY)
    assert table is not None
    assert sorted(table["row"].tolist()) == list(range(1, 4001)), "a row was lost or doubled"


def test_a_model_file_is_there_whole_or_not_at_all(disk: Disk, settings: Any):
    settings.ARTEFACT_DIR = disk.path / "artefacts"
    content = os.urandom(300_000)
    disk.fill()
    with pytest.raises(DomainError, match="cannot be stored: No space left"):
        artefacts.store(content)
    assert not [path for path in (disk.path / "artefacts").rglob("*") if path.is_file()], (
        "something half-written is left"
    )
    disk.free()
    assert artefacts.load(artefacts.store(content)) == content


def test_a_gateway_with_a_full_disk_holds_the_plc_back_and_loses_nothing(
    door: Any,  # noqa: F811
    plc: Callable[..., PlcThread],  # noqa: F811
    disk: Disk,
):
    machine = plc("turbine", pace=0)
    agent = AgentProcess(disk.path / "state", door.url)
    try:
        # The log has a disk of its own: the machine's journal is not what is tested.
        (disk.path / "agent.log").symlink_to(disk.path.parent / "agent.log")
        _start(door, machine, agent)
        with door.news:
            door.away = True
        _wait_for(lambda: "store_full" in agent.log())
        held = machine.plc.slots[0]["acked"]
        # Full of its own rows, and somebody else takes what is left: it must get rid of them without any help.
        disk.fill()
        with door.news:
            door.away = False
        door.wait(lambda: len(door.rows("turbine")) >= held, 60)
        with door.news:
            door.away = True
        disk.free()
        with door.news:
            door.away = False
        door.wait(lambda: len(door.rows("turbine")) > held + 200, 60)
        door.wait(lambda: "store_back" in door.codes(), 20)
        rows = door.rows("turbine")
        assert rows == list(range(1, len(rows) + 1)), "a row was lost or doubled"
    finally:
        agent.kill()
