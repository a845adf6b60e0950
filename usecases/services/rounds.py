"""Rounds in which several people rate: opened, revealed, voted on again, closed. Answers are given in ``services.ratings``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.clock import moment_text, wall_now
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from portal.core.notifications import notify
from portal.core.records import change_state, entity_create, entity_delete, entity_update
from portal.core.roles import ROLES
from usecases import ranking, votes
from usecases.choices import RoundState, RoundWeighting, SetState
from usecases.gate_rules import RATERS
from usecases.models import CriteriaSet, Judgement, Rating, ScoringRound, Seat, UseCase
from usecases.services.gates import gates_remeasure

#: Roles in which nobody rates: people outside, and machines.
NOT_RATING = ("external_partner", "integrator")
#: The random-index tables know ten criteria at most; with one or two a comparison cannot contradict itself.
MOST_COMPARED = 10


def may_lead(meeting: ScoringRound, user: Any, use_cases: int | None = None) -> bool:
    """Whether somebody may reveal, close and change a round: its facilitator, or who may change all of its use cases.

    ``use_cases``: how many these are, where that is known.
    """
    if meeting.facilitator_id == user.pk:
        return True
    allowed = UseCase.objects.permitted(user, "change").filter(rounds=meeting).count()
    return 0 < allowed >= (meeting.use_cases.count() if use_cases is None else use_cases)


def require_lead(meeting: ScoringRound, user: Any, verb: str) -> None:
    if not may_lead(meeting, user):
        raise NotAllowed(verb, [str(meeting.facilitator), str(ROLES["coe_lead"].label)])


def rater_role(person: Any) -> str:
    """The role a person rates in unless told otherwise: one that gate 1 asks for if they have it, else their first."""
    keys = person.role_keys
    return next((role for role in RATERS if role in keys), keys[0] if keys else "")


def roles_missing(taken: Sequence[str]) -> list[str]:
    """Of the roles of the seats, those that gate 1 asks for and that are too few."""
    return [role for role, needed in RATERS.items() if taken.count(role) < needed]


def _seat_errors(seats: Sequence[tuple[Any, str]], field: str) -> list[dict[str, Any]]:
    wrong, seen = [], set()
    for person, role in seats:
        if person.pk in seen:
            text = _("{person} is chosen more than once: choose the one role to rate in.").format(person=person)
            wrong.append({"field": field, "message": text})
        elif not person.is_active:
            wrong.append({"field": field, "message": _("{person} has no active account.").format(person=person)})
        elif role and role not in person.role_keys:
            text = _("{person} does not hold the role {role}.").format(person=person, role=votes.role_label(role))
            wrong.append({"field": field, "message": text})
        seen.add(person.pk)
    return wrong


def _weight_errors(role_weights: Mapping[str, Any]) -> dict[str, str]:
    for role, weight in role_weights.items():
        if role not in ROLES:
            return {"role_weights": _("There is no role {role}.").format(role=role)}
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            label = votes.role_label(role)
            return {"role_weights": _("The weight of {role} must be a number above zero.").format(role=label)}
    return {}


def _by_when(meeting: ScoringRound) -> str:
    return _(" by {when}").format(when=moment_text(meeting.due_at)) if meeting.due_at else ""


def _tell(meeting: ScoringRound, people: Iterable[Any], text: str, what: str) -> None:
    notify(
        user_ids=people,
        kind="round",
        text=text,
        url=meeting.get_absolute_url(),
        dedupe_key=f"round:{meeting.pk}:{what}",
    )


def _raters(meeting: ScoringRound, but: Any = None) -> list[Any]:
    return [p for p in Seat.objects.filter(round=meeting).values_list("person_id", flat=True) if p != but]


@transaction.atomic
def round_open(
    *,
    actor: Any,
    title: str,
    criteria_set: CriteriaSet,
    use_cases: list[UseCase],
    raters: Sequence[Any] = (),
    seats: Sequence[tuple[Any, str]] | None = None,
    facilitator: Any = None,
    weighting: str = RoundWeighting.CRITERIA,
    role_weights: Mapping[str, float] | None = None,
    due_at: Any = None,
) -> ScoringRound:
    """Invite people to score use cases with a published version of the criteria.

    ``seats`` says in which role each rates; of people given as ``raters`` alone it is the one gate 1 asks for.
    """
    sitting = list(seats) if seats is not None else [(person, rater_role(person)) for person in raters]
    wrong: dict[str, str] = _weight_errors(role_weights or {})
    if criteria_set.state != SetState.PUBLISHED:
        wrong["criteria_set"] = _("Choose a published version.")
    elif weighting == RoundWeighting.PAIRWISE:
        tops = len(ranking.model_of(criteria_set).tops)
        if not 2 <= tops <= MOST_COMPARED:
            wrong["weighting"] = _(
                "Between two and ten top criteria can be compared in pairs; this version has {n}."
            ).format(n=tops)
    if not use_cases:
        wrong["use_cases"] = _("Choose at least one use case.")
    field = "seats" if seats is not None else "raters"
    if not sitting:
        wrong[field] = _("Invite at least one person.")
    if due_at is not None and due_at <= wall_now():
        wrong["due_at"] = _("This moment is over: choose a later one.")
    rows = [{"field": name, "message": text} for name, text in wrong.items()] + _seat_errors(sitting, field)
    if rows:
        raise InvalidInput(rows)
    meeting = entity_create(
        actor=actor,
        model=ScoringRound,
        data={
            "title": title,
            "criteria_set": criteria_set,
            "facilitator": facilitator or actor,
            "weighting": weighting,
            "role_weights": dict(role_weights or {}),
            "due_at": due_at,
        },
        many={"use_cases": use_cases},
        action="scoringround.open",
    )
    Seat.objects.bulk_create(Seat(round=meeting, person=person, role=role) for person, role in sitting)
    _tell(meeting, [p.pk for p, _role in sitting], f"{meeting} waits for your ratings{_by_when(meeting)}.", "open")
    return meeting


@transaction.atomic
def round_update(
    *, actor: Any, meeting: ScoringRound, data: dict[str, Any], expected_version: int | None = None
) -> ScoringRound:
    """Title and date until the round is closed; the weights of the roles only while nobody has seen an answer."""
    if meeting.state == RoundState.CLOSED:
        raise DomainError("round_closed", _("This round is closed; its result is frozen."), {"state": meeting.state})
    weights = data.get("role_weights")
    wrong = _weight_errors(weights or {})
    if weights is not None and weights != meeting.role_weights and meeting.state != RoundState.OPEN:
        wrong = {"role_weights": _("The answers are revealed: the weights of the roles stay as they were.")}
    due = data.get("due_at")
    if due is not None and due != meeting.due_at and due <= wall_now():
        wrong["due_at"] = _("This moment is over: choose a later one.")
    if wrong:
        raise InvalidInput(wrong)
    before = meeting.due_at
    entity_update(actor=actor, obj=meeting, data=data, expected_version=expected_version)
    if meeting.due_at and meeting.due_at != before:
        text = f"{meeting} wants your ratings{_by_when(meeting)}."
        _tell(meeting, _raters(meeting), text, f"due:{meeting.due_at:%Y%m%d%H%M}")
    return meeting


@transaction.atomic
def seat_add(*, actor: Any, meeting: ScoringRound, person: Any, role: str = "") -> Seat:
    """Invite one more person while the first vote runs."""
    _touch_open(meeting, _("People can be invited only during the first vote."))
    chosen = role or rater_role(person)
    wrong = _seat_errors([(person, chosen)], "role" if role else "person")
    if Seat.objects.filter(round=meeting, person=person).exists():
        wrong = [{"field": "person", "message": _("This person is invited already.")}]
    if wrong:
        raise InvalidInput(wrong)
    seat = entity_create(actor=actor, model=Seat, data={"round": meeting, "person": person, "role": chosen})
    audit.record(
        actor=actor, action="scoringround.invite", obj=meeting, changes={"person": str(person), "role": chosen}
    )
    text = f"{meeting} waits for your ratings{_by_when(meeting)}."
    _tell(meeting, [person.pk], text, f"seat:{seat.pk}")
    return seat


@transaction.atomic
def seat_remove(*, actor: Any, meeting: ScoringRound, person: Any) -> None:
    """Take a rater out while the first vote runs; their answers go with them, unread."""
    _touch_open(meeting, _("People can be taken out only during the first vote."))
    seat = Seat.objects.filter(round=meeting, person=person).first()
    if seat is None:
        raise InvalidInput({"person": _("This person is not invited.")})
    if Seat.objects.filter(round=meeting).count() == 1:
        raise DomainError("last_rater", _("A round needs at least one rater: invite somebody else first."))
    given = Rating.objects.filter(round=meeting, rater=person).delete()[0]
    given += Judgement.objects.filter(round=meeting, rater=person).delete()[0]
    seat.delete()
    changes = {"person": str(person), "answers_taken_out": given}
    audit.record(actor=actor, action="scoringround.uninvite", obj=meeting, changes=changes)
    _tell(meeting, [person.pk], f"You are no longer asked to rate in {meeting}.", f"unseat:{seat.pk}")


def _touch_open(meeting: ScoringRound, refusal: str) -> None:
    """Locks the round against the reveal while its seats change, and moves its ETag for whoever watches."""
    rows = ScoringRound.objects.filter(pk=meeting.pk, state=RoundState.OPEN)
    if rows.update(updated_at=wall_now()) != 1:
        raise DomainError("wrong_state", refusal)


def _anybody_rated(meeting: ScoringRound) -> None:
    if not Rating.objects.filter(round=meeting).exists():
        raise DomainError("nothing_rated", _("Nobody has rated anything yet, so there is no result."))


@transaction.atomic
def round_reveal(*, actor: Any, meeting: ScoringRound) -> ScoringRound:
    """End the first vote: from now on everybody sees what was answered."""
    _anybody_rated(meeting)
    change_state(meeting, old=RoundState.OPEN, new=RoundState.REVEALED, revealed_at=wall_now())
    audit.record(actor=actor, action="scoringround.reveal", obj=meeting, changes=_turnout(meeting))
    _tell(meeting, _raters(meeting, actor.pk), f"The answers of {meeting} are revealed.", "revealed")
    return meeting


@transaction.atomic
def round_second_vote(*, actor: Any, meeting: ScoringRound) -> ScoringRound:
    """Ask everybody once more, privately; who does not answer again keeps the first answer."""
    change_state(meeting, old=RoundState.REVEALED, new=RoundState.SECOND)
    audit.record(actor=actor, action="scoringround.second_vote", obj=meeting)
    _tell(
        meeting,
        _raters(meeting, actor.pk),
        f"{meeting} votes a second time: change what you see differently now.",
        "second",
    )
    return meeting


@transaction.atomic
def round_close(*, actor: Any, meeting: ScoringRound) -> ScoringRound:
    """Freeze the result. Who has not answered is counted as missing, not as zero."""
    _anybody_rated(meeting)
    now = wall_now()
    old = (RoundState.OPEN, RoundState.REVEALED, RoundState.SECOND)
    # The state moves first: a rating that comes meanwhile is refused, so the result is what the rows say.
    change_state(meeting, old=old, new=RoundState.CLOSED, closed_at=now, revealed_at=meeting.revealed_at or now)
    meeting.result = {}  # nothing is frozen yet: what is measured is read as it is now
    loaded = ranking.load(meeting)
    result = ranking.rank(loaded) | {
        "agreement": ranking.agreement(loaded),
        "measured": votes.frozen(loaded.measured),
        "changes": ranking.changes(loaded),
        "pairwise": ranking.comparison(loaded),
        "role_weights": loaded.role_weights,
        "seats": _turnout(meeting)["seats"],
    }
    ScoringRound.objects.filter(pk=meeting.pk).update(result=result)
    meeting.result = result
    audit.record(
        actor=actor,
        action="scoringround.close",
        obj=meeting,
        changes={
            "verdict": result["verdict"],
            "ranking": ", ".join(f"{r['rank']} {r['title']} ({r['score']:.3f})" for r in result["rows"]),
        },
    )
    _tell(meeting, _raters(meeting, actor.pk), f"{meeting} is closed; its result is frozen.", "closed")
    for use_case in loaded.cases:
        gates_remeasure(use_case=use_case.pk)
    return meeting


def _turnout(meeting: ScoringRound) -> dict[str, Any]:
    """How many seats of each role there are, and how many people have answered."""
    roles = list(Seat.objects.filter(round=meeting).values_list("role", flat=True))
    rated = Rating.objects.filter(round=meeting).order_by().values("rater").distinct().count()
    return {"seats": {role: roles.count(role) for role in sorted(set(roles))}, "people_who_rated": rated}


@transaction.atomic
def round_withdraw(*, actor: Any, meeting: ScoringRound) -> None:
    """Take back a round that nobody has answered in yet."""
    _touch_open(meeting, _("Only a round in its first vote can be withdrawn."))
    if Rating.objects.filter(round=meeting).exists() or Judgement.objects.filter(round=meeting).exists():
        raise DomainError("already_rated", _("Somebody has answered already: close the round instead."))
    people, pk = _raters(meeting, actor.pk), meeting.pk
    notify(user_ids=people, kind="round", text=f"{meeting} was withdrawn.", dedupe_key=f"round:{pk}:withdrawn")
    entity_delete(actor=actor, obj=meeting, action="scoringround.withdraw")
