"""A line in 100 x 24 units for an SVG, drawn without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

WIDTH, HEIGHT = 100.0, 24.0


def sparkline(values: Sequence[float | None], points: int = 60) -> str:
    """``d`` of an SVG path over the newest values; a gap where a value is missing. Empty text for fewer than two values.

    More than ``points`` values are thinned to the extremes of each bucket, so that a spike stays visible.
    """
    # Halved, so that the span of two huge values of opposite sign is still a number.
    found = [float(v) / 2 if v is not None and isfinite(v) else None for v in values]
    known = [v for v in found if v is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = high - low
    thinned = _thin(found, points)
    last = max(1, thinned[-1][0])
    parts, pen = [], "M"
    for at, value in thinned:
        if value is None:
            pen = "M"
            continue
        x = WIDTH * at / last
        y = HEIGHT / 2 if span == 0 else 2 + (HEIGHT - 4) * ((high - value) / span)
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(parts)


def _thin(values: list[float | None], points: int) -> list[tuple[int, float | None]]:
    if len(values) <= points:
        return list(enumerate(values))
    size = 2 * len(values) / points
    out: list[tuple[int, float | None]] = []
    begin = 0.0
    while round(begin) < len(values):
        stretch = range(round(begin), min(len(values), round(begin + size)))
        known = [(i, v) for i in stretch if (v := values[i]) is not None]
        if not known:
            out.append((stretch[0], None))
        else:
            ends = {min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])}
            out += sorted(ends)
        begin += size
    return out
