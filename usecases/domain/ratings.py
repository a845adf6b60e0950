"""What several raters together say about one use case, and where they disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from usecases.domain.errors import InvalidInput

#: Ratings this far apart (on the 0..5 rubric) are worth a conversation before anybody looks at the mean.
DISAGREEMENT_SPREAD = 2.0


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's answer on one sub-criterion; ``value`` None is "don't know", which is missing and not zero."""

    rater: str
    role: str
    criterion: str
    value: float | None


@dataclass(frozen=True, slots=True)
class CriterionRating:
    """The group's answer on one criterion. ``value`` is NaN while nobody with a weight has answered."""

    criterion: str
    value: float
    count: int
    dont_know: int
    spread: float
    disagrees: bool
    lowest: tuple[str, float] | None
    highest: tuple[str, float] | None
    by_role: Mapping[str, float]
    missing_roles: Mapping[str, int]

    @property
    def enough(self) -> bool:
        """Whether every role has given as many answers as the round asks of it."""
        return not self.missing_roles


def on_measured(
    criterion: str, measured: float, seats: Mapping[str, str], overrides: Mapping[str, float]
) -> list[Rating]:
    """What each seat (rater -> role) stands for on a measured criterion: its own value where it overrides, else the measured one."""
    return [Rating(rater, role, criterion, overrides.get(rater, measured)) for rater, role in seats.items()]


def rater_shares(seats: Mapping[str, str], role_weights: Mapping[str, float]) -> dict[str, float]:
    """Each rater's share (rater -> role given): a role's weight, divided among those who answered in it."""
    people = Counter(seats.values())
    return {rater: role_weights.get(role, 0.0) / people[role] for rater, role in seats.items()}


def aggregate(
    criteria: Iterable[str],
    ratings: Iterable[Rating],
    *,
    role_weights: Mapping[str, float],
    minimum_raters: Mapping[str, int] | None = None,
    scale: tuple[float, float] = (0.0, 5.0),
    disagreement: float = DISAGREEMENT_SPREAD,
) -> dict[str, CriterionRating]:
    """Group ratings per criterion: the mean inside each role, then the role-weighted mean of the roles that answered.

    Averaging inside a role first means three engineers do not outvote one plant manager by coming in numbers. A
    role that is not in ``role_weights`` or weighs zero is heard (spread, count) but does not move the value.

    Raises InvalidInput: a rating off the scale, one rater answering a criterion twice, an unknown criterion.
    """
    low, high = scale
    for role, weight in role_weights.items():
        if not np.isfinite(weight) or weight < 0:
            raise InvalidInput("weight_negative", "A role's weight cannot be negative.", field=role)
    answers: dict[str, list[Rating]] = {key: [] for key in criteria}
    seen: set[tuple[str, str]] = set()
    for rating in ratings:
        if rating.criterion not in answers:
            raise InvalidInput("criterion_unknown", "This criterion is not in the round.", field=rating.criterion)
        if (rating.rater, rating.criterion) in seen:
            raise InvalidInput(
                "rated_twice", "One rater gives one answer per criterion.", field=rating.criterion, rater=rating.rater
            )
        seen.add((rating.rater, rating.criterion))
        if rating.value is not None and not low <= rating.value <= high:
            raise InvalidInput(
                "rating_off_scale",
                f"A rating lies between {low:g} and {high:g}.",
                field=rating.criterion,
                rater=rating.rater,
            )
        answers[rating.criterion].append(rating)
    return {key: _one(key, given, role_weights, minimum_raters or {}, disagreement) for key, given in answers.items()}


def _one(
    key: str,
    given: list[Rating],
    role_weights: Mapping[str, float],
    minimum_raters: Mapping[str, int],
    disagreement: float,
) -> CriterionRating:
    known = sorted(((r.value, r.rater, r.role) for r in given if r.value is not None), key=lambda item: item[:2])
    values_by_role: dict[str, list[float]] = defaultdict(list)
    for value, _, role in known:
        values_by_role[role].append(value)
    by_role = {role: sum(values) / len(values) for role, values in sorted(values_by_role.items())}
    weight = sum(role_weights.get(role, 0.0) for role in by_role)
    value = sum(role_weights.get(role, 0.0) * mean for role, mean in by_role.items()) / weight if weight else np.nan
    spread = known[-1][0] - known[0][0] if known else 0.0
    missing = {
        role: needed - len(values_by_role.get(role, ()))
        for role, needed in minimum_raters.items()
        if len(values_by_role.get(role, ())) < needed
    }
    return CriterionRating(
        criterion=key,
        value=float(value),
        count=len(known),
        dont_know=len(given) - len(known),
        spread=spread,
        disagrees=len(known) > 1 and spread >= disagreement,
        lowest=(known[0][1], known[0][0]) if known else None,
        highest=(known[-1][1], known[-1][0]) if known else None,
        by_role=by_role,
        missing_roles=missing,
    )
