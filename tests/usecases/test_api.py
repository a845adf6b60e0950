"""The API of use cases: create, list, filter, strangers, stale writes, bad input."""

from datetime import timedelta

import pytest

from portal.core.clock import rfc3339, wall_now
from portal.core.models import AuditEntry
from tests.usecases.conftest import HIGH, LINES
from usecases import services
from usecases.models import BusinessCase, Criterion, Gate, UseCase

pytestmark = pytest.mark.django_db
V1 = "/api/v1"
NOUNS = (
    "use-cases",
    "outcomes",
    "kpi-readings",
    "criteria-sets",
    "criteria",
    "scoring-rounds",
    "ratings",
    "business-cases",
    "adoptions",
    "gates",
    "evidence",
    "waivers",
    "gate-reviews",
    "signatures",
)


@pytest.fixture
def world(cast, outcome, rated, business, adopted, signing_rule):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    gate = Gate.objects.get(use_case=cast.ours, number=1)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    services.review_sign(actor=cast.plant_manager, review=review)
    services.waiver_grant(
        actor=cast.plant_manager, gate=gate, key="align.label", reason="r", expires_at=wall_now() + timedelta(days=1)
    )
    review.refresh_from_db()
    cast.review = review
    return cast


@pytest.mark.parametrize("noun", NOUNS)
def test_lists_are_rows_a_stranger_does_not_see(world, api, noun, django_assert_max_num_queries):
    client = api(world.coe_lead)
    with django_assert_max_num_queries(6):
        answer = client.get(f"{V1}/{noun}")
    assert answer.status_code == 200
    mine = {row["id"] for row in answer.json()["results"]}
    assert mine
    for pk in mine:
        assert client.get(f"{V1}/{noun}/{pk}").status_code == 200
    if noun not in {"criteria-sets", "criteria", "scoring-rounds", "use-cases"}:
        theirs = {row["id"] for row in api(world.stranger).get(f"{V1}/{noun}").json()["results"]}
        assert not mine & theirs or noun == "ratings"
    assert api().get(f"{V1}/{noun}").status_code == 401


@pytest.mark.parametrize("noun", ["outcomes", "business-cases", "adoptions", "gates", "gate-reviews", "evidence"])
def test_a_stranger_gets_404(world, api, noun):
    pk = api(world.coe_lead).get(f"{V1}/{noun}").json()["results"][0]["id"]
    assert api(world.stranger).get(f"{V1}/{noun}/{pk}").status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_list_rows_equal_the_detail(world, api, noun):
    client = api(world.coe_lead)
    row = client.get(f"{V1}/{noun}").json()["results"][0]
    assert client.get(f"{V1}/{noun}/{row['id']}").json() == row


def test_use_case_create_change_and_who_may(cast, api):
    body = {"code": "leak", "title": "Leak detection", "required_signals": ["P1"], "depends_on": [str(cast.ours.pk)]}
    made = api(cast.coe_lead).post(f"{V1}/use-cases", body, format="json")
    assert made.status_code == 201, made.json()
    assert Gate.objects.filter(use_case_id=made.json()["id"]).count() == 2
    body["code"] = "other"
    assert api(cast.plant_manager).post(f"{V1}/use-cases", body, format="json").status_code == 403
    url = f"{V1}/use-cases/{cast.ours.pk}"
    etag = api(cast.data_scientist).get(url)["ETag"]
    first = api(cast.data_scientist).patch(url, {"label": "foundation"}, format="json", HTTP_IF_MATCH=etag)
    assert first.status_code == 200
    stale = api(cast.data_scientist).patch(url, {"label": "quick_win"}, format="json", HTTP_IF_MATCH=etag)
    assert stale.status_code == 412
    assert stale.json()["current"]["label"] == "foundation"
    assert api(cast.plant_manager).patch(url, {"label": "quick_win"}, format="json").status_code == 403
    assert api(cast.stranger).patch(url, {"label": "quick_win"}, format="json").status_code == 404
    read_only = api(cast.data_scientist).patch(url, {"phase": 5}, format="json")
    assert UseCase.objects.get(pk=cast.ours.pk).phase == 1, read_only.json()


def test_bad_fields_are_named(cast, api):
    answer = api(cast.coe_lead).post(f"{V1}/use-cases", {"code": "Bad Code!", "title": "x" * 999}, format="json")
    assert answer.status_code == 400
    assert {e["field"] for e in answer.json()["errors"]} >= {"code", "title"}
    answer = api(cast.coe_lead).post(f"{V1}/use-cases", {"nonsense": 1}, format="json")
    assert {"field": "nonsense", "message": "There is no such field."} in answer.json()["errors"]


def test_readings_once_per_period(cast, api, outcome):
    body = {
        "outcome": str(outcome.pk),
        "site": str(cast.home.pk),
        "period_from": "2011-01-01T00:00:00Z",
        "period_to": "2011-01-31T00:00:00Z",
        "value": 1.0,
        "exposure": 10.0,
    }
    client = api(cast.data_scientist)
    answer = client.post(f"{V1}/kpi-readings", body, format="json")
    assert answer.status_code in {400, 409}
    body |= {"period_from": "2012-02-01T00:00:00Z", "period_to": "2012-03-01T00:00:00Z"}
    made = client.post(f"{V1}/kpi-readings", body, format="json")
    assert made.status_code == 201
    assert made.json()["source"] == "api"
    body |= {"period_from": "2013-02-01T00:00:00Z", "period_to": "2012-03-01T00:00:00Z"}
    assert client.post(f"{V1}/kpi-readings", body, format="json").status_code == 400


def test_rebaselining_asks_for_a_reason(cast, api, outcome):
    services.baseline_freeze(use_case=cast.ours, now=wall_now(), actor=cast.coe_lead)
    url = f"{V1}/outcomes/{outcome.pk}"
    client = api(cast.data_scientist)
    refused = client.patch(url, {"baseline_value": 9.0}, format="json")
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["field"] == "reason"
    assert client.patch(url, {"baseline_value": 9.0, "reason": "Meter"}, format="json").status_code == 200


def test_rounds_ratings_results_and_what_if(cast, api, meeting):
    leaf = Criterion.objects.get(key="data")
    rows = [{"use_case": str(cast.ours.pk), "criterion": str(leaf.pk), "value": 4.0}]
    url = f"{V1}/scoring-rounds/{meeting.pk}"
    for person in (cast.plant_manager, cast.ot_engineer):
        answer = api(person).post(f"{url}/ratings", {"ratings": rows}, format="json")
        assert answer.status_code == 200, answer.json()
    assert api(cast.executive).post(f"{url}/ratings", {"ratings": rows}, format="json").status_code == 403
    wrong = api(cast.plant_manager).post(f"{url}/ratings", {"ratings": [rows[0] | {"value": 9}]}, format="json")
    assert wrong.status_code == 400
    weights = {"roi": 20, "feasibility": 20, "data": 60}
    private = api(cast.executive).post(f"{url}/what-if", {"weights": weights}, format="json")
    assert (private.status_code, private.json()["code"]) == (409, "not_revealed")
    hidden = api(cast.coe_lead).get(f"{url}/results").json()
    assert (hidden["state"], hidden["private"], hidden["rows"], hidden["agreement"]) == ("open", True, [], [])
    assert api(cast.plant_manager).post(f"{url}/reveal").status_code == 403
    assert api(cast.coe_lead).post(f"{url}/reveal").status_code == 200
    moved = api(cast.executive).post(f"{url}/what-if", {"weights": weights}, format="json")
    assert moved.status_code == 200
    assert moved.json()["rows"][0]["title"] == "Ours"
    assert api(cast.executive).post(f"{url}/what-if", {"weights": {"roi": 1}}, format="json").status_code == 400
    results = api(cast.executive).get(f"{url}/results").json()
    assert (results["state"], results["unrated"]) == ("revealed", ["Theirs"])
    assert api(cast.plant_manager).post(f"{url}/close").status_code == 403
    assert api(cast.coe_lead).post(f"{url}/close").status_code == 200
    late = api(cast.plant_manager).post(f"{url}/ratings", {"ratings": rows}, format="json")
    assert (late.status_code, late.json()["code"]) == (409, "round_closed")


def test_round_open_needs_published_criteria(cast, api, criteria):
    draft = services.criteria_set_next(actor=cast.coe_lead, criteria_set=criteria)
    body = {
        "title": "R",
        "criteria_set": str(draft.pk),
        "use_cases": [str(cast.ours.pk)],
        "raters": [str(cast.plant_manager.pk)],
    }
    answer = api(cast.coe_lead).post(f"{V1}/scoring-rounds", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "criteria_set"


def test_business_case_needs_if_match(cast, api):
    body = {
        "use_case": str(cast.ours.pk),
        "start": "2026-01-01",
        "assumption": "Demo",
        "lines": LINES,
    }
    client = api(cast.data_scientist)
    made = client.post(f"{V1}/business-cases", body, format="json")
    assert made.status_code == 201, made.json()
    assert made.json()["result"]["p50"] > 0
    url = f"{V1}/business-cases/{made.json()['id']}"
    assert client.patch(url, {"quarters": 8}, format="json").status_code == 428
    etag = client.get(url)["ETag"]
    changed = client.patch(url, {"quarters": 8}, format="json", HTTP_IF_MATCH=etag)
    assert changed.status_code == 200, changed.json()
    assert len(changed.json()["result"]["flow"]) == 9
    stale = client.patch(url, {"quarters": 4}, format="json", HTTP_IF_MATCH=etag)
    assert stale.status_code == 412
    assert stale.json()["current"]["quarters"] == 8
    etag = client.get(url)["ETag"]
    wrong = client.patch(url, {"lines": [LINES[0] | {"kind": "benefit"}]}, format="json", HTTP_IF_MATCH=etag)
    assert wrong.status_code == 400
    assert wrong.json()["errors"][0]["field"] == "lines[0].first_quarter"
    assert BusinessCase.objects.get().lines.count() == 3


def test_measure_sign_decide_verify(cast, api, adopted, facts, signing_rule):
    facts.add("a", 2, 95)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    Gate.objects.filter(adoption=adopted, number=2).update(state="open")
    gate = Gate.objects.get(adoption=adopted, number=2)
    client = api(cast.plant_manager)
    measured = client.post(f"{V1}/gates/{gate.pk}/measure")
    assert [row["state"] for row in measured.json()] == ["met"]
    assert AuditEntry.objects.filter(action="gate.measure").exists()
    assert api(cast.ot_engineer).post(f"{V1}/gate-reviews", {"gate": str(gate.pk)}, format="json").status_code == 403
    made = client.post(f"{V1}/gate-reviews", {"gate": str(gate.pk)}, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    again = client.post(f"{V1}/gate-reviews", {"gate": str(gate.pk)}, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    assert made.status_code == 201, made.json()
    assert made.json()["id"] == again.json()["id"]
    url = f"{V1}/gate-reviews/{made.json()['id']}"
    assert client.post(f"{url}/sign", {}, format="json").status_code == 428
    for person in (cast.plant_manager, cast.coe_lead):
        etag = api(person).get(url)["ETag"]
        signed = api(person).post(f"{url}/sign", {"approves": True}, format="json", HTTP_IF_MATCH=etag)
        assert signed.status_code == 201, signed.json()
    stale = client.post(f"{url}/decide", {"decision": "go"}, format="json", HTTP_IF_MATCH=etag)
    assert stale.status_code == 412
    etag = client.get(url)["ETag"]
    decided = client.post(f"{url}/decide", {"decision": "go"}, format="json", HTTP_IF_MATCH=etag)
    assert decided.status_code == 200, decided.json()
    assert client.get(f"{V1}/gates/{gate.pk}").json()["state"] == "passed"
    assert client.get(f"{url}/verify").json()["valid"] is True


def test_waivers(cast, api, adopted, facts, signing_rule):
    facts.add("a", 2, 10)
    gate = Gate.objects.get(adoption=adopted, number=2)
    body = {
        "gate": str(gate.pk),
        "key": "a",
        "reason": "On order",
        "expires_at": rfc3339(wall_now() + timedelta(days=3)),
    }
    assert api(cast.ot_engineer).post(f"{V1}/waivers", body, format="json").status_code == 403
    made = api(cast.plant_manager).post(f"{V1}/waivers", body, format="json")
    assert made.status_code == 201, made.json()
    gone = api(cast.plant_manager).post(f"{V1}/waivers/{made.json()['id']}/revoke")
    assert gone.status_code == 200
    assert gone.json()["revoked_at"]


def test_adoption_through_the_api(cast, api):
    services.gates_create(use_case=cast.ours)
    body = {"use_case": str(cast.ours.pk), "site": str(cast.home.pk)}
    made = api(cast.data_scientist).post(f"{V1}/adoptions", body, format="json")
    assert made.status_code == 201, made.json()
    assert api(cast.data_scientist).post(f"{V1}/adoptions", body, format="json").status_code in {400, 409}
    assert api(cast.plant_manager).post(f"{V1}/adoptions", body, format="json").status_code == 403
    wide = api(cast.data_scientist).post(f"{V1}/adoptions", body | {"scope": "plant"}, format="json")
    assert wide.json()["errors"][0]["field"] == "proven_by"


def test_criteria_of_a_draft_can_be_edited(cast, api, criteria):
    client = api(cast.coe_lead)
    draft = client.post(f"{V1}/criteria-sets/{criteria.pk}/next-version").json()
    rows = client.get(f"{V1}/criteria?criteria_set={draft['id']}").json()["results"]
    assert len(rows) == 5
    leaf = next(r for r in rows if r["key"] == "data")
    assert client.patch(f"{V1}/criteria/{leaf['id']}", {"weight": 30}, format="json").status_code == 200
    assert client.post(f"{V1}/criteria-sets/{draft['id']}/publish").json()["state"] == "published"
    assert client.patch(f"{V1}/criteria/{leaf['id']}", {"weight": 1}, format="json").status_code == 409
    assert api(cast.plant_manager).post(f"{V1}/criteria-sets", {"name": "Mine"}, format="json").status_code == 403


def test_external_keys_upsert(cast, api):
    url = f"{V1}/use-cases/by-external-id/erp/UC-7"
    body = {"code": "uc-7", "title": "From ERP"}
    assert api(cast.coe_lead).put(url, body, format="json").status_code == 201
    changed = api(cast.coe_lead).put(url, body | {"title": "Renamed"}, format="json")
    assert (changed.status_code, changed.json()["title"]) == (200, "Renamed")
    assert UseCase.objects.filter(external_id="UC-7").count() == 1


def test_ratings_of_others_are_read_only(cast, api, meeting):
    assert api(cast.plant_manager).post(f"{V1}/ratings", {}, format="json").status_code == 405
    assert HIGH
