"""Background work of the CoE: months and quarters that are over are filled in, people are reminded."""

from __future__ import annotations

from datetime import date

from celery import shared_task

from coe import services
from coe.choices import RetrospectiveState
from coe.models import Retrospective, RoiReview
from coe.periods import month_of, plus_months, quarter_of
from devices.models import Site
from devices.plant_time import plant_now
from usecases.models import Adoption
from usecases.services import gates_remeasure


@shared_task(name="coe.prepare_reviews", time_limit=600)
def prepare_reviews() -> dict[str, int]:
    """Fill in what is missing up to plant time now, and tell people about the last month and quarter, once."""
    months = quarters = 0
    for site in Site.objects.select_related("plant_clock").order_by("pk"):
        months += services.retrospectives_prepare_all(site=site, refresh=False)
        now = plant_now(site)
        last = plus_months(month_of(now), -1)
        for waiting in Retrospective.objects.filter(
            site=site, month=last, state=RetrospectiveState.DRAFT
        ).select_related("site"):
            services.retrospective_announce(waiting)
        for adoption in Adoption.objects.filter(site=site).select_related("site__plant_clock", "use_case"):
            quarters += services.roi_reviews_prepare_all(adoption=adoption, refresh=False)
        past = plus_months(quarter_of(now), -3)
        open_reviews = RoiReview.objects.filter(adoption__site=site, quarter=past, held_at=None)
        for review in open_reviews.select_related("adoption__site", "adoption__use_case"):
            services.roi_review_announce(review)
        gates_remeasure(site=site)
    return {"months": months, "quarters": quarters}


@shared_task(name="coe.prepare_months", time_limit=120)
def prepare_months(site_id: str, months: list[str]) -> int:
    """Fill in these months (ISO dates) of one site again, the running one too: something happened in them."""
    site = Site.objects.filter(pk=site_id).first()
    if site is None:
        return 0
    this = month_of(plant_now(site))
    wanted = sorted({day for text in months if (day := month_of(date.fromisoformat(text))) <= this})
    for month in wanted:
        services.retrospective_prepare(site=site, month=month)
    return len(wanted)


@shared_task(name="coe.remind", time_limit=120)
def remind() -> dict[str, int]:
    return services.remind()
