"""Weights: checking and normalising them, and four ways to elicit them (direct, swing, rank order, AHP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usecases.domain.errors import InvalidInput

Array = NDArray[np.float64]

#: Mean consistency index of random reciprocal matrices by size. The same matrix can pass with one table and
#: fail with another, so every result names the table it was judged by.
RANDOM_INDEX: Final[Mapping[str, Mapping[int, float]]] = {
    "saaty-1980": {3: 0.58, 4: 0.90, 5: 1.12, 6: 1.24, 7: 1.32, 8: 1.41, 9: 1.45, 10: 1.49},
    "tummala-ling": {3: 0.5799, 4: 0.8921, 5: 1.1159, 6: 1.2358, 7: 1.3322, 8: 1.3952, 9: 1.4537, 10: 1.4882},
    "donegan-dodd": {3: 0.4914, 4: 0.8286, 5: 1.0591, 6: 1.1797, 7: 1.2519, 8: 1.3171, 9: 1.3733, 10: 1.4055},
}
DEFAULT_RANDOM_INDEX: Final = "saaty-1980"
CONSISTENCY_LIMIT: Final = 0.10
#: The strongest comparison of Saaty's scale; its reciprocal is the weakest.
STRONGEST: Final = 9.0


def normalised(weights: ArrayLike, *, field: str = "weights") -> Array:
    """Weights scaled to sum to one, shape (n,).

    Raises InvalidInput: nothing given, a weight that is not a finite number, a negative one, or all zero.
    """
    w = np.asarray(weights, dtype=float)
    if w.ndim != 1 or w.size == 0:
        raise InvalidInput("weights_missing", "At least one weight is needed.", field=field)
    if (bad := np.flatnonzero(~np.isfinite(w))).size:
        raise InvalidInput("weight_not_a_number", "A weight must be a number.", field=f"{field}[{bad[0]}]")
    if (bad := np.flatnonzero(w < 0)).size:
        raise InvalidInput("weight_negative", "A weight cannot be negative.", field=f"{field}[{bad[0]}]")
    total = w.sum()
    if total <= 0:
        raise InvalidInput("weights_all_zero", "At least one weight must be above zero.", field=field)
    return w / total


def require_unit_sum(weights: ArrayLike, *, tolerance: float = 0.02, field: str = "weights") -> Array:
    """Like `normalised`, for weights somebody typed as shares: they must already sum to one.

    The tolerance lets shares rounded to whole percents pass; what is returned sums to one exactly.
    """
    w = normalised(weights, field=field)
    total = float(np.asarray(weights, dtype=float).sum())
    if abs(total - 1.0) > tolerance:
        raise InvalidInput("weights_do_not_sum", f"The weights sum to {total:.4g}, not to 1.", field=field, total=total)
    return w


def swing(points: ArrayLike) -> Array:
    """Swing weights from points: 100 for the criterion whose worst-to-best swing matters most, less for the rest."""
    s = np.asarray(points, dtype=float)
    if s.size and np.isfinite(s).all() and s.max() > 100:
        raise InvalidInput(
            "swing_above_100",
            "The most important swing has 100 points; no other has more.",
            field=f"points[{int(s.argmax())}]",
        )
    weights = normalised(s, field="points")
    if s.max() < 100:
        raise InvalidInput("swing_none_at_100", "Give the most important swing 100 points.", field="points")
    return weights


def rank_order_centroid(positions: ArrayLike) -> Array:
    """Weights from order alone; ``positions`` holds 1 for the most important criterion, 2 for the next...

    w of place j = (1/n) sum over k = j..n of 1/k. Criteria that share a place share the mean weight of the places
    they cover, so positions may be 1, 2, 2, 4 or 1, 2, 2, 3.
    """
    p = np.asarray(positions, dtype=float)
    if p.ndim != 1 or p.size == 0:
        raise InvalidInput("weights_missing", "At least one criterion is needed.", field="positions")
    if not np.isfinite(p).all():
        raise InvalidInput("position_not_a_number", "Each criterion needs a place in the order.", field="positions")
    n = p.size
    centroid = np.cumsum(1.0 / np.arange(n, 0, -1))[::-1] / n
    order = np.argsort(p, kind="stable")
    _, place, count = np.unique(p[order], return_inverse=True, return_counts=True)
    shared = np.bincount(place, weights=centroid) / count
    weights = np.empty(n)
    weights[order] = shared[place]
    return weights


def entropy(values: ArrayLike) -> Array:
    """How much each criterion separates the alternatives (values shape (m, n), non-negative). A diagnostic.

    Never a preference: a criterion on which all plants differ wildly is not therefore important.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 2 or x.shape[0] < 2:
        raise InvalidInput("too_few_alternatives", "At least two alternatives are needed.", field="values")
    if not np.isfinite(x).all() or (x < 0).any():
        raise InvalidInput("value_negative", "Values must be numbers from zero up.", field="values")
    totals = x.sum(axis=0)
    p = np.divide(x, totals, out=np.full_like(x, 1.0 / x.shape[0]), where=totals > 0)
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    diversity = 1.0 + (p * log_p).sum(axis=0) / np.log(x.shape[0])
    diversity = np.clip(diversity, 0.0, None)
    if diversity.sum() <= 1e-12:
        return np.full(x.shape[1], 1.0 / x.shape[1])
    return diversity / diversity.sum()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The pairwise answer that disagrees most with all the others: criterion ``row`` against ``column``.

    ``implied``: the ratio of the weights as they are, this answer among those that made them. ``agreeing``: what the other
    answers say without this one; with it in its place nothing but the others' own disagreement is left.
    """

    row: int
    column: int
    given: float
    implied: float
    agreeing: float


@dataclass(frozen=True, slots=True)
class Ahp:
    """Weights from pairwise judgements. ``revisit`` is set only when the answers are not consistent enough."""

    weights: Array
    lambda_max: float
    consistency_index: float
    consistency_ratio: float
    random_index: str
    consistent: bool
    revisit: Judgement | None


def reciprocal_matrix(size: int, judgements: Mapping[tuple[int, int], float]) -> Array:
    """The full matrix from answers "row is so many times as important as column", one for each pair."""
    matrix = np.ones((size, size))
    seen = np.eye(size, dtype=bool)
    for (i, j), value in judgements.items():
        if not (0 <= i < size and 0 <= j < size and i != j):
            raise InvalidInput("judgement_unknown_pair", "This pair is not in the comparison.", field=f"{i},{j}")
        if not np.isfinite(value) or value <= 0:
            raise InvalidInput("judgement_not_positive", "A comparison must be a number above zero.", field=f"{i},{j}")
        if seen[i, j]:
            raise InvalidInput("judgement_twice", "This pair was compared twice.", field=f"{i},{j}")
        matrix[i, j], matrix[j, i] = value, 1.0 / value
        seen[i, j] = seen[j, i] = True
    if not seen.all():
        i, j = np.argwhere(~seen)[0]
        raise InvalidInput("judgement_missing", "This pair has not been compared yet.", field=f"{i},{j}")
    return matrix


def _checked_reciprocal(matrix: ArrayLike) -> Array:
    a = np.asarray(matrix, dtype=float)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or a.shape[0] == 0:
        raise InvalidInput("matrix_not_square", "The comparison matrix must be square.", field="matrix")
    if not np.isfinite(a).all() or (a <= 0).any():
        raise InvalidInput("judgement_not_positive", "Every comparison must be a number above zero.", field="matrix")
    off = np.argwhere(np.abs(np.log(a * a.T)) > 1e-6)
    if off.size:
        i, j = off[0]
        raise InvalidInput(
            "matrix_not_reciprocal", "The two directions of a comparison contradict each other.", field=f"{i},{j}"
        )
    return a


def ahp(matrix: ArrayLike, *, random_index: str = DEFAULT_RANDOM_INDEX, limit: float = CONSISTENCY_LIMIT) -> Ahp:
    """Weights of a reciprocal matrix (n, n), n = 1..10: its principal right eigenvector (Saaty 1980).

    CI = (lambda_max - n)/(n - 1), CR = CI/RI. Above ``limit`` the result names the judgement with the largest
    |ln(a_ij w_j / w_i)|: the answer to look at again, and the ratio the other answers imply.
    """
    a = _checked_reciprocal(matrix)
    n = a.shape[0]
    if random_index not in RANDOM_INDEX:
        raise InvalidInput("random_index_unknown", f"Unknown table {random_index!r}.", field="random_index")
    if n > 10:
        raise InvalidInput("too_many_criteria", "Compare at most ten criteria at once; group them.", field="matrix")
    values, vectors = np.linalg.eig(a)
    principal = int(values.real.argmax())
    weights = np.abs(vectors[:, principal].real)
    weights /= weights.sum()
    if n < 3:
        return Ahp(weights, float(n), 0.0, 0.0, random_index, True, None)
    lambda_max = max(float(values[principal].real), float(n))
    index = (lambda_max - n) / (n - 1)
    ratio = index / RANDOM_INDEX[random_index][n]
    consistent = ratio <= limit
    revisit = None if consistent else _worst(a, weights)
    return Ahp(weights, lambda_max, index, ratio, random_index, consistent, revisit)


def _worst(a: Array, weights: Array) -> Judgement:
    """The judgement to look at again. Of equal gaps (a circle of three has only such) the first pair, if there is one, whose
    agreeing answer lies on the scale: somebody can give that answer."""
    implied = weights[:, None] / weights[None, :]
    # Rounded, so that equal gaps name the same pair on every machine.
    gap = np.round(np.triu(np.abs(np.log(a / implied)), 1), 9)
    found = [
        Judgement(int(i), int(j), float(a[i, j]), float(implied[i, j]), agreeing_value(a, int(i), int(j)))
        for i, j in np.argwhere(gap == gap.max())
    ]
    limit = STRONGEST * (1 + 1e-9)
    return next((j for j in found if 1 / limit <= j.agreeing <= limit), found[0])


def agreeing_value(matrix: ArrayLike, row: int, column: int) -> float:
    """The comparison of ``row`` with ``column`` that the other answers imply, this one left out (Harker 1987).

    The missing pair is replaced by the weights' own ratio, which moves its share to the diagonal: a zero off it, a two on it.
    With three criteria it is the product of the two other answers. Raises InvalidInput for a pair that nothing else connects.
    """
    a = _checked_reciprocal(matrix)
    n = a.shape[0]
    if not (0 <= row < n and 0 <= column < n and row != column):
        raise InvalidInput("judgement_unknown_pair", "This pair is not in the comparison.", field=f"{row},{column}")
    if n < 3:
        raise InvalidInput("judgement_alone", "No other answer says anything about this pair.", field=f"{row},{column}")
    reduced = a.copy()
    reduced[row, column] = reduced[column, row] = 0.0
    reduced[row, row] = reduced[column, column] = 2.0
    values, vectors = np.linalg.eig(reduced)
    weights = np.abs(vectors[:, int(values.real.argmax())].real)
    return float(weights[row] / weights[column])


def scale_step(value: float) -> float:
    """The step of Saaty's scale 1/9, 1/8 ... 1/2, 1, 2 ... 9 that is nearest to a ratio, by factors."""
    if not np.isfinite(value) or value <= 0:
        raise InvalidInput("judgement_not_positive", "A comparison must be a number above zero.", field="value")
    steps = [1.0 / n for n in range(9, 1, -1)] + [float(n) for n in range(1, 10)]
    return min(steps, key=lambda step: abs(float(np.log(step / value))))


def whole_percents(weights: ArrayLike) -> list[int]:
    """Weights as whole percents that sum to 100: rounded down, the rest given to the largest remainders, ties in order."""
    exact = 100.0 * normalised(weights)
    # Rounded first, so that 28.999999999 is not cut to 28.
    percents = np.floor(np.round(exact, 9)).astype(int)
    left = 100 - int(percents.sum())
    for at in np.argsort(-np.round(exact - percents, 9), kind="stable")[:left]:
        percents[at] += 1
    return [int(p) for p in percents]


def aggregate_judgements(matrices: Sequence[ArrayLike], rater_weights: ArrayLike | None = None) -> Array:
    """One matrix for the group: the element-wise (weighted) geometric mean, which stays reciprocal (AIJ)."""
    if not len(matrices):
        raise InvalidInput("no_raters", "Nobody has compared the criteria yet.", field="matrices")
    stack = [_checked_reciprocal(m) for m in matrices]
    if len({m.shape for m in stack}) != 1:
        raise InvalidInput("matrix_sizes_differ", "All raters must compare the same criteria.", field="matrices")
    shares = normalised(np.ones(len(stack)) if rater_weights is None else rater_weights, field="rater_weights")
    if shares.size != len(stack):
        raise InvalidInput("weights_missing", "Each rater needs one weight.", field="rater_weights")
    upper = np.triu(np.tensordot(shares, np.log(np.stack(stack)), axes=1), 1)
    return np.exp(upper - upper.T)


def aggregate_priorities(priorities: ArrayLike, rater_weights: ArrayLike | None = None) -> Array:
    """Group weights as the (weighted) mean of each rater's own weights, shape (raters, n) -> (n,) (AIP)."""
    p = np.asarray(priorities, dtype=float)
    if p.ndim != 2 or p.shape[0] == 0:
        raise InvalidInput("no_raters", "Nobody has given weights yet.", field="priorities")
    rows = np.stack([normalised(row, field=f"priorities[{i}]") for i, row in enumerate(p)])
    shares = normalised(np.ones(len(rows)) if rater_weights is None else rater_weights, field="rater_weights")
    if shares.size != len(rows):
        raise InvalidInput("weights_missing", "Each rater needs one weight.", field="rater_weights")
    return shares @ rows
