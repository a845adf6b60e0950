"""What gate 4 reads of people and reviews. All of it is measured for the site (reviews: for the adoption), not typed in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.urls import reverse

from coe import selectors
from coe.choices import ActionState, RetrospectiveState
from coe.models import Action, Retrospective, RoiReview
from coe.periods import month_of, plus_months, quarter_name, quarter_of
from coe.services.retrospectives import months_due
from coe.services.reviews import first_quarter_of, measurable
from devices.plant_time import plant_now
from portal.core.clock import day_text, month_text
from usecases.choices import Comparator
from usecases.evidence import CriterionSpec, Measurement, Subject, register

_NO_SITE = "This is measured at a site."


def roles_filled(subject: Subject) -> Measurement:
    """Share of the CoE roles a site needs that are held by somebody whose certificate is valid today."""
    site = subject.site
    if site is None:
        return Measurement.not_applicable(_NO_SITE)
    rows = selectors.roles_by_site([site], subject.now)[site.pk]
    if not rows:
        return Measurement.missing("No CoE role is needed at a site.", reverse("coe:overview"))
    good = [row for row in rows if row.filled]
    text = f"{len(good)} of {len(rows)} roles are held by people with a valid certificate."
    lacking = [f"{row.role.name} ({row.words.lower()})" for row in rows if not row.filled]
    if lacking:
        text += f" Open: {', '.join(lacking)}."
    return Measurement.of(
        round(100 * len(good) / len(rows), 1), text, measured_at=subject.now, link=reverse("coe:overview")
    )


def retrospective_held(subject: Subject) -> Measurement:
    """Whether the site's last full month (plant time) has been talked over."""
    site = subject.site
    if site is None:
        return Measurement.not_applicable(_NO_SITE)
    now = plant_now(site, fresh=True)
    this = month_of(now)
    months = months_due(site, until=plus_months(this, 1))
    if not months:
        return Measurement.missing("No model has been live at this site yet.", reverse("coe:retrospectives"))
    last = max((month for month in months if month < this), default=None)
    if last is None:
        return Measurement.not_yet_due(
            f"The site is in its first month; its first retrospective is due after {day_text(plus_months(this, 1))} (plant time)."
        )
    found = Retrospective.objects.filter(site=site, month=last).first()
    if found is None:
        return Measurement.missing(
            f"The retrospective of {month_text(last)} is not filled in yet.", reverse("coe:retrospectives")
        )
    held = found.state == RetrospectiveState.HELD
    text = f"{month_text(last)} (plant time): " + ("held." if held else "filled in from records, not held yet.")
    return Measurement.of(held, text, measured_at=subject.now, plant_at=now, link=found.get_absolute_url())


def roi_review_held(subject: Subject) -> Measurement:
    """Whether the adoption's last full quarter (plant time) has been judged."""
    adoption = subject.adoption
    if adoption is None:
        return Measurement.not_applicable(_NO_SITE)
    now = plant_now(adoption.site, fresh=True)
    this = quarter_of(now)
    last = plus_months(this, -3)
    first = first_quarter_of(adoption)
    link = reverse("coe:roi-reviews")
    if first is None:
        return Measurement.missing("The adoption has neither a start nor a reading yet.", link)
    if first >= this:
        return Measurement.not_yet_due(
            f"{quarter_name(this)} is the first quarter of this adoption; its review is due after "
            f"{day_text(plus_months(this, 3))} (plant time)."
        )
    found = RoiReview.objects.filter(adoption=adoption, quarter=last).first()
    if found is None and not measurable(adoption):
        return Measurement.missing("No outcome of the use case has a frozen baseline: nothing can be judged.", link)
    if found is None:
        return Measurement.missing(f"The review of {quarter_name(last)} is not computed yet.", link)
    held = found.held_at is not None
    text = f"{quarter_name(last)} (plant time): " + (
        f"held, {found.get_verdict_display().lower()}." if held else "computed, not held yet."
    )
    return Measurement.of(held, text, measured_at=subject.now, plant_at=now, link=found.get_absolute_url())


def overdue_actions(subject: Subject) -> Measurement:
    """Open actions of the site past their date (wall time)."""
    site = subject.site
    if site is None:
        return Measurement.not_applicable(_NO_SITE)
    late = Action.objects.filter(site=site, state=ActionState.OPEN, due_on__lt=subject.now.date()).order_by("due_on")
    rows = list(late.values_list("text", "due_on"))
    text = (
        f"The oldest is due since {day_text(rows[0][1])}: {rows[0][0]}" if rows else "No action of the site is overdue."
    )
    return Measurement.of(
        len(rows),
        text[:300],
        measured_at=subject.now,
        link=f"{reverse('coe:actions')}?site={site.pk}&overdue=true",
    )


def register_all() -> None:
    yes: dict[str, Any] = {"unit": "", "comparator": Comparator.TRUE, "threshold": True}
    register(
        CriterionSpec(
            "enable.roles", 4, "CoE roles filled and certified",
            "Is each role of the site held by somebody whose certificate is valid today?",
            "%", Comparator.AT_LEAST, 100, roles_filled, "CoE lead", grace=timedelta(days=14), order=10,
        ),
        CriterionSpec(
            "enable.retrospective", 4, "Last month's retrospective held",
            "Have people met over the site's last full month (plant time)?",
            provider=retrospective_held, owner="CoE lead", grace=timedelta(days=7), order=20, **yes,
        ),
        CriterionSpec(
            "enable.roi_review", 4, "Last quarter's ROI review held",
            "Was the adoption's last full quarter (plant time) judged, planned against measured?",
            provider=roi_review_held, owner="CoE lead", grace=timedelta(days=14), order=30, **yes,
        ),
        CriterionSpec(
            "enable.actions", 4, "No overdue action", "How many actions of the site are past their date?",
            "actions", Comparator.AT_MOST, 0, overdue_actions, "Plant manager", grace=timedelta(days=7), order=40,
        ),
    )  # fmt: skip
