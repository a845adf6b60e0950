"""A measured number as a rating on the rubric's scale; see docs/algorithms/scoring.md, "Measured instead of judged"."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from usecases.domain.errors import InvalidInput

BEST_RATING: Final = 5.0


def measured_rating(value: float, x0: float, x1: float) -> float:
    """5 x (value - x0) / (x1 - x0), cut off at 0 and 5. Where less is better x1 is below x0."""
    if not math.isfinite(value):
        raise InvalidInput("value_not_a_number", "A measured value must be a number.", field="value")
    if not (math.isfinite(x0) and math.isfinite(x1)) or x0 == x1:
        raise InvalidInput("anchors_equal", "The two anchors must be different numbers.", field="x1")
    return BEST_RATING * min(1.0, max(0.0, (value - x0) / (x1 - x0)))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of ``wanted`` places in all (signals times sites) ``found`` have a channel; ``lacking`` signals by site, only where some lack."""

    wanted: int
    found: int
    lacking: Mapping[str, tuple[str, ...]]

    @property
    def percent(self) -> float:
        return 100.0 * self.found / self.wanted


def coverage(signals: Sequence[str], sites: Mapping[str, Collection[str]]) -> Coverage:
    """Required signals against the channels of each site. Raises InvalidInput where nothing is required or there is no site."""
    asked = list(dict.fromkeys(signals))
    if not asked or not sites:
        raise InvalidInput("nothing_required", "Name the required signals and a site.", field="signals")
    lacking = {site: tuple(code for code in asked if code not in codes) for site, codes in sites.items()}
    missing = sum(len(codes) for codes in lacking.values())
    total = len(asked) * len(sites)
    return Coverage(total, total - missing, {site: codes for site, codes in lacking.items() if codes})


def link_percent(received: int, minutes: int, per_minute: int) -> float:
    """Reports that came of those that were due in so many minutes, in percent."""
    if minutes <= 0 or per_minute <= 0:
        raise InvalidInput("no_time", "No minute was looked at.", field="minutes")
    return 100.0 * min(1.0, received / (minutes * per_minute))


def mean_percent(shares: Sequence[float]) -> float:
    """The plain mean of shares (0 to 1) in percent: no part makes up for another that is missing."""
    if not shares:
        raise InvalidInput("nothing_measured", "Nothing was measured.", field="shares")
    return 100.0 * sum(shares) / len(shares)
