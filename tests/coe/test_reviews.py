"""ROI reviews, actions, and what gate 4 reads of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from coe import services
from coe.models import Action, RoiReview
from coe.providers import overdue_actions, retrospective_held, roi_review_held, roles_filled
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry, Notification
from tests.coe.builders import appoint, batch, certify, incident, pipeline, replay, weekly
from tests.factories import make_adoption, make_version
from usecases.evidence import Subject
from usecases.models import BusinessCase, BusinessLine, Outcome
from usecases.services import business_case_update

pytestmark = pytest.mark.django_db
Q1 = date(2014, 1, 1)
#: Hours of downtime in weeks of 120 scheduled hours (docs/algorithms/roi.md, first ten of each).
BEFORE = [9.5, 12.0, 7.0, 10.5, 14.0, 8.5, 11.0, 9.0, 13.5, 10.0, 9.5, 12.0]
BETTER = [7.0, 9.5, 6.0, 8.0, 10.5, 7.5, 8.0, 6.5, 9.0, 8.0, 7.0, 9.5]
HARDLY = [9.0, 11.5, 7.5, 9.5, 13.0, 8.0, 11.0, 8.5, 12.0, 10.0, 9.0, 11.5]


@pytest.fixture
def adoption(cast: Any) -> Any:
    """Plant time April 2014; a frozen baseline of autumn 2013, a target of 20 % less, a case that plans 15,000 a quarter."""
    replay(cast.home, datetime(2014, 4, 20, tzinfo=UTC))
    made = make_adoption(cast.ours, cast.home, started_on=date(2014, 1, 3))
    case = BusinessCase.objects.create(use_case=cast.ours, start=Q1, quarters=8, assumption="Worth by the controller")
    benefit = {
        "case": case,
        "kind": "benefit",
        "name": "Less downtime",
        "low": 10_000,
        "likely": 15_000,
        "high": 20_000,
    }
    BusinessLine.objects.create(first_quarter=1, last_quarter=8, **benefit)
    BusinessLine.objects.create(
        case=case, kind="opex", name="Licences", low=2000, likely=2500, high=3000, first_quarter=1, last_quarter=8
    )
    business_case_update(actor=None, case=case, data={"discount_rate": 0.1})
    return made


def outcome(cast: Any, **extra: Any) -> Outcome:
    values: dict[str, Any] = {
        "use_case": cast.ours,
        "kpi": "Downtime",
        "unit": "h",
        "direction": "down",
        "baseline_from": date(2013, 9, 2),
        "baseline_to": date(2013, 12, 20),
        "baseline_frozen_at": wall_now(),
        "baseline_value": sum(BEFORE) / (120 * len(BEFORE)),
        "baseline_exposure": 1440.0,
        "target_value": 0.8 * sum(BEFORE) / (120 * len(BEFORE)),
        "value_per_unit": Decimal("900.00"),
        "assumption": "Cost of an hour, by the controller",
    }
    made = Outcome.objects.create(**values | extra)
    weekly(made, cast.home, datetime(2013, 9, 2, tzinfo=UTC), BEFORE)
    return made


def test_a_proved_gain_is_judged_against_the_plan(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), BETTER)
    review = services.roi_review_prepare(adoption=adoption, quarter=date(2014, 2, 11))
    assert review.quarter == Q1
    assert review.planned == Decimal("15000.00")
    gained = sum(BEFORE) - sum(BETTER)
    assert float(review.measured) == pytest.approx(900 * gained, abs=1)
    assert 0 < review.measured_low < review.measured < review.measured_high
    expected = "on_plan" if review.measured_low <= 15_000 <= review.measured_high else "above"
    assert review.verdict == expected
    row = review.detail["outcomes"][0]
    assert row["finding"] == "improved"
    assert row["plan"] == "as_planned"
    assert row["method"] == "bootstrap"
    assert row["blocks"] == [12, 12]
    assert review.provable_from == ""


def test_a_small_change_is_not_provable_and_says_what_it_takes(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), HARDLY)
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.verdict == "not_provable"
    assert review.provable_from
    assert review.measured is not None
    assert review.measured_low < 0 < review.measured_high
    assert "Not provable yet" in review.detail["text"]


def test_a_loss_is_below_plan(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), [2 * v for v in BEFORE])
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.verdict == "below"
    assert review.measured_high < 0
    assert "worse" in review.detail["outcomes"][0]["text"]


def test_counts_are_judged_by_the_exact_test(cast: Any, adoption: Any) -> None:
    stops = outcome(
        cast, kpi="Stops", unit="{stops}", baseline_value=40 / 1440, target_value=30 / 1440, value_per_unit=None
    )
    stops.readings.all().delete()
    weekly(stops, cast.home, datetime(2013, 9, 2, tzinfo=UTC), [4, 3, 3, 4, 3, 3, 4, 3, 3, 4, 3, 3])
    weekly(stops, cast.home, datetime(2014, 1, 6, tzinfo=UTC), [3, 2, 2, 3, 2, 3, 3, 2, 2, 3, 2, 3])
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    row = review.detail["outcomes"][0]
    assert row["method"] == "counts"
    assert row["gain"]["estimate"] == pytest.approx(0.25)
    assert row["p_value"] == pytest.approx(0.282, abs=0.001)
    assert review.verdict == "not_provable"
    assert review.measured is None
    assert "40 events are too few" in row["text"]
    assert "No worth per unit" in row["reason"]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"baseline_frozen_at": None}, "not frozen"),
        ({"target_value": 1.0}, "no target better"),
        ({}, "No reading of this quarter"),
    ],
)
def test_what_cannot_be_measured_says_why(cast: Any, adoption: Any, extra: dict[str, Any], reason: str) -> None:
    made = outcome(cast, **extra)
    if extra:
        weekly(made, cast.home, datetime(2014, 1, 6, tzinfo=UTC), BETTER)
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.verdict == "open"
    assert review.measured is None
    assert reason in review.detail["text"]


def test_without_a_case_there_is_no_plan_but_the_target_still_judges(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), BETTER)
    BusinessCase.objects.all().delete()
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.planned is None
    assert "no business case" in review.detail["plan"]["text"]
    assert review.verdict == "on_plan"


def test_two_adoptions_share_the_plan_and_say_so(cast: Any, adoption: Any) -> None:
    make_adoption(cast.ours, cast.away)
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.planned == Decimal("7500.00")
    assert "Shared equally among 2" in review.detail["plan"]["text"]


def test_preparing_again_is_quiet_and_a_running_quarter_is_refused(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), BETTER)
    first = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    again = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert (first.pk, first.version) == (again.pk, again.version)
    with pytest.raises(InvalidInput):
        services.roi_review_prepare(adoption=adoption, quarter=date(2014, 4, 1))
    assert services.roi_reviews_prepare_all(adoption=adoption) == 1
    assert services.roi_reviews_prepare_all(adoption=adoption, until=date(2013, 1, 1)) == 0


def test_quarters_in_which_nothing_can_be_measured_get_no_review(cast: Any, adoption: Any) -> None:
    assert services.roi_reviews_prepare_all(adoption=adoption) == 0
    made = outcome(cast, baseline_frozen_at=None)
    assert services.roi_reviews_prepare_all(adoption=adoption) == 0
    Outcome.objects.filter(pk=made.pk).update(baseline_frozen_at=wall_now())
    assert services.roi_reviews_prepare_all(adoption=adoption) == 1


def test_a_held_review_stays_as_it_is(cast: Any, adoption: Any) -> None:
    made = outcome(cast)
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    with pytest.raises(StaleWrite):
        services.roi_review_hold(actor=cast.plant_manager, review=review, note="x", expected_version=99)
    with pytest.raises(InvalidInput):
        services.roi_review_hold(actor=cast.plant_manager, review=review, note="  ")
    services.roi_review_hold(actor=cast.plant_manager, review=review, note="Go on.", expected_version=review.version)
    weekly(made, cast.home, datetime(2014, 1, 6, tzinfo=UTC), BETTER)
    assert services.roi_review_prepare(adoption=adoption, quarter=Q1).measured is None
    with pytest.raises(DomainError):
        services.roi_review_hold(actor=cast.plant_manager, review=review, note="Again.")


def test_moving_budget_writes_one_action_for_the_portfolio_owner(cast: Any, adoption: Any) -> None:
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert services.suggested_move(review) == Decimal("2500.00")
    made = services.roi_move_budget(actor=cast.plant_manager, review=review, amount=Decimal("2500"), reason="It pays.")
    assert made.owner == cast.coe_lead
    assert made.roi_review == review
    assert made.amount == Decimal("2500.00")
    assert made.currency == "EUR"
    assert "2,500 EUR more for" in made.text
    assert Notification.objects.filter(user=cast.coe_lead, kind="action").count() == 1
    with pytest.raises(DomainError, match="open already"):
        services.roi_move_budget(actor=cast.plant_manager, review=review, amount=Decimal("-1"))
    with pytest.raises(InvalidInput):
        services.roi_move_budget(actor=cast.plant_manager, review=review, amount=Decimal(0))


def test_actions_are_closed_reopened_and_kept_at_their_site(cast: Any) -> None:
    due = wall_now().date() + timedelta(days=5)
    made = services.action_create(
        actor=cast.plant_manager, site=cast.home, text="Clean AFDP", owner=cast.ot_engineer, due_on=due
    )
    services.action_close(actor=cast.ot_engineer, action=made)
    with pytest.raises(DomainError):
        services.action_close(actor=cast.ot_engineer, action=made)
    with pytest.raises(DomainError, match="open it again"):
        services.action_update(actor=cast.plant_manager, action=made, data={"text": "x"})
    services.action_reopen(actor=cast.plant_manager, action=made)
    assert made.closed_at is None
    with pytest.raises(InvalidInput):
        services.action_update(actor=cast.plant_manager, action=made, data={"site": cast.away})
    actions = set(AuditEntry.objects.filter(object_id=str(made.pk)).values_list("action", flat=True))
    assert actions == {"action.create", "action.done", "action.reopen"}


def subject(cast: Any, adoption: Any) -> Subject:
    return Subject(cast.ours, adoption, wall_now())


def test_gate_4_reads_roles_with_certificates_of_today(cast: Any, adoption: Any) -> None:
    assert roles_filled(subject(cast, adoption)).value == 0
    for key, site in (("safety_officer", cast.home), ("data_steward", None), ("edge_architect", cast.home)):
        person = {"safety_officer": cast.safety_officer, "data_steward": cast.data_steward}.get(
            key, cast.edge_architect
        )
        appoint(person, key, site)
    appointed_only = roles_filled(subject(cast, adoption))
    assert appointed_only.value == 0
    assert "without a valid certificate" in appointed_only.text
    certify(cast.safety_officer)
    certify(cast.data_steward, "data_steward")
    certify(cast.edge_architect, "edge_architect", days=-1)
    assert roles_filled(subject(cast, adoption)).value == pytest.approx(66.7)
    certify(cast.edge_architect, "edge_architect", days=100)
    assert roles_filled(subject(cast, adoption)).value == 100


def test_gate_4_reads_the_last_retrospective_or_says_not_yet_due(cast: Any, adoption: Any) -> None:
    assert retrospective_held(subject(cast, adoption)).status == "not_measured"
    line = pipeline(cast.home, cast.ours, adoption=adoption)
    batch(line, datetime(2014, 4, 2, tzinfo=UTC), model_version=make_version(line.model))
    early = retrospective_held(subject(cast, adoption))
    assert early.status == "not_yet_due"
    assert "1 May 2014" in early.text
    incident(line, datetime(2014, 3, 5, tzinfo=UTC), detected_after=timedelta(hours=3))
    assert retrospective_held(subject(cast, adoption)).status == "not_measured"
    made = services.retrospective_prepare(site=cast.home, month=date(2014, 3, 1))
    assert retrospective_held(subject(cast, adoption)).value is False
    services.retrospective_hold(
        actor=cast.plant_manager, retrospective=made, data={"went_well": "a", "to_improve": "b"}
    )
    assert retrospective_held(subject(cast, adoption)).value is True


def test_gate_4_reads_the_last_review_or_says_not_yet_due(cast: Any, adoption: Any) -> None:
    assert roi_review_held(subject(cast, adoption)).status == "not_measured"
    assert "frozen baseline" in roi_review_held(subject(cast, adoption)).text
    outcome(cast)
    assert "not computed yet" in roi_review_held(subject(cast, adoption)).text
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert roi_review_held(subject(cast, adoption)).value is False
    services.roi_review_hold(actor=cast.plant_manager, review=review, note="Go on.")
    assert roi_review_held(subject(cast, adoption)).value is True
    fresh = make_adoption(cast.theirs, cast.home, started_on=date(2014, 4, 2))
    assert roi_review_held(Subject(cast.theirs, fresh, wall_now())).status == "not_yet_due"


def test_gate_4_counts_overdue_actions_of_the_site(cast: Any, adoption: Any) -> None:
    assert overdue_actions(subject(cast, adoption)).value == 0
    today = wall_now().date()
    Action.objects.create(site=cast.home, text="Late", due_on=today - timedelta(days=1))
    Action.objects.create(site=cast.home, text="Today", due_on=today)
    Action.objects.create(site=cast.home, text="Done", due_on=today - timedelta(days=9), state="done")
    Action.objects.create(site=cast.away, text="Elsewhere", due_on=today - timedelta(days=9))
    found = overdue_actions(subject(cast, adoption))
    assert found.value == 1
    assert "Late" in found.text


def test_the_criteria_are_registered() -> None:
    from usecases import evidence

    keys = [spec.key for spec in evidence.specs_for(4)]
    assert keys[:4] == ["enable.roles", "enable.retrospective", "enable.roi_review", "enable.actions"]


def test_the_first_quarter_never_overlaps_the_baseline(cast: Any, adoption: Any) -> None:
    outcome(cast, baseline_to=date(2014, 2, 1))
    assert services.first_quarter_of(adoption) == Q1
    Outcome.objects.update(baseline_to=date(2014, 3, 31))
    assert services.first_quarter_of(adoption) == date(2014, 4, 1)
    assert not RoiReview.objects.exists()


def test_enough_data_without_proof_is_said_so_and_not_blamed_on_time(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 1, 6, tzinfo=UTC), HARDLY)
    enough = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert enough.detail["outcomes"][0]["enough"] is True
    assert "would be enough" in enough.provable_from
    assert "blocks" not in enough.detail["text"]


def test_too_few_weeks_give_the_date_from_which_proof_can_be_expected(cast: Any, adoption: Any) -> None:
    weekly(outcome(cast), cast.home, datetime(2014, 3, 3, tzinfo=UTC), BETTER[:4])
    review = services.roi_review_prepare(adoption=adoption, quarter=Q1)
    assert review.verdict == "not_provable"
    row = review.detail["outcomes"][0]
    assert row["enough"] is False
    assert row["until"] > "2014-04-01"
    assert day_text(date.fromisoformat(row["until"])) in review.provable_from
    assert "(plant time)" in review.provable_from
