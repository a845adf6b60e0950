"""The scoring model in versions: drafts are edited, published ones never change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F, Max
from django.utils.text import slugify
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.clock import rfc3339, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import (
    change_state,
    entity_create,
    entity_delete,
    entity_update,
    versioned_update,
)
from usecases import elicitation, facts, ranking
from usecases.choices import CriterionSource, SetState
from usecases.models import CriteriaSet, Criterion
from usecases.models.criteria import RATED_FROM, RATED_TO
from usecases.standard_criteria import STANDARD

RUBRIC_LEVELS = 6
RUBRIC_LENGTH = 300
REASON_LENGTH = 300
_COPIED = (
    "key",
    "name",
    "description",
    "weight",
    "anchor_low",
    "anchor_high",
    "rubric",
    "source",
    "fact",
    "position",
)


def _draft(criteria_set: CriteriaSet) -> None:
    """Refuses unless it is a draft, and holds it: nobody publishes it before what follows is written."""
    held = CriteriaSet.objects.select_for_update().filter(pk=criteria_set.pk).first()
    if held is None:
        raise DomainError("wrong_state", _("This version was discarded meanwhile."))
    if held.state != SetState.DRAFT:
        raise DomainError(
            "published",
            f"{held} is {held.get_state_display().lower()} and never changes: make its next version.",
        )


# ---- versions -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def criteria_set_create(*, actor: Any, name: str, number: int | None = None, standard: bool = False) -> CriteriaSet:
    """A draft; ``number`` follows the last version of that name. ``standard``: with the criteria to begin with, else empty."""
    last = CriteriaSet.objects.filter(name=name).aggregate(n=Max("number"))["n"] or 0
    made = entity_create(actor=actor, model=CriteriaSet, data={"name": name, "number": number or last + 1})
    if standard:
        _fill(made)
    return made


def _fill(criteria_set: CriteriaSet) -> None:
    position = 0
    for top in STANDARD:
        parent = Criterion(criteria_set=criteria_set, key=top.key, name=str(top.name), description=top.question)
        parent.weight, parent.position = top.weight, position
        parent.save(force_insert=True)
        for sub in top.subs:
            position += 1
            low, high = _anchors(sub.source, sub.fact)
            Criterion(
                criteria_set=criteria_set,
                parent=parent,
                key=sub.key,
                name=sub.name,
                description=sub.question,
                weight=sub.weight,
                rubric=list(sub.rubric),
                source=sub.source,
                fact=sub.fact,
                anchor_low=low,
                anchor_high=high,
                position=position,
            ).save(force_insert=True)
        position += 1


def _anchors(source: str, fact: str) -> tuple[float, float]:
    """Where a version has no anchors of its own yet: those the fact proposes, or the ends of the rubric."""
    known = facts.get(fact) if source == CriterionSource.MEASURED else None
    return (known.x0, known.x1) if known is not None else (RATED_FROM, RATED_TO)


def inconsistent_levels(criteria_set: CriteriaSet) -> list[str]:
    """Keys of the levels ("" is the top) whose comparisons in pairs contradict each other."""
    return [
        key
        for key, kept in criteria_set.weighting.items()
        if (kept.get("consistency") or {}).get("consistent") is False
    ]


@transaction.atomic
def criteria_set_publish(
    *, actor: Any, criteria_set: CriteriaSet, accept_inconsistent: bool = False, reason: str = ""
) -> CriteriaSet:
    """From now on nobody can change it; older published versions of the same name retire.

    Weights from comparisons that contradict each other need ``accept_inconsistent`` with a reason, which is kept with them.
    """
    _draft(criteria_set)
    model = ranking.model_of(criteria_set)
    wrong = [
        {"field": leaf.key, "message": f"Write out {RUBRIC_LEVELS} levels, for 0 to 5."}
        for leaf in model.leaves
        if len(leaf.rubric) != RUBRIC_LEVELS or not all(isinstance(t, str) and t.strip() for t in leaf.rubric)
    ]
    wrong += [
        {"field": leaf.key, "message": _("Choose the fact that measures it.")}
        for leaf in model.leaves
        if leaf.source == CriterionSource.MEASURED and facts.get(leaf.fact) is None
    ]
    if wrong:
        raise InvalidInput(wrong, "Some criteria are not complete.")
    weighting = _accepted(actor, criteria_set, accept_inconsistent, reason)
    change_state(criteria_set, old=SetState.DRAFT, new=SetState.PUBLISHED, published_at=wall_now(), weighting=weighting)
    CriteriaSet.objects.filter(name=criteria_set.name, state=SetState.PUBLISHED).exclude(pk=criteria_set.pk).update(
        state=SetState.RETIRED, version=F("version") + 1, updated_at=wall_now()
    )
    said = {"accepted_inconsistent": reason.strip()} if weighting != criteria_set.weighting or reason.strip() else {}
    audit.record(actor=actor, action="criteriaset.publish", obj=criteria_set, changes=said)
    return criteria_set


def _accepted(actor: Any, criteria_set: CriteriaSet, accept: bool, reason: str) -> dict[str, Any]:
    """The weighting with who accepted its contradictions and why; refused without that."""
    levels = inconsistent_levels(criteria_set)
    if not levels:
        return criteria_set.weighting
    if not accept:
        raise DomainError(
            "inconsistent_weights",
            _(
                "Answers in pairs contradict each other. Look again at the one that is named, or accept them with a reason."
            ),
            {"levels": levels},
        )
    if not reason.strip():
        raise InvalidInput({"reason": _("Say why these answers are to be used as they are.")})
    if len(reason) > REASON_LENGTH:
        raise InvalidInput({"reason": _("At most {n} characters.").format(n=REASON_LENGTH)})
    said = {"reason": reason.strip(), "by": str(getattr(actor, "pk", "")), "at": rfc3339(wall_now())}
    return {key: kept | ({"accepted": said} if key in levels else {}) for key, kept in criteria_set.weighting.items()}


@transaction.atomic
def criteria_set_next(*, actor: Any, criteria_set: CriteriaSet) -> CriteriaSet:
    """A draft of the next version with the same criteria and weights; old rounds keep theirs."""
    made = criteria_set_create(actor=actor, name=criteria_set.name)
    copies: dict[Any, Criterion] = {}
    rows = list(criteria_set.criteria.all())
    for row in sorted(rows, key=lambda c: c.parent_id is not None):
        copy = Criterion(
            criteria_set=made,
            parent=copies.get(row.parent_id),
            **{name: getattr(row, name) for name in _COPIED},
        )
        copy.save(force_insert=True)
        copies[row.pk] = copy
    if criteria_set.weighting:
        kept = {key: {k: v for k, v in told.items() if k != "accepted"} for key, told in criteria_set.weighting.items()}
        versioned_update(made, weighting=kept)
    return made


@transaction.atomic
def criteria_set_delete(*, actor: Any, criteria_set: CriteriaSet) -> None:
    """Throw a draft away with its criteria."""
    _draft(criteria_set)
    entity_delete(actor=actor, obj=criteria_set)


# ---- criteria -----------------------------------------------------------------------------------------------------------


def _check_criterion(criteria_set: CriteriaSet, data: dict[str, Any], current: Criterion | None = None) -> None:
    wrong: dict[str, str] = {}

    def value(name: str) -> Any:
        return data[name] if name in data else getattr(current, name, None)

    parent = value("parent")
    if parent is not None and parent.criteria_set_id != criteria_set.pk:
        wrong["parent"] = "The parent belongs to another version."
    elif parent is not None and (parent.parent_id is not None or (current is not None and parent.pk == current.pk)):
        wrong["parent"] = "Criteria have two levels: choose a top criterion."
    elif parent is not None and current is not None and current.children.exists():
        wrong["parent"] = _("It has sub-criteria of its own: move those first.")
    key = data.get("key")
    taken = criteria_set.criteria.filter(key=key) if key else criteria_set.criteria.none()
    if (taken.exclude(pk=current.pk) if current is not None else taken).exists():
        wrong["key"] = _("Another criterion of this version has this key.")
    if value("weight") is not None and not math.isfinite(value("weight")):
        wrong["weight"] = "A weight must be a finite number."
    low, high = value("anchor_low"), value("anchor_high")
    for name, anchor in (("anchor_low", low), ("anchor_high", high)):
        if anchor is not None and not math.isfinite(anchor):
            wrong[name] = _("An anchor must be a finite number.")
    if low is not None and high is not None and low == high:
        wrong["anchor_high"] = "The two anchors must be different numbers."
    rubric = data.get("rubric")
    if rubric is not None and (
        not isinstance(rubric, list) or len(rubric) > RUBRIC_LEVELS or not all(isinstance(t, str) for t in rubric)
    ):
        wrong["rubric"] = f"A list of {RUBRIC_LEVELS} sentences, for 0 to 5."
    elif rubric is not None and any(len(text) > RUBRIC_LENGTH for text in rubric):
        wrong["rubric"] = f"At most {RUBRIC_LENGTH} characters for each level."
    fact = value("fact") or ""
    if value("source") == CriterionSource.MEASURED and fact and facts.get(fact) is None:
        wrong["fact"] = _("Nothing here measures “{fact}”. One of: {known}.").format(
            fact=fact[:80], known=", ".join(known.key for known in facts.every())
        )
    if wrong:
        raise InvalidInput(wrong)


def _completed(criteria_set: CriteriaSet, data: dict[str, Any]) -> dict[str, Any]:
    """What a new criterion takes over where nothing was said: anchors, a place at the end, a weight like its sisters'."""
    data = dict(data)
    source = data.get("source", CriterionSource.JUDGED)
    if source != CriterionSource.MEASURED:
        data["fact"] = ""
    low, high = _anchors(source, data.get("fact", ""))
    data.setdefault("anchor_low", low)
    data.setdefault("anchor_high", high)
    if "position" not in data:
        last = criteria_set.criteria.aggregate(n=Max("position"))["n"]
        data["position"] = 0 if last is None else last + 1
    if data.get("weight") is None:
        sisters = [c.weight for c in elicitation.level(criteria_set, data.get("parent"))]
        data["weight"] = sum(sisters) / len(sisters) if sum(sisters) else 1.0
    return data


@transaction.atomic
def criterion_create(*, actor: Any, **data: Any) -> Criterion:
    criteria_set = data["criteria_set"]
    _draft(criteria_set)
    data["key"] = data.get("key") or _free_key(criteria_set, data.get("name", ""))
    _check_criterion(criteria_set, data)
    made = entity_create(actor=actor, model=Criterion, data=_completed(criteria_set, data))
    _forget(criteria_set, made.parent)
    return made


def _resourced(criterion: Criterion, data: dict[str, Any]) -> dict[str, Any]:
    """A criterion that is judged, measured or derived from now on has no use for the anchors it had before, unless others were given."""
    source, fact = data.get("source", criterion.source), data.get("fact", criterion.fact)
    fact = fact if source == CriterionSource.MEASURED else ""
    if (source, fact) == (criterion.source, criterion.fact):
        return data
    ends = dict(zip(("anchor_low", "anchor_high"), _anchors(source, fact), strict=True))
    same = all(data.get(name, getattr(criterion, name)) == getattr(criterion, name) for name in ends)
    return data | {"fact": fact} | (ends if same else {})


def _free_key(criteria_set: CriteriaSet, name: str) -> str:
    stem = slugify(name).replace("-", "_")[:34] or "criterion"
    taken = set(criteria_set.criteria.values_list("key", flat=True))
    return next(key for key in (stem, *(f"{stem}_{n}" for n in range(2, 1000))) if key not in taken)


@transaction.atomic
def criterion_update(
    *, actor: Any, criterion: Criterion, data: dict[str, Any], expected_version: int | None = None
) -> Criterion:
    criteria_set = criterion.criteria_set
    _draft(criteria_set)
    if "criteria_set" in data and data["criteria_set"].pk != criterion.criteria_set_id:
        raise InvalidInput({"criteria_set": "A criterion stays in its version."})
    data = _resourced(criterion, data)
    _check_criterion(criteria_set, data, criterion)
    before = (criterion.parent, criterion.weight, criterion.key)
    done = entity_update(actor=actor, obj=criterion, data=data, expected_version=expected_version)
    if (done.parent, done.weight, done.key) != before:
        _forget(criteria_set, before[0], done.parent)
    fresh = _weighting(criteria_set)
    if done.key != before[2] and before[2] in fresh:
        kept = {done.key if key == before[2] else key: told for key, told in fresh.items()}
        versioned_update(criteria_set, weighting=kept)
    return done


@transaction.atomic
def criterion_move(*, actor: Any, criterion: Criterion, by: int) -> Criterion:
    """One place up (-1) or down (1) among its sisters; at the end it stays. Weights stay with their criteria."""
    _draft(criterion.criteria_set)
    sisters = elicitation.level(criterion.criteria_set, criterion.parent)
    at = next(place for place, row in enumerate(sisters) if row.pk == criterion.pk)
    to = at + by
    if by not in {-1, 1}:
        raise InvalidInput({"by": _("Up is -1, down is 1.")})
    if not 0 <= to < len(sisters):
        return criterion
    sisters[at], sisters[to] = sisters[to], sisters[at]
    for place, row in enumerate(sisters):
        if row.position != place:
            versioned_update(row, position=place)
    audit.record(actor=actor, action="criterion.move", obj=criterion, changes={"place": [at + 1, to + 1]})
    criterion.refresh_from_db()
    return criterion


@transaction.atomic
def criterion_delete(*, actor: Any, criterion: Criterion) -> None:
    """With its sub-criteria."""
    criteria_set, parent, key = criterion.criteria_set, criterion.parent, criterion.key
    _draft(criteria_set)
    entity_delete(actor=actor, obj=criterion)
    _forget(criteria_set, parent, more=(key,))


# ---- weights --------------------------------------------------------------------------------------------------------------


def _level_key(parent: Criterion | None) -> str:
    return parent.key if parent is not None else ""


def _weighting(criteria_set: CriteriaSet) -> dict[str, Any]:
    """As it stands in the database: the object at hand may have been read before the last change."""
    return dict(CriteriaSet.objects.values_list("weighting", flat=True).get(pk=criteria_set.pk))


def _forget(criteria_set: CriteriaSet, *parents: Criterion | None, more: tuple[str, ...] = ()) -> None:
    """How the weights of these levels were found no longer explains them."""
    gone = {_level_key(parent) for parent in parents} | set(more)
    fresh = _weighting(criteria_set)
    kept = {key: told for key, told in fresh.items() if key not in gone}
    if kept != fresh:
        versioned_update(criteria_set, weighting=kept)


@transaction.atomic
def criteria_weights_set(
    *,
    actor: Any,
    criteria_set: CriteriaSet,
    parent: Criterion | None,
    method: str,
    answers: Mapping[str, Any],
    expected_version: int | None = None,
) -> dict[str, Any]:
    """Weigh the top criteria, or the sub-criteria of ``parent``, by a method. Returns what is kept of it.

    Raises InvalidInput at the key of a bad answer (a pair is "first:second"), or at ``answers`` where they do not fit together.
    """
    _draft(criteria_set)
    if parent is not None and (parent.criteria_set_id != criteria_set.pk or parent.parent_id is not None):
        raise InvalidInput({"parent": _("Choose a top criterion of this version.")})
    criteria = elicitation.level(criteria_set, parent)
    found = elicitation.elicit(criteria, method, answers)
    entry = {
        "method": found.method,
        "answers": found.answers,
        "weights": found.weights,
        "consistency": found.consistency,
        "by": str(getattr(actor, "pk", "") or ""),
        "at": rfc3339(wall_now()),
    }
    changes = {}
    for row in criteria:
        weight = found.weights[row.key]
        if row.weight != weight:
            changes[row.key] = [round(row.weight, 6), round(weight, 6)]
            versioned_update(row, weight=weight)
    fresh = _weighting(criteria_set)
    versioned_update(criteria_set, expected_version=expected_version, weighting=fresh | {_level_key(parent): entry})
    audit.record(
        actor=actor,
        action="criteriaset.weights",
        obj=criteria_set,
        changes={"level": str(parent or _("Top criteria")), "method": found.method, **changes},
    )
    return entry
