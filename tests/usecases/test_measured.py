"""Each fact from real rows: channels, minutes of links, results of checks, lineage, owners, the business case."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from devices.models import LinkHistory
from portal.core.clock import wall_now
from tests.factories import make_adoption, make_channel, make_device, make_site, make_use_case
from tests.usecases.domain.tables import read_table
from usecases import facts
from usecases.measured import measured_scores
from usecases.models import CriteriaSet, Criterion

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def leaf(fact: str, low: float = 0.0, high: float = 100.0, source: str = "measured") -> Criterion:
    kept, _new = CriteriaSet.objects.get_or_create(name="Measured", number=1)
    return Criterion.objects.create(
        criteria_set=kept,
        key=fact.split(".")[-1],
        name=fact,
        weight=1,
        source=source,
        fact=fact,
        anchor_low=low,
        anchor_high=high,
    )


def score(case: Any, asked: Criterion, now: datetime = NOW) -> Any:
    return measured_scores([case], [asked], now)[case.pk, asked.key]


@pytest.fixture
def case(db: Any) -> Any:
    return make_use_case("nox", required_signals=["AT", "AP", "TIT", "CDP"])


# ---- sensor coverage ----------------------------------------------------------------------------------------------------


def test_coverage_counts_the_channels_at_the_adoptions_site(case):
    here, elsewhere = make_site("here", name="Hall"), make_site("elsewhere")
    plc = make_device(here, "plc")
    for code in ("AT", "AP", "TIT"):
        make_channel(plc, code)
    make_channel(make_device(elsewhere, "plc"), "CDP")
    make_adoption(case, here)
    found = score(case, leaf("devices.sensor_coverage"))
    assert (found.value, found.unit, found.rating) == (75.0, "%", 3.75)
    assert found.text == "3 of 4 required signals have a channel at Hall. Missing: CDP."
    assert found.measured_at == NOW
    assert found.link == f"/use-cases/{case.pk}/"


def test_coverage_of_two_sites_counts_each_and_leaves_retired_devices_out(case):
    one, two = make_site("one"), make_site("two")
    for site in (one, two):
        make_adoption(case, site)
    for code in ("AT", "AP"):
        make_channel(make_device(one, "plc"), code)
        make_channel(make_device(two, "plc", state="retired"), code)
    assert score(case, leaf("devices.sensor_coverage")).value == 25.0


def test_an_idea_is_measured_where_most_of_its_signals_are_without_naming_the_site(case):
    secret = make_site("secret", name="Secret hall")
    for code in ("AT", "AP"):
        make_channel(make_device(secret, "plc"), code)
    make_channel(make_device(make_site("other"), "plc"), "AT")
    found = score(case, leaf("devices.sensor_coverage"))
    assert found.value == 50.0
    assert "Secret" not in found.text


def test_no_signal_anywhere_is_a_measured_nothing_and_no_wish_is_not_measured(case):
    asked = leaf("devices.sensor_coverage")
    assert (score(case, asked).rating, score(case, asked).value) == (0.0, 0.0)
    found = score(make_use_case("vague"), asked)
    assert found.rating is None
    assert found.reason == "The use case does not say which signals its model needs."


# ---- network readiness --------------------------------------------------------------------------------------------------


def minutes(gateway: Any, since: datetime, number: int, received: int = 6) -> None:
    LinkHistory.objects.bulk_create(
        LinkHistory(device=gateway, minute=since + n * MINUTE, expected=6, received=received) for n in range(number)
    )


@pytest.fixture
def linked(case: Any) -> Any:
    site = make_site("hall", name="Hall")
    make_adoption(case, site)
    return make_device(site, "gateway", report_every_s=10)


def test_readiness_is_the_share_of_reports_that_came(case, linked):
    since = NOW.replace(second=0) - 100 * MINUTE
    minutes(linked, since, 97)
    # More than were due in a minute do not make up for the three that are missing; the minute that runs does not count.
    LinkHistory.objects.filter(device=linked, minute=since).update(received=60)
    minutes(linked, NOW.replace(second=0), 1)
    found = score(case, leaf("devices.network_readiness", 90, 100))
    assert found.value == 97.0
    assert found.rating == pytest.approx(3.5)
    assert found.text.startswith("Its gateway was connected 97.0 % of the time since 1 Mar 2026, 10:20")
    assert found.measured_at == NOW.replace(second=0)


def test_only_the_last_thirty_days_count_and_silence_counts_as_silence(case, linked):
    until = NOW.replace(second=0)
    minutes(linked, until - timedelta(days=40), 10)
    minutes(linked, until - timedelta(days=3), 4320)
    assert score(case, leaf("devices.network_readiness")).value == 10.0


def test_a_gateway_that_was_never_heard_pulls_the_mean_down(case, linked):
    make_device(linked.site, "gateway", report_every_s=10)
    minutes(linked, NOW.replace(second=0) - 60 * MINUTE, 60)
    assert score(case, leaf("devices.network_readiness")).value == 50.0


def test_only_gateways_in_scope_count(case, linked):
    plc = make_device(linked.site, "plc", gateway=linked)
    make_device(linked.site, "gateway")
    case.adoptions.get().devices.set([plc])
    minutes(linked, NOW.replace(second=0) - 60 * MINUTE, 60)
    assert score(case, leaf("devices.network_readiness")).value == 100.0


def test_too_short_a_look_says_so(case, linked):
    asked = leaf("devices.network_readiness")
    assert score(case, asked).reason == "None of its gateways has been heard from yet."
    minutes(linked, NOW.replace(second=0) - 12 * MINUTE, 12)
    assert score(case, asked).reason.startswith("Its gateways have been heard from for 12 minutes;")
    linked.state = "planned"
    linked.save()
    assert score(case, asked).reason == "No gateway in service belongs to it."


# ---- availability, quality, governance ----------------------------------------------------------------------------------

_sequence = count(1)


@pytest.fixture
def flowing(case: Any) -> Any:
    """A pipeline of a replayed plant whose clock stands at 1 March 2013, and ``batch(stage, days_ago)``."""
    from devices.models import PlantClock
    from governance.models import Batch, Check, CheckResult, Pipeline, Stage
    from tests.factories import make_model

    site = make_site("hall", name="Hall", kind="replay")
    end = datetime(2013, 3, 1, tzinfo=UTC)
    PlantClock.objects.create(site=site, plant_now=end, wall_at=NOW)
    adoption = make_adoption(case, site)
    pipeline = Pipeline.objects.create(
        adoption=adoption, model=make_model(case), name="NOx at the stack", stream="plc-1"
    )
    kinds = ("source", "window", "features", "prediction")
    stages = {
        kind: Stage.objects.create(pipeline=pipeline, position=n, kind=kind, name=kind) for n, kind in enumerate(kinds)
    }

    class Flowing:
        def __init__(self) -> None:
            self.pipeline = pipeline

        def batch(self, kind: str, days_ago: float = 1, rows: int = 10, inputs: Any = ()) -> Any:
            at = end - timedelta(days=days_ago)
            made = Batch.objects.create(
                pipeline=pipeline, stage=stages[kind], sequence=next(_sequence), rows=rows, plant_from=at, plant_to=at,
                received_at=NOW, sha256="0" * 64,
            )  # fmt: skip
            made.inputs.set(inputs)
            return made

        def checked(self, kind: str, check: str, state: str = "passed", failed: int = 0, days_ago: float = 1) -> None:
            rule, _new = Check.objects.get_or_create(stage=stages[kind], kind=check, name=check)
            batch = self.batch(kind, days_ago)
            CheckResult.objects.create(
                stage_check=rule, batch=batch, state=state, failed_rows=failed, plant_at=batch.plant_to
            )

        def prediction(self, whole: bool = True, days_ago: float = 1) -> None:
            below = self.batch("source", days_ago) if whole else self.batch("features", days_ago)
            window = self.batch("window", days_ago, inputs=[below])
            self.batch("prediction", days_ago, inputs=[self.batch("features", days_ago, inputs=[window])])

    return Flowing()


def test_availability_is_the_share_of_batches_in_time_in_plant_time(case, flowing):
    for _ in range(19):
        flowing.checked("source", "staleness")
    flowing.checked("source", "staleness", "failed", failed=1)
    flowing.checked("source", "staleness", "failed", failed=10, days_ago=31)
    flowing.checked("source", "staleness", "skipped")
    flowing.checked("features", "staleness", "failed", failed=1)
    found = score(case, leaf("governance.availability", 90, 100))
    assert (found.value, found.rating) == (95.0, 2.5)
    assert found.text == "19 of 20 batches of the last 30 days (plant time) came in time, without a gap."
    assert found.plant_at == datetime(2013, 2, 28, tzinfo=UTC)
    assert found.link == flowing.pipeline.get_absolute_url()


def test_quality_is_the_share_of_rows_that_pass(case, flowing):
    flowing.checked("source", "schema", "failed", failed=1)
    flowing.checked("window", "range")
    flowing.checked("prediction", "schema", "failed", failed=10)
    flowing.checked("source", "staleness", "failed", failed=5)
    flowing.checked("window", "range", "failed", failed=9, days_ago=40)
    found = score(case, leaf("governance.quality"))
    assert (found.value, found.rating) == (95.0, 4.75)
    assert found.text.startswith("19 of 20 rows looked at")


def test_governance_is_lineage_and_named_owners(case, flowing, cast):
    asked = leaf("governance.accountability")
    assert score(case, asked).reason.startswith("No prediction was recorded")
    for whole in (True, True, True, False):
        flowing.prediction(whole)
    flowing.prediction(False, days_ago=31)
    found = score(case, asked)
    assert found.value == 37.5
    assert found.text == (
        "3 of 4 predictions of the last 30 days (plant time) lead back to their channels; 0 of 2 owners are named. "
        "Nobody owns: the use case, NOx at the stack."
    )
    case.owner = flowing.pipeline.owner = cast.data_steward
    case.save()
    flowing.pipeline.save()
    assert score(case, asked).value == 87.5
    flowing.pipeline.owner.is_active = False
    flowing.pipeline.owner.save()
    assert score(case, asked).value == 62.5


def test_without_a_pipeline_or_a_check_there_is_nothing(case):
    for key in ("governance.availability", "governance.quality", "governance.accountability"):
        found = score(case, leaf(key))
        assert (found.rating, found.reason) == (None, "No pipeline carries its data yet.")


def test_a_live_plant_is_read_by_the_wall_clock(case, flowing):
    site = flowing.pipeline.adoption.site
    site.kind = "live"
    site.save()
    flowing.checked("source", "staleness")
    assert (
        score(case, leaf("governance.availability")).reason == "No batch was checked in the last 30 days of plant time."
    )


# ---- the rest -----------------------------------------------------------------------------------------------------------


def test_roi_follows_from_the_business_case_with_its_age_and_link(cast, business):
    asked = leaf("", source="derived")
    found = measured_scores([cast.ours, cast.theirs], [asked], NOW)
    ours, theirs = found[cast.ours.pk, asked.key], found[cast.theirs.pk, asked.key]
    assert ours.rating == business.result["rating"]
    assert (ours.measured_at, ours.unit, ours.value) == (business.computed_at, "EUR", business.result["p50"])
    assert ours.link == theirs.link.replace(str(cast.theirs.pk), str(cast.ours.pk))
    assert (theirs.rating, theirs.reason) == (None, "There is no business case with lines yet.")


def test_judged_criteria_are_left_to_the_raters_and_an_unknown_fact_says_so(case):
    judged, unknown = leaf("a.judged", source="judged"), leaf("b.nothing")
    found = measured_scores([case], [judged, unknown], NOW)
    assert (case.pk, "judged") not in found
    assert found[case.pk, "nothing"].reason == "Nothing here measures “b.nothing”."


def test_where_less_is_better_the_anchors_turn_round(case):
    make_adoption(case, make_site("hall"))
    assert score(case, leaf("devices.sensor_coverage", 100, 0)).rating == 5.0


def test_queries_do_not_grow_with_the_use_cases(cast, django_assert_max_num_queries):
    asked = [leaf(fact.key) for fact in facts.every()]
    cases = [make_use_case(required_signals=["AT"]) for _ in range(30)]
    for case in cases:
        make_adoption(case, make_site())
    with django_assert_max_num_queries(12):
        found = measured_scores(cases, asked, wall_now())
    assert len(found) == 30 * len(asked)


def test_a_key_has_one_provider():
    fact = facts.every()[0]
    facts.register(fact)
    with pytest.raises(ValueError, match="Two providers"):
        facts.register(facts.Fact(fact.key, "", "", "", 0, 1, lambda cases, now: {}))


def test_the_facts_are_those_of_the_page_with_their_anchors():
    told = {row["fact"].strip("`"): row["x0, x1 until a version has its own"] for row in read_table("scoring", "measured-registered")}  # fmt: skip
    assert list(told) == [fact.key for fact in facts.every()]
    for fact in facts.every():
        assert told[fact.key] == f"{fact.x0:g}, {fact.x1:g} {fact.unit}"
