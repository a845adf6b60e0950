"""A workshop of the size that the speed targets name: 30 use cases rated on 12 sub-criteria."""

from __future__ import annotations

from typing import Any

import numpy as np

from portal.core.clock import wall_now
from tests.factories import make_use_case


def twelve() -> Any:
    """A published version with three criteria of four sub-criteria each."""
    from usecases.models import CriteriaSet, Criterion

    number = CriteriaSet.objects.count() + 1
    made = CriteriaSet.objects.create(name="Twelve", number=number, state="published", published_at=wall_now())
    for at, (key, weight) in enumerate((("roi", 50), ("feasibility", 30), ("data", 20))):
        top = Criterion.objects.create(criteria_set=made, key=key, name=key.title(), weight=weight, position=10 * at)
        for n in range(4):
            Criterion.objects.create(
                criteria_set=made,
                parent=top,
                key=f"{key}-{n}",
                name=f"{key.title()} {n}",
                weight=1 + n,
                position=10 * at + n + 1,
                rubric=[f"Level {level}" for level in range(6)],
            )
    return made


def thirty_by_twelve(cast: Any, cases: int = 30, *, close: bool = True) -> Any:
    """A round of it, revealed or closed, rated by one person of each role; every ninth answer is "I don't know"."""
    from usecases import services
    from usecases.models import Rating, ScoringRound

    criteria = twelve()
    labels = ("quick_win", "foundation", "moon_shot", "unlabelled")
    found = [make_use_case(label=labels[n % 4], title=f"Use case {n + 1}") for n in range(cases)]
    raters = [cast.plant_manager, cast.ot_engineer, cast.data_scientist]
    meeting = services.round_open(
        actor=cast.coe_lead, title="Big workshop", criteria_set=criteria, use_cases=found, raters=raters
    )
    rng = np.random.default_rng(20260101)
    leaves = list(criteria.criteria.exclude(parent=None))
    roles = ("plant_manager", "ot_engineer", "data_scientist")
    Rating.objects.bulk_create(
        Rating(
            round=meeting,
            use_case=case,
            criterion=leaf,
            rater=rater,
            rater_role=role,
            value=None if (i + 3 * j) % 9 == 0 else float(np.clip(rng.normal(2 + i / 15, 1.2), 0, 5).round()),
        )
        for i, case in enumerate(found)
        for j, leaf in enumerate(leaves)
        for rater, role in zip(raters, roles, strict=True)
    )
    (services.round_close if close else services.round_reveal)(actor=cast.coe_lead, meeting=meeting)
    return ScoringRound.objects.get(pk=meeting.pk)
