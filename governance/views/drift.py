"""Drift: charts of a pipeline's windows against their limits, and one report with its distributions."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from devices.plant_time import replay_text
from governance.choices import DriftKind
from governance.filters import DriftPageFilter
from governance.models import DriftReport, Pipeline
from governance.selectors import drift as reads
from governance.selectors.trust import drift_state
from governance.tables import DriftTable
from governance.views.live import json_answer, link, plant_fact
from governance.words import drift_sentence
from portal.core.access import get_permitted
from portal.core.clock import day_text
from portal.core.pages import DetailPage, ListPage, Page
from portal.core.templatetags.phasegate import quantity


class DriftList(ListPage):
    title = _l("Drift")
    model = DriftReport
    table_class = DriftTable
    filterset_class = DriftPageFilter
    site_path = "pipeline__adoption__site_id"
    template = "governance/drift.html"
    page_size = 20
    empty = _l("No window of rows is full yet. The first comparison comes when one is.")

    def get_queryset(self) -> Any:
        return DriftReport.objects.select_related("pipeline__model").defer("pipeline__policy_state")

    def more(self) -> dict[str, Any]:
        if self.partial:
            return {}
        pipelines = (
            Pipeline.objects.permitted(self.request.user)
            .select_related("model", "adoption__site__plant_clock")
            .defer("policy_state")
            .order_by("model__target", "name")
        )
        if self.site_id:
            pipelines = pipelines.filter(adoption__site_id=self.site_id)
        found = list(pipelines)
        # A model with a label has the most to show, so it comes first unless one was chosen.
        found.sort(key=lambda p: (not p.model.target, p.name))
        chosen = next((p for p in found if str(p.pk) == self.request.GET.get("pipeline")), found[0] if found else None)
        if chosen is None:
            return {}
        return {
            "chosen": chosen,
            "tabs": [{"label": p.name, "url": f"?pipeline={p.pk}", "active": p.pk == chosen.pk} for p in found],
            "charts": reads.drift_charts(chosen),
            "replay_banner": replay_text(chosen.adoption.site) or None,
            "how": [
                (kind.label, reads.how(kind)) for kind in (DriftKind.FEATURE, DriftKind.CONCEPT, DriftKind.RESIDUAL)
            ],
        }


class DriftReportPage(DetailPage):
    """One comparison: the finding, each feature, the distributions, the batch it came from."""

    model = DriftReport
    template = "governance/drift_report.html"

    def get_queryset(self) -> Any:
        return DriftReport.objects.select_related(
            "pipeline__model", "pipeline__adoption__site__plant_clock", "stage", "batch__stage"
        ).defer("pipeline__policy_state")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Drift"), reverse("governance:drift")), (_("Report"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Pipeline"), link(obj.pipeline)),
            (_("Stage"), obj.stage.name),
            (_("Kind"), obj.get_kind_display()),
            (_("Rows"), f"{obj.rows:,}"),
            (_("From"), plant_fact(obj.plant_from)),
            (_("To"), plant_fact(obj.plant_to)),
            (_("Measured"), quantity(obj.value)),
            (_("Limit"), quantity(obj.limit)),
            (_("Newest batch"), link(obj.batch)),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        state = drift_state(obj)
        per_feature = obj.kind in {DriftKind.FEATURE, DriftKind.LABEL}
        names = [row["name"] for row in obj.features] if per_feature else []
        asked = self.request.GET.get("feature", "")
        feature = asked if asked in names else (names[0] if names else "")
        labels = {"ok": _("Within its limit"), "not_measured": _("Not measured")}
        return {
            "title": f"{obj.get_kind_display()}: {drift_sentence(obj, obj.pipeline.model.unit)}",
            "subtitle": f"{obj.pipeline} · {day_text(obj.plant_from)} – {day_text(obj.plant_to)} ({_('plant time')})",
            "state": {"state": state, "label": labels.get(state, _("Differs"))},
            "replay_banner": replay_text(obj.pipeline.adoption.site) or None,
            "per_feature": per_feature,
            "feature": feature,
            "rows": [row | {"url": f"?feature={row['name']}"} for row in obj.features] if per_feature else obj.features,
            "distribution_url": f"{reverse('governance:drift-distribution', args=[obj.pk])}?feature={feature}",
            "how": reads.how(obj.kind),
        }


class DriftDistribution(Page):
    """The distribution chart's figure."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        report = get_permitted(
            DriftReport.objects.select_related("pipeline__model", "pipeline__adoption__site"), request.user, pk
        )
        feature = request.GET.get("feature", "")
        if feature not in {row.get("name") for row in report.features}:
            raise Http404
        return json_answer(request, reads.distribution_figure(report, feature))
