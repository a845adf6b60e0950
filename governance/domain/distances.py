"""Distances of two samples or of two share vectors. Terms and worked tables: docs/algorithms/drift.md."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def wasserstein_sorted(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of two sorted, finite, non-empty samples, in their unit: area between the quantiles."""
    m, n = reference.size, current.size
    if m == n:
        return float(np.abs(reference - current).mean())
    old, new, width = _quantile_steps(m, n)
    return float(np.abs(reference[old] - current[new]) @ width)


@lru_cache(maxsize=4)
def _quantile_steps(m: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows of both samples and width of each step on which both quantile functions are constant (m + n - gcd steps)."""
    ends = np.union1d(np.arange(1, m + 1, dtype=np.int64) * n, np.arange(1, n + 1, dtype=np.int64) * m)
    starts = np.concatenate(([0], ends[:-1]))
    return starts // n, starts // m, (ends - starts) / (m * n)


def population_stability(
    reference: NDArray[np.float64], current: NDArray[np.float64], reference_rows: int, current_rows: int
) -> float:
    """PSI of two share vectors over the same bins: sum of (q - p) ln(q / p). An empty bin counts as half a row."""
    p = np.maximum(reference, 0.5 / reference_rows)
    q = np.maximum(current, 0.5 / current_rows)
    return float(np.sum((q - p) * np.log(q / p)))


def psi_without_drift(bins: int, reference_rows: int, current_rows: int) -> float:
    """Mean PSI of two samples of one distribution, about (bins - 1)(1/m + 1/n): below it PSI says nothing."""
    return (bins - 1) * (1.0 / reference_rows + 1.0 / current_rows)


def jensen_shannon(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Jensen-Shannon distance (square root of the divergence, base 2) of two share vectors over the same bins."""
    middle = (reference + current) / 2.0
    divergence = 0.0
    for shares in (reference, current):
        held = shares > 0.0
        divergence += float(np.sum(shares[held] * np.log2(shares[held] / middle[held]))) / 2.0
    return math.sqrt(min(1.0, max(0.0, divergence)))


def effect_size(
    distance: float,
    *,
    std: float,
    mean: float = math.nan,
    current_std: float = math.nan,
    current_mean: float = math.nan,
) -> float:
    """Wasserstein-1 distance in standard deviations of the reference.

    A constant reference (`std` 0) has no spread of its own: then the spread of both samples laid together in equal
    parts is the yardstick (2 for two different constants, 0 for two equal ones), so the size stays finite.
    """
    if distance == 0.0:
        return 0.0
    if std == 0.0:
        std = math.sqrt(current_std**2 / 2.0 + (current_mean - mean) ** 2 / 4.0)
    return distance / std
