"""Reads across services, usage and gates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from marketplace import money
from marketplace.choices import ServiceState, SubscriptionState
from marketplace.domain import billing
from marketplace.models import Allocation, Plan, Service, Subscription, UsageEvent
from marketplace.terms import METER, Limits, limits_of, price_plan
from portal.core.plots import figure
from usecases.choices import GateState
from usecases.models import Gate, UseCase

DAYS = 31


def watch_reasons(services: Iterable[Service]) -> dict[Any, list[str]]:
    """Service id -> why it is on watch: gates of its use case that were passed and are open again (one query)."""
    wanted = [s for s in services if s.state == ServiceState.PUBLISHED]
    if not wanted:
        return {}
    by_case: dict[Any, list[str]] = {}
    gates = Gate.objects.filter(use_case_id__in={s.use_case_id for s in wanted}, state=GateState.REOPENED)
    for gate in gates.select_related("use_case", "adoption__use_case", "adoption__site"):
        by_case.setdefault(gate.use_case_id, []).append(f"{gate} is open again. {gate.reopened_reason}".strip())
    return {s.pk: by_case[s.use_case_id] for s in wanted if s.use_case_id in by_case}


def catalogue(user: Any) -> QuerySet[Service]:
    """Services a person may see: customers the published ones, those who may change a service (or see its use case) drafts too.

    ``on_watch``: a gate of its use case is open again.
    """
    reopened = Gate.objects.filter(use_case=OuterRef("use_case"), state=GateState.REOPENED)
    rows = Service.objects.permitted(user).select_related("use_case", "model").prefetch_related("plans")
    cases = UseCase.objects.permitted(user).values("pk")
    mine = Service.objects.permitted(user, "change").values("pk")
    rows = rows.filter(Q(state=ServiceState.PUBLISHED) | Q(use_case__in=cases) | Q(pk__in=mine))
    return rows.annotate(on_watch=Exists(reopened))


def with_rights(rows: QuerySet[Service], user: Any) -> QuerySet[Service]:
    """Each service with ``may_change`` and ``may_use`` of this person, in the same query."""
    return rows.annotate(
        may_change=Exists(Service.objects.permitted(user, "change").filter(pk=OuterRef("pk"))),
        may_use=Exists(Service.objects.permitted(user, "use").filter(pk=OuterRef("pk"))),
    )


def subscriptions_of(user: Any) -> QuerySet[Subscription]:
    return Subscription.objects.permitted(user).select_related("service", "plan", "owner")


@dataclass(frozen=True)
class Day:
    """One day of wall time (UTC): calls, rows scored, rows refused."""

    day: date
    calls: int
    units: int
    refused: int


@dataclass(frozen=True)
class Usage:
    """One subscription's present month: rows used of the quota, calls, what it costs so far, rows a day."""

    subscription: Subscription
    limits: Limits
    calls: int
    units: int
    refused: int
    amount_minor: int
    days: tuple[Day, ...]

    @property
    def recent(self) -> int:
        return sum(day.units for day in self.days)

    @property
    def share(self) -> float:
        return self.units / self.subscription.plan.monthly_quota


def month_start(now: datetime) -> datetime:
    now = now.astimezone(UTC)
    return datetime(now.year, now.month, 1, tzinfo=UTC)


def usage_of(subscription: Subscription, now: datetime) -> Usage:
    """One query: the last 31 days hold the whole of the present month."""
    start = month_start(now)
    days = per_day(UsageEvent.objects.filter(subscription=subscription), now)
    month = [day for day in days if day.day >= start.date()]
    units = sum(day.units for day in month)
    return Usage(
        subscription,
        limits_of(subscription, now),
        sum(day.calls for day in month),
        units,
        sum(day.refused for day in month),
        amount_so_far(subscription.plan, units, start),
        tuple(days),
    )


def amount_so_far(plan: Plan, units: int, start: datetime) -> int:
    """Fee and rows of a month in minor units; all of a month's rows are priced alike, so their sum is enough."""
    terms = price_plan(plan)
    events = [billing.UsageEvent("so-far", "sum", METER, units, start)] if units else []
    return billing.draw_up(terms, billing.Period.month_of(start), events).total


def per_day(events: QuerySet[UsageEvent], now: datetime) -> list[Day]:
    """The last 31 days (UTC), days without a call as zeros."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    rows = (
        events.filter(time__gte=since)
        .annotate(on=TruncDate("time", tzinfo=UTC))
        .values("on")
        .annotate(calls=Count("pk"), rows=Sum("units"), refused=Sum("rows_refused"))
        .order_by("on")
    )
    found = {row["on"]: Day(row["on"], row["calls"], row["rows"], row["refused"]) for row in rows}
    days = [first + timedelta(days=n) for n in range(DAYS)]
    return [found.get(day) or Day(day, 0, 0, 0) for day in days]


def usage_figure(usage: Usage) -> dict[str, Any]:
    bars = {
        "type": "bar",
        "name": "rows scored",
        "x": [day.day.isoformat() for day in usage.days],
        "y": [day.units for day in usage.days],
        "meta": {"role": "primary"},
        "hovertemplate": "%{x}: %{y} rows",
    }
    return figure([bars], x_title="day (UTC)", y_title="rows scored", height=260)


def crossings(use_case: UseCase) -> dict[str, int]:
    """The tenants' self-check: records that reach from one subscription into another. Each count must be 0."""
    events = UsageEvent.objects.filter(subscription__service__use_case=use_case)
    parts = Allocation.objects.filter(line__invoice__subscription__service__use_case=use_case)
    owners = list(
        Subscription.objects.filter(service__use_case=use_case)
        .exclude(state=SubscriptionState.ENDED)
        .select_related("owner")
        .order_by("-created_at")[:10]
    )
    foreign = 0
    for owner in {s.owner_id: s.owner for s in owners}.values():
        seen = UsageEvent.objects.permitted(owner).exclude(subscription__owner=owner)
        may_change = Service.objects.permitted(owner, "change").values("pk")
        foreign += seen.exclude(subscription__service__in=may_change).count()
    return {
        "calls by a key of another subscription": events.exclude(key=None)
        .exclude(key__subscription_id=F("subscription_id"))
        .count(),
        "calls on another subscription's invoice": events.exclude(invoice=None)
        .exclude(invoice__subscription_id=F("subscription_id"))
        .count(),
        "invoice lines with another subscription's calls": parts.exclude(
            event__subscription_id=F("line__invoice__subscription_id")
        ).count(),
        "calls a customer can read that are not theirs": foreign,
    }


def plan_in_words(plan: Plan) -> str:
    """The whole price in one line."""
    fee = money.with_currency(plan.monthly_fee_minor, plan.currency)
    rows = money.per_thousand(plan.unit_price_micro, plan.currency)
    return (
        f"{plan.name}: {fee} a month with {plan.included_units:,} rows, then {rows} per 1,000; "
        f"at most {plan.monthly_quota:,} rows a month and {plan.rate_per_minute:,} calls a minute"
    )
