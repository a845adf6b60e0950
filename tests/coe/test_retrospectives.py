"""A site's month: filled in from its records, edited, held."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coe import services
from coe.models import Retrospective
from coe.tasks import prepare_months, prepare_reviews
from devices.models import PlantClock
from governance.models import Check, CheckResult, DriftReport, Retraining, Slo, SloEvent
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry, Notification
from tests.coe.builders import batch, incident, install, pipeline, replay
from tests.factories import make_version

pytestmark = pytest.mark.django_db
JANUARY = date(2014, 1, 1)
TEXTS = {"went_well": "It was quick.", "to_improve": "Be quicker."}


@pytest.fixture
def plant(cast: Any) -> Any:
    """January 2014 at home, seen from 3 February: one repaired incident, a refused and a live retraining, a failed check."""
    replay(cast.home, datetime(2014, 2, 3, tzinfo=UTC))
    line = pipeline(cast.home, cast.ours)
    began = datetime(2014, 1, 4, tzinfo=UTC)
    received = wall_now() - timedelta(hours=1)
    first = batch(line, datetime(2014, 1, 2, tzinfo=UTC), received_at=received)
    batch(line, datetime(2014, 1, 20, tzinfo=UTC), received_at=received + timedelta(minutes=30), rows_refused=3)
    incident(line, began, detected_after=timedelta(hours=14), recovered_after=timedelta(days=5))
    for row, state in ((1, "refused"), (2, "live")):
        Retraining.objects.create(
            pipeline=line,
            state=state,
            due_row=row,
            train_from=datetime(2013, 6, 1, tzinfo=UTC),
            train_to=datetime(2014, 1, 5 + row, tzinfo=UTC),
            train_rows=5000,
            started_at=received,
            finished_at=received + timedelta(minutes=4),
        )
    stage = line.stages.get(kind="source")
    check = Check.objects.create(stage=stage, kind="range", name="Plausible range")
    CheckResult.objects.create(stage_check=check, batch=first, state="failed", plant_at=first.plant_to)
    features = [{"name": "AFDP", "state": "drifted"}, {"name": "AT", "state": "stable"}]
    DriftReport.objects.create(
        pipeline=line,
        stage=stage,
        kind="feature",
        rows=600,
        plant_from=began,
        plant_to=began + timedelta(days=10),
        drifted=True,
        features=features,
    )
    uptime = Slo.objects.create(adoption=line.adoption, kind="uptime", name="Edge uptime", target=0.995)
    SloEvent.objects.create(slo=uptime, at=received + timedelta(minutes=5), good=1194, bad=6, source="a")
    SloEvent.objects.create(slo=uptime, at=received - timedelta(days=5), good=0, bad=600, source="b")
    Slo.objects.create(adoption=line.adoption, kind="alert_to_retrain", name="Repair", target=0.9, limit_seconds=7200)
    return line


def test_the_month_is_filled_in_from_its_records(cast: Any, plant: Any) -> None:
    made = services.retrospective_prepare(site=cast.home, month=date(2014, 1, 17))
    summary = made.summary
    assert made.month == JANUARY
    assert summary["complete"] is True
    assert summary["data"] == {"batches": 2, "rows": 48, "rows_refused": 3}
    (row,) = summary["incidents"]
    assert row["plant_s_to_detect"] == 14 * 3600
    assert row["plant_s_to_recover"] == 5 * 86_400
    assert row["wall_s_to_live"] == pytest.approx(1800)
    assert {k: summary["retrainings"][k] for k in ("total", "live", "refused", "failed")} == {
        "total": 2,
        "live": 1,
        "refused": 1,
        "failed": 0,
    }
    assert summary["checks"]["failed"] == 1
    assert summary["drift"]["kinds"]["feature"] == {"windows": 1, "drifted": 1}
    assert summary["drift"]["features"] == [{"name": "AFDP", "windows": 1}]
    slos = {s["name"]: s for s in summary["slos"]}
    # 6 s down of 1200 s, 0.5 % allowed: all of the budget; the hour before the month's data does not count.
    assert slos["Edge uptime"]["used_share"] == pytest.approx(1.0)
    assert slos["Repair"]["good"] == 1
    assert "recovered after 5 d" in made.went_well
    assert "refused" in made.went_well
    assert "14 h" in made.to_improve
    assert "AFDP" in made.to_improve
    assert "Plausible range (Source) failed 1 of 1" in made.to_improve
    assert made.incidents.count() == 1


def test_preparing_again_changes_nothing_and_follows_new_records(cast: Any, plant: Any) -> None:
    first = services.retrospective_prepare(site=cast.home, month=JANUARY)
    again = services.retrospective_prepare(site=cast.home, month=JANUARY)
    assert (again.pk, again.version) == (first.pk, first.version)
    services.retrospective_update(actor=cast.ot_engineer, retrospective=again, data={"went_well": "Ours."})
    incident(plant, datetime(2014, 1, 25, tzinfo=UTC), detected_after=timedelta(hours=1), title="Second")
    third = services.retrospective_prepare(site=cast.home, month=JANUARY)
    assert third.went_well == "Ours."
    assert "Second" in third.to_improve
    assert third.incidents.count() == 2
    assert Retrospective.objects.count() == 1


def test_a_future_month_is_refused_and_the_running_one_says_so(cast: Any, plant: Any) -> None:
    with pytest.raises(InvalidInput, match="not valid"):
        services.retrospective_prepare(site=cast.home, month=date(2014, 3, 1))
    running = services.retrospective_prepare(site=cast.home, month=date(2014, 2, 1))
    assert running.summary["complete"] is False
    with pytest.raises(DomainError) as refused:
        services.retrospective_hold(actor=cast.plant_manager, retrospective=running, data=TEXTS)
    assert refused.value.code == "month_not_over"


def test_holding_freezes_text_and_figures(cast: Any, plant: Any) -> None:
    made = services.retrospective_prepare(site=cast.home, month=JANUARY)
    held = services.retrospective_hold(
        actor=cast.plant_manager, retrospective=made, data=TEXTS, expected_version=made.version
    )
    assert held.state == "held"
    assert held.held_by == cast.plant_manager
    assert held.to_improve == "Be quicker."
    incident(plant, datetime(2014, 1, 25, tzinfo=UTC), detected_after=timedelta(hours=1), title="Too late")
    assert services.retrospective_prepare(site=cast.home, month=JANUARY).version == held.version
    with pytest.raises(DomainError, match="held"):
        services.retrospective_update(actor=cast.plant_manager, retrospective=held, data={"went_well": "x"})
    with pytest.raises(DomainError):
        services.retrospective_hold(actor=cast.plant_manager, retrospective=held)
    assert AuditEntry.objects.filter(action="retrospective.hold").count() == 1


def test_a_stale_hold_is_refused(cast: Any, plant: Any) -> None:
    made = services.retrospective_prepare(site=cast.home, month=JANUARY)
    version = made.version
    services.retrospective_update(actor=cast.ot_engineer, retrospective=made, data={"went_well": "Ours."})
    with pytest.raises(StaleWrite):
        services.retrospective_hold(actor=cast.plant_manager, retrospective=made, expected_version=version)


def test_history_is_prepared_month_by_month_and_only_once(cast: Any, plant: Any) -> None:
    batch(plant, datetime(2013, 8, 9, tzinfo=UTC))
    batch(plant, datetime(2013, 10, 9, tzinfo=UTC), model_version=make_version(plant.model))
    install(plant, cast.home)
    assert services.retrospectives_prepare_all(site=cast.home) == 4
    assert [r.month for r in Retrospective.objects.order_by("month")] == [
        date(2013, 10, 1),
        date(2013, 11, 1),
        date(2013, 12, 1),
        JANUARY,
    ]
    november = Retrospective.objects.get(month=date(2013, 11, 1))
    assert "No data reached the portal" in november.to_improve
    # The last month is looked at again, the others are not.
    assert services.retrospectives_prepare_all(site=cast.home, refresh=False) == 1
    assert services.retrospectives_prepare_all(site=cast.home, until=date(2013, 11, 20)) == 1


def test_months_before_the_first_prediction_and_after_the_last_are_not_due(cast: Any, plant: Any) -> None:
    """Rows alone are nothing to talk about; a version that no longer runs ends it, an incident calls for one all the same."""
    batch(plant, datetime(2011, 1, 5, tzinfo=UTC))
    assert services.months_due(site=cast.home, until=date(2014, 2, 3)) == [JANUARY]
    version = make_version(plant.model)
    batch(plant, datetime(2013, 5, 30, tzinfo=UTC), hours=72, model_version=version)
    assert services.months_due(site=cast.home, until=date(2014, 2, 3)) == [date(2013, 5, 1), date(2013, 6, 1), JANUARY]
    incident(plant, datetime(2013, 9, 29, tzinfo=UTC), detected_after=timedelta(0), recovered_after=timedelta(days=4))
    due = services.months_due(site=cast.home, until=date(2014, 2, 3))
    assert due == [date(2013, m, 1) for m in (5, 6, 9, 10)] + [JANUARY]
    install(plant, cast.home, version)
    assert len(services.months_due(site=cast.home, until=date(2014, 2, 3))) == 9


def test_a_gap_of_nominal_time_is_no_month(cast: Any, plant: Any) -> None:
    version = make_version(plant.model)
    batch(plant, datetime(2013, 10, 9, tzinfo=UTC), model_version=version)
    install(plant, cast.home, version)
    PlantClock.objects.update(nominal=True)
    assert services.months_due(site=cast.home, until=date(2014, 2, 3)) == [date(2013, 10, 1), JANUARY]


def test_a_site_without_data_has_no_months(cast: Any) -> None:
    assert services.retrospectives_prepare_all(site=cast.away) == 0


def test_an_unfinished_incident_is_carried_into_the_next_month(cast: Any, plant: Any) -> None:
    incident(plant, datetime(2013, 12, 20, tzinfo=UTC), detected_after=timedelta(hours=2), title="Old one")
    made = services.retrospective_prepare(site=cast.home, month=JANUARY)
    old = next(r for r in made.summary["incidents"] if r["title"] == "Old one")
    assert old["carried_over"] is True
    assert old["resolved"] is False


def test_the_task_prepares_announces_and_is_safe_to_repeat(cast: Any, plant: Any) -> None:
    assert prepare_reviews()["months"] == 1
    prepare_reviews()
    assert Retrospective.objects.count() == 1
    assert Notification.objects.filter(user=cast.plant_manager, kind="retrospective").count() == 1
    assert not Notification.objects.filter(user=cast.stranger, kind="retrospective").exists()
    assert prepare_months(str(cast.home.pk), ["2014-01-09", "2014-02-01", "2015-01-01"]) == 2


def test_a_resolved_incident_fills_in_its_month(cast: Any, plant: Any, django_capture_on_commit_callbacks: Any) -> None:
    from governance.services.incidents import incident_resolve

    row = incident(plant, datetime(2014, 1, 30, tzinfo=UTC), detected_after=timedelta(hours=1), title="Live one")
    with django_capture_on_commit_callbacks(execute=True):
        incident_resolve(actor=None, incident=row, plant_at=datetime(2014, 2, 2, tzinfo=UTC), text="Back")
    made = Retrospective.objects.get(month=JANUARY)
    assert "Live one" in {r["title"] for r in made.summary["incidents"]}
    assert Retrospective.objects.filter(month=date(2014, 2, 1)).exists()


def test_reading_a_month_takes_few_queries(cast: Any, plant: Any, django_assert_max_num_queries: Any) -> None:
    from coe.month import month_summary

    with django_assert_max_num_queries(9):
        month_summary(cast.home, JANUARY, datetime(2014, 2, 3, tzinfo=UTC))
