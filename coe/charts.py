"""Figures of the pages, as plain dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from coe.models import RoiReview
from coe.periods import quarter_name
from portal.core.plots import figure


def planned_and_measured(reviews: Sequence[RoiReview]) -> dict[str, Any] | None:
    """Planned value and measured value with its interval over the quarters; None when neither has a figure."""
    rows = sorted(reviews, key=lambda r: r.quarter)
    if not any(r.planned is not None or r.measured is not None for r in rows):
        return None
    names = [quarter_name(r.quarter) for r in rows]
    measured = [r for r in rows if r.measured is not None]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": _("planned (assumption)"),
            "x": names,
            "y": [_number(r.planned) for r in rows],
            "line": {"width": 1.6, "dash": "dash", "shape": "hvh"},
            "marker": {"size": 5},
            "meta": {"role": "reference"},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": _("measured, with interval"),
            "x": [quarter_name(r.quarter) for r in measured],
            "y": [_number(r.measured) for r in measured],
            "marker": {"size": 9},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [_gap(r.measured_high, r.measured) for r in measured],
                "arrayminus": [_gap(r.measured, r.measured_low) for r in measured],
                "thickness": 1.6,
                "width": 5,
            },
            "meta": {"role": "measured"},
        },
    ]
    currency = rows[-1].currency
    return figure(
        traces,
        x_title=_("Quarter (plant time)"),
        y_title=_("Value per quarter (%(currency)s)") % {"currency": currency},
        xaxis={
            "title": {"text": _("Quarter (plant time)")},
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
        },
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _gap(high: Any, low: Any) -> float:
    return 0.0 if high is None or low is None else float(high - low)
