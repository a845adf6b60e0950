"""Reminders around gates: open reviews to their signers, waivers and conditions to their owners. Running it again says nothing twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from portal.core import audit
from portal.core.clock import day_text, rfc3339, wall_now
from portal.core.errors import DomainError
from portal.core.models import User
from portal.core.notifications import notify
from usecases import evidence as registry
from usecases.choices import ConditionKind, ReviewState
from usecases.domain import reminders as domain
from usecases.gate_rules import MEASURED
from usecases.models import Gate, GateReview, Waiver
from usecases.selectors import gates_alive, terms_open
from usecases.services.audience import deputies_of, missing_slots, wanted_signers
from usecases.services.reviews import signatures_of

#: What ended longer ago than this has been told, or nobody needs to hear it now.
LATE = timedelta(days=7)


def rhythm() -> domain.Rhythm:
    return domain.Rhythm(
        first=timedelta(days=settings.GATE_REMIND_AFTER_DAYS),
        every=timedelta(days=settings.GATE_REMIND_EVERY_DAYS),
        before=timedelta(days=settings.GATE_REMIND_BEFORE_DUE_DAYS),
    )


def gates_remind(*, now: datetime | None = None) -> dict[str, int]:
    """Everything that is due now: signatures, waivers and conditions that end, and those that have ended."""
    now = now or wall_now()
    told = {"reviews": 0, "waivers": 0, "conditions": 0}
    reviews = GateReview.objects.filter(state=ReviewState.OPEN).select_related(
        "gate__use_case", "gate__adoption__site", "gate__adoption__location", "gate__adoption__use_case"
    )
    for review in reviews.prefetch_related("signatures").order_by("created_at"):
        why = domain.due(
            opened=review.created_at,
            reminded=review.reminded_at,
            wanted_by=review.signatures_due,
            now=now,
            rhythm=rhythm(),
        )
        if why is None:
            continue
        with transaction.atomic():
            if _claim(review, now):
                told["reviews"] += _remind(review, why, now)
    told["waivers"] = _waivers(now)
    told["conditions"] = _conditions(now)
    return told


def _claim(review: GateReview, now: datetime) -> bool:
    """Of two that remind at once, one does. The review's version stays: whoever reads it has missed nothing."""
    taken = GateReview.objects.filter(pk=review.pk, state=ReviewState.OPEN, reminded_at=review.reminded_at)
    return taken.update(reminded_at=now) == 1


def _remind(review: GateReview, why: domain.Why, now: datetime, by: Any = None) -> int:
    """A line to everybody who may still sign, and to those who stand in for them today. How many people that were."""
    missing = missing_slots(review, signatures_of(review))
    wanted = wanted_signers(review, missing)
    gate = review.gate
    due = day_text(review.signatures_due.date()) if review.signatures_due is not None else ""
    until = {
        domain.Why.OVERDUE: f" It was wanted by {due}." if due else "",
        domain.Why.DUE_SOON: f" It is wanted by {due}.",
        domain.Why.WAITING: f" It is wanted by {due}." if due else "",
    }[why]
    asker = f" {by} asks." if by is not None else ""
    key = f"remind:{review.pk}:{rfc3339(now)}"
    people: set[Any] = set()
    for person, slots in wanted.items():
        roles = " or ".join(str(slot.label) for slot in slots)
        notify(
            user_ids=[person],
            kind="review",
            text=f"Your signature is missing ({roles}): {gate}.{until}{asker}",
            url=review.get_absolute_url(),
            dedupe_key=key,
            mail=True,
        )
        people.add(person)
    names = {
        pk: name or email for pk, name, email in User.objects.filter(pk__in=wanted).values_list("pk", "name", "email")
    }
    for stand_in in deputies_of(wanted, gate, now):
        if stand_in.deputy_id in people:
            continue
        notify(
            user_ids=[stand_in.deputy_id],
            kind="review",
            text=f"A signature is missing that you may give for {names[stand_in.person_id]}: {gate}.{until}{asker}",
            url=review.get_absolute_url(),
            dedupe_key=key,
            mail=True,
        )
        people.add(stand_in.deputy_id)
    return len(people)


@transaction.atomic
def review_remind(*, actor: Any, review: GateReview, now: datetime | None = None) -> int:
    """Remind by hand, once an hour at most. How many people were told."""
    now = now or wall_now()
    if review.state != ReviewState.OPEN:
        raise DomainError("wrong_state", "This review is over; nobody signs it any more.", {"state": review.state})
    if not missing_slots(review, signatures_of(review)):
        raise DomainError("nobody_missing", "Everybody has signed: it waits for the decision.")
    before = now - domain.BY_HAND
    taken = GateReview.objects.filter(Q(reminded_at=None) | Q(reminded_at__lte=before), pk=review.pk)
    if taken.filter(state=ReviewState.OPEN).update(reminded_at=now) != 1:
        review.refresh_from_db(fields=["reminded_at"])
        last = review.reminded_at or now
        raise DomainError(
            "reminded_already",
            f"They were reminded {_minutes(now - last)} ago. Again in {_minutes(domain.BY_HAND - (now - last))}.",
            {"reminded_at": rfc3339(last)},
        )
    review.reminded_at = now
    overdue = review.signatures_due is not None and now >= review.signatures_due
    count = _remind(review, domain.Why.OVERDUE if overdue else domain.Why.WAITING, now, actor)
    if not count:
        raise DomainError(
            "nobody_to_remind", "Nobody who could sign here is left: give somebody the role, or name a deputy."
        )
    audit.record(actor=actor, action="review.remind", obj=review, changes={"people": count})
    return count


def _minutes(span: timedelta) -> str:
    count = max(1, round(span.total_seconds() / 60))
    return f"{count} min" if count < 60 else "an hour"


def _steps() -> list[timedelta]:
    return [timedelta(days=days) for days in settings.GATE_EXPIRY_REMIND_DAYS]


def _label(key: str) -> str:
    return str(spec.label) if (spec := registry.spec(key)) else key


def _waivers(now: datetime) -> int:
    """To whoever granted it, and the use case's owner: 14 and 3 days before it ends, and when it has."""
    rows = Waiver.objects.filter(
        revoked_at=None,
        gate__in=gates_alive(Gate.objects.filter(state__in=MEASURED)),
        expires_at__gt=now - LATE,
        expires_at__lte=now + max(_steps(), default=timedelta(0)),
    ).select_related("gate__use_case", "gate__adoption__site", "gate__adoption__use_case", "gate__adoption__location")
    told = 0
    for row in rows:
        gate, what = row.gate, _label(row.key)
        if row.expires_at <= now:
            text = f"The waiver of {what} has expired: it counts again. {gate}."
            key = f"waiver-over:{row.pk}"
        else:
            step = domain.step(began=row.created_at, ends=row.expires_at, now=now, steps=_steps())
            if step is None:
                continue
            text = f"The waiver of {what} ends on {day_text(row.expires_at.date())}; then it counts again. {gate}."
            key = f"waiver-ends:{row.pk}:{step.days}"
        notify(
            user_ids=[pk for pk in (row.granted_by_id, gate.use_case.owner_id) if pk],
            kind="waiver",
            text=text,
            url=f"{gate.get_absolute_url()}#evidence-{row.key}",
            dedupe_key=key,
            mail=True,
        )
        told += 1
    return told


def _conditions(now: datetime) -> int:
    """To the owner of what a decision asked for: 14 and 3 days before its date, and when that has passed."""
    rows = (
        terms_open()
        .filter(due_at__gt=now - LATE, due_at__lte=now + max(_steps(), default=timedelta(0)))
        .select_related(
            "review__gate__use_case",
            "review__gate__adoption__site",
            "review__gate__adoption__use_case",
            "review__gate__adoption__location",
        )
    )
    told = 0
    for row in rows:
        gate = row.review.gate
        what = _label(row.key) if row.key else row.text
        due = day_text(row.due_at.date()) if row.due_at is not None else ""
        if row.due_at is not None and row.due_at <= now:
            text = f"Overdue since {due}: {what} ({gate})."
            key = f"condition-late:{row.pk}"
        else:
            step = domain.step(began=row.created_at, ends=row.due_at or now, now=now, steps=_steps())
            if step is None:
                continue
            then = "; otherwise the gate reopens" if row.kind == ConditionKind.CONDITION else ""
            text = f"To be met by {due}{then}: {what} ({gate})."
            key = f"condition-due:{row.pk}:{step.days}"
        notify(
            user_ids=[row.owner_id],
            kind="condition",
            text=text,
            url=row.get_absolute_url(),
            dedupe_key=key,
            mail=True,
        )
        told += 1
    return told
