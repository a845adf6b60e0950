"""How far a ranking can be trusted: SMAA-2 over plausible weightings, and the smallest change that flips it.

Sources: Lahdelma & Salminen, "SMAA-2" (2001), for acceptability, central weights and confidence factors; the
one-weight change is closed form. See docs/algorithms/robustness.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usecases.domain.errors import InvalidInput
from usecases.domain.scoring import TIE_TOLERANCE, CriteriaTree, anchored_values, top_values
from usecases.domain.sentences import Sentence
from usecases.domain.weights import normalised

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS: Final = 10_000
#: Concentration of the draws around the elicited weights: a weight of 50 % moves by about 9 points (one sd).
KAPPA: Final = 30.0
_CHUNK_CELLS: Final = 2_000_000
#: Draws are ranked in portions whose scores stay in the processor's cache.
_SORT_CELLS: Final = 131_072


@dataclass(frozen=True)
class Smaa:
    """What m use cases do over N plausible weightings (and values).

    ``acceptability`` (m, m): share of draws in which row i takes rank column + 1; rows and columns sum to one.
    ``central_weights`` (m, n): mean weighting of the draws in which i is first, NaN where it never is.
    ``confidence`` (m,): how often i is first under its own central weights, values drawn; NaN where it never is.
    ``orders`` (N, m): the use cases of each draw from first to last. ``alike`` (m, m) averages over those that no
    weighting can tell apart.
    """

    acceptability: Array
    central_weights: Array
    confidence: Array
    orders: NDArray[np.unsignedinteger]
    alike: Array
    draws: int
    seed: int

    @cached_property
    def pairwise(self) -> Array:
        """Share of draws in which row i beats column j, shape (m, m); 0.5 on the diagonal and among equals."""
        m = len(self.alike)
        rank = np.empty_like(self.orders)
        np.put_along_axis(rank, self.orders.astype(np.intp), np.arange(m, dtype=rank.dtype)[None, :], axis=1)
        by_case = np.ascontiguousarray(rank.T)
        wins = np.zeros((m, m))
        for i in range(m - 1):
            ahead = (by_case[i] < by_case[i + 1 :]).view(np.uint8)
            wins[i, i + 1 :] = ahead.sum(axis=1, dtype=np.uint32)
        below = np.tril_indices(m, -1)
        wins[below] = self.draws - wins.T[below]
        np.fill_diagonal(wins, self.draws / 2)
        shares = self.alike @ (wins / self.draws) @ self.alike.T
        shares[self.alike > 0] = 0.5
        return shares

    @property
    def first(self) -> Array:
        """Share of draws in which each use case is first, shape (m,)."""
        return self.acceptability[:, 0]

    def standard_error(self) -> Array:
        """Sampling error of the acceptabilities: sqrt(b (1 - b) / N)."""
        return np.sqrt(self.acceptability * (1.0 - self.acceptability) / self.draws)


def dirichlet_weights(base: ArrayLike, kappa: float, draws: int, rng: np.random.Generator) -> Array:
    """Weightings (draws, n) around ``base`` with sd_j = sqrt(w_j (1 - w_j) / (kappa + 1)); a zero weight stays zero."""
    w = normalised(base)
    if not np.isfinite(kappa) or kappa <= 0:
        raise InvalidInput("kappa_not_positive", "The concentration must be above zero.", field="kappa")
    gamma = rng.standard_gamma(np.broadcast_to(kappa * w, (draws, w.size)))
    total = gamma.sum(axis=1, keepdims=True)
    return np.divide(gamma, total, out=np.broadcast_to(w, gamma.shape).copy(), where=total > 0)


def uniform_weights(size: int, draws: int, rng: np.random.Generator) -> Array:
    """Weightings spread evenly over all possible ones (normalised uniforms would crowd the centre)."""
    return dirichlet_weights(np.ones(size), float(size), draws, rng)


def ordinal_weights(size: int, draws: int, rng: np.random.Generator) -> Array:
    """Weightings that respect an order only, the first criterion the heaviest."""
    return -np.sort(-uniform_weights(size, draws, rng), axis=1)


def tree_weights(
    tree: CriteriaTree, *, kappa: float, kappa_within: float | None, draws: int, rng: np.random.Generator
) -> Array:
    """Leaf weightings (draws, n): top weights drawn; weights among sisters fixed, or drawn when a kappa is given."""
    tops = dirichlet_weights(tree.top_weights, kappa, draws, rng)
    if kappa_within is None:
        return tops[:, tree.parent] * tree.within
    within = np.concatenate(
        [dirichlet_weights(tree.within[tree.parent == t], kappa_within, draws, rng) for t in range(tops.shape[1])],
        axis=1,
    )
    return tops[:, tree.parent] * within


def smaa(
    values: ArrayLike,
    weights: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    seed: int = 0,
    confidence_draws: int = 1_000,
) -> Smaa:
    """SMAA-2 of values (m, n) in 0..1 under weightings (N, n).

    A missing value (NaN) is drawn evenly between 0 and 1; other cells between ``low`` and ``high`` (m, n) where given.
    Alike use cases share their ranks evenly.
    """
    v = np.asarray(values, dtype=float)
    w = np.asarray(weights, dtype=float)
    if v.ndim != 2 or 0 in v.shape:
        raise InvalidInput("no_alternatives", "There is nothing to rank.", field="values")
    if w.ndim != 2 or w.shape[1] != v.shape[1] or w.shape[0] == 0:
        raise InvalidInput("weights_missing", "Each criterion needs one weight.", field="weights")
    bottom = np.where(np.isnan(v), 0.0, v if low is None else np.asarray(low, dtype=float))
    top = np.where(np.isnan(v), 1.0, v if high is None else np.asarray(high, dtype=float))
    if not (np.isfinite(bottom).all() and np.isfinite(top).all() and (bottom <= top).all()):
        raise InvalidInput("value_range", "Each low value must not be above its high value.", field="values")
    rng = np.random.default_rng([seed, 1])
    m, draws = v.shape[0], w.shape[0]
    uncertain = bool((bottom < top).any())
    alike, group = _alike(bottom, top, w)
    sorter = _Sorter(m, group, float(np.abs(w).sum(axis=1).max() * max(np.abs(bottom).max(), np.abs(top).max())))
    counts = np.zeros(m * m, dtype=np.int64)
    orders = np.empty((draws, m), dtype=sorter.index_type)
    step = max(1, _CHUNK_CELLS // (v.size if uncertain else m))
    portion = max(1, _SORT_CELLS // m)
    # Scaled by a power of two, which rounds nothing: the order is that of the scores themselves.
    negated = np.ascontiguousarray(-bottom.T) * sorter.scale
    places = (np.arange(m) * m).astype(sorter.place_type)
    for start in range(0, draws, step):
        part = w[start : start + step]
        losses = part @ negated
        if uncertain:
            losses -= _drawn_extra(bottom, top, part, rng) * sorter.scale
        for at in range(0, len(losses), portion):
            order = sorter.order(losses[at : at + portion])
            orders[start + at : start + at + len(order)] = order
            counts += np.bincount((order + places).ravel(), minlength=m * m)
    first = orders[:, 0].astype(np.intp)
    first_weights = np.stack([np.bincount(first, weights=column, minlength=m) for column in w.T], axis=1)
    acceptability = alike @ (counts.reshape(m, m).T / draws)
    times_first = acceptability[:, :1] * draws
    central = np.divide(alike @ first_weights, times_first, out=np.full(v.shape, np.nan), where=times_first > 0)
    confidence = _confidence(bottom, top, central, min(confidence_draws, draws) if uncertain else 0, rng)
    return Smaa(acceptability, central, confidence, orders, alike, draws, seed)


class _Sorter:
    """Orders of rows of losses (k, m), least loss first, as ``argsort`` gives them, several times quicker.

    A loss is cut to a whole number of 32 (or 64) bits with the use case's number in the lowest ones, and these words
    are sorted. Cutting never turns two losses round; where it makes two use cases equal that some weighting can tell
    apart, that row is sorted again by the losses themselves. Losses come multiplied by ``scale``.
    """

    def __init__(self, size: int, group: Ints, bound: float) -> None:
        small = size <= 256
        self.group = group
        self.bits = max(2, (size - 1).bit_length())
        self.signed: type[np.signedinteger] = np.int32 if small else np.int64
        self.word: type[np.unsignedinteger] = np.uint32 if small else np.uint64
        self.index_type: type[np.unsignedinteger] = np.uint8 if small else np.uint32
        self.place_type: type[np.integer] = np.uint16 if small else np.int64
        # A power of two, so that scaling rounds nothing; one bit is left for the sign.
        _, exponent = np.frexp(bound * (1.0 + 1e-9) if bound > 0 else 1.0)
        room = (32 if small else 53) - self.bits - 1
        self.scale = float(np.ldexp(1.0, room - int(exponent)))
        self.offset = float(np.ldexp(1.0, room))
        self.index = np.arange(size, dtype=self.word)
        self.mask = self.word((1 << self.bits) - 1)

    def order(self, losses: Array) -> NDArray[np.unsignedinteger]:
        # By way of signed numbers: processors have an instruction for those.
        words = (losses + self.offset).astype(self.signed).view(self.word)
        words <<= self.word(self.bits)
        words |= self.index
        words.sort(axis=1)
        order = (words & self.mask).astype(self.index_type)
        words >>= self.word(self.bits)
        row, at = np.divmod(np.flatnonzero(words[:, 1:] == words[:, :-1]), max(words.shape[1] - 1, 1))
        apart = self.group[order[row, at]] != self.group[order[row, at + 1]]
        if apart.any():
            again = np.unique(row[apart])
            order[again] = np.argsort(losses[again], axis=1)
        return order


def _drawn_extra(bottom: Array, top: Array, weights: Array, rng: np.random.Generator) -> Array:
    """What uncertain values add to the scores of the lowest ones, shape (k, m)."""
    extra = np.zeros((len(weights), len(bottom)))
    for i, j in np.argwhere(bottom < top):
        extra[:, i] += weights[:, j] * (rng.random(len(weights)) * (top[i, j] - bottom[i, j]))
    return extra


def _alike(bottom: Array, top: Array, weights: Array) -> tuple[Array, Ints]:
    """Averaging matrix (m, m) over use cases that no weighting can tell apart, and the number of each one's group."""
    seen = (weights != 0).any(axis=0)
    _, group = np.unique(np.round(np.hstack([bottom[:, seen], top[:, seen]]), 12), axis=0, return_inverse=True)
    group = group.reshape(-1)
    same = (group[:, None] == group[None, :]).astype(float)
    return same / same.sum(axis=1, keepdims=True), group


def _confidence(bottom: Array, top: Array, central: Array, draws: int, rng: np.random.Generator) -> Array:
    """How often each is first under its own central weights; without ``draws`` nothing is uncertain and once is enough."""
    result = np.full(len(bottom), np.nan)
    ever_first = np.flatnonzero(~np.isnan(central[:, 0]))
    if not draws:
        result[ever_first] = _leading(bottom @ central[ever_first].T, ever_first)
        return result
    hits = np.zeros(len(ever_first))
    step = max(1, _CHUNK_CELLS // (len(bottom) * max(bottom.shape[1], len(ever_first))))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = bottom + rng.random((size, *bottom.shape)) * (top - bottom)
        hits += _leading(drawn @ central[ever_first].T, ever_first).sum(axis=0)
    result[ever_first] = hits / draws
    return result


def _leading(scores: Array, ever_first: Ints) -> Array:
    """Share in the first place of each of ``ever_first`` (k) under its own weights; scores (..., m, k)."""
    leading = scores >= scores.max(axis=-2, keepdims=True) - TIE_TOLERANCE
    own = np.take_along_axis(leading, ever_first.reshape((1,) * (scores.ndim - 1) + (-1,)), axis=-2)[..., 0, :]
    return own / leading.sum(axis=-2)


@dataclass(frozen=True, slots=True)
class Overtaking:
    """``rival`` draws level when this one weight moves from ``weight`` to ``at`` and the others are rescaled."""

    rival: int
    criterion: int
    weight: float
    at: float

    @property
    def change(self) -> float:
        return self.at - self.weight


def overtakings(values: ArrayLike, weights: ArrayLike, winner: int) -> tuple[Overtaking, ...]:
    """Every single-weight change within 0..1 that lets a rival draw level, smallest change first.

    values (m, n) without gaps, weights (n,). With d_k = v_ik - v_jk and D = sum over k != c of w_k d_k / (1 - w_c):
    change = -(S_i - S_j) / (d_c - D).
    """
    v = np.asarray(values, dtype=float)
    w = normalised(weights)
    d = v[winner] - v
    lead = d @ w
    rest = 1.0 - w
    movable = rest > TIE_TOLERANCE
    others = np.divide(lead[:, None] - d * w, rest, out=np.full(d.shape, np.nan), where=movable)
    slope = d - others
    with np.errstate(invalid="ignore"):
        steep = np.abs(slope) > TIE_TOLERANCE
    change = np.divide(-lead[:, None], slope, out=np.full(d.shape, np.nan), where=steep)
    at = w + change
    with np.errstate(invalid="ignore"):
        possible = (at >= -TIE_TOLERANCE) & (at <= 1.0 + TIE_TOLERANCE)
    possible[winner] = False
    found = [
        Overtaking(int(j), int(c), float(w[c]), float(np.clip(at[j, c], 0.0, 1.0))) for j, c in np.argwhere(possible)
    ]
    return tuple(sorted(found, key=lambda o: (abs(o.change), o.rival, o.criterion)))


@dataclass(frozen=True, slots=True)
class Swing:
    """How far one weight can fall and rise before somebody overtakes the winner; None where nobody ever does."""

    criterion: int
    weight: float
    down: Overtaking | None
    up: Overtaking | None

    @property
    def change(self) -> float | None:
        """The smaller of the two ways; None when this weight alone never changes the winner."""
        ways = [abs(way.change) for way in (self.down, self.up) if way is not None]
        return min(ways) if ways else None


def swings(found: Sequence[Overtaking], weights: ArrayLike) -> tuple[Swing, ...]:
    """The tornado of weights: per criterion the nearest overtaking on either side, the most delicate weight first.

    ``found`` is what `overtakings` gave for ``weights`` (n,). A rival that is level already counts on both sides.
    """
    down: dict[int, Overtaking] = {}
    up: dict[int, Overtaking] = {}
    for o in found:
        if o.change <= 0:
            down.setdefault(o.criterion, o)
        if o.change >= 0:
            up.setdefault(o.criterion, o)
    rows = [Swing(c, float(w), down.get(c), up.get(c)) for c, w in enumerate(normalised(weights))]
    return tuple(sorted(rows, key=lambda s: (s.change is None, s.change or 0.0, s.criterion)))


class Verdict(StrEnum):
    CLEAR_WINNER = "clear_winner"
    CLOSE_CALL = "close_call"
    COIN_TOSS = "coin_toss"
    ONLY_ONE = "only_one"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the verdicts part: shares of weightings won, and the smallest change of a weight that must be survived."""

    clear: float = 0.80
    close: float = 0.50
    margin: float = 0.05


@dataclass(frozen=True, slots=True)
class Robustness:
    """The verdict on a ranking, with everything the sentences and the drawer need.

    ``names`` are the use cases and ``criteria`` the weights that were moved (the top criteria); indices point there.
    """

    names: tuple[str, ...]
    criteria: tuple[str, ...]
    scores: Array
    winner: int
    runner_up: int | None
    tied: bool
    smaa: Smaa
    overtakings: tuple[Overtaking, ...]
    verdict: Verdict
    thresholds: Thresholds

    @property
    def smallest_change(self) -> float | None:
        """Absolute change of one weight that dethrones the winner; None when no single weight can."""
        return abs(self.overtakings[0].change) if self.overtakings else None

    def explain(self, *, limit: int = 3) -> tuple[Sentence, ...]:
        """The sentences above a ranking, most important first; weights in whole percents where that suffices."""
        winner = self.names[self.winner]
        if self.runner_up is None:
            return (Sentence("robustness.only_one", {"winner": winner}),)
        out = [Sentence(f"robustness.{self.verdict}", {"winner": winner, "runner_up": self.names[self.runner_up]})]
        if self.tied:
            out.append(Sentence("robustness.tied", {"winner": winner, "runner_up": self.names[self.runner_up]}))
        out.append(Sentence("robustness.first_in", {"winner": winner, "in_100": in_100(self.smaa.first[self.winner])}))
        out.append(
            Sentence(
                "robustness.runner_up",
                {
                    "runner_up": self.names[self.runner_up],
                    "in_100": in_100(self.smaa.first[self.runner_up]),
                },
            )
        )
        said: set[tuple[int, bool]] = set()
        for o in self.overtakings:
            # The nearest rival per criterion and direction; a farther one on the same path says nothing new.
            if (o.criterion, o.change > 0) in said or len(said) >= limit or self.tied:
                continue
            said.add((o.criterion, o.change > 0))
            now, at = _percents(o.weight, o.at)
            out.append(
                Sentence(
                    "robustness.overtakes_if_rises" if o.change > 0 else "robustness.overtakes_if_falls",
                    {
                        "rival": self.names[o.rival],
                        "winner": winner,
                        "criterion": self.criteria[o.criterion],
                        "from_percent": now,
                        "to_percent": at,
                    },
                )
            )
        if not self.overtakings:
            out.append(Sentence("robustness.no_single_weight", {"winner": winner}))
        return tuple(out)


def in_100(share: float) -> int:
    """Whole number out of 100 that says neither "always" nor "never" unless it is so."""
    if share <= 0.0 or share >= 1.0:
        return int(share >= 1.0) * 100
    return min(99, max(1, round(100 * share)))


def _percents(now: float, at: float) -> tuple[float, float]:
    if round(100 * now) != round(100 * at):
        return round(100 * now), round(100 * at)
    if round(100 * now, 1) != round(100 * at, 1):
        return round(100 * now, 1), round(100 * at, 1)
    return round(100 * now, 2), round(100 * at, 2)


def classify(
    first_share: float, smallest_change: float | None, *, tied: bool = False, thresholds: Thresholds | None = None
) -> Verdict:
    """Clear winner, close call or coin toss; sharing first place is a coin toss, whatever the draws say."""
    limits = thresholds or Thresholds()
    if tied or first_share < limits.close:
        return Verdict.COIN_TOSS
    if first_share >= limits.clear and (smallest_change is None or smallest_change >= limits.margin):
        return Verdict.CLEAR_WINNER
    return Verdict.CLOSE_CALL


def assess(
    tree: CriteriaTree,
    ratings: ArrayLike,
    names: Sequence[str],
    *,
    kappa: float = KAPPA,
    kappa_within: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    confidence_draws: int = 1_000,
) -> Robustness:
    """Rank ratings (m, n) and say how far the ranking holds. Same input and seed, same answer.

    A missing rating stands at the middle of its scale in the scores and is drawn between worst and best in the
    simulation, so ignorance shows up as doubt. A use case of which nothing is known has no place in a ranking.
    """
    x = np.asarray(ratings, dtype=float)
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != len(tree.keys):
        raise InvalidInput("ratings_shape", "Each use case needs one place per sub-criterion.", field="ratings")
    if len(names) != x.shape[0]:
        raise InvalidInput("names_shape", "Each use case needs a name.", field="names")
    if (empty := np.flatnonzero(np.isnan(x).all(axis=1))).size:
        raise InvalidInput("nothing_known", "This use case has not been rated yet.", field=names[empty[0]])
    limits = thresholds or Thresholds()
    values = anchored_values(x, tree.x0, tree.x1)
    rng = np.random.default_rng([seed, 0])
    weights = tree_weights(tree, kappa=kappa, kappa_within=kappa_within, draws=draws, rng=rng)
    result = smaa(values, weights, seed=seed, confidence_draws=confidence_draws)
    by_top = top_values(tree, values)
    scores = by_top @ tree.top_weights
    leaders = np.flatnonzero(scores >= scores.max() - TIE_TOLERANCE)
    winner = int(leaders[result.first[leaders].argmax()])
    known = (tuple(names), tree.top_keys, scores, winner)
    if len(x) == 1:
        return Robustness(*known, None, False, result, (), Verdict.ONLY_ONE, limits)
    rivals = np.delete(np.arange(len(x)), winner)
    runner_up = int(rivals[np.lexsort((-result.first[rivals], -np.round(scores[rivals], 9)))[0]])
    flips = overtakings(by_top, tree.top_weights, winner)
    tied = len(leaders) > 1
    smallest = abs(flips[0].change) if flips else None
    verdict = classify(float(result.first[winner]), smallest, tied=tied, thresholds=limits)
    return Robustness(*known, runner_up, tied, result, flips, verdict, limits)
