"""Plotly figures as plain dicts (the plotly package is slow to import and is not needed to draw in the browser)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def figure(
    traces: Sequence[dict[str, Any]],
    *,
    x_title: str = "",
    y_title: str = "",
    x_type: str | None = None,
    shapes: Sequence[dict[str, Any]] = (),
    height: int = 280,
    **layout: Any,
) -> dict[str, Any]:
    """A figure in the portal's style; static/js/charts.js adds the theme's colours."""
    return {
        "data": list(traces),
        "layout": {
            "height": height,
            "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
            "xaxis": {"title": {"text": x_title}, **({"type": x_type} if x_type else {})},
            "yaxis": {"title": {"text": y_title}},
            "shapes": list(shapes),
            "showlegend": len(traces) > 1,
            "legend": {"orientation": "h", "y": 1.12},
            "hovermode": "x unified",
            **layout,
        },
    }


def line(
    x: Sequence[Any], y: Sequence[Any], name: str, *, role: str = "primary", dash: str | None = None, **extra: Any
) -> dict[str, Any]:
    """One line; ``role`` picks the colour that means the same thing across the portal."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"width": 1.6, **({"dash": dash} if dash else {})},
        "meta": {"role": role},
        **extra,
    }
