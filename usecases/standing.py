"""Where use cases stand: the group's values of one round, or of the whole programme from the newest closed round of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from portal.core.errors import DomainError, InvalidInput
from usecases import ranking
from usecases.choices import CriterionSource, RoundState, SetState, UseCaseState
from usecases.domain import scoring
from usecases.models import CriteriaSet, Criterion, ScoringRound, UseCase
from usecases.opinions import share
from usecases.ranking import Model

#: Of a whole programme: more would wait longer than a slider may.
MAX_CASES = 400
Asked = tuple[dict[str, float] | None, dict[str, float] | None]


@dataclass
class Table:
    """Use cases with the group's values, ready for `ranking.rank`. ``origins``: use case -> the round its values are from.

    ``apart`` are use cases with values that cannot be compared here, each with the reason.
    """

    model: Model
    cases: list[UseCase]
    values: np.ndarray
    origins: dict[Any, ScoringRound] = field(default_factory=dict)
    apart: list[tuple[UseCase, str]] = field(default_factory=list)
    seen: set[Any] = field(default_factory=set)

    @property
    def gaps(self) -> int:
        """Values that nobody knows, of use cases of which something is known."""
        missing = np.isnan(self.values)
        return int(missing[~missing.all(axis=1)].sum())


def of_round(user: Any, meeting: ScoringRound, loaded: ranking.Loaded | None = None) -> Table:
    """What this person may see of a round's standing. Raises DomainError while the answers are private.

    ``loaded``: the round's answers, where they have been read already.
    """
    if meeting.state == RoundState.OPEN:
        raise DomainError(
            "not_revealed",
            _("Private until revealed: nobody sees a ranking while people still rate for themselves."),
            {"state": meeting.state},
        )
    table = _frozen(meeting) if meeting.state == RoundState.CLOSED else _loaded(meeting, loaded)
    ids = [case.pk for case in table.cases]
    visible = set(UseCase.objects.permitted(user).filter(pk__in=ids).values_list("pk", flat=True))
    # Who sits in the round has rated all of it; others see only what they may see anyway.
    inside = meeting.facilitator_id == user.pk or (
        len(visible) < len(ids) and meeting.raters.filter(pk=user.pk).exists()
    )
    keep = [at for at, pk in enumerate(ids) if inside or pk in visible]
    cases = [table.cases[at] for at in keep]
    return replace(table, cases=cases, values=table.values[keep], seen=visible)


def _loaded(meeting: ScoringRound, loaded: ranking.Loaded | None) -> Table:
    loaded = loaded or ranking.shown(meeting)
    return Table(loaded.model, list(loaded.cases), loaded.values, dict.fromkeys((c.pk for c in loaded.cases), meeting))


def _frozen(meeting: ScoringRound) -> Table:
    """A closed round as it was frozen: later business cases and measurements do not move it."""
    model = ranking.model_of(meeting.criteria_set)
    weights = meeting.result.get("weights", {})
    if set(weights) == set(model.tree.top_keys):
        model = replace(model, tree=model.tree.weighted([weights[key] for key in model.tree.top_keys]))
    cases = list(meeting.use_cases.order_by("title", "pk"))
    known = frozen_values(meeting.result)
    values = _matrix(cases, model.leaves, known)
    return Table(model, cases, values, dict.fromkeys((c.pk for c in cases), meeting))


def frozen_values(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Use case id -> sub-criterion key -> the group's value in the frozen result of a round."""
    found: dict[str, dict[str, float]] = {}
    for row in result.get("rows", []):
        found[row["id"]] = {key: v for key, v in row.get("values", {}).items() if v is not None}
    if any(found.values()):
        return found
    # Rounds that were closed before the values stood in the rows.
    for row in result.get("agreement", []):
        value = row["derived"] if row.get("derived") is not None else row.get("mean")
        if value is not None:
            found.setdefault(row["use_case"], {})[row["criterion"]] = value
    return found


def _matrix(
    cases: Iterable[UseCase], leaves: Iterable[Criterion], known: Mapping[str, Mapping[str, float]]
) -> np.ndarray:
    keys = [leaf.key for leaf in leaves]
    rows = [[known.get(str(case.pk), {}).get(key, math.nan) for key in keys] for case in cases]
    return np.array(rows, dtype=float).reshape(-1, len(keys))


def newest_criteria() -> CriteriaSet | None:
    return (
        CriteriaSet.objects.filter(state=SetState.PUBLISHED)
        .prefetch_related("criteria")
        .order_by("-published_at", "-number", "id")
        .first()
    )


def of_programme(user: Any, cases: QuerySet[UseCase] | None = None) -> Table | None:
    """Every use case this person may see, with the values of its newest closed round, on the newest published criteria.

    A sub-criterion of an older version is taken where key and rubric are the same; None without published criteria.
    """
    criteria = newest_criteria()
    if criteria is None:
        return None
    model = ranking.model_of(criteria)
    newest = ScoringRound.objects.filter(state=RoundState.CLOSED, use_cases=OuterRef("pk")).order_by("-closed_at", "id")
    permitted: Any = UseCase.objects.permitted(user) if cases is None else cases
    rows = list(
        permitted.exclude(state=UseCaseState.KILLED)
        .annotate(newest_round=Subquery(newest.values("pk")[:1]))
        .order_by("title", "pk")[:MAX_CASES]
    )
    rounds = {
        meeting.pk: meeting
        for meeting in ScoringRound.objects.filter(pk__in={c.newest_round for c in rows if c.newest_round})
        .select_related("criteria_set")
        .prefetch_related("criteria_set__criteria")
    }
    same = {pk: _comparable(model, meeting) for pk, meeting in rounds.items()}
    frozen = {pk: frozen_values(meeting.result) for pk, meeting in rounds.items()}
    known: dict[str, dict[str, float]] = {}
    apart: list[tuple[UseCase, str]] = []
    kept = []
    for case in rows:
        meeting = rounds.get(case.newest_round)
        given = {} if meeting is None else frozen[meeting.pk].get(str(case.pk), {})
        known[str(case.pk)] = {key: v for key, v in given.items() if meeting is not None and key in same[meeting.pk]}
        if meeting is not None and given and not known[str(case.pk)]:
            apart.append(
                (
                    case,
                    _("rated in “{round}” with {criteria}, whose questions are other ones").format(
                        round=meeting, criteria=meeting.criteria_set
                    ),
                )
            )
        else:
            kept.append(case)
    origins = {case.pk: rounds[case.newest_round] for case in kept if case.newest_round in rounds}
    return Table(model, kept, _matrix(kept, model.leaves, known), origins, apart, {c.pk for c in kept})


def by_top(table: Table) -> dict[Any, dict[str, float | None]]:
    """Use case -> value 0..1 under each top criterion, of those of which something is known."""
    if not table.cases:
        return {}
    sums = scoring.weighted_sum(table.model.tree, table.values)
    return {
        case.pk: {c.key: share(value) for c, value in zip(table.model.tops, row, strict=True)}
        for case, row, score in zip(table.cases, sums.by_top, sums.score, strict=True)
        if not math.isnan(score)
    }


def _comparable(model: Model, meeting: ScoringRound) -> set[str]:
    """Keys whose question and levels the round's version shares with this one, and its anchors where it is measured."""
    theirs = {c.key: c for c in meeting.criteria_set.criteria.all()}
    return {leaf.key for leaf in model.leaves if leaf.key in theirs and _asks(theirs[leaf.key]) == _asks(leaf)}


def _asks(leaf: Criterion) -> tuple[Any, ...]:
    # A measured rating has been made with its anchors; a judged one is turned into a value here.
    if leaf.source == CriterionSource.MEASURED:
        return leaf.source, leaf.fact, leaf.anchor_low, leaf.anchor_high
    return leaf.source == CriterionSource.DERIVED, leaf.rubric


def asked_weights(model: Model, query: Mapping[str, str]) -> Asked:
    """The weights an address asks for, by criterion key; who is not named keeps the agreed one. None: nothing was asked.

    Raises InvalidInput at each key whose value is no number.
    """
    wrong: dict[str, str] = {}

    def read(agreed: dict[str, float], scale: float) -> dict[str, float] | None:
        given = {key: query[key] for key in agreed if key in query}
        for key, text in given.items():
            try:
                if not math.isfinite(float(text)):
                    raise ValueError
            except ValueError:
                wrong[key] = _("A weight must be a number.")
        if wrong or not given:
            return None
        return {key: float(given[key]) if key in given else round(scale * agreed[key]) for key in agreed}

    tops = dict(zip(model.tree.top_keys, model.tree.top_weights.tolist(), strict=True))
    # A criterion without sub-criteria is its own only leaf: there is nothing to weigh below it.
    subs = {k: float(w) for k, w in zip(model.tree.keys, model.tree.within, strict=True) if k not in tops}
    found = read(tops, 100), read(subs, 100)
    if wrong:
        raise InvalidInput(wrong)
    return found
