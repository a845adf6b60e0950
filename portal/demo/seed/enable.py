"""Retrospectives and ROI reviews that the history filled in; the last of each is held, as the gate asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from coe.models import Action, Retrospective, RoiReview
from coe.services.retrospectives import retrospective_hold, retrospectives_prepare_all
from coe.services.reviews import roi_review_hold, roi_reviews_prepare_all
from devices.plant_time import plant_now
from portal.core.clock import wall_now
from portal.core.records import entity_create
from usecases.models import Adoption

WENT_WELL = (
    "The error was found from the labels alone, and a worse challenger was refused before a better one went out."
)
TO_IMPROVE = (
    "Two weeks passed between the first signs and the alert. Look at the month's incident together with the shift."
)


def hold_reviews(users: dict[str, Any], adoptions: dict[str, Adoption]) -> None:
    for adoption in adoptions.values():
        retrospectives_prepare_all(site=adoption.site)
        roi_reviews_prepare_all(adoption=adoption)
    turbine = adoptions["nox-soft-sensor"]
    month = plant_now(turbine.site, fresh=True).date().replace(day=1)
    last = Retrospective.objects.filter(site=turbine.site, month__lt=month).order_by("-month").first()
    if last is not None:
        retrospective_hold(
            actor=users["coe_lead"], retrospective=last, data={"went_well": WENT_WELL, "to_improve": TO_IMPROVE}
        )
        entity_create(
            actor=users["coe_lead"],
            model=Action,
            data={
                "site": turbine.site,
                "retrospective": last,
                "text": "Show the rolling error on the shift's screen",
                "owner": users["ot_engineer"],
                "due_on": (wall_now() + timedelta(days=21)).date(),
            },
        )
    review = RoiReview.objects.filter(adoption=turbine, held_at=None).order_by("-quarter").first()
    if review is not None:
        roi_review_hold(
            actor=users["coe_lead"], review=review, note="Go on; judge again when the interval excludes zero."
        )
