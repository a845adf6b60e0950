"""The pages of the CoE: who sees what, forms that keep what was typed, names by role, query counts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse

from coe import services
from coe.models import Action, Appointment, Certificate, QuizAttempt, Track
from portal.core.clock import wall_now
from portal.core.panels import panels_for
from tests.coe.builders import appoint, batch, certify, incident, pipeline, replay, role
from tests.factories import make_adoption

pytestmark = pytest.mark.django_db
LISTS = ("overview", "skills", "calendar", "tracks", "retrospectives", "roi-reviews", "actions")


@pytest.fixture
def world(cast: Any) -> Any:
    """A site with a line, an incident, a prepared month and quarter, an overdue action, people with certificates."""
    replay(cast.home, datetime(2014, 4, 3, tzinfo=UTC))
    cast.adoption = make_adoption(cast.ours, cast.home, started_on=date(2014, 1, 1))
    line = pipeline(cast.home, cast.ours, adoption=cast.adoption)
    batch(line, datetime(2014, 3, 2, tzinfo=UTC))
    cast.incident = incident(
        line, datetime(2014, 3, 4, tzinfo=UTC), detected_after=timedelta(hours=9), recovered_after=timedelta(days=2)
    )
    cast.retrospective = services.retrospective_prepare(site=cast.home, month=date(2014, 3, 1))
    cast.review = services.roi_review_prepare(adoption=cast.adoption, quarter=date(2014, 1, 1))
    cast.action = Action.objects.create(
        site=cast.home,
        text="Clean AFDP",
        owner=cast.ot_engineer,
        due_on=wall_now().date() - timedelta(days=3),
        retrospective=cast.retrospective,
    )
    for key in ("safety_officer", "data_steward"):
        appoint(getattr(cast, key), key, cast.home)
        certify(getattr(cast, key), key, days=12)
    return cast


@pytest.mark.parametrize("name", LISTS)
def test_pages_open_for_members_and_strangers_see_nothing_of_ours(
    world: Any, as_user: Any, name: str, django_assert_max_num_queries: Any
) -> None:
    url = reverse(f"coe:{name}")
    client = as_user(world.plant_manager)
    client.get(url)
    with django_assert_max_num_queries(12):
        found = client.get(url)
    assert found.status_code == 200
    stranger = as_user(world.stranger).get(url).content.decode()
    assert "Clean AFDP" not in stranger
    assert "Home" not in stranger
    client.logout()
    assert client.get(url).status_code == 302


@pytest.mark.parametrize("name", ["retrospective", "roi_review", "action"])
def test_details_open_for_members_and_are_404_for_strangers(
    world: Any, as_user: Any, name: str, django_assert_max_num_queries: Any
) -> None:
    url = getattr(world, name).get_absolute_url() if name != "roi_review" else world.review.get_absolute_url()
    client = as_user(world.plant_manager)
    client.get(url)
    with django_assert_max_num_queries(12):
        assert client.get(url).status_code == 200
    assert as_user(world.stranger).get(url).status_code == 404


def test_the_retrospective_opens_already_written(world: Any, as_user: Any) -> None:
    page = as_user(world.plant_manager).get(world.retrospective.get_absolute_url()).content.decode()
    assert "was repaired: recovered after 2 d of plant time" in page
    assert "9 h" in page
    assert "Clean AFDP" in page
    assert "Hold it" in page
    assert "style=" not in page


def test_a_stale_edit_shows_both_versions_and_keeps_what_was_typed(world: Any, as_user: Any) -> None:
    url = reverse("coe:retrospective-edit", args=[world.retrospective.pk])
    client = as_user(world.plant_manager)
    services.retrospective_update(
        actor=world.ot_engineer, retrospective=world.retrospective, data={"went_well": "Theirs", "to_improve": "T"}
    )
    answer = client.post(url, {"went_well": "Mine", "to_improve": "M", "version": 1})
    assert answer.status_code == 412
    assert "Theirs" in answer.content.decode()
    assert "Mine" in answer.content.decode()


def test_a_retrospective_is_held_from_its_page(world: Any, as_user: Any) -> None:
    url = reverse("coe:retrospective-hold", args=[world.retrospective.pk])
    client = as_user(world.plant_manager)
    empty = client.post(url, {"went_well": "", "to_improve": "x", "version": 1})
    assert empty.status_code in {400, 422}
    assert "Write at least one sentence" in empty.content.decode()
    assert client.post(url, {"went_well": "Calm", "to_improve": "Faster", "version": 1}).status_code == 302
    world.retrospective.refresh_from_db()
    assert world.retrospective.state == "held"
    page = client.get(world.retrospective.get_absolute_url()).content.decode()
    assert "Hold it" not in page
    assert as_user(world.executive).get(url).status_code == 403


def test_a_review_is_held_and_moves_budget_from_its_page(world: Any, as_user: Any) -> None:
    client = as_user(world.plant_manager)
    hold = reverse("coe:roi-review-hold", args=[world.review.pk])
    assert client.get(hold).status_code == 200
    assert client.post(hold, {"note": "", "version": 1}).status_code == 422
    assert client.post(hold, {"note": "Go on", "version": 77}).status_code == 412
    assert client.post(hold, {"note": "Go on", "version": world.review.version}).status_code == 302
    budget = reverse("coe:roi-review-budget", args=[world.review.pk])
    assert client.get(budget).status_code == 200
    assert client.post(budget, {"amount": "lots"}).status_code == 422
    assert client.post(budget, {"amount": "0"}).status_code == 400
    assert client.post(budget, {"amount": "1200", "reason": "It pays"}).status_code == 302
    assert client.post(budget, {"amount": "1200"}).status_code == 409
    page = client.get(world.review.get_absolute_url()).content.decode()
    assert "1,200 EUR more for" in page


def test_names_are_shown_to_who_manages_people_and_to_oneself(world: Any, as_user: Any) -> None:
    world.safety_officer.name = "Ada Lovelace"
    world.safety_officer.save(update_fields=["name"])
    urls = [reverse("coe:skills"), reverse("coe:calendar"), role().get_absolute_url()]
    for url in urls:
        assert "Ada Lovelace" in as_user(world.coe_lead).get(url).content.decode()
        assert "Ada Lovelace" in as_user(world.safety_officer).get(url).content.decode()
        page = as_user(world.ot_engineer).get(url).content.decode()
        assert "Ada Lovelace" not in page
        assert "AI Safety Officer" in page


def test_the_quiz_is_one_form_and_shuffles_its_choices(cast: Any, as_user: Any) -> None:
    track = Track.objects.get(code="ai-safety-at-the-machine")
    client = as_user(cast.safety_officer)
    url = reverse("coe:quiz", args=[track.pk])
    pages = {client.get(url).content for _ in range(3)}
    orders = {page.decode().split("<form")[-1].split("csrfmiddlewaretoken")[1][80:3000] for page in pages}
    assert len(orders) > 1
    questions = list(track.questions.all())
    data = {f"q_{q.pk}": q.right for q in questions}
    missing = dict(data)
    missing.pop(f"q_{questions[0].pk}")
    refused = client.post(url, missing)
    assert refused.status_code == 422
    assert "Choose one answer" in refused.content.decode()
    assert refused.content.decode().count("checked") == len(questions) - 1
    answer = client.post(url, data)
    assert answer.status_code == 302
    attempt = QuizAttempt.objects.get()
    assert attempt.passed
    result = client.get(answer.url).content.decode()
    assert questions[0].explanation[:40] in result
    assert client.get(url).status_code == 302
    assert Certificate.objects.count() == 1
    assert as_user(cast.ot_engineer).get(attempt.get_absolute_url()).status_code == 404


def test_people_are_appointed_and_certificates_revoked_on_pages(cast: Any, as_user: Any) -> None:
    url = reverse("coe:appointment-new")
    assert as_user(cast.plant_manager).get(url).status_code == 403
    client = as_user(cast.coe_lead)
    assert client.get(f"{url}?role={role().pk}").status_code == 200
    data = {"user": cast.safety_officer.pk, "role": role().pk, "interim": "on"}
    refused = client.post(url, data)
    assert refused.status_code == 400
    assert "needs an end" in refused.content.decode()
    end = (wall_now() + timedelta(days=30)).date().isoformat()
    assert client.post(url, data | {"valid_until": end}).status_code == 302
    appointment = Appointment.objects.get()
    assert client.post(reverse("coe:appointment-end", args=[appointment.pk])).status_code == 302
    certificate = certify(cast.safety_officer)
    revoke = reverse("coe:certificate-revoke", args=[certificate.pk])
    assert client.get(revoke).status_code == 200
    assert client.post(revoke, {"reason": ""}).status_code == 422
    assert client.post(revoke, {"reason": "left"}).status_code == 302
    assert as_user(cast.plant_manager).get(revoke).status_code == 403


def test_actions_are_written_closed_and_reopened_on_pages(world: Any, as_user: Any) -> None:
    client = as_user(world.plant_manager)
    url = f"{reverse('coe:action-new')}?retrospective={world.retrospective.pk}&site={world.home.pk}"
    assert client.get(url).status_code == 200
    due = (wall_now() + timedelta(days=9)).date().isoformat()
    data = {"site": world.home.pk, "text": "Look at AFDP", "owner": world.ot_engineer.pk, "due_on": due}
    assert client.post(url, data | {"due_on": "soon"}).status_code == 422
    assert client.post(url, data).status_code == 302
    made = Action.objects.get(text="Look at AFDP")
    assert made.retrospective == world.retrospective
    edit = reverse("coe:action-edit", args=[made.pk])
    assert client.post(edit, {"text": "Look", "owner": "", "due_on": due, "version": made.version}).status_code == 302
    assert client.post(f"{reverse('coe:action-close', args=[made.pk])}?state=dropped").status_code == 302
    made.refresh_from_db()
    assert made.state == "dropped"
    assert client.post(reverse("coe:action-reopen", args=[made.pk])).status_code == 302
    assert as_user(world.executive).post(reverse("coe:action-close", args=[made.pk])).status_code == 403
    assert as_user(world.executive).get(reverse("coe:action-new")).status_code == 200


def test_lists_filter_and_export(world: Any, as_user: Any) -> None:
    client = as_user(world.plant_manager)
    assert "Clean AFDP" in client.get(reverse("coe:actions") + "?overdue=true").content.decode()
    assert "Clean AFDP" not in client.get(reverse("coe:actions") + "?overdue=false").content.decode()
    for name in ("retrospectives", "roi-reviews", "actions"):
        for form in ("csv", "xlsx"):
            answer = client.get(reverse(f"coe:{name}") + f"?export={form}")
            assert answer.status_code == 200
            assert len(b"".join(answer.streaming_content) if answer.streaming else answer.content) > 40


def test_panels_speak_about_site_adoption_and_incident(world: Any) -> None:
    for obj, key in ((world.home, "coe"), (world.adoption, "roi"), (world.incident, "retrospective")):
        panel = next(p for p in panels_for(obj) if p.key == key)
        context = panel.context(world.plant_manager, obj)
        assert context is not None
        assert context["rows"]
        from django.template.loader import render_to_string

        assert render_to_string(panel.template, {"object": obj, **context})
        if key != "coe":
            assert panel.context(world.stranger, obj) is None


def test_the_search_finds_tracks_and_actions(world: Any) -> None:
    from portal.core.search import search

    keys = {kind.key for kind, _hits in search(world.plant_manager, "AFDP")}
    assert {"action", "retrospective"} <= keys
    assert "track" in {kind.key for kind, _hits in search(world.plant_manager, "safety at the machine")}


def test_the_interval_of_a_review_stands_below_its_estimate_and_in_the_export(world: Any, as_user: Any) -> None:
    from coe.models import RoiReview

    RoiReview.objects.update(measured=3135, measured_low=-63092, measured_high=37635, planned=14160)
    client = as_user(world.coe_lead)
    html = client.get(reverse("coe:roi-reviews")).content.decode()
    assert "-63,092 … 37,635 EUR" in html
    assert html.count('<th scope="col"') <= 8
    rows = b"".join(client.get(reverse("coe:roi-reviews") + "?export=csv").streaming_content).decode().splitlines()
    assert 'Measured,"Measured, from","Measured, to"' in rows[0]
    assert "3135.00,-63092.00,37635.00" in rows[1]
