"""Is a device heard from? Wall time only: a gateway reports by the clock on the wall, whatever its data says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

NEVER, ONLINE, LATE, OFFLINE = "never", "online", "late", "offline"

# In reporting periods: two missed reports are a hiccup of the network, six are a device that is away.
ONLINE_PERIODS = 2.5
LATE_PERIODS = 6.0


def connectivity(last_seen_at: datetime | None, report_every_s: float, now: datetime) -> str:
    """``never``, ``online`` (heard within 2.5 reporting periods), ``late`` (within 6), else ``offline``.

    ``report_every_s`` in seconds of wall time, ``now`` aware like ``last_seen_at``. A time ahead of ``now`` counts as online.
    """
    if last_seen_at is None:
        return NEVER
    silent = (now - last_seen_at).total_seconds()
    if silent <= ONLINE_PERIODS * report_every_s:
        return ONLINE
    return LATE if silent <= LATE_PERIODS * report_every_s else OFFLINE


@dataclass(frozen=True)
class Uptime:
    """Reports of a stretch: whole minutes looked at, reports that should have come, came, and said inference was running."""

    minutes: int
    expected: int
    received: int
    inferring: int

    @property
    def share(self) -> float | None:
        """Share of expected reports that came, 0..1; None when none was expected."""
        return min(1.0, self.received / self.expected) if self.expected else None

    @property
    def inferring_share(self) -> float | None:
        return min(1.0, self.inferring / self.expected) if self.expected else None


def per_minute(report_every_s: float) -> int:
    """Reports that a minute should bring, at least one."""
    return max(1, round(60 / report_every_s))


def uptime(rows: list[tuple[datetime, int, int]], since: datetime, until: datetime, report_every_s: float) -> Uptime:
    """Uptime from minute rows ``(minute, received, inferring)`` over ``[since, until)``, both cut to whole minutes.

    A minute without a row brought nothing; more reports than expected in a minute do not make up for another one.
    """
    first, last = since.replace(second=0, microsecond=0), until.replace(second=0, microsecond=0)
    minutes = max(0, int((last - first) / timedelta(minutes=1)))
    each = per_minute(report_every_s)
    inside = [(received, inferring) for minute, received, inferring in rows if first <= minute < last]
    return Uptime(
        minutes=minutes,
        expected=minutes * each,
        received=sum(min(each, received) for received, _ in inside),
        inferring=sum(min(each, inferring) for _, inferring in inside),
    )
