"""Two-sample Kolmogorov-Smirnov: the statistic on sorted samples, its critical value and its p-value.

Alarms compare the statistic with a critical value that depends on the two sample sizes alone, so that a batch of
features costs one critical value and no p-values. The p-value is computed on demand and equals SciPy's.
Terms and worked tables: docs/algorithms/drift.md.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT_ROWS = 10_000
"""Up to this size of the larger sample the exact null distribution is used, above it the asymptotic one (as SciPy)."""

_STRIDE = 64


def ks_sorted(reference: NDArray[np.float64], current: NDArray[np.float64]) -> int:
    """Greatest distance of two empirical distribution functions, as a whole number of 1/(m*n).

    Both samples are 1-D, finite and sorted ascending, of m and n rows (m, n >= 1). Dividing the result by `m * n`
    gives the statistic D. Ties, within and across the samples, are exact.

    Between two neighbouring grid rows both functions only rise, which bounds their distance there; only blocks
    whose bound exceeds the best distance found are looked at row by row. The result is exact, not an approximation.
    """
    m, n = reference.size, current.size
    grid = np.arange(0, n, _STRIDE)
    if grid[-1] != n - 1:
        grid = np.append(grid, n - 1)
    keys = current[grid]
    not_above = reference.searchsorted(keys, "right") * n
    below = reference.searchsorted(keys, "left") * n
    best = max(int(((grid + 1) * m - not_above).max()), int((below - grid * m).max()), 0)
    if grid.size == n:
        return best
    could = ((grid[1:] + 1) * m - not_above[:-1] > best) | (below[1:] - (grid[:-1] + 1) * m > best)
    if not could.any():
        return best
    starts = grid[:-1][could] + 1
    rows = (starts[:, None] + np.arange(_STRIDE - 1)).ravel()
    rows = rows[rows < n]
    keys = current[rows]
    not_above = reference.searchsorted(keys, "right")
    below = not_above
    tied = reference[np.maximum(not_above, 1) - 1] == keys
    if tied.any():
        below = not_above.copy()
        below[tied] = reference.searchsorted(keys[tied], "left")
    return max(best, int(((rows + 1) * m - not_above * n).max()), int((below * n - rows * m).max()))


def _kstwo() -> Any:
    # Imported where it is used: scipy.stats takes 30 MB, and a process that serves pages does without it.
    from scipy.stats import kstwo

    return kstwo


def ks_p_value(statistic: float, m: int, n: int) -> float:
    """Two-sided p-value of the statistic D of two samples of m and n rows.

    Exact up to `EXACT_ROWS` rows in the larger sample, else Smirnov's asymptotic distribution at the rounded
    effective size mn/(m+n): the same choice as `scipy.stats.ks_2samp(method="auto")`.
    """
    if m < 1 or n < 1:
        raise ValueError("both samples need at least one row")
    if max(m, n) > EXACT_ROWS:
        return float(np.clip(_kstwo().sf(statistic, np.round(m * n / (m + n))), 0.0, 1.0))
    lcm = math.lcm(m, n)
    return _outside_probability(m, n, round(statistic * lcm))


@lru_cache(maxsize=512)
def ks_critical(alpha: float, m: int, n: int) -> float:
    """Smallest D of two samples of m and n rows whose two-sided p-value is at most `alpha` (inf if there is none).

    `D >= ks_critical(alpha, m, n)` (compare with `ks_exceeds`) is the same decision as `p <= alpha`.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha is a probability above 0 and below 1")
    if m < 1 or n < 1:
        raise ValueError("both samples need at least one row")
    effective = max(1, round(m * n / (m + n)))
    asymptotic = float(_kstwo().isf(alpha, effective))
    if max(m, n) > EXACT_ROWS:
        return asymptotic
    lcm = math.lcm(m, n)
    if _outside_probability(m, n, lcm) > alpha:
        return math.inf
    return _smallest_step(alpha, m, n, lcm, min(lcm, max(1, round(asymptotic * lcm)))) / lcm


def ks_exceeds(statistic: NDArray[np.float64] | float, critical: NDArray[np.float64] | float) -> NDArray[np.bool_]:
    """Whether D reaches its critical value, blind to the last bits that rounding of a ratio may cost."""
    return np.asarray(statistic) >= np.asarray(critical) - 1e-12


def _smallest_step(alpha: float, m: int, n: int, lcm: int, guess: int) -> int:
    """Smallest h in 1..lcm with P(D >= h/lcm) <= alpha, by bracketing from the asymptotic guess."""
    probability = _tail_quickly if alpha > 1e-6 else _outside_probability
    width = max(1, guess // 50)
    low, high = max(0, guess - width), min(lcm, guess + width)
    while low > 0 and probability(m, n, low) <= alpha:
        low, high, width = max(0, low - 2 * width), low, 2 * width
    while probability(m, n, high) > alpha:
        low, high, width = high, min(lcm, high + 2 * width), 2 * width
    log_alpha = math.log(alpha)
    p_low, p_high = probability(m, n, low), probability(m, n, high)
    turn = 0
    while high - low > 1:
        middle = (low + high) // 2
        if turn % 3 != 2 and p_low > p_high > 0.0:
            share = (math.log(p_low) - log_alpha) / (math.log(p_low) - math.log(p_high))
            step = max(1, (high - low) // 1000)
            aimed = low + round(share * (high - low)) + (step if turn % 3 == 1 else -step)
            middle = min(high - 1, max(low + 1, aimed))
        p_middle = probability(m, n, middle)
        if p_middle > alpha:
            low, p_low = middle, p_middle
        else:
            high, p_high = middle, p_middle
        turn += 1
    return high


@lru_cache(maxsize=1024)
def _tail_quickly(m: int, n: int, h: int) -> float:
    """The same as `_outside_probability` but one row of the lattice at a time, as 1 minus the share of paths inside.

    The number of paths to a row of points inside the border is the running sum of the row before it. Exact to about
    1e-12, which is enough to compare with a significance level but not to name a tiny p-value. Within a row the
    numbers span about 1.45 D min(m, n) binary digits: where doubles could not hold them the other sweep answers.
    """
    if h <= 0:
        return 1.0
    short, long = (m, n) if m < n else (n, m)
    if 1.45 * h * short > 600.0 * math.lcm(m, n):
        return _outside_probability(m, n, h)
    border = h * math.gcd(m, n)
    low, high = 0, min(long, -(-border // short) - 1)
    paths, halvings = np.ones(high + 1), 0
    for row in range(1, short + 1):
        new_low = max(0, (row * long - border) // short + 1)
        new_high = min(long, -((-row * long - border) // short) - 1)
        if new_low > high:
            return 1.0
        grown = np.zeros(new_high - new_low + 1)
        grown[: high - new_low + 1] = paths[new_low - low :]
        np.cumsum(grown, out=grown)
        grown *= row / (long + row)
        if grown[-1] < 2.0**-200:
            grown *= 2.0**200
            halvings += 200
        elif grown[-1] > 2.0**200 and halvings:
            grown *= 2.0**-200
            halvings -= 200
        paths, low, high = grown, new_low, new_high
    return 1.0 - math.ldexp(float(paths[-1]), -halvings)


@lru_cache(maxsize=1024)
def _outside_probability(m: int, n: int, h: int) -> float:
    """P(D >= h/lcm(m, n)) when both samples come from one continuous distribution.

    Every order of the m + n rows is a lattice path from (0, 0) to (m, n), all equally likely; D >= h/lcm means that
    the path meets |x*n - y*m| >= h*gcd. Going back one step from (x, y) leads to (x-1, y) with probability x/(x+y),
    so the share of paths that met the border follows by one sweep over x + y of sums of positive terms (Hodges 1957,
    "The significance probability of the Smirnov two-sample test"). Only the band inside the border is kept.
    """
    if h <= 0:
        return 1.0
    if m > n:
        m, n = n, m
    total = m + n
    border = h * math.gcd(m, n)
    outside = np.ones(m + 2)
    outside[1] = 0.0
    places = np.arange(-1.0, m + 1.0)
    for step in range(1, total + 1):
        centre = step * m
        low = max(0, (centre - border) // total + 1)
        high = min(m, -((-centre - border) // total) - 1)
        if low > high:
            return 1.0
        band = outside[low + 1 : high + 2]
        change = outside[low : high + 1] - band
        change *= places[low + 1 : high + 2]
        change /= step
        band += change
        outside[low] = 1.0
        if high + 2 <= m + 1:
            outside[high + 2] = 1.0
    return float(min(1.0, max(0.0, outside[m + 1])))
