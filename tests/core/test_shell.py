"""What every page and door shares: health, request ids, security headers, search, inbox, site switch, exports."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from openpyxl import load_workbook

from portal.core import exports, notifications, search
from portal.core.models import Notification
from tests.factories import make_device

pytestmark = pytest.mark.django_db


def test_alive_ready_and_measured(client, settings):
    assert client.get("/healthz").json()["status"] == "ok"
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json()["checks"]) == {"database", "broker", "storage", "workers"}
    assert b"django_http_requests_total" in client.get("/metrics").content
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    away = client.get("/readyz")
    assert away.status_code == 503
    assert away.json()["checks"]["broker"]["ok"] is False


def test_a_request_id_is_kept_when_well_formed_and_made_otherwise(client):
    assert client.get("/healthz", HTTP_X_REQUEST_ID="caller-4711")["X-Request-Id"] == "caller-4711"
    for wrong in ("short", "x" * 65, "new\nline", "<script>"):
        made = client.get("/healthz", HTTP_X_REQUEST_ID=wrong)["X-Request-Id"]
        assert made != wrong
        assert len(made) == 32


def test_the_request_id_is_in_the_audit_row(cast, api):
    from portal.core.models import AuditEntry

    body = {"site": str(cast.home.pk), "level": "area", "code": "a", "name": "A"}
    api(cast.ot_engineer).post("/api/v1/locations", body, HTTP_X_REQUEST_ID="trace-me-1")
    entry = AuditEntry.objects.get(object_type="devices.Location")
    assert (entry.request_id, entry.via, entry.actor) == ("trace-me-1", "api", cast.ot_engineer)


def test_security_headers(cast, as_user, client):
    for answer in (client.get("/account/login/"), as_user(cast.ot_engineer).get("/devices/"), client.get("/nowhere/")):
        policy = answer["Content-Security-Policy"]
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"


def test_a_partial_only_for_a_plain_htmx_request(cast, as_user, htmx):
    client = as_user(cast.ot_engineer)
    whole = client.get("/devices/")
    part = client.get("/devices/", **htmx)
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    assert "HX-Request" in whole["Vary"]
    assert "HX-Request" in part["Vary"]
    assert b"<html" in client.get("/devices/", **htmx, HTTP_HX_BOOSTED="true").content
    assert b"<html" in client.get("/devices/", **htmx, HTTP_HX_HISTORY_RESTORE_REQUEST="true").content


def test_search_finds_only_what_the_person_may_see(cast, as_user):
    make_device(cast.home, name="Compressor seven")
    assert b"Compressor seven" in as_user(cast.ot_engineer).get("/search/?q=compressor").content
    assert b"Compressor seven" not in as_user(cast.stranger).get("/search/?q=compressor").content
    assert search.search(cast.ot_engineer, "c") == []
    assert as_user(cast.ot_engineer).get("/search/", {"q": "com\0pressor"}).status_code == 200


def test_a_site_can_be_chosen_only_when_seen(cast, as_user):
    client = as_user(cast.ot_engineer)
    assert client.post("/switch/site/", {"site": str(cast.away.pk)}).status_code == 404
    assert (
        client.post("/switch/site/", {"site": str(cast.home.pk), "next": "/devices/"}).headers["Location"]
        == "/devices/"
    )
    assert client.session["site_id"] == str(cast.home.pk)
    assert client.post("/switch/site/", {"site": "", "next": "https://elsewhere.example/"}).headers["Location"] == "/"
    assert client.session["site_id"] is None


def test_the_demo_switch_is_not_there_outside_the_demo(cast, client):
    assert client.post("/switch/role/", {"role": "plant_manager"}).status_code == 404


def test_a_notification_with_the_same_key_comes_once(cast, as_user):
    people = [cast.ot_engineer.pk, cast.ot_engineer.pk, cast.plant_manager.pk]
    for _ in range(2):
        notifications.notify(user_ids=people, kind="probe", text="Look here", dedupe_key="one")
    assert Notification.objects.count() == 2
    notifications.notify(user_ids=people[:1], kind="probe", text="Look again")
    assert Notification.objects.filter(user=cast.ot_engineer).count() == 2
    client = as_user(cast.ot_engineer)
    assert b"Look here" in client.get("/inbox/").content
    assert not Notification.objects.filter(user=cast.ot_engineer, read_at=None).exists()
    assert Notification.objects.filter(user=cast.plant_manager, read_at=None).exists()


def test_people_who_may(cast):
    found = set(notifications.people_who_may(cast.home, "stop"))
    assert found == {p.pk for p in (cast.plant_manager, cast.ot_engineer, cast.edge_architect, cast.safety_officer)}
    assert cast.coe_lead.pk in notifications.people_who_may(cast.away, "sign")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("plain", "plain"),
        ("-5.25", "-5.25"),
        ("-5\n=1", "'-5\n=1"),
        (Decimal("-5.25"), "-5.25"),
        (-5, -5),
        (True, "yes"),
        (None, ""),
    ],
)
def test_cells_that_a_spreadsheet_would_run_are_neutralised(value, cell):
    assert exports.safe_cell(value) == cell


def test_exports_of_a_page(cast, as_user):
    make_device(cast.home, name="=2+2")
    client = as_user(cast.ot_engineer)
    text = b"".join(client.get("/devices/?export=csv").streaming_content).decode()
    assert "'=2+2" in text
    book = load_workbook(io.BytesIO(client.get("/devices/?export=xlsx").content))
    cells = [str(cell.value) for row in book.active.iter_rows() for cell in row]
    assert "'=2+2" in cells
