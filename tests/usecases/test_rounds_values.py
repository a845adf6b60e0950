"""What is measured and who departs from it; criteria compared in pairs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from tests.usecases.conftest import HIGH, LOW, rate
from tests.usecases.test_rounds import V1, fresh, told, url
from usecases import ballot, measured, ranking, services
from usecases.measured import MeasuredScore
from usecases.models import Criterion, Judgement, Rating, ScoringRound

pytestmark = pytest.mark.django_db
PLANT = datetime(2013, 2, 28, 6, tzinfo=UTC)


# ---- measured values ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sensors(monkeypatch, criteria):
    """Sensor coverage is measured: 80 % at Ours, nothing at Theirs."""
    Criterion.objects.filter(key="coverage").update(source="measured", fact="test.coverage")
    real = measured.measured_scores
    at = wall_now() - timedelta(hours=2)

    def scores(cases: Any, leaves: Any, now: Any) -> Any:
        found = real(cases, [leaf for leaf in leaves if leaf.key != "coverage"], now)
        for case in cases if any(leaf.key == "coverage" for leaf in leaves) else ():
            known = case.title == "Ours"
            found[case.pk, "coverage"] = (
                MeasuredScore(4.0, 80, "%", "8 of 10 signals have a channel.", at, "/devices/", plant_at=PLANT)
                if known
                else MeasuredScore(None, reason="No signal is named.")
            )
        return found

    monkeypatch.setattr(measured, "measured_scores", scores)


def test_what_is_measured_counts_and_nobody_is_asked(cast, sensors, meeting):
    rows = {p["name"]: p for p in ranking.progress(fresh(meeting))}
    assert rows["plant_manager"]["asked"] == 7
    row = told(meeting, "Ours", "coverage")
    assert (row["mean"], row["derived"], row["missing_roles"], row["count"]) == (4.0, 4.0, {}, 0)
    assert told(meeting, "Theirs", "coverage")["mean"] is None, "what was not measured is judged"


def test_another_value_needs_a_reason_and_moves_only_its_share(cast, sensors, meeting, as_user):
    leaf = Criterion.objects.get(key="coverage")
    row = {"use_case": cast.ours, "criterion": leaf, "value": 1.0}
    with pytest.raises(InvalidInput) as refusal:
        services.ratings_put(actor=cast.ot_engineer, meeting=meeting, rows=[row])
    assert refusal.value.errors[0]["field"] == "ratings[0].reason"
    page = as_user(cast.ot_engineer).post(
        url("round-rate", meeting.pk), {"use_case": str(cast.ours.pk), f"value-{leaf.pk}": "1"}
    )
    assert page.status_code == 422
    assert "write why your answer should count instead" in page.content.decode()
    services.ratings_put(
        actor=cast.ot_engineer, meeting=meeting, rows=[row | {"reason": "Two of them are behind the guard."}]
    )
    kept = Rating.objects.get()
    assert (kept.measured, kept.reason) == (4.0, "Two of them are behind the guard.")
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    found = told(meeting, "Ours", "coverage")
    # Three seats of three roles: the engineer's 1, and the measured 4 for the two who did not object.
    assert (found["mean"], found["count"]) == (3.0, 1)
    assert found["overrides"] == [
        {"role": "ot_engineer", "value": 1.0, "measured": 4.0, "reason": "Two of them are behind the guard."}
    ]
    assert found["lowest"] == ["OT engineer", 1.0]
    assert found["highest"] == ["Measured", 4.0]


@pytest.fixture
def judged(cast, sensors, meeting):
    """Everybody has rated everything but what is measured."""
    for person in (cast.plant_manager, cast.ot_engineer, cast.data_scientist):
        rate(person, meeting, cast.ours, {key: value for key, value in HIGH.items() if key != "coverage"})
        rate(person, meeting, cast.theirs, LOW)
    return meeting


def test_the_measured_value_is_frozen_with_its_text_age_and_link(cast, judged, monkeypatch):
    rated = judged
    services.round_close(actor=cast.coe_lead, meeting=rated)
    row = next(r for r in fresh(rated).result["measured"] if r["criterion"] == "coverage" and r["rating"] is not None)
    assert (row["rating"], row["value"], row["unit"], row["link"]) == (4.0, 80, "%", "/devices/")
    assert row["text"] == "8 of 10 signals have a channel."
    assert row["measured_at"] is not None
    before = ranking.load(fresh(rated)).values.tolist()
    monkeypatch.setattr(measured, "measured_scores", lambda cases, leaves, now: {})
    assert ranking.load(fresh(rated)).values.tolist() == before, "later measurements do not move a closed round"


def test_the_plant_time_of_a_measured_value_is_shown_and_kept(cast, judged, as_user):
    words = '28 Feb 2013, 06:00</time> <span class="pg-quiet pg-small">plant time</span>'
    page = f"{url('round', judged.pk)}?case={cast.ours.pk}"
    assert words in as_user(cast.ot_engineer).get(page).content.decode(), "while it is rated"
    services.round_close(actor=cast.coe_lead, meeting=judged)
    assert words in as_user(cast.ot_engineer).get(page).content.decode(), "once it is frozen"
    result = fresh(judged).result
    for row in result["measured"]:
        del row["plant_at"]
    ScoringRound.objects.filter(pk=judged.pk).update(result=result)
    answer = as_user(cast.ot_engineer).get(page)
    assert (answer.status_code, words in answer.content.decode()) == (200, False), "closed before it was kept"


def test_taking_the_measured_value_needs_no_reason(cast, sensors, meeting):
    leaf = Criterion.objects.get(key="coverage")
    row = {"use_case": cast.ours, "criterion": leaf, "value": None}
    made = services.ratings_put(actor=cast.ot_engineer, meeting=meeting, rows=[row])[0]
    assert made.measured is None
    assert told(meeting, "Ours", "coverage")["mean"] == 4.0


def test_an_answer_from_before_the_measurement_replaces_nothing(cast, meeting, business):
    Rating.objects.create(
        round=meeting,
        use_case=cast.ours,
        criterion=Criterion.objects.get(key="roi"),
        rater=cast.plant_manager,
        rater_role="plant_manager",
        value=0.0,
    )
    assert told(meeting, "Ours", "roi")["mean"] == pytest.approx(business.result["rating"], abs=1e-6)


def test_a_round_of_derived_values_still_satisfies_the_gate(cast, judged):
    from usecases.evidence import Subject
    from usecases.providers import raters

    services.round_close(actor=cast.coe_lead, meeting=judged)
    assert raters(Subject(cast.ours, None, wall_now())).value == 100.0


# ---- criteria in pairs -------------------------------------------------------------------------------------------------


@pytest.fixture
def pairwise(cast, criteria):
    return services.round_open(
        actor=cast.coe_lead,
        title="Pairs",
        criteria_set=criteria,
        use_cases=[cast.ours, cast.theirs],
        raters=[cast.plant_manager, cast.ot_engineer],
        weighting="pairwise",
    )


def compare(person: Any, meeting: ScoringRound, **values: float) -> None:
    """``roi_data=5``: ROI is five times as important as data maturity."""
    tops = {c.key: c for c in Criterion.objects.filter(criteria_set=meeting.criteria_set, parent=None)}
    rows = []
    for pair, value in values.items():
        first, second = pair.split("_")
        rows.append({"first": tops[first], "second": tops[second], "value": value})
    services.judgements_put(actor=person, meeting=meeting, rows=rows)


def test_the_group_s_weights_follow_from_the_comparisons(cast, pairwise):
    compare(cast.plant_manager, pairwise, roi_feasibility=3, roi_data=5, feasibility_data=2)
    compare(cast.ot_engineer, pairwise, feasibility_roi=3, data_roi=5, data_feasibility=2)
    rate(cast.plant_manager, pairwise, cast.ours, HIGH)
    rate(cast.plant_manager, pairwise, cast.theirs, LOW)
    stored = Judgement.objects.get(rater=cast.ot_engineer, first__key="roi", second__key="feasibility")
    assert stored.value == pytest.approx(1 / 3), "kept in the order of the criteria"
    services.round_close(actor=cast.coe_lead, meeting=pairwise)
    result = fresh(pairwise).result
    # Opposite opinions of equal weight cancel out.
    assert result["pairwise"]["weights"] == {"roi": 0.333333, "feasibility": 0.333333, "data": 0.333333}
    assert result["weights"] == result["pairwise"]["weights"]
    assert result["pairwise"]["raters"] == 2
    assert result["pairwise"]["random_index"] == "saaty-1980"


def test_one_person_s_comparison_is_the_worked_example(cast, pairwise):
    compare(cast.plant_manager, pairwise, roi_feasibility=3, roi_data=5, feasibility_data=2)
    told = ranking.consistency(pairwise, cast.plant_manager)
    assert told["weights"] == pytest.approx({"roi": 0.6483, "feasibility": 0.2297, "data": 0.1220}, abs=1e-4)
    assert (round(told["ratio"], 4), told["consistent"], told["revisit"]) == (0.0032, True, None)


def test_answers_that_disagree_name_the_one_to_look_at_again(cast, pairwise, as_user):
    compare(cast.plant_manager, pairwise, roi_feasibility=3, roi_data=5, feasibility_data=1 / 4)
    told = ranking.consistency(pairwise, cast.plant_manager)
    assert told["consistent"] is False
    pair = told["revisit"]["first"], told["revisit"]["second"], round(told["revisit"]["given"], 6)
    assert pair in {("roi", "feasibility", 3), ("roi", "data", 5), ("feasibility", "data", 0.25)}
    page = as_user(cast.plant_manager).get(url("round", pairwise.pk)).content.decode()
    assert "These answers disagree: look again. You say " in page
    assert "times as important as" in page.split("look again. You say ")[1][:120]
    assert "These answers disagree" not in as_user(cast.coe_lead).get(url("round", pairwise.pk)).content.decode()


def test_comparisons_are_private_too(cast, pairwise, api):
    compare(cast.plant_manager, pairwise, roi_feasibility=3, roi_data=5, feasibility_data=2)
    row = Judgement.objects.first()
    for spy in (cast.coe_lead, cast.ot_engineer, cast.executive):
        assert api(spy).get(f"{V1}/judgements").json()["results"] == []
        assert api(spy).get(f"{V1}/judgements/{row.pk}").status_code == 404
    assert len(api(cast.plant_manager).get(f"{V1}/judgements").json()["results"]) == 3
    assert AuditEntry.objects.get(action="judgement.put").changes == {"answers": 3, "vote": 1}


@pytest.mark.parametrize(
    ("pair", "value", "field"),
    [
        ({"first": "roi", "second": "data"}, 9.5, "value"),
        ({"first": "roi", "second": "data"}, 0.1, "value"),
        ({"first": "roi", "second": "data"}, float("nan"), "value"),
        ({"first": "roi", "second": "roi"}, 3, "second"),
        ({"first": "coverage", "second": "roi"}, 3, "first"),
    ],
)
def test_a_comparison_is_checked_at_its_field(cast, pairwise, pair, value, field):
    known = {c.key: c for c in Criterion.objects.all()}
    rows = [{"first": known[pair["first"]], "second": known[pair["second"]], "value": value}]
    with pytest.raises(InvalidInput) as refusal:
        services.judgements_put(actor=cast.plant_manager, meeting=pairwise, rows=rows)
    assert refusal.value.errors[0]["field"] == f"judgements[0].{field}"
    assert not Judgement.objects.exists()


def test_a_round_with_given_weights_takes_no_comparison(cast, meeting):
    with pytest.raises(DomainError) as refusal:
        compare(cast.plant_manager, meeting, roi_data=3)
    assert refusal.value.code == "not_pairwise"


def test_without_a_whole_comparison_the_criteria_s_weights_stay(cast, pairwise):
    compare(cast.plant_manager, pairwise, roi_feasibility=3)
    loaded = ranking.load(fresh(pairwise))
    assert loaded.pairwise is not None
    assert loaded.pairwise.ahp is None
    assert loaded.model.tree.top_weights.tolist() == pytest.approx([0.5, 0.3, 0.2])


def test_a_role_s_weight_is_shared_by_its_people():
    from usecases.domain.ratings import rater_shares

    seats = {"a": "ot", "b": "ot", "c": "manager"}
    assert rater_shares(seats, {"ot": 1.0, "manager": 2.0}) == {"a": 0.5, "b": 0.5, "c": 2.0}


def test_the_steps_of_a_comparison_are_sentences():
    rows = dict(ballot.strengths("ROI", "Data"))
    assert len(rows) == 17
    assert rows["3"] == "ROI is 3 times as important as Data"
    assert rows["1/3"] == "Data is 3 times as important as ROI"
    assert ballot.ratio_of("1/4") == 0.25
    assert ballot.ratio_of("1/0") is None
