"""Drift of features and labels: four statistics against a sorted reference, and the verdict drawn from them.

An alarm needs significance (Kolmogorov-Smirnov above its critical value) and size (Wasserstein distance in standard
deviations of the reference above a limit); for plants with seasons the reference is the same season of earlier years.
Terms and worked tables: docs/algorithms/drift.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from governance.domain.distances import effect_size, jensen_shannon, population_stability, wasserstein_sorted
from governance.domain.ks import ks_critical, ks_exceeds, ks_p_value, ks_sorted
from governance.domain.reference import Reference, SeasonalHistory, SortedColumn, bin_shares, sort_columns


@dataclass(frozen=True, slots=True)
class DriftStatistics:
    """Statistics of one window against a reference; every array has shape (features,), NaN where undefined.

    `ks`: D, 0 to 1. `wasserstein`: Wasserstein-1 distance in the feature's unit. `psi`: population stability index,
    natural logarithm. `js`: Jensen-Shannon distance, base 2, 0 to 1. `effect`: Wasserstein-1 in standard deviations
    of the reference. `mean_shift`: mean of the window minus mean of the reference, in the feature's unit.
    `rows`, `reference_rows`: finite values; `missing`, `reference_missing`: share of NaN or infinite values.
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    reference_rows: NDArray[np.int64]
    missing: NDArray[np.float64]
    reference_missing: NDArray[np.float64]
    ks: NDArray[np.float64]
    wasserstein: NDArray[np.float64]
    psi: NDArray[np.float64]
    js: NDArray[np.float64]
    effect: NDArray[np.float64]
    mean_shift: NDArray[np.float64]

    def p_values(self) -> NDArray[np.float64]:
        """Two-sided KS p-values, shape (features,); costs far more than the statistics, so only when asked for."""
        return np.array(
            [
                ks_p_value(d, m, n) if m and n else math.nan
                for d, m, n in zip(self.ks.tolist(), self.reference_rows.tolist(), self.rows.tolist(), strict=True)
            ]
        )

    def critical_values(self, alpha: float) -> NDArray[np.float64]:
        """Critical KS value per feature at level `alpha`, shape (features,)."""
        return np.array(
            [
                ks_critical(alpha, m, n) if m and n else math.nan
                for m, n in zip(self.reference_rows.tolist(), self.rows.tolist(), strict=True)
            ]
        )


def drift_statistics(reference: Reference, rows: ArrayLike) -> DriftStatistics:
    """All four statistics of a window of shape (rows, features) against the reference.

    Raises ValueError when the number of features differs. NaN and infinite values are left out and counted.
    """
    columns = sort_columns(rows)
    if len(columns) != reference.features:
        raise ValueError(f"the window has {len(columns)} features, the reference {reference.features}")
    shape = len(columns)
    ks, distance, psi, js, effect, shift = (np.full(shape, np.nan) for _ in range(6))
    for j, (old, new) in enumerate(zip(reference.columns, columns, strict=True)):
        if old.rows == 0 or new.rows == 0:
            continue
        ks[j] = ks_sorted(old.values, new.values) / (old.rows * new.rows)
        distance[j] = wasserstein_sorted(old.values, new.values)
        shares = bin_shares(new.values, reference.edges[j])
        psi[j] = population_stability(reference.shares[j], shares, old.rows, new.rows)
        js[j] = jensen_shannon(reference.shares[j], shares)
        effect[j] = effect_size(distance[j], std=old.std, mean=old.mean, current_std=new.std, current_mean=new.mean)
        shift[j] = new.mean - old.mean
    return DriftStatistics(
        names=reference.names,
        rows=np.array([column.rows for column in columns], dtype=np.int64),
        reference_rows=np.array([column.rows for column in reference.columns], dtype=np.int64),
        missing=np.array([_missing_share(column) for column in columns]),
        reference_missing=np.array([_missing_share(column) for column in reference.columns]),
        ks=ks,
        wasserstein=distance,
        psi=psi,
        js=js,
        effect=effect,
        mean_shift=shift,
    )


class DriftState(StrEnum):
    """What is known about one feature or about the window as a whole."""

    STABLE = "stable"
    DRIFTED = "drifted"
    NOT_MEASURED = "not measured"


class Season(StrEnum):
    """What the window was compared with."""

    SAME_SEASON = "same season"
    MISSING = "no season in the reference"
    NOT_USED = "not used"


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """When a difference is an alarm.

    `alpha`: family-wise significance level over the features (Bonferroni: alpha / measured features each).
    `effect`: least Wasserstein-1 distance in standard deviations of the reference; a season whose own blocks differ
    by more raises it to their greatest difference. `missing`: greatest rise of the
    share of missing values. `share`: share of measured features that must drift for the window to count as drifted.
    `min_rows`: least finite values in either sample.
    """

    alpha: float = 0.05
    effect: float = 0.7
    missing: float = 0.1
    share: float = 0.3
    min_rows: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise ValueError("alpha is a probability above 0 and below 1")
        if self.effect < 0.0 or not 0.0 <= self.missing <= 1.0 or not 0.0 < self.share <= 1.0 or self.min_rows < 1:
            raise ValueError("drift limits: effect >= 0, missing in 0..1, share above 0 up to 1, min_rows >= 1")


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """Verdict on one feature. `reason` says in words what decided; `significant` is None where nothing was tested."""

    name: str
    state: DriftState
    reason: str
    significant: bool | None
    ks: float
    critical: float
    effect: float
    effect_limit: float
    wasserstein: float
    psi: float
    js: float
    mean_shift: float
    missing: float
    rows: int


@dataclass(frozen=True, slots=True)
class WindowDrift:
    """Verdict on one window: per feature, and over all measured features."""

    state: DriftState
    season: Season
    features: tuple[FeatureDrift, ...]
    measured: int
    drifted: int
    share: float
    limits: DriftLimits

    def worst(self) -> FeatureDrift | None:
        """Measured feature with the greatest effect, if any was measured."""
        measured = [feature for feature in self.features if not math.isnan(feature.effect)]
        return max(measured, key=lambda feature: feature.effect, default=None)


def judge(
    statistics: DriftStatistics,
    limits: DriftLimits | None = None,
    *,
    season: Season = Season.NOT_USED,
    natural: NDArray[np.float64] | None = None,
) -> WindowDrift:
    """Verdict on a window from its statistics.

    `natural`: shape (features,), greatest effect that blocks of the reference show among themselves, NaN where
    unknown; a window must exceed it as well as `limits.effect`.
    With `Season.MISSING` the figures stay visible and every verdict is "not measured": a difference from another
    season is no drift.
    """
    limits = limits or DriftLimits()
    enough = (statistics.rows >= limits.min_rows) & (statistics.reference_rows >= limits.min_rows)
    tested = int(enough.sum())
    critical = statistics.critical_values(limits.alpha / max(1, tested))
    significant = ks_exceeds(statistics.ks, critical)
    effect_limits = np.full(statistics.effect.shape, limits.effect)
    if natural is not None:
        effect_limits = np.fmax(effect_limits, natural)
    large = statistics.effect > effect_limits
    emptier = statistics.missing - statistics.reference_missing > limits.missing
    features = []
    for j, name in enumerate(statistics.names):
        state, reason = _verdict(
            season=season,
            enough=bool(enough[j]),
            rows=int(min(statistics.rows[j], statistics.reference_rows[j])),
            significant=bool(significant[j]),
            large=bool(large[j]),
            emptier=bool(emptier[j]),
            limits=limits,
        )
        features.append(
            FeatureDrift(
                name=name,
                state=state,
                reason=reason,
                significant=bool(significant[j]) if enough[j] else None,
                ks=float(statistics.ks[j]),
                critical=float(critical[j]),
                effect=float(statistics.effect[j]),
                effect_limit=float(effect_limits[j]),
                wasserstein=float(statistics.wasserstein[j]),
                psi=float(statistics.psi[j]),
                js=float(statistics.js[j]),
                mean_shift=float(statistics.mean_shift[j]),
                missing=float(statistics.missing[j]),
                rows=int(statistics.rows[j]),
            )
        )
    measured = sum(feature.state is not DriftState.NOT_MEASURED for feature in features)
    drifted = sum(feature.state is DriftState.DRIFTED for feature in features)
    share = drifted / measured if measured else math.nan
    if not measured:
        state = DriftState.NOT_MEASURED
    else:
        state = DriftState.DRIFTED if share >= limits.share else DriftState.STABLE
    return WindowDrift(state, season, tuple(features), measured, drifted, share, limits)


def feature_drift(reference: Reference, rows: ArrayLike, limits: DriftLimits | None = None) -> WindowDrift:
    """Verdict on a window of shape (rows, features) against one fixed reference, for plants without seasons."""
    return judge(drift_statistics(reference, rows), limits)


def seasonal_drift(
    history: SeasonalHistory,
    rows: ArrayLike,
    start: np.datetime64,
    end: np.datetime64,
    limits: DriftLimits | None = None,
) -> WindowDrift | None:
    """Verdict on the window [start, end] (plant time) against the same season of earlier years.

    Without rows of that season the figures are against all of the past and the verdict is "not measured"; None when
    there is no past at all.
    """
    table = np.asarray(rows, dtype=np.float64)
    found = history.reference_for(start, end, block_rows=len(table))
    if found is not None:
        statistics = drift_statistics(found.reference, table)
        return judge(statistics, limits, season=Season.SAME_SEASON, natural=found.natural)
    whole = history.whole_before(start)
    return None if whole is None else judge(drift_statistics(whole, table), limits, season=Season.MISSING)


@dataclass(frozen=True, slots=True)
class CategoryDrift:
    """Drift of class labels: shares over `categories` (union of both samples, sorted)."""

    categories: tuple[str, ...]
    reference_shares: NDArray[np.float64]
    shares: NDArray[np.float64]
    psi: float
    js: float
    chi_square: float
    critical: float
    greatest_change: float
    state: DriftState
    reason: str


def category_drift(
    reference: Sequence[str], labels: Sequence[str], *, alpha: float = 0.05, change: float = 0.1, min_rows: int = 100
) -> CategoryDrift:
    """Label drift of classes: chi-square of homogeneity above its critical value, and one share moved by `change`.

    Labels of numbers (NOx in mg/m3) are one more feature: use `feature_drift` or `seasonal_drift` on one column.
    """
    names = tuple(sorted(set(reference) | set(labels)))
    place = {name: i for i, name in enumerate(names)}
    old, new = (
        np.bincount([place[label] for label in side], minlength=len(names)).astype(float)
        for side in (reference, labels)
    )
    m, n = old.sum(), new.sum()
    if min(m, n) < min_rows:
        empty = np.full(len(names), np.nan)
        p, q = (old / m if m else empty), (new / n if n else empty)
        nan = math.nan
        reason = f"{int(min(m, n))} labels, {min_rows} needed"
        return CategoryDrift(names, p, q, nan, nan, nan, nan, nan, DriftState.NOT_MEASURED, reason)
    p, q = old / m, new / n
    expected = (old + new) / (m + n)
    statistic = float(np.sum((old - m * expected) ** 2 / (m * expected) + (new - n * expected) ** 2 / (n * expected)))
    critical = float(special.chdtri(len(names) - 1, alpha)) if len(names) > 1 else math.inf
    moved = float(np.abs(q - p).max())
    drifted = statistic >= critical and moved >= change
    if drifted:
        reason = "significant and a share moved by at least the limit"
    else:
        reason = "significant but small" if statistic >= critical else "not significant"
    return CategoryDrift(
        names,
        p,
        q,
        population_stability(p, q, int(m), int(n)),
        jensen_shannon(p, q),
        statistic,
        critical,
        moved,
        DriftState.DRIFTED if drifted else DriftState.STABLE,
        reason,
    )


def _missing_share(column: SortedColumn) -> float:
    total = column.rows + column.missing
    return column.missing / total if total else math.nan


def _verdict(
    *, season: Season, enough: bool, rows: int, significant: bool, large: bool, emptier: bool, limits: DriftLimits
) -> tuple[DriftState, str]:
    if emptier:
        return DriftState.DRIFTED, "missing values rose above the limit"
    if not enough:
        return DriftState.NOT_MEASURED, f"{rows} values, {limits.min_rows} needed"
    if season is Season.MISSING:
        return DriftState.NOT_MEASURED, "no rows of this season in the reference"
    if significant and large:
        return DriftState.DRIFTED, "significant and large"
    if significant:
        return DriftState.STABLE, "significant but small"
    return DriftState.STABLE, "large but not significant" if large else "not significant"
