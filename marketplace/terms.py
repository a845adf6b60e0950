"""What a subscription was promised: prices for the calculation, limits for the door."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from marketplace.domain import billing
from marketplace.models import Plan, Subscription
from marketplace.money import unit_price

#: What is counted: rows that were scored.
METER: Final = "rows"


def price_plan(plan: Plan, *, with_fee: bool = True) -> billing.PricePlan:
    meter = billing.MeterPrice(METER, (billing.Tier(unit_price(plan.unit_price_micro)),), plan.included_units)
    return billing.PricePlan(plan.currency, plan.monthly_fee_minor if with_fee else 0, (meter,))


@dataclass(frozen=True)
class Limits:
    """What the subscription may still do, for the RateLimit fields. Seconds to the next minute and the next month (UTC)."""

    rate: int
    rate_left: int
    rate_reset: int
    quota: int
    quota_left: int
    quota_reset: int
    month_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"minute";q={self.rate};w=60, "month";q={self.quota};w={self.month_seconds};qu="rows"',
            "RateLimit": f'"minute";r={self.rate_left};t={self.rate_reset}, "month";r={self.quota_left};t={self.quota_reset}',
        }


def month_of(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m")


def _month_seconds(now: datetime) -> int:
    return calendar.monthrange(now.year, now.month)[1] * 86_400


def _to_next_month(now: datetime) -> int:
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    return max(1, int((start + timedelta(seconds=_month_seconds(now)) - now).total_seconds()) + 1)


def limits_of(subscription: Subscription, now: datetime) -> Limits:
    """As the row says it, rolled over to the present minute and month."""
    now = now.astimezone(UTC)
    plan = subscription.plan
    used = subscription.used_in_period if subscription.period == month_of(now) else 0
    calls = subscription.rate_used if subscription.rate_minute == int(now.timestamp()) // 60 else 0
    return Limits(
        rate=plan.rate_per_minute,
        rate_left=max(0, plan.rate_per_minute - calls),
        rate_reset=60 - int(now.timestamp()) % 60,
        quota=plan.monthly_quota,
        quota_left=max(0, plan.monthly_quota - used),
        quota_reset=_to_next_month(now),
        month_seconds=_month_seconds(now),
    )
