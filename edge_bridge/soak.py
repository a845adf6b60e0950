"""A canary against the version in force, on the same rows: is it at most so much worse? Two gateways that read one PLC see the same rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from edge_bridge.desired import ConfigProblem, manifest_of
from governance.frame import Frame, frame_of
from governance.models import ModelVersion, Pipeline

# A detector's canary may raise this much more alarms than the version in force before it counts as worse.
ALARM_SLACK = 0.1


@dataclass(frozen=True)
class Comparison:
    """``rows`` were computed by both versions (and measured, where there is a label); ``ok`` is None while they are too few.

    With labels ``new`` and ``old`` are mean absolute errors in ``unit``; else the shares of rows above each version's own threshold.
    ``correlation``: rank correlation of the two outputs, None where one of them is constant. ``rows_seen``: rows both computed.
    """

    measure: str
    rows: int
    rows_seen: int
    needed: int
    new: float | None
    old: float | None
    limit: float | None
    unit: str
    correlation: float | None
    ok: bool | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    new: Any,
    old: Any,
    label: Any | None,
    *,
    needed: int,
    ratio: float,
    unit: str = "",
    thresholds: tuple[float | None, float | None] = (None, None),
) -> Comparison:
    """``new``, ``old``, ``label``: float arrays of one length, NaN where there is none; ``label`` None for a detector.

    With labels: ok when MAE(new) <= ratio * MAE(old). Without: ok when the canary's share of alarms is at most ratio * the old one's
    share + ALARM_SLACK. Fewer than ``needed`` rows: no verdict yet.
    """
    both = np.isfinite(new) & np.isfinite(old)
    seen = int(both.sum())
    if label is not None:
        both = both & np.isfinite(label)
    rows = int(both.sum())
    measure = "mean error" if label is not None else "share of alarms"
    if rows < needed:
        what = "rows with a label" if label is not None else "rows"
        text = f"{rows} of {needed} {what} that both versions computed"
        return Comparison(measure, rows, seen, needed, None, None, None, unit, None, None, text)
    a, b = new[both], old[both]
    correlation = None
    if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
        from scipy.stats import spearmanr  # 30 MB that a process which serves pages does without

        found = float(spearmanr(a, b).statistic)
        correlation = found if np.isfinite(found) else None
    if label is not None:
        e_new, e_old = float(np.mean(np.abs(a - label[both]))), float(np.mean(np.abs(b - label[both])))
        limit = ratio * e_old
        text = f"Typically off by {e_new:.3g} {unit}; the version in force by {e_old:.3g}, limit {limit:.3g}"
    else:
        high_new, high_old = thresholds
        e_new = float(np.mean(a > high_new)) if high_new is not None else 0.0
        e_old = float(np.mean(b > high_old)) if high_old is not None else 0.0
        limit = ratio * e_old + ALARM_SLACK
        text = f"{e_new:.0%} of {rows} rows above its threshold; the version in force {e_old:.0%}, limit {limit:.0%}"
    return Comparison(measure, rows, seen, needed, e_new, e_old, limit, unit, correlation, e_new <= limit, text)


def soak(
    pipeline: Pipeline,
    *,
    new: ModelVersion,
    old: ModelVersion,
    since: datetime | None,
    needed: int,
    ratio: float,
    frame: Frame | None = None,
) -> Comparison:
    """The comparison of a pipeline's rows from plant time ``since`` on (when the canary began to predict)."""
    frame = frame or frame_of(pipeline)
    labelled = bool(pipeline.model.target)
    if since is None:
        here = np.zeros(frame.n, dtype=bool)
    else:
        here = frame.plant_ms[: frame.n] >= since.timestamp() * 1000 - 0.5
    return compare(
        frame.prediction_of(str(new.pk))[here],
        frame.prediction_of(str(old.pk))[here],
        frame.label[: frame.n][here] if labelled else None,
        needed=needed,
        ratio=ratio,
        unit=pipeline.model.unit if labelled else "",
        thresholds=(None, None) if labelled else (_threshold(new), _threshold(old)),
    )


def _threshold(version: ModelVersion) -> float | None:
    try:
        return manifest_of(version).threshold
    except ConfigProblem:
        return None
