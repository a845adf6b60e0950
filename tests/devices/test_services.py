"""The verbs: twin, link history, enrolment, stop, states."""

from datetime import UTC, datetime, timedelta

import pytest

from devices import services
from devices.choices import Connectivity
from devices.models import Credential, Device, LinkHistory, MachineStop, PlantClock
from devices.selectors import (
    device_connectivity,
    link_uptime,
    onboarded_share,
    signal_coverage,
    site_tree,
    site_verbs,
    standard_protocol_share,
    with_connectivity,
)
from devices.signals import machine_released, machine_stopped
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry, Notification
from tests.factories import make_channel, make_device, make_location, make_site

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SECRET = "s" * 43


def actions(obj) -> list[str]:
    return list(AuditEntry.objects.filter(object_id=str(obj.pk)).values_list("action", flat=True))


# ---- twin and link ------------------------------------------------------------------------------------------------------


def test_wanting_raises_the_version_once_and_refuses_a_stale_writer(cast):
    device = make_device(cast.home)
    stale = Device.objects.get(pk=device.pk)
    services.device_want(actor=cast.ot_engineer, device=device, wanted={"pace": 2}, expected_version=1)
    services.device_want(actor=cast.ot_engineer, device=device, wanted={"pace": 2})
    assert (device.wanted_version, device.version) == (1, 2)
    with pytest.raises(StaleWrite):
        services.device_want(actor=cast.ot_engineer, device=stale, wanted={"pace": 3}, expected_version=1)
    assert actions(device) == ["device.want"]


def test_reports_in_any_order_leave_the_newest(cast, django_assert_max_num_queries):
    device = make_device(cast.home)
    with django_assert_max_num_queries(12):
        services.device_reports(
            [
                services.Report(device.pk, NOW, {"v": 2}, 4, inferring=True),
                services.Report(device.pk, NOW - timedelta(seconds=10), {"v": 1}, 3),
            ]
        )
    services.device_report(device, {"v": 0}, NOW - timedelta(seconds=20), actual_version=2)
    device.refresh_from_db()
    assert (device.actual, device.actual_version, device.last_seen_at) == ({"v": 2}, 4, NOW)
    rows = {r.minute.minute: (r.expected, r.received, r.inferring) for r in LinkHistory.objects.filter(device=device)}
    assert rows == {0: (6, 3, 1)}


def test_a_life_sign_without_a_state_keeps_the_state(cast):
    device = make_device(cast.home)
    services.device_report(device, {"v": 1}, NOW)
    services.device_report(device, None, NOW + timedelta(seconds=5))
    services.device_report(device, {"v": 2}, NOW + timedelta(seconds=3))
    device.refresh_from_db()
    assert device.actual == {"v": 2}
    assert device.last_seen_at == NOW + timedelta(seconds=5)


def test_uptime_while_the_portal_was_away_counts_when_heartbeats_arrive_late(cast):
    device = make_device(cast.home)
    start = NOW.replace(second=0)
    services.link_record([(device.pk, start + timedelta(seconds=10 * i), 1, 1) for i in range(6)])
    assert link_uptime(device, start, start + timedelta(minutes=3)).share == pytest.approx(1 / 3)
    late = [(device.pk, start + timedelta(minutes=m, seconds=10 * i), 1, 0) for m in (1, 2) for i in range(6)]
    services.link_record(late)
    found = link_uptime(device, start, start + timedelta(minutes=3))
    assert (found.share, found.inferring_share) == (1.0, pytest.approx(1 / 3))


def test_connectivity_in_python_and_in_the_database_agree(cast):
    for period in (1, 10, 600):
        for factor in (None, -1.0, 0.0, 2.4, 2.6, 5.9, 6.1, 1000.0):
            seen = None if factor is None else NOW - timedelta(seconds=period * factor)
            make_device(cast.home, last_seen_at=seen, report_every_s=period)
    for state, site in (("paused", cast.away), ("finished", make_site(kind="simulated")), ("finished", make_site())):
        PlantClock.objects.create(site=site, state=state, plant_now=NOW, wall_at=NOW)
        for seen in (None, NOW, NOW - timedelta(seconds=40), NOW - timedelta(days=9)):
            make_device(site, last_seen_at=seen)
        make_device(site, state="planned")
    rows = list(with_connectivity(Device.objects.select_related("site__plant_clock"), NOW))
    assert {row.connectivity for row in rows} == set(Connectivity.values)
    assert all(row.connectivity == device_connectivity(row, NOW) for row in rows)


def test_a_device_whose_replay_is_over_is_finished_and_not_offline(cast):
    replayed = make_site(kind="replay")
    PlantClock.objects.create(site=replayed, state="finished", plant_now=NOW, wall_at=NOW)
    long_ago = NOW - timedelta(days=9)
    assert device_connectivity(make_device(replayed, last_seen_at=long_ago), NOW) == Connectivity.FINISHED
    assert device_connectivity(make_device(replayed, "plc"), NOW) == Connectivity.FINISHED
    assert device_connectivity(make_device(replayed, last_seen_at=NOW), NOW) == Connectivity.ONLINE
    assert device_connectivity(make_device(replayed, state="planned"), NOW) == Connectivity.NEVER
    assert device_connectivity(make_device(cast.home, last_seen_at=long_ago), NOW) == Connectivity.OFFLINE


# ---- enrolment ------------------------------------------------------------------------------------------------------------


def test_a_code_and_a_secret_make_one_credential_however_often_they_come(cast):
    device = make_device(cast.home, state="planned")
    enrolment, code = services.enrolment_create(actor=cast.ot_engineer, device=device)
    first = services.enrolment_claim(code, SECRET, wall_now())
    again = services.enrolment_claim(code.lower().replace("-", " "), SECRET, wall_now() + timedelta(days=90))
    assert first[0] == device
    assert first[1] == again[1]
    device.refresh_from_db()
    assert device.state == "active"
    assert Credential.objects.filter(device=device).count() == 1
    assert services.credential_check(SECRET, wall_now()) == device
    stored = Credential.objects.get()
    assert SECRET not in f"{stored.token_hash}{stored.prefix}"
    assert code not in f"{enrolment.code_hash}{enrolment.code_hint}"
    assert "enrolment.claim" in actions(device)


def test_refusals_of_a_claim(cast):
    device = make_device(cast.home)
    _, code = services.enrolment_create(actor=cast.ot_engineer, device=device, ttl=timedelta(hours=1))
    with pytest.raises(DomainError) as unknown:
        services.enrolment_claim("XXXX-XXXX", SECRET, wall_now())
    assert (unknown.value.code, unknown.value.status) == ("claim_unknown", 404)
    with pytest.raises(DomainError) as expired:
        services.enrolment_claim(code, SECRET, wall_now() + timedelta(hours=2))
    assert (expired.value.code, expired.value.status) == ("claim_expired", 410)
    services.enrolment_claim(code, SECRET, wall_now())
    with pytest.raises(DomainError) as used:
        services.enrolment_claim(code, "t" * 43, wall_now())
    assert (used.value.code, used.value.status) == ("claim_used", 409)


def test_a_second_code_ends_the_first_and_a_second_enrolment_ends_the_first_credential(cast):
    device = make_device(cast.home)
    _, old = services.enrolment_create(actor=cast.ot_engineer, device=device)
    _, new = services.enrolment_create(actor=cast.ot_engineer, device=device)
    with pytest.raises(DomainError, match="expired"):
        services.enrolment_claim(old, SECRET, wall_now())
    services.enrolment_claim(new, SECRET, wall_now())
    _, third = services.enrolment_create(actor=cast.ot_engineer, device=device)
    with pytest.raises(DomainError) as reused:
        services.enrolment_claim(third, SECRET, wall_now())
    assert reused.value.code == "secret_reused"
    services.enrolment_claim(third, "t" * 43, wall_now())
    assert services.credential_check(SECRET, wall_now()) is None
    assert services.credential_check("t" * 43, wall_now()) == device
    with pytest.raises(DomainError) as ended:
        services.enrolment_claim(new, SECRET, wall_now())
    assert ended.value.code == "claim_used"


def test_a_revoked_credential_opens_nothing(cast, django_assert_num_queries):
    device = make_device(cast.home)
    _, code = services.enrolment_create(actor=cast.ot_engineer, device=device)
    _, credential = services.enrolment_claim(code, SECRET, wall_now())
    with django_assert_num_queries(1):
        assert services.credential_check(SECRET, wall_now()) == device
    services.credential_revoke(actor=cast.ot_engineer, credential=credential)
    assert services.credential_check(SECRET, wall_now()) is None
    with pytest.raises(DomainError):
        services.credential_revoke(actor=cast.ot_engineer, credential=credential)


def test_retiring_ends_credentials_and_codes(cast):
    device = make_device(cast.home)
    _, code = services.enrolment_create(actor=cast.ot_engineer, device=device)
    services.enrolment_claim(code, SECRET, wall_now())
    _, unused = services.enrolment_create(actor=cast.ot_engineer, device=device)
    services.device_set_state(actor=cast.ot_engineer, device=device, state="retired")
    assert services.credential_check(SECRET, wall_now()) is None
    with pytest.raises(DomainError, match="expired"):
        services.enrolment_claim(unused, "t" * 43, wall_now())
    with pytest.raises(DomainError) as refused:
        services.enrolment_create(actor=cast.ot_engineer, device=device)
    assert refused.value.code == "device_retired"
    with pytest.raises(DomainError):
        services.device_set_state(actor=cast.ot_engineer, device=device, state="retired")


def test_a_gateway_that_is_needed_cannot_be_retired(cast):
    gateway = make_device(cast.home)
    make_device(cast.home, "plc", gateway=gateway)
    with pytest.raises(DomainError) as refused:
        services.device_set_state(actor=cast.ot_engineer, device=gateway, state="retired")
    assert refused.value.code == "in_use"


def test_time_to_live_is_bounded(cast):
    with pytest.raises(InvalidInput):
        services.enrolment_create(actor=cast.ot_engineer, device=make_device(cast.home), ttl=timedelta(days=31))


# ---- stop -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    got = []

    def on_stop(device, stop, **_):
        got.append(("stopped", device.pk))

    def on_release(device, stop, **_):
        got.append(("released", device.pk))

    machine_stopped.connect(on_stop)
    machine_released.connect(on_release)
    yield got
    machine_stopped.disconnect(on_stop)
    machine_released.disconnect(on_release)


def test_stop_and_release_from_the_portal(cast, heard):
    device = make_device(cast.home, fallback="bypass")
    stop = services.machine_stop(actor=cast.ot_engineer, device=device, reason="hot bearing")
    device.refresh_from_db()
    assert (stop.fallback, device.wanted_version) == ("bypass", 1)
    assert Notification.objects.filter(kind="machine_stop", user=cast.data_scientist).exists()
    with pytest.raises(DomainError) as again:
        services.machine_stop(actor=cast.plant_manager, device=device, reason="me too")
    assert again.value.code == "stopped_already"
    assert services.machine_stop_confirm(device, NOW)
    assert not services.machine_stop_confirm(device, NOW)
    services.machine_release(actor=cast.ot_engineer, device=device)
    with pytest.raises(DomainError):
        services.machine_release(actor=cast.ot_engineer, device=device)
    assert heard == [("stopped", device.pk), ("released", device.pk)]
    assert sorted(actions(device)) == ["machine.release", "machine.stop"]


def test_a_stop_pressed_on_the_gateway_is_lifted_there_only(cast, heard):
    device = make_device(cast.home)
    first = services.machine_stopped_locally(device, "smoke", NOW)
    assert services.machine_stopped_locally(device, "smoke", NOW).pk == first.pk
    with pytest.raises(DomainError) as refused:
        services.machine_release(actor=cast.ot_engineer, device=device)
    assert refused.value.code == "stopped_locally"
    assert services.machine_released_locally(device, NOW).released_at == NOW
    assert services.machine_released_locally(device, NOW) is None
    assert [word for word, _ in heard] == ["stopped", "released"]


def test_a_stop_from_both_sides_needs_both_to_lift_it(cast):
    device = make_device(cast.home)
    services.machine_stop(actor=cast.ot_engineer, device=device, reason="test")
    services.machine_stopped_locally(device, "smoke", NOW)
    with pytest.raises(DomainError):
        services.machine_release(actor=cast.ot_engineer, device=device)
    services.machine_released_locally(device, NOW)
    assert MachineStop.objects.get().released_at is None
    services.machine_release(actor=cast.ot_engineer, device=device)
    assert MachineStop.objects.get().released_at is not None


def test_what_cannot_be_stopped(cast):
    for device, kwargs, code in (
        (make_device(cast.home), {"reason": " "}, "invalid"),
        (make_device(cast.home), {"reason": "x", "fallback": "explode"}, "invalid"),
        (make_device(cast.home, "plc"), {"reason": "x"}, "not_a_gateway"),
        (make_device(cast.home, state="retired"), {"reason": "x"}, "device_retired"),
    ):
        with pytest.raises(DomainError) as refused:
            services.machine_stop(actor=cast.ot_engineer, device=device, **kwargs)
        assert refused.value.code == code
    assert not MachineStop.objects.exists()


# ---- registry ------------------------------------------------------------------------------------------------------------------


def test_renaming_a_place_moves_the_paths_inside_it(cast):
    area = make_location(cast.home, "area", code="hall")
    line = make_location(cast.home, "line", area, code="l1")
    cell = make_location(cast.home, "cell", line, code="c1")
    other = make_location(cast.home, "area", code="hall-2")
    services.location_update(actor=cast.ot_engineer, location=area, data={"code": "north"})
    for place, path in ((area, "north"), (line, "north/l1"), (cell, "north/l1/c1"), (other, "hall-2")):
        place.refresh_from_db()
        assert place.path == path


def test_a_device_stays_at_its_site_and_its_twin_moves_by_its_own_verb(cast):
    device = make_device(cast.home)
    for data in ({"site": cast.away}, {"wanted": {}}, {"state": "retired"}):
        with pytest.raises(InvalidInput):
            services.device_update(actor=cast.ot_engineer, device=device, data=data)


def test_the_tree_counts_what_stands_below(cast, django_assert_num_queries):
    area = make_location(cast.home, "area")
    cell = make_location(cast.home, "cell", area)
    devices = [make_device(cast.home, location=cell), make_device(cast.home, location=area), make_device(cast.home)]
    with django_assert_num_queries(1):
        [root] = site_tree([cast.home], devices)
    assert (root.count, root.children[0].count, root.children[0].children[0].count) == (3, 2, 1)


def test_facts_that_gates_read(cast):
    gateway = make_device(cast.home, name="G", last_seen_at=NOW)
    plc = make_device(cast.home, "plc", name="P", gateway=gateway)
    make_device(cast.home, "sensor", name="S", state="planned")
    _, code = services.enrolment_create(actor=None, device=gateway)
    services.enrolment_claim(code, SECRET, wall_now())
    devices = Device.objects.filter(site=cast.home)
    share = onboarded_share(devices)
    assert (share.good, share.all, share.missing) == (2, 3, ("S",))
    plc.device_type.protocol = "other"
    plc.device_type.save()
    assert standard_protocol_share(devices).missing == ("P",)
    make_channel(plc, "AT", range_low=-30, range_high=60)
    make_channel(plc, "AP")
    make_channel(plc, "NOX", role="label")
    assert signal_coverage(cast.home, ["AT", "AP", "NOX", "XX"]).missing == ("AP", "XX")
    assert signal_coverage(devices, ["AT"]).share == 1.0
    assert onboarded_share(Device.objects.none()).share is None


def test_the_verbs_of_a_person_at_a_site(cast, django_assert_max_num_queries):
    assert {"change", "enrol", "stop"} <= site_verbs(cast.ot_engineer, cast.home.pk)
    assert site_verbs(cast.stranger, cast.home.pk) == frozenset()
    assert {"view", "change"} <= site_verbs(cast.coe_lead, cast.away.pk)
