"""Trust at a glance: per adoption what flows, what is green, what drifts, what is left of the budgets, what is open, what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.urls import reverse
from django.utils.translation import gettext as _

from devices.plant_time import plant_now, replay_finished
from governance.choices import CheckState, DriftKind, IncidentState, StageKind
from governance.models import Batch, Check, CheckResult, DriftReport, Incident, Pipeline, Slo
from governance.selectors.slos import slo_cards
from governance.words import drift_sentence
from portal.core.templatetags.phasegate import duration
from usecases.models import Adoption

# A batch holds several rows; a pipeline is late when nothing came for as many periods.
LATE_PERIODS = 48


def with_newest(pipelines: QuerySet[Any]) -> QuerySet[Any]:
    """Adds ``newest_at``: plant time of the newest row that entered."""
    newest = Batch.objects.filter(pipeline=OuterRef("pk"), stage__kind=StageKind.SOURCE).order_by("-plant_to")
    return pipelines.annotate(newest_at=Subquery(newest.values("plant_to")[:1]))


def pipelines_for(user: Any) -> QuerySet[Any]:
    """Pipelines that the user may see, with what lists and freshness need and without the policy's state."""
    rows = Pipeline.objects.permitted(user).select_related(
        "adoption__site__plant_clock", "adoption__use_case", "model", "owner"
    )
    return with_newest(rows).defer("policy_state")


@dataclass(frozen=True)
class Freshness:
    """How old the newest row is, in plant time. ``state``: ok, late or not_measured."""

    state: str
    text: str
    at: Any = None


def freshness(pipeline: Any) -> Freshness:
    """Of a pipeline with ``newest_at``."""
    at = pipeline.newest_at
    if at is None:
        return Freshness("not_measured", _("No row yet"))
    site = pipeline.adoption.site
    if replay_finished(site):
        return Freshness("ok", _("Replay finished"), at)
    age = max(timedelta(0), plant_now(site) - at)
    late = age.total_seconds() > LATE_PERIODS * pipeline.expected_period_s
    if age.total_seconds() <= pipeline.expected_period_s:
        return Freshness("ok", _("Up to date"), at)
    words = {"age": duration(age.total_seconds())}
    return Freshness("late" if late else "ok", _("%(age)s behind (plant time)") % words, at)


def with_state(checks: QuerySet[Any]) -> QuerySet[Any]:
    """Adds the newest result of each check: ``state``, ``state_text``, ``state_at`` (plant time), ``state_batch``."""
    newest = CheckResult.objects.filter(stage_check=OuterRef("pk")).order_by("-plant_at", "-created_at")
    return checks.annotate(
        state=Subquery(newest.values("state")[:1]),
        state_text=Subquery(newest.values("text")[:1]),
        state_at=Subquery(newest.values("plant_at")[:1]),
        state_batch=Subquery(newest.values("batch")[:1]),
    )


def newest_reports(pipelines: Iterable[Any]) -> dict[UUID, dict[str, DriftReport]]:
    """The newest report of each pipeline and kind."""
    same = DriftReport.objects.filter(pipeline=OuterRef("pipeline"), kind=OuterRef("kind")).order_by("-plant_to", "id")
    rows = DriftReport.objects.filter(pipeline__in=[p.pk for p in pipelines], pk=Subquery(same.values("pk")[:1]))
    found: dict[UUID, dict[str, DriftReport]] = defaultdict(dict)
    for report in rows:
        found[report.pipeline_id][report.kind] = report
    return found


@dataclass
class TrustCard:
    """One adoption on the overview."""

    adoption: Adoption
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Any] = field(default_factory=list)
    slos: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)

    @property
    def green(self) -> int:
        return sum(1 for check in self.checks if check.state == CheckState.PASSED)

    @property
    def failing(self) -> list[Any]:
        return [check for check in self.checks if check.state == CheckState.FAILED]

    @property
    def state(self) -> str:
        """breach, watch, ok or unknown: the worst of what is shown."""
        states = {row["freshness"].state for row in self.pipelines}
        slo_states = {row["state"] for row in self.slos}
        if self.incidents or "breach" in slo_states:
            return "breach"
        if self.failing or "late" in states or "watch" in slo_states:
            return "watch"
        return "ok" if "ok" in states else "unknown"

    @property
    def state_label(self) -> str:
        return {
            "breach": _("Incident open") if self.incidents else _("Budget spent"),
            "watch": _("Watch"),
            "ok": _("Trusted"),
            "unknown": _("Not measured"),
        }[self.state]

    @property
    def next_action(self) -> dict[str, str]:
        """``{label, url}`` of the one thing to do now."""
        for incident in self.incidents:
            if incident.acknowledged_at is None:
                return {
                    "label": _("Take the incident: %(title)s") % {"title": incident.title},
                    "url": incident.get_absolute_url(),
                }
        if self.incidents:
            return {"label": _("Follow the repair"), "url": self.incidents[0].get_absolute_url()}
        if self.failing:
            check = self.failing[0]
            return {"label": _("Look at the check: %(name)s") % {"name": check.name}, "url": check.get_absolute_url()}
        for row in self.slos:
            slo = row["slo"]
            if not slo.ot_owner_id or not slo.ds_owner_id:
                return {
                    "label": _("Name both owners of %(name)s") % {"name": slo.name},
                    "url": reverse("governance:slo", args=[slo.pk]),
                }
        if not self.checks:
            return {"label": _("Give every stage a check"), "url": reverse("governance:checks")}
        return {}


def trust_overview(user: Any, site_id: Any = None) -> list[TrustCard]:
    """One card per adoption with a pipeline or an SLO, the ones with trouble first."""
    here = {"adoption__site_id": site_id} if site_id else {}
    pipelines = list(pipelines_for(user).filter(**here))
    slos = list(Slo.objects.permitted(user).filter(**here).select_related("adoption__site", "adoption__use_case"))
    cards = {row.adoption_id: TrustCard(row.adoption) for row in [*slos, *pipelines]}
    reports = newest_reports(pipelines) if pipelines else {}
    for pipeline in pipelines:
        mine = reports.get(pipeline.pk, {})
        cards[pipeline.adoption_id].pipelines.append(
            {"pipeline": pipeline, "freshness": freshness(pipeline), "drift": drift_lines(pipeline, mine)}
        )
    checks = with_state(Check.objects.filter(stage__pipeline__in=pipelines, enabled=True)).select_related(
        "stage__pipeline"
    )
    for check in checks:
        cards[check.stage.pipeline.adoption_id].checks.append(check)
    for row in slo_cards(slos):
        cards[row["slo"].adoption_id].slos.append(row)
    open_ones = Incident.objects.filter(adoption__in=list(cards)).exclude(state=IncidentState.RESOLVED)
    for incident in open_ones.order_by("-opened_at"):
        cards[incident.adoption_id].incidents.append(incident)
    order = {"breach": 0, "watch": 1, "unknown": 2, "ok": 3}
    return sorted(cards.values(), key=lambda card: (order[card.state], str(card.adoption)))


def drift_lines(pipeline: Any, reports: dict[str, DriftReport]) -> list[dict[str, Any]]:
    """``{label, state, sentence, url, at}`` per kind of drift that this pipeline has."""
    kinds: Sequence[str] = (
        (DriftKind.FEATURE, DriftKind.LABEL, DriftKind.CONCEPT, DriftKind.RESIDUAL)
        if pipeline.model.target
        else (DriftKind.FEATURE,)
    )
    lines = []
    for kind in kinds:
        report = reports.get(kind)
        lines.append(
            {
                "label": DriftKind(kind).label,
                "state": drift_state(report),
                "sentence": drift_sentence(report, pipeline.model.unit),
                "url": report.get_absolute_url() if report else "",
                "at": report.plant_to if report else None,
            }
        )
    return lines


def drift_state(report: DriftReport | None) -> str:
    if report is None or not report.measured:
        return "not_measured"
    if not report.drifted:
        return "ok"
    return "breach" if report.kind in {DriftKind.CONCEPT, DriftKind.RESIDUAL} else "watch"
