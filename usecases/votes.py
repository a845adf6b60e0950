"""The answers of a scoring round: which vote counts, who sits for which role, what is measured, how criteria were compared.

Nothing here asks who looks. ``ranking.shown`` is what pages and API read; it refuses while the answers are private.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from portal.core.clock import rfc3339, wall_now
from portal.core.roles import ROLES
from usecases import measured
from usecases.choices import CriterionSource, RoundState, RoundWeighting
from usecases.domain import ratings as group
from usecases.domain import weights as elicited
from usecases.gate_rules import RATER_WEIGHTS
from usecases.measured import MeasuredScore
from usecases.models import Criterion, Judgement, Rating, ScoringRound, Seat, UseCase

#: The vote that is being given in a state; in the others nobody answers.
VOTE_OF = {RoundState.OPEN: 1, RoundState.SECOND: 2}
Cell = tuple[Any, str]
T = TypeVar("T", Rating, Judgement)


def current_vote(meeting: ScoringRound) -> int | None:
    return VOTE_OF.get(RoundState(meeting.state))


def last_vote(meeting: ScoringRound) -> int:
    """The newest vote that counts for others: the second one only once the round is closed."""
    return 2 if meeting.state == RoundState.CLOSED else 1


def role_label(role: str) -> str:
    return str(ROLES[role].label) if role in ROLES else _("No role")


def role_weights(meeting: ScoringRound, roles: Iterable[str]) -> dict[str, float]:
    given = meeting.role_weights or {}
    return {role: float(given.get(role, RATER_WEIGHTS.get(role, 1.0))) for role in roles}


def seats_of(meeting: ScoringRound) -> dict[Any, Seat]:
    """Person -> seat, in the order of the roles and names."""
    rows = Seat.objects.filter(round=meeting).select_related("person")
    return {seat.person_id: seat for seat in sorted(rows, key=lambda s: (role_label(s.role), str(s.person)))}


def effective(rows: Iterable[T], last: int) -> list[T]:
    """Of each answer the newest vote up to ``last``: who does not answer again keeps the first."""
    best: dict[Any, T] = {}
    row: T
    for row in rows:
        key = (row.rater_id, *_subject(row))
        if row.vote <= last and (key not in best or best[key].vote < row.vote):
            best[key] = row
    return list(best.values())


def _subject(row: Rating | Judgement) -> tuple[Any, ...]:
    return (row.use_case_id, row.criterion_id) if isinstance(row, Rating) else (row.first_id, row.second_id)


# ---- measured and derived ---------------------------------------------------------------------------------------------


def scores(meeting: ScoringRound, cases: Sequence[UseCase], leaves: Sequence[Criterion]) -> dict[Cell, MeasuredScore]:
    """What is measured or derived: now, or as a closed round has frozen it. Cells without a number say why."""
    if meeting.state == RoundState.CLOSED and "measured" in meeting.result:
        return _thawed(meeting.result["measured"], cases)
    if all(leaf.source == CriterionSource.JUDGED for leaf in leaves):
        return {}
    return measured.measured_scores(cases, leaves, wall_now())


def frozen(found: Mapping[Cell, MeasuredScore]) -> list[dict[str, Any]]:
    return [
        {
            "use_case": str(case),
            "criterion": key,
            "rating": score.rating,
            "value": score.value,
            "unit": score.unit,
            "text": score.text,
            "measured_at": rfc3339(score.measured_at) if score.measured_at else None,
            "plant_at": rfc3339(score.plant_at) if score.plant_at else None,
            "link": score.link,
            "reason": score.reason,
        }
        for (case, key), score in found.items()
    ]


def _thawed(rows: Iterable[dict[str, Any]], cases: Sequence[UseCase]) -> dict[Cell, MeasuredScore]:
    known = {str(case.pk): case.pk for case in cases}
    return {
        (known[row["use_case"]], row["criterion"]): MeasuredScore(
            row["rating"],
            row["value"],
            row["unit"],
            row["text"],
            _moment(row["measured_at"]),
            row["link"],
            row["reason"],
            _moment(row.get("plant_at")),  # rounds closed before it was kept have none
        )
        for row in rows
        if row["use_case"] in known
    }


def _moment(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


def numbers(found: Mapping[Cell, MeasuredScore]) -> dict[Cell, float]:
    return {cell: score.rating for cell, score in found.items() if score.rating is not None}


# ---- the group's values -----------------------------------------------------------------------------------------------


@dataclass
class Answers:
    """``rows``: the ratings that count. ``overrides``: those among them that replace a measured value, by cell."""

    rows: list[Rating]
    groups: dict[Any, dict[str, group.CriterionRating]]
    overrides: dict[Cell, list[Rating]] = field(default_factory=dict)


def answers(
    rows: list[Rating],
    cases: Sequence[UseCase],
    keys: Sequence[str],
    seats: Mapping[Any, Seat],
    known: Mapping[Cell, float],
    weights: Mapping[str, float],
    minimum: Mapping[str, int],
) -> Answers:
    """The group's answer on each cell: of the raters, or the measured number as far as nobody overrides it."""
    by_case: dict[Any, list[Rating]] = defaultdict(list)
    for row in rows:
        by_case[row.use_case_id].append(row)
    seated = {str(person): seat.role for person, seat in seats.items()}
    made = Answers(rows, {})
    for case in cases:
        given: list[group.Rating] = []
        counted: dict[str, list[Rating]] = defaultdict(list)
        for row in by_case[case.pk]:
            counted[row.criterion.key].append(row)
        for key in keys:
            number = known.get((case.pk, key))
            if number is None:
                given += [group.Rating(str(r.rater_id), r.rater_role, key, r.value) for r in counted[key]]
                continue
            # An answer from before anything was measured gave no reason to depart from the number.
            instead = [r for r in counted[key] if r.value is not None and r.measured is not None]
            if instead:
                made.overrides[case.pk, key] = instead
                sitting = seated | {str(r.rater_id): r.rater_role for r in instead}
                values = {str(r.rater_id): float(r.value) for r in instead if r.value is not None}
                given += group.on_measured(key, number, sitting, values)
        made.groups[case.pk] = group.aggregate(keys, given, role_weights=weights, minimum_raters=minimum)
    return made


def values_of(found: Answers, cases: Sequence[UseCase], keys: Sequence[str], known: Mapping[Cell, float]) -> np.ndarray:
    values = np.full((len(cases), len(keys)), np.nan)
    for at, case in enumerate(cases):
        for column, key in enumerate(keys):
            cell = (case.pk, key)
            alone = cell in known and cell not in found.overrides
            values[at, column] = known[cell] if alone else found.groups[case.pk][key].value
    return values


# ---- criteria in pairs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opinion:
    """One matrix of comparisons: a person's or the group's. ``ahp`` is None until every pair has an answer."""

    answered: int
    asked: int
    ahp: elicited.Ahp | None
    matrix: np.ndarray | None = None


def pairs(tops: Sequence[Criterion]) -> list[tuple[Criterion, Criterion]]:
    return list(combinations(tops, 2))


def opinion(tops: Sequence[Criterion], rows: Iterable[Judgement]) -> Opinion:
    """What one person's comparisons say, and whether they agree with each other."""
    place = {top.pk: at for at, top in enumerate(tops)}
    given = {
        (place[row.first_id], place[row.second_id]): row.value
        for row in rows
        if row.first_id in place and row.second_id in place and place[row.first_id] < place[row.second_id]
    }
    asked = len(pairs(tops))
    if len(given) < asked or not asked:
        return Opinion(len(given), asked, None)
    matrix = elicited.reciprocal_matrix(len(tops), given)
    return Opinion(len(given), asked, elicited.ahp(matrix), matrix)


def group_opinion(
    tops: Sequence[Criterion], rows: Iterable[Judgement], seats: Mapping[Any, Seat], weights: Mapping[str, float]
) -> Opinion:
    """The group's matrix: the geometric mean of those who have compared every pair, a role's weight divided among its people."""
    of_person: dict[Any, list[Judgement]] = defaultdict(list)
    for row in rows:
        of_person[row.rater_id].append(row)
    asked = len(pairs(tops))
    whole = {
        person: found
        for person, given in of_person.items()
        if person in seats and (found := opinion(tops, given)).matrix is not None
    }
    shares = group.rater_shares({str(person): seats[person].role for person in whole}, weights)
    counted = [(found.matrix, shares[str(person)]) for person, found in whole.items() if found.matrix is not None]
    if not counted or not sum(share for _, share in counted):
        return Opinion(0, asked, None)
    matrix = elicited.aggregate_judgements([m for m, _ in counted], [share for _, share in counted])
    return Opinion(len(whole), asked, elicited.ahp(matrix), matrix)


def is_pairwise(meeting: ScoringRound) -> bool:
    return meeting.weighting == RoundWeighting.PAIRWISE
