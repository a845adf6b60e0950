from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def plant(db: Any, tmp_path: Any, settings: Any) -> Iterator[Any]:
    """A turbine hall with two gateways; artefacts, lake and key in a folder of this test."""
    from edge_bridge.ingest import forget_topologies
    from governance.frame import forget_frames
    from tests.edge_bridge.portal import make_plant

    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.LAKE_URI = str(tmp_path / "lake")
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    forget_topologies()
    forget_frames()
    yield make_plant()
    forget_topologies()
    forget_frames()
