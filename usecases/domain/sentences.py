"""Plain sentences as data: the calculators know the figures, the pages own the wording and the language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sentence:
    """A message key and the figures to put into it."""

    key: str
    figures: Mapping[str, str | int | float]
