"""GET /api/v1/cockpit, /my-work, /scale-map."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.dashboard.conftest import make_readings, make_review

PATHS = ("cockpit", "my-work", "scale-map")


@pytest.mark.parametrize("path", PATHS)
def test_signed_in_people_only_and_reading_only(cast, api, path):
    assert api().get(f"/api/v1/{path}").status_code == 401
    client = api(cast.ot_engineer)
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200
    assert client.get(f"/api/v1/{path}", HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 304
    assert client.post(f"/api/v1/{path}", {}, format="json").status_code == 405


def test_cockpit(cast, plant, incident, api):
    make_review(
        plant.adoption, date(2013, 4, 1), "on_plan", planned=900, measured=1000, measured_low=600, measured_high=1400
    )
    make_readings(cast.ours, cast.home, [300.0, 200.0], baseline_value=3.0, target_value=1.0)
    found = api(cast.ot_engineer).get("/api/v1/cockpit").json()
    assert found["order"] == ["broken", "runs", "earned"]
    assert found["runs"]["models_live"] == 1
    assert found["runs"]["adoptions"][0]["health"] == "breach"
    assert found["runs"]["adoptions"][0]["models"][0]["version"] == 4
    assert found["earned"]["totals"][0] == {
        "currency": "EUR", "planned": "900.00", "measured": "1000.00", "measured_low": "600.00",
        "measured_high": "1400.00", "proven": 1, "reviews": 1,
    }  # fmt: skip
    assert found["earned"]["trends"][0]["state"] == "watch"
    assert found["broken"]["counts"]["incident"] == 1
    assert found["action"]["id"] == str(incident.pk)
    assert found["work_count"] >= 1


def test_my_work(cast, plant, incident, api):
    found = api(cast.ot_engineer).get("/api/v1/my-work").json()
    assert found["count"] == len(found["results"])
    assert found["results"][0]["kind"] == "incident"
    assert api(cast.stranger).get("/api/v1/my-work").json() == {"count": 0, "results": []}


def test_scale_map(cast, plant, api):
    found = api(cast.executive).get("/api/v1/scale-map").json()
    assert [c["adoption"] for c in found["cells"]] == [str(plant.adoption.pk)]
    assert {s["id"] for s in found["sites"]} >= {str(cast.home.pk)}
    assert api(cast.executive).get("/api/v1/scale-map?label=quick_win").json()["cells"] == []


def test_strangers_read_their_own(cast, plant, incident, away, api):
    for path in PATHS:
        text = api(cast.stranger).get(f"/api/v1/{path}").content.decode()
        for secret in (cast.home.pk, cast.ours.pk, plant.adoption.pk, incident.pk):
            assert str(secret) not in text, path


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("site", ["nonsense", "", "\0", "away"])
def test_a_site_out_of_sight_is_no_site(cast, api, path, site):
    value = str(cast.away.pk) if site == "away" else site
    answer = api(cast.ot_engineer).get(f"/api/v1/{path}", {"site": value})
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["errors"][0]["field"] == "site"


def test_site_narrows(cast, plant, incident, api):
    client = api(cast.coe_lead)
    assert client.get("/api/v1/cockpit", {"site": str(cast.away.pk)}).json()["runs"]["adoptions"] == []
    assert client.get("/api/v1/cockpit", {"site": str(cast.home.pk)}).json()["broken"]["counts"]["incident"] == 1
    cells = client.get("/api/v1/scale-map", {"site": str(cast.away.pk)}).json()["cells"]
    assert cells == []


def test_a_token_needs_its_scope(cast, db):
    from rest_framework.test import APIClient

    from portal.core.tokens import token_create

    for scopes, status in ((["dashboard:read"], 200), (["devices:read"], 403)):
        _, secret = token_create(actor=cast.ot_engineer, name="t", scopes=scopes, expires_at=None)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert client.get("/api/v1/my-work").status_code == status


def test_the_schema_describes_the_answers():
    from drf_spectacular.generators import SchemaGenerator

    schema: Any = SchemaGenerator().get_schema(request=None, public=True)
    for path, name in (("cockpit", "Cockpit"), ("my-work", "Work"), ("scale-map", "ScaleMap")):
        answer = schema["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]
        assert answer["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert {p["name"] for p in schema["paths"]["/api/v1/scale-map"]["get"]["parameters"]} >= {
        "site",
        "label",
        "health",
        "q",
    }
