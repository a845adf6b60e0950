"""Rounds in which several people rate."""

from __future__ import annotations

import math
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from portal.core.notifications import notify
from portal.core.records import change_state, entity_create
from usecases import ranking
from usecases.choices import RoundState, SetState
from usecases.gate_rules import RATERS
from usecases.models import CriteriaSet, Rating, ScoringRound, Seat, UseCase
from usecases.services.gates import gates_remeasure

MAX_RATINGS = 2_000


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
