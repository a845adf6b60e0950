"""The ranking pages: private until revealed, weights in the address, what a stranger does not see, exports, the programme."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from django.test import override_settings
from django.urls import reverse

from portal.core.errors import DomainError, InvalidInput
from tests.factories import make_use_case
from tests.usecases.conftest import HIGH, LOW, rate
from usecases import figures, ranking, services, standing
from usecases.checks import robustness_settings
from usecases.models import Criterion, ScoringRound, UseCase

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(cast: Any, rated: Any) -> Any:
    services.round_close(actor=cast.coe_lead, meeting=rated)
    return ScoringRound.objects.select_related("criteria_set").get(pk=rated.pk)


def ask(client: Any, address: str, **query: Any) -> Any:
    return client.get(address, query, headers={"Accept": "application/json"})


def page(meeting: Any) -> str:
    return reverse("usecases:round-ranking", args=[meeting.pk])


def test_a_round_is_private_until_revealed(cast, rated, client):
    client.force_login(cast.coe_lead)
    answer = client.get(page(rated))
    assert answer.status_code == 409
    assert "Private until revealed" in answer.content.decode()
    with pytest.raises(DomainError) as refusal:
        standing.of_round(cast.coe_lead, rated)
    assert refusal.value.code == "not_revealed"


def test_the_page_says_sentence_charts_and_second_opinions(cast, closed, client):
    client.force_login(cast.coe_lead)
    text = client.get(page(closed)).content.decode()
    for said in (
        "Clear winner",
        "first in 100 of 100 plausible weightings",
        "All three methods put Ours first.",
        "No single weight changes the winner",
        "Every place is as good as certain",
    ):
        assert said in text


def test_moved_weights_answer_with_the_same_parts(cast, closed, client):
    client.force_login(cast.coe_lead)
    body = ask(client, page(closed), roi=20, feasibility=30, data=50).json()
    assert [row["rank"] for row in body["rows"]] == [1, 2]
    assert set(body["parts"]) == {"ranking-verdict", "ranking-firsts", "ranking-opinions", "ranking-central"}
    assert set(body["charts"]) == {"tornado", "heat", "bubble"}
    text = client.get(page(closed), {"roi": 20, "feasibility": 30, "data": 50}).content.decode()
    assert 'name="data" min="0" max="100" step="1" value="50"' in text
    assert "?roi=20&amp;feasibility=30&amp;data=50&amp;export=csv" in text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"roi": "much"}, "roi"),
        ({"roi": "nan"}, "roi"),
        ({"data": "-1"}, "data"),
        ({"roi": "0", "feasibility": "0", "data": "0"}, "weights"),
        ({"coverage": "0", "network": "0"}, "coverage"),
    ],
)
def test_bad_weights_are_refused_at_their_slider(cast, closed, client, query, field):
    client.force_login(cast.coe_lead)
    answer = ask(client, page(closed), **query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    shown = client.get(page(closed), query)
    assert shown.status_code == 400
    assert "under the agreed ones" in shown.content.decode()


def test_weights_below_a_criterion_flip_the_order_and_say_why(cast, meeting):
    rate(cast.plant_manager, meeting, cast.ours, {"roi": 3.0, "coverage": 5.0, "network": 1.0, "data": 3.0})
    rate(cast.plant_manager, meeting, cast.theirs, {"roi": 3.0, "coverage": 1.0, "network": 4.8, "data": 3.0})
    loaded = ranking.load(meeting)
    assert ranking.rank(loaded)["winner"] == "Ours"
    moved = ranking.rank(loaded, None, {"coverage": 20, "network": 80})
    assert moved["winner"] == "Theirs"
    assert moved["flip"] == "Theirs overtakes Ours because Coverage counts only 20 % of Feasibility instead of 50 %."
    assert moved["sub_weights"]["network"] == pytest.approx(0.8)
    with pytest.raises(InvalidInput):
        ranking.rank(loaded, None, {"coverage": 0, "network": 0})


def test_a_closed_round_ranks_as_it_was_frozen(cast, closed, business):
    table = standing.of_round(cast.coe_lead, closed)
    again = ranking.rank(table)
    assert [(r["title"], r["rank"], r["score"]) for r in again["rows"]] == [
        (r["title"], r["rank"], r["score"]) for r in closed.result["rows"]
    ]
    assert again["verdict"] == closed.result["verdict"]


def test_rounds_closed_before_values_were_kept_are_read_from_their_agreement(closed):
    for row in closed.result["rows"]:
        row.pop("values")
    found = standing.frozen_values(closed.result)
    row = next(r for r in closed.result["rows"] if r["title"] == "Ours")
    assert found[row["id"]] == {"roi": 4.0, "coverage": 5.0, "network": 4.0, "data": 4.0}


def test_who_sits_in_the_round_sees_it_whole_and_others_what_they_may_see(cast, closed):
    assert [c.title for c in standing.of_round(cast.plant_manager, closed).cases] == ["Ours", "Theirs"]
    allowed = UseCase.objects.permitted(cast.executive).filter(rounds=closed).values_list("title", flat=True)
    assert [c.title for c in standing.of_round(cast.executive, closed).cases] == sorted(allowed)


def test_the_programme_takes_each_use_case_from_its_newest_closed_round(cast, closed, criteria, client):
    later = services.round_open(
        actor=cast.coe_lead,
        title="Autumn round",
        criteria_set=criteria,
        use_cases=[cast.theirs],
        raters=[cast.plant_manager],
    )
    rate(cast.plant_manager, later, cast.theirs, {**HIGH, "roi": 5.0})
    services.round_close(actor=cast.coe_lead, meeting=later)
    lead = cast.coe_lead
    table = standing.of_programme(lead)
    assert table is not None
    assert {str(case): str(table.origins[case.pk]) for case in table.cases if case.pk in table.origins} == {
        "Ours": "Spring round",
        "Theirs": "Autumn round",
    }
    assert ranking.rank(table)["winner"] == "Theirs"
    client.force_login(lead)
    text = client.get(reverse("usecases:ranking")).content.decode()
    assert "Autumn round" in text and "Spring round" in text


def test_the_programme_hides_what_a_person_may_not_see(cast, closed):
    table = standing.of_programme(cast.stranger)
    assert table is not None and [c.title for c in table.cases] == ["Theirs"]
    seen = {c.pk for c in standing.of_programme(cast.plant_manager).cases}  # type: ignore[union-attr]
    assert seen == set(UseCase.objects.permitted(cast.plant_manager).values_list("pk", flat=True))


def test_values_of_other_questions_are_set_apart(cast, closed, criteria):
    following = services.criteria_set_next(actor=cast.coe_lead, criteria_set=criteria)
    for leaf in Criterion.objects.filter(criteria_set=following):
        services.criterion_update(
            actor=cast.coe_lead, criterion=leaf, data={"rubric": [f"Another level {n}" for n in range(6)]}
        )
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=following)
    table = standing.of_programme(cast.coe_lead)
    assert table is not None
    assert sorted(str(case) for case, _reason in table.apart) == ["Ours", "Theirs"]
    assert "Standard v1" in table.apart[0][1]


def test_export_has_every_row_and_says_its_weights(cast, closed, client):
    client.force_login(cast.coe_lead)
    answer = client.get(page(closed), {"roi": 20, "feasibility": 30, "data": 50, "export": "csv"})
    assert answer["Content-Disposition"] == 'attachment; filename="ranking-what-if.csv"'
    header, *rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert "Data (weight 50 %)" in header
    assert [row[1] for row in rows] == ["Ours", "Theirs"]
    assert len(client.get(page(closed), {"export": "xlsx"}).content) > 2000


def test_formulas_in_titles_are_neutralised(cast, closed, client):
    UseCase.objects.filter(pk=cast.ours.pk).update(title="=1+1")
    client.force_login(cast.coe_lead)
    text = b"".join(client.get(page(closed), {"export": "csv"}).streaming_content).decode()
    assert "'=1+1" in text


def test_a_gap_is_drawn_and_told(cast, meeting, client):
    rate(cast.plant_manager, meeting, cast.ours, {**HIGH, "data": None})
    rate(cast.plant_manager, meeting, cast.theirs, LOW)
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    table = standing.of_round(cast.coe_lead, ScoringRound.objects.get(pk=meeting.pk))
    assert table.gaps == 1
    row = ranking.rank(table)["rows"][0]
    assert row["values"]["data"] is None and row["low"] < row["score"] < row["high"]
    client.force_login(cast.coe_lead)
    assert "1 answer is missing" in client.get(page(meeting)).content.decode()


def test_the_thresholds_are_settings_and_stand_in_the_drawer(cast, closed, client):
    client.force_login(cast.coe_lead)
    with override_settings(ROBUSTNESS_CLEAR=0.97, ROBUSTNESS_KAPPA=12.0, SMAA_DRAWS=500):
        result = ranking.rank(standing.of_round(cast.coe_lead, closed))
        assert (result["draws"], result["kappa"], result["thresholds"]["clear"]) == (500, 12.0, 0.97)
        assert "first in at least 97 %" in client.get(page(closed)).content.decode()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ROBUSTNESS_CLOSE": 0.9}, "usecases.E001"),
        ({"ROBUSTNESS_CLEAR": 1.2}, "usecases.E001"),
        ({"ROBUSTNESS_MARGIN": -0.1}, "usecases.E002"),
        ({"ROBUSTNESS_KAPPA": 0.0}, "usecases.E003"),
        ({"SMAA_DRAWS": 10}, "usecases.E004"),
    ],
)
def test_thresholds_that_make_no_sense_stop_the_start(changed, code):
    assert robustness_settings(None) == []
    with override_settings(**changed):
        assert [finding.id for finding in robustness_settings(None)] == [code]


def test_bubbles_tell_labels_apart_by_symbol_and_colour(cast):
    cases = [make_use_case(label=label) for label in ("quick_win", "foundation", "moon_shot", "unlabelled")]
    by_top = {case.pk: {"a": 0.2 * n, "b": 0.9, "c": 0.5} for n, case in enumerate(cases, 1)}
    drawn = figures.bubble(cases, by_top, ["Worth", "Feasibility", "Data"])
    assert drawn is not None
    marks = [(trace["marker"]["symbol"], trace["marker"]["color"]) for trace in drawn["data"]]
    assert len(set(marks)) == len({symbol for symbol, _ in marks}) == 4
    assert figures.bubble_title(cases, by_top, ["Worth", "Feasibility", "Data"]).startswith("Strong on both Worth")
    json.dumps(drawn)


def test_thirty_use_cases_by_twelve_answer_a_slider_in_few_queries(cast, client, django_assert_max_num_queries):
    from tests.usecases.workshop import thirty_by_twelve

    meeting = thirty_by_twelve(cast)
    client.force_login(cast.coe_lead)
    assert ask(client, page(meeting), roi=20, feasibility=30, data=50).status_code == 200
    with django_assert_max_num_queries(12):
        body = ask(client, page(meeting), roi=60, feasibility=30, data=10).json()
    assert len(body["rows"]) == 30
    assert np.isclose(sum(float(c) for c in body["charts"]["heat"]["figure"]["data"][0]["z"][0]), 100, atol=1)


def test_the_programme_reads_little_however_many_rounds(cast, client, django_assert_max_num_queries):
    from tests.usecases.workshop import thirty_by_twelve

    thirty_by_twelve(cast)
    client.force_login(cast.coe_lead)
    client.get(reverse("usecases:ranking"))
    with django_assert_max_num_queries(12):
        assert client.get(reverse("usecases:ranking")).status_code == 200
    with django_assert_max_num_queries(12):
        assert client.get(reverse("usecases:use-cases"), {"view": "bubble"}).status_code == 200


def test_the_api_has_the_programme_and_takes_the_weights_of_the_address(cast, closed, api):
    api_client = api(cast.coe_lead)
    body = api_client.get("/api/v1/ranking").json()
    assert [row["title"] for row in body["rows"]] == ["Ours", "Theirs"]
    assert set(body["rounds"].values()) == {str(closed.pk)}
    moved = api_client.get("/api/v1/ranking", {"roi": 20, "feasibility": 30, "data": 50}).json()
    assert moved["weights"] == {"roi": 0.2, "feasibility": 0.3, "data": 0.5}
    for wrong in ({"no_such": 1}, {"roi": "x"}, {"roi": -1}):
        answer = api_client.get("/api/v1/ranking", wrong)
        assert answer.status_code == 400, answer.content
    tag = api_client.get("/api/v1/ranking")["ETag"]
    assert api_client.get("/api/v1/ranking", headers={"If-None-Match": tag}).status_code == 304


def test_the_api_of_a_round_tries_weights_of_sub_criteria(cast, closed, api):
    api_client = api(cast.coe_lead)
    address = f"/api/v1/scoring-rounds/{closed.pk}/what-if"
    body = api_client.post(address, {"sub_weights": {"coverage": 1, "network": 3}}, format="json").json()
    assert body["sub_weights"]["network"] == 0.75
    assert [row["criterion"] for row in body["sub_tornado"]]
    for wrong, field in (
        ({}, "weights"),
        ({"sub_weights": {"coverage": 0, "network": 0}}, "coverage"),
        ({"sub_weights": {"nothing": 1}}, "nothing"),
        ({"weights": {"roi": 1}}, "feasibility"),
    ):
        answer = api_client.post(address, wrong, format="json")
        assert answer.status_code == 400, answer.content
        assert field in [row["field"] for row in answer.json()["errors"]]
