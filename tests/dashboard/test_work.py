"""My work: what waits for whom, and in which order."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from portal.core.access import grant_role
from portal.core.clock import wall_now
from portal.dashboard import work
from portal.dashboard.views import grouped
from tests.dashboard.conftest import make_incident, make_review
from tests.factories import make_device, make_user, make_version


def kinds(user: Any) -> list[str]:
    return [item.kind for item in work.waiting_for(user)]


def open_review(cast: Any) -> Any:
    from usecases.models import Gate
    from usecases.services import review_open

    gate = Gate.objects.get(use_case=cast.ours, number=1)
    Gate.objects.filter(pk=gate.pk).update(state="open")
    gate.refresh_from_db()
    return review_open(actor=cast.coe_lead, gate=gate)


def sign(review: Any, person: Any, approves: bool = True) -> None:
    from usecases.models import Signature

    Signature.objects.create(
        review=review,
        user=person,
        role="x",
        approves=approves,
        snapshot_sha256=review.snapshot_sha256,
        signed_at=wall_now(),
    )


def test_nothing_waits_for_nobody(cast):
    from django.contrib.auth.models import AnonymousUser

    assert work.waiting_for(AnonymousUser()) == []
    assert work.waiting_for(make_user()) == []


def test_an_incident_waits_for_those_who_operate_the_site(cast, incident):
    for person in (cast.ot_engineer, cast.data_scientist, cast.edge_architect):
        assert kinds(person) == ["incident"]
    for person in (cast.plant_manager, cast.executive, cast.stranger):
        assert "incident" not in kinds(person)
    item = work.waiting_for(cast.ot_engineer)[0]
    assert item.url == incident.get_absolute_url()
    assert (item.place, item.site) == (str(cast.home), cast.home.pk)
    incident.acknowledged_at = wall_now()
    incident.save()
    assert kinds(cast.ot_engineer) == []


def test_a_review_waits_for_the_missing_signature_then_for_a_decision(cast, plant):
    review = open_review(cast)
    assert kinds(cast.executive) == kinds(cast.coe_lead) == kinds(cast.plant_manager) == ["review"]
    assert kinds(cast.safety_officer) == [], "gate 1 asks sponsor and CoE lead only"
    sign(review, cast.executive)
    assert kinds(cast.executive) == []
    assert kinds(cast.plant_manager) == [], "the slot is filled"
    assert kinds(cast.coe_lead) == ["review"]
    sign(review, cast.coe_lead)
    assert kinds(cast.executive) == kinds(cast.coe_lead) == ["decision"]
    assert work.waiting_for(cast.executive)[0].url == review.get_absolute_url()


def test_a_refusal_fills_no_slot_but_lets_the_gate_be_decided(cast, plant):
    review = open_review(cast)
    sign(review, cast.coe_lead, approves=False)
    sign(review, cast.executive)
    assert kinds(cast.executive) == ["decision"]
    other = make_user()
    grant_role(other, "coe_lead")
    assert set(kinds(other)) == {"review", "decision"}


def test_what_a_decision_asks_for_waits_for_its_owner_until_it_is_met_or_another_decision(cast, plant, monkeypatch):
    from portal.core import signing
    from usecases import services
    from usecases.models import Gate, GateCondition
    from usecases.services.decisions import Term

    verdict = signing.SigningVerdict(True, "", "Plant manager", {})
    monkeypatch.setattr(signing, "_rule", lambda **_kw: verdict)
    gate = Gate.objects.get(adoption=plant.adoption, number=2)

    def recycled(*terms: Term) -> Any:
        Gate.objects.filter(pk=gate.pk).update(state="open")
        gate.refresh_from_db()
        review = services.review_open(actor=cast.coe_lead, gate=gate)
        return services.review_decide(
            actor=cast.coe_lead, review=review, decision="recycle", note="Not yet.", terms=terms
        )

    late = wall_now() + timedelta(days=2)
    recycled(
        Term(text="Fence the robot", owner=cast.ot_engineer, due_at=late),
        Term(key="architect.devices", owner=cast.ot_engineer),
        Term(text="Not mine", owner=cast.data_scientist),
    )
    first, second = (i for i in work.waiting_for(cast.ot_engineer) if i.kind == "condition")
    assert (first.label, first.due, first.overdue) == ("See to it: Fence the robot", late, False)
    assert first.note == "Asked at gate 2: Ours"
    assert first.url == f"{gate.get_absolute_url()}#terms"
    assert (first.place, first.site) == (str(cast.home), cast.home.pk)
    assert second.label == "See to it: Devices onboarded", "a criterion by its name"
    assert "condition" not in kinds(cast.plant_manager)
    row = GateCondition.objects.get(text="Fence the robot")
    GateCondition.objects.filter(pk=row.pk).update(due_at=wall_now() - timedelta(days=1))
    assert [i.overdue for i in work.waiting_for(cast.ot_engineer) if i.kind == "condition"] == [True, False]
    services.condition_meet(actor=cast.ot_engineer, condition=row, note="Done, see the photo.")
    assert kinds(cast.ot_engineer).count("condition") == 1
    recycled(Term(text="Fence the other robot", owner=cast.data_scientist))
    assert "condition" not in kinds(cast.ot_engineer), "the newest decision counts"
    assert kinds(cast.data_scientist).count("condition") == 1
    type(cast.ours).objects.filter(pk=cast.ours.pk).update(state="killed")
    assert "condition" not in kinds(cast.data_scientist)


def test_the_sponsor_is_asked_whatever_the_role(cast, plant):
    cast.ours.sponsor = cast.integrator
    cast.ours.save()
    open_review(cast)
    assert kinds(cast.integrator) == [], "being the sponsor alone gives no right to sign"
    from guardian.shortcuts import assign_perm

    assign_perm("usecases.sign_usecase", cast.integrator, cast.ours)
    person = type(cast.integrator).objects.get(pk=cast.integrator.pk)
    assert kinds(person) == ["review"]


def test_a_candidate_waits_for_the_safety_officer(cast, plant):
    make_version(plant.model, 5)
    assert kinds(cast.safety_officer) == ["version"]
    assert kinds(cast.data_scientist) == []


def test_a_round_waits_until_everything_is_answered(cast, world):
    from usecases.models import Rating

    meeting = world.one("usecases.ScoringRound")
    leaf = world.another("usecases.Criterion", criteria_set=meeting.criteria_set)
    item = next(i for i in work.waiting_for(cast.ot_engineer) if i.kind == "round")
    assert item.note == "0 of 1 answers given"
    Rating.objects.create(round=meeting, use_case=cast.ours, criterion=leaf, rater=cast.ot_engineer, value=None)
    assert "round" not in kinds(cast.ot_engineer)
    assert "round" not in kinds(cast.data_scientist), "asked are the raters of the round"


def test_of_many_months_the_newest_that_is_over_waits(cast, plant):
    from coe.models import Retrospective
    from devices.models import PlantClock

    cast.home.kind = "replay"
    cast.home.save()
    at = wall_now().replace(year=2014, month=3, day=10)
    PlantClock.objects.create(site=cast.home, plant_now=at, wall_at=wall_now())
    for month in (1, 2, 3):
        Retrospective.objects.create(site=cast.home, month=date(2014, month, 1))
    items = [i for i in work.waiting_for(cast.plant_manager) if i.kind == "retrospective"]
    assert [i.label for i in items] == ["Hold the retrospective of February 2014"]
    assert items[0].note == "1 older one waits too"
    assert (items[0].clock, items[0].overdue) == ("plant", False)
    assert items[0].due is not None
    assert items[0].due.date() == date(2014, 4, 1)
    assert kinds(cast.executive) == []


def test_roi_reviews_wait_by_adoption_and_are_late_when_the_next_is_over(cast, plant):
    make_review(plant.adoption, date(2013, 4, 1))
    make_review(plant.adoption, date(2013, 7, 1))
    make_review(plant.adoption, date(2013, 1, 1), held_at=wall_now())
    items = [i for i in work.waiting_for(cast.plant_manager) if i.kind == "roi_review"]
    assert [(i.label, i.overdue) for i in items] == [("Hold the ROI review of Q3 2013: Ours", True)]
    assert items[0].note == "1 older one waits too"


def test_actions_and_papers_are_ones_own(cast, world):
    from coe.models import Action, Appointment, Certificate

    role = world.one("coe.CoeRole")
    today = wall_now().date()
    Action.objects.create(
        site=cast.home, text="Clean the probe", owner=cast.ot_engineer, due_on=today - timedelta(days=1)
    )
    Action.objects.create(site=cast.home, text="Not mine", owner=cast.data_scientist, due_on=today)
    now = wall_now()
    Certificate.objects.create(user=cast.ot_engineer, role=role, issued_at=now, valid_until=now + timedelta(days=9))
    items = work.waiting_for(cast.ot_engineer)
    assert [(i.kind, i.overdue) for i in items] == [("action", True), ("certificate", False)]
    Certificate.objects.create(user=cast.ot_engineer, role=role, issued_at=now, valid_until=now + timedelta(days=300))
    assert kinds(cast.ot_engineer) == ["action"], "renewed"
    Appointment.objects.create(
        role=role,
        user=cast.data_scientist,
        site=cast.home,
        interim=True,
        valid_from=now,
        valid_until=now + timedelta(days=90),
    )
    assert kinds(cast.data_scientist) == ["action", "appointment"]


def test_devices_to_onboard_are_one_line_a_site(cast, plant):
    for _ in range(3):
        make_device(cast.home, state="planned")
    item = next(i for i in work.waiting_for(cast.ot_engineer) if i.kind == "enrolment")
    assert item.label == "Onboard 3 devices"
    assert str(cast.home.pk) in item.url
    assert kinds(cast.plant_manager) == []


def test_what_stops_a_machine_comes_first_then_what_is_overdue(cast, world, incident):
    from coe.models import Action

    today = wall_now().date()
    for days in (-3, 5):
        Action.objects.create(
            site=cast.home, text=f"{days}", owner=cast.ot_engineer, due_on=today + timedelta(days=days)
        )
    make_device(cast.home, state="planned")
    items = work.waiting_for(cast.ot_engineer)
    assert [i.kind for i in items] == ["incident", "action", "action", "enrolment"]
    assert [i.overdue for i in items] == [False, True, False, False]
    assert [(g["key"], len(g["items"])) for g in grouped(items)] == [("now", 2), ("dated", 1), ("open", 1)]


def test_count_is_that_of_the_list_in_one_query(cast, world, incident, django_assert_max_num_queries):
    make_device(cast.home, state="planned")
    make_incident(world.one("usecases.Adoption"))
    person = type(cast.ot_engineer).objects.get(pk=cast.ot_engineer.pk)
    assert person.role_keys
    assert not person.has_perm("devices.view_site")
    with django_assert_max_num_queries(1):
        counted = work.work_count(person)
    with django_assert_max_num_queries(2):  # the sites with their clocks, and the work
        found = work.waiting_for(person)
    assert counted == len(found) == 3


def test_the_menu_counts_anew_where_the_page_has_read_the_work(cast, incident):
    person = type(cast.ot_engineer).objects.get(pk=cast.ot_engineer.pk)
    assert work.menu_count(person) == 1
    make_incident(incident.adoption)
    assert work.menu_count(person) == 1, "kept for half a minute"
    work.work_of(person)
    assert work.menu_count(person) == 2


@pytest.mark.parametrize("role", ["plant_manager", "ot_engineer", "coe_lead", "executive", "stranger"])
def test_page(cast, plant, incident, as_user, role):
    answer = as_user(getattr(cast, role)).get("/my-work/")
    assert answer.status_code == 200
    text = answer.content.decode()
    assert ("Take the incident" in text) == (role == "ot_engineer")
    if role in {"plant_manager", "stranger"}:
        assert "Nothing waits for you" in text


def test_page_shows_unread_messages_of_ones_own(cast, as_user):
    from portal.core.models import Notification

    Notification.objects.create(user=cast.ot_engineer, kind="x", text="Read this", url="/x/")
    Notification.objects.create(user=cast.stranger, kind="x", text="Not this")
    text = as_user(cast.ot_engineer).get("/my-work/").content.decode()
    assert "Read this" in text
    assert "Not this" not in text
