"""Second opinions on a ranking: TOPSIS and PROMETHEE II. Both depend on which alternatives are in the list."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usecases.domain.errors import InvalidInput
from usecases.domain.weights import normalised

Array = NDArray[np.float64]


def _checked(
    values: ArrayLike, weights: ArrayLike, benefit: ArrayLike | None
) -> tuple[Array, Array, NDArray[np.bool_]]:
    x = np.asarray(values, dtype=float)
    if x.ndim != 2 or 0 in x.shape:
        raise InvalidInput("no_alternatives", "There is nothing to rank.", field="values")
    if not np.isfinite(x).all():
        i, j = np.argwhere(~np.isfinite(x))[0]
        raise InvalidInput("value_missing", "This method needs a value in every cell.", field=f"values[{i},{j}]")
    w = normalised(weights)
    if w.size != x.shape[1]:
        raise InvalidInput("weights_missing", "Each criterion needs one weight.", field="weights")
    better_high = np.ones(w.size, dtype=bool) if benefit is None else np.asarray(benefit, dtype=bool)
    return x, w, better_high


def topsis(values: ArrayLike, weights: ArrayLike, benefit: ArrayLike | None = None) -> Array:
    """Closeness to the ideal, 0..1, shape (m,), of values (m, n); vector normalisation (Hwang & Yoon 1981).

    ``benefit`` (n,) is False where less is better; costs keep their scale (inverting them by 1/x ranks
    something else). Where all alternatives are alike the closeness is 0.5.
    """
    x, w, better_high = _checked(values, weights, benefit)
    # Criteria in rows: every reduction then runs along memory. Norm and weight enter with the sum of the squares.
    v = x.T.copy(order="C")
    length = np.vecdot(v, v)
    scale = np.divide(w * w, length, out=np.zeros_like(w), where=length > 0)
    high, low = v.max(axis=1), v.min(axis=1)
    apart = v - np.where(better_high, high, low)[:, None]
    total = np.sqrt(scale @ np.square(apart, out=apart))
    np.subtract(v, np.where(better_high, low, high)[:, None], out=apart)
    away = np.sqrt(scale @ np.square(apart, out=apart))
    total += away
    if total.all():
        return away / total
    return np.divide(away, total, out=np.full(len(x), 0.5), where=total > 0)


def promethee(
    values: ArrayLike,
    weights: ArrayLike,
    benefit: ArrayLike | None = None,
    *,
    indifference: ArrayLike | None = None,
    preference: ArrayLike | None = None,
) -> Array:
    """Net flow of PROMETHEE II, -1..1, shape (m,), in O(n m log m) instead of O(n m^2) (Brans & Vincke 1985).

    Without thresholds any difference is a full preference (the "usual" criterion). With ``indifference`` q and
    ``preference`` p per criterion (n,), q < p, preference grows linearly from q to p.
    """
    x, w, better_high = _checked(values, weights, benefit)
    m = x.shape[0]
    if m == 1:
        return np.zeros(1)
    x = np.where(better_high, x, -x)
    if indifference is None and preference is None:
        return _usual_flow(np.ascontiguousarray(x.T), w)
    flow = np.zeros(m)
    q = np.zeros(w.size) if indifference is None else np.broadcast_to(np.asarray(indifference, float), w.shape)
    if preference is None:
        raise InvalidInput("threshold_missing", "A preference threshold is needed as well.", field="preference")
    p = np.broadcast_to(np.asarray(preference, float), w.shape)
    if not (np.isfinite(q).all() and np.isfinite(p).all() and (q >= 0).all() and (p > q).all()):
        raise InvalidInput(
            "threshold_order", "The preference threshold must be above the indifference threshold.", field="preference"
        )
    for column, weight, low, high in zip(x.T, w, q, p, strict=True):
        flow += weight * (_preferred(column, column, low, high) - _preferred(-column, -column, low, high))
    return flow / (m - 1)


def _usual_flow(rows: Array, weights: Array) -> Array:
    """Net flow for rows (n, m): per criterion those beaten minus those beaten by, read off one sort."""
    m = rows.shape[1]
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    place = np.arange(m)
    starts = np.zeros(rows.shape, dtype=np.int64)
    ends = np.full(rows.shape, m - 1)
    changes = ordered[:, 1:] != ordered[:, :-1]
    starts[:, 1:] = np.where(changes, place[1:], 0)
    ends[:, :-1] = np.where(changes, place[:-1], m - 1)
    if not changes.all():
        # Equals share the first and the last place of their group.
        np.maximum.accumulate(starts, axis=1, out=starts)
        ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    net = (starts + ends - (m - 1)) * weights[:, None]
    return np.bincount(order.ravel(), weights=net.ravel(), minlength=m) / (m - 1)


def _preferred(column: Array, others: Array, low: float, high: float) -> Array:
    """For each value, the summed preference over all the others: prefix sums over the sorted column."""
    ordered = np.sort(others)
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    full = np.searchsorted(ordered, column - high, side="right")
    some = np.maximum(np.searchsorted(ordered, column - low, side="left"), full)
    partial = (column - low) * (some - full) - (summed[some] - summed[full])
    return full + partial / (high - low)


def agreement(first_places: Mapping[str, Set[int]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The largest group of methods that share a first place, and the others, in the order given.

    ``first_places`` maps each method to those it puts first (several where they are level). Of groups of one size the
    one with the earlier method counts.
    """
    methods = list(first_places)
    groups = [
        tuple(m for m in methods if index in first_places[m])
        for index in dict.fromkeys(i for m in methods for i in sorted(first_places[m]))
    ]
    together = max(groups, key=len, default=())
    return together, tuple(m for m in methods if m not in together)
