"""From ratings in the database to a ranking with its verdict: loads, calls usecases.domain, shapes plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from django.utils.translation import gettext as _

from portal.core.errors import InvalidInput
from usecases import opinions, wording
from usecases.choices import RoundState
from usecases.domain import robustness, scoring
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.loading import (
    Loaded,
    Model,
    agreement,
    changes,
    comparison,
    consistency,
    load,
    model_of,
    progress,
    shown,
)
from usecases.models import ScoringRound, UseCase
from usecases.opinions import share

__all__ = [
    "Loaded",
    "Model",
    "Rankable",
    "agreement",
    "changes",
    "comparison",
    "consistency",
    "load",
    "model_of",
    "progress",
    "rank",
    "reweighted",
    "shown",
    "thresholds",
    "told",
]

#: Draws of the uncertain values behind the confidence factors: only the drawer shows them.
CONFIDENCE_DRAWS = 100


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


def told(meeting: ScoringRound, table: Rankable) -> dict[str, Any]:
    """The ranking of a revealed round: as frozen where it is closed and the table holds all of it, else of the table."""
    frozen = meeting.result if meeting.state == RoundState.CLOSED else {}
    whole = {row["id"] for row in frozen.get("rows", [])} <= {str(case.pk) for case in table.cases}
    return {"flip": ""} | frozen if whole and "sub_weights" in frozen else rank(table)


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
