"""The first screen: what runs, what it earned, what is broken, in the order of the role."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from portal.core.clock import wall_now
from portal.dashboard import money, trouble
from portal.dashboard.cockpit import cockpit
from tests.dashboard.conftest import make_readings, make_review
from tests.factories import make_adoption, make_site


def headings(html: str) -> list[str]:
    marks = {"What it earned": html.find("What it earned"), "What runs": html.find("What runs")}
    marks["What is broken"] = html.find("What is broken")
    return sorted(marks, key=lambda name: marks[name])


def test_what_runs(cast, plant):
    found = cockpit(cast.ot_engineer)
    assert (found.models, found.sites, found.online, found.gateways_all) == (1, 1, 1, 2)
    row = found.running[0]
    assert row.models[0].name == "NOx soft sensor v4"
    assert row.models[0].says.startswith("typically off by 4.2")
    assert row.models[0].says.endswith("mg/m3 (when trained)")
    assert row.health == "unknown"


def test_the_error_in_operation_goes_before_the_one_of_training(cast, plant, world):
    from governance.models import DriftReport

    now = wall_now()
    stage = world.another("governance.Stage", pipeline=plant.pipeline, kind="prediction")
    for at, (value, measured) in enumerate(((5.0, True), (7.5, True), (1.0, False))):
        DriftReport.objects.create(
            pipeline=plant.pipeline,
            stage=stage,
            kind="concept",
            rows=600,
            plant_from=now,
            plant_to=now + timedelta(hours=at),
            measured=measured,
            features=[{"name": "mean error", "value": value}],
        )
    model = cockpit(cast.ot_engineer).running[0].models[0]
    assert (model.error, model.state) == (7.5, "breach")
    assert model.says.startswith("typically off by 7.5")
    assert "the limit is 6" in model.says


def test_what_is_broken_in_the_order_of_its_cost(cast, plant, incident):
    from devices.models import MachineStop
    from usecases.models import Gate

    Gate.objects.filter(adoption=plant.adoption, number=2).update(
        state="reopened", reopened_at=wall_now(), reopened_reason="A check failed"
    )
    MachineStop.objects.create(device=plant.online, reason="Smoke", stopped_at=wall_now())
    found = cockpit(cast.ot_engineer)
    assert [one.kind for one in found.broken] == ["stop", "incident", "gate", "gateway"]
    assert found.counted == {"stop": 1, "incident": 1, "slo": 0, "gate": 1, "gateway": 1, "check": 0}
    assert found.finding == "1 use case at 1 site; 4 things are broken."
    assert found.running[0].health == "breach"
    assert [one.url for one in found.broken[:2]] == [plant.online.get_absolute_url(), incident.get_absolute_url()]


def test_a_failing_check_is_that_of_its_newest_result(cast, plant, world):
    from governance.models import Check, CheckResult

    stage = world.another("governance.Stage", pipeline=plant.pipeline, kind="source")
    check = Check.objects.create(stage=stage, kind="range", name="In range")
    now = wall_now()
    for at, state in enumerate(("passed", "failed")):
        batch = world.another("governance.Batch", pipeline=plant.pipeline, stage=stage)
        CheckResult.objects.create(stage_check=check, batch=batch, state=state, plant_at=now + timedelta(hours=at))
    failing = [one for one in trouble.records(cast.data_steward) if one.kind == "check"]
    assert [(one.label, one.state, one.clock) for one in failing] == [("In range", "watch", "plant")]
    batch = world.another("governance.Batch", pipeline=plant.pipeline, stage=stage)
    CheckResult.objects.create(stage_check=check, batch=batch, state="passed", plant_at=now + timedelta(hours=2))
    assert not [one for one in trouble.records(cast.data_steward) if one.kind == "check"]


def test_nothing_is_silent_where_the_replay_is_over(cast, plant, as_user):
    from devices.models import PlantClock, Site

    PlantClock.objects.create(site=cast.home, plant_now=wall_now(), wall_at=wall_now(), state="finished")
    Site.objects.filter(pk=cast.home.pk).update(kind="replay")
    found = cockpit(cast.ot_engineer)
    assert found.broken == []
    assert (found.online, found.gateways_all, found.finished) == (1, 1, 1)
    page = as_user(cast.ot_engineer).get("/").content.decode()
    assert "gateway, replay finished" in page


def test_money_proven_and_not(cast, plant):
    other = make_adoption(cast.ours, make_site("second"))
    make_review(
        plant.adoption, date(2013, 4, 1), "on_plan", planned=900, measured=1000, measured_low=600, measured_high=1400
    )
    make_review(plant.adoption, date(2013, 7, 1), "open", planned=950)
    unsure = make_review(
        other,
        date(2013, 7, 1),
        "not_provable",
        planned=500,
        measured=200,
        measured_low=-300,
        measured_high=700,
        provable_from="Not provable until 2014-02-01 (plant time).",
    )
    found = money.newest_reviews(cast.executive)
    assert [one.quarter for one in found.earned] == ["Q2 2013", "Q3 2013"], "the newest with a verdict"
    total = found.totals[0]
    assert (total.measured, total.planned) == (Decimal(1000), Decimal(1400))
    assert (total.low, total.high, total.proven, total.of) == (Decimal(600), Decimal(1400), 1, 2)
    assert found.reason == ""
    second = next(one for one in found.earned if one.review.pk == unsure.pk)
    assert not second.proven
    assert second.reason.startswith("Not provable until 2014-02-01")
    assert second.interval == "between -300 and 700 EUR"


def test_money_of_two_currencies_is_never_added(cast, plant):
    other = make_adoption(cast.ours, make_site("second"))
    make_review(plant.adoption, date(2013, 4, 1), "above", planned=1, measured=2, currency="EUR")
    make_review(other, date(2013, 4, 1), "above", planned=3, measured=4, currency="USD")
    found = money.newest_reviews(cast.executive).totals
    assert [(t.currency, t.measured) for t in found] == [("EUR", Decimal(2)), ("USD", Decimal(4))]


def test_no_review_says_when_the_first_comes(cast, plant):
    assert "quarter of plant time" in money.newest_reviews(cast.executive).reason


@pytest.mark.parametrize(
    ("last", "baseline", "target", "state"),
    [(1.0, 3.0, 2.0, "ok"), (2.5, 3.0, 2.0, "watch"), (3.0, 3.0, 2.0, "breach"), (9.0, 3.0, None, "breach"),
     (1.0, 3.0, None, "ok"), (1.0, None, None, "unknown")],
)  # fmt: skip
def test_a_trend_judges_the_newest_value(cast, plant, last, baseline, target, state):
    make_readings(cast.ours, cast.home, [500.0, last * 100], baseline_value=baseline, target_value=target)
    found = money.trends(cast.executive)
    assert [(t.newest, t.state, t.readings) for t in found] == [(pytest.approx(last), state, 2)]
    assert found[0].state_label


def test_a_trend_shows_the_newest_readings_only(cast, plant):
    make_readings(cast.ours, cast.home, [float(n) for n in range(40)])
    assert money.trends(cast.executive)[0].readings == money.TREND


def test_each_role_reads_its_own_question_first(cast, plant, as_user):
    first = {"executive": "What it earned", "ot_engineer": "What is broken", "plant_manager": "What runs"}
    for role, heading in first.items():
        html = as_user(getattr(cast, role)).get("/").content.decode()
        assert headings(html)[0] == heading, role


def test_a_stranger_sees_nothing_of_ours(cast, plant, incident, away, as_user):
    make_review(plant.adoption, date(2013, 4, 1), "on_plan", planned=1, measured=987654)
    html = as_user(cast.stranger).get("/").content.decode()
    for secret in ("NOx soft sensor", "987,654", str(cast.ours), plant.silent.name):
        assert secret not in html
    assert str(cast.theirs) in html


def test_somebody_without_a_role_is_told_so(db, as_user):
    from tests.factories import make_user

    html = as_user(make_user()).get("/").content.decode()
    assert "Nothing runs in your sight yet" in html


def test_the_one_action_has_one_button(cast, plant, incident, as_user):
    html = as_user(cast.ot_engineer).get("/").content.decode()
    assert html.count("btn-primary") == 1
    assert f'href="{incident.get_absolute_url()}">Open the incident' in html


def test_the_chosen_site_filters_everything(cast, plant, incident, as_user):
    other = make_site("second")
    client = as_user(cast.coe_lead)
    make_adoption(cast.ours, other)
    session = client.session
    session["site_id"] = str(other.pk)
    session.save()
    html = client.get("/").content.decode()
    assert "1 use case at 1 site; nothing is broken." in html
    assert "error is rising" not in html


def test_the_body_is_polled_with_an_etag(cast, plant, as_user, htmx):
    client = as_user(cast.ot_engineer)
    part = client.get("/", **htmx)
    assert part.status_code == 200
    assert b"<html" not in part.content
    again = client.get("/", HTTP_IF_NONE_MATCH=part["ETag"], **htmx)
    assert (again.status_code, again["ETag"], again.content) == (304, part["ETag"], b"")


def beyond_shell(client: Any, path: str) -> int:
    """Queries of a page beyond those that the shell makes around every page."""
    from django.core.cache import cache
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for address in ("/search/", path):
        cache.clear()
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        counts.append(len(seen))
    return counts[1] - counts[0]


@pytest.mark.parametrize("path", ["/", "/my-work/", "/my-plant/", "/scale-map/"])
@pytest.mark.parametrize("role", ["executive", "ot_engineer"])
def test_pages_within_twelve_queries(cast, plant, world, incident, as_user, path, role):
    world.fill()
    make_readings(cast.ours, cast.home, [1.0, 2.0])
    assert beyond_shell(as_user(getattr(cast, role)), path) <= 12
