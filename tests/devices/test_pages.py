"""Pages: who sees what, forms that keep what was typed, buttons that say who may, query counts."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from devices import services
from devices.models import Asset, Device, MachineStop, PlantClock, Site
from devices.plant_time import plant_clock_update
from portal.core.clock import wall_now
from portal.core.models import AuditEntry
from tests.factories import make_channel, make_device, make_device_type, make_location

pytestmark = pytest.mark.django_db


@pytest.fixture
def plant(cast):
    area = make_location(cast.home, "area", code="hall")
    cast.cell = make_location(cast.home, "cell", area, code="c1")
    cast.machine = Asset.objects.create(location=cast.cell, code="m-1", name="Turbine")
    cast.gateway = make_device(cast.home, location=cast.cell, asset=cast.machine, code="gw-1", name="Gateway One")
    cast.plc = make_device(cast.home, "plc", location=cast.cell, gateway=cast.gateway, code="plc-1", name="PLC One")
    make_channel(cast.plc, "AT", range_low=-30, range_high=60)
    services.signals_record(
        cast.gateway, ["AT"], [int(wall_now().timestamp() * 1000) - 1000 * i for i in (2, 1, 0)], [[1.0], [2.0], [3.0]],
        {"NOx": [4.0, 5.0, 6.0]}, wall_now(), 1,
    )  # fmt: skip
    return cast


def url(name, *args):
    return reverse(f"devices:{name}", args=args)


def test_every_page_opens_for_those_who_may_and_hides_from_others(plant, as_user):
    pages = [
        url("devices"),
        url("onboarding"),
        url("device-types"),
        url("import"),
        url("device-new"),
        url("location-new"),
        url("asset-new"),
        url("channel-new"),
    ]
    things = [
        url("site", plant.home.pk),
        url("site-edit", plant.home.pk),
        url("location", plant.cell.pk),
        url("location-edit", plant.cell.pk),
        url("asset", plant.machine.pk),
        url("asset-edit", plant.machine.pk),
        url("device", plant.gateway.pk),
        url("device", plant.plc.pk),
        url("device-edit", plant.gateway.pk),
        url("device-stop", plant.gateway.pk),
        url("device-enrol", plant.gateway.pk),
        url("device-live", plant.gateway.pk),
        url("device-figure", plant.gateway.pk),
        url("channel-edit", plant.plc.channels.get().pk),
    ]
    client = as_user(plant.ot_engineer)
    for address in [*pages, *things, url("device-type", plant.gateway.device_type_id)]:
        assert client.get(address).status_code == 200, address
    client = as_user(plant.stranger)
    for address in things:
        assert client.get(address).status_code == 404, address
    body = client.get(url("devices")).content.decode()
    assert "Gateway One" not in body
    client.logout()
    assert client.get(url("devices")).status_code == 302


@pytest.mark.parametrize(("name", "limit"), [("devices", 12), ("onboarding", 12), ("device-types", 12), ("import", 12)])
def test_list_pages_stay_within_twelve_queries(plant, as_user, django_assert_max_num_queries, name, limit):
    for _ in range(20):
        make_device(plant.home, location=plant.cell, state="planned")
    client = as_user(plant.ot_engineer)
    with django_assert_max_num_queries(limit):
        assert client.get(url(name)).status_code == 200


def test_detail_pages_stay_within_twelve_queries(plant, as_user, django_assert_max_num_queries):
    client = as_user(plant.ot_engineer)
    device = url("device", plant.gateway.pk)
    for address in (
        device,
        *(f"{device}?tab={tab}" for tab in ("twin", "identity", "history")),
        url("device-panels", plant.gateway.pk),
        url("site", plant.home.pk),
        url("location", plant.cell.pk),
        url("asset", plant.machine.pk),
        url("device-type", plant.gateway.device_type_id),
    ):
        with django_assert_max_num_queries(12):
            assert client.get(address).status_code == 200, address
    for name in ("device-live", "device-figure"):
        with django_assert_max_num_queries(8):
            assert client.get(url(name, plant.gateway.pk)).status_code == 200


def test_the_device_page_shows_live_values_twin_and_why_it_is_not_verified(plant, as_user):
    services.device_want(actor=None, device=plant.gateway, wanted={"pace": 2})
    services.device_report(plant.gateway, {"pace": 1}, wall_now())
    services.machine_stop(actor=plant.ot_engineer, device=make_device(plant.home), reason="other machine")

    def page(person, tab="now"):
        return as_user(person).get(url("device", plant.gateway.pk), {"tab": tab}).content.decode()

    body = page(plant.ot_engineer)
    for text in ("AT", "NOx", "Stop on this machine", "Online"):
        assert text in body
    assert "other machine" not in body
    assert "Differs" in page(plant.ot_engineer, "twin")
    assert "Device: want" in page(plant.ot_engineer, "history")
    assert "not set up here" in page(plant.ot_engineer, "identity")
    assert "Create claim code" in page(plant.ot_engineer, "identity")
    assert "Create claim code" not in page(plant.plant_manager, "identity")
    assert page(plant.ot_engineer, "nonsense") != ""
    body = page(plant.data_scientist)
    assert "OT engineer" in body
    assert url("device-stop", plant.gateway.pk) not in body


def test_the_live_part_answers_304_until_something_changes(plant, as_user):
    Site.objects.filter(pk=plant.home.pk).update(kind="replay")
    plant_clock_update(
        Site.objects.get(pk=plant.home.pk), state="running", plant_now=wall_now(), rows_done=1, rows_total=9,
        rows_per_second=4.0,
    )  # fmt: skip
    client = as_user(plant.ot_engineer)
    for name in ("device-live", "device-figure"):
        first = client.get(url(name, plant.gateway.pk), {"channel": "AT"})
        again = client.get(url(name, plant.gateway.pk), {"channel": "AT"}, headers={"If-None-Match": first["ETag"]})
        assert (first.status_code, again.status_code) == (200, 304)
    figure = json.loads(client.get(url("device-figure", plant.gateway.pk), {"channel": "AT"}).content)
    assert figure["data"][0]["y"] == [1.0, 2.0, 3.0]
    services.signals_record(plant.gateway, ["AT"], [int(wall_now().timestamp() * 1000)], [[9.0]], {}, wall_now(), 2)
    assert client.get(url(name, plant.gateway.pk), headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_filters_export_and_partial(plant, as_user, htmx):
    client = as_user(plant.ot_engineer)
    table = client.get(url("devices"), {"kind": "plc"}, **htmx).content.decode()
    assert "PLC One" in table
    assert "Gateway One" not in table
    assert "<html" not in table
    csv = b"".join(client.get(url("devices"), {"export": "csv"}).streaming_content).decode()
    assert "Gateway One" in csv
    assert "Never seen" in csv
    assert client.get(url("devices"), {"export": "xlsx"}).status_code == 200
    assert client.get(url("devices"), {"sort": "connectivity", "q": "one"}).status_code == 200


def test_a_form_keeps_what_was_typed_and_names_the_field(plant, as_user):
    client = as_user(plant.ot_engineer)
    data = {
        "site": plant.home.pk,
        "name": "My new gateway",
        "code": "NOT OK",
        "device_type": make_device_type().pk,
        "report_every_s": 10,
        "fallback": "bypass",
        "address": '{"host": "x"}',
    }
    answer = client.post(url("device-new"), data)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert "My new gateway" in body
    assert "small letters" in body
    assert client.post(url("device-new"), data | {"code": "ok-1"}).status_code == 302
    made = Device.objects.get(code="ok-1")
    assert made.address == {"host": "x"}
    assert client.post(url("device-new"), data | {"code": "ok-1"}).status_code in {400, 422}
    stale = client.post(url("device-edit", made.pk), data | {"code": "ok-2", "version": 7})
    assert stale.status_code == 412
    assert client.post(url("device-edit", made.pk), data | {"code": "ok-2", "version": 1}).status_code == 302
    assert as_user(plant.plant_manager).post(url("device-new"), data | {"code": "ok-3"}).status_code == 403


def test_stop_and_release_on_the_page(plant, as_user):
    client = as_user(plant.ot_engineer)
    address = url("device-stop", plant.gateway.pk)
    assert "phasegate-agent stop" in client.get(address).content.decode()
    assert client.post(address, {"fallback": "bypass"}).status_code == 422
    assert client.post(address, {"reason": "smoke", "fallback": "bypass"}).status_code == 302
    assert client.post(address, {"reason": "again", "fallback": "bypass"}).status_code == 409
    assert "smoke" in client.get(url("device", plant.gateway.pk)).content.decode()
    assert client.post(url("device-release", plant.gateway.pk)).status_code == 302
    assert MachineStop.objects.get().released_at is not None
    assert as_user(plant.data_scientist).post(address, {"reason": "x", "fallback": "bypass"}).status_code == 403
    assert as_user(plant.stranger).post(address, {"reason": "x", "fallback": "bypass"}).status_code == 404


def test_the_claim_code_is_shown_once_with_the_command(plant, as_user):
    client = as_user(plant.ot_engineer)
    address = url("device-enrol", plant.gateway.pk)
    assert client.post(address, {"ttl": "24"}).status_code == 302
    body = client.get(address).content.decode()
    assert "phasegate-agent enrol" in body
    assert "--claim-code" not in client.get(address).content.decode()
    assert as_user(plant.data_steward).post(address, {"ttl": "24"}).status_code == 403


def test_states_credentials_and_deletion(plant, as_user):
    client = as_user(plant.ot_engineer)
    _, code = services.enrolment_create(actor=None, device=plant.gateway)
    _, credential = services.enrolment_claim(code, "s" * 43, wall_now())
    assert client.post(url("credential-revoke", credential.pk)).status_code == 302
    assert client.post(url("device-retire", plant.plc.pk)).status_code == 302
    assert client.post(url("device-activate", plant.plc.pk)).status_code == 302
    assert client.post(url("channel-delete", plant.plc.channels.get().pk)).status_code == 302
    assert client.post(url("device-delete", plant.plc.pk)).status_code == 302
    assert client.post(url("asset-delete", plant.machine.pk)).status_code == 409
    assert client.post(url("site-delete", plant.home.pk)).status_code == 403
    wanted = {"credential.revoke", "device.retired", "device.active", "channel.delete", "device.delete"}
    assert wanted <= set(AuditEntry.objects.values_list("action", flat=True))


def test_replay_control(plant, as_user):
    Site.objects.filter(pk=plant.home.pk).update(
        kind="replay", landmarks=[{"row": 5, "label": "before the decay"}], data_notice="Set X, 2011-14"
    )
    site = Site.objects.get(pk=plant.home.pk)
    client = as_user(plant.ot_engineer)
    assert "No row has been read yet" in client.get(url("site", site.pk)).content.decode()
    plant_clock_update(site, state="running", plant_now=wall_now(), rows_done=1, rows_total=9, rows_per_second=4.0)
    body = client.get(url("site", site.pk)).content.decode()
    assert "Jump to before the decay" in body
    assert "Set X" in body
    assert client.post(url("site-replay", site.pk), {"jump_row": "5"}).status_code == 302
    assert client.post(url("site-replay", site.pk), {"paused": "true"}).status_code == 302
    assert client.post(url("site-replay", site.pk), {"rows_per_second": "20"}).status_code == 302
    wanted = PlantClock.objects.get().wanted
    assert (wanted["jump"]["row"], wanted["paused"], wanted["rows_per_second"]) == (5, True, 20.0)
    assert client.post(url("site-replay", site.pk), {"jump_row": "99"}).status_code == 400
    assert client.post(url("site-replay", site.pk), {}).status_code == 400
    assert as_user(plant.plant_manager).post(url("site-replay", site.pk), {"paused": "true"}).status_code == 403


def test_import_page_checks_then_writes(plant, as_user):
    make_device_type("plc", name="Legacy PLC")
    client = as_user(plant.ot_engineer)
    good = "site,code,name,device_type\nhome,p-1,P1,Legacy PLC\nhome,p-2,P2,Legacy PLC\n"
    upload = SimpleUploadedFile("list.csv", good.encode())
    checked = client.post(url("import"), {"kind": "devices", "file": upload, "check": "1"})
    assert checked.status_code == 200
    assert "Write 2 rows" in checked.content.decode()
    assert "p-1,P1" in checked.content.decode()
    assert not Device.objects.filter(code="p-1").exists()
    bad = good + "home,P 3,P3,Toaster\n"
    refused = client.post(url("import"), {"kind": "devices", "text": bad, "write": "all"})
    assert refused.status_code == 422
    assert "Toaster is not known" in refused.content.decode()
    assert "small letters" in refused.content.decode()
    assert not Device.objects.filter(code="p-1").exists()
    wrong = client.post(url("import"), {"kind": "devices", "text": "a,b\n1,2\n", "check": "1"})
    assert wrong.status_code == 400
    assert "missing: site" in wrong.content.decode()
    assert client.post(url("import"), {"kind": "devices", "text": ""}).status_code == 422
    written = client.post(url("import"), {"kind": "devices", "text": bad, "write": "good"})
    assert written.status_code == 302
    assert Device.objects.filter(code__in=["p-1", "p-2"]).count() == 2
    assert as_user(plant.plant_manager).get(url("import")).status_code == 403


def test_search_and_switcher_know_the_registry(plant):
    from portal.core import navigation, search

    found = {kind.key: [hit.title for hit in hits] for kind, hits in search.search(plant.ot_engineer, "one")}
    assert found["device"] == ["Gateway One", "PLC One"]
    assert not dict(search.search(plant.stranger, "gateway one"))
    assert search.search(plant.ot_engineer, "AT")
    assert [site["name"] for site in navigation.sites_of(plant.stranger)] == [plant.away.name]


def test_panels_of_higher_apps_come_after_the_page(plant, as_user, htmx):
    client = as_user(plant.ot_engineer)
    for name, pk in (("device-panels", plant.gateway.pk), ("site-panels", plant.home.pk)):
        assert "<html" in client.get(url(name, pk)).content.decode()
        assert "<html" not in client.get(url(name, pk), **htmx).content.decode()
        assert as_user(plant.stranger).get(url(name, pk)).status_code == 404
        client = as_user(plant.ot_engineer)
