"""Incidents: the list, and the page "decay to repaired"."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from devices.plant_time import replay_text
from governance.choices import IncidentState
from governance.filters import IncidentPageFilter
from governance.models import Incident, Retraining
from governance.selectors import incidents as reads
from governance.services import incidents as services
from governance.tables import IncidentTable
from governance.views.live import answer, fragment, json_answer
from portal.core import audit
from portal.core.access import get_permitted
from portal.core.pages import ActionPage, DetailPage, ListPage, Page
from portal.core.panels import panels_for
from portal.core.templatetags.phasegate import duration

POLL_S = 2


class IncidentList(ListPage):
    title = _l("Incidents")
    model = Incident
    table_class = IncidentTable
    filterset_class = IncidentPageFilter
    site_path = "adoption__site_id"
    empty = _l("Nothing is broken, and nothing has been. An alert on a pipeline opens an incident here.")

    def rows(self) -> Any:
        rows = reads.incidents_for_list(self.request.user)
        return rows.filter(adoption__site_id=self.site_id) if self.site_id else rows


def incidents() -> Any:
    return Incident.objects.select_related(
        "adoption__site__plant_clock",
        "adoption__use_case",
        "pipeline__model",
        "pipeline__adoption__site",
        "acknowledged_by",
    )


def story_context(user: Any, incident: Incident) -> dict[str, Any]:
    """Everything in the live part. Holds no ages and no clocks that run, so that the same state is the same text."""
    told = reads.story(incident)
    unit = incident.pipeline.model.unit if incident.pipeline else ""
    repair = told.repair_seconds
    panels = []
    for panel in panels_for(incident):
        found = panel.context(user, incident)
        if found is not None:
            panels.append({"key": panel.key, "title": panel.title, "template": panel.template, "context": found})
    return {
        "object": incident,
        "story": told,
        "unit": unit,
        "comparison": reads.side_by_side(told.winner, unit),
        "versions": told.winner,
        "retrainings": [{"row": row, "steps": reads.step_rows(row)} for row in reversed(told.retrainings)],
        "limit_text": duration(told.limit_s),
        "repair_text": duration(repair) if repair is not None else "",
        "over": repair is not None and repair > told.limit_s,
        "panels": panels,
    }


class IncidentPage(DetailPage):
    """Error rising, cause, stopwatch, old and new side by side, refused challengers, canary, recovery."""

    model = Incident
    template = "governance/incident.html"

    def get_queryset(self) -> Any:
        return incidents()

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Incidents"), reverse("governance:incidents")), (_("Incident"), "")]

    def context(self, obj: Any) -> dict[str, Any]:
        told = story_context(self.request.user, obj)
        part = fragment(self.request, "governance/_incident_live.html", told)
        return {
            "finding": told["story"].finding,
            "object": obj,
            "title": obj.title,
            "subtitle": f"{obj.adoption.use_case} · {obj.adoption.site}",
            "replay_banner": replay_text(obj.adoption.site) or None,
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "live_html": mark_safe(part["html"]),  # noqa: S308 - our own template
            "live_etag": part["etag"],
            "live_url": reverse("governance:incident-live", args=[obj.pk]),
            "figure_url": reverse("governance:incident-error", args=[obj.pk]),
            "poll_seconds": POLL_S,
            "chart_seconds": POLL_S if obj.state != IncidentState.RESOLVED else None,
            "actions": self.actions(obj),
            "history": audit.history(obj),
        }

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if obj.acknowledged_at is not None or obj.state == IncidentState.RESOLVED or not self.may(obj, "acknowledge"):
            return []
        return [
            {
                "label": _("I have it"),
                "url": reverse("governance:incident-acknowledge", args=[obj.pk]),
                "method": "post",
                "primary": True,
                "icon": "done",
            }
        ]


class IncidentLive(Page):
    """The live part alone; 304 while nothing has changed."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        incident = get_permitted(incidents(), request.user, pk)
        part = fragment(request, "governance/_incident_live.html", story_context(request.user, incident))
        return answer(request, part["html"].encode(), "text/html; charset=utf-8")


class IncidentError(Page):
    """The error chart's figure."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        incident = get_permitted(incidents(), request.user, pk)
        challengers = Retraining.objects.filter(incident=incident, challenger__isnull=False).values_list(
            "challenger_id", flat=True
        )
        return json_answer(request, reads.error_figure(incident, [str(pk) for pk in challengers]))


class IncidentAcknowledge(ActionPage):
    model = Incident
    verb = "acknowledge"
    success = _l("It is yours now; the timeline says so.")

    def act(self, obj: Any) -> None:
        services.incident_acknowledge(actor=self.request.user, incident=obj)
