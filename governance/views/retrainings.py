"""One turn of the loop: its steps as they are done, and the comparison it was decided on."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from governance.choices import RetrainingState, RetrainingTrigger, VersionState
from governance.models import Retraining
from governance.selectors import incidents as reads
from governance.views.live import answer, fragment, link, plant_fact
from portal.core.access import get_permitted
from portal.core.pages import DetailPage, Page
from portal.core.templatetags.phasegate import duration

POLL_S = 2
LOADED = (
    "pipeline__model",
    "pipeline__adoption__site",
    "incident",
    "alert",
    "requested_by",
    "incumbent__model",
    "incumbent__signed_by",
    "challenger__model",
    "challenger__signed_by",
)


def context_of(row: Retraining) -> dict[str, Any]:
    """The live part of the page. Holds no ages and no clocks that run, so that the same state is the same text."""
    steps = reads.step_rows(row)
    waits = (
        row.state == RetrainingState.REGISTERING
        and row.challenger is not None
        and row.challenger.state == VersionState.CANDIDATE
    )
    took = sum(step["seconds"] for step in steps if step["seconds"] is not None)
    return {
        "object": row,
        "steps": steps,
        "took": duration(took) if row.finished_at and steps else "",
        "comparison": reads.side_by_side(row, row.pipeline.model.unit),
        "versions": row,
        "refusal": row.challenger.refusal if row.challenger else "",
        "waiting": row.challenger if waits else None,
    }


class RetrainingPage(DetailPage):
    model = Retraining
    template = "governance/retraining.html"

    def get_queryset(self) -> Any:
        return Retraining.objects.select_related(*LOADED).defer("pipeline__policy_state")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Retraining"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        by_hand = obj.trigger == RetrainingTrigger.REHEARSAL
        return [
            (_("Pipeline"), link(obj.pipeline)),
            (_("Asked for by"), (obj.requested_by or _("somebody")) if by_hand else _("an alert")),
            (_("Reason"), obj.reason),
            (_("Incident"), link(obj.incident)),
            (_("Labelled rows"), f"{obj.train_rows:,}" if obj.train_rows else ""),
            (_("From"), plant_fact(obj.train_from)),
            (_("To"), plant_fact(obj.train_to)),
            (_("Incumbent"), link(obj.incumbent)),
            (_("Challenger"), link(obj.challenger)),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        part = fragment(self.request, "governance/_retraining_live.html", context_of(obj))
        by_hand = obj.trigger == RetrainingTrigger.REHEARSAL
        name = _("Rehearsal of %(model)s") if by_hand else _("Retraining of %(model)s")
        return {
            "title": name % {"model": obj.pipeline.model},
            "subtitle": obj.pipeline.name,
            "live_html": mark_safe(part["html"]),  # noqa: S308 - our own template
            "live_etag": part["etag"],
            "live_url": reverse("governance:retraining-live", args=[obj.pk]),
            "poll_seconds": POLL_S,
        }


class RetrainingLive(Page):
    """The live part alone; 304 while nothing has changed, and no more once it is over."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        rows = Retraining.objects.select_related(*LOADED).defer("pipeline__policy_state")
        row = get_permitted(rows, request.user, pk)
        part = fragment(request, "governance/_retraining_live.html", context_of(row))
        response = answer(request, part["html"].encode(), "text/html; charset=utf-8")
        if row.finished_at is not None:
            response["X-Poll-Stop"] = "1"
        return response
