"""What every batch of rows is checked for: schema, range, staleness. Pure functions over arrays; tables in docs/algorithms/checks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Finding:
    """``failed``: rows that break the rule, of ``rows``. ``text`` says the worst of it; ``detail`` per column."""

    rows: int
    failed: int
    text: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def passed(self, tolerated_share: float) -> bool:
        return self.failed <= tolerated_share * self.rows


def schema_finding(columns: Mapping[str, Floats], expected: Sequence[str]) -> Finding:
    """Every expected column is there and every value is a finite number. Shape of each column: (rows,)."""
    rows = len(next(iter(columns.values()))) if columns else 0
    missing = [name for name in expected if name not in columns]
    if missing:
        return Finding(max(rows, 1), max(rows, 1), f"Missing: {', '.join(missing)}.", {"missing": missing})
    empty = {name: int((~np.isfinite(columns[name])).sum()) for name in expected}
    bad = np.zeros(rows, dtype=bool)
    for name in expected:
        bad |= ~np.isfinite(columns[name])
    failed = int(bad.sum())
    text = (
        ""
        if not failed
        else f"{failed} of {rows} rows have an empty value (most: {max(empty, key=lambda n: empty[n])})."
    )
    return Finding(rows, failed, text, {"empty": {k: v for k, v in empty.items() if v}})


def range_finding(columns: Mapping[str, Floats], limits: Mapping[str, tuple[float | None, float | None]]) -> Finding:
    """Every finite value lies within its channel's plausible range; None is an open side. Empty values are the schema's business."""
    rows = len(next(iter(columns.values()))) if columns else 0
    bad = np.zeros(rows, dtype=bool)
    detail: dict[str, Any] = {}
    worst, worst_count = "", 0
    for name, (low, high) in limits.items():
        values = columns.get(name)
        if values is None:
            continue
        finite = np.isfinite(values)
        outside = finite & (
            (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
        )
        count = int(outside.sum())
        if count:
            at = int(np.flatnonzero(outside)[0])
            detail[name] = {"rows": count, "first": float(values[at]), "low": low, "high": high}
            if count > worst_count:
                worst, worst_count = (
                    f"{name} = {float(values[at]):.4g} is outside {low:g} to {high:g}"
                    if low is not None and high is not None
                    else f"{name} = {float(values[at]):.4g} is out of range",
                    count,
                )
        bad |= outside
    failed = int(bad.sum())
    return Finding(rows, failed, f"{failed} of {rows} rows out of range: {worst}." if failed else "", detail)


def staleness_finding(
    plant_ms: NDArray[np.int64],
    previous_ms: int | None,
    period_s: float,
    *,
    tolerance: float = 1.5,
    allowed_gap_s: float | None = None,
) -> Finding:
    """Rows follow each other forwards, no further apart than ``tolerance`` periods (or ``allowed_gap_s``). All in plant time.

    ``previous_ms``: the last row before these, None at the very start. A row that goes back or repeats a time fails, and so does a row after a gap.
    """
    rows = len(plant_ms)
    if rows == 0:
        return Finding(0, 0)
    times = plant_ms.astype(np.int64)
    if previous_ms is not None:
        times = np.concatenate(([previous_ms], times))
    steps = np.diff(times)
    limit = (allowed_gap_s if allowed_gap_s is not None else tolerance * period_s) * 1000
    back, gap = steps < 0, steps > limit
    twice = steps == 0
    failed = int((back | gap | twice).sum())
    parts = []
    if back.any():
        parts.append(f"time went back {-steps[back].min() / 1000:.0f} s")
    if twice.any():
        parts.append(f"{int(twice.sum())} time stamps twice")
    if gap.any():
        parts.append(f"a gap of {steps[gap].max() / 1000:.0f} s (one row every {period_s:g} s is due)")
    return Finding(
        rows,
        failed,
        ("; ".join(parts) + ".").capitalize() if parts else "",
        {
            "back": int(back.sum()),
            "twice": int(twice.sum()),
            "gaps": int(gap.sum()),
            "largest_gap_s": float(steps.max() / 1000) if len(steps) else 0.0,
        },
    )
