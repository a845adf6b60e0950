"""Scoring rounds: their states, and who sits as what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from portal.core.access import grant_role
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from portal.core.models import AuditEntry, Notification
from tests.usecases.conftest import rate
from usecases import ranking, services
from usecases.models import Criterion, Rating, ScoringRound, Seat

pytestmark = pytest.mark.django_db
V1 = "/api/v1"
SECRET = 4.1379
WORDS = "the bearing was replaced in spring"


def url(name: str, *args: Any) -> str:
    return reverse(f"usecases:{name}", args=args)


def fresh(meeting: ScoringRound) -> ScoringRound:
    return ScoringRound.objects.select_related("criteria_set").get(pk=meeting.pk)


def told(meeting: ScoringRound, title: str, key: str) -> dict[str, Any]:
    rows = ranking.agreement(ranking.load(fresh(meeting)))
    return next(r for r in rows if r["title"] == title and r["criterion"] == key)


# ---- states -----------------------------------------------------------------------------------------------------------


def test_a_round_goes_from_first_vote_to_closed(cast, rated):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    assert fresh(rated).revealed_at
    with pytest.raises(DomainError) as refusal:
        rate(cast.plant_manager, rated, cast.ours, {"data": 1.0})
    assert refusal.value.code == "round_revealed"
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    rate(cast.plant_manager, rated, cast.ours, {"data": 1.0})
    services.round_close(actor=cast.coe_lead, meeting=rated)
    assert fresh(rated).state == "closed"
    with pytest.raises(DomainError) as refusal:
        rate(cast.plant_manager, fresh(rated), cast.ours, {"data": 2.0})
    assert refusal.value.code == "round_closed"


@pytest.mark.parametrize("state", ["revealed", "second", "closed"])
def test_a_step_is_taken_once(cast, rated, state):
    stale = fresh(rated)
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    ScoringRound.objects.filter(pk=rated.pk).update(state=state)
    with pytest.raises(DomainError) as refusal:
        services.round_reveal(actor=cast.coe_lead, meeting=stale)
    assert refusal.value.code == "wrong_state"


def test_a_second_vote_needs_the_reveal(cast, rated):
    with pytest.raises(DomainError) as refusal:
        services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    assert refusal.value.extra == {"state": "open", "needed": ["revealed"]}


def test_closing_straight_away_reveals_as_well(cast, rated):
    services.round_close(actor=cast.coe_lead, meeting=rated)
    assert fresh(rated).revealed_at == fresh(rated).closed_at
    assert fresh(rated).result["rows"]


def test_who_does_not_answer_again_keeps_the_first_answer(cast, rated):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    rate(cast.plant_manager, rated, cast.ours, {"data": 1.0})
    assert told(rated, "Ours", "data")["mean"] == 4.0, "vote 2 is private until the round is closed"
    services.round_close(actor=cast.coe_lead, meeting=rated)
    row = told(rated, "Ours", "data")
    assert (row["mean"], row["by_role"]["plant_manager"]) == (3.0, 1.0)
    moved = fresh(rated).result["changes"]
    assert [(m["title"], m["criterion"], m["role"], m["from"], m["to"]) for m in moved] == [
        ("Ours", "data", "plant_manager", 4.0, 1.0)
    ]


def test_first_answers_are_kept_in_one_go(cast, rated):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    rate(cast.plant_manager, rated, cast.ours, {"data": 1.0})
    assert services.votes_keep(actor=cast.plant_manager, meeting=rated) == 7
    again = Rating.objects.get(rater=cast.plant_manager, use_case=cast.ours, criterion__key="data", vote=2)
    assert again.value == 1.0, "what was answered again stays"
    rows = {p["name"]: p for p in ranking.progress(fresh(rated))}
    assert rows["plant_manager"]["done"]
    assert not rows["ot_engineer"]["given"]
    assert services.votes_keep(actor=cast.plant_manager, meeting=rated) == 0


def test_answers_meant_for_another_vote_are_refused(cast, rated):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    leaf = Criterion.objects.get(key="data")
    rows = [{"use_case": cast.ours, "criterion": leaf, "value": 1.0}]
    with pytest.raises(DomainError) as refusal:
        services.ratings_put(actor=cast.plant_manager, meeting=rated, rows=rows, vote=1)
    assert refusal.value.code == "second_vote"
    assert not Rating.objects.filter(vote=2).exists()


def test_a_round_closed_while_somebody_writes_takes_nothing(cast, rated):
    stale = fresh(rated)
    services.round_close(actor=cast.coe_lead, meeting=rated)
    count = Rating.objects.count()
    leaf = Criterion.objects.get(key="data")
    rows = [{"use_case": cast.ours, "criterion": leaf, "value": 1.0}]
    with pytest.raises(DomainError) as refusal:
        services.ratings_put(actor=cast.plant_manager, meeting=stale, rows=rows)
    assert (refusal.value.code, Rating.objects.count()) == ("round_closed", count)


def test_only_an_unanswered_round_is_withdrawn(cast, meeting):
    rate(cast.plant_manager, meeting, cast.ours, {"data": 1.0})
    with pytest.raises(DomainError) as refusal:
        services.round_withdraw(actor=cast.coe_lead, meeting=meeting)
    assert refusal.value.code == "already_rated"
    Rating.objects.all().delete()
    services.round_withdraw(actor=cast.coe_lead, meeting=meeting)
    assert not ScoringRound.objects.exists()
    assert Notification.objects.filter(user=cast.plant_manager, text="Spring round was withdrawn.").exists()
    assert AuditEntry.objects.filter(action="scoringround.withdraw").exists()


def test_title_date_and_weights_of_roles_change(cast, rated):
    due = wall_now() + timedelta(days=3)
    data = {"title": "Summer", "due_at": due, "role_weights": {"plant_manager": 2.0}}
    services.round_update(actor=cast.coe_lead, meeting=rated, data=data)
    assert (fresh(rated).title, fresh(rated).role_weights) == ("Summer", {"plant_manager": 2.0})
    assert Notification.objects.filter(user=cast.ot_engineer, text__contains="wants your ratings by").count() == 1
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    with pytest.raises(InvalidInput) as refusal:
        services.round_update(actor=cast.coe_lead, meeting=rated, data={"role_weights": {}})
    assert refusal.value.errors[0]["field"] == "role_weights"
    services.round_close(actor=cast.coe_lead, meeting=rated)
    with pytest.raises(DomainError) as frozen:
        services.round_update(actor=cast.coe_lead, meeting=rated, data={"title": "Late"})
    assert frozen.value.code == "round_closed"


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "2", True])
def test_a_weight_of_a_role_is_a_number_above_zero(cast, criteria, weight):
    with pytest.raises(InvalidInput) as refusal:
        services.round_open(
            actor=cast.coe_lead,
            title="R",
            criteria_set=criteria,
            use_cases=[cast.ours],
            raters=[cast.plant_manager],
            role_weights={"plant_manager": weight},
        )
    assert refusal.value.errors[0]["field"] == "role_weights"


def test_roles_weigh_as_the_round_says(cast, meeting):
    services.round_update(actor=cast.coe_lead, meeting=meeting, data={"role_weights": {"plant_manager": 3.0}})
    rate(cast.plant_manager, meeting, cast.ours, {"data": 5.0})
    rate(cast.ot_engineer, meeting, cast.ours, {"data": 1.0})
    assert told(meeting, "Ours", "data")["mean"] == 4.0
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    assert fresh(meeting).result["role_weights"]["plant_manager"] == 3.0


# ---- seats ------------------------------------------------------------------------------------------------------------


def test_a_person_rates_in_the_role_of_the_seat(cast, criteria):
    grant_role(cast.plant_manager, "executive")
    meeting = services.round_open(
        actor=cast.coe_lead,
        title="R",
        criteria_set=criteria,
        use_cases=[cast.ours],
        seats=[(cast.plant_manager, "executive"), (cast.ot_engineer, "ot_engineer")],
    )
    rate(cast.plant_manager, meeting, cast.ours, {"data": 2.0})
    assert Rating.objects.get().rater_role == "executive"
    roles = list(Seat.objects.filter(round=meeting).values_list("role", flat=True))
    assert services.roles_missing(roles) == ["plant_manager", "data_scientist"]


def test_a_seat_needs_a_role_the_person_holds_and_only_one(cast, criteria):
    for seats, what in (
        ([(cast.ot_engineer, "plant_manager")], "does not hold the role"),
        ([(cast.ot_engineer, "ot_engineer"), (cast.ot_engineer, "")], "more than once"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            services.round_open(
                actor=cast.coe_lead, title="R", criteria_set=criteria, use_cases=[cast.ours], seats=seats
            )
        assert refusal.value.errors[0]["field"] == "seats"
        assert what in refusal.value.errors[0]["message"]


def test_people_join_and_leave_while_the_first_vote_runs(cast, rated):
    services.seat_add(actor=cast.coe_lead, meeting=rated, person=cast.data_steward, role="data_steward")
    assert Notification.objects.filter(user=cast.data_steward, kind="round").count() == 1
    with pytest.raises(InvalidInput) as refusal:
        services.seat_add(actor=cast.coe_lead, meeting=rated, person=cast.data_steward)
    assert "invited already" in refusal.value.errors[0]["message"]
    services.seat_remove(actor=cast.coe_lead, meeting=rated, person=cast.ot_engineer)
    assert not Rating.objects.filter(rater=cast.ot_engineer).exists()
    entry = AuditEntry.objects.get(action="scoringround.uninvite")
    assert entry.changes == {"person": "ot_engineer", "answers_taken_out": 8}
    with pytest.raises(NotAllowed):
        rate(cast.ot_engineer, rated, cast.ours, {"data": 1.0})
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    for change in (services.seat_add, services.seat_remove):
        with pytest.raises(DomainError) as late:
            change(actor=cast.coe_lead, meeting=rated, person=cast.data_steward)
        assert late.value.code == "wrong_state"


def test_the_last_rater_stays(cast, criteria):
    meeting = services.round_open(
        actor=cast.coe_lead, title="R", criteria_set=criteria, use_cases=[cast.ours], raters=[cast.plant_manager]
    )
    with pytest.raises(DomainError) as refusal:
        services.seat_remove(actor=cast.coe_lead, meeting=meeting, person=cast.plant_manager)
    assert refusal.value.code == "last_rater"


def test_the_form_groups_people_by_role_and_keeps_what_was_typed(cast, criteria, as_user):
    client = as_user(cast.coe_lead)
    page = client.get(url("round-create")).content.decode()
    assert "Gate 1 asks for: Plant manager, OT engineer, Data scientist." in page
    body = {
        "title": "Kept title",
        "criteria_set": str(criteria.pk),
        "use_cases": [str(cast.ours.pk)],
        "seats": [f"plant_manager:{cast.plant_manager.pk}", f"ot_engineer:{cast.ot_engineer.pk}"],
        "weighting": "pairwise",
        "due_at": "2001-01-01T08:00",
        "weight_plant_manager": "-2",
    }
    wrong = client.post(url("round-create"), body)
    assert (wrong.status_code, "Kept title" in wrong.content.decode()) == (422, True)
    assert 'id="id_weight_plant_manager_error"' in wrong.content.decode()
    past = client.post(url("round-create"), body | {"weight_plant_manager": "2"})
    assert 'id="id_due_at_error"' in past.content.decode()
    good = client.post(url("round-create"), body | {"weight_plant_manager": "2", "due_at": ""})
    meeting = ScoringRound.objects.get()
    assert good.url == meeting.get_absolute_url()
    assert (meeting.weighting, meeting.role_weights) == ("pairwise", {"plant_manager": 2.0})
    assert set(meeting.seats.values_list("role", flat=True)) == {"plant_manager", "ot_engineer"}
    shown = client.get(meeting.get_absolute_url()).content.decode()
    assert "Gate 1 asks for a rating by: Data scientist" in shown
