"""The conventions of docs/api.md, on one resource for all: devices and business cases."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import urlencode

import pytest

from devices.models import Device, Location
from portal.core.models import AuditEntry, IdempotencyRecord
from tests.factories import make_device, make_location
from tests.objects import make_one

pytestmark = pytest.mark.django_db
LOCATIONS = "/api/v1/locations"


def place(cast, code="cell-a"):
    return {"site": str(cast.home.pk), "level": "area", "code": code, "name": "A place"}


def is_problem(answer, status, code=None):
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/problem+json")
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "errors"} <= set(body)
    assert body["status"] == status
    assert code is None or body["code"] == code
    return body


def test_the_same_key_and_body_gives_the_first_answer_again(cast, api):
    client = api(cast.ot_engineer)
    first = client.post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k1")
    again = client.post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again["Idempotent-Replay"] == "true"
    assert again["Location"] == first["Location"]
    assert again["ETag"] == first["ETag"]
    assert again["Content-Type"] == first["Content-Type"]
    assert Location.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(cast, api):
    client = api(cast.ot_engineer)
    client.post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k1")
    is_problem(client.post(LOCATIONS, place(cast, "other"), HTTP_IDEMPOTENCY_KEY="k1"), 422, "idempotency_mismatch")
    assert Location.objects.count() == 1


def test_a_key_belongs_to_its_user(cast, api):
    assert api(cast.ot_engineer).post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    answer = api(cast.integrator).post(LOCATIONS, place(cast, "b"), HTTP_IDEMPOTENCY_KEY="k")
    assert answer.status_code == 201
    assert "Idempotent-Replay" not in answer


def test_a_request_that_still_runs_is_busy(cast, api):
    client = api(cast.ot_engineer)
    client.post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k1")
    IdempotencyRecord.objects.update(status=None)
    is_problem(client.post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY="k1"), 409, "idempotency_busy")


def test_an_input_error_is_kept_and_a_refusal_may_be_tried_again(cast, api):
    client = api(cast.ot_engineer)
    first = client.post(LOCATIONS, {}, HTTP_IDEMPOTENCY_KEY="bad")
    assert client.post(LOCATIONS, {}, HTTP_IDEMPOTENCY_KEY="bad")["Idempotent-Replay"] == "true"
    assert first.status_code == 400
    body = place(cast)
    is_problem(api(cast.plant_manager).post(LOCATIONS, body, HTTP_IDEMPOTENCY_KEY="no"), 403, "not_allowed")
    assert not IdempotencyRecord.objects.filter(key="no").exists()


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_of_wrong_length_is_an_input_error(cast, api, key):
    is_problem(api(cast.ot_engineer).post(LOCATIONS, place(cast), HTTP_IDEMPOTENCY_KEY=key), 400)


def test_a_stale_write_is_412_with_the_present_version(cast, api):
    client, spot = api(cast.ot_engineer), make_location(cast.home)
    etag = client.get(f"{LOCATIONS}/{spot.pk}")["ETag"]
    assert client.patch(f"{LOCATIONS}/{spot.pk}", {"name": "New"}, HTTP_IF_MATCH=etag).status_code == 200
    body = is_problem(client.patch(f"{LOCATIONS}/{spot.pk}", {"name": "Mine"}, HTTP_IF_MATCH=etag), 412, "stale_write")
    assert body["current"]["name"] == "New"
    spot.refresh_from_db()
    assert (spot.name, spot.version) == ("New", 2)


def test_where_two_people_meet_if_match_is_needed(cast, api):
    case = make_one("usecases.BusinessCase", cast)
    client = api(cast.data_scientist)
    address = f"/api/v1/business-cases/{case.pk}"
    is_problem(client.patch(address, {"assumption": "x"}), 428, "if_match_required")
    assert client.patch(address, {"assumption": "x"}, HTTP_IF_MATCH=case.etag).status_code == 200
    is_problem(client.patch(address, {"assumption": "y"}, HTTP_IF_MATCH=case.etag), 412, "stale_write")


def test_if_none_match_is_304_on_lists_and_rows(cast, api):
    client, spot = api(cast.ot_engineer), make_location(cast.home)
    for address in (LOCATIONS, f"{LOCATIONS}/{spot.pk}"):
        etag = client.get(address)["ETag"]
        assert client.get(address, HTTP_IF_NONE_MATCH=etag).status_code == 304
        assert client.get(address, HTTP_IF_NONE_MATCH='"other"').status_code == 200


@pytest.mark.parametrize("text", ["{", "[1, 2", "null null", '{"a": NaN}', "\xff"])
def test_malformed_json(cast, api, text):
    answer = api(cast.ot_engineer).generic("POST", LOCATIONS, text.encode("latin-1"), content_type="application/json")
    is_problem(answer, 400)


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_json_that_is_not_an_object(cast, api, body):
    answer = api(cast.ot_engineer).generic("POST", LOCATIONS, json.dumps(body), content_type="application/json")
    is_problem(answer, 400)


def test_an_unknown_field_is_named(cast, api):
    body = is_problem(api(cast.ot_engineer).post(LOCATIONS, place(cast) | {"colour": "red"}), 400)
    assert [row["field"] for row in body["errors"]] == ["colour"]


def test_another_content_type(cast, api):
    is_problem(api(cast.ot_engineer).generic("POST", LOCATIONS, "a=b", content_type="text/plain"), 415)


@pytest.mark.parametrize("key", [None, "large"])
def test_ten_megabytes_are_refused(cast, api, key):
    body = json.dumps(place(cast) | {"name": "x" * 10 * 2**20})
    extra = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    answer = api(cast.ot_engineer).generic("POST", LOCATIONS, body, content_type="application/json", **extra)
    is_problem(answer, 413, "too_large")


def test_ten_megabytes_in_a_form_are_refused(cast, as_user):
    client = as_user(cast.ot_engineer)
    client.raise_request_exception = False
    content = urlencode({"name": "x" * 10 * 2**20})
    answer = client.post("/locations/new", content, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 413
    assert b"too large" in answer.content


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0",
        "page_size=1001",
        "page_size=x",
        "ordering=secret",
        "fields=nope",
        "fields=",
        "cursor=abc",
        "updated_since=yesterday",
    ],
)
def test_wrong_parameters_are_input_errors(cast, api, query):
    body = is_problem(api(cast.ot_engineer).get(f"{LOCATIONS}?{query}"), 400)
    assert body["errors"][0]["field"] == query.split("=")[0]


def test_a_cursor_somebody_made_up_is_an_input_error(cast, api):
    cursor = b64encode(b"p=neither-a-time-nor-a-key").decode()
    is_problem(api(cast.ot_engineer).get(f"{LOCATIONS}?{urlencode({'cursor': cursor})}"), 400)
    is_problem(api(cast.ot_engineer).get(f"{LOCATIONS}?{urlencode({'cursor': cursor, 'ordering': 'created_at'})}"), 400)


def test_cursors_lead_through_every_row_once(cast, api):
    client = api(cast.ot_engineer)
    wanted = {str(make_device(cast.home).pk) for _ in range(7)}
    found, address = [], "/api/v1/devices?page_size=3&ordering=-created_at"
    while address:
        page = client.get(address).json()
        found += [row["id"] for row in page["results"]]
        address = page["next"]
    assert len(found) == 7
    assert set(found) == wanted


def test_bulk_is_all_or_nothing_unless_asked(cast, api):
    client = api(cast.ot_engineer)
    rows = [place(cast, "a"), place(cast, "B A D"), place(cast, "c")]
    body = is_problem(client.post(f"{LOCATIONS}/bulk", {"rows": rows}), 400, "rows_refused")
    assert [row["row"] for row in body["refused"]] == [1]
    assert not Location.objects.exists()
    assert not AuditEntry.objects.filter(object_type="devices.Location").exists()
    answer = client.post(f"{LOCATIONS}/bulk?partial=true", {"rows": rows})
    assert answer.status_code == 200
    assert answer.json()["written"] == 2
    assert Location.objects.count() == 2
    assert AuditEntry.objects.filter(object_type="devices.Location").count() == 2


def test_a_mirror_follows_by_time(cast, api):
    client, spot = api(cast.ot_engineer), make_location(cast.home)
    start = client.get(f"{LOCATIONS}/{spot.pk}").json()["updated_at"]
    assert [
        row["id"] for row in client.get(f"{LOCATIONS}?{urlencode({'updated_since': start})}").json()["results"]
    ] == [str(spot.pk)]
    assert client.delete(f"{LOCATIONS}/{spot.pk}").status_code == 204
    gone = client.get(f"{LOCATIONS}/deleted?{urlencode({'since': start})}").json()["results"]
    assert [row["id"] for row in gone] == [str(spot.pk)]
    assert api(cast.stranger).get(f"{LOCATIONS}/deleted?{urlencode({'since': start})}").json()["results"] == []
    is_problem(client.get(f"{LOCATIONS}/deleted"), 400)


def test_another_systems_key_creates_once_and_changes_after(cast, api):
    client, address = api(cast.ot_engineer), f"{LOCATIONS}/by-external-id/erp/4711"
    assert client.put(address, place(cast)).status_code == 201
    again = client.put(address, place(cast) | {"name": "Renamed"})
    assert again.status_code == 200
    spot = Location.objects.get()
    assert (spot.name, spot.external_source, spot.external_id) == ("Renamed", "erp", "4711")


def test_csv_of_a_list(cast, api):
    make_device(cast.home, code="one", name="=HYPERLINK(1)")
    answer = api(cast.ot_engineer).get("/api/v1/devices?format=csv&fields=code,name")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert answer["Content-Type"].startswith("text/csv")
    assert lines[0].split(",")[-2:] == ["code", "name"]
    assert "'=HYPERLINK(1)" in lines[1]
    is_problem(api(cast.ot_engineer).get("/api/v1/devices?format=xml"), 406)


def test_addresses_that_are_not_there(cast, api):
    client = api(cast.ot_engineer)
    client.raise_request_exception = False
    is_problem(client.get("/api/v1/nothing"), 404)
    is_problem(client.get(f"{LOCATIONS}/not-a-key"), 404)
    is_problem(client.put(LOCATIONS, {}), 405)
    is_problem(api(None).get(LOCATIONS), 401)
    assert Device.objects.count() == 0
