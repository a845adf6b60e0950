"""Outcomes: readings behind a frozen baseline, what the page says, whether the target can be proved."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import reverse

from governance.services import kpis
from governance.services.kpis import outcome_refresh
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from usecases import services
from usecases.models import KpiReading, Outcome
from usecases.proof import event_word, proof_of, proofs, span_text
from usecases.services.outcomes import baseline_freeze, readings_put

pytestmark = pytest.mark.django_db


@pytest.fixture
def frozen(cast: Any, outcome: Outcome) -> Outcome:
    baseline_freeze(use_case=cast.ours, now=wall_now(), actor=cast.plant_manager)
    outcome.refresh_from_db()
    return outcome


@pytest.fixture
def stops(cast: Any) -> Outcome:
    """40 stops a year, a quarter less wanted, 30 in the year after."""
    made = services.outcome_create(
        actor=cast.data_scientist,
        use_case=cast.ours,
        kpi="Unplanned stops",
        unit="stops",
        direction="down",
        counts_events=True,
        baseline_from=date(2011, 1, 1),
        baseline_to=date(2011, 12, 31),
        target_value=30 / 8000,
    )
    for year, value in ((2011, 40.0), (2012, 30.0)):
        services.reading_create(
            actor=cast.data_scientist,
            outcome=made,
            site=cast.home,
            period_from=datetime(year, 1, 1, tzinfo=UTC),
            period_to=datetime(year + 1, 1, 1, tzinfo=UTC),
            value=value,
            exposure=8000.0,
        )
    made.refresh_from_db()
    return made


def log(outcome: Outcome, action: str = "outcome.rebaseline") -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(object_id=str(outcome.pk), action=action))


def test_a_month_that_ends_at_midnight_after_the_window_is_inside(stops: Outcome) -> None:
    assert stops.baseline_value == pytest.approx(40 / 8000)
    assert stops.baseline_exposure == 8000


def test_a_reading_behind_a_frozen_baseline_needs_a_reason(cast: Any, frozen: Outcome) -> None:
    reading = frozen.readings.first()
    for act in (
        lambda: services.reading_update(actor=cast.data_scientist, reading=reading, data={"value": 1.0}),
        lambda: services.reading_delete(actor=cast.data_scientist, reading=reading),
        lambda: services.reading_create(
            actor=cast.data_scientist,
            outcome=frozen,
            site=cast.home,
            period_from=datetime(2011, 9, 1, tzinfo=UTC),
            period_to=datetime(2011, 10, 1, tzinfo=UTC),
            value=1.0,
            exposure=1.0,
        ),
    ):
        with pytest.raises(DomainError) as refused:
            act()
        assert refused.value.code == "baseline_frozen"
        assert refused.value.errors[0]["field"] == "reason"
    frozen.refresh_from_db()
    assert frozen.baseline_value == pytest.approx(3.0)
    assert not log(frozen)


def test_with_a_reason_the_baseline_follows_and_the_log_says_from_what_to_what(cast: Any, frozen: Outcome) -> None:
    reading = frozen.readings.first()
    services.reading_update(
        actor=cast.data_scientist, reading=reading, data={"value": 0.0}, reason="The meter was read twice."
    )
    frozen.refresh_from_db()
    assert frozen.baseline_value == pytest.approx(2.0)
    entries = log(frozen)
    assert {entry.changes["reason"] for entry in entries} == {"The meter was read twice."}
    assert any("reading" in entry.changes for entry in entries)
    assert any(entry.changes.get("baseline_value") for entry in entries)
    services.reading_delete(actor=cast.data_scientist, reading=frozen.readings.last(), reason="Not ours.")
    assert any(entry.changes["reason"] == "Not ours." for entry in log(frozen))


def test_a_note_and_a_reading_after_the_window_need_none(cast: Any, frozen: Outcome) -> None:
    reading = frozen.readings.first()
    services.reading_update(actor=cast.data_scientist, reading=reading, data={"note": "Checked."})
    services.reading_create(
        actor=cast.data_scientist,
        outcome=frozen,
        period_from=datetime(2012, 1, 1, tzinfo=UTC),
        period_to=datetime(2012, 2, 1, tzinfo=UTC),
        value=1.0,
        exposure=1.0,
    )
    assert not log(frozen)


def test_a_new_computation_changes_the_reading_and_not_the_frozen_baseline(cast: Any, frozen: Outcome) -> None:
    first = frozen.readings.order_by("period_from").first()
    services.reading_upsert(
        outcome=frozen,
        site=cast.home,
        period_from=first.period_from,
        period_to=first.period_to,
        value=0.0,
        exposure=first.exposure,
    )
    frozen.refresh_from_db()
    assert frozen.baseline_value == pytest.approx(3.0)
    assert KpiReading.objects.get(pk=first.pk).value == 0.0


def test_the_price_and_the_unit_are_frozen_with_the_baseline(cast: Any, frozen: Outcome) -> None:
    with pytest.raises(DomainError, match="re-baselining"):
        services.outcome_update(actor=cast.data_scientist, outcome=frozen, data={"unit": "t"})
    services.outcome_update(actor=cast.data_scientist, outcome=frozen, data={"value_per_unit": 5}, reason="New price")
    assert log(frozen)[0].changes["value_per_unit"] == [None, 5]


def test_many_readings_at_once_are_one_rebaselining_per_reason(cast: Any, frozen: Outcome) -> None:
    def row(month: int) -> tuple[KpiReading, None, str]:
        made = KpiReading(
            outcome=frozen,
            site=cast.home,
            period_from=datetime(2011, month, 1, tzinfo=UTC),
            period_to=datetime(2011, month, 20, tzinfo=UTC),
            value=0.0,
            exposure=100.0,
        )
        return made, None, "Found in the archive."

    with pytest.raises(DomainError):
        readings_put(actor=cast.data_scientist, rows=[(row(5)[0], None, "")])
    readings_put(actor=cast.data_scientist, rows=[row(5), row(6)])
    frozen.refresh_from_db()
    assert frozen.baseline_exposure == pytest.approx(800.0)
    assert len([entry for entry in log(frozen) if "readings" in entry.changes]) == 1


def test_a_stretch_of_time_counts_once(cast: Any, outcome: Outcome) -> None:
    """January of the home plant is known: what overlaps it is refused, of that plant and of all together."""

    def reading(first: datetime, last: datetime, site: Any = cast.home) -> KpiReading:
        return services.reading_create(
            actor=cast.data_scientist,
            outcome=outcome,
            site=site,
            period_from=first,
            period_to=last,
            value=1.0,
            exposure=10.0,
        )

    new_year, later = datetime(2011, 1, 10, tzinfo=UTC), datetime(2011, 1, 12, tzinfo=UTC)
    for site in (cast.home, None):
        with pytest.raises(InvalidInput) as refused:
            reading(new_year, later, site)
        (row,) = refused.value.errors
        assert row["field"] == "period_from"
        assert "from 1 Jan 2011 to 28 Jan 2011" in row["message"]
    assert KpiReading.objects.count() == 3
    reading(new_year, later, cast.away)
    gap = reading(datetime(2011, 1, 28, tzinfo=UTC), datetime(2011, 2, 1, tzinfo=UTC))  # touches both neighbours
    with pytest.raises(InvalidInput):
        services.reading_update(
            actor=cast.data_scientist, reading=gap, data={"period_to": datetime(2011, 2, 2, tzinfo=UTC)}
        )
    gap.refresh_from_db()
    assert gap.period_to == datetime(2011, 2, 1, tzinfo=UTC)
    services.reading_update(actor=cast.data_scientist, reading=gap, data={"value": 3.0})


def test_many_readings_at_once_count_once_too(cast: Any, outcome: Outcome) -> None:
    made = KpiReading(
        outcome=outcome,
        site=None,
        period_from=datetime(2011, 3, 20, tzinfo=UTC),
        period_to=datetime(2011, 4, 20, tzinfo=UTC),
        value=1.0,
        exposure=1.0,
    )
    with pytest.raises(InvalidInput, match="twice"):
        readings_put(actor=cast.data_scientist, rows=[(made, None, "")])
    assert KpiReading.objects.count() == 3


def test_the_form_says_it_at_the_field_and_keeps_what_was_typed(as_user: Any, cast: Any, outcome: Outcome) -> None:
    answer = as_user(cast.data_scientist).post(
        reverse("usecases:reading-create", args=[outcome.pk]),
        {
            "site": str(cast.home.pk),
            "period_from": "2011-02-10T00:00",
            "period_to": "2011-02-20T00:00",
            "value": "7.25",
            "exposure": "11",
            "note": "Weekly sheet",
        },
    )
    assert answer.status_code == 400
    text = answer.content.decode()
    assert "The reading from 1 Feb 2011 to 28 Feb 2011 counts a part of this period already" in text
    assert "7.25" in text
    assert "Weekly sheet" in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", float("nan")),
        ("value", float("inf")),
        ("value", -1.0),
        ("value", 2.5),
        ("exposure", -1.0),
        ("value", 1e300),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_their_field(
    cast: Any, stops: Outcome, field: str, value: float
) -> None:
    data = {"value": 3.0, "exposure": 10.0, field: value}
    with pytest.raises(InvalidInput) as refused:
        services.reading_create(
            actor=cast.data_scientist,
            outcome=stops,
            period_from=datetime(2013, 1, 1, tzinfo=UTC),
            period_to=datetime(2013, 2, 1, tzinfo=UTC),
            **data,
        )
    assert refused.value.errors[0]["field"] == field


# ---- provability ------------------------------------------------------------------------------------------------------


def test_forty_stops_are_too_few(stops: Outcome) -> None:
    (found,) = proofs([stops])
    assert found.provable is False
    assert found.sentence == ("40 stops are too few to prove 25 % less; about 227 are, or pool 6 plants like this one.")
    assert "anything between 23 % more and 55 % less fits" in found.since
    assert found.numbers["power"] == pytest.approx(0.189, abs=0.001)
    assert found.numbers["days_at_present_pace"] == round(227 * 365 / 40)


def test_what_cannot_be_said_has_a_reason(cast: Any, stops: Outcome, outcome: Outcome) -> None:
    assert "No target" in proof_of(outcome, []).reason
    outcome.target_value = 2.0
    assert "The baseline holds 3 readings" in proof_of(outcome, list(outcome.readings.all())).reason
    outcome.target_value = 4.0
    assert "no better" in proof_of(outcome, []).reason
    stops.direction, stops.target_value = "up", 1.0
    assert "more" in proof_of(stops, []).reason
    stops.baseline_value = None
    assert "No baseline" in proof_of(stops, []).reason


def test_a_quantity_says_how_many_readings_it_takes(cast: Any) -> None:
    made = Outcome.objects.create(
        use_case=cast.ours,
        kpi="Downtime",
        unit="h",
        direction="down",
        baseline_from=date(2011, 1, 1),
        baseline_to=date(2011, 12, 31),
        baseline_value=0.0875,
        baseline_exposure=1200.0,
        target_value=0.07,
    )
    weeks = [9.5, 12.0, 7.0, 10.5, 14.0, 8.5, 11.0, 9.0, 13.5, 10.0]
    rows = [
        KpiReading(
            outcome=made,
            period_from=datetime(2011, 1 + at, 1, tzinfo=UTC),
            period_to=datetime(2011, 1 + at, 8, tzinfo=UTC),
            value=value,
            exposure=120.0,
        )
        for at, value in enumerate(weeks)
    ]
    found = proof_of(made, rows)
    assert (found.method, found.provable, found.numbers["readings_needed"]) == ("spread", False, 15)
    assert "About 15 before and as many after" in found.sentence


def test_words() -> None:
    assert [event_word(u) for u in ("{stops}", "stops", "1", " {} ")] == ["stops", "stops", "events", "events"]
    assert [span_text(d) for d in (3, 30, 365, 2071)] == ["3 days", "4 weeks", "12 months", "5.7 years"]


# ---- pages and API -----------------------------------------------------------------------------------------------------


def test_the_page_shows_the_kpi_its_baseline_and_who_froze_it(cast: Any, stops: Outcome, as_user: Any) -> None:
    services.gates_create(use_case=cast.ours)
    baseline_freeze(use_case=cast.ours, now=wall_now(), actor=cast.plant_manager)
    page = as_user(cast.data_scientist).get(stops.get_absolute_url())
    text = page.content.decode()
    assert page.status_code == 200
    for words in ("Unplanned stops", "too few to prove 25 % less", "Frozen", "gate 1", "plant time", "25 % better"):
        assert words in text, words
    assert page.context["figure"]["layout"]["yaxis"]["title"]["text"] == "operating hours"
    assert as_user(cast.stranger).get(stops.get_absolute_url()).status_code == 404


def test_the_page_says_when_readings_and_frozen_baseline_differ(cast: Any, stops: Outcome, as_user: Any) -> None:
    baseline_freeze(use_case=cast.ours, now=wall_now(), actor=cast.plant_manager)
    KpiReading.objects.filter(outcome=stops, value=40).update(value=44)
    assert (
        "The readings in the window now give"
        in as_user(cast.data_scientist).get(stops.get_absolute_url()).content.decode()
    )


def test_readings_are_changed_and_deleted_on_the_page(cast: Any, stops: Outcome, as_user: Any) -> None:
    baseline_freeze(use_case=cast.ours, now=wall_now(), actor=cast.plant_manager)
    client, reading = as_user(cast.data_scientist), stops.readings.first()
    address = reverse("usecases:reading-edit", args=[reading.pk])
    body = {
        "site": str(cast.home.pk),
        "period_from": "2011-01-01T00:00",
        "period_to": "2012-01-01T00:00",
        "value": "38",
        "exposure": "8000",
        "version": reading.version,
    }
    refused = client.post(address, body)
    assert refused.status_code == 409
    assert "Why does a reading change" in refused.content.decode()
    assert 'value="38"' in refused.content.decode()
    assert client.post(address, body | {"reason": "Two were tests."}).status_code == 302
    stops.refresh_from_db()
    assert stops.baseline_value == pytest.approx(38 / 8000)
    gone = reverse("usecases:reading-delete", args=[reading.pk])
    assert client.post(gone, {"reason": ""}).status_code == 409
    assert client.post(gone, {"reason": "Not this plant."}).status_code == 302
    assert not KpiReading.objects.filter(pk=reading.pk).exists()


def test_provability_in_the_api(cast: Any, stops: Outcome, api: Any) -> None:
    client = api(cast.data_scientist)
    found = client.get(f"/api/v1/outcomes/{stops.pk}/provability").json()
    assert (found["method"], found["provable"], found["events_needed"]) == ("counts", False, 227)
    assert found["readings_needed"] is None


def test_readings_in_the_api_need_the_reason_too(cast: Any, frozen: Outcome, api: Any) -> None:
    client = api(cast.data_scientist)
    address = f"/api/v1/kpi-readings/{frozen.readings.first().pk}"
    assert client.patch(address, {"value": 5}, format="json").status_code == 409
    assert client.delete(address).status_code == 409
    assert client.patch(address, {"value": 5, "reason": "Typo"}, format="json").status_code == 200
    assert client.delete(f"{address}?reason=Twice").status_code == 204


def test_a_computation_that_is_not_there_is_refused_by_name(cast: Any, stops: Outcome) -> None:
    stops.provider_key = "governance.nothing:1:2"
    with pytest.raises(InvalidInput) as refused:
        outcome_refresh(stops)
    assert refused.value.errors[0]["field"] == "provider_key"


def test_a_computation_leaves_what_somebody_wrote_for_the_same_weeks(
    cast: Any, adopted: Any, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    months = [
        kpis.Month(datetime(2012, month, 1, tzinfo=UTC), datetime(2012, month + 1, 1, tzinfo=UTC), month, 700.0)
        for month in (4, 5)
    ]
    monkeypatch.setattr(kpis, "exceedances_missed", lambda *_args, **_more: months)
    pipeline = SimpleNamespace(adoption=SimpleNamespace(site=cast.home))
    monkeypatch.setattr(kpis.Pipeline.objects, "filter", lambda **_only: _Chosen([pipeline]))
    outcome.provider_key = f"{kpis.EXCEEDANCES_MISSED}:90:86"
    services.reading_create(
        actor=cast.data_scientist,
        outcome=outcome,
        site=cast.home,
        period_from=datetime(2012, 5, 10, tzinfo=UTC),
        period_to=datetime(2012, 5, 20, tzinfo=UTC),
        value=9.0,
        exposure=100.0,
    )
    assert outcome_refresh(outcome) == 1
    assert outcome_refresh(outcome) == 1  # the same month again is no overlap
    assert list(outcome.readings.filter(period_from__year=2012).values_list("value", flat=True)) == [4.0, 9.0]


class _Chosen(list[Any]):
    """As much of a queryset as the computation asks of it."""

    def exclude(self, **_more: Any) -> _Chosen:
        return self

    def select_related(self, *_names: str) -> _Chosen:
        return self
