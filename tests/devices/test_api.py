"""The resources: create, list, filter, refusals, stale writes, verbs, query counts."""

import pytest

from devices import services
from devices.api import serializers
from devices.models import Credential, Device, Enrolment, Location, MachineStop, Site
from portal.core.clock import wall_now
from portal.core.models import AuditEntry
from tests.factories import make_channel, make_device, make_device_type, make_location

pytestmark = pytest.mark.django_db
BASE = "/api/v1"


def audited(action: str) -> int:
    return AuditEntry.objects.filter(action=action).count()


def new_device(cast, **extra):
    return {"site": str(cast.home.pk), "device_type": str(make_device_type().pk), "code": "gw-1", "name": "G"} | extra


def test_create_read_change_delete_with_etag_and_audit(cast, api):
    client = api(cast.ot_engineer)
    made = client.post(f"{BASE}/devices", new_device(cast, address={"host": "10.0.0.7", "port": 502}))
    assert made.status_code == 201, made.data
    body = made.json()
    assert (body["state"], body["connectivity"], body["address"]["port"]) == ("planned", "never", 502)
    url = f"{BASE}/devices/{body['id']}"
    read = client.get(url)
    assert client.get(url, headers={"If-None-Match": read["ETag"]}).status_code == 304
    assert client.patch(url, {"name": "H"}, headers={"If-Match": read["ETag"]}).json()["name"] == "H"
    stale = client.patch(url, {"name": "I"}, headers={"If-Match": read["ETag"]})
    assert (stale.status_code, stale.json()["current"]["name"]) == (412, "H")
    assert client.delete(url).status_code == 204
    gone = client.get(f"{BASE}/devices/deleted", {"since": "2020-01-01T00:00:00Z"})
    assert [row["id"] for row in gone.json()["results"]] == [body["id"]]
    assert [audited(f"device.{verb}") for verb in ("register", "update", "delete")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"code": "Not A Code"}, "code"),
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"site": "0191a1e0-0000-7000-8000-000000000000"}, "site"),
        ({"report_every_s": 0}, "report_every_s"),
        ({"report_every_s": "often"}, "report_every_s"),
        ({"address": ["10.0.0.7"]}, "address"),
        ({"address": {"host": "x\0"}}, "address"),
        ({"address": {"host": "x" * 30_000}}, "address"),
        ({"fallback": "explode"}, "fallback"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_input_names_the_field(cast, api, changed, field):
    answer = api(cast.ot_engineer).post(f"{BASE}/devices", new_device(cast, **changed))
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert field in {row["field"] for row in answer.json()["errors"]}
    assert not Device.objects.exists()


def test_a_code_is_taken_once_per_site(cast, api):
    data = new_device(cast)
    assert api(cast.ot_engineer).post(f"{BASE}/devices", data).status_code == 201
    again = api(cast.ot_engineer).post(f"{BASE}/devices", data)
    assert again.status_code == 400
    assert "taken" in again.json()["errors"][0]["message"]


def test_who_may(cast, api):
    device = make_device(cast.home)
    url = f"{BASE}/devices/{device.pk}"
    assert api().get(url).status_code == 401
    assert api(cast.stranger).get(url).status_code == 404
    assert api(cast.stranger).patch(url, {"name": "x"}).status_code == 404
    assert api(cast.plant_manager).get(url).status_code == 200
    refused = api(cast.plant_manager).patch(url, {"name": "x"})
    assert refused.status_code == 403
    assert "OT engineer" in refused.json()["who_may"]
    assert api(cast.plant_manager).post(f"{BASE}/devices", new_device(cast)).status_code == 403
    assert api(cast.stranger).post(f"{BASE}/devices", new_device(cast)).status_code == 400
    assert api(cast.stranger).get(f"{BASE}/devices").json()["results"] == []
    assert api(cast.ot_engineer).post(f"{BASE}/sites", {"code": "n", "name": "N"}).status_code == 403
    assert api(cast.ot_engineer).delete(f"{BASE}/sites/{cast.home.pk}").status_code == 403
    assert api(cast.coe_lead).post(f"{BASE}/sites", {"code": "n", "name": "N"}).status_code == 201


@pytest.mark.parametrize(
    ("noun", "serializer"),
    [
        ("sites", serializers.SiteSerializer),
        ("locations", serializers.LocationSerializer),
        ("assets", serializers.AssetSerializer),
        ("device-types", serializers.DeviceTypeSerializer),
        ("devices", serializers.DeviceSerializer),
        ("channels", serializers.ChannelSerializer),
        ("enrolments", serializers.EnrolmentSerializer),
        ("credentials", serializers.CredentialSerializer),
    ],
)
def test_lists_equal_the_serializer_within_six_queries(cast, api, django_assert_max_num_queries, noun, serializer):
    from devices.models import Asset
    from portal.core.api.renderers import dumps

    cell = make_location(cast.home)
    asset = Asset.objects.create(location=cell, code="m", name="M")
    for _ in range(3):
        device = make_device(cast.home, location=cell, asset=asset, wanted={"a": 1}, last_seen_at=wall_now())
        make_channel(device, range_low=-1.5, range_high=2.0)
        _, code = services.enrolment_create(actor=None, device=device)
        services.enrolment_claim(code, f"{device.pk.hex}{'s' * 10}", wall_now())
    client = api(cast.ot_engineer)
    with django_assert_max_num_queries(6):
        answer = client.get(f"{BASE}/{noun}")
    assert answer.status_code == 200, answer.content
    results = answer.json()["results"]
    assert results
    model = serializer.Meta.model
    for row in results:
        assert row == __import__("json").loads(dumps(serializer(model.objects.get(pk=row["id"])).data))


def test_filters_and_fields(cast, api):
    online = make_device(cast.home, last_seen_at=wall_now(), code="on")
    make_device(cast.home, "plc", code="off")
    client = api(cast.ot_engineer)

    def codes(**query):
        answer = client.get(f"{BASE}/devices", query)
        assert answer.status_code == 200, answer.content
        return [row["code"] for row in answer.json()["results"]]

    assert codes(connectivity="online") == ["on"]
    assert codes(connectivity="never") == ["off"]
    assert codes(kind="plc") == ["off"]
    assert codes(q="ON", site=str(cast.home.pk)) == ["on"]
    assert client.get(f"{BASE}/devices", {"site": str(cast.away.pk)}).status_code == 400
    assert client.get(f"{BASE}/devices", {"connectivity": "sometimes"}).status_code == 400
    rows = client.get(f"{BASE}/devices", {"fields": "code", "ordering": "code"}).json()["results"]
    assert [set(row) for row in rows] == [{"id", "code"}] * 2
    csv = b"".join(client.get(f"{BASE}/devices", {"format": "csv"}).streaming_content).decode()
    assert str(online.pk) in csv


def test_external_keys_upsert(cast, api):
    client = api(cast.ot_engineer)
    url = f"{BASE}/devices/by-external-id/cmms/4711"
    assert client.put(url, new_device(cast)).status_code == 201
    assert client.put(url, {"name": "Renamed"}).json()["name"] == "Renamed"
    assert Device.objects.count() == 1


def test_bulk_is_all_or_nothing_unless_asked(cast, api):
    client = api(cast.ot_engineer)
    device = make_device(cast.home)
    rows = [
        {"device": str(device.pk), "code": "AT", "name": "a", "unit": "Cel"},
        {"device": str(device.pk), "code": "AP", "name": "b", "unit": "mbar", "range_low": 5, "range_high": 1},
    ]
    answer = client.post(f"{BASE}/channels/bulk", {"rows": rows})
    assert answer.status_code == 400
    assert answer.json()["refused"][0]["row"] == 1
    assert device.channels.count() == 0
    assert client.post(f"{BASE}/channels/bulk?partial=true", {"rows": rows}).json()["written"] == 1


@pytest.mark.parametrize("value", ["nan", "inf", "Infinity"])
def test_a_range_is_a_number(cast, api, value):
    device = make_device(cast.home)
    data = {"device": str(device.pk), "code": "AT", "name": "a", "unit": "Cel", "range_low": value}
    assert api(cast.ot_engineer).post(f"{BASE}/channels", data).status_code == 400


def test_a_place_follows_its_rules(cast, api):
    client = api(cast.ot_engineer)
    cell = make_location(cast.home, "cell")
    inside = {"site": str(cast.home.pk), "parent": str(cell.pk), "level": "area", "code": "a", "name": "A"}
    assert client.post(f"{BASE}/locations", inside).json()["errors"][0]["field"] == "level"
    area = client.post(f"{BASE}/locations", inside | {"parent": None}).json()
    moved = client.patch(f"{BASE}/locations/{cell.pk}", {"parent": area["id"]})
    assert moved.json()["path"] == f"a/{cell.code}"
    loop = client.patch(f"{BASE}/locations/{area['id']}", {"parent": str(cell.pk)})
    assert loop.status_code == 400
    used = client.delete(f"{BASE}/locations/{area['id']}")
    assert (used.status_code, used.json()["code"]) == (409, "in_use")
    assert Location.objects.count() == 2


def test_stop_and_release(cast, api):
    device = make_device(cast.home)
    url = f"{BASE}/devices/{device.pk}"
    assert api(cast.data_scientist).post(f"{url}/stop", {"reason": "x"}).status_code == 403
    assert api(cast.stranger).post(f"{url}/stop", {"reason": "x"}).status_code == 404
    client = api(cast.ot_engineer)
    assert client.get(f"{url}/open-stop").status_code == 404
    assert client.post(f"{url}/stop", {}).json()["errors"][0]["field"] == "reason"
    assert client.post(f"{url}/release").json()["code"] == "not_stopped"
    made = client.post(f"{url}/stop", {"reason": "hot", "fallback": "bypass"})
    assert (made.status_code, made.json()["fallback"]) == (201, "bypass")
    assert client.post(f"{url}/stop", {"reason": "again"}).status_code == 409
    assert client.get(f"{url}/open-stop").json()["reason"] == "hot"
    assert client.post(f"{url}/release").json()["released_at"]
    assert MachineStop.objects.count() == 1
    assert (audited("machine.stop"), audited("machine.release")) == (1, 1)


def test_a_repeated_stop_with_a_key_stops_once(cast, api):
    device = make_device(cast.home)
    client, url = api(cast.ot_engineer), f"{BASE}/devices/{device.pk}/stop"
    first = client.post(url, {"reason": "hot"}, headers={"Idempotency-Key": "k"})
    again = client.post(url, {"reason": "hot"}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert MachineStop.objects.count() == 1


def test_enrolments_and_credentials(cast, api):
    device = make_device(cast.home)
    client = api(cast.ot_engineer)
    assert api(cast.data_steward).post(f"{BASE}/devices/{device.pk}/enrolments", {}).status_code == 403
    made = client.post(f"{BASE}/devices/{device.pk}/enrolments", {"ttl_s": 3600})
    assert made.status_code == 201
    code = made.json()["claim_code"]
    other = client.post(f"{BASE}/enrolments", {"device": str(device.pk)})
    assert other.status_code == 201
    assert "claim_code" not in client.get(f"{BASE}/enrolments/{other.json()['id']}").json()
    assert client.post(f"{BASE}/enrolments", {"device": str(device.pk), "ttl_s": 5}).status_code == 400
    assert client.delete(f"{BASE}/enrolments/{made.json()['id']}").status_code == 204
    assert code
    _, credential = services.enrolment_claim(other.json()["claim_code"], "s" * 43, wall_now())
    assert client.delete(f"{BASE}/enrolments/{other.json()['id']}").json()["code"] == "claim_used"
    url = f"{BASE}/credentials/{credential.pk}/revoke"
    assert api(cast.data_steward).post(url).status_code == 403
    assert client.post(url).json()["state"] == "revoked"
    assert client.post(url).status_code == 409
    assert (Enrolment.objects.count(), Credential.objects.count()) == (1, 1)
    assert (audited("enrolment.create"), audited("credential.revoke"), audited("enrolment.withdraw")) == (2, 1, 1)


def test_want_activate_retire(cast, api):
    device = make_device(cast.home, "plc", state="planned")
    client, url = api(cast.ot_engineer), f"{BASE}/devices/{device.pk}"
    assert client.post(f"{url}/activate").json()["state"] == "active"
    assert client.post(f"{url}/want", {"wanted": {"pace": 2}}).json()["wanted_version"] == 1
    assert client.post(f"{url}/want", {"wanted": [1]}).status_code == 400
    assert client.post(f"{url}/want", {"wanted": {"pace": 3}}, headers={"If-Match": '"x-1"'}).status_code == 412
    assert client.post(f"{url}/retire").json()["state"] == "retired"
    assert client.post(f"{url}/retire").json()["code"] == "wrong_state"


def test_signals(cast, api):
    device = make_device(cast.home)
    make_channel(device, "AT", range_low=0, range_high=9)
    url = f"{BASE}/devices/{device.pk}/signals"
    client = api(cast.ot_engineer)
    empty = client.get(url).json()
    assert (empty["source"], empty["signals"][0]["state"]) == (None, "none")
    now = int(wall_now().timestamp() * 1000)
    services.signals_record(device, ["AT"], [now - 1000, now], [[1.0], [float("nan")]], {"m": [2.0, None]}, None, 7)
    answer = client.get(url, {"rows": 2})
    body = answer.json()
    assert body["signals"][0]["value"] == 1.0
    assert body["rows"] == [[1.0], [None]]
    assert body["predictions"] == {"m": [2.0, None]}
    assert client.get(url, {"rows": 0}).json()["rows"] == []
    for bad in ("401", "-1", "x", "1e2"):
        assert client.get(url, {"rows": bad}).status_code == 400
    assert api(cast.stranger).get(url).status_code == 404


def test_steering_a_replay(cast, api):
    Site.objects.filter(pk=cast.home.pk).update(kind="replay")
    url = f"{BASE}/sites/{cast.home.pk}/replay"
    client = api(cast.ot_engineer)
    assert client.get(url).status_code == 404
    assert client.post(url, {"rows_per_second": 2}).json()["code"] == "replay_not_started"
    from devices.plant_time import plant_clock_update

    plant_clock_update(cast.home, state="running", plant_now=wall_now(), rows_done=1, rows_total=9, rows_per_second=4.0)
    assert client.post(url, {"rows_per_second": 2, "jump_row": 5}).json()["wanted"]["jump"]["row"] == 5
    assert client.post(url, {"jump_row": 9}).status_code == 400
    assert client.post(url, {"rows_per_second": "nan"}).status_code == 400
    assert api(cast.plant_manager).post(url, {"paused": True}).status_code == 403
    assert api(cast.plant_manager).get(url).json()["state"] == "running"
