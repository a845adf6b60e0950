"""What was good and what was bad, in time: ledgers of events and of up and down time, asked for any window.

Times are seconds (float) on one clock, normally wall time as a Unix time stamp. Windows are `(since, until]`.
Terms and worked tables: docs/algorithms/slo.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Ledger(Protocol):
    """Anything that can say how much was bad, out of how much, between two moments."""

    def counts(self, since: ArrayLike, until: ArrayLike) -> tuple[Floats, Floats]:
        """Bad and total (events, or seconds) in `(since, until]`, arrays of the broadcast shape."""
        ...

    def last_before(self, moments: ArrayLike) -> Floats:
        """When something was last counted at or before each moment, same shape; -inf if never."""
        ...


@dataclass(frozen=True, slots=True)
class EventLedger:
    """Good and bad events; `times` ascending, `bad_before[i]` and `total_before[i]` count what lies before place i."""

    times: Floats
    bad_before: Floats
    total_before: Floats

    @classmethod
    def from_events(cls, times: ArrayLike, good: ArrayLike) -> EventLedger:
        """One entry per event: its time, shape (events,), and whether it was good, same shape."""
        fine = np.asarray(good, dtype=bool)
        return cls.from_counts(times, fine.astype(float), (~fine).astype(float))

    @classmethod
    def from_counts(cls, times: ArrayLike, good: ArrayLike, bad: ArrayLike) -> EventLedger:
        """Counts of good and bad events per entry, stamped with the end of the interval they were counted in.

        Raises ValueError on different shapes, negative counts or missing times.
        """
        stamps, fine, wrong = (np.asarray(values, dtype=np.float64) for values in (times, good, bad))
        if stamps.ndim != 1 or fine.shape != stamps.shape or wrong.shape != stamps.shape:
            raise ValueError("times, good and bad must be arrays of one shape (entries,)")
        if not np.isfinite(stamps).all() or not (np.isfinite(fine) & np.isfinite(wrong)).all():
            raise ValueError("times and counts must be finite numbers")
        if (fine < 0).any() or (wrong < 0).any():
            raise ValueError("counts cannot be negative")
        counted = (fine + wrong) > 0
        stamps, fine, wrong = stamps[counted], fine[counted], wrong[counted]
        order = np.argsort(stamps, kind="stable")
        return cls(stamps[order], _running(wrong[order]), _running((fine + wrong)[order]))

    def counts(self, since: ArrayLike, until: ArrayLike) -> tuple[Floats, Floats]:
        low = self.times.searchsorted(np.asarray(since, dtype=np.float64), "right")
        high = self.times.searchsorted(np.asarray(until, dtype=np.float64), "right")
        return self.bad_before[high] - self.bad_before[low], self.total_before[high] - self.total_before[low]

    def last_before(self, moments: ArrayLike) -> Floats:
        place = self.times.searchsorted(np.asarray(moments, dtype=np.float64), "right")
        return np.concatenate(([-np.inf], self.times))[place]


@dataclass(frozen=True, slots=True)
class ResponseEvents:
    """Responses judged against a limit; `times` and `good` of the decided ones, in order of time.

    `pending`: still open and still inside the limit, so neither good nor bad. `overdue`: still open and already bad.
    """

    times: Floats
    good: NDArray[np.bool_]
    pending: int
    overdue: int

    def ledger(self) -> EventLedger:
        """The decided responses as a ledger."""
        return EventLedger.from_events(self.times, self.good)


def response_events(opened: ArrayLike, closed: ArrayLike, limit: float, now: float) -> ResponseEvents:
    """Turn pairs of opened and closed moments (shape (events,), NaN: still open) into good and bad events at `now`.

    Good when closed in less than `limit` seconds, stamped when closed. Bad at the moment the limit passes, whether
    it is closed later or not at all: waiting for the end would hide the worst ones. What opens or closes after `now`
    has not happened. Raises ValueError for a limit of 0 or less, or a close before its opening.
    """
    begin, end = np.asarray(opened, dtype=np.float64), np.asarray(closed, dtype=np.float64)
    if begin.ndim != 1 or end.shape != begin.shape:
        raise ValueError("opened and closed must be arrays of one shape (events,)")
    if limit <= 0:
        raise ValueError("the limit must be a positive number of seconds")
    if (end < begin).any():
        raise ValueError("closed before it was opened")
    happened = begin <= now
    begin, end = begin[happened], end[happened]
    end = np.where(end <= now, end, np.nan)
    good = end - begin < limit
    bad = ~good & (begin + limit <= now)
    decided = good | bad
    times = np.where(good, end, begin + limit)[decided]
    order = np.argsort(times, kind="stable")
    still_open = np.isnan(end)
    return ResponseEvents(
        times[order], good[decided][order], int((~decided).sum()), int(np.count_nonzero(bad & still_open))
    )


@dataclass(frozen=True, slots=True)
class TimeLedger:
    """Up and down time. `points` ascending; `down_before`, `measured_before`: seconds up to each point.

    `down`: the intervals that count as down, shape (intervals, 2), planned stops already taken out.
    """

    points: Floats
    down_before: Floats
    measured_before: Floats
    down: Floats

    @classmethod
    def from_heartbeats(
        cls, beats: ArrayLike, start: float, now: float, tolerance: float, planned: Sequence[tuple[float, float]] = ()
    ) -> TimeLedger:
        """Ledger of one source from its heartbeats, shape (beats,), any order.

        It is up for `tolerance` seconds after each heartbeat and after `start`, and down from then to the next
        heartbeat or to `now`. Planned stops count neither as down nor as measured.
        """
        if tolerance <= 0:
            raise ValueError("the tolerance must be a positive number of seconds")
        heard = np.asarray(beats, dtype=np.float64)
        heard = heard[(heard > start) & (heard <= now)]
        moments = np.concatenate(([start], np.sort(heard), [now]))
        silent = np.flatnonzero(np.diff(moments) > tolerance)
        gaps = np.stack([moments[silent] + tolerance, moments[silent + 1]], axis=1)
        return cls.from_intervals(gaps, start, now, planned)

    @classmethod
    def from_intervals(
        cls, down: ArrayLike, start: float, now: float, planned: Sequence[tuple[float, float]] = ()
    ) -> TimeLedger:
        """Ledger from down intervals of shape (intervals, 2), which may overlap, within `[start, now]`."""
        if now < start:
            raise ValueError("now lies before the start")
        gaps, stops = _merged(down, start, now), _merged(planned, start, now)
        points = np.unique(np.concatenate((gaps.ravel(), stops.ravel(), [start, now])))
        middles = (points[:-1] + points[1:]) / 2.0
        lengths = np.diff(points)
        measured = ~_inside(middles, stops)
        is_down = _inside(middles, gaps) & measured
        edges = np.flatnonzero(np.diff(np.concatenate(([False], is_down, [False])).astype(np.int8)))
        return cls(points, _running(lengths * is_down), _running(lengths * measured), points[edges].reshape(-1, 2))

    def counts(self, since: ArrayLike, until: ArrayLike) -> tuple[Floats, Floats]:
        low, high = np.asarray(since, dtype=np.float64), np.asarray(until, dtype=np.float64)
        bad = np.interp(high, self.points, self.down_before) - np.interp(low, self.points, self.down_before)
        total = np.interp(high, self.points, self.measured_before) - np.interp(low, self.points, self.measured_before)
        return bad, total

    def last_before(self, moments: ArrayLike) -> Floats:
        asked = np.asarray(moments, dtype=np.float64)
        return np.where(asked < self.points[0], -np.inf, np.minimum(asked, self.points[-1]))


@dataclass(frozen=True, slots=True)
class SumLedger:
    """Several ledgers of one kind taken together, such as the gateways of a site."""

    parts: tuple[Ledger, ...]

    def counts(self, since: ArrayLike, until: ArrayLike) -> tuple[Floats, Floats]:
        shape = np.broadcast_shapes(np.shape(since), np.shape(until))
        bad, total = np.zeros(shape), np.zeros(shape)
        for part in self.parts:
            more_bad, more = part.counts(since, until)
            bad, total = bad + more_bad, total + more
        return bad, total

    def last_before(self, moments: ArrayLike) -> Floats:
        last = np.full(np.shape(moments), -np.inf)
        for part in self.parts:
            last = np.maximum(last, part.last_before(moments))
        return last


def _running(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))


def _merged(intervals: ArrayLike, start: float, now: float) -> Floats:
    """Intervals clipped to [start, now], in order, without overlaps or empty ones; shape (intervals, 2)."""
    table = np.asarray(intervals, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(table).all() or (table[:, 1] < table[:, 0]).any():
        raise ValueError("an interval is a start and a later end")
    table = np.clip(table, start, now)
    table = table[table[:, 1] > table[:, 0]]
    if len(table) == 0:
        return table
    table = table[np.argsort(table[:, 0], kind="stable")]
    reach = np.maximum.accumulate(table[:, 1])
    fresh = np.concatenate(([True], table[1:, 0] > reach[:-1]))
    last = np.append(np.flatnonzero(fresh)[1:] - 1, len(table) - 1)
    return np.stack([table[fresh, 0], reach[last]], axis=1)


def _inside(moments: Floats, intervals: Floats) -> NDArray[np.bool_]:
    if len(intervals) == 0:
        return np.zeros(moments.shape, dtype=bool)
    place = intervals[:, 0].searchsorted(moments, "right") - 1
    return (place >= 0) & (moments < intervals[np.maximum(place, 0), 1])
