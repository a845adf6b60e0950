"""One deed: the state a write starts from and the body it takes. ``tests.deeds`` keeps them by route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.drive import Stage


@dataclass(frozen=True)
class Deed:
    """``state`` prepares rows and may give the row that the address names; ``body`` is made afterwards."""

    state: Callable[[Stage], Any] | None = None
    body: Callable[[Stage], dict[str, Any]] | None = None
