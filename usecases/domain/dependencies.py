"""Use cases that wait for others: what stands on a foundation, directly and through others, and circles among them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def directly(pairs: Iterable[tuple[T, T]]) -> dict[T, set[T]]:
    """Foundation -> those that depend on it, of pairs (dependent, foundation)."""
    found: dict[T, set[T]] = {}
    for dependent, foundation in pairs:
        found.setdefault(foundation, set()).add(dependent)
    return found


def through_others(direct: Mapping[T, Collection[T]], start: T) -> set[T]:
    """Everything that depends on ``start`` through at least one other and not directly."""
    seen: set[T] = set()
    ahead = deque(direct.get(start, ()))
    while ahead:
        here = ahead.popleft()
        for further in direct.get(here, ()):
            if further not in seen:
                seen.add(further)
                ahead.append(further)
    return seen - set(direct.get(start, ())) - {start}


def circle(depends_on: Mapping[T, Collection[T]], start: T) -> list[T]:
    """The shortest way from ``start`` back to itself along "depends on", both ends included; empty where there is none."""
    came_from: dict[T, T] = {}
    ahead = deque([start])
    while ahead:
        here = ahead.popleft()
        for further in depends_on.get(here, ()):
            if further == start:
                way = [here]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return [*reversed(way), start]
            if further not in came_from:
                came_from[further] = here
                ahead.append(further)
    return []
