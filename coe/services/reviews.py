"""ROI reviews: a quarter of one adoption, planned against measured, held by people, and what it moves in the next budget."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Min
from django.utils.translation import gettext as _

from coe.choices import ReviewVerdict
from coe.domain import roi
from coe.measured import Gained, Measured, Plan, as_detail, cents, measure
from coe.models import Action, RoiReview
from coe.periods import each, plus_months, quarter_of
from coe.services.actions import action_create
from coe.wording import enough_words
from devices.plant_time import plant_now
from governance.models import Batch
from portal.core import audit
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import User
from portal.core.notifications import notify, people_who_may
from portal.core.records import versioned_update
from usecases.models import Adoption, KpiReading, Outcome
from usecases.services import gates_remeasure

#: How long the portfolio's owner has to answer a proposal to move budget.
BUDGET_ANSWER = timedelta(days=30)


def first_quarter_of(adoption: Adoption) -> date | None:
    """The quarter (plant time) in which the adoption began to run: its first batch, its declared start, or its first later reading."""
    known: list[date] = []
    if adoption.started_on is not None:
        known.append(adoption.started_on)
    else:
        batch = Batch.objects.filter(pipeline__adoption=adoption).aggregate(first=Min("plant_from"))["first"]
        if batch is not None:
            known.append(batch.date())
    if not known:
        rows = KpiReading.objects.filter(outcome__use_case_id=adoption.use_case_id, site_id=adoption.site_id)
        first = rows.aggregate(first=Min("period_from"))["first"]
        if first is not None:
            known.append(first.date())
    if not known:
        return None
    begin = min(known)
    # What lies inside a baseline cannot be reviewed against it.
    outcomes = Outcome.objects.filter(use_case_id=adoption.use_case_id, baseline_to__isnull=False)
    ends: list[Any] = list(outcomes.values_list("baseline_to", flat=True))
    last = max(ends, default=None)
    return quarter_of(max(begin, last + timedelta(days=1)) if last else begin)


def measurable(adoption: Adoption) -> bool:
    """Whether a quarter of the adoption can be judged at all: some outcome of its use case has a frozen baseline."""
    return Outcome.objects.filter(
        use_case_id=adoption.use_case_id, baseline_frozen_at__isnull=False, baseline_value__isnull=False
    ).exists()


def _verdict(plan: Plan, rows: list[Gained], found: Measured) -> str:
    measured = [row for row in rows if row.measured_at_all]
    if not measured:
        return ReviewVerdict.OPEN
    if not found.provable:
        return ReviewVerdict.NOT_PROVABLE
    if plan.amount is not None and found.low is not None and found.high is not None:
        against = roi.against_plan(plan.amount, roi.Interval(found.low, found.estimate or 0.0, found.high))
    else:
        plans = {row.plan for row in measured}
        order = (roi.Plan.BELOW_PLAN, roi.Plan.AS_PLANNED, roi.Plan.ABOVE_PLAN)
        against = next((p for p in order if p in plans), roi.Plan.AS_PLANNED)
    return {
        roi.Plan.BELOW_PLAN: ReviewVerdict.BELOW,
        roi.Plan.AS_PLANNED: ReviewVerdict.ON_PLAN,
        roi.Plan.ABOVE_PLAN: ReviewVerdict.ABOVE,
    }[against]


def _provable_from(rows: list[Gained], verdict: str) -> str:
    """When proof can be expected, in one line; empty where nothing is left to prove."""
    if verdict != ReviewVerdict.NOT_PROVABLE:
        return ""
    waiting = [row for row in rows if row.finding == roi.Finding.NOT_PROVABLE_YET]
    if all(row.enough for row in waiting):
        return enough_words()
    if any(row.until is None and not row.enough for row in waiting):
        return _("Not provable by waiting at the present pace; the page says what it would take.")
    latest = max(row.until for row in waiting if row.until is not None)
    return _("Not provable until %(until)s (plant time) at the present pace.") % {
        "until": day_text(date.fromisoformat(latest))
    }


@transaction.atomic
def roi_review_prepare(*, adoption: Adoption, quarter: date, actor: Any = None) -> RoiReview:
    """Planned and measured value of one quarter that is over. Safe to call again: an open review follows its records,
    a held one stays as it is.
    """
    quarter = quarter_of(quarter)
    now = plant_now(adoption.site, fresh=True)
    over = plus_months(quarter, 3)
    if now.date() < over:
        raise InvalidInput(
            {"quarter": f"Plant time at {adoption.site} is {day_text(now)}: this quarter is over on {day_text(over)}."}
        )
    found = RoiReview.objects.filter(adoption=adoption, quarter=quarter).first()
    if found is not None and found.held_at is not None:
        return found
    plan, rows, together = measure(adoption, quarter)
    verdict = _verdict(plan, rows, together)
    values: dict[str, Any] = {
        "planned": cents(plan.amount),
        "measured": cents(together.estimate),
        "measured_low": cents(together.low),
        "measured_high": cents(together.high),
        "currency": plan.currency,
        "verdict": verdict,
        "provable_from": _provable_from(rows, verdict)[:300],
        "detail": as_detail(plan, rows, together),
    }
    if found is None:
        made = RoiReview(adoption=adoption, quarter=quarter, **values)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError:
            return RoiReview.objects.get(adoption=adoption, quarter=quarter)
        audit.record(
            actor=actor,
            action="roireview.prepare",
            obj=made,
            changes={"quarter": quarter.isoformat(), "verdict": verdict},
        )
        return made
    changes = {name: [getattr(found, name), value] for name, value in values.items() if getattr(found, name) != value}
    if changes:
        versioned_update(found, where={"held_at": None}, **{name: values[name] for name in changes})
        audit.record(
            actor=actor,
            action="roireview.refresh",
            obj=found,
            changes={n: changes[n] for n in changes if n != "detail"},
        )
    return found


def roi_reviews_prepare_all(*, adoption: Adoption, until: date | None = None, refresh: bool = True) -> int:
    """Prepare every quarter of an adoption that is over, where something can be measured (``measurable``).

    ``refresh=False`` leaves reviewed quarters alone, except the last.
    """
    first = first_quarter_of(adoption)
    if first is None or not measurable(adoption):
        return 0
    end = quarter_of(until or plant_now(adoption.site, fresh=True).date())
    last = plus_months(end, -3)
    known = set() if refresh else set(RoiReview.objects.filter(adoption=adoption).values_list("quarter", flat=True))
    done = 0
    for quarter in each(first, end, 3):
        if quarter in known and quarter != last:
            continue
        roi_review_prepare(adoption=adoption, quarter=quarter)
        done += 1
    return done


def roi_review_announce(review: RoiReview) -> None:
    notify(
        user_ids=people_who_may(review.adoption.site, "review"),
        kind="roi_review",
        text=f"The ROI review of {review} is computed and waits to be held.",
        url=review.get_absolute_url(),
        dedupe_key=f"roi-review:{review.pk}",
    )


@transaction.atomic
def roi_review_hold(*, actor: Any, review: RoiReview, note: str, expected_version: int | None = None) -> RoiReview:
    """People have judged the quarter: the figures are kept as they are, with their conclusion."""
    if expected_version is not None and review.version != expected_version:
        raise StaleWrite
    if review.held_at is not None:
        raise DomainError("wrong_state", f"This review was held on {day_text(review.held_at)} already.")
    if not note.strip():
        raise InvalidInput({"note": "Write what you conclude from it: go on, change something, or stop."})
    versioned_update(
        review,
        expected_version=expected_version,
        where={"held_at": None},
        held_at=wall_now(),
        held_by=actor,
        note=note.strip(),
    )
    audit.record(
        actor=actor,
        action="roireview.hold",
        obj=review,
        changes={
            "note": note.strip(),
            "verdict": review.verdict,
            "measured": review.measured,
            "planned": review.planned,
        },
    )
    gates_remeasure(site=review.adoption.site)
    return review


def portfolio_owner() -> User | None:
    """Who plans the next budget: the first active CoE lead."""
    return User.objects.filter(groups__name="coe_lead", is_active=True).order_by("date_joined", "pk").first()


def suggested_move(review: RoiReview) -> Decimal | None:
    """What a budget move opens with: next quarter's planned cost, taken away when the quarter was below plan. None without a plan."""
    cost = review.detail.get("plan", {}).get("next_cost")
    if not cost:
        return None
    amount = cents(float(cost))
    return -amount if amount is not None and review.verdict == ReviewVerdict.BELOW else amount


@transaction.atomic
def roi_move_budget(*, actor: Any, review: RoiReview, amount: Decimal, reason: str = "") -> Action:
    """Propose to give the use case more (``amount`` above zero) or less in the next budget.

    The portfolio is planned by people so far: this writes an action for its owner, linked to the review. One stays open at a time.
    """
    if amount == 0:
        raise InvalidInput({"amount": "Say how much: above zero for more, below zero for less."})
    if abs(amount) >= Decimal(10) ** 12:
        raise InvalidInput({"amount": "Fewer than 13 digits before the point."})
    # Serialises two clicks.
    RoiReview.objects.select_for_update().get(pk=review.pk)
    if Action.objects.filter(roi_review=review, amount__isnull=False, state="open").exists():
        raise DomainError("proposed_already", "A budget proposal from this review is open already; see its actions.")
    use_case = review.adoption.use_case
    more = amount > 0
    text = f"Next budget: {abs(amount):,.0f} {review.currency} {'more' if more else 'less'} for {use_case} at {review.adoption.site}"
    if reason.strip():
        text += f". {reason.strip()}"
    return action_create(
        actor=actor,
        site=review.adoption.site,
        roi_review=review,
        text=text[:300],
        amount=amount.quantize(Decimal("0.01")),
        currency=review.currency,
        owner=portfolio_owner(),
        due_on=(wall_now() + BUDGET_ANSWER).date(),
    )
