"""Which use cases a budget buys, and when each starts: the question, its rules and the programme that says the same.

``y[i, p]`` is one when use case i has started by quarter p, so a start in p is ``y[i, p] - y[i, p - 1]``. See
docs/algorithms/portfolio.md for the programme, what its answers mean and a worked table; `portfolio_solver` solves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, vstack

from usecases.domain.dependencies import circle
from usecases.domain.errors import InvalidInput

Array = NDArray[np.float64]

#: Relative slack within which a sum still keeps its limit: sums of money carry rounding, decisions do not.
FITS: Final = 1e-9
MAX_CANDIDATES: Final = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """A use case that may start. ``value``: money if it starts in the first quarter; ``spend[k]``: money in the k-th quarter after its
    start; ``effort[role][k]``: person-days likewise; ``needs``: keys that must have started ``lag`` quarters before."""

    key: str
    title: str
    value: float
    spend: tuple[float, ...] = ()
    effort: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    foundation: bool = False
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """The question. ``budget`` and each ``capacity[role]`` hold one limit per quarter; ``rate`` discounts a later start, per quarter.

    Raises InvalidInput with the field: a limit that is negative or no number, quarters that do not match, an unknown key, a circle of
    dependencies, a must that is also a must-not, two musts that exclude each other.
    """

    candidates: tuple[Candidate, ...]
    budget: tuple[float, ...]
    capacity: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rate: float = 0.0
    lag: int = 0
    exclusions: tuple[tuple[str, str], ...] = ()
    must: frozenset[str] = frozenset()
    must_not: frozenset[str] = frozenset()
    foundation_share: float = 0.0
    site_shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.candidates:
            raise InvalidInput("no_candidates", "Choose at least one use case.", field="candidates")
        if len(self.candidates) > MAX_CANDIDATES:
            raise InvalidInput("too_many", f"At most {MAX_CANDIDATES} use cases in one plan.", field="candidates")
        if not self.budget:
            raise InvalidInput("no_budget", "Give the budget of each quarter.", field="budget")
        _limits(self.budget, "budget", len(self.budget))
        for role, days in self.capacity.items():
            _limits(days, f"capacity.{role}", len(self.budget))
        if not np.isfinite(self.rate) or self.rate <= -1:
            raise InvalidInput("rate_impossible", "A discount rate must be above -100 %.", field="rate")
        if self.lag < 0:
            raise InvalidInput("lag_negative", "A lag is a number of quarters, 0 or more.", field="lag")
        for name, share in {"foundation_share": self.foundation_share, **self._site_fields()}.items():
            if not np.isfinite(share) or not 0 <= share <= 1:
                raise InvalidInput("share_range", "A share lies between 0 and 100 %.", field=name)
        if sum(self.site_shares.values()) > 1 + FITS:
            raise InvalidInput(
                "shares_above_one", "The least shares of the sites add up to over 100 %.", field="site_shares"
            )
        self._check_candidates()
        self._check_rules()

    def _site_fields(self) -> dict[str, float]:
        return {f"site_shares.{site}": share for site, share in self.site_shares.items()}

    def _check_candidates(self) -> None:
        if len(self.at) != len(self.candidates):
            raise InvalidInput("candidate_twice", "A use case is listed twice.", field="candidates")
        for c in self.candidates:
            if not np.isfinite(c.value):
                raise InvalidInput("value_not_a_number", f"The value of {c.title} is not a number.", field="candidates")
            rows = [("spend", c.spend), *((f"effort of {role}", days) for role, days in c.effort.items())]
            for what, row in rows:
                if not np.isfinite(row).all() or min(row, default=0.0) < 0:
                    raise InvalidInput(
                        "need_negative",
                        f"The {what} of {c.title} must be 0 or more in each quarter.",
                        field="candidates",
                    )
        waits = {c.key: [n for n in c.needs if n in self.at] for c in self.candidates}
        for key in waits:
            if way := circle(waits, key):
                names = " → ".join(self.title(k) for k in way)
                raise InvalidInput(
                    "circular", f"These use cases wait for each other: {names}.", field="candidates", circle=way
                )

    def _check_rules(self) -> None:
        known = set(self.at)
        for name, keys in {
            "must": self.must,
            "must_not": self.must_not,
            "exclusions": {k for pair in self.exclusions for k in pair},
        }.items():
            if not keys <= known:
                raise InvalidInput("not_a_candidate", "Only use cases of this plan can be named here.", field=name)
        both = sorted(self.title(k) for k in self.must & self.must_not)
        if both:
            raise InvalidInput("must_and_must_not", f"{both[0]} cannot be both in and out.", field="must_not")
        for a, b in self.exclusions:
            if a == b:
                raise InvalidInput("excludes_itself", "A use case cannot exclude itself.", field="exclusions")
            if a in self.must and b in self.must:
                raise InvalidInput(
                    "musts_exclude", f"{self.title(a)} and {self.title(b)} exclude each other, and both must be in.",
                    field="exclusions",
                )  # fmt: skip

    @cached_property
    def at(self) -> dict[str, int]:
        return {c.key: i for i, c in enumerate(self.candidates)}

    @property
    def quarters(self) -> int:
        return len(self.budget)

    def title(self, key: str) -> str:
        return self.candidates[self.at[key]].title

    @cached_property
    def discounts(self) -> Array:
        """Worth of one unit of value by the quarter of the start, shape (P,)."""
        return (1.0 + self.rate) ** -np.arange(self.quarters, dtype=float)


def _limits(row: Sequence[float], name: str, quarters: int) -> None:
    if len(row) != quarters:
        raise InvalidInput("quarters_differ", f"Give one number for each of the {quarters} quarters.", field=name)
    for at, limit in enumerate(row):
        if not np.isfinite(limit) or limit < 0:
            raise InvalidInput("limit_negative", "Each quarter needs a number, 0 or more.", field=f"{name}[{at}]")


@dataclass(frozen=True)
class Plan:
    """``starts``: key -> quarter (0-based) of the start, None: not in. ``value`` of that plan, ``bound`` that no plan can beat.

    ``status``: optimal (within the gap asked for), time_limit (the best plan found so far), greedy (before the solver spoke),
    infeasible (no plan keeps all the rules) or nothing_found (the time was over before there was any plan); in the last two ``starts``
    is empty. ``gap`` = (bound - value) / |value|.
    """

    status: str
    starts: Mapping[str, int | None]
    value: float
    bound: float
    seconds: float = 0.0

    @property
    def gap(self) -> float:
        if not np.isfinite(self.bound):
            return float("nan")
        return max(0.0, (self.bound - self.value) / max(abs(self.value), 1e-9))

    @property
    def chosen(self) -> list[str]:
        return [key for key, start in self.starts.items() if start is not None]


def plan_value(problem: Problem, starts: Mapping[str, int | None]) -> float:
    """Sum of the values, each discounted to the quarter of its start."""
    return float(
        sum(c.value * problem.discounts[start] for c in problem.candidates if (start := starts.get(c.key)) is not None)
    )


def used(problem: Problem, starts: Mapping[str, int | None]) -> tuple[Array, dict[str, Array]]:
    """Money (P,) and person-days per role (P,) that the plan takes in each quarter."""
    money = np.zeros(problem.quarters)
    days = {role: np.zeros(problem.quarters) for role in problem.capacity}
    for c in problem.candidates:
        start = starts.get(c.key)
        if start is None:
            continue
        _add(money, c.spend, start)
        for role, row in days.items():
            _add(row, c.effort.get(role, ()), start)
    return money, days


def _add(total: Array, row: Sequence[float], start: int) -> None:
    part = row[: total.size - start]
    total[start : start + len(part)] += part


def within(total: Array, limit: Sequence[float]) -> bool:
    allowed = np.asarray(limit, dtype=float)
    return bool((total <= allowed + FITS * np.maximum(1.0, allowed)).all())


def spent_in_horizon(problem: Problem, starts: Mapping[str, int | None]) -> dict[str, float]:
    return {
        c.key: float(sum(c.spend[: problem.quarters - start]))
        for c in problem.candidates
        if (start := starts.get(c.key)) is not None
    }


def keeps_rules(problem: Problem, starts: Mapping[str, int | None]) -> bool:
    """Whether a plan keeps every rule: the check that each answer of the solver passes before anybody sees it."""
    money, days = used(problem, starts)
    if not within(money, problem.budget) or not all(within(days[r], problem.capacity[r]) for r in days):
        return False
    inside = {key for key, start in starts.items() if start is not None}
    if not problem.must <= inside or problem.must_not & inside:
        return False
    if any(a in inside and b in inside for a, b in problem.exclusions):
        return False
    for c in problem.candidates:
        start = starts.get(c.key)
        if start is None:
            continue
        for needed in c.needs:
            before = starts.get(needed) if needed in problem.at else -problem.lag
            if before is None or before > start - problem.lag:
                return False
    return not missing_shares(problem, starts)


def missing_shares(problem: Problem, starts: Mapping[str, int | None]) -> dict[str, float]:
    """Rule -> money that is lacking to the least share of the spending."""
    spent = spent_in_horizon(problem, starts)
    total = sum(spent.values())
    lacking = {}
    for name, share, weight in share_rules(problem):
        got = sum(spent.get(c.key, 0.0) * w for c, w in zip(problem.candidates, weight, strict=True))
        if share * total - got > FITS * max(1.0, total):
            lacking[name] = share * total - got
    return lacking


def share_rules(problem: Problem) -> list[tuple[str, float, Array]]:
    """(name, least share, part of each candidate's spending that counts for it)."""
    rules: list[tuple[str, float, Array]] = []
    if problem.foundation_share > 0:
        rules.append(
            ("foundations", problem.foundation_share, np.array([float(c.foundation) for c in problem.candidates]))
        )
    for site, share in problem.site_shares.items():
        if share > 0:
            parts = [c.sites.count(site) / len(c.sites) if c.sites else 0.0 for c in problem.candidates]
            rules.append((f"site:{site}", share, np.array(parts)))
    return rules


@dataclass(frozen=True)
class Rows:
    """Linear rows ``low <= A y <= high`` with their names: (kind, what, quarter)."""

    matrix: csr_array
    low: Array
    high: Array
    names: tuple[tuple[str, str, int], ...]


def _profile_matrix(problem: Problem, rows: Sequence[Sequence[float]]) -> csr_array:
    """(P, m P) matrix: what is needed in each quarter, as a function of y. A start in p is y[p] - y[p - 1]."""
    quarters = problem.quarters
    r: list[int] = []
    c: list[int] = []
    v: list[float] = []
    for i, row in enumerate(rows):
        for start in range(quarters):
            for k, amount in enumerate(row[: quarters - start]):
                if amount:
                    r += [start + k, start + k] if start else [start + k]
                    c += [i * quarters + start, i * quarters + start - 1] if start else [i * quarters]
                    v += [amount, -amount] if start else [amount]
    return coo_array((v, (r, c)), shape=(quarters, len(rows) * quarters)).tocsr()


def build_rows(problem: Problem) -> Rows:
    """Every rule but the bounds of single variables."""
    quarters, m = problem.quarters, len(problem.candidates)
    blocks: list[csr_array] = []
    low: list[Array] = []
    high: list[Array] = []
    names: list[tuple[str, str, int]] = []

    def add(matrix: Any, lows: Any, highs: Any, kind: str, whats: Sequence[tuple[str, int]]) -> None:
        blocks.append(csr_array(matrix))
        low.append(np.broadcast_to(np.asarray(lows, dtype=float), (matrix.shape[0],)))
        high.append(np.broadcast_to(np.asarray(highs, dtype=float), (matrix.shape[0],)))
        names.extend((kind, what, quarter) for what, quarter in whats)

    money = _profile_matrix(problem, [c.spend for c in problem.candidates])
    add(money, -np.inf, problem.budget, "budget", [("", p) for p in range(quarters)])
    for role, days in problem.capacity.items():
        matrix = _profile_matrix(problem, [c.effort.get(role, ()) for c in problem.candidates])
        add(matrix, -np.inf, days, "capacity", [(role, p) for p in range(quarters)])
    total = np.asarray(money.sum(axis=0)).ravel()
    for name, share, weight in share_rules(problem):
        row = total * (np.repeat(weight, quarters) - share)
        add(csr_array(row[None, :]), 0.0, np.inf, "share", [(name, 0)])
    pairs = _order_pairs(problem)
    if pairs:
        count = len(pairs)
        matrix = coo_array(
            (
                np.tile([1.0, -1.0], count),
                (np.repeat(np.arange(count), 2), np.array([k for pair in pairs for k in pair], dtype=int)),
            ),
            shape=(count, m * quarters),
        )
        add(matrix, -np.inf, 0.0, "order", [("", 0)] * count)
    if problem.exclusions:
        last = quarters - 1
        columns = [problem.at[key] * quarters + last for pair in problem.exclusions for key in pair]
        count = len(problem.exclusions)
        matrix = coo_array((np.ones(2 * count), (np.repeat(np.arange(count), 2), columns)), shape=(count, m * quarters))
        add(matrix, -np.inf, 1.0, "exclusion", [(f"{a}|{b}", 0) for a, b in problem.exclusions])
    return Rows(csr_array(vstack(blocks)), np.concatenate(low), np.concatenate(high), tuple(names))


def _order_pairs(problem: Problem) -> list[tuple[int, int]]:
    """Index pairs (a, b) with y[a] <= y[b]: started stays started, and what is needed comes first."""
    quarters = problem.quarters
    pairs = []
    for i, c in enumerate(problem.candidates):
        pairs += [(i * quarters + p, i * quarters + p + 1) for p in range(quarters - 1)]
        for needed in c.needs:
            if needed in problem.at:
                j = problem.at[needed]
                pairs += [(i * quarters + p, j * quarters + p - problem.lag) for p in range(problem.lag, quarters)]
    return pairs


def variable_bounds(problem: Problem) -> tuple[Array, Array]:
    quarters, m = problem.quarters, len(problem.candidates)
    low, high = np.zeros((m, quarters)), np.ones((m, quarters))
    for key in problem.must:
        low[problem.at[key], -1] = 1.0
    for key in problem.must_not:
        high[problem.at[key]] = 0.0
    for i, c in enumerate(problem.candidates):
        if any(needed in problem.at for needed in c.needs):
            high[i, : problem.lag] = 0.0
    return low.ravel(), high.ravel()


def objective(problem: Problem, values: Array | None = None) -> Array:
    """Coefficients (m P,) to maximise: v (d_p - d_{p+1}), the last quarter v d_p."""
    worth = np.array([c.value for c in problem.candidates]) if values is None else values
    later = np.append(problem.discounts[1:], 0.0)
    return (worth[:, None] * (problem.discounts - later)[None, :]).ravel()


def starts_of(problem: Problem, y: Array) -> dict[str, int | None]:
    table = y.reshape(len(problem.candidates), problem.quarters) > 0.5
    first = table.argmax(axis=1)
    return {c.key: int(first[i]) if table[i].any() else None for i, c in enumerate(problem.candidates)}
