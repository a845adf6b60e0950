"""Service level objectives: error budgets and multi-window burn-rate alerts for events and for up time.

Terms, the table of tiers and worked examples: docs/algorithms/slo.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governance.domain.ledger import Ledger

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
SHORT_PER_LONG = 12.0
"""The short window is this part of the long one, so that an alert ends soon after the trouble does."""


class Unit(StrEnum):
    """What is counted: events, or seconds of time."""

    EVENTS = "events"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Objective:
    """A share `target` (above 0, below 1) of events or time must be good over the last `period` seconds."""

    target: float
    period: float
    unit: Unit

    def __post_init__(self) -> None:
        if not 0.0 < self.target < 1.0:
            raise ValueError("the target is a share above 0 and below 1")
        if self.period <= 0:
            raise ValueError("the period must be a positive number of seconds")

    @property
    def bad_share(self) -> float:
        """Share that may be bad."""
        return _bad_share(self.target)

    @property
    def greatest_burn(self) -> float:
        """Burn rate when everything is bad: no tier above can ever fire."""
        return 1.0 / self.bad_share


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Budget at a moment, in events or seconds.

    `used` may exceed `allowed`, then `left` is negative. `sli` is the good share of what was measured, NaN where
    nothing was. `provable`: the budget allows at least one bad event; below that a single one breaks the objective.
    """

    objective: Objective
    total: float
    allowed: float
    used: float
    left: float
    sli: float
    provable: bool

    @property
    def used_share(self) -> float:
        """Used part of the budget: 1 is all of it, NaN where there is no budget yet."""
        return self.used / self.allowed if self.allowed > 0 else math.nan

    @property
    def left_share(self) -> float:
        """Part of the budget that is left, negative once overspent, NaN where there is no budget yet."""
        return 1.0 - self.used_share

    @property
    def exhausted(self) -> bool:
        """Whether more was used than allowed."""
        return self.used > self.allowed * (1.0 + 1e-9)

    @property
    def left_minutes(self) -> float:
        """What is left in minutes, for time; NaN for events."""
        return self.left / MINUTE if self.objective.unit is Unit.TIME else math.nan


def error_budget(objective: Objective, ledger: Ledger, now: float) -> ErrorBudget:
    """Budget of the period that ends at `now`.

    Of events, the allowed share of those that happened. Of time, the allowed share of the whole period, so that a
    source measured since this morning has the same minutes as one measured for a month.
    """
    used, total = (float(value) for value in ledger.counts(now - objective.period, now))
    base = objective.period if objective.unit is Unit.TIME else total
    allowed = objective.bad_share * base
    sli = 1.0 - used / total if total > 0 else math.nan
    provable = objective.unit is Unit.TIME or allowed >= 1.0 - 1e-9
    return ErrorBudget(objective, total, allowed, used, allowed - used, sli, provable)


def budget_left(objective: Objective, ledger: Ledger, moments: ArrayLike) -> NDArray[np.float64]:
    """Share of the budget left at each moment, shape (moments,), for the burn-down chart; NaN without a budget."""
    until = np.asarray(moments, dtype=np.float64)
    used, total = ledger.counts(until - objective.period, until)
    base = np.full_like(total, objective.period) if objective.unit is Unit.TIME else total
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(base > 0, 1.0 - used / (objective.bad_share * base), np.nan)


class Severity(StrEnum):
    """Who is called: a person now, or a ticket for the working day."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Tier:
    """One row of the alert table: fires when the burn rates of both windows (seconds) exceed `burn`.

    `share`: part of the period's budget that is gone after the long window at exactly this burn rate.
    """

    severity: Severity
    long: float
    short: float
    burn: float
    share: float


WORKBOOK_PERIOD = 30 * DAY
WORKBOOK = ((Severity.PAGE, HOUR, 0.02), (Severity.PAGE, 6 * HOUR, 0.05), (Severity.TICKET, 3 * DAY, 0.10))
"""Severity, long window and budget share for 30 days: Google, The Site Reliability Workbook, chapter 5, table 5-8."""


def derive_tiers(
    period: float, rows: Sequence[tuple[Severity, float, float]] = WORKBOOK, *, scale_windows: bool = False
) -> tuple[Tier, ...]:
    """Tiers for any period (seconds) from severities, long windows and budget shares.

    The burn rate is share x period / long window; the short window a twelfth of the long one. With `scale_windows`
    the windows keep their part of the 30-day period instead, and with it the burn rates of the table.
    """
    if period <= 0:
        raise ValueError("the period must be a positive number of seconds")
    factor = period / WORKBOOK_PERIOD if scale_windows else 1.0
    return tuple(
        Tier(severity, long * factor, long * factor / SHORT_PER_LONG, share * period / (long * factor), share)
        for severity, long, share in rows
    )


@dataclass(frozen=True, slots=True)
class RefusedTier:
    """A tier left out, and why, in words for the page."""

    tier: Tier
    reason: str


def fit_tiers(objective: Objective, tiers: Sequence[Tier]) -> tuple[tuple[Tier, ...], tuple[RefusedTier, ...]]:
    """Tiers that can fire for this objective, and those refused with the reason.

    Refused: a burn rate that even a total outage does not exceed (target <= 1 - 1/burn), and a long window longer
    than the period.
    """
    kept, refused = [], []
    for tier in tiers:
        if tier.burn >= objective.greatest_burn * (1.0 - 1e-12):
            least = 1.0 - 1.0 / tier.burn if tier.burn > 0 else 0.0
            refused.append(
                RefusedTier(
                    tier,
                    f"can never fire: burn {tier.burn:g} needs a target above {least:.2%}, "
                    f"this one is {objective.target:.2%}",
                )
            )
        elif tier.long > objective.period:
            refused.append(RefusedTier(tier, "its long window is longer than the period"))
        elif tier.burn <= 0:
            refused.append(RefusedTier(tier, "a burn rate of 0 or less would always fire"))
        else:
            kept.append(tier)
    return tuple(kept), tuple(refused)


@dataclass(frozen=True, slots=True)
class Guard:
    """Least evidence in the long window before a tier may fire: events in all, and bad ones among them.

    Used for events only. With few events a burn rate is one person's luck: one late retraining in a quiet hour is
    a burn of 20 against a target of 95 %. Two bad ones are a pattern.

    `carry_last`: a short window in which nothing happened reaches back to the last event. Without it an alert on
    rare events goes out after minutes, although nothing has shown that the trouble is over.
    """

    min_events: int = 0
    min_bad: int = 2
    carry_last: bool = False

    def __post_init__(self) -> None:
        if self.min_events < 0 or self.min_bad < 0:
            raise ValueError("a guard counts from 0")


def events_that_absorb_one(objective: Objective, burn: float) -> int:
    """Least number of events in a window at which a single bad one does not exceed the burn rate."""
    return math.ceil(1.0 / (burn * objective.bad_share) - 1e-9)


@dataclass(frozen=True, slots=True)
class BurnTable:
    """Burn rates per tier and moment; arrays of shape (tiers, moments).

    `firing`: the tier's alert is on. `held_back`: both windows exceed, but the guard finds too few events. Burn rates
    are NaN where a window holds nothing. `total`, `bad`: of the long window, events or seconds.
    """

    tiers: tuple[Tier, ...]
    moments: NDArray[np.float64]
    long_burn: NDArray[np.float64]
    short_burn: NDArray[np.float64]
    bad: NDArray[np.float64]
    total: NDArray[np.float64]
    firing: NDArray[np.bool_]
    held_back: NDArray[np.bool_]

    def severity(self) -> list[Severity | None]:
        """Highest severity that fires at each moment, None where none does: rows are joined by OR."""
        page = np.array([tier.severity is Severity.PAGE for tier in self.tiers], dtype=bool)
        paging = np.logical_or.reduce(self.firing[page], axis=0)
        any_firing = np.logical_or.reduce(self.firing, axis=0)
        return [
            Severity.PAGE if now else Severity.TICKET if some else None
            for now, some in zip(paging, any_firing, strict=True)
        ]


def burn_rate(bad: ArrayLike, total: ArrayLike, target: float) -> NDArray[np.float64]:
    """Bad share over allowed bad share: 1 spends the budget in exactly the period. NaN where nothing was counted."""
    if not 0.0 < target < 1.0:
        raise ValueError("the target is a share above 0 and below 1")
    wrong, all_of_it = np.broadcast_arrays(np.asarray(bad, dtype=np.float64), np.asarray(total, dtype=np.float64))
    ratio = np.full(wrong.shape, np.nan)
    np.divide(wrong, all_of_it, out=ratio, where=all_of_it > 0)
    return ratio / _bad_share(target)


def burn_table(
    objective: Objective,
    ledger: Ledger,
    tiers: Sequence[Tier],
    moments: ArrayLike,
    guard: Guard | None = None,
) -> BurnTable:
    """Judge every tier at every moment (seconds, shape (moments,) or one number).

    A tier fires when the burn rates of its long AND its short window exceed its own, and the guard finds enough
    events. A window in which nothing happened exceeds nothing.
    """
    until = np.atleast_1d(np.asarray(moments, dtype=np.float64))
    tiers = tuple(tiers)
    shape = (len(tiers), until.size)
    long = np.array([tier.long for tier in tiers]).reshape(-1, 1)
    short = np.array([tier.short for tier in tiers]).reshape(-1, 1)
    limit = np.array([tier.burn for tier in tiers]).reshape(-1, 1)
    ends = np.broadcast_to(until, shape)
    bad, total = ledger.counts(ends - long, ends)
    long_burn = burn_rate(bad, total, objective.target)
    since = ends - short
    guard = guard or Guard()
    if objective.unit is Unit.EVENTS and guard.carry_last:
        since = np.minimum(since, np.nextafter(ledger.last_before(ends), -np.inf))
    short_burn = burn_rate(*ledger.counts(since, ends), objective.target)
    above = limit * (1.0 + 1e-9)
    exceeded = (long_burn > above) & (short_burn > above)
    held_back = np.zeros(shape, dtype=bool)
    if objective.unit is Unit.EVENTS:
        held_back = exceeded & ((total < guard.min_events) | (bad < guard.min_bad))
    return BurnTable(tiers, until, long_burn, short_burn, bad, total, exceeded & ~held_back, held_back)


def time_to_exhaustion(budget: ErrorBudget, burn: float) -> float:
    """Seconds until the budget is gone at a steady burn rate; 0 when it is gone already, inf when nothing burns."""
    if budget.left <= 0 and budget.used > 0:
        return 0.0
    if math.isnan(burn) or burn <= 0 or math.isnan(budget.left_share):
        return math.inf
    return budget.left_share * budget.objective.period / burn


def _bad_share(target: float) -> float:
    """1 - target without the binary dust: one bad event of ten is exactly what 90 % allow, not a hair more."""
    return round(1.0 - target, 15)
