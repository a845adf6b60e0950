"""Two clocks: plant time of a replay, wall time elsewhere; steering a replay."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from devices import live, services
from devices.models import Device, PlantClock, SignalWindow, Site
from devices.plant_time import (
    plant_age,
    plant_clock_update,
    plant_now,
    replay_finished,
    replay_text,
    replay_want,
)
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from tests.factories import make_channel, make_device, make_site

pytestmark = pytest.mark.django_db
PLANT = datetime(2013, 12, 14, 3, tzinfo=UTC)


@pytest.fixture
def hall(db):
    return make_site("hall", kind="replay")


def tell(site, **changed):
    values = {
        "state": "running",
        "plant_now": PLANT,
        "rows_done": 21_000,
        "rows_total": 36_733,
        "rows_per_second": 4.0,
    }
    return plant_clock_update(site, **(values | changed))


def test_a_live_plant_has_one_clock(db):
    site = make_site("live")
    assert abs(plant_now(site) - wall_now()) < timedelta(seconds=5)
    assert replay_text(site) == ""
    assert not replay_finished(site)


def test_a_replay_says_what_it_is(hall):
    assert replay_text(hall) == "Replay of real data, not started yet"
    tell(hall)
    hall = Site.objects.get(pk=hall.pk)
    assert replay_text(hall) == "Replay of real data, plant time 14 Dec 2013, 03:00, 4 rows/s"
    assert plant_now(hall) == PLANT
    tell(hall, state="finished", rows_done=36_733, plant_now=PLANT + timedelta(days=365))
    hall = Site.objects.get(pk=hall.pk)
    assert "replay finished at plant time 14 Dec 2014" in replay_text(hall)
    assert replay_finished(hall)
    assert plant_age(hall, PLANT + timedelta(days=365)) == timedelta(0)
    assert plant_age(hall, None) is None


def test_of_two_gateways_the_one_ahead_sets_the_clock_and_a_jump_back_is_taken(hall):
    at = wall_now()
    tell(hall, at=at)
    tell(hall, rows_done=20_990, plant_now=PLANT - timedelta(hours=10), at=at + timedelta(seconds=2))
    assert PlantClock.objects.get().plant_now == PLANT
    tell(hall, rows_done=20_990, plant_now=PLANT - timedelta(hours=10), at=at + timedelta(seconds=20))
    assert PlantClock.objects.get().rows_done == 20_990
    tell(hall, rows_done=100, plant_now=PLANT - timedelta(days=900), at=at + timedelta(seconds=21))
    assert PlantClock.objects.get().rows_done == 100


def test_steering_stands_until_the_plc_reports_it(cast, hall):
    gateway = make_device(hall)
    with pytest.raises(DomainError) as early:
        replay_want(actor=cast.ot_engineer, site=hall, rows_per_second=8)
    assert early.value.code == "replay_not_started"
    tell(hall)
    clock = replay_want(actor=cast.ot_engineer, site=hall, rows_per_second=20, jump_row=21_591, paused=True)
    jump = clock.wanted["jump"]
    assert jump["row"] == 21_591
    gateway.refresh_from_db()
    assert gateway.wanted_version == 1
    assert AuditEntry.objects.filter(action="replay.want", site_ref=hall.pk).count() == 1
    assert set(tell(hall, rows_per_second=20.0).wanted) == {"jump", "paused"}
    assert tell(hall, state="paused", rows_per_second=20.0, last_jump=jump["id"]).wanted == {}


@pytest.mark.parametrize("asked", [{}, {"rows_per_second": -1}, {"rows_per_second": 700}, {"jump_row": 36_733}])
def test_what_a_replay_cannot_do(cast, hall, asked):
    tell(hall)
    with pytest.raises(InvalidInput):
        replay_want(actor=cast.ot_engineer, site=hall, **asked)


def test_a_finished_replay_goes_on_only_by_a_jump_and_a_live_plant_not_at_all(cast, hall):
    tell(hall, state="finished")
    with pytest.raises(DomainError) as over:
        replay_want(actor=cast.ot_engineer, site=hall, paused=False)
    assert over.value.code == "replay_finished"
    assert replay_want(actor=cast.ot_engineer, site=hall, jump_row=0).wanted["jump"]["row"] == 0
    with pytest.raises(DomainError) as live_plant:
        replay_want(actor=cast.ot_engineer, site=cast.home, rows_per_second=1)
    assert live_plant.value.code == "not_replayed"


# ---- the live window ----------------------------------------------------------------------------------------------------


def millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def batch(start: int, n: int) -> tuple[list[int], list[list[float]]]:
    return [millis(PLANT) + 3_600_000 * i for i in range(start, start + n)], [
        [float(i), 1000.0] for i in range(start, start + n)
    ]


def test_the_window_keeps_the_newest_400_rows_and_skips_what_it_saw(hall):
    device = make_device(hall)
    tell(hall)
    for at in range(0, 480, 16):
        services.signals_record(device, ["AT", "AP"], *batch(at, 16), {"NOX": [5.0] * 16}, wall_now(), at // 16 + 1)
    services.signals_record(device, ["AT", "AP"], *batch(0, 16), {}, wall_now(), 30)
    view = live.live_view(Device.objects.get(pk=device.pk))
    assert len(view.ring) == 400
    assert view.ring.column("AT")[-1] == 479.0
    assert view.ring.model("NOX")[-1] == 5.0
    assert view.age == timedelta(0)
    assert PlantClock.objects.get().plant_now == PLANT + timedelta(hours=479)


def test_an_append_costs_few_queries_and_little_time(hall, django_assert_max_num_queries):
    import time

    device = make_device(hall)
    columns = [f"X{i}" for i in range(52)]
    values = np.random.default_rng(1).normal(size=(64, 52))
    services.signals_record(device, columns, list(range(64)), values, {}, wall_now(), 1)
    with django_assert_max_num_queries(6):
        services.signals_record(device, columns, list(range(64, 128)), values, {}, wall_now(), 2)
    begin = time.perf_counter()
    for at in range(3, 43):
        services.signals_record(device, columns, list(range(64)), values, {}, wall_now(), at)
    assert (time.perf_counter() - begin) / 40 < 0.05


def test_live_values_carry_unit_range_age_and_state(hall):
    gateway = make_device(hall)
    plc = make_device(hall, "plc", gateway=gateway)
    make_channel(plc, "AT", unit="Cel", range_low=0, range_high=10, period_s=3600)
    make_channel(plc, "AP", unit="mbar", period_s=3600)
    make_channel(plc, "AH", unit="%")
    make_channel(plc, "NOX", role="label")
    tell(hall)
    times, rows = batch(0, 12)
    rows[-1][1] = float("nan")
    services.signals_record(gateway, ["AT", "AP", "EXTRA"], times, [[*row, 1.0] for row in rows], {}, wall_now(), 1)
    view = live.live_view(Device.objects.select_related("site", "gateway", "device_type").get(pk=plc.pk))
    by_code = {signal.code: signal for signal in view.signals}
    assert set(by_code) == {"AT", "AP", "AH"}
    assert (by_code["AT"].value, by_code["AT"].unit, by_code["AT"].state) == (11.0, "Cel", "high")
    assert (by_code["AP"].value, by_code["AP"].state, by_code["AP"].age) == (1000.0, "missing", timedelta(hours=1))
    assert (by_code["AH"].value, by_code["AH"].state) == (None, "none")
    assert view.source == gateway
    on_gateway = live.live_view(gateway)
    assert {signal.code for signal in on_gateway.signals} == {"AT", "AP", "AH", "EXTRA"}
    figure = live.signal_figure(view, "AT")
    assert len(figure["data"][0]["x"]) == 12
    assert len(figure["layout"]["shapes"]) == 2
    assert live.signal_figure(view, "nothing")["data"] == []


def test_predictions_that_come_later_find_their_rows(hall):
    device = make_device(hall)
    services.predictions_record(device, "NOX", [1], [2.0])
    assert not SignalWindow.objects.exists()
    times, rows = batch(0, 4)
    services.signals_record(device, ["AT", "AP"], times, rows, {}, wall_now(), 1)
    services.predictions_record(device, "NOX", times[2:], [7.0, 8.0])
    np.testing.assert_equal(live.live_view(device).ring.model("NOX"), [np.nan, np.nan, 7.0, 8.0])
