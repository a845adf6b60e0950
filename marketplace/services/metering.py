"""A paid call: scored, decided and metered so that it is billed exactly when it is answered (docs/services.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When

from marketplace import scoring
from marketplace.choices import ServiceState, SubscriptionState
from marketplace.models import ClientKey, Subscription, UsageEvent
from marketplace.terms import Limits, limits_of, month_of
from portal.core.api.renderers import dumps
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.models import IdempotencyRecord

#: A key's "last used" is written at most this often.
LAST_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Call:
    """One request as it came: rows with every feature, the caller's idempotency key ("" when none), SHA-256 of the body."""

    rows: list[dict[str, Any]]
    idempotency_key: str
    body_sha256: str
    path: str


@dataclass(frozen=True)
class Answer:
    """JSON of a 200 answer. ``replayed``: it is the first answer to this idempotency key, given again."""

    body: bytes
    headers: dict[str, str]
    replayed: bool = False


class LimitReached(DomainError):
    """429: too many calls this minute, or the rows of the month are used up."""

    def __init__(self, policy: str, detail: str, limits: Limits, wait: int) -> None:
        super().__init__(
            "quota_exceeded" if policy == "month" else "rate_exceeded",
            detail,
            {
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "violated-policies": [policy],
                "retry_after": wait,
            },
            status=429,
        )
        self.limits = limits


def _refuse_over(subscription: Subscription, units: int, now: datetime) -> None:
    limits = limits_of(subscription, now)
    if limits.rate_left < 1:
        raise LimitReached(
            "minute", f"At most {limits.rate} calls a minute.", limits, limits.rate_reset
        )  # fmt: skip
    if units > limits.quota_left:
        raise LimitReached(
            "month",
            f"{limits.quota_left} of {limits.quota} rows are left this month; this call needs {units}.",
            limits,
            limits.quota_reset,
        )


def _take(subscription: Subscription, units: int, now: datetime) -> None:
    """One conditional UPDATE counts the call and its rows, or changes nothing: of two that race for the last row one gets it."""
    plan, month, minute = subscription.plan, month_of(now), int(now.timestamp()) // 60
    same_month, same_minute = Q(period=month), Q(rate_minute=minute)
    room = (same_month & Q(used_in_period__lte=plan.monthly_quota - units)) | (
        ~same_month & Q(pk__isnull=units > plan.monthly_quota)
    )
    calm = (same_minute & Q(rate_used__lt=plan.rate_per_minute)) | ~same_minute
    taken = Subscription.objects.filter(room, calm, pk=subscription.pk, state=SubscriptionState.ACTIVE).update(
        used_in_period=Case(When(same_month, then=F("used_in_period") + units), default=Value(units)),
        rate_used=Case(When(same_minute, then=F("rate_used") + 1), default=Value(1)),
        period=month,
        rate_minute=minute,
    )
    subscription.refresh_from_db(fields=["used_in_period", "rate_used", "period", "rate_minute", "state"])
    if taken == 1:
        return
    check_open(subscription)
    _refuse_over(subscription, units, now)
    # The row changed again between the two statements: ask once more in a moment.
    limits = limits_of(subscription, now)
    raise LimitReached("minute", "Too many calls at the same moment.", limits, 1)


def check_open(subscription: Subscription) -> None:
    """DomainError 403 when the subscription cannot be used now, 410 when the service is retired."""
    if subscription.service.state == ServiceState.RETIRED:
        raise DomainError("service_retired", "This service is retired.", status=410)
    if subscription.state == SubscriptionState.SUSPENDED:
        raise DomainError("subscription_suspended", "This subscription is suspended.", status=403)
    if subscription.state == SubscriptionState.ENDED:
        raise DomainError("subscription_ended", "This subscription has ended.", status=403)


def event_id(subscription: Subscription, call: Call) -> str:
    """Names the logical call: the same for every repeat with one idempotency key and body, new for each call without a key."""
    name = f"{call.idempotency_key}\n{call.body_sha256}" if call.idempotency_key else uuid4().hex
    return hashlib.sha256(f"{subscription.pk}\n{name}".encode()).hexdigest()


def _stored(subscription: Subscription, call: Call) -> Answer | None:
    """The first answer to this idempotency key; 422 when it was given to another request."""
    found = IdempotencyRecord.objects.filter(user_id=subscription.owner_id, key=_record_key(subscription, call)).first()
    if found is None:
        return None
    if found.body_sha256 != call.body_sha256:
        raise DomainError("idempotency_mismatch", "This Idempotency-Key was used for another request.", status=422)
    return Answer(bytes(found.body or b""), dict(found.headers), replayed=True)


def _record_key(subscription: Subscription, call: Call) -> str:
    return "score:" + hashlib.sha256(f"{subscription.pk}\n{call.idempotency_key}".encode()).hexdigest()


def call_score(*, key: ClientKey, call: Call, now: datetime | None = None) -> Answer:
    """Score the rows and meter them. ``key`` comes with its subscription, plan and service.

    Scoring comes first and holds no lock; then, in one transaction, the quota is taken, the usage event written and the
    answer kept for its idempotency key. Whatever fails on the way leaves nothing behind, so nothing is billed without an
    answer. Raises DomainError: 403/410, 422, ``LimitReached`` (429), 503 when no model can answer.
    """
    now = now or wall_now()
    subscription = key.subscription
    check_open(subscription)
    if call.idempotency_key:
        kept = _stored(subscription, call)
        if kept is not None:
            return kept
    runner = scoring.runner_for(subscription.service.model)
    judged = scoring.judge(runner, call.rows)
    _refuse_over(subscription, judged.accepted, now)
    scores = iter(scoring.predict(runner, judged.values))
    refused = len(call.rows) - judged.accepted
    body = dumps(
        {
            "service": subscription.service.code,
            "model_version": runner.number,
            "output": runner.output,
            "unit": runner.unit or "1",
            "predictions": [{"value": None, "reason": r} if r else {"value": next(scores)} for r in judged.reasons],
            "rows_scored": judged.accepted,
            "rows_refused": refused,
        }
    )
    try:
        headers = _meter(key, call, runner, judged.accepted, refused, body, now)
    except _AnsweredMeanwhile as error:
        kept = _stored(subscription, call)
        if kept is None:
            raise DomainError("idempotency_busy", "Ask again with the same key.", {"retry_after": 1}) from error
        return kept
    return Answer(body, headers)


class _AnsweredMeanwhile(Exception):
    """Another request with the same idempotency key was committed first."""


@transaction.atomic
def _meter(
    key: ClientKey, call: Call, runner: scoring.Runner, units: int, refused: int, body: bytes, now: datetime
) -> dict[str, str]:
    subscription = key.subscription
    record = None
    if call.idempotency_key:
        try:
            with transaction.atomic():
                record = IdempotencyRecord.objects.create(
                    user_id=subscription.owner_id,
                    key=_record_key(subscription, call),
                    path=call.path[:300],
                    body_sha256=call.body_sha256,
                    status=200,
                    body=body,
                )
        except IntegrityError as error:
            raise _AnsweredMeanwhile from error
    event = UsageEvent(
        subscription=subscription,
        key=key,
        source=f"/services/{subscription.service.code}",
        event_id=event_id(subscription, call),
        time=now,
        units=units,
        rows_refused=refused,
        model_version_ref=runner.version_id,
    )
    try:
        with transaction.atomic():
            event.save(force_insert=True)
    except IntegrityError:
        units = 0  # this very call was metered before its kept answer expired: answered again, not billed again
    _take(subscription, units, now)
    headers = limits_of(subscription, now).headers()
    if record is not None:
        IdempotencyRecord.objects.filter(pk=record.pk).update(headers=headers)
    if key.last_used_at is None or now - key.last_used_at > LAST_USED_EVERY:
        ClientKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return headers
