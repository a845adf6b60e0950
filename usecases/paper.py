"""Charts for paper: plain SVG that needs no script, from the same numbers the page draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH, HEIGHT = 680, 240
LEFT, RIGHT, TOP, BOTTOM = 78, 12, 12, 34


@dataclass
class Drawing:
    """Positions in the SVG's own units; the template draws them and writes the labels."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    band: str = ""
    path: str = ""
    bars: list[dict[str, float]] = field(default_factory=list)
    x_ticks: list[dict[str, Any]] = field(default_factory=list)
    y_ticks: list[dict[str, Any]] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    zero: float | None = None


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about as many as asked for."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axes:
    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        pad = 0.04 * (y[1] - y[0]) or 1.0
        self.x0, self.x1 = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self.y0, self.y1 = y[0] - pad, y[1] + pad

    def x(self, value: float) -> float:
        return round(LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM), 1)

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in zip(xs, ys, strict=True))

    def y_ticks(self) -> list[dict[str, Any]]:
        return [{"at": self.y(v), "text": f"{v:,.0f}"} for v in nice_ticks(self.y0, self.y1)]


def cash(result: dict[str, Any]) -> Drawing:
    """Cumulative cash: the likely case as a line in the band of bad to good."""
    low, high, likely = result["band_low"], result["band_high"], result["cumulative"]
    quarters = list(range(len(likely)))
    axes = _Axes((0, len(likely) - 1), (min(0, *low, *likely), max(0, *high, *likely)))
    step = max(1, math.ceil(len(quarters) / 14))
    return Drawing(
        band=axes.points(quarters + quarters[::-1], [*high, *low[::-1]]),
        path=axes.points(quarters, likely),
        x_ticks=[{"at": axes.x(q), "text": str(q)} for q in quarters[::step]],
        y_ticks=axes.y_ticks(),
        zero=axes.y(0),
    )


def spread(result: dict[str, Any], words: dict[str, str]) -> Drawing:
    """The histogram of the drawn NPVs; ``words`` name the marks p10, p50 and p90."""
    edges, counts = result["histogram"]["edges"], result["histogram"]["counts"]
    axes = _Axes((edges[0], edges[-1]), (0, max(counts)))
    bars = [
        {
            "x": axes.x(a),
            "y": axes.y(n),
            "width": max(0.4, round(axes.x(b) - axes.x(a) - 0.6, 1)),
            "height": round(axes.y(0) - axes.y(n), 1),
        }
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return Drawing(
        bars=bars,
        x_ticks=[{"at": axes.x(v), "text": f"{v:,.0f}"} for v in nice_ticks(axes.x0, axes.x1)],
        y_ticks=axes.y_ticks(),
        marks=[{"at": axes.x(result[key]), "text": word} for key, word in words.items()],
        zero=axes.y(0),
    )


def curve(result: dict[str, Any]) -> Drawing | None:
    """NPV over the yearly rate in per cent."""
    found = result.get("curve")
    if not found:
        return None
    percent = [100 * rate for rate in found["rates"]]
    axes = _Axes((percent[0], percent[-1]), (min(0, *found["npv"]), max(0, *found["npv"])))
    return Drawing(
        path=axes.points(percent, found["npv"]),
        x_ticks=[{"at": axes.x(v), "text": f"{v:.0f} %"} for v in nice_ticks(axes.x0, axes.x1, 8)],
        y_ticks=axes.y_ticks(),
        zero=axes.y(0),
    )
