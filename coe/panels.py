"""What the CoE shows on the pages of a site, an adoption and an incident."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from coe import selectors
from coe.choices import RetrospectiveState
from coe.models import Action, Retrospective, RoiReview
from coe.periods import month_of, plus_months
from coe.tables import held_state, review_state
from devices.plant_time import plant_now
from portal.core.clock import wall_now
from portal.core.panels import Panel, register


def site_panel(user: Any, site: Any) -> dict[str, Any]:
    """Roles and who fills them, the next retrospective, open actions."""
    now = wall_now()
    names = selectors.may_see_names(user)
    rows = [
        {
            "filling": row,
            "people": [selectors.person_label(user, a.user, names=True) for a in (row.certified or row.holders)]
            if names
            else [],
        }
        for row in selectors.roles_by_site([site], now)[site.pk]
    ]
    last = plus_months(month_of(plant_now(site)), -1)
    retrospective = Retrospective.objects.permitted(user).filter(site=site, month=last).select_related("site").first()
    actions = Action.objects.permitted(user).filter(site=site, state="open")
    return {
        "rows": rows,
        "names": names,
        "retrospective": retrospective,
        "held": retrospective is not None and retrospective.state == RetrospectiveState.HELD,
        "next_due": plus_months(last, 2),
        "open_actions": actions.count(),
        "overdue": actions.filter(due_on__lt=now.date()).count(),
    }


def adoption_panel(user: Any, adoption: Any) -> dict[str, Any] | None:
    reviews = (
        RoiReview.objects.permitted(user)
        .filter(adoption=adoption)
        .select_related("adoption__use_case", "adoption__site")[:8]
    )
    rows = [{"row": r, "verdict": review_state(r), "held": held_state(r)} for r in reviews]
    return {"rows": rows} if rows else None


def incident_panel(user: Any, incident: Any) -> dict[str, Any] | None:
    rows = list(
        Retrospective.objects.permitted(user).filter(incidents=incident).select_related("site").order_by("month")
    )
    return {"rows": rows} if rows else None


def register_all() -> None:
    register(Panel("devices.Site", "coe", _("People and reviews"), "coe/_site_panel.html", site_panel, 60))
    register(Panel("usecases.Adoption", "roi", _("ROI reviews"), "coe/_adoption_panel.html", adoption_panel, 80))
    register(
        Panel(
            "governance.Incident",
            "retrospective",
            _("In the retrospective"),
            "coe/_incident_panel.html",
            incident_panel,
            90,
        )
    )
