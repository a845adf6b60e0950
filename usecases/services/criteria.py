"""The scoring model in versions."""

from __future__ import annotations

import math
from typing import Any

from django.db import transaction
from django.db.models import F, Max

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import change_state, entity_create, entity_delete, entity_update
from usecases import ranking
from usecases.choices import SetState
from usecases.models import CriteriaSet, Criterion

RUBRIC_LEVELS = 6
RUBRIC_LENGTH = 300


def _draft(criteria_set: CriteriaSet) -> None:
    if criteria_set.state != SetState.DRAFT:
        raise DomainError(
            "published",
            f"{criteria_set} is {criteria_set.get_state_display().lower()} and never changes: make its next version.",
        )


@transaction.atomic
def criteria_set_create(*, actor: Any, name: str, number: int | None = None) -> CriteriaSet:
    """An empty draft; ``number`` follows the last version of that name."""
    last = CriteriaSet.objects.filter(name=name).aggregate(n=Max("number"))["n"] or 0
    return entity_create(actor=actor, model=CriteriaSet, data={"name": name, "number": number or last + 1})


@transaction.atomic
def criteria_set_publish(*, actor: Any, criteria_set: CriteriaSet) -> CriteriaSet:
    """From now on nobody can change it; older published versions of the same name retire."""
    model = ranking.model_of(criteria_set)
    wrong = [
        {"field": leaf.key, "message": f"Write out {RUBRIC_LEVELS} levels, for 0 to 5."}
        for leaf in model.leaves
        if len(leaf.rubric) != RUBRIC_LEVELS or not all(isinstance(t, str) and t.strip() for t in leaf.rubric)
    ]
    if wrong:
        raise InvalidInput(wrong, "Some rubrics are not written out.")
    change_state(criteria_set, old=SetState.DRAFT, new=SetState.PUBLISHED, published_at=wall_now())
    CriteriaSet.objects.filter(name=criteria_set.name, state=SetState.PUBLISHED).exclude(pk=criteria_set.pk).update(
        state=SetState.RETIRED, version=F("version") + 1, updated_at=wall_now()
    )
    audit.record(actor=actor, action="criteriaset.publish", obj=criteria_set)
    return criteria_set


@transaction.atomic
def criteria_set_next(*, actor: Any, criteria_set: CriteriaSet) -> CriteriaSet:
    """A draft of the next version with the same criteria; old rounds keep theirs."""
    made = criteria_set_create(actor=actor, name=criteria_set.name)
    copies: dict[Any, Criterion] = {}
    rows = list(criteria_set.criteria.all())
    for row in sorted(rows, key=lambda c: c.parent_id is not None):
        copy = Criterion(
            criteria_set=made,
            parent=copies.get(row.parent_id),
            **{
                name: getattr(row, name)
                for name in (
                    "key",
                    "name",
                    "description",
                    "weight",
                    "anchor_low",
                    "anchor_high",
                    "rubric",
                    "source",
                    "position",
                )
            },
        )
        copy.save(force_insert=True)
        copies[row.pk] = copy
    return made


def _check_criterion(criteria_set: CriteriaSet, data: dict[str, Any], current: Criterion | None = None) -> None:
    wrong: dict[str, str] = {}

    def value(name: str) -> Any:
        return data[name] if name in data else getattr(current, name, None)

    parent = value("parent")
    if parent is not None and parent.criteria_set_id != criteria_set.pk:
        wrong["parent"] = "The parent belongs to another version."
    elif parent is not None and (parent.parent_id is not None or (current is not None and parent.pk == current.pk)):
        wrong["parent"] = "Criteria have two levels: choose a top criterion."
    if value("weight") is not None and not math.isfinite(value("weight")):
        wrong["weight"] = "A weight must be a finite number."
    low, high = value("anchor_low"), value("anchor_high")
    if low is not None and high is not None and low == high:
        wrong["anchor_high"] = "The two anchors must be different numbers."
    rubric = data.get("rubric")
    if rubric is not None and (
        not isinstance(rubric, list) or len(rubric) > RUBRIC_LEVELS or not all(isinstance(t, str) for t in rubric)
    ):
        wrong["rubric"] = f"A list of {RUBRIC_LEVELS} sentences, for 0 to 5."
    elif rubric is not None and any(len(text) > RUBRIC_LENGTH for text in rubric):
        wrong["rubric"] = f"At most {RUBRIC_LENGTH} characters for each level."
    if wrong:
        raise InvalidInput(wrong)


@transaction.atomic
def criterion_create(*, actor: Any, **data: Any) -> Criterion:
    _draft(data["criteria_set"])
    _check_criterion(data["criteria_set"], data)
    return entity_create(actor=actor, model=Criterion, data=data)


@transaction.atomic
def criterion_update(
    *, actor: Any, criterion: Criterion, data: dict[str, Any], expected_version: int | None = None
) -> Criterion:
    _draft(criterion.criteria_set)
    if "criteria_set" in data and data["criteria_set"].pk != criterion.criteria_set_id:
        raise InvalidInput({"criteria_set": "A criterion stays in its version."})
    _check_criterion(criterion.criteria_set, data, criterion)
    return entity_update(actor=actor, obj=criterion, data=data, expected_version=expected_version)


@transaction.atomic
def criterion_delete(*, actor: Any, criterion: Criterion) -> None:
    _draft(criterion.criteria_set)
    entity_delete(actor=actor, obj=criterion)
