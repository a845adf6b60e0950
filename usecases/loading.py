"""The answers of a round, read once and ready to be ranked; who disagrees, who has answered, what a second vote moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from django.utils.translation import gettext as _

from portal.core.errors import DomainError, InvalidInput
from usecases import votes
from usecases.choices import RoundState
from usecases.domain import ratings as group
from usecases.domain import scoring
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.gate_rules import RATERS
from usecases.measured import MeasuredScore
from usecases.models import CriteriaSet, Criterion, Judgement, Rating, ScoringRound, Seat, UseCase
from usecases.opinions import share as _share


@dataclass(frozen=True)
class Model:
    """A version of the criteria, ready to calculate with. ``leaves`` in the order of ``tree.keys``."""

    tree: scoring.CriteriaTree
    tops: tuple[Criterion, ...]
    leaves: tuple[Criterion, ...]

    @property
    def names(self) -> dict[str, str]:
        return {c.key: c.name for c in (*self.tops, *self.leaves)}


def model_of(criteria_set: CriteriaSet) -> Model:
    """The criteria tree; a criterion without sub-criteria is rated itself."""
    rows = list(criteria_set.criteria.all())
    tops = [c for c in rows if c.parent_id is None]
    built, leaves = [], []
    for top in tops:
        below = [c for c in rows if c.parent_id == top.pk] or [top]
        leaves += below
        built.append(
            scoring.TopCriterion(
                top.key,
                top.weight,
                tuple(scoring.SubCriterion(c.key, c.weight if c is not top else 1.0, *c.scale) for c in below),
            )
        )
    try:
        tree = scoring.CriteriaTree(tuple(built))
    except DomainInvalid as error:
        raise InvalidInput({error.field or "criteria": error.message}) from error
    return Model(tree, tuple(tops), tuple(leaves))


@dataclass
class Loaded:
    """Everything a ranking needs, read once: ``values`` (m, n) in the order of ``cases`` and ``model.leaves``.

    ``derived``: the numbers of cells that nobody needs to judge; ``measured``: the same with text, age and link, and why there is none.
    ``ratings``: the answers that count, ``every``: those of each vote. With criteria compared in pairs ``model`` has the group's weights.
    """

    model: Model
    cases: list[UseCase]
    values: np.ndarray
    answers: dict[Any, dict[str, group.CriterionRating]]
    raters: dict[Any, set[Any]]
    derived: dict[tuple[Any, str], float]
    ratings: list[Rating]
    every: list[Rating] = field(default_factory=list)
    seats: dict[Any, Seat] = field(default_factory=dict)
    measured: dict[tuple[Any, str], MeasuredScore] = field(default_factory=dict)
    overrides: dict[tuple[Any, str], list[Rating]] = field(default_factory=dict)
    role_weights: dict[str, float] = field(default_factory=dict)
    pairwise: votes.Opinion | None = None


def shown(meeting: ScoringRound) -> Loaded:
    """``load`` for somebody who looks: refused while the answers are private. Pages and API read rounds through this."""
    if meeting.state == RoundState.OPEN:
        raise DomainError("not_revealed", "The answers are private until the reveal.", {"state": meeting.state})
    return load(meeting)


def load(meeting: ScoringRound) -> Loaded:
    """Ratings of a round as the group's values: of the newest vote that is not private. Seven queries whatever its size."""
    frame = framed(meeting)
    model, cases, seats, measured = frame.model, frame.cases, frame.seats, frame.measured
    every = list(Rating.objects.filter(round=meeting))
    criteria = {c.pk: c for c in (*model.tops, *model.leaves)}
    for row in every:
        # The criteria are at hand; a join would make each of them anew for every answer.
        row.criterion = criteria[row.criterion_id]
    rows = votes.effective(every, votes.last_vote(meeting))
    weights = votes.role_weights(meeting, {s.role for s in seats.values()} | {r.rater_role for r in rows})
    keys = [c.key for c in model.leaves]
    known = votes.numbers(measured)
    found = votes.answers([r for r in rows if r.criterion.key in keys], cases, keys, seats, known, weights, RATERS)
    raters: dict[Any, set[Any]] = {case.pk: set() for case in cases}
    for row in rows:
        raters.setdefault(row.use_case_id, set()).add(row.rater_id)
    pairwise = None
    if votes.is_pairwise(meeting):
        compared = votes.effective(Judgement.objects.filter(round=meeting), votes.last_vote(meeting))
        pairwise = votes.group_opinion(model.tops, compared, seats, weights)
        if pairwise.ahp is not None:
            model = replace(model, tree=model.tree.weighted(pairwise.ahp.weights.tolist()))
    values = votes.values_of(found, cases, keys, known)
    return Loaded(
        model,
        cases,
        values,
        found.groups,
        raters,
        known,
        rows,
        every,
        seats,
        measured,
        found.overrides,
        weights,
        pairwise,
    )


def agreement(loaded: Loaded) -> list[dict[str, Any]]:
    """Per use case and sub-criterion: the group's value, the spread, and which roles disagree (plain data, no names)."""
    out = []
    for at, case in enumerate(loaded.cases):
        for column, leaf in enumerate(loaded.model.leaves):
            cell = (case.pk, leaf.key)
            answer = loaded.answers[case.pk][leaf.key]
            instead = loaded.overrides.get(cell, [])
            score = loaded.measured.get(cell)
            out.append(
                {
                    "use_case": str(case.pk),
                    "title": case.title,
                    "criterion": leaf.key,
                    "name": leaf.name,
                    "mean": _share(loaded.values[at, column]),
                    "count": len(instead) if cell in loaded.derived else answer.count,
                    "dont_know": answer.dont_know,
                    "spread": answer.spread,
                    "disagrees": answer.disagrees,
                    "lowest": _end(loaded, answer.lowest, instead),
                    "highest": _end(loaded, answer.highest, instead),
                    "by_role": {role: _share(v) for role, v in answer.by_role.items()},
                    "missing_roles": {} if cell in loaded.derived else dict(answer.missing_roles),
                    "derived": loaded.derived.get(cell),
                    "source": leaf.source,
                    "text": score.text or score.reason if score else "",
                    "overrides": [
                        {"role": r.rater_role, "value": r.value, "measured": r.measured, "reason": r.reason}
                        for r in instead
                    ],
                }
            )
    return out


def _end(loaded: Loaded, end: tuple[str, float] | None, instead: list[Rating]) -> list[Any] | None:
    """Who stands at one end of the answers, by role."""
    if end is None:
        return None
    rater, value = end
    if instead and rater not in {str(r.rater_id) for r in instead}:
        return [_("Measured"), value]
    role = next((r.rater_role for r in loaded.ratings if str(r.rater_id) == rater), "")
    return [votes.role_label(role), value]


def changes(loaded: Loaded) -> list[dict[str, Any]]:
    """What the second vote moved, by role: cells whose answer differs between a person's first and second vote."""
    first = {(r.rater_id, r.use_case_id, r.criterion_id): r for r in loaded.every if r.vote == 1}
    titles = {case.pk: case.title for case in loaded.cases}
    out = []
    for row in loaded.ratings:
        before = first.get((row.rater_id, row.use_case_id, row.criterion_id))
        if row.vote != 2 or row.use_case_id not in titles or (before is not None and before.value == row.value):
            continue
        out.append(
            {
                "use_case": str(row.use_case_id),
                "title": titles[row.use_case_id],
                "criterion": row.criterion.key,
                "name": row.criterion.name,
                "role": row.rater_role,
                "from": before.value if before else None,
                "to": row.value,
                "comment": row.comment,
            }
        )
    return sorted(out, key=lambda r: (r["title"], r["name"], r["role"]))


def comparison(loaded: Loaded) -> dict[str, Any] | None:
    """The group's comparison of the top criteria as plain data; None where the round has none."""
    found = loaded.pairwise
    if found is None:
        return None
    return {"raters": found.answered} | told_opinion(loaded.model.tops, found)


class Frame(Protocol):
    """What of a round is no answer: read once for a page, whoever looks."""

    @property
    def model(self) -> Model: ...
    @property
    def cases(self) -> list[UseCase]: ...
    @property
    def seats(self) -> dict[Any, Seat]: ...
    @property
    def measured(self) -> dict[tuple[Any, str], MeasuredScore]: ...


@dataclass
class _Frame:
    model: Model
    cases: list[UseCase]
    seats: dict[Any, Seat]
    measured: dict[tuple[Any, str], MeasuredScore]


def framed(meeting: ScoringRound) -> _Frame:
    model = model_of(meeting.criteria_set)
    cases = list(meeting.use_cases.select_related("business_case").order_by("title", "pk"))
    return _Frame(model, cases, votes.seats_of(meeting), votes.scores(meeting, cases, model.leaves))


def progress(meeting: ScoringRound, frame: Frame | None = None) -> list[dict[str, Any]]:
    """How far each rater is in the vote of the round's state: answers given ("don't know" counts) of answers asked for.

    Nobody is asked for what is measured. Counts only, never a value: this is shown while the answers are private.
    """
    vote = votes.current_vote(meeting)
    frame = frame or framed(meeting)
    model, cases, seats, known = frame.model, frame.cases, frame.seats, votes.numbers(frame.measured)
    if isinstance(frame, Loaded):
        rows: Any = [(r.rater_id, r.use_case_id, r.criterion_id, r.vote) for r in frame.every]
    else:
        rows = Rating.objects.filter(round=meeting).order_by()
        rows = rows.values_list("rater_id", "use_case_id", "criterion_id", "vote")
    asked = {(case.pk, leaf.pk) for case in cases for leaf in model.leaves if (case.pk, leaf.key) not in known}
    counted = {vote} if vote else {1, votes.last_vote(meeting)}
    answered = {(person, case, leaf) for person, case, leaf, v in rows if v in counted and (case, leaf) in asked}
    given = Counter(person for person, _case, _leaf in answered)
    total = len(asked)
    if votes.is_pairwise(meeting):
        total += len(votes.pairs(model.tops))
        compared = Judgement.objects.filter(round=meeting, vote__in=counted).order_by()
        given.update(person for person, _one, _two in set(compared.values_list("rater_id", "first_id", "second_id")))
    return [
        {
            "id": str(person),
            "name": str(seat.person),
            "roles": [votes.role_label(seat.role)],
            "role": seat.role,
            "given": given[person],
            "asked": total,
            "done": total > 0 and given[person] >= total,
        }
        for person, seat in seats.items()
    ]


def consistency(meeting: ScoringRound, user: Any) -> dict[str, Any]:
    """One's own comparisons in the vote that runs (first answers where none was given again), and the one to look at again."""
    tops = model_of(meeting.criteria_set).tops
    rows = votes.effective(Judgement.objects.filter(round=meeting, rater=user), 2)
    return told_opinion(tops, votes.opinion(tops, rows))


def told_opinion(tops: tuple[Criterion, ...], found: votes.Opinion) -> dict[str, Any]:
    """A matrix of comparisons as plain data."""
    told: dict[str, Any] = {"answered": found.answered, "asked": found.asked, "weights": {}, "ratio": None}
    told |= {"consistent": None, "random_index": "", "revisit": None}
    ahp = found.ahp
    if ahp is None:
        return told
    told["weights"] = {c.key: round(float(w), 6) for c, w in zip(tops, ahp.weights, strict=True)}
    told |= {"ratio": round(ahp.consistency_ratio, 6), "consistent": ahp.consistent, "random_index": ahp.random_index}
    if ahp.revisit is not None:
        told["revisit"] = {
            "first": tops[ahp.revisit.row].key,
            "second": tops[ahp.revisit.column].key,
            "given": ahp.revisit.given,
            "implied": round(ahp.revisit.implied, 6),
        }
    return told
