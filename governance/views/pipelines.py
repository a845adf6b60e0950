"""Pipelines, batches with their lineage, checks."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from devices.plant_time import replay_text
from governance.filters import BatchPageFilter, CheckPageFilter, PipelinePageFilter
from governance.forms import CheckForm
from governance.models import Batch, Check, CheckResult, Pipeline
from governance.selectors import pipelines as reads
from governance.selectors import trust
from governance.selectors.setup import one_of
from governance.tables import BatchTable, CheckResultTable, CheckTable, PipelineTable
from governance.views.live import json_answer, link, plant_fact, wall_fact
from portal.core.access import get_permitted, who_may
from portal.core.clock import moment_text
from portal.core.pages import DetailPage, ListPage, Page, UpdatePage
from portal.core.records import entity_update
from portal.core.templatetags.phasegate import duration

NEWEST = 12
RESULTS = 60


class PipelineList(ListPage):
    title = _l("Pipelines")
    model = Pipeline
    table_class = PipelineTable
    filterset_class = PipelinePageFilter
    empty = _l("No pipeline yet. It is set up from the page of the model that its rows feed.")

    def rows(self) -> Any:
        rows = trust.pipelines_for(self.request.user)
        return rows.filter(adoption__site_id=self.site_id) if self.site_id else rows


class PipelinePage(DetailPage):
    """Stages as a strip with checks and newest batches, and the lineage as a graph."""

    model = Pipeline
    template = "governance/pipeline.html"

    def get_queryset(self) -> Any:
        rows = Pipeline.objects.select_related(
            "adoption__site__plant_clock", "adoption__use_case", "model", "owner"
        ).defer("policy_state")
        return reads.with_live_version(trust.with_newest(rows))

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Pipeline"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Adoption"), link(obj.adoption)),
            (_("Model"), link(obj.model)),
            (_("Stream"), obj.stream),
            (_("A row every"), f"{duration(obj.expected_period_s)} ({_('plant time')})"),
            (_("Data owner"), obj.owner),
            (_("Reference from"), str(obj.reference.get("from", ""))[:10]),
            (_("to (plant time)"), str(obj.reference.get("to", ""))[:10]),
            (_("Limits set on"), _rows(obj.reference.get("out_of_fold_rows"))),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.may(obj, "change"):
            found.append(
                {"label": _("Change"), "url": reverse("governance:pipeline-edit", args=[obj.pk]), "icon": "edit"}
            )
        if not obj.reference.get("from"):
            url = reverse("governance:pipeline-commission", args=[obj.pk])
            found.append(self.operated(obj, "commission", _("Commission"), url, "play") | {"primary": True})
        elif obj.model.target and obj.live_id:
            url = reverse("governance:pipeline-retrain", args=[obj.pk])
            found.append(self.operated(obj, "retrain", _("Retrain now"), url, "retraining"))
        return found

    def operated(self, obj: Any, verb: str, label: str, url: str, icon: str) -> dict[str, Any]:
        """An action that whoever may not is told who may."""
        if self.may(obj, verb):
            return {"label": label, "url": url, "icon": icon}
        who = one_of(who_may(Pipeline, verb))
        return {"label": label, "icon": icon, "refused": _("%(who)s may: ask one of them.") % {"who": who}}

    def more(self, obj: Any) -> dict[str, Any]:
        strip = reads.stage_strip(obj)
        version = reads.version_shown(obj)
        fresh = trust.freshness(obj)
        batches = (
            Batch.objects.filter(pipeline=obj)
            .select_related("stage", "gateway")
            .order_by("-plant_to", "-received_at", "id")[:NEWEST]
        )
        return {
            "subtitle": f"{obj.adoption.use_case} · {obj.adoption.site}",
            "state": {"state": fresh.state, "label": fresh.text},
            "replay_banner": replay_text(obj.adoption.site) or None,
            "strip": strip,
            "live": version,
            "graph": reads.pipeline_graph(obj, strip, version),
            "batches": batches,
            "next_action": {
                "label": _("commission the first version"),
                "url": reverse("governance:pipeline-commission", args=[obj.pk]),
            }
            if not obj.reference.get("from") and self.may(obj, "commission")
            else None,
            "batches_url": f"{reverse('governance:batches')}?pipeline={obj.pk}",
            "drift_url": f"{reverse('governance:drift')}?pipeline={obj.pk}",
        }


def _rows(count: Any) -> str:
    return f"{count:,} {_('rows')}" if count else ""


class PipelineLineage(Page):
    """The graph as JSON."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        pipeline = get_permitted(Pipeline.objects.select_related("model"), request.user, pk)
        strip = reads.stage_strip(pipeline)
        return json_answer(request, reads.pipeline_graph(pipeline, strip, reads.live_version(pipeline.model_id)))


class BatchList(ListPage):
    title = _l("Batches")
    model = Batch
    table_class = BatchTable
    filterset_class = BatchPageFilter
    page_size = 25
    site_path = "pipeline__adoption__site_id"
    empty = _l("No batch yet. The first arrives with the first rows of a gateway.")

    def get_queryset(self) -> Any:
        return Batch.objects.select_related("stage", "pipeline", "gateway")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Batches"), "")]


class BatchPage(DetailPage):
    """Where a batch came from and what was made of it, with its check results."""

    model = Batch
    template = "governance/batch.html"

    def get_queryset(self) -> Any:
        return Batch.objects.select_related(
            "stage", "pipeline__adoption__site__plant_clock", "gateway", "model_version__model", "inbox"
        ).defer("inbox__payload", "pipeline__policy_state")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Batch"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Pipeline"), link(obj.pipeline)),
            (_("Stage"), obj.stage.name),
            (_("Rows"), f"{obj.rows:,}"),
            (_("Refused"), obj.rows_refused),
            (_("From"), plant_fact(obj.plant_from)),
            (_("To"), plant_fact(obj.plant_to)),
            (_("Received"), wall_fact(obj.received_at)),
            (_("Gateway"), link(obj.gateway)),
            (_("Message"), f"{obj.inbox.stream} {obj.inbox.sequence}" if obj.inbox else ""),
            (_("Model version"), link(obj.model_version)),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        graph, results = reads.batch_story(obj)
        failed = any(r.state == "failed" for r in results)
        return {
            "title": f"{obj.stage.name}, {moment_text(obj.plant_from)}",
            "subtitle": obj.pipeline.name,
            "state": {
                "state": "failed" if failed else "ok" if results else "not_measured",
                "label": _("A check failed") if failed else _("Checks passed") if results else _("No check"),
            },
            "replay_banner": replay_text(obj.pipeline.adoption.site) or None,
            "graph": graph,
            "complete": reads.complete(obj, graph),
            "results": results,
        }


class BatchLineage(Page):
    """The batch's lineage as JSON."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        batch = get_permitted(Batch.objects.select_related("stage", "model_version__model"), request.user, pk)
        return json_answer(request, reads.batch_graph(batch))


class CheckList(ListPage):
    title = _l("Checks")
    model = Check
    table_class = CheckTable
    filterset_class = CheckPageFilter
    empty = _l("No stage has a check yet. A gate needs one at every stage.")

    def rows(self) -> Any:
        rows = reads.checks_for(self.request.user)
        return rows.filter(stage__pipeline__adoption__site_id=self.site_id) if self.site_id else rows


class CheckPage(DetailPage):
    """A rule, what it found over plant time, and what failed in words."""

    model = Check
    template = "governance/check.html"

    def get_queryset(self) -> Any:
        return trust.with_state(
            Check.objects.select_related("stage__pipeline__adoption__site__plant_clock").defer(
                "stage__pipeline__policy_state"
            )
        )

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Checks"), reverse("governance:checks")), (_("Check"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Pipeline"), link(obj.stage.pipeline)),
            (_("Stage"), obj.stage.name),
            (_("Kind"), obj.get_kind_display()),
            (_("Tolerated"), f"{100 * obj.max_failed_share:g} %"),
            (_("Switched on"), _("yes") if obj.enabled else _("no")),
            *((name.replace("_", " "), value) for name, value in obj.config.items() if not isinstance(value, dict)),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        return [{"label": _("Change"), "url": reverse("governance:check-edit", args=[obj.pk]), "icon": "edit"}]

    def more(self, obj: Any) -> dict[str, Any]:
        results = list(
            CheckResult.objects.filter(stage_check=obj)
            .select_related("batch__stage")
            .order_by("-plant_at", "-created_at")[:RESULTS]
        )
        labels = {"passed": _("Passed"), "failed": _("Failed"), "skipped": _("Not applicable")}
        return {
            "subtitle": f"{obj.stage.pipeline} · {obj.stage.name}",
            "state": {"state": obj.state or "not_measured", "label": labels.get(obj.state, _("No result yet"))},
            "replay_banner": replay_text(obj.stage.pipeline.adoption.site) or None,
            "figure": reads.check_figure(results),
            "summary": reads.check_summary(obj),
            "failures": [r for r in results if r.state == "failed"][:10],
            "table": CheckResultTable(results[:20], request=self.request),
        }


class CheckEdit(UpdatePage):
    title = _l("Change a check")
    model = Check
    form_class = CheckForm
    success = _l("Saved. The next batch is judged by the new rule.")

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        form = CheckForm(self.request.POST, instance=obj)
        form.is_valid()
        fresh = {name: data[name] for name in ("name", "enabled", "max_failed_share")} | {"config": form.config()}
        obj.refresh_from_db()
        return entity_update(actor=self.request.user, obj=obj, data=fresh, expected_version=version)
