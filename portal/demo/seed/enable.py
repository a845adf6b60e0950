"""Retrospectives and ROI reviews of the history: held one by one by the CoE lead, with the sentences and actions their records give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from coe.choices import RetrospectiveState, ReviewVerdict
from coe.models import Action, Retrospective, RoiReview
from coe.services.actions import action_create
from coe.services.retrospectives import retrospective_hold, retrospectives_prepare_all
from coe.services.reviews import roi_review_hold, roi_reviews_prepare_all
from devices.plant_time import plant_now
from portal.core.clock import wall_now
from portal.core.templatetags.phasegate import duration
from usecases.models import Adoption

#: Signs that stood longer than this (plant time) before anybody was alerted are worth an action.
LATE_S = 86_400.0
#: Where a month gives nothing to write: gates ask for a sentence, and this one is true.
NOTHING_WELL = "Nothing in this month's records stands out."
NOTHING_TO_IMPROVE = "The records of this month name nothing to improve."
CONCLUSIONS = {
    ReviewVerdict.NOT_PROVABLE: "Go on; judge again when the interval excludes zero.",
    ReviewVerdict.ON_PLAN: "Go on as planned.",
    ReviewVerdict.ABOVE: "Go on; look at where else it would pay.",
    ReviewVerdict.BELOW: "Look for the reason before the next quarter's budget is spent.",
    ReviewVerdict.OPEN: "Nothing could be measured in this quarter; close the gap before the next review.",
}


def hold_reviews(users: dict[str, Any], adoptions: dict[str, Adoption]) -> None:
    """Hold what the history left. At a site whose history is over the newest month stays open, as work for the newcomer."""
    lead = users["coe_lead"]
    turbine = adoptions["nox-soft-sensor"].site
    for site in {adoption.site.pk: adoption.site for adoption in adoptions.values()}.values():
        retrospectives_prepare_all(site=site)
        this = plant_now(site, fresh=True).date().replace(day=1)
        over = Retrospective.objects.filter(site=site, month__lt=this, state=RetrospectiveState.DRAFT).select_related(
            "site"
        )
        months = list(over.order_by("month"))
        # Gate 4 of the turbine's soft sensor asks for its last month.
        held = months if site == turbine else months[:-1]
        for row in held:
            _hold_month(users, row)
        followed = next((row for row in reversed(held) if _follows(row)), None)
        if followed is not None:
            _act(users, followed)
    for adoption in adoptions.values():
        roi_reviews_prepare_all(adoption=adoption)
        for review in RoiReview.objects.filter(adoption=adoption, held_at=None).order_by("quarter"):
            roi_review_hold(actor=lead, review=review, note=CONCLUSIONS[ReviewVerdict(review.verdict)])


def _hold_month(users: dict[str, Any], row: Retrospective) -> None:
    """What its records suggest is what was talked about."""
    texts = {
        "went_well": row.went_well.strip() or NOTHING_WELL,
        "to_improve": row.to_improve.strip() or NOTHING_TO_IMPROVE,
    }
    retrospective_hold(actor=users["coe_lead"], retrospective=row, data=texts)


def _act(users: dict[str, Any], row: Retrospective) -> None:
    """The newest month that asks for something leaves it to do."""
    action_create(
        actor=users["coe_lead"],
        site=row.site,
        retrospective=row,
        text=_follows(row)[: Action._meta.get_field("text").max_length],
        owner=users["ot_engineer"],
        due_on=(wall_now() + timedelta(days=21)).date(),
    )


def _follows(row: Retrospective) -> str:
    """The one thing to do after a month: about its slowest alert, else its worst check, else what was left open; "" for a quiet one."""
    summary = row.summary
    slow = [i for i in summary["incidents"] if not i["carried_over"] and (i["plant_s_to_detect"] or 0) >= LATE_S]
    if slow:
        worst = max(slow, key=lambda i: i["plant_s_to_detect"])
        return (
            f"Show the rolling error on the shift's screen: “{worst['title']}” was detected "
            f"{duration(worst['plant_s_to_detect'])} of plant time after the first signs"
        )
    for check in summary["checks"]["worst"]:
        return f"Look at the sensors behind “{check['check']}”: it failed {check['failed']} of {check['results']} times"
    left = [i for i in summary["incidents"] if not i["resolved"]]
    return f"Agree with the shift how “{left[0]['title']}” is brought to an end" if left else ""
