"""A replay slows while a repair runs and goes on afterwards."""

from datetime import UTC, datetime

import pytest

from devices.choices import ReplayState, SiteKind
from devices.models import PlantClock
from devices.plant_time import plant_clock_update
from edge_bridge.pacing import WATCHING_PACE, follow
from governance.choices import RetrainingState
from governance.models import Pipeline, Retraining
from tests.factories import make_adoption, make_model, make_site, make_use_case

pytestmark = pytest.mark.django_db
AT = datetime(2014, 1, 1, tzinfo=UTC)


def report(site, pace):
    plant_clock_update(
        site, state=ReplayState.RUNNING, plant_now=AT, rows_done=10, rows_total=100, rows_per_second=pace
    )


@pytest.fixture
def repair(db):
    site = make_site("hall", kind=SiteKind.REPLAY)
    use_case = make_use_case()
    pipeline = Pipeline.objects.create(
        adoption=make_adoption(use_case, site), model=make_model(use_case), name="p", stream="plc"
    )
    report(site, 4.0)
    return site, Retraining.objects.create(pipeline=pipeline, due_row=1, train_from=AT, train_to=AT, train_rows=10)


def test_slows_during_a_repair_and_goes_on_after_it(repair):
    site, retraining = repair
    assert follow() == 1
    assert PlantClock.objects.get(site=site).wanted["rows_per_second"] == WATCHING_PACE
    report(site, WATCHING_PACE)
    assert follow() == 0
    Retraining.objects.filter(pk=retraining.pk).update(state=RetrainingState.LIVE)
    assert follow() == 1
    wanted = PlantClock.objects.get(site=site).wanted
    assert wanted["rows_per_second"] == 4.0
    assert "pace_before_repair" not in wanted


def test_a_pace_somebody_chose_meanwhile_stays(repair):
    site, retraining = repair
    follow()
    report(site, 1.0)
    Retraining.objects.filter(pk=retraining.pk).update(state=RetrainingState.REFUSED)
    follow()
    assert PlantClock.objects.get(site=site).wanted.get("rows_per_second", 1.0) == 1.0


def test_history_and_live_plants_are_left_alone(repair):
    site, retraining = repair
    Retraining.objects.filter(pk=retraining.pk).update(fast_forwarded=True)
    assert follow() == 0
    assert PlantClock.objects.get(site=site).wanted == {}
