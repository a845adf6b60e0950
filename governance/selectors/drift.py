"""Drift for pages: charts of the windows against their limits, and the distributions behind one report."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from governance.choices import DriftKind
from governance.domain.reference import SeasonalHistory, SortedColumn, sort_columns
from governance.models import DriftReport, Pipeline
from governance.rows import Floats
from governance.selectors.series import between, snapshot
from governance.words import drift_sentence
from portal.core import plots

NEWEST = 120
BINS = 30
_SETTINGS = {"mode": "seasonal", "window": 600, "step": 300, "first": 600}


def drift_charts(pipeline: Pipeline) -> list[dict[str, Any]]:
    """One chart per kind that this pipeline has: ``{key, title, subtitle, figure, how}``; one query."""
    kinds = list(DriftKind) if pipeline.model.target else [DriftKind.FEATURE]
    by_kind: dict[str, list[DriftReport]] = defaultdict(list)
    for report in DriftReport.objects.filter(pipeline=pipeline).order_by("-plant_to")[: NEWEST * len(kinds)]:
        by_kind[report.kind].append(report)
    return [_chart(pipeline, kind, by_kind[kind]) for kind in kinds]


_Y = {
    DriftKind.FEATURE: "Largest effect (standard deviations)",
    DriftKind.LABEL: "Effect (standard deviations)",
    DriftKind.CONCEPT: "Error of the window (1 is as accepted)",
    DriftKind.RESIDUAL: "Accumulated excess error",
}


def _chart(pipeline: Pipeline, kind: DriftKind, newest_first: list[DriftReport]) -> dict[str, Any]:
    reports = [r for r in reversed(newest_first) if r.measured and r.value is not None]
    title = drift_sentence(newest_first[0] if newest_first else None, pipeline.model.unit)
    figure: dict[str, Any] = {"data": [], "reason": _("No window has been compared yet.")}
    if not reports and newest_first:
        figure["reason"] = newest_first[0].reason or figure["reason"]
    if reports:
        x = [f"{r.plant_to:%Y-%m-%dT%H:%M:%S}" for r in reports]
        worst = [r.features[0].get("name", "") if r.features else "" for r in reports]
        named = kind in {DriftKind.FEATURE, DriftKind.LABEL}
        dots = ["var(--pg-breach-mark)" if r.drifted else "var(--pg-measured)" for r in reports]
        hover: dict[str, Any] = {"customdata": worst, "hovertemplate": "%{y:.3g} (%{customdata})"} if named else {}
        measured = plots.line(
            x,
            [round(float(r.value or 0), 5) for r in reports],
            _("Measured"),
            role="measured",
            marker={"color": dots, "size": 6},
            **hover,
        )
        measured["mode"] = "lines+markers"
        limits = [r.limit for r in reports]
        traces = [measured]
        if any(limit is not None for limit in limits):
            traces.append(plots.line(x, limits, _("Limit"), role="limit", dash="dash"))
        figure = plots.figure(traces, x_title=_("Plant time (end of the window)"), y_title=_(_Y[kind]), x_type="date")
    return {
        "key": f"drift-{kind.value}",
        "label": kind.label,
        "title": f"{kind.label}: {title}",
        "newest": newest_first[0] if newest_first else None,
        "figure": figure,
    }


def how(kind: str) -> str:
    """The method in words, for the drawer."""
    if kind in {DriftKind.FEATURE, DriftKind.LABEL}:
        return _(
            "Each window is compared with its reference: the same season of earlier years, or the rows it was commissioned on. "
            "A feature differs when two things hold. The Kolmogorov-Smirnov distance exceeds its critical value (5 % over all "
            "features together), and the shift is large: the Wasserstein distance, in standard deviations of the reference, exceeds "
            "a limit that also allows for how much the season differs from itself. The population stability index and the "
            "Jensen-Shannon distance are shown for comparison; they decide nothing."
        )
    if kind == DriftKind.CONCEPT:
        return _(
            "The error of the live predictions over a sliding window of labelled rows, in multiples of its accepted size; the limit was "
            "set on rows that the model had not been trained on."
        )
    return _(
        "Row by row, the squared error above its accepted level is added up and falls back to zero while the model is fine. "
        "It passes its limit days before a whole window does."
    )


# ---- one report ----------------------------------------------------------------------------------------------------------


def distribution_figure(report: DriftReport, feature: str) -> dict[str, Any]:
    """Shares of reference and window over the same bins, for one feature; the rows are read from the lake."""
    pipeline = report.pipeline
    frame = snapshot(pipeline)
    if report.kind == DriftKind.LABEL:
        values = frame.label
    elif feature in frame.names:
        values = frame.features[:, frame.names.index(feature)]
    else:
        return {"data": [], "reason": _("These rows hold no such feature.")}
    here = between(frame, report.plant_from, report.plant_to)
    inside = values[here]
    inside = inside[np.isfinite(inside)]
    reference = _reference_values(pipeline, frame.plant_ms, values, here.start, report)
    if reference is None or reference.rows == 0 or inside.size == 0:
        return {"data": [], "reason": _("The rows of the window or of its reference are no longer kept.")}
    both = np.concatenate((reference.values, inside))
    low, high = np.quantile(both, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    middle = ((edges[1:] + edges[:-1]) / 2).round(4).tolist()
    traces = []
    for name, sample, role in (
        (_("Reference"), reference.values, "reference"),
        (_("This window"), inside, "measured"),
    ):
        share = np.histogram(np.clip(sample, edges[0], edges[-1]), edges)[0] / sample.size
        traces.append(
            plots.line(
                middle,
                (100 * share).round(3).tolist(),
                name,
                role=role,
                fill="tozeroy" if role == "measured" else None,
            )
        )
        traces[-1]["line"]["shape"] = "hvh"
    return plots.figure(traces, x_title=feature, y_title=_("Share of rows (%)"))


def _reference_values(
    pipeline: Pipeline, plant_ms: Any, values: Floats, window_start: int, report: DriftReport
) -> SortedColumn | None:
    settings = _SETTINGS | pipeline.reference.get("drift", {})
    past = np.flatnonzero(np.isfinite(values[:window_start]))
    if settings["mode"] == "fixed":
        return sort_columns(values[past[: int(settings["first"])]])[0] if len(past) else None
    history = SeasonalHistory.from_rows(
        plant_ms[past].astype("datetime64[ms]").astype("datetime64[s]"), values[past], ("value",)
    )
    start, end = (np.datetime64(round(at.timestamp()), "s") for at in (report.plant_from, report.plant_to))
    season = history.reference_for(start, end)
    reference = season.reference if season is not None else history.whole_before(start)
    return reference.columns[0] if reference is not None else None
