"""The page "decay to repaired": what an incident's rows, steps, retrainings and versions say, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db.models import Case, IntegerField, Value, When
from django.utils.translation import gettext as _

from governance.choices import IncidentState, RetrainingState, SloKind
from governance.lake import moment
from governance.models import Incident, IncidentStep, ModelVersion, Pipeline, Retraining, Slo
from governance.selectors.series import buckets, iso, milliseconds, rolling_mean, snapshot, thin
from governance.services import loop
from governance.words import day
from portal.core import plots
from portal.core.clock import day_text, moment_text
from portal.core.templatetags.phasegate import duration, quantity

DEFAULT_LIMIT_S = 7200.0
CONTEXT_ROWS = 900


def incidents_for_list(user: Any) -> Any:
    """Incidents that the user may see, open ones first, with what the table shows."""

    return (
        Incident.objects.permitted(user)
        .select_related("adoption__site", "adoption__use_case", "pipeline__model", "acknowledged_by")
        .annotate(
            over=Case(When(state=IncidentState.RESOLVED, then=Value(1)), default=Value(0), output_field=IntegerField())
        )
        .order_by("over", "-opened_at", "id")
    )


@dataclass(frozen=True)
class Story:
    """Everything the page says about one incident; read in three queries, numbers only from records."""

    incident: Incident
    steps: list[IncidentStep]
    retrainings: list[Retraining]
    limit_s: float
    slo: Slo | None

    @property
    def winner(self) -> Retraining | None:
        """The newest retraining whose challenger was better."""
        return next((r for r in reversed(self.retrainings) if r.comparison.get("verdict") == "accepted"), None)

    @property
    def alarms(self) -> list[IncidentStep]:
        """The steps that say which rule fired, with value and limit where it opened the incident."""
        opened = [step for step in self.steps if step.key == "detected"]
        said = {step.detail.get("kind") for step in opened}
        return opened + [s for s in self.steps if s.key == "alerted" and s.detail.get("kind") not in said]

    @property
    def refused(self) -> list[Retraining]:
        return [r for r in self.retrainings if r.state == RetrainingState.REFUSED]

    @property
    def running(self) -> bool:
        return self.incident.state != IncidentState.RESOLVED

    @property
    def repair_seconds(self) -> float | None:
        """Wall time from the alert to the new version live; None while it is not."""
        end = self.incident.live_at
        return (end - self.incident.opened_at).total_seconds() if end else None

    @property
    def milestones(self) -> list[dict[str, Any]]:
        """Began, detected, alerted, live, recovered, for the timeline; each with the clock it was read from."""
        incident = self.incident
        noticed = (incident.detected_plant_at - incident.began_plant_at).total_seconds()
        alerted_done = incident.live_at or incident.state == IncidentState.RESOLVED
        repair = self.repair_seconds
        no_version = incident.live_at is None and incident.state == IncidentState.RESOLVED
        return [
            {
                "label": _("Began"),
                "at": incident.began_plant_at,
                "clock": "plant",
                "state": "done",
                "took": _("%(span)s of plant time") % {"span": duration(noticed)} if noticed else "",
            },
            {"label": _("Detected"), "at": incident.detected_plant_at, "clock": "plant", "state": "done"},
            {
                "label": _("Alerted"),
                "at": incident.opened_at,
                "clock": "wall",
                "state": "done" if alerted_done else "now",
                "took": _("%(span)s of wall time") % {"span": duration(repair)} if repair is not None else "",
            },
            {
                "label": _("New version live"),
                "at": incident.live_at,
                "clock": "wall",
                "state": "done" if incident.live_at else "",
                "pending": _("no new version was needed") if no_version else _("not yet"),
            },
            {
                "label": _("Recovered"),
                "at": incident.resolved_plant_at,
                "clock": "plant",
                "state": "done" if incident.state == IncidentState.RESOLVED else "now" if incident.live_at else "",
            },
        ]

    @property
    def plant_seconds(self) -> float | None:
        """Plant time from the first sign to recovered."""
        end = self.incident.resolved_plant_at
        return (end - self.incident.began_plant_at).total_seconds() if end else None

    @property
    def noticed_text(self) -> str:
        """Plant time from the first sign to the alarm, in words."""
        return duration((self.incident.detected_plant_at - self.incident.began_plant_at).total_seconds())

    @property
    def recovered_text(self) -> str:
        return duration(self.plant_seconds) if self.plant_seconds is not None else ""

    @property
    def finding(self) -> str:
        """One sentence: what happened and how it stands."""
        incident = self.incident
        since = day(incident.began_plant_at)
        if incident.state == IncidentState.RESOLVED:
            return _("It began on %(since)s and was back within its limit on %(until)s (plant time).") % {
                "since": since,
                "until": day(incident.resolved_plant_at),
            }
        if incident.live_at:
            return _("It began on %(since)s; the new version is live and has to prove itself.") % {"since": since}
        if self.retrainings and self.retrainings[-1].state not in {RetrainingState.REFUSED, RetrainingState.FAILED}:
            return _("It began on %(since)s; a repair is under way.") % {"since": since}
        if self.retrainings:
            return _(
                "It began on %(since)s; the last attempt did not help, the next is due when more rows have labels."
            ) % {"since": since}
        return _("It began on %(since)s (plant time).") % {"since": since}

    @property
    def next_action(self) -> str:
        incident = self.incident
        if incident.state == IncidentState.RESOLVED:
            return ""
        if any(step.key == "waiting" for step in self.steps) and incident.live_at is None:
            return _("A person who may must sign the new version.")
        if incident.acknowledged_at is None:
            return _("Somebody of operations takes it.")
        return (
            _("Watch the rollout and the error below its limit.")
            if incident.live_at is None
            else _("Wait for recovery.")
        )


def story(incident: Incident) -> Story:
    retrainings = list(
        incident.retrainings.select_related(
            "incumbent__signed_by", "challenger__signed_by", "challenger__model", "incumbent__model"
        ).order_by("due_row")
    )
    slo = Slo.objects.filter(adoption_id=incident.adoption_id, kind=SloKind.ALERT_TO_RETRAIN).first()
    return Story(
        incident=incident,
        steps=list(incident.steps.all()),
        retrainings=retrainings,
        limit_s=(slo.limit_seconds if slo and slo.limit_seconds else DEFAULT_LIMIT_S),
        slo=slo,
    )


# ---- old and new side by side ------------------------------------------------------------------------------------------


def _span(version: ModelVersion | None) -> str:
    if version is None or version.trained_from is None or version.trained_to is None:
        return ""
    return f"{day_text(version.trained_from)} – {day_text(version.trained_to)}"


def side_by_side(retraining: Retraining | None, unit: str) -> list[dict[str, Any]]:
    """Rows ``{label, old, new, better, note}``; errors of both on the same held-out rows. Empty without a verdict."""
    if retraining is None or retraining.incumbent is None or retraining.challenger is None:
        return []
    old, new, known = retraining.incumbent, retraining.challenger, retraining.comparison

    def error(name: str, label: str, note: str = "") -> dict[str, Any]:
        was, now = known.get(f"incumbent_{name}"), known.get(f"challenger_{name}")
        better = None if was is None or now is None else abs(now) < abs(was)
        return {
            "label": label,
            "old": f"{quantity(was)} {unit}",
            "new": f"{quantity(now)} {unit}",
            "better": better,
            "note": note,
        }

    held = _("on the same %(rows)s held-out rows") % {"rows": known.get("rows", "–")}
    return [
        error("mae", _("Typical error"), held),
        error("rmse", _("Error with large misses counted more (RMSE)"), held),
        error("bias", _("Reads too high (+) or too low (-)"), held),
        {"label": _("Trained on (plant time)"), "old": _span(old), "new": _span(new)},
        {"label": _("Training rows"), "old": f"{old.training_rows:,}", "new": f"{new.training_rows:,}"},
        {"label": _("File"), "old": f"{old.size_bytes / 1024:,.0f} KiB", "new": f"{new.size_bytes / 1024:,.0f} KiB"},
        {
            "label": _("Time for a row (99 of 100)"),
            "old": f"{quantity(old.latency_us)} µs",
            "new": f"{quantity(new.latency_us)} µs",
        },
        {
            "label": _("Quantisation"),
            "old": old.get_quantisation_display(),
            "new": new.get_quantisation_display(),
            "note": new.quantisation_report.get("reason", ""),
        },
        {"label": _("Signed by"), "old": signed(old), "new": signed(new)},
    ]


def signed(version: ModelVersion) -> str:
    if version.signed_by is None or version.signed_at is None:
        return _("not signed")
    role = version.signing_basis.get("role") or str(version.signed_by)
    way = _("standing approval") if version.signing_basis.get("standing_approval") else _("by hand")
    return f"{role}, {moment_text(version.signed_at)} UTC ({way})"


def step_rows(retraining: Retraining) -> list[dict[str, Any]]:
    """The timed steps ``{name, started, ended, seconds}``, wall time."""
    rows = []
    for step in retraining.steps:
        started = datetime.fromisoformat(step["started"])
        ended = datetime.fromisoformat(step["ended"]) if step.get("ended") else None
        seconds = (ended - started).total_seconds() if ended else None
        rows.append({"name": step["name"], "started": started, "ended": ended, "seconds": seconds})
    return rows


# ---- the error over plant time -----------------------------------------------------------------------------------------


def _marks(incident: Incident, state: loop.LoopState, challengers: Sequence[str]) -> list[tuple[int, str]]:
    """Moments of plant time to mark, names of equal moments joined."""
    found: dict[int, list[str]] = {}
    pairs: list[tuple[datetime | None, str]] = [
        (incident.began_plant_at, _("began")),
        (incident.detected_plant_at, _("detected, alerted")),
        *((moment(c["from_ms"]), _("live")) for c in state.champions if c["version"] in challengers),
        (incident.resolved_plant_at, _("recovered")),
    ]
    for at, name in pairs:
        if at is not None:
            found.setdefault(milliseconds(at), []).append(name)
    return [(at, ", ".join(names)) for at, names in sorted(found.items())]


def _mark_layout(marks: list[tuple[int, str]]) -> dict[str, Any]:
    times = iso(np.array([at for at, _name in marks], dtype=np.int64)) if marks else []
    shapes = [
        {
            "type": "line",
            "x0": at,
            "x1": at,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": "var(--pg-ink-2)", "dash": "dot", "width": 1.2},
        }
        for at in times
    ]
    notes = [
        {
            "x": at,
            "y": 1 - 0.09 * (i % 4),
            "yref": "paper",
            "yanchor": "top",
            "xanchor": "left",
            "text": name,
            "showarrow": False,
            "font": {"size": 11},
            "bgcolor": "var(--pg-surface)",
        }
        for i, (at, (_ms, name)) in enumerate(zip(times, marks, strict=True))
    ]
    return {"shapes": shapes, "annotations": notes}


def _limit_line(times: list[str], value: float | None, name: str) -> list[dict[str, Any]]:
    if value is None or not times:
        return []
    return [plots.line([times[0], times[-1]], [value, value], name, role="limit", dash="dash")]


def error_figure(incident: Incident, challengers: Sequence[str]) -> dict[str, Any]:
    """Rolling error of the live predictions around the incident, against its limit, with markers; at most 1,500 points a line."""
    pipeline: Pipeline | None = incident.pipeline
    if pipeline is None:
        return {"data": [], "reason": _("This incident belongs to no pipeline.")}
    frame = snapshot(pipeline)
    state = loop.LoopState.of(pipeline)
    marks = _marks(incident, state, challengers)
    if not pipeline.model.target:
        return _score_figure(incident, frame, state, marks)
    seen = loop.observed(frame, state)
    if len(seen) == 0:
        return {"data": [], "reason": _("No row has both a prediction and a label yet.")}
    times = frame.plant_ms[seen.places]
    window = min(100, max(10, (state.policy.config.window if state.policy else 600) // 6))
    error = rolling_mean(np.abs(seen.residuals), window)
    first = max(0, int(np.searchsorted(times, milliseconds(incident.began_plant_at))) - CONTEXT_ROWS // 2)
    last = len(times)
    if incident.resolved_plant_at is not None:
        last = min(last, int(np.searchsorted(times, milliseconds(incident.resolved_plant_at))) + CONTEXT_ROWS // 2)
    first = max(first, min(window, last - 1))
    chosen = first + thin(last - first)
    x = iso(times[chosen])
    name = _("Typical error, last %(rows)s rows") % {"rows": window}
    traces = [plots.line(x, np.round(error[chosen], 4).tolist(), name, role="measured")]
    traces += _limit_line(x, pipeline.model.error_limit, _("Acceptable"))
    unit = pipeline.model.unit
    return plots.figure(
        traces,
        x_title=_("Plant time"),
        y_title=f"{_('Typical error')} ({unit})" if unit else _("Typical error"),
        x_type="date",
        height=320,
        **_mark_layout(marks),
    )


def _score_figure(
    incident: Incident, frame: Any, state: loop.LoopState, marks: list[tuple[int, str]]
) -> dict[str, Any]:
    """A detector has no label: its score against its threshold, the highest of each bucket so that no peak is lost."""
    scores = loop.live_predictions(frame, state)
    usable = np.flatnonzero(np.isfinite(scores))
    times, values = frame.plant_ms[usable], scores[usable]
    first = max(0, int(np.searchsorted(times, milliseconds(incident.began_plant_at))) - CONTEXT_ROWS // 2)
    last = len(times)
    if incident.resolved_plant_at is not None:
        last = min(last, int(np.searchsorted(times, milliseconds(incident.resolved_plant_at))) + CONTEXT_ROWS // 2)
    grouped = buckets(times[first:last], 1500)
    if grouped is None:
        return {"data": [], "reason": _("No row has a score yet.")}
    x = iso(grouped.plant_ms)
    traces = [plots.line(x, grouped.of(values[first:last])["high"], _("Highest score"), role="measured")]
    traces += _limit_line(x, state.watch.rule.threshold if state.watch else None, _("Unlike the healthy machine above"))
    return plots.figure(
        traces, x_title=_("Plant time"), y_title=_("Anomaly score"), x_type="date", height=320, **_mark_layout(marks)
    )
