from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """``ok`` is None where nothing is set up; ``target`` names the end without any secret."""

    ok: bool | None
    target: str
    detail: str
