"""The score of a use case: a weighted sum of values on fixed anchors, and the ranking that follows.

Because a value depends on the use case alone and on the frozen anchors, an added or dropped idea never moves
another idea's score. See docs/algorithms/scoring.md for the terms and a worked table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usecases.domain.errors import InvalidInput
from usecases.domain.weights import normalised

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Scores closer than this share a rank: it is far below what a rater can mean and far above rounding noise.
TIE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class SubCriterion:
    """A leaf of the tree. ``weight`` is relative to its sisters; ``x0`` earns the value 0 and ``x1`` the value 1.

    Where less is better x1 is below x0. Both are frozen with the version of the criteria.
    """

    key: str
    weight: float
    x0: float = 0.0
    x1: float = 5.0


@dataclass(frozen=True, slots=True)
class TopCriterion:
    """Measurable ROI, operational feasibility, data maturity: what the weight sliders move."""

    key: str
    weight: float
    children: tuple[SubCriterion, ...]


@dataclass(frozen=True)
class CriteriaTree:
    """Top criteria with their sub-criteria, in a fixed order. Weights are relative and normalised at each level.

    Raises InvalidInput on a key used twice, a top criterion without children, equal anchors or bad weights.
    """

    criteria: tuple[TopCriterion, ...]
    keys: tuple[str, ...] = field(init=False)
    top_keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.criteria:
            raise InvalidInput("criteria_missing", "At least one criterion is needed.", field="criteria")
        top_keys = tuple(c.key for c in self.criteria)
        keys = tuple(s.key for c in self.criteria for s in c.children)
        for name in (top_keys, keys):
            if len(set(name)) != len(name):
                twice = next(k for k in name if name.count(k) > 1)
                raise InvalidInput("criterion_twice", f"{twice!r} is used twice.", field=twice)
        normalised([c.weight for c in self.criteria], field="criteria")
        for criterion in self.criteria:
            if not criterion.children:
                raise InvalidInput("criterion_empty", "A criterion needs a sub-criterion.", field=criterion.key)
            normalised([s.weight for s in criterion.children], field=criterion.key)
            for sub in criterion.children:
                if not np.isfinite([sub.x0, sub.x1]).all() or sub.x0 == sub.x1:
                    raise InvalidInput("anchors_equal", "The two anchors must be different numbers.", field=sub.key)
        object.__setattr__(self, "top_keys", top_keys)
        object.__setattr__(self, "keys", keys)

    @cached_property
    def top_weights(self) -> Array:
        """Normalised weights of the top criteria, shape (t,)."""
        return normalised([c.weight for c in self.criteria])

    @cached_property
    def parent(self) -> Ints:
        """Index of each leaf's top criterion, shape (n,)."""
        return np.repeat(np.arange(len(self.criteria)), [len(c.children) for c in self.criteria])

    @cached_property
    def within(self) -> Array:
        """Weight of each leaf among its sisters, shape (n,); sums to one under each top criterion."""
        return np.concatenate([normalised([s.weight for s in c.children]) for c in self.criteria])

    @cached_property
    def leaf_weights(self) -> Array:
        """Weight of each leaf in the whole, shape (n,), summing to one."""
        return self.top_weights[self.parent] * self.within

    @cached_property
    def top_of_leaf(self) -> Array:
        """Matrix (n, t) that turns leaf values into values under each top criterion."""
        matrix = np.zeros((len(self.keys), len(self.criteria)))
        matrix[np.arange(len(self.keys)), self.parent] = self.within
        return matrix

    @cached_property
    def x0(self) -> Array:
        return np.array([s.x0 for c in self.criteria for s in c.children], dtype=float)

    @cached_property
    def x1(self) -> Array:
        return np.array([s.x1 for c in self.criteria for s in c.children], dtype=float)

    def weighted(self, top_weights: Sequence[float], within: Sequence[float] | None = None) -> CriteriaTree:
        """The same tree with other weights: what a moved slider asks for. ``within`` holds one weight per leaf."""
        if len(top_weights) != len(self.criteria) or (within is not None and len(within) != len(self.keys)):
            raise InvalidInput("weights_missing", "Each criterion needs one weight.", field="weights")
        leaves = iter(self.within if within is None else within)
        return CriteriaTree(
            tuple(
                TopCriterion(
                    c.key, float(w), tuple(SubCriterion(s.key, float(next(leaves)), s.x0, s.x1) for s in c.children)
                )
                for c, w in zip(self.criteria, normalised(top_weights), strict=True)
            )
        )


def anchored_values(ratings: ArrayLike, x0: ArrayLike, x1: ArrayLike) -> Array:
    """v(x) = clip((x - x0)/(x1 - x0), 0, 1), shape kept; a missing rating (NaN) stays missing."""
    x = np.asarray(ratings, dtype=float)
    low, high = np.asarray(x0, dtype=float), np.asarray(x1, dtype=float)
    if not (np.isfinite(low).all() and np.isfinite(high).all()) or (low == high).any():
        raise InvalidInput("anchors_equal", "The two anchors must be different numbers.", field="anchors")
    if np.isinf(x).any():
        raise InvalidInput("value_not_a_number", "A rating must be a finite number.", field="ratings")
    return np.clip((x - low) / (high - low), 0.0, 1.0)


def top_values(tree: CriteriaTree, values: ArrayLike) -> Array:
    """Value under each top criterion, shape (m, t), of leaf values (m, n). A gap counts as the middle, 0.5.

    The middle is what a value drawn evenly between worst and best is on average, so the score and the simulation in
    `usecases.domain.robustness` speak about the same thing, and a gap never depends on the other use cases.
    """
    v = np.asarray(values, dtype=float)
    return np.where(np.isnan(v), 0.5, v) @ tree.top_of_leaf


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of m use cases, all 0..1.

    ``score`` counts what is missing as the middle of its scale (NaN where nothing at all is known), ``known`` is the
    share of the weight that is known, ``low`` and ``high`` are the score if everything missing turned out worst or
    best, and ``by_top`` (m, t) is the value under each top criterion (NaN where nothing under it is known).
    """

    score: Array
    known: Array
    low: Array
    high: Array
    by_top: Array


def weighted_sum(tree: CriteriaTree, ratings: ArrayLike) -> Scores:
    """Score ratings of shape (m, n) in the order of ``tree.keys``; NaN means nobody knows yet."""
    x = np.asarray(ratings, dtype=float)
    if x.ndim != 2 or x.shape[1] != len(tree.keys):
        raise InvalidInput("ratings_shape", "Each use case needs one place per sub-criterion.", field="ratings")
    values = anchored_values(x, tree.x0, tree.x1)
    is_known = ~np.isnan(values)
    known = np.minimum(is_known @ tree.leaf_weights, 1.0)
    by_top = top_values(tree, values)
    middle = by_top @ tree.top_weights
    doubt = (1.0 - known) / 2.0
    return Scores(
        score=np.where(is_known.any(axis=1), middle, np.nan),
        known=known,
        low=np.maximum(middle - doubt, 0.0),
        high=np.minimum(middle + doubt, 1.0),
        by_top=np.where(is_known @ tree.top_of_leaf > 0, by_top, np.nan),
    )


@dataclass(frozen=True, slots=True)
class Ranking:
    """``order`` lists indices from best to worst; ``rank`` (1 = first) gives equals the same place: 1, 2, 2, 4.

    Use cases without any known score come last, all on the same place.
    """

    order: Ints
    rank: Ints

    def shared(self, index: int) -> bool:
        """Whether somebody else stands on the same place."""
        return int((self.rank == self.rank[index]).sum()) > 1


def ranking(scores: ArrayLike, *, tolerance: float = TIE_TOLERANCE) -> Ranking:
    """Rank scores (m,), best first. Equals keep the order they came in."""
    s = np.asarray(scores, dtype=float)
    order = np.argsort(-s, kind="stable")  # NaN sorts last
    ordered = s[order]
    known = s.size - int(np.isnan(ordered).sum()) if s.size and np.isnan(ordered[-1]) else s.size
    place = np.arange(1, s.size + 1)
    place[known:] = known + 1
    for i in np.flatnonzero(ordered[: known - 1] - ordered[1:known] <= tolerance) + 1 if known else ():
        # Compared with the first of its group, so that a long chain of small steps is not one big tie.
        first = place[i - 1]
        if ordered[first - 1] - ordered[i] <= tolerance:
            place[i] = first
    rank = np.empty(s.size, dtype=np.int64)
    rank[order] = place
    return Ranking(order, rank)
