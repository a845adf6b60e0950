"""The pages and the API of scoring rounds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.core.clock import rfc3339, wall_now
from portal.core.models import Notification
from tests.usecases.conftest import HIGH, rate
from tests.usecases.test_rounds import V1, WORDS, fresh, url
from usecases import services, votes
from usecases.models import CriteriaSet, Criterion, Rating, Seat

pytestmark = pytest.mark.django_db


# ---- pages -------------------------------------------------------------------------------------------------------------


def answer_body(case: Any, **values: str) -> dict[str, str]:
    leaves = {c.key: c for c in Criterion.objects.all()}
    body = {"use_case": str(case.pk), "vote": "1"}
    for name, value in values.items():
        key, _sep, part = name.partition("__")
        body[f"{part or 'value'}-{leaves[key].pk}"] = value
    return body


def test_half_steps_come_from_the_slider_and_whole_ones_from_the_levels(cast, meeting, as_user):
    client = as_user(cast.plant_manager)
    address = url("round-rate", meeting.pk)
    assert client.post(address, answer_body(cast.ours, data__exact="2.5")).status_code == 302
    assert Rating.objects.get().value == 2.5
    page = client.get(url("round", meeting.pk) + f"?case={cast.ours.pk}").content.decode()
    leaf = Criterion.objects.get(key="data")
    assert f'name="exact-{leaf.pk}" value="2.5"' in page
    assert client.post(address, answer_body(cast.ours, data="4", data__exact="2.5")).status_code == 302
    assert Rating.objects.get().value == 4.0


def test_the_script_saves_one_answer_and_hears_what_is_wrong(cast, meeting, as_user):
    client = as_user(cast.plant_manager)
    address = url("round-rate", meeting.pk)
    leaf = Criterion.objects.get(key="data")
    saved = client.post(address, answer_body(cast.ours, data="4"), HTTP_ACCEPT="application/json")
    assert (saved.status_code, saved.json()) == (200, {"saved": [str(leaf.pk)]})
    wrong = client.post(address, answer_body(cast.ours, data="17"), HTTP_ACCEPT="application/json")
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == f"value-{leaf.pk}"
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    late = client.post(address, answer_body(cast.ours, data="1"), HTTP_ACCEPT="application/json")
    assert (late.status_code, late.json()["code"], late.json()["state"]) == (409, "round_closed", "closed")


def test_what_was_typed_when_the_round_closed_is_shown_and_said_not_to_be_saved(cast, rated, as_user):
    client = as_user(cast.plant_manager)
    services.round_close(actor=cast.coe_lead, meeting=rated)
    body = answer_body(cast.ours, data="1", data__comment=WORDS)
    answer = client.post(url("round-rate", rated.pk), body)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Not saved" in page
    assert "What you typed on Ours and was not saved" in page
    assert WORDS in page


def test_a_form_of_the_first_vote_is_kept_when_the_second_has_begun(cast, rated, as_user):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    answer = as_user(cast.plant_manager).post(
        url("round-rate", rated.pk), answer_body(cast.ours, data="1", data__comment=WORDS)
    )
    assert answer.status_code == 409
    assert WORDS in answer.content.decode()
    assert not Rating.objects.filter(vote=2).exists()


def test_the_second_vote_starts_with_the_first_answers(cast, rated, as_user):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    page = as_user(cast.plant_manager).get(url("round", rated.pk) + f"?case={cast.ours.pk}").content.decode()
    leaf = Criterion.objects.get(key="coverage")
    assert f'id="value-{leaf.pk}-5" name="value-{leaf.pk}" value="5" checked' in page
    assert "Your first answer: 5" in page
    assert "Keep all my first answers" in page


def test_the_polled_part_is_304_until_somebody_answers_or_the_round_moves(cast, rated, as_user):
    client = as_user(cast.coe_lead)
    address = url("round-progress", rated.pk)
    tag = client.get(address)["ETag"]
    assert client.get(address, HTTP_IF_NONE_MATCH=tag).status_code == 304
    rate(cast.plant_manager, rated, cast.ours, {"data": 2.0})
    later = client.get(address, HTTP_IF_NONE_MATCH=tag)
    assert later.status_code == 200
    assert "3 of 3 have finished" in later.content.decode()
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    moved = client.get(address, HTTP_IF_NONE_MATCH=later["ETag"])
    assert 'data-round-state="revealed"' in moved.content.decode()


def test_a_poll_that_finds_nothing_new_reads_the_round_only(cast, rated, as_user, django_assert_max_num_queries):
    client = as_user(cast.ot_engineer)
    address = url("round-progress", rated.pk)
    tag = client.get(address)["ETag"]
    with django_assert_max_num_queries(5):
        assert client.get(address, HTTP_IF_NONE_MATCH=tag).status_code == 304


@pytest.mark.parametrize("state", ["open", "revealed", "second", "closed"])
@pytest.mark.parametrize("person", ["coe_lead", "plant_manager", "executive"])
def test_the_page_needs_few_queries_in_every_state(cast, rated, as_user, state, person, django_assert_max_num_queries):
    steps = {"revealed": 1, "second": 2, "closed": 3}.get(state, 0)
    for step in (services.round_reveal, services.round_second_vote, services.round_close)[:steps]:
        step(actor=cast.coe_lead, meeting=rated)
    client = as_user(getattr(cast, person))
    assert client.get(url("round", rated.pk)).status_code == 200
    with django_assert_max_num_queries(16):
        client.get(url("round", rated.pk))


def test_steps_are_for_who_leads_and_say_who_may(cast, rated, as_user):
    for name in ("round-reveal", "round-second-vote", "round-close", "round-withdraw", "round-unseat"):
        assert as_user(cast.plant_manager).post(url(name, rated.pk)).status_code == 403, name
    for name in ("round-edit", "round-seats"):
        assert as_user(cast.plant_manager).get(url(name, rated.pk)).status_code == 403, name
    client = as_user(cast.coe_lead)
    for name, state in (("round-reveal", "revealed"), ("round-second-vote", "second"), ("round-close", "closed")):
        assert client.post(url(name, rated.pk)).status_code == 302
        assert fresh(rated).state == state


def test_where_no_criteria_are_published_the_form_says_so(cast, criteria, as_user):
    client = as_user(cast.coe_lead)
    words = "There are no published criteria yet"
    assert words not in plain(client.get(url("round-create")))
    CriteriaSet.objects.update(state="draft")
    answer = client.get(url("round-create"))
    assert words in plain(answer)
    assert f'<a href="{url("criteria-sets")}">' in answer.content.decode()


def test_answers_are_written_as_they_were_given(cast, rated, as_user):
    """Whole levels without decimals: the rubric knows a 4, not a 4.00."""
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    page = as_user(cast.coe_lead).get(url("round", rated.pk) + f"?case={cast.ours.pk}").content.decode()
    given = set(re.findall(r'data-label="Answer">([^<]*)<', page))
    levels = {f"{v:g}" for v in Rating.objects.filter(use_case=cast.ours).values_list("value", flat=True)}
    assert given == levels


def plain(answer) -> str:
    """What the page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.content.decode()))


def test_closing_says_first_what_it_does_to_how_many_things(cast, rated, as_user):
    client = as_user(cast.coe_lead)
    assert f'href="{url("round-close", rated.pk)}" data-dialog' in client.get(url("round", rated.pk)).content.decode()
    Rating.objects.filter(round=rated, rater=cast.ot_engineer, criterion__key="coverage").delete()
    said = plain(client.get(url("round-close", rated.pk)))
    assert fresh(rated).state == "open", "looking closes nothing"
    assert "2 use cases keep the scores they have now" in said
    assert "1 person has not finished and cannot answer any more" in said
    assert "2 answers stay missing, which are not counted as zero" in said
    assert "A closed round is never opened again" in said
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    assert "what was said in the first vote stays" in plain(client.get(url("round-close", rated.pk)))
    assert client.post(url("round-close", rated.pk)).status_code == 302
    again = client.get(url("round-close", rated.pk), follow=True)
    assert again.redirect_chain
    assert "This round is closed; its result is frozen." in plain(again)
    assert as_user(cast.plant_manager).get(url("round-close", rated.pk)).status_code == 403


def test_withdrawing_says_first_what_it_does_to_how_many_people(cast, meeting, as_user):
    client = as_user(cast.coe_lead)
    page = client.get(url("round", meeting.pk)).content.decode()
    assert f'href="{url("round-withdraw", meeting.pk)}" data-dialog' in page
    said = plain(client.get(url("round-withdraw", meeting.pk)))
    assert "3 people were invited and are told that it was withdrawn" in said
    early = plain(client.get(url("round-close", meeting.pk), follow=True))
    assert "Nobody has rated anything yet, so there is no result." in early
    rate(cast.ot_engineer, meeting, cast.ours, HIGH)
    late = client.get(url("round-withdraw", meeting.pk), follow=True)
    assert "Somebody has answered already: close the round instead." in plain(late)


def test_raters_come_and_go_on_the_page(cast, meeting, as_user):
    client = as_user(cast.coe_lead)
    address = url("round-seats", meeting.pk)
    assert client.post(address, {"seat": f"data_steward:{cast.data_steward.pk}"}).status_code == 302
    assert Seat.objects.filter(round=meeting, person=cast.data_steward, role="data_steward").exists()
    assert client.post(address, {"seat": f"data_steward:{cast.data_steward.pk}"}).status_code == 422
    gone = client.post(url("round-unseat", meeting.pk), {"person": str(cast.data_steward.pk)})
    assert gone.status_code == 302
    assert not Seat.objects.filter(round=meeting, person=cast.data_steward).exists()


def test_a_changed_round_shows_both_versions(cast, meeting, as_user):
    client = as_user(cast.coe_lead)
    stale = client.post(url("round-edit", meeting.pk), {"title": "Mine", "version": "99"})
    assert stale.status_code == 412
    assert "Mine" in stale.content.decode()
    good = client.post(url("round-edit", meeting.pk), {"title": "Mine", "version": str(fresh(meeting).version)})
    assert (good.status_code, fresh(meeting).title) == (302, "Mine")


# ---- API ---------------------------------------------------------------------------------------------------------------


def test_the_api_has_the_same_verbs(cast, criteria, api):
    body = {
        "title": "R",
        "criteria_set": str(criteria.pk),
        "use_cases": [str(cast.ours.pk)],
        "seats": [
            {"person": str(cast.plant_manager.pk), "role": "plant_manager"},
            {"person": str(cast.ot_engineer.pk)},
        ],
        "weighting": "pairwise",
        "role_weights": {"plant_manager": 2},
        "due_at": rfc3339(wall_now() + timedelta(days=2)),
    }
    lead = api(cast.coe_lead)
    made = lead.post(f"{V1}/scoring-rounds", body, format="json")
    assert made.status_code == 201, made.json()
    assert sorted(seat["role"] for seat in made.json()["seats"]) == ["ot_engineer", "plant_manager"]
    base = f"{V1}/scoring-rounds/{made.json()['id']}"
    both = lead.post(f"{V1}/scoring-rounds", body | {"raters": [str(cast.plant_manager.pk)]}, format="json")
    assert (both.status_code, both.json()["errors"][0]["field"]) == (400, "raters")
    joined = lead.post(f"{base}/seats", {"person": str(cast.data_scientist.pk)}, format="json")
    assert (joined.status_code, len(joined.json()["seats"])) == (201, 3)
    left = lead.post(f"{base}/unseat", {"person": str(cast.data_scientist.pk)}, format="json")
    assert (left.status_code, len(left.json()["seats"])) == (200, 2)
    tops = list(Criterion.objects.filter(parent=None).order_by("position"))
    pairs = [
        {"first": str(tops[0].pk), "second": str(tops[1].pk), "value": 3},
        {"first": str(tops[0].pk), "second": str(tops[2].pk), "value": 5},
        {"first": str(tops[1].pk), "second": str(tops[2].pk), "value": 2},
    ]
    said = api(cast.plant_manager).post(f"{base}/judgements", {"judgements": pairs, "vote": 1}, format="json")
    assert (said.status_code, said.json()["consistent"]) == (200, True)
    leaf = Criterion.objects.get(key="data")
    rows = [{"use_case": str(cast.ours.pk), "criterion": str(leaf.pk), "value": 4}]
    rated = api(cast.plant_manager).post(f"{base}/ratings", {"ratings": rows, "vote": 1}, format="json")
    assert (rated.status_code, rated.json()[0]["vote"]) == (200, 1)
    wrong_vote = api(cast.plant_manager).post(f"{base}/ratings", {"ratings": rows, "vote": 2}, format="json")
    assert (wrong_vote.status_code, wrong_vote.json()["code"]) == (409, "first_vote")
    progress = {row["name"]: row["given"] for row in api(cast.ot_engineer).get(f"{base}/progress").json()}
    assert progress == {"ot_engineer": 0, "plant_manager": 4}
    changed = lead.patch(base, {"title": "Renamed"}, format="json", HTTP_IF_MATCH=joined["ETag"])
    assert (changed.status_code, changed.json()["title"]) == (200, "Renamed")
    assert lead.patch(base, {"title": "Again"}, format="json", HTTP_IF_MATCH='"old"').status_code == 412
    fixed = lead.patch(base, {"weighting": "criteria"}, format="json")
    assert (fixed.status_code, fixed.json()["errors"][0]["field"]) == (400, "weighting")
    assert api(cast.ot_engineer).patch(base, {"title": "No"}, format="json").status_code == 403
    assert lead.delete(base).json()["code"] == "already_rated"
    assert lead.post(f"{base}/second-vote").json()["code"] == "wrong_state"
    assert lead.post(f"{base}/reveal").json()["state"] == "revealed"
    assert lead.get(f"{base}/results").json()["pairwise"]["weights"][tops[0].key] > 0.6
    assert lead.post(f"{base}/second-vote").json()["state"] == "second"
    assert api(cast.plant_manager).post(f"{base}/keep").json() == {"kept": 4}
    assert lead.post(f"{base}/close").json()["state"] == "closed"
    assert api(cast.ot_engineer).post(f"{base}/keep").json()["code"] == "round_closed"


def test_the_notifications_say_by_when(cast, criteria):
    services.round_open(
        actor=cast.coe_lead,
        title="R",
        criteria_set=criteria,
        use_cases=[cast.ours],
        raters=[cast.plant_manager],
        due_at=wall_now() + timedelta(days=1),
    )
    assert " by " in Notification.objects.get(user=cast.plant_manager).text


def test_votes_of_a_person_are_taken_from_the_newest(cast, rated):
    rows = list(Rating.objects.filter(round=rated))
    assert votes.effective(rows, 1) == rows
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    rate(cast.plant_manager, rated, cast.ours, {"data": 2.0})
    every = list(Rating.objects.filter(round=rated))
    assert len(votes.effective(every, 2)) == len(rows)
    assert {r.vote for r in votes.effective(every, 1)} == {1}
