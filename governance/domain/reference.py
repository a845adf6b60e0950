"""What a window is compared with: a sorted reference, and a history that yields the reference of the same season.

A `Reference` is built once and asked many times: sorting, bin edges, bin shares and spread are done at build.
Terms and worked tables: docs/algorithms/drift.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governance.domain.distances import effect_size, wasserstein_sorted

BINS = 10
"""Number of quantile bins for PSI and Jensen-Shannon: the reference's deciles."""

YEAR = np.timedelta64(31_556_952, "s")
"""Mean length of a Gregorian year, 365.2425 days."""

MIN_BLOCKS = 4
"""Fewer blocks than this cannot tell how much a season differs from itself."""


@dataclass(frozen=True, slots=True)
class SortedColumn:
    """One feature of a sample, without its missing values.

    `values`: finite values, ascending, read-only. `missing`: rows that were NaN or infinite. `mean` and `std` are of
    the finite values (std with divisor n; NaN without values).
    """

    values: NDArray[np.float64]
    missing: int
    mean: float
    std: float

    @property
    def rows(self) -> int:
        return int(self.values.size)


@dataclass(frozen=True, slots=True)
class Reference:
    """A frozen reference sample of k features, sorted beforehand.

    `columns[j]` is feature `names[j]`; `edges[j]` its distinct upper bin edges (at most `BINS - 1`, bins are
    `(-inf, e0], (e0, e1], ..., (e_last, inf)`); `shares[j]` the share of reference rows per bin. A feature without a
    finite value has no edges and no shares.
    """

    names: tuple[str, ...]
    columns: tuple[SortedColumn, ...]
    edges: tuple[NDArray[np.float64], ...]
    shares: tuple[NDArray[np.float64], ...]

    @classmethod
    def from_rows(cls, rows: ArrayLike, names: tuple[str, ...] | list[str] | None = None) -> Reference:
        """Reference from an array of shape (rows, features), or (rows,) for one feature.

        Raises ValueError for more than two dimensions or a wrong number of names.
        """
        columns = sort_columns(rows)
        names = tuple(names) if names is not None else tuple(f"feature {j}" for j in range(len(columns)))
        if len(names) != len(columns):
            raise ValueError(f"{len(names)} names for {len(columns)} features")
        edges = tuple(_frozen(quantile_edges(column.values)) for column in columns)
        shares = tuple(_frozen(bin_shares(column.values, edge)) for column, edge in zip(columns, edges, strict=True))
        return cls(names, tuple(columns), edges, shares)

    @property
    def features(self) -> int:
        return len(self.columns)


def sort_columns(rows: ArrayLike) -> list[SortedColumn]:
    """Each feature of an array of shape (rows, features) or (rows,), sorted and without missing values."""
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise ValueError("expected an array of shape (rows, features)")
    total = table.shape[0]
    by_feature = np.array(table.T, dtype=np.float64, order="C")
    finite = np.isfinite(by_feature)
    complete = finite.all(axis=1)
    if not complete.all():
        by_feature[~finite] = np.nan
    counts = finite.sum(axis=1)
    by_feature.sort(axis=1)
    by_feature.flags.writeable = False
    columns = []
    for j, count in enumerate(counts.tolist()):
        values = by_feature[j, :count]
        mean, std = _mean_and_std(values)
        columns.append(SortedColumn(values, total - count, mean, std))
    return columns


def quantile_edges(values: NDArray[np.float64], bins: int = BINS) -> NDArray[np.float64]:
    """Distinct interior quantiles of sorted values: each is a value of the sample, so that bins hold equal shares.

    Edge i is the smallest value that at least a share i/bins of the rows does not exceed. Repeated quantiles fall
    together (fewer bins). A constant gets an edge on both sides of its value, so that leaving it either way counts.
    """
    size = values.size
    if size == 0:
        return np.empty(0)
    if values[0] == values[-1]:
        return np.array([np.nextafter(values[0], -np.inf), values[0]])
    places = -(-np.arange(1, bins) * size // bins) - 1
    return np.unique(values[places])


def bin_shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of sorted values in each of the bins `(-inf, e0], (e0, e1], ..., (e_last, inf)`; empty without values."""
    if values.size == 0:
        return np.empty(0)
    below = values.searchsorted(edges, "right")
    return np.diff(below, prepend=0, append=values.size) / values.size


@dataclass(frozen=True, slots=True)
class SeasonalReference:
    """The same season of earlier years, and how much it differs from itself.

    `natural`: shape (features,), greatest effect (Wasserstein-1 in standard deviations of the season) of one block of
    consecutive rows against the rest of the season; NaN where fewer than `MIN_BLOCKS` blocks exist. Weather and load
    change slowly, so that any few weeks differ from a whole season: a window is remarkable only beyond that.
    """

    reference: Reference
    natural: NDArray[np.float64]
    blocks: int


@dataclass(frozen=True, slots=True)
class SeasonalHistory:
    """Rows of the past with their plant time, from which the reference of a season is cut.

    `times`: shape (rows,), datetime64[s], ascending. `rows`: shape (rows, features). `half_width`: how far the season
    reaches beyond the window on either side. `min_rows`: fewer rows than this are no reference.
    """

    names: tuple[str, ...]
    times: NDArray[np.datetime64]
    rows: NDArray[np.float64]
    half_width: np.timedelta64
    min_rows: int

    @classmethod
    def from_rows(
        cls,
        times: ArrayLike,
        rows: ArrayLike,
        names: tuple[str, ...] | list[str] | None = None,
        *,
        half_width_days: float = 45.0,
        min_rows: int = 200,
    ) -> SeasonalHistory:
        """History of shape (rows, features); rows are brought into order of time. Raises ValueError on bad shapes."""
        stamps = np.asarray(times, dtype="datetime64[s]")
        table = np.asarray(rows, dtype=np.float64)
        if table.ndim == 1:
            table = table[:, None]
        if stamps.ndim != 1 or table.ndim != 2 or len(stamps) != len(table):
            raise ValueError("expected one time per row and an array of shape (rows, features)")
        if np.isnat(stamps).any():
            raise ValueError("every row needs a time")
        if half_width_days <= 0 or min_rows < 1:
            raise ValueError("the season needs a positive width and at least one row")
        if (stamps[1:] < stamps[:-1]).any():
            order = np.argsort(stamps, kind="stable")
            stamps, table = stamps[order], table[order]
        names = tuple(names) if names is not None else tuple(f"feature {j}" for j in range(table.shape[1]))
        if len(names) != table.shape[1]:
            raise ValueError(f"{len(names)} names for {table.shape[1]} features")
        half_width = np.timedelta64(round(half_width_days * 86_400), "s")
        return cls(names, stamps, table, half_width, min_rows)

    def season_slices(self, start: np.datetime64, end: np.datetime64) -> list[slice]:
        """Rows that lie in the season of the window [start, end] in an earlier year, oldest first, without overlap.

        For every whole number k >= 1 of years: rows from `start - k years - half_width` to
        `end - k years + half_width`, always before `start`. The turn of the year needs no special case.
        """
        start, end = start.astype("datetime64[s]"), end.astype("datetime64[s]")
        if end < start:
            raise ValueError("the window ends before it starts")
        if self.times.size == 0:
            return []
        last = int(self.times.searchsorted(start, "left"))
        years = max(0, int((start - self.times[0] + self.half_width) / YEAR) + 1)
        slices: list[slice] = []
        for k in range(years, 0, -1):
            low = int(self.times.searchsorted(start - k * YEAR - self.half_width, "left"))
            high = min(last, int(self.times.searchsorted(end - k * YEAR + self.half_width, "right")))
            low = max(low, slices[-1].stop) if slices else low
            if low < high:
                slices.append(slice(low, high))
        return slices

    def reference_for(
        self, start: np.datetime64, end: np.datetime64, *, block_rows: int | None = None
    ) -> SeasonalReference | None:
        """Reference of the same season in earlier years, or None when the history holds fewer than `min_rows`.

        `block_rows`: length of the window to be judged, to learn how much blocks of that length differ among
        themselves; without it `natural` is NaN.
        """
        slices = self.season_slices(start, end)
        if sum(part.stop - part.start for part in slices) < self.min_rows:
            return None
        reference = Reference.from_rows(np.concatenate([self.rows[part] for part in slices]), self.names)
        natural, blocks = np.full(reference.features, np.nan), 0
        if block_rows:
            natural, blocks = self._natural_effects(reference, slices, block_rows)
        return SeasonalReference(reference, natural, blocks)

    def whole_before(self, start: np.datetime64) -> Reference | None:
        """Reference of everything before the window, the fallback to look at when no season can be cut."""
        rows = self.rows[: self.times.searchsorted(start.astype("datetime64[s]"), "left")]
        return Reference.from_rows(rows, self.names) if len(rows) >= self.min_rows else None

    def _natural_effects(
        self, season: Reference, slices: list[slice], block_rows: int
    ) -> tuple[NDArray[np.float64], int]:
        """Greatest effect per feature of half-overlapping blocks against the rest of the season, and their number."""
        blocks = [
            slice(low, low + block_rows)
            for part in slices
            for low in range(part.start, part.stop - block_rows + 1, max(1, block_rows // 2))
        ]
        natural = np.full(season.features, np.nan)
        if len(blocks) < MIN_BLOCKS:
            return natural, len(blocks)
        places = np.concatenate([np.arange(part.start, part.stop) for part in slices])
        for block in blocks:
            rest = sort_columns(self.rows[places[(places < block.start) | (places >= block.stop)]])
            inside = sort_columns(self.rows[block])
            for j, (old, new) in enumerate(zip(rest, inside, strict=True)):
                spread = season.columns[j].std
                if old.rows and new.rows and spread > 0.0:
                    distance = wasserstein_sorted(old.values, new.values)
                    natural[j] = np.fmax(natural[j], effect_size(distance, std=spread))
        return natural, len(blocks)


def _mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    if values.size == 0:
        return float("nan"), float("nan")
    if values[0] == values[-1]:
        return float(values[0]), 0.0
    mean = float(values.mean())
    return mean, float(np.sqrt(np.square(values - mean).mean()))


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False
    return array
