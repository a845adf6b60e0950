"""When a signer is reminded, and when an owner is told that something ends. See docs/algorithms/gates.md, "Reminders"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class Why(StrEnum):
    """What a reminder is sent for."""

    WAITING = "waiting"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The first reminder after ``first``, then one every ``every``; ``before`` the wanted date and at it in any case."""

    first: timedelta
    every: timedelta
    before: timedelta


#: Somebody presses "Remind now" at most this often.
BY_HAND: Final = timedelta(hours=1)


def due(
    *, opened: datetime, reminded: datetime | None, wanted_by: datetime | None, now: datetime, rhythm: Rhythm
) -> Why | None:
    """Why a review that still lacks signatures reminds now; None while it does not."""
    if wanted_by is not None:
        # The date matters once it lies ahead of what was said last: coming near, and passing, are each said once.
        if now >= wanted_by and (reminded is None or reminded < wanted_by):
            return Why.OVERDUE
        near = max(opened, wanted_by - rhythm.before)
        if near <= now < wanted_by and near > opened and (reminded is None or reminded < near):
            return Why.DUE_SOON
    waits_until = opened + rhythm.first if reminded is None else reminded + rhythm.every
    if now < waits_until:
        return None
    return Why.OVERDUE if wanted_by is not None and now >= wanted_by else Why.WAITING


def step(*, began: datetime, ends: datetime, now: datetime, steps: Iterable[timedelta]) -> timedelta | None:
    """The nearest announcement of an end that is due. What lasts no longer than a step is not announced by it."""
    left = ends - now
    if left <= timedelta(0):
        return None
    fits = [s for s in steps if s < ends - began and left <= s]
    return min(fits, default=None)
