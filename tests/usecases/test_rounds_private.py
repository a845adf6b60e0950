"""What nobody but the rater may learn before the reveal, through whichever door."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portal.core.models import AuditEntry, User
from tests.usecases.conftest import rate
from tests.usecases.test_rounds import SECRET, V1, WORDS, url
from usecases import ranking, services
from usecases.models import Criterion, Rating, ScoringRound

#: The secret number as JSON writes it, or rounded as a page does.
SHOWN = re.compile(r"(?<![\d.])4\.1(4|379)(?!\d)")
pytestmark = pytest.mark.django_db


# ---- private until the reveal -----------------------------------------------------------------------------------------


@pytest.fixture
def secret(cast, meeting):
    """One rater has answered; nobody else may learn what."""
    leaf = Criterion.objects.get(key="data")
    row = {"use_case": cast.ours, "criterion": leaf, "value": SECRET, "comment": WORDS}
    services.ratings_put(actor=cast.plant_manager, meeting=meeting, rows=[row])
    return meeting


def doors(meeting: ScoringRound, case: Any) -> list[str]:
    """Every address from which an answer might leak."""
    return [
        url("round", meeting.pk),
        url("round", meeting.pk) + f"?case={case.pk}",
        url("round-progress", meeting.pk),
        url("round-ranking", meeting.pk),
        url("round-seats", meeting.pk),
        url("round-edit", meeting.pk),
        url("rounds"),
        url("rounds") + "?export=csv",
        url("rounds") + "?export=xlsx",
        url("ranking"),
        url("portfolio"),
        url("use-case", case.pk),
        url("use-cases"),
        "/audit/",
        "/inbox/",
        f"{V1}/scoring-rounds",
        f"{V1}/scoring-rounds?format=csv",
        f"{V1}/scoring-rounds/{meeting.pk}",
        f"{V1}/scoring-rounds/{meeting.pk}/results",
        f"{V1}/scoring-rounds/{meeting.pk}/progress",
        f"{V1}/ratings",
        f"{V1}/ratings?format=csv",
        f"{V1}/ratings?round={meeting.pk}",
        f"{V1}/judgements",
        f"{V1}/audit-entries",
    ]


SPIES = ("coe_lead", "ot_engineer", "executive", "data_steward", "integrator")


@pytest.mark.parametrize("spy", SPIES)
def test_no_door_tells_an_answer_before_the_reveal(cast, secret, as_user, spy):
    client = as_user(getattr(cast, spy))
    for address in doors(secret, cast.ours):
        answer = client.get(address)
        text = b"".join(answer.streaming_content) if answer.streaming else answer.content
        body = text.decode(errors="replace")
        assert answer.status_code < 500, address
        assert WORDS not in body, address
        assert not SHOWN.search(body), address


@pytest.mark.parametrize("spy", SPIES)
def test_a_rating_of_somebody_else_does_not_exist_before_the_reveal(cast, secret, api, spy):
    row = Rating.objects.get()
    client = api(getattr(cast, spy))
    assert client.get(f"{V1}/ratings/{row.pk}").status_code == 404
    assert client.get(f"{V1}/ratings").json()["results"] == []
    assert client.get(f"{V1}/ratings?rater={cast.plant_manager.pk}").json()["results"] == []
    assert api(cast.plant_manager).get(f"{V1}/ratings/{row.pk}").json()["value"] == SECRET


def test_what_if_and_results_say_nothing_before_the_reveal(cast, secret, api, as_user):
    weights = {"roi": 1, "feasibility": 1, "data": 98}
    for person in (cast.coe_lead, cast.ot_engineer, cast.plant_manager):
        asked = api(person).post(f"{V1}/scoring-rounds/{secret.pk}/what-if", {"weights": weights}, format="json")
        assert asked.status_code == 409
        assert as_user(person).post(url("round-what-if", secret.pk), weights).status_code == 409
        found = api(person).get(f"{V1}/scoring-rounds/{secret.pk}/results").json()
        assert (found["private"], found["rows"], found["unrated"], found["agreement"]) == (True, [], [], [])


def test_the_audit_trail_counts_and_tells_no_value(cast, secret):
    entry = AuditEntry.objects.get(action="rating.put")
    assert entry.changes == {"answers": 1, "vote": 1}


def test_the_second_vote_is_private_until_the_round_is_closed(cast, rated, api, as_user):
    services.round_reveal(actor=cast.coe_lead, meeting=rated)
    services.round_second_vote(actor=cast.coe_lead, meeting=rated)
    leaf = Criterion.objects.get(key="data")
    row = {"use_case": cast.ours, "criterion": leaf, "value": SECRET, "comment": WORDS}
    services.ratings_put(actor=cast.plant_manager, meeting=rated, rows=[row])
    for spy in ("coe_lead", "ot_engineer", "executive"):
        client = as_user(getattr(cast, spy))
        for address in doors(rated, cast.ours):
            assert WORDS not in client.get(address).getvalue().decode(errors="replace"), address
    seen = api(cast.coe_lead).get(f"{V1}/ratings?round={rated.pk}").json()["results"]
    assert {r["vote"] for r in seen} == {1}, "the facilitator sees the first vote, and only that"
    assert len(seen) == 24
    services.round_close(actor=cast.coe_lead, meeting=rated)
    assert WORDS in as_user(cast.ot_engineer).get(url("round", rated.pk) + f"?case={cast.ours.pk}").content.decode()


def test_names_are_for_the_facilitator_and_for_oneself(cast, meeting, as_user, api):
    cast.plant_manager.name = "Petra Malik"
    cast.plant_manager.save()
    rate(cast.plant_manager, meeting, cast.ours, {"data": 5.0})
    rate(cast.ot_engineer, meeting, cast.ours, {"data": 1.0})
    services.round_reveal(actor=cast.coe_lead, meeting=meeting)
    address = url("round", meeting.pk) + f"?case={cast.ours.pk}"
    assert "(Petra Malik)" in as_user(cast.coe_lead).get(address).content.decode()
    page = as_user(cast.ot_engineer).get(address).content.decode()
    assert "(Petra Malik)" not in page
    assert "(you)" in page
    found = api(cast.executive).get(f"{V1}/scoring-rounds/{meeting.pk}/results").content.decode()
    assert "Petra Malik" not in found
    assert api(cast.executive).get(f"{V1}/ratings").json()["results"] == []


def test_pages_and_api_read_rounds_only_where_it_is_checked_that_they_are_revealed():
    """``ranking.load`` asks nobody; only the service that freezes the result calls it."""
    from pathlib import Path

    root = Path(ranking.__file__).parent
    users = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if "ranking.load(" in file.read_text() or "loading.load(" in file.read_text()
    }
    assert users <= {"services/rounds.py"}


def test_a_superuser_learns_no_answer_before_the_reveal(cast, secret, api, as_user):
    root = User.objects.create_superuser("root@test.example", "x" * 20)
    row = Rating.objects.get()
    for spy in (root, User.objects.create_superuser("other@test.example", "x" * 20, name="facilitator")):
        ScoringRound.objects.filter(pk=secret.pk).update(facilitator=spy)
        for address in doors(secret, cast.ours):
            answer = as_user(spy).get(address)
            body = answer.getvalue().decode(errors="replace")
            assert answer.status_code < 500, address
            assert WORDS not in body, address
            assert not SHOWN.search(body), address
        assert api(spy).get(f"{V1}/ratings").json()["results"] == []
        assert api(spy).get(f"{V1}/ratings/{row.pk}").status_code == 404
        assert api(spy).get(f"{V1}/judgements").json()["results"] == []
    services.round_reveal(actor=root, meeting=secret)
    assert api(spy).get(f"{V1}/ratings/{row.pk}").json()["value"] == SECRET, "the facilitator, once it is revealed"
    assert api(root).get(f"{V1}/ratings/{row.pk}").status_code == 404, "and nobody else by name"
