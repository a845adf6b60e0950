"""From ratings in the database to a ranking with its verdict: loads, calls usecases.domain, shapes plain data."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from django.db.models import Count
from django.utils.translation import gettext as _

from portal.core.errors import InvalidInput
from usecases import opinions, wording
from usecases.choices import CriterionSource
from usecases.domain import ratings as group
from usecases.domain import robustness, scoring
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.gate_rules import RATER_WEIGHTS, RATERS
from usecases.models import CriteriaSet, Criterion, Rating, ScoringRound, UseCase
from usecases.opinions import share

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


class Rankable(Protocol):
    """What a ranking needs: a model of criteria, use cases, and the group's values (m, n), NaN where nobody knows."""

    @property
    def model(self) -> Model: ...
    @property
    def cases(self) -> list[UseCase]: ...
    @property
    def values(self) -> np.ndarray: ...


def thresholds() -> robustness.Thresholds:
    return robustness.Thresholds(
        clear=settings.ROBUSTNESS_CLEAR, close=settings.ROBUSTNESS_CLOSE, margin=settings.ROBUSTNESS_MARGIN
    )


def rank(
    loaded: Rankable, weights: Mapping[str, float] | None = None, sub_weights: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The ranking as plain data: rows best first, the verdict and its sentences, and what was not rated yet.

    ``weights`` (top criterion key -> relative weight) and ``sub_weights`` (sub-criterion key -> weight among its sisters)
    ask "what if"; who is not named keeps the agreed weight. The answer then also says what flipped and why.
    """
    model = loaded.model
    tree = reweighted(model, weights, sub_weights)
    rated = ~np.isnan(loaded.values).all(axis=1)
    cases = [c for c, known in zip(loaded.cases, rated, strict=True) if known]
    unrated = [str(c) for c, known in zip(loaded.cases, rated, strict=True) if not known]
    limits = thresholds()
    base = {
        "weights": {c.key: round(float(w), 6) for c, w in zip(model.tops, tree.top_weights, strict=True)},
        "sub_weights": {c.key: round(float(w), 6) for c, w in zip(model.leaves, tree.within, strict=True)},
        "unrated": unrated,
        "draws": settings.SMAA_DRAWS,
        "kappa": settings.ROBUSTNESS_KAPPA,
        "thresholds": {"clear": limits.clear, "close": limits.close, "margin": limits.margin},
    }
    if not cases:
        return base | {"rows": [], "verdict": "", "sentence": "", "flip": ""}
    ratings = loaded.values[rated]
    titles = [c.title for c in cases]
    sums = scoring.weighted_sum(tree, ratings)
    places = scoring.ranking(sums.score)
    judged = robustness.assess(
        tree,
        ratings,
        titles,
        kappa=settings.ROBUSTNESS_KAPPA,
        draws=settings.SMAA_DRAWS,
        thresholds=limits,
        confidence_draws=CONFIDENCE_DRAWS,
    )
    values = scoring.anchored_values(ratings, tree.x0, tree.x1)
    whole = np.where(np.isnan(values), 0.5, values)
    second, methods = opinions.second_opinions(whole, tree.leaf_weights, sums.score, titles)
    central = opinions.central(judged.smaa, tree)
    rows = []
    for at in places.order:
        case, place = cases[at], int(places.rank[at])
        accepted = judged.smaa.acceptability[at]
        rows.append(
            {
                "id": str(case.pk),
                "title": case.title,
                "rank": place,
                "score": share(sums.score[at]),
                "known": share(sums.known[at]),
                "low": share(sums.low[at]),
                "high": share(sums.high[at]),
                "by_top": {c.key: share(v) for c, v in zip(model.tops, sums.by_top[at], strict=True)},
                "values": {c.key: share(v) for c, v in zip(model.leaves, ratings[at], strict=True)},
                "first": share(accepted[0]),
                "keeps_place": share(accepted[:place].sum()),
                "acceptability": [share(b) for b in accepted],
                "second": second[at],
                **central[at],
            }
        )
    leaf_changes = robustness.overtakings(whole, tree.leaf_weights, judged.winner)
    result = base | {
        "rows": rows,
        "verdict": str(judged.verdict),
        "winner": titles[judged.winner],
        "runner_up": None if judged.runner_up is None else titles[judged.runner_up],
        "sentence": wording.paragraph(judged.explain(limit=1), model.names),
        "smallest_change": share(judged.smallest_change),
        "methods": methods,
        "tornado": opinions.tornado(judged.overtakings, tree.top_weights, tree.top_keys, titles),
        "sub_tornado": opinions.tornado(leaf_changes, tree.leaf_weights, tree.keys, titles),
        "flip": "",
    }
    if weights is not None or sub_weights is not None:
        result["flip"] = _flip(model, tree, whole, titles)
    return result


def reweighted(
    model: Model, weights: Mapping[str, float] | None, sub_weights: Mapping[str, float] | None = None
) -> scoring.CriteriaTree:
    """The criteria with other weights. Raises InvalidInput at the key of each weight that cannot be used."""
    if weights is None and sub_weights is None:
        return model.tree
    tops = dict(zip(model.tree.top_keys, model.tree.top_weights.tolist(), strict=True))
    subs = dict(zip(model.tree.keys, model.tree.within.tolist(), strict=True))
    wrong: dict[str, str] = {}
    for agreed, asked in ((tops, weights or {}), (subs, sub_weights or {})):
        for key, weight in asked.items():
            if key not in agreed:
                wrong[key] = _("There is no such criterion.")
            elif not math.isfinite(weight):
                wrong[key] = _("A weight must be a number.")
            elif weight < 0:
                wrong[key] = _("A weight cannot be negative.")
        agreed |= {key: float(weight) for key, weight in asked.items()}
    if weights is not None and len(weights) < len(tops):
        wrong |= {key: _("A weight for each criterion is needed.") for key in tops if key not in weights}
    names = model.names
    for top in model.tree.criteria:
        sisters = [s.key for s in top.children]
        if sub_weights is not None and not any(subs[key] > 0 for key in sisters) and not wrong:
            wrong[sisters[0]] = _("At least one weight under {criterion} must be above zero.").format(
                criterion=names[top.key]
            )
    if not wrong and not any(weight > 0 for weight in tops.values()):
        wrong["weights"] = _("At least one weight must be above zero.")
    if wrong:
        raise InvalidInput(wrong)
    try:
        return model.tree.weighted(list(tops.values()), list(subs.values()))
    except DomainInvalid as error:
        raise InvalidInput({error.field or "weights": error.message}) from error


def _flip(model: Model, tree: scoring.CriteriaTree, values: np.ndarray, titles: list[str]) -> str:
    """Who was first before, and which weight's move did most to change that; ``values`` (m, n) without gaps."""
    old = model.tree
    before, now = (int((values @ t.leaf_weights).argmax()) for t in (old, tree))
    if now == before:
        return ""
    lead = values[now] - values[before]
    # What the winner gains comes from moved top weights and, under each of them, from moved weights of its sub-criteria.
    by_top = (tree.top_weights - old.top_weights) * (lead @ tree.top_of_leaf)
    by_leaf = old.top_weights[old.parent] * (tree.within - old.within) * lead
    if by_leaf.max() > by_top.max():
        cause = int(by_leaf.argmax())
        part, whole = model.leaves[cause].name, model.tops[int(tree.parent[cause])].name
        shares = (old.within[cause], tree.within[cause])
    else:
        cause = int(by_top.argmax())
        part, whole = model.tops[cause].name, ""
        shares = (old.top_weights[cause], tree.top_weights[cause])
    return wording.flipped(
        now_first=titles[now],
        before_first=titles[before],
        criterion=part,
        inside=whole,
        old_percent=100 * float(shares[0]),
        new_percent=100 * float(shares[1]),
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
                    "mean": share(answer.value),
                    "count": answer.count,
                    "dont_know": answer.dont_know,
                    "spread": answer.spread,
                    "disagrees": answer.disagrees,
                    "lowest": list(answer.lowest) if answer.lowest else None,
                    "highest": list(answer.highest) if answer.highest else None,
                    "by_role": {role: share(v) for role, v in answer.by_role.items()},
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
