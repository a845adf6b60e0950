"""What else is said about a ranking: second opinions, the tornado of weights, central weights. Plain data for page and API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from usecases import wording
from usecases.domain import outranking, robustness, scoring
from usecases.domain.robustness import Overtaking, Smaa, Swing

#: From this difference on (one level of a rubric of five steps) PROMETHEE II counts a preference as full.
FULL_PREFERENCE = 0.2

#: Central weights closer than this to the agreed ones say nothing about who else would choose otherwise.
NEAR = 0.02

WEIGHTED_SUM, TOPSIS, PROMETHEE = "weighted_sum", "topsis", "promethee"


def share(value: float | None) -> float | None:
    """A figure for the record: six digits, None where there is none."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def second_opinions(
    values: np.ndarray, weights: np.ndarray, scores: np.ndarray, titles: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Per use case its place by TOPSIS and PROMETHEE II, and how far the three methods agree on the first.

    ``values`` (m, n) are anchored, all "more is better", a gap at the middle of its scale.
    """
    closeness = outranking.topsis(values, weights)
    flow = outranking.promethee(values, weights, preference=np.full(values.shape[1], FULL_PREFERENCE))
    found = {WEIGHTED_SUM: scores, TOPSIS: closeness, PROMETHEE: flow}
    ranks = {method: scoring.ranking(figures).rank for method, figures in found.items()}
    rows = [
        {method: {"rank": int(ranks[method][at]), "value": share(found[method][at])} for method in (TOPSIS, PROMETHEE)}
        for at in range(len(titles))
    ]
    firsts = {method: set(np.flatnonzero(rank == 1).tolist()) for method, rank in ranks.items()}
    together, _others = outranking.agreement(firsts)
    return rows, {
        "agree": len(together),
        "first": {method: [titles[i] for i in sorted(first)] for method, first in firsts.items()},
        "sentence": wording.methods_agree(
            {method: [titles[i] for i in sorted(first)] for method, first in firsts.items()}, together
        )
        if len(titles) > 1
        else "",
    }


def tornado(
    found: Sequence[Overtaking], weights: np.ndarray, keys: Sequence[str], titles: Sequence[str]
) -> list[dict[str, Any]]:
    """Per criterion how far its weight falls or rises until another use case leads, the most delicate first."""

    def way(found: Overtaking | None) -> dict[str, Any] | None:
        return None if found is None else {"at": share(found.at), "rival": titles[found.rival]}

    def row(swing: Swing) -> dict[str, Any]:
        return {
            "criterion": keys[swing.criterion],
            "weight": share(swing.weight),
            "falls": way(swing.down),
            "rises": way(swing.up),
            "change": share(swing.change),
        }

    return [row(swing) for swing in robustness.swings(found, weights)]


def central(smaa: Smaa, tree: scoring.CriteriaTree) -> list[dict[str, Any]]:
    """Per use case the mean weights of those draws in which it wins, and how sure its values make that."""
    tops = np.stack([smaa.central_weights[:, tree.parent == t].sum(axis=1) for t in range(len(tree.criteria))], axis=1)
    return [
        {
            "central": None
            if np.isnan(row).any()
            else {key: share(w) for key, w in zip(tree.top_keys, row, strict=True)},
            "confidence": share(sure),
        }
        for row, sure in zip(tops, smaa.confidence, strict=True)
    ]


def for_whom(title: str, weights: dict[str, float] | None, agreed: dict[str, float], names: dict[str, str]) -> str:
    """ "A wins for those who weigh ROI about 55 %": the criterion in which its central weights differ most from the agreed."""
    if not weights:
        return _("{title} wins under none of the weightings.").format(title=title)
    key = max(weights, key=lambda k: abs(weights[k] - agreed.get(k, 0.0)))
    if abs(weights[key] - agreed.get(key, 0.0)) < NEAR:
        return _("{title} wins about where the weights were agreed.").format(title=title)
    return _("{title} wins for those who weigh {criterion} about {percent} %.").format(
        title=title, criterion=names.get(key, key), percent=round(100 * weights[key])
    )
