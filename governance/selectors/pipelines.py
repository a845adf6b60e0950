"""Pipelines and lineage: stages with their checks, and every batch from its channel to what was made of it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from django.db.models import Case, Count, IntegerField, Max, OuterRef, Q, QuerySet, Subquery, Value, When
from django.utils.translation import gettext as _

from governance.choices import CheckState, StageKind
from governance.models import Batch, Check, CheckResult, ModelVersion, Pipeline, Stage
from governance.selectors.trust import with_state
from portal.core import plots

MAX_CHANNELS = 12
MAX_BATCHES = 60
_DEPTH = len(StageKind.values)


def stage_strip(pipeline: Pipeline) -> list[dict[str, Any]]:
    """One entry per stage, in order: its channels, checks with their newest state, newest batch, dataset. Three queries."""
    newest = Batch.objects.filter(stage=OuterRef("pk")).order_by("-plant_to", "id")
    stages: list[Any] = list(
        Stage.objects.filter(pipeline=pipeline)
        .annotate(
            newest_id=Subquery(newest.values("pk")[:1]),
            newest_to=Subquery(newest.values("plant_to")[:1]),
            newest_rows=Subquery(newest.values("rows")[:1]),
        )
        .select_related("dataset")
        .prefetch_related("channels")
        .order_by("position")
    )
    checks: dict[Any, list[Any]] = defaultdict(list)
    for check in with_state(Check.objects.filter(stage__in=stages)).order_by("kind"):
        checks[check.stage_id].append(check)
    strip = []
    for stage in stages:
        mine = checks[stage.pk]
        enabled = [c for c in mine if c.enabled]
        failed = [c for c in enabled if c.state == CheckState.FAILED]
        green = [c for c in enabled if c.state == CheckState.PASSED]
        state = "failed" if failed else "ok" if enabled and len(green) == len(enabled) else "not_measured"
        strip.append(
            {
                "stage": stage,
                "channels": list(stage.channels.all()),
                "checks": mine,
                "green": len(green),
                "enabled": len(enabled),
                "state": state,
                "state_label": _("%(green)s of %(all)s green") % {"green": len(green), "all": len(enabled)}
                if enabled
                else _("No check"),
                "batch": Batch(pk=stage.newest_id, plant_to=stage.newest_to, rows=stage.newest_rows)
                if stage.newest_id
                else None,
                "dataset": getattr(stage, "dataset", None),
            }
        )
    return strip


def live_version(model_id: Any) -> ModelVersion | None:
    return ModelVersion.objects.filter(model_id=model_id, state="live").select_related("model").first()


def with_live_version(pipelines: QuerySet[Any]) -> QuerySet[Any]:
    """Adds ``live_id`` and ``live_number`` of the model's live version."""
    live = ModelVersion.objects.filter(model=OuterRef("model"), state="live").order_by("-number")
    return pipelines.annotate(live_id=Subquery(live.values("pk")[:1]), live_number=Subquery(live.values("number")[:1]))


def version_shown(pipeline: Any) -> ModelVersion | None:
    """The live version of a pipeline read ``with_live_version``, as far as its name and address go."""
    if pipeline.live_id is None:
        return None
    return ModelVersion(pk=pipeline.live_id, number=pipeline.live_number, model=pipeline.model)


def pipeline_graph(pipeline: Pipeline, strip: list[dict[str, Any]], version: ModelVersion | None) -> dict[str, Any]:
    """Nodes and edges from channels over stages to the prediction, as the graph component takes them."""
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    by_kind = {entry["stage"].kind: f"stage:{entry['stage'].pk}" for entry in strip}
    for entry in strip:
        stage, here = entry["stage"], f"stage:{entry['stage'].pk}"
        for channel in entry["channels"][:MAX_CHANNELS]:
            nodes.append(
                {
                    "id": f"channel:{channel.pk}",
                    "label": f"{channel.code} ({channel.unit})",
                    "kind": "channel",
                    "phase": 2,
                    "url": channel.get_absolute_url(),
                    "group": _("Channel"),
                }
            )
            edges.append({"source": f"channel:{channel.pk}", "target": here})
        more = len(entry["channels"]) - MAX_CHANNELS
        if more > 0:
            nodes.append({"id": f"more:{stage.pk}", "label": _("%d more channels") % more, "kind": "channel"})
            edges.append({"source": f"more:{stage.pk}", "target": here})
        nodes.append(
            {
                "id": here,
                "label": stage.name,
                "kind": "stage",
                "phase": 3,
                "state": entry["state"],
                "state_label": entry["state_label"],
                "url": entry["batch"].get_absolute_url() if entry["batch"] else "",
                "group": stage.get_kind_display(),
            }
        )
    chain = [StageKind.SOURCE, StageKind.WINDOW, StageKind.FEATURES, StageKind.PREDICTION]
    present = [kind for kind in chain if kind in by_kind]
    for before, after in pairwise(present):
        edges.append({"source": by_kind[before], "target": by_kind[after]})
    if version is not None and StageKind.PREDICTION in by_kind:
        nodes.append(
            {
                "id": f"version:{version.pk}",
                "label": str(version),
                "kind": "model_version",
                "phase": 2,
                "url": version.get_absolute_url(),
                "group": _("Model version"),
            }
        )
        edges.append(
            {"source": f"version:{version.pk}", "target": by_kind[StageKind.PREDICTION], "label": _("predicts")}
        )
    if StageKind.LABEL in by_kind and StageKind.PREDICTION in by_kind:
        edges.append(
            {"source": by_kind[StageKind.LABEL], "target": by_kind[StageKind.PREDICTION], "label": _("judges")}
        )
    return {"nodes": nodes, "edges": edges}


# ---- one batch -----------------------------------------------------------------------------------------------------------


def lineage_of(batch: Batch) -> tuple[dict[Any, Batch], list[tuple[Any, Any]]]:
    """Batches above and below a batch, itself included, and the edges (before, after). One query a level, no payloads."""
    through = Batch.inputs.through
    found: dict[Any, Batch] = {batch.pk: batch}
    edges: list[tuple[Any, Any]] = []
    for near, far, last in (
        ("from_batch", "to_batch", {StageKind.SOURCE, StageKind.LABEL}),
        ("to_batch", "from_batch", {StageKind.PREDICTION, StageKind.LABEL}),
    ):
        level = [batch.pk] if batch.stage.kind not in last else []
        for _turn in range(_DEPTH):
            if not level or len(found) >= MAX_BATCHES:
                break
            rows = list(
                through.objects.filter(**{f"{near}__in": level})
                .select_related(f"{far}__stage", f"{far}__gateway", f"{far}__model_version__model")
                .order_by("pk")[:MAX_BATCHES]
            )
            level = []
            for row in rows:
                other = getattr(row, far)
                edges.append((row.to_batch_id, row.from_batch_id))
                if other.pk not in found:
                    found[other.pk] = other
                    if other.stage.kind not in last:
                        level.append(other.pk)
    return found, edges


def batch_graph(batch: Batch) -> dict[str, Any]:
    return batch_story(batch)[0]


def batch_story(batch: Batch) -> tuple[dict[str, Any], list[CheckResult]]:
    """The lineage of one batch (channels, batches above and below, the model version that predicted), and its own check results."""
    found, links = lineage_of(batch)
    order = {kind: at for at, kind in enumerate(StageKind.values)}
    members = sorted(found.values(), key=lambda b: (order[b.stage.kind], b.plant_from))
    results = list(
        CheckResult.objects.filter(batch__in=list(found)).select_related("stage_check").order_by("stage_check__kind")
    )
    failed = {result.batch_id for result in results if result.state == CheckState.FAILED}
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = [{"source": f"batch:{a}", "target": f"batch:{b}"} for a, b in dict.fromkeys(links)]
    sources = [b for b in members if b.stage.kind in {StageKind.SOURCE, StageKind.LABEL}]
    channels: dict[Any, Any] = {}
    for row in Stage.channels.through.objects.filter(stage__in={b.stage_id for b in sources}).select_related("channel"):
        channels[(row.stage_id, row.channel_id)] = row.channel
    for (stage_id, _channel_id), channel in list(channels.items())[:MAX_CHANNELS]:
        key = f"channel:{channel.pk}"
        if not any(n["id"] == key for n in nodes):
            nodes.append(
                {
                    "id": key,
                    "label": f"{channel.code} ({channel.unit})",
                    "kind": "channel",
                    "phase": 2,
                    "url": channel.get_absolute_url(),
                    "group": _("Channel"),
                }
            )
        edges += [{"source": key, "target": f"batch:{b.pk}"} for b in sources if b.stage_id == stage_id]
    nodes += [
        {
            "id": f"batch:{member.pk}",
            "label": f"{member.stage.name}: {member.rows} {_('rows')}",
            "kind": "batch",
            "phase": 3,
            "state": "failed" if member.pk in failed else "ok",
            "url": member.get_absolute_url(),
            "group": _("this batch") if member.pk == batch.pk else member.stage.get_kind_display(),
        }
        for member in members
    ]
    versions = {
        b.model_version_id: b.model_version
        for b in members
        if b.stage.kind == StageKind.PREDICTION and b.model_version is not None
    }
    for pk, version in versions.items():
        nodes.append(
            {
                "id": f"version:{pk}",
                "label": str(version),
                "kind": "model_version",
                "phase": 2,
                "url": version.get_absolute_url(),
                "group": _("Model version"),
            }
        )
        edges += [
            {"source": f"version:{pk}", "target": f"batch:{b.pk}", "label": _("predicts")}
            for b in members
            if b.model_version_id == pk and b.stage.kind == StageKind.PREDICTION
        ]
    return {"nodes": nodes, "edges": edges}, [result for result in results if result.batch_id == batch.pk]


def complete(batch: Batch, graph: dict[str, Any]) -> bool:
    """Whether the batch leads back to a channel."""
    return any(node["kind"] == "channel" for node in graph["nodes"])


# ---- checks --------------------------------------------------------------------------------------------------------------


def checks_for(user: Any) -> Any:
    """Checks that the user may see with their newest result, failed ones first."""

    rows = with_state(
        Check.objects.permitted(user).select_related(
            "stage__pipeline__adoption__site", "stage__pipeline__adoption__use_case"
        )
    )
    return rows.annotate(
        rank=Case(
            When(state=CheckState.FAILED, then=Value(0)),
            When(state=None, then=Value(1)),
            default=Value(2),
            output_field=IntegerField(),
        )
    ).order_by("rank", "stage__pipeline__name", "stage__position", "kind", "id")


def check_summary(check: Check) -> dict[str, Any]:
    """How often the check passed, over all its results."""
    return CheckResult.objects.filter(stage_check=check).aggregate(
        all=Count("pk"), failed=Count("pk", filter=Q(state=CheckState.FAILED)), newest=Max("plant_at")
    )


def check_figure(results: list[CheckResult]) -> dict[str, Any]:
    """Share of bad rows per batch over plant time; ``results`` newest first with their batches."""

    rows = [r for r in reversed(results) if r.plant_at is not None]
    if not rows:
        return {"data": [], "reason": _("This check has no result yet.")}
    x = [f"{r.plant_at:%Y-%m-%dT%H:%M:%S}" for r in rows]
    share = [round(100 * r.failed_rows / r.batch.rows, 3) if r.batch.rows else 0.0 for r in rows]
    tone = ["var(--pg-breach-mark)" if r.state == CheckState.FAILED else "var(--pg-ok-mark)" for r in rows]
    bars = {"type": "bar", "x": x, "y": share, "name": _("Bad rows"), "marker": {"color": tone}}
    return plots.figure([bars], x_title=_("Plant time"), y_title=_("Bad rows (%)"), x_type="date")
