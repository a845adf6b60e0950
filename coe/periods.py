"""Months and quarters of plant time, as dates of their first day and as half-open spans."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time


def month_of(moment: date) -> date:
    """First day of the month of a date or moment."""
    return date(moment.year, moment.month, 1)


def quarter_of(moment: date) -> date:
    """First day of the quarter of a date or moment."""
    return date(moment.year, (moment.month - 1) // 3 * 3 + 1, 1)


def plus_months(day: date, months: int) -> date:
    """First day of the month so many months later (or earlier)."""
    count = day.year * 12 + day.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def months_between(first: date, last: date) -> int:
    """Whole calendar months from the month of ``first`` to that of ``last``."""
    return (last.year - first.year) * 12 + last.month - first.month


def span(first: date, months: int) -> tuple[datetime, datetime]:
    """Begin and end (not included) of so many months from the first day on, UTC."""
    return (
        datetime.combine(first, time.min, UTC),
        datetime.combine(plus_months(first, months), time.min, UTC),
    )


def each(first: date, until: date, step: int) -> Iterator[date]:
    """First days from ``first`` on that lie before ``until``, every ``step`` months."""
    day = first
    while day < until:
        yield day
        day = plus_months(day, step)


def quarter_name(day: date) -> str:
    return f"Q{(day.month - 1) // 3 + 1} {day.year}"
