"""From ratings in the database to a ranking with its verdict: loads, calls usecases.domain, shapes plain data."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Count

from portal.core.errors import InvalidInput
from usecases import wording
from usecases.choices import CriterionSource
from usecases.domain import ratings as group
from usecases.domain import robustness, scoring
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.gate_rules import RATER_WEIGHTS, RATERS
from usecases.models import CriteriaSet, Criterion, Rating, ScoringRound, UseCase

#: Draws of the uncertain values behind the confidence factors: only the drawer shows them.
CONFIDENCE_DRAWS = 100


@dataclass(frozen=True)
class Leaf:
    criterion: Criterion
    key: str


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
                tuple(
                    scoring.SubCriterion(c.key, c.weight if c is not top else 1.0, c.anchor_low, c.anchor_high)
                    for c in below
                ),
            )
        )
    try:
        tree = scoring.CriteriaTree(tuple(built))
    except DomainInvalid as error:
        raise InvalidInput({error.field or "criteria": error.message}) from error
    return Model(tree, tuple(tops), tuple(leaves))


def derived_rating(use_case: UseCase, criterion: Criterion) -> float | None:
    """The ROI rating follows from the business case once there is one."""
    if criterion.source != CriterionSource.DERIVED:
        return None
    case = getattr(use_case, "business_case", None)
    return case.result.get("rating") if case is not None and case.result else None


@dataclass
class Loaded:
    """Everything a ranking needs, read once: ``values`` (m, n) in the order of ``cases`` and ``model.leaves``."""

    model: Model
    cases: list[UseCase]
    values: np.ndarray
    answers: dict[Any, dict[str, group.CriterionRating]]
    raters: dict[Any, set[Any]]
    derived: dict[tuple[Any, str], float]
    ratings: list[Rating]


def load(meeting: ScoringRound) -> Loaded:
    """Ratings of a round as the group's values. Six queries whatever its size."""
    model = model_of(meeting.criteria_set)
    cases = list(meeting.use_cases.select_related("business_case").order_by("title", "pk"))
    ratings = list(Rating.objects.filter(round=meeting).select_related("rater", "criterion"))
    rows: dict[Any, list[Rating]] = defaultdict(list)
    for rating in ratings:
        rows[rating.use_case_id].append(rating)
    roles = {r.rater_role for given in rows.values() for r in given}
    weights = {role: RATER_WEIGHTS.get(role, 1.0) for role in roles}
    keys = [c.key for c in model.leaves]
    answers, raters, derived = {}, {}, {}
    values = np.full((len(cases), len(keys)), np.nan)
    for at, case in enumerate(cases):
        given = [
            group.Rating(str(r.rater), r.rater_role, r.criterion.key, r.value)
            for r in rows[case.pk]
            if r.criterion.key in keys
        ]
        answers[case.pk] = group.aggregate(keys, given, role_weights=weights, minimum_raters=RATERS)
        raters[case.pk] = {r.rater_id for r in rows[case.pk]}
        for column, leaf in enumerate(model.leaves):
            known = derived_rating(case, leaf)
            if known is not None:
                derived[(case.pk, leaf.key)] = known
            values[at, column] = known if known is not None else answers[case.pk][leaf.key].value
    return Loaded(model, cases, values, answers, raters, derived, ratings)


def _share(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def rank(loaded: Loaded, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The ranking as plain data: rows best first, the verdict and its sentences, and what was not rated yet.

    ``weights`` (top criterion key -> relative weight) asks "what if"; the answer then also says what flipped and why.
    """
    model = loaded.model
    tree = model.tree if weights is None else _weighted(model, weights)
    rated = ~np.isnan(loaded.values).all(axis=1)
    cases = [c for c, known in zip(loaded.cases, rated, strict=True) if known]
    unrated = [str(c) for c, known in zip(loaded.cases, rated, strict=True) if not known]
    base = {
        "weights": {c.key: round(float(w), 6) for c, w in zip(model.tops, tree.top_weights, strict=True)},
        "unrated": unrated,
        "draws": robustness.DRAWS,
        "kappa": robustness.KAPPA,
    }
    if not cases:
        return base | {"rows": [], "verdict": "", "sentence": "", "flip": ""}
    values = loaded.values[rated]
    sums = scoring.weighted_sum(tree, values)
    places = scoring.ranking(sums.score)
    judged = robustness.assess(tree, values, [c.title for c in cases], confidence_draws=CONFIDENCE_DRAWS)
    rows = []
    for at in places.order:
        case, place = cases[at], int(places.rank[at])
        accepted = judged.smaa.acceptability[at]
        rows.append(
            {
                "id": str(case.pk),
                "title": case.title,
                "rank": place,
                "score": _share(sums.score[at]),
                "known": _share(sums.known[at]),
                "low": _share(sums.low[at]),
                "high": _share(sums.high[at]),
                "by_top": {c.key: _share(v) for c, v in zip(model.tops, sums.by_top[at], strict=True)},
                "first": _share(accepted[0]),
                "keeps_place": _share(accepted[:place].sum()),
                "acceptability": [_share(b) for b in accepted],
            }
        )
    names = model.names
    result = base | {
        "rows": rows,
        "verdict": str(judged.verdict),
        "winner": cases[judged.winner].title,
        "sentence": wording.paragraph(judged.explain(limit=1), names),
        "smallest_change": None if judged.smallest_change is None else _share(judged.smallest_change),
        "flip": "",
    }
    if weights is not None:
        result["flip"] = _flip(model, tree, values, [c.title for c in cases], names)
    return result


def _weighted(model: Model, weights: Mapping[str, float]) -> scoring.CriteriaTree:
    known = {c.key for c in model.tops}
    wrong = {key: "There is no such criterion." for key in weights if key not in known}
    wrong |= {key: "A weight for each criterion is needed." for key in known if key not in weights}
    if wrong:
        raise InvalidInput(wrong)
    try:
        return model.tree.weighted([float(weights[c.key]) for c in model.tops])
    except DomainInvalid as error:
        raise InvalidInput({"weights": error.message}) from error


def _flip(
    model: Model, tree: scoring.CriteriaTree, values: np.ndarray, titles: list[str], names: dict[str, str]
) -> str:
    """Who was first before and which weight's move did most to change that."""
    by_top = scoring.top_values(tree, scoring.anchored_values(values, tree.x0, tree.x1))
    before = int((by_top @ model.tree.top_weights).argmax())
    now = int((by_top @ tree.top_weights).argmax())
    if now == before:
        return ""
    moved = tree.top_weights - model.tree.top_weights
    cause = int((moved * (by_top[now] - by_top[before])).argmax())
    return wording.flipped(
        now_first=titles[now],
        before_first=titles[before],
        criterion=names[model.tops[cause].key],
        old_percent=100 * float(model.tree.top_weights[cause]),
        new_percent=100 * float(tree.top_weights[cause]),
    )


def agreement(loaded: Loaded) -> list[dict[str, Any]]:
    """Per use case and sub-criterion: the group's value, the spread, and who disagrees (plain data)."""
    out = []
    for case in loaded.cases:
        for leaf in loaded.model.leaves:
            answer = loaded.answers[case.pk][leaf.key]
            out.append(
                {
                    "use_case": str(case.pk),
                    "title": case.title,
                    "criterion": leaf.key,
                    "name": leaf.name,
                    "mean": _share(answer.value),
                    "count": answer.count,
                    "dont_know": answer.dont_know,
                    "spread": answer.spread,
                    "disagrees": answer.disagrees,
                    "lowest": list(answer.lowest) if answer.lowest else None,
                    "highest": list(answer.highest) if answer.highest else None,
                    "by_role": {role: _share(v) for role, v in answer.by_role.items()},
                    "missing_roles": dict(answer.missing_roles),
                    "derived": loaded.derived.get((case.pk, leaf.key)),
                }
            )
    return out


def progress(meeting: ScoringRound, loaded: Loaded | None = None) -> list[dict[str, Any]]:
    """How far each rater is: answers given ("don't know" counts) of answers asked for; from ``loaded`` where it was read."""
    if loaded is None:
        leaves = model_of(meeting.criteria_set).leaves
        asked = len(leaves) * meeting.use_cases.count()
        answers = Rating.objects.filter(round=meeting, criterion__in=leaves).order_by()
        given: Mapping[Any, int] = dict(answers.values_list("rater_id").annotate(n=Count("pk")))
    else:
        asked = len(loaded.model.leaves) * len(loaded.cases)
        counted = {leaf.pk for leaf in loaded.model.leaves}
        given = Counter(r.rater_id for r in loaded.ratings if r.criterion_id in counted)
    people = {p.pk: p for p in meeting.raters.prefetch_related("groups")}
    return [
        {
            "id": str(pk),
            "name": str(person),
            "roles": sorted(g.name.replace("_", " ") for g in person.groups.all()),
            "given": given.get(pk, 0),
            "asked": asked,
            "done": asked > 0 and given.get(pk, 0) >= asked,
        }
        for pk, person in sorted(people.items(), key=lambda item: str(item[1]))
    ]
