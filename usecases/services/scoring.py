"""The scoring model in versions, and rounds in which several people rate."""

from __future__ import annotations

import math
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from portal.core.notifications import notify
from portal.core.records import change_state, entity_create, entity_delete, entity_update
from usecases import ranking
from usecases.choices import RoundState, SetState
from usecases.gate_rules import RATERS
from usecases.models import CriteriaSet, Criterion, Rating, ScoringRound, Seat, UseCase
from usecases.services.gates import gates_remeasure

RUBRIC_LEVELS = 6
RUBRIC_LENGTH = 300
MAX_RATINGS = 2_000


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


@transaction.atomic
def round_open(
    *,
    actor: Any,
    title: str,
    criteria_set: CriteriaSet,
    use_cases: list[UseCase],
    raters: list[Any],
    facilitator: Any = None,
) -> ScoringRound:
    """Invite raters to score use cases with a published version of the criteria."""
    wrong: dict[str, str] = {}
    if criteria_set.state != SetState.PUBLISHED:
        wrong["criteria_set"] = "Choose a published version."
    if not use_cases:
        wrong["use_cases"] = "Choose at least one use case."
    if not raters:
        wrong["raters"] = "Invite at least one person."
    if wrong:
        raise InvalidInput(wrong)
    meeting = entity_create(
        actor=actor,
        model=ScoringRound,
        data={"title": title, "criteria_set": criteria_set, "facilitator": facilitator or actor},
        many={"use_cases": use_cases},
        action="scoringround.open",
    )
    Seat.objects.bulk_create(Seat(round=meeting, person=p, role=rater_role(p)) for p in raters)
    notify(
        user_ids=[p.pk for p in raters],
        kind="round",
        text=f"{meeting} waits for your ratings.",
        url=meeting.get_absolute_url(),
        dedupe_key=f"round:{meeting.pk}",
    )
    return meeting


def rater_role(person: Any) -> str:
    """The role a person rates in: one that gate 1 asks for if they have it, else their first."""
    keys = person.role_keys
    return next((role for role in RATERS if role in keys), keys[0] if keys else "")


def _open(meeting: ScoringRound) -> None:
    if meeting.state != RoundState.OPEN:
        raise DomainError("round_closed", "This round is closed; its result is frozen.", {"state": meeting.state})


@transaction.atomic
def ratings_put(*, actor: Any, meeting: ScoringRound, rows: list[dict[str, Any]]) -> list[Rating]:
    """Write one's own ratings: ``[{use_case, criterion, value | None, comment}]``; None is "I don't know".

    A rating given again replaces the earlier one. All or nothing.
    """
    _open(meeting)
    if not meeting.raters.filter(pk=actor.pk).exists():
        raise NotAllowed("rate in", [f"Raters invited to “{meeting}”"])
    if len(rows) > MAX_RATINGS:
        raise InvalidInput({"ratings": f"At most {MAX_RATINGS} ratings at once."})
    leaves = {c.pk: c for c in ranking.model_of(meeting.criteria_set).leaves}
    cases = {c.pk for c in meeting.use_cases.all()}
    wrong = []
    for at, row in enumerate(rows):
        value = row.get("value")
        if row["use_case"].pk not in cases:
            wrong.append({"field": f"ratings[{at}].use_case", "message": "This use case is not in the round."})
        if row["criterion"].pk not in leaves:
            wrong.append({"field": f"ratings[{at}].criterion", "message": "This criterion is not rated in the round."})
        if value is not None and not (math.isfinite(value) and 0 <= value <= 5):
            wrong.append({"field": f"ratings[{at}].value", "message": "A rating lies between 0 and 5."})
        if len(row.get("comment") or "") > 500:
            wrong.append({"field": f"ratings[{at}].comment", "message": "At most 500 characters."})
    if wrong:
        raise InvalidInput(wrong)
    # Locks the round against closing while these are written, and moves its ETag for whoever watches.
    now = wall_now()
    if ScoringRound.objects.filter(pk=meeting.pk, state=RoundState.OPEN).update(updated_at=now) != 1:
        raise DomainError("round_closed", "This round was closed a moment ago; its result is frozen.")
    role = rater_role(actor)
    made = []
    for row in rows:
        key = {"round": meeting, "use_case": row["use_case"], "criterion": row["criterion"], "rater": actor}
        values = {"value": row.get("value"), "comment": row.get("comment") or "", "rater_role": role}
        made.append(_upsert(key, values, now))
    audit.record(
        actor=actor,
        action="rating.put",
        obj=meeting,
        changes={
            "ratings": {f"{r.use_case} / {r.criterion.key}": r.value for r in made},
        },
    )
    return made


def _upsert(key: dict[str, Any], values: dict[str, Any], now: Any) -> Rating:
    changed = Rating.objects.filter(**key).update(**values, updated_at=now, version=F("version") + 1)
    if not changed:
        try:
            with transaction.atomic():
                return Rating.objects.create(**key, **values)
        except IntegrityError:
            Rating.objects.filter(**key).update(**values, updated_at=now, version=F("version") + 1)
    return Rating.objects.select_related("use_case", "criterion").get(**key)


@transaction.atomic
def round_close(*, actor: Any, meeting: ScoringRound) -> ScoringRound:
    """Freeze the result. Who has not answered is counted as missing, not as zero."""
    # The state moves first: a rating that comes meanwhile is refused, so the result is what the rows say.
    change_state(meeting, old=RoundState.OPEN, new=RoundState.CLOSED, closed_at=wall_now())
    loaded = ranking.load(meeting)
    if not any(loaded.raters.values()):
        raise DomainError("nothing_rated", "Nobody has rated anything yet, so there is no result to freeze.")
    result = ranking.rank(loaded) | {"agreement": ranking.agreement(loaded)}
    ScoringRound.objects.filter(pk=meeting.pk).update(result=result)
    meeting.result = result
    audit.record(
        actor=actor,
        action="scoringround.close",
        obj=meeting,
        changes={
            "verdict": result["verdict"],
            "ranking": [[r["rank"], r["title"], r["score"]] for r in result["rows"]],
        },
    )
    for use_case in loaded.cases:
        gates_remeasure(use_case=use_case.pk)
    return meeting
