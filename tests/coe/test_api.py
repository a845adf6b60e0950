"""The API of the CoE: read, write, conditional writes, refusals, strangers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coe import services
from coe.models import Action, Appointment, Certificate, Track
from portal.core.clock import wall_now
from portal.core.models import AuditEntry
from tests.coe.builders import appoint, certify, replay, right_answers, role
from tests.factories import make_adoption

pytestmark = pytest.mark.django_db
V1 = "/api/v1"


@pytest.fixture
def retrospective(cast: Any) -> Any:
    replay(cast.home, datetime(2014, 2, 3, tzinfo=UTC))
    return services.retrospective_prepare(site=cast.home, month=date(2014, 1, 1))


@pytest.fixture
def review(cast: Any) -> Any:
    replay(cast.home, datetime(2014, 4, 20, tzinfo=UTC))
    return services.roi_review_prepare(adoption=make_adoption(cast.ours, cast.home), quarter=date(2014, 1, 1))


@pytest.mark.parametrize(
    "noun", ["coe-roles", "appointments", "certificates", "tracks", "retrospectives", "actions", "roi-reviews"]
)
def test_lists_are_quick_and_closed_to_strangers_to_the_portal(
    cast: Any, api: Any, noun: str, django_assert_max_num_queries: Any
) -> None:
    appoint(cast.safety_officer)
    certify(cast.safety_officer)
    assert api().get(f"{V1}/{noun}").status_code == 401
    client = api(cast.plant_manager)
    with django_assert_max_num_queries(6):
        found = client.get(f"{V1}/{noun}")
    assert found.status_code == 200
    assert client.get(f"{V1}/{noun}?format=csv").status_code == 200


def test_roles_say_what_they_sign(cast: Any, api: Any) -> None:
    rows = api(cast.ot_engineer).get(f"{V1}/coe-roles?key=safety_officer").json()["results"]
    assert rows[0]["signs"] == ["model_version", "rollout", "safety_waiver", "gate_3"]
    assert api(cast.coe_lead).post(f"{V1}/coe-roles", {}).status_code == 405


def test_appointments_are_made_and_ended_by_who_manages_people(cast: Any, api: Any) -> None:
    body = {"role": str(role().pk), "user": str(cast.safety_officer.pk), "site": str(cast.home.pk)}
    refused = api(cast.plant_manager).post(f"{V1}/appointments", body, format="json")
    assert refused.status_code == 403
    assert "CoE lead" in refused.json()["detail"]
    made = api(cast.coe_lead).post(f"{V1}/appointments", body, format="json")
    assert made.status_code == 201, made.json()
    url = f"{V1}/appointments/{made.json()['id']}"
    assert api(cast.plant_manager).post(f"{url}/end", {}, format="json").status_code == 403
    assert api(cast.coe_lead).post(f"{url}/end", {}, format="json", HTTP_IF_MATCH='"old-1"').status_code == 412
    ended = api(cast.coe_lead).post(f"{url}/end", {"reason": "moved"}, format="json")
    assert ended.json()["ended_at"]
    assert api(cast.coe_lead).post(f"{url}/end", {}, format="json").status_code == 409
    assert AuditEntry.objects.filter(action="appointment.end").count() == 1


def test_an_interim_appointment_without_end_is_refused_at_its_field(cast: Any, api: Any) -> None:
    body = {"role": str(role().pk), "user": str(cast.safety_officer.pk), "interim": True}
    found = api(cast.coe_lead).post(f"{V1}/appointments", body, format="json")
    assert found.status_code == 400
    assert found.json()["errors"][0]["field"] == "valid_until"
    bad = api(cast.coe_lead).post(f"{V1}/appointments", {"role": "x", "user": None, "what": 1}, format="json")
    assert {row["field"] for row in bad.json()["errors"]} >= {"what"}


def test_the_same_post_twice_makes_one_appointment(cast: Any, api: Any) -> None:
    body = {"role": str(role().pk), "user": str(cast.safety_officer.pk)}
    client = api(cast.coe_lead)
    first = client.post(f"{V1}/appointments", body, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    again = client.post(f"{V1}/appointments", body, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    assert first.json()["id"] == again.json()["id"]
    assert Appointment.objects.count() == 1


def test_certificates_are_read_only_but_for_revoking(cast: Any, api: Any) -> None:
    certificate = certify(cast.safety_officer)
    client = api(cast.coe_lead)
    assert client.post(f"{V1}/certificates", {}, format="json").status_code == 405
    assert client.get(f"{V1}/certificates?valid=true").json()["results"][0]["id"] == str(certificate.pk)
    url = f"{V1}/certificates/{certificate.pk}/revoke"
    assert api(cast.safety_officer).post(url, {"reason": "x"}, format="json").status_code == 403
    assert client.post(url, {}, format="json").status_code == 400
    assert client.post(url, {"reason": "shared"}, format="json").json()["revoked_reason"] == "shared"
    assert client.get(f"{V1}/certificates?valid=true").json()["results"] == []


def test_a_track_is_read_and_its_quiz_taken(cast: Any, api: Any) -> None:
    track = Track.objects.get(code="data-stewardship")
    client = api(cast.data_steward)
    questions = client.get(f"{V1}/tracks/{track.pk}/questions").json()
    assert len(questions) == 10
    assert "right" not in questions[0]
    assert "explanation" not in questions[0]
    url = f"{V1}/tracks/{track.pk}/attempt"
    assert client.post(url, {"answers": {}}, format="json").status_code == 400
    assert client.post(url, {"answers": "all"}, format="json").status_code == 400
    made = client.post(url, {"answers": right_answers(track)}, format="json")
    assert made.status_code == 201
    assert made.json()["passed"] is True
    assert made.json()["certificate"] == str(Certificate.objects.get().pk)
    again = client.post(url, {"answers": right_answers(track)}, format="json")
    assert again.status_code == 409
    assert again.json()["code"] == "too_soon"


def test_a_retrospective_needs_if_match_to_be_changed_or_held(cast: Any, api: Any, retrospective: Any) -> None:
    url = f"{V1}/retrospectives/{retrospective.pk}"
    client = api(cast.plant_manager)
    read = client.get(url)
    etag = read["ETag"]
    assert client.patch(url, {"went_well": "x"}, format="json").status_code == 428
    assert client.post(f"{url}/hold", {}, format="json").status_code == 428
    changed = client.patch(
        url, {"went_well": "It was calm.", "to_improve": "Nothing."}, format="json", HTTP_IF_MATCH=etag
    )
    assert changed.status_code == 200
    stale = client.post(f"{url}/hold", {}, format="json", HTTP_IF_MATCH=etag)
    assert stale.status_code == 412
    assert stale.json()["current"]["went_well"] == "It was calm."
    held = client.post(f"{url}/hold", {}, format="json", HTTP_IF_MATCH=changed["ETag"])
    assert held.status_code == 200
    assert held.json()["state"] == "held"
    late = client.patch(url, {"went_well": "y"}, format="json", HTTP_IF_MATCH=held["ETag"])
    assert late.status_code == 409


def test_who_may_not_review_is_told_and_a_stranger_sees_nothing(cast: Any, api: Any, retrospective: Any) -> None:
    url = f"{V1}/retrospectives/{retrospective.pk}"
    refused = api(cast.executive).post(f"{url}/hold", {}, format="json", HTTP_IF_MATCH="*")
    assert refused.status_code == 403
    assert "Plant manager" in refused.json()["detail"]
    assert api(cast.stranger).get(url).status_code == 404
    assert api(cast.stranger).post(f"{url}/hold", {}, format="json", HTTP_IF_MATCH="*").status_code == 404
    assert api(cast.stranger).get(f"{V1}/retrospectives").json()["results"] == []


def test_a_month_is_prepared_on_request_once(cast: Any, api: Any, retrospective: Any) -> None:
    client = api(cast.plant_manager)
    body = {"site": str(cast.home.pk), "month": "2013-12-01"}
    assert client.post(f"{V1}/retrospectives", body, format="json").status_code == 201
    assert client.post(f"{V1}/retrospectives", body, format="json").status_code == 409
    future = client.post(f"{V1}/retrospectives", body | {"month": "2014-05-01"}, format="json")
    assert future.status_code == 400
    assert future.json()["errors"][0]["field"] == "month"
    away = client.post(f"{V1}/retrospectives", {"site": str(cast.away.pk), "month": "2013-12-01"}, format="json")
    assert away.status_code == 400
    url = f"{V1}/retrospectives/{retrospective.pk}"
    moved = client.patch(url, {"month": "2013-01-01"}, format="json", HTTP_IF_MATCH="*")
    assert moved.status_code == 400


def test_actions_live_and_die(cast: Any, api: Any, retrospective: Any) -> None:
    client = api(cast.plant_manager)
    today = wall_now().date()
    body = {
        "site": str(cast.home.pk),
        "retrospective": str(retrospective.pk),
        "text": "Clean AFDP",
        "owner": str(cast.edge_architect.pk),
        "due_on": (today - timedelta(days=1)).isoformat(),
    }
    made = client.post(f"{V1}/actions", body, format="json")
    assert made.status_code == 201, made.json()
    url = f"{V1}/actions/{made.json()['id']}"
    assert client.get(f"{V1}/actions?overdue=true").json()["results"][0]["text"] == "Clean AFDP"
    assert api(cast.edge_architect).get(f"{V1}/actions?mine=true").json()["results"][0]["id"] == made.json()["id"]
    assert api(cast.executive).post(f"{V1}/actions", body, format="json").status_code == 403
    assert api(cast.stranger).get(url).status_code == 404
    # The owner may change it without holding the verb on the site.
    assert api(cast.edge_architect).post(f"{url}/close", {}, format="json").json()["state"] == "done"
    assert client.post(f"{url}/close", {"state": "dropped"}, format="json").status_code == 409
    assert client.post(f"{url}/reopen").json()["state"] == "open"
    assert client.patch(url, {"text": "Clean it"}, format="json", HTTP_IF_MATCH='"x-1"').status_code == 412
    assert client.patch(url, {"text": "Clean it"}, format="json").json()["text"] == "Clean it"
    bad = client.patch(url, {"text": "x" * 301}, format="json")
    assert bad.json()["errors"][0]["field"] == "text"
    assert api(cast.edge_architect).delete(url).status_code == 403
    assert client.delete(url).status_code == 204
    assert not Action.objects.exists()


def test_a_roi_review_is_read_held_and_moves_budget(cast: Any, api: Any, review: Any) -> None:
    url = f"{V1}/roi-reviews/{review.pk}"
    client = api(cast.plant_manager)
    read = client.get(url)
    assert read.json()["verdict"] == "open"
    assert client.get(f"{V1}/roi-reviews?held=false").json()["results"][0]["id"] == str(review.pk)
    assert client.get(f"{V1}/roi-reviews?held=true").json()["results"] == []
    assert client.post(f"{url}/hold", {"note": "Go on."}, format="json").status_code == 428
    assert client.post(f"{url}/hold", {"note": ""}, format="json", HTTP_IF_MATCH=read["ETag"]).status_code == 400
    held = client.post(f"{url}/hold", {"note": "Go on."}, format="json", HTTP_IF_MATCH=read["ETag"])
    assert held.status_code == 200, held.json()
    assert client.post(f"{url}/hold", {"note": "Go on."}, format="json", HTTP_IF_MATCH=read["ETag"]).status_code == 412
    moved = client.post(f"{url}/move-budget", {"amount": "-500.00", "reason": "less"}, format="json")
    assert moved.status_code == 201
    assert moved.json()["amount"] == "-500.00"
    assert moved.json()["roi_review"] == str(review.pk)
    assert client.post(f"{url}/move-budget", {"amount": "500"}, format="json").status_code == 409
    assert client.post(f"{url}/move-budget", {"amount": "1e40"}, format="json").status_code == 400
    assert api(cast.executive).post(f"{url}/move-budget", {"amount": "1"}, format="json").status_code == 403
    assert api(cast.stranger).get(url).status_code == 404


def test_a_review_is_computed_on_request_for_a_quarter_that_is_over(cast: Any, api: Any, review: Any) -> None:
    client = api(cast.plant_manager)
    body = {"adoption": str(review.adoption_id), "quarter": "2013-10-01"}
    assert client.post(f"{V1}/roi-reviews", body, format="json").status_code == 201
    running = client.post(f"{V1}/roi-reviews", body | {"quarter": "2014-04-01"}, format="json")
    assert running.json()["errors"][0]["field"] == "quarter"
    assert api(cast.edge_architect).post(f"{V1}/roi-reviews", body, format="json").status_code == 403


def test_fast_rows_equal_the_serializer(cast: Any, api: Any, review: Any) -> None:
    client = api(cast.plant_manager)
    appoint(cast.safety_officer)
    certify(cast.safety_officer)
    services.roi_move_budget(actor=cast.plant_manager, review=review, amount=services.reviews.Decimal("10"))
    for noun in ("coe-roles", "appointments", "certificates", "tracks", "actions", "roi-reviews"):
        for row in client.get(f"{V1}/{noun}").json()["results"]:
            assert client.get(f"{V1}/{noun}/{row['id']}").json() == row, noun
