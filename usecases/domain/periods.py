"""Periods of readings that would count the same time twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple


class Span(NamedTuple):
    """``place`` None is all places together; ``end`` is the first moment after the period."""

    start: datetime
    end: datetime
    place: Any
    what: Any


def clashes(spans: Iterable[Span]) -> Iterator[tuple[Span, Span]]:
    """Pairs (earlier, later) that overlap: of one place, or of one place and of all together. Each span that overlaps is in a pair."""
    longest: dict[Any, Span] = {}
    longest_of_one: Span | None = None
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        rivals = (longest.get(span.place), longest.get(None) if span.place is not None else longest_of_one)
        for rival in rivals:
            if rival is not None and rival.end > span.start:
                yield rival, span
        if span.place not in longest or longest[span.place].end < span.end:
            longest[span.place] = span
        if span.place is not None and (longest_of_one is None or longest_of_one.end < span.end):
            longest_of_one = span
