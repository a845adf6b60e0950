"""Answers in a round: ratings, comparisons of criteria, and a first vote that is kept."""

from __future__ import annotations

import math
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from usecases import ranking, votes
from usecases.choices import CriterionSource, RoundState
from usecases.models import Judgement, Rating, ScoringRound, Seat

MAX_RATINGS = 2_000
LONGEST_TEXT = 500
#: Saaty's scale; a judgement outside it says more than a person can tell apart.
STRONGEST = 9.0


def _closed(meeting: ScoringRound) -> DomainError:
    told = {
        RoundState.CLOSED: ("round_closed", _("This round is closed; its result is frozen. Nothing was saved.")),
        RoundState.REVEALED: (
            "round_revealed",
            _("The answers are revealed; nobody answers until the second vote. Nothing was saved."),
        ),
        RoundState.SECOND: (
            "second_vote",
            _("The second vote has begun meanwhile. Nothing was saved: look at the answers and save again."),
        ),
        RoundState.OPEN: ("first_vote", _("The first vote is still running. Nothing was saved.")),
    }
    code, message = told[RoundState(meeting.state)]
    return DomainError(code, message, {"state": meeting.state})


def _seated(actor: Any, meeting: ScoringRound) -> Seat:
    seat = Seat.objects.filter(round=meeting, person=actor).first()
    if seat is None:
        raise NotAllowed("rate in", [f"Raters invited to “{meeting}”"])
    return seat


def _begin(actor: Any, meeting: ScoringRound, vote: int | None) -> tuple[Seat, int]:
    """The actor's seat and the vote that runs, with the round locked against the next step while answers are written.

    ``vote``: the one the answers were meant for, where the sender says so.
    """
    running = votes.current_vote(meeting)
    if running is None or vote not in {None, running}:
        raise _closed(meeting)
    seat = _seated(actor, meeting)
    # Moves the ETag for whoever watches, too.
    if ScoringRound.objects.filter(pk=meeting.pk, state=meeting.state).update(updated_at=wall_now()) != 1:
        meeting.refresh_from_db(fields=["state"])
        raise _closed(meeting)
    return seat, running


@transaction.atomic
def ratings_put(
    *, actor: Any, meeting: ScoringRound, rows: list[dict[str, Any]], vote: int | None = None
) -> list[Rating]:
    """Write one's own ratings: ``[{use_case, criterion, value | None, comment, reason}]``; None is "I don't know".

    A rating given again in the same vote replaces the earlier one. What is measured is replaced only with a reason.
    All or nothing.
    """
    seat, running = _begin(actor, meeting, vote)
    if len(rows) > MAX_RATINGS:
        raise InvalidInput({"ratings": _("At most {n} ratings at once.").format(n=MAX_RATINGS)})
    leaves = {c.pk: c for c in ranking.model_of(meeting.criteria_set).leaves}
    cases = {c.pk: c for c in meeting.use_cases.select_related("business_case")}
    named = [c for c in cases.values() if any(row["use_case"].pk == c.pk for row in rows)]
    asked = [c for c in leaves.values() if any(row["criterion"].pk == c.pk for row in rows)]
    numbered = [c for c in asked if c.source != CriterionSource.JUDGED]
    known = votes.numbers(votes.scores(meeting, named, numbered))
    wrong: list[dict[str, Any]] = []
    for at, row in enumerate(rows):
        wrong += _errors(at, row, cases, leaves, known)
    if wrong:
        raise InvalidInput(wrong)
    now = wall_now()
    made = []
    for row in rows:
        number = known.get((row["use_case"].pk, row["criterion"].key))
        instead = number is not None and row.get("value") is not None
        key = {"round": meeting, "use_case": row["use_case"], "criterion": row["criterion"], "rater": actor}
        values = {
            "value": row.get("value"),
            "comment": row.get("comment") or "",
            "rater_role": seat.role,
            "measured": number if instead else None,
            "reason": (row.get("reason") or "").strip() if instead else "",
        }
        made.append(_upsert(Rating, key | {"vote": running}, values, now))
    # Counts only: the trail is read by others while the answers are private.
    told = {"answers": len(made), "vote": running}
    audit.record(actor=actor, action="rating.put", obj=meeting, changes=told)
    return made


def _errors(at: int, row: dict[str, Any], cases: Any, leaves: Any, known: Any) -> list[dict[str, Any]]:
    value = row.get("value")
    found: dict[str, str] = {}
    if row["use_case"].pk not in cases:
        found["use_case"] = _("This use case is not in the round.")
    if row["criterion"].pk not in leaves:
        found["criterion"] = _("This criterion is not rated in the round.")
    if value is not None and not (math.isfinite(value) and 0 <= value <= 5):
        found["value"] = _("A rating lies between 0 and 5.")
    for name in ("comment", "reason"):
        if len(row.get(name) or "") > LONGEST_TEXT:
            found[name] = _("At most {n} characters.").format(n=LONGEST_TEXT)
    instead = value is not None and (row["use_case"].pk, row["criterion"].key) in known
    if instead and not (row.get("reason") or "").strip():
        found["reason"] = _("This is measured: write why your answer should count instead.")
    return [{"field": f"ratings[{at}].{name}", "message": message} for name, message in found.items()]


def _upsert(model: Any, key: dict[str, Any], values: dict[str, Any], now: Any) -> Any:
    changed = model.objects.filter(**key).update(**values, updated_at=now, version=F("version") + 1)
    if not changed:
        try:
            with transaction.atomic():
                return model.objects.create(**key, **values)
        except IntegrityError:
            model.objects.filter(**key).update(**values, updated_at=now, version=F("version") + 1)
    return model.objects.get(**key)


@transaction.atomic
def judgements_put(
    *, actor: Any, meeting: ScoringRound, rows: list[dict[str, Any]], vote: int | None = None
) -> list[Judgement]:
    """Write one's own comparisons: ``[{first, second, value}]``, "first is so many times as important as second".

    Either order of a pair is taken; it is stored in the order of the criteria. All or nothing.
    """
    seat, running = _begin(actor, meeting, vote)
    del seat
    if not votes.is_pairwise(meeting):
        raise DomainError("not_pairwise", _("In this round the criteria are not compared: their weights are given."))
    tops = list(ranking.model_of(meeting.criteria_set).tops)
    place = {top.pk: at for at, top in enumerate(tops)}
    wrong: list[dict[str, Any]] = []
    seen: set[Any] = set()
    for at, row in enumerate(rows):
        problem = _pair_problem(row, place, seen)
        if problem:
            wrong.append({"field": f"judgements[{at}].{problem[0]}", "message": problem[1]})
        seen.add(frozenset((row["first"].pk, row["second"].pk)))
    if wrong:
        raise InvalidInput(wrong)
    now = wall_now()
    made = []
    for row in rows:
        first, second, value = row["first"], row["second"], float(row["value"])
        if place[first.pk] > place[second.pk]:
            first, second, value = second, first, 1 / value
        key = {"round": meeting, "rater": actor, "vote": running, "first": first, "second": second}
        made.append(_upsert(Judgement, key, {"value": value}, now))
    audit.record(actor=actor, action="judgement.put", obj=meeting, changes={"answers": len(made), "vote": running})
    return made


def _pair_problem(row: dict[str, Any], place: dict[Any, int], seen: set[Any]) -> tuple[str, str] | None:
    first, second, value = row["first"], row["second"], row["value"]
    if first.pk not in place:
        return "first", _("Only the top criteria of this round are compared.")
    if second.pk not in place or second.pk == first.pk:
        return "second", _("Choose another top criterion of this round.")
    if frozenset((first.pk, second.pk)) in seen:
        return "second", _("This pair was compared twice.")
    if not math.isfinite(value) or not 1 / STRONGEST - 1e-9 <= value <= STRONGEST + 1e-9:
        return "value", _("A comparison lies between 1/9 and 9.")
    return None


@transaction.atomic
def votes_keep(*, actor: Any, meeting: ScoringRound, use_case: Any = None) -> int:
    """In the second vote: give the first answers again wherever none was given yet. How many that were."""
    if meeting.state != RoundState.SECOND:
        raise _closed(meeting)
    _seat, running = _begin(actor, meeting, 2)
    del _seat
    mine = Rating.objects.filter(round=meeting, rater=actor)
    first = mine.filter(vote=1) if use_case is None else mine.filter(vote=1, use_case=use_case)
    done = set(mine.filter(vote=running).values_list("use_case_id", "criterion_id"))
    kept = [
        Rating(
            round=meeting,
            rater=actor,
            vote=running,
            **{
                name: getattr(row, name)
                for name in ("use_case_id", "criterion_id", "rater_role", "value", "comment", "measured", "reason")
            },
        )
        for row in first
        if (row.use_case_id, row.criterion_id) not in done
    ]
    Rating.objects.bulk_create(kept)
    compared = _kept_judgements(actor, meeting, running) if use_case is None else []
    Judgement.objects.bulk_create(compared)
    count = len(kept) + len(compared)
    audit.record(actor=actor, action="rating.keep", obj=meeting, changes={"answers": count, "vote": running})
    return count


def _kept_judgements(actor: Any, meeting: ScoringRound, running: int) -> list[Judgement]:
    mine = Judgement.objects.filter(round=meeting, rater=actor)
    done = set(mine.filter(vote=running).values_list("first_id", "second_id"))
    return [
        Judgement(round=meeting, rater=actor, vote=running, first_id=r.first_id, second_id=r.second_id, value=r.value)
        for r in mine.filter(vote=1)
        if (r.first_id, r.second_id) not in done
    ]
