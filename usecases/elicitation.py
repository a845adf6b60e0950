"""From somebody's answers to the weights of one level of the criteria: checks them, calls usecases.domain, shapes plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.utils.translation import gettext as _

from portal.core.errors import InvalidInput
from usecases.choices import WeightMethod
from usecases.domain import weights as domain
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.models import CriteriaSet, Criterion

#: What the answers as a whole are refused at; a single answer is refused at its key, a pair at "first:second".
WHOLE = "answers"
_MOST_POINTS = 100.0


@dataclass(frozen=True)
class Elicited:
    """``answers`` as they are kept, ``weights`` by key summing to 1, ``consistency`` of answers in pairs."""

    method: str
    answers: dict[str, float]
    weights: dict[str, float]
    consistency: dict[str, Any] | None = None


def level(criteria_set: CriteriaSet, parent: Criterion | None) -> list[Criterion]:
    """The criteria whose weights are set together, in their order."""
    return list(criteria_set.criteria.filter(parent=parent))


def pair_key(first: Criterion, second: Criterion) -> str:
    return f"{first.key}:{second.key}"


def pairs(criteria: Sequence[Criterion]) -> list[tuple[Criterion, Criterion]]:
    return list(combinations(criteria, 2))


def elicit(criteria: Sequence[Criterion], method: str, answers: Mapping[str, Any]) -> Elicited:
    """Raises InvalidInput at the key of each answer that cannot be used, or at ``answers`` for all of them together."""
    if method not in WeightMethod.values:
        raise InvalidInput({"method": _("One of: {methods}.").format(methods=", ".join(WeightMethod.values))})
    if not criteria:
        raise InvalidInput({WHOLE: _("There is no criterion to weigh here yet.")})
    if method == WeightMethod.AHP:
        return _in_pairs(criteria, answers)
    given = _numbers([c.key for c in criteria], answers, _LIMITS[method](len(criteria)))
    values = list(given.values())
    try:
        if method == WeightMethod.DIRECT:
            found = domain.require_unit_sum([value / 100 for value in values])
        elif method == WeightMethod.SWING:
            found = domain.swing(values)
        else:
            found = domain.rank_order_centroid(values)
    except DomainInvalid as error:
        raise _refusal(error, criteria, given) from error
    return Elicited(method, given, {key: float(w) for key, w in zip(given, found, strict=True)})


_LIMITS: dict[str, Any] = {
    WeightMethod.DIRECT: lambda n: (0.0, 100.0),
    WeightMethod.SWING: lambda n: (0.0, _MOST_POINTS),
    WeightMethod.RANK_ORDER: lambda n: (1.0, float(n)),
}


def _numbers(keys: Sequence[str], answers: Mapping[str, Any], limits: tuple[float, float]) -> dict[str, float]:
    low, high = limits
    wrong: dict[str, str] = {key: _("There is no such criterion here.") for key in answers if key not in keys}
    given: dict[str, float] = {}
    for key in keys:
        value = answers.get(key)
        if value is None:
            wrong[key] = _("Needs an answer.")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            wrong[key] = _("A number.")
        elif not low <= value <= high:
            wrong[key] = _("From {low} to {high}.").format(low=f"{low:g}", high=f"{high:g}")
        else:
            given[key] = float(value)
    if wrong:
        raise InvalidInput(wrong)
    return given


def _refusal(error: DomainInvalid, criteria: Sequence[Criterion], given: Mapping[str, float]) -> InvalidInput:
    if error.code == "weights_do_not_sum":
        offered = domain.whole_percents(list(given.values()))
        text = _("These sum to {total} %, not to 100 %. In the same proportions: {offered}.").format(
            total=f"{sum(given.values()):g}",
            offered=", ".join(f"{c.name} {p} %" for c, p in zip(criteria, offered, strict=True)),
        )
        refusal = InvalidInput([{"field": WHOLE, "message": text}])
        refusal.extra["offered"] = {c.key: p for c, p in zip(criteria, offered, strict=True)}
        return refusal
    words = {
        "weights_all_zero": _("At least one must be above zero."),
        "swing_none_at_100": _("Give 100 points to the swing that matters most."),
    }
    return InvalidInput({WHOLE: words.get(error.code, error.message)})


def _in_pairs(criteria: Sequence[Criterion], answers: Mapping[str, Any]) -> Elicited:
    """Answers "first:second" -> how many times as important; either direction of a pair, kept in the order of the criteria."""
    place = {c.key: at for at, c in enumerate(criteria)}
    asked = {pair_key(first, second) for first, second in pairs(criteria)}
    wrong: dict[str, str] = {}
    given: dict[tuple[int, int], float] = {}
    for pair, value in answers.items():
        first, _colon, second = str(pair).partition(":")
        if first not in place or second not in place or first == second:
            wrong[str(pair)] = _("There is no such pair here.")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            wrong[str(pair)] = _("A number from 1/9 to 9.")
        elif not 1 / domain.STRONGEST - 1e-3 <= value <= domain.STRONGEST + 1e-9:
            wrong[str(pair)] = _("From 1/9 to 9: nine times as important is the most that can be said.")
        else:
            i, j = place[first], place[second]
            at, ratio = ((i, j), float(value)) if i < j else ((j, i), 1 / float(value))
            if at in given:
                wrong[str(pair)] = _("This pair has two answers; the other direction follows from one.")
            given[at] = ratio
    kept = {pair_key(criteria[i], criteria[j]): given[i, j] for i, j in sorted(given)}
    tried = {frozenset(str(pair).split(":")) for pair in answers}
    wrong |= {pair: _("Compare these two.") for pair in asked if frozenset(pair.split(":")) not in tried}
    if wrong:
        raise InvalidInput(wrong)
    try:
        found = domain.ahp(domain.reciprocal_matrix(len(criteria), given))
    except DomainInvalid as error:
        raise InvalidInput({WHOLE: error.message}) from error
    weights = {c.key: float(w) for c, w in zip(criteria, found.weights, strict=True)}
    return Elicited(WeightMethod.AHP, kept, weights, _consistency(criteria, given, found))


def _consistency(
    criteria: Sequence[Criterion], given: Mapping[tuple[int, int], float], found: domain.Ahp
) -> dict[str, Any]:
    size = len(criteria)
    told: dict[str, Any] = {
        "ratio": found.consistency_ratio,
        "limit": domain.CONSISTENCY_LIMIT,
        "consistent": found.consistent,
        "lambda_max": found.lambda_max,
        "index": found.consistency_index,
        "random_index": found.random_index,
        "random_index_value": domain.RANDOM_INDEX[found.random_index].get(size),
        "revisit": None,
    }
    if found.revisit is not None:
        step = domain.scale_step(found.revisit.agreeing)
        at = (found.revisit.row, found.revisit.column)
        after = domain.ahp(domain.reciprocal_matrix(size, {**given, at: step}))
        told["revisit"] = {
            "first": criteria[at[0]].key,
            "second": criteria[at[1]].key,
            "given": found.revisit.given,
            "agreeing": found.revisit.agreeing,
            "step": step,
            "ratio_after": after.consistency_ratio,
        }
    return told


def starting_answers(criteria: Sequence[Criterion], method: str, kept: Mapping[str, Any]) -> dict[str, float]:
    """What a form begins with: the kept answers of this method, else what the present weights say; pairs begin empty."""
    if kept.get("method") == method:
        return {str(key): float(value) for key, value in kept.get("answers", {}).items()}
    weights = [max(0.0, c.weight) for c in criteria]
    if method == WeightMethod.AHP or not criteria or not sum(weights):
        return {}
    keys = [c.key for c in criteria]
    if method == WeightMethod.DIRECT:
        return dict(zip(keys, map(float, domain.whole_percents(weights)), strict=True))
    if method == WeightMethod.SWING:
        return {key: float(round(100 * w / max(weights))) for key, w in zip(keys, weights, strict=True)}
    return {key: float(1 + sum(w > weight for w in weights)) for key, weight in zip(keys, weights, strict=True)}
