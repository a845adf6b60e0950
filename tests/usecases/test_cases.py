"""Use cases, outcomes, adoptions, business cases, and the facts of gates 1 and 2."""

from datetime import UTC, date, datetime

import pytest

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry
from tests.factories import make_channel, make_device, make_device_type, make_location, make_use_case
from tests.usecases.conftest import LINES
from usecases import providers, services
from usecases.evidence import Subject
from usecases.models import Adoption, BusinessCase, Gate, KpiReading, Outcome

pytestmark = pytest.mark.django_db


def ask(provider, use_case, adoption=None):
    return provider(Subject(use_case=use_case, adoption=adoption, now=wall_now()))


def test_baseline_is_value_per_exposure_over_the_window(outcome):
    assert outcome.baseline_value == pytest.approx(3.0)
    assert outcome.baseline_exposure == pytest.approx(600.0)


def test_readings_outside_the_window_do_not_move_it(cast, outcome):
    services.reading_create(
        actor=cast.data_scientist,
        outcome=outcome,
        site=cast.home,
        period_from=datetime(2014, 1, 1, tzinfo=UTC),
        period_to=datetime(2014, 2, 1, tzinfo=UTC),
        value=9e9,
        exposure=1.0,
    )
    outcome.refresh_from_db()
    assert outcome.baseline_value == pytest.approx(3.0)


def test_upsert_replaces_the_same_period(cast, outcome):
    period = {"period_from": datetime(2012, 1, 1, tzinfo=UTC), "period_to": datetime(2012, 2, 1, tzinfo=UTC)}
    for value in (5.0, 7.0, 7.0):
        services.reading_upsert(outcome=outcome, site=cast.home, value=value, exposure=10.0, **period)
    row = KpiReading.objects.get(period_from=period["period_from"])
    assert (row.value, row.source) == (7.0, "computed")


def test_baseline_needs_a_window_and_readings(cast):
    bare = Outcome.objects.create(use_case=cast.ours, kpi="k", unit="h", direction="up")
    with pytest.raises(InvalidInput):
        services.baseline_compute(actor=cast.data_scientist, outcome=bare)
    Outcome.objects.filter(pk=bare.pk).update(baseline_from=date(2011, 1, 1), baseline_to=date(2011, 2, 1))
    bare.refresh_from_db()
    with pytest.raises(DomainError) as refusal:
        services.baseline_compute(actor=cast.data_scientist, outcome=bare)
    assert refusal.value.code == "no_readings"


def test_dependencies_do_not_go_round(cast):
    services.use_case_update(actor=cast.coe_lead, use_case=cast.ours, data={}, many={"depends_on": [cast.theirs]})
    with pytest.raises(InvalidInput) as refusal:
        services.use_case_update(actor=cast.coe_lead, use_case=cast.theirs, data={}, many={"depends_on": [cast.ours]})
    assert refusal.value.errors[0]["field"] == "depends_on"


def test_a_wider_scope_needs_a_proven_smaller_one(cast):
    cell = make_location(cast.home, "cell")
    line = make_location(cast.home, "line")
    small = services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.home, location=cell)
    wide = {"use_case": cast.ours, "site": cast.home, "location": line, "scope": "line"}
    with pytest.raises(InvalidInput):
        services.adoption_create(actor=cast.coe_lead, **wide)
    with pytest.raises(InvalidInput) as refusal:
        services.adoption_create(actor=cast.coe_lead, **wide, proven_by=small)
    assert "gate 3" in refusal.value.errors[0]["message"]
    Gate.objects.filter(adoption=small, number=3).update(state="passed")
    made = services.adoption_create(actor=cast.coe_lead, **wide, proven_by=small)
    assert made.proven_by == small
    with pytest.raises(InvalidInput):
        services.adoption_create(actor=cast.coe_lead, **{**wide, "scope": "plant", "location": None}, proven_by=small)


def test_places_and_devices_of_another_site_are_refused(cast):
    with pytest.raises(InvalidInput):
        services.adoption_create(
            actor=cast.coe_lead, use_case=cast.ours, site=cast.home, location=make_location(cast.away)
        )
    with pytest.raises(InvalidInput):
        services.adoption_create(
            actor=cast.coe_lead, use_case=cast.ours, site=cast.home, devices=[make_device(cast.away)]
        )
    assert not Adoption.objects.exists()


def test_business_case_is_computed_and_reproducible(cast, business):
    worth = business.result
    assert worth["npv"] > worth["p50"] > 0
    assert worth["p10"] < worth["p50"] < worth["p90"]
    assert len(worth["cumulative"]) == len(worth["band_low"]) == 13
    again = services.business_case_update(actor=cast.data_scientist, case=business, data={"discount_rate": 0.08})
    assert again.result == worth


def test_moving_a_line_does_not_reshuffle_the_draws(cast, business):
    before = business.result
    after = services.business_case_update(
        actor=cast.data_scientist, case=business, data={}, lines=[LINES[2], LINES[0], LINES[1]]
    ).result
    assert after["p50"] == pytest.approx(before["p50"], rel=1e-9)


def test_the_second_of_two_editors_is_told(cast, business):
    seen = business.version
    services.business_case_update(actor=cast.coe_lead, case=business, data={}, lines=LINES[:2], expected_version=seen)
    stale = BusinessCase.objects.get(pk=business.pk)
    with pytest.raises(StaleWrite):
        services.business_case_update(
            actor=cast.data_scientist, case=stale, data={}, lines=LINES[:1], expected_version=seen
        )
    assert business.lines.count() == 2
    assert AuditEntry.objects.filter(action="businesscase.lines").count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"low": 90_000}, "lines[0]."),
        ({"kind": "benefit"}, "lines[0].first_quarter"),
        ({"first_quarter": 40, "last_quarter": 41}, "lines[0].first_quarter"),
        ({"attribution": 7.0}, "lines[0].attribution"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(cast, business, change, field):
    version, count = business.version, business.lines.count()
    with pytest.raises(InvalidInput) as refusal:
        services.business_case_update(
            actor=cast.data_scientist, case=business, data={}, lines=[LINES[0] | change, *LINES[1:]]
        )
    assert refusal.value.errors[0]["field"].startswith(field.rstrip("."))
    fresh = BusinessCase.objects.get(pk=business.pk)
    assert (fresh.version, fresh.lines.count()) == (version, count)


def test_facts_of_gate_1(cast, outcome, rated, business):
    case = cast.ours
    assert ask(providers.baseline, case).value is True
    assert ask(providers.target, case).value is False
    Outcome.objects.filter(pk=outcome.pk).update(target_value=5.0)
    assert ask(providers.target, case).value is False, "worse than the baseline"
    Outcome.objects.filter(pk=outcome.pk).update(target_value=2.0)
    assert ask(providers.target, case).value is True
    assert ask(providers.raters, case).status == "not_measured"
    services.round_close(actor=cast.coe_lead, meeting=rated)
    assert ask(providers.raters, case).value == 100.0
    assert ask(providers.robust, case).value > 90
    assert ask(providers.net_present_value, case).value == business.result["p50"]
    assert ask(providers.sponsor, case).value is False
    assert ask(providers.labelled, case).value is False
    assert ask(providers.portfolio_place, case).status == "not_measured"


def test_a_missing_role_is_named(cast, meeting):
    from tests.usecases.conftest import HIGH, rate

    rate(cast.plant_manager, meeting, cast.ours, HIGH)
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    said = ask(providers.raters, cast.ours)
    assert said.value == 0.0
    assert "data scientist" in said.text


def test_one_use_case_alone_is_not_applicable(cast, meeting):
    from tests.usecases.conftest import HIGH, rate

    meeting.use_cases.set([cast.ours])
    rate(cast.plant_manager, meeting, cast.ours, HIGH)
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    assert ask(providers.robust, cast.ours).status == "not_applicable"


def test_facts_of_gate_2(cast, adopted):
    case = cast.ours
    assert ask(providers.onboarded, case, adopted).status == "not_measured"
    place = make_location(cast.home)
    gateway = make_device(cast.home, location=place)
    plc = make_device(cast.home, "plc", location=place, gateway=gateway)
    lone = make_device(cast.home, "sensor", device_type=make_device_type("sensor", protocol="other"), state="planned")
    adopted.devices.set([gateway, plc, lone])
    for code in ("AT", "AP"):
        make_channel(plc, code)
    case.required_signals = ["AT", "AP", "TIT"]
    case.save()
    assert ask(providers.onboarded, case, adopted).value == pytest.approx(66.7)
    assert ask(providers.three_layers, case, adopted).value == pytest.approx(66.7)
    covered = ask(providers.signals_covered, case, adopted)
    assert covered.value == pytest.approx(66.7)
    assert "TIT" in covered.text
    assert ask(providers.attestation, case, adopted).text == "Hardware attestation is not set up at this site."


def test_every_use_case_of_the_story_passes_gate_1_when_its_facts_hold(cast, outcome, rated, business, signing_rule):
    services.gates_create(use_case=cast.ours)
    Outcome.objects.filter(pk=outcome.pk).update(target_value=2.0)
    services.use_case_update(
        actor=cast.coe_lead, use_case=cast.ours, data={"sponsor": cast.executive, "label": "quick_win"}
    )
    services.round_close(actor=cast.coe_lead, meeting=rated)
    gate = Gate.objects.get(use_case=cast.ours, number=1)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    services.review_sign(actor=cast.executive, review=review)
    services.review_sign(actor=cast.coe_lead, review=review)
    services.review_decide(actor=cast.coe_lead, review=review, decision="go")
    cast.ours.refresh_from_db()
    assert cast.ours.phase == 2


def test_killed_and_signal_lists(cast):
    with pytest.raises(InvalidInput):
        services.use_case_update(actor=cast.coe_lead, use_case=cast.ours, data={"required_signals": "AT"})
    case = make_use_case(state="killed")
    with pytest.raises(DomainError):
        services.adoption_create(actor=cast.coe_lead, use_case=case, site=cast.home)
