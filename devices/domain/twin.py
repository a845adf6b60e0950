"""Wanted and actual side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = object()


@dataclass(frozen=True)
class TwinLine:
    """One value of the twin. ``path`` is dotted; ``wanted`` or ``actual`` is None where that side has none.

    ``state``: ``same``, ``differs`` (both sides speak and disagree), ``waiting`` (wanted, not reported yet),
    ``reported`` (nobody asked for it).
    """

    path: str
    wanted: Any
    actual: Any
    state: str


def twin_lines(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> list[TwinLine]:
    """Every leaf of either side, in the order of their paths. Lists are compared whole."""
    left, right = dict(_leaves(wanted)), dict(_leaves(actual))
    lines = []
    for path in sorted(set(left) | set(right)):
        want, have = left.get(path, ABSENT), right.get(path, ABSENT)
        if want is ABSENT:
            state = "reported"
        elif have is ABSENT:
            state = "waiting"
        else:
            state = "same" if _same(want, have) else "differs"
        lines.append(TwinLine(path, None if want is ABSENT else want, None if have is ABSENT else have, state))
    return lines


def in_step(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """True when everything that is wanted is reported with that value."""
    return all(line.state in {"same", "reported"} for line in twin_lines(wanted, actual))


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, path)
        else:
            yield path, inner


def _same(want: Any, have: Any) -> bool:
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if isinstance(want, (int, float)) and isinstance(have, (int, float)):
        return abs(want - have) <= 1e-9 * max(1.0, abs(want), abs(have))
    return bool(want == have)
