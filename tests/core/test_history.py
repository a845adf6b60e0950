"""The history of a record says in words what was done, and when, as every page writes it."""

from types import SimpleNamespace

import pytest
from django.template.loader import render_to_string

from portal.core.clock import wall_now
from portal.core.templatetags.phasegate import deed, plainly


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("model.standing_approval", "Model: standing approval"),
        ("scoringround.second_vote", "Scoring round: second vote"),
        ("login", "Login"),
        ("signed_until", "Signed until"),
    ],
)
def test_codes_in_words(code: str, words: str):
    assert deed(code) == words


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("2027-02-20 18:50:54.679753+00:00", "20 Feb 2027, 18:50"),
        ("2027-02-20T18:50:54Z", "20 Feb 2027, 18:50"),
        ("2027-02-20 is the day after", "2027-02-20 is the day after"),
        (7, 7),
        (0.30000000000000004, "0.3"),
        (1234567.891, "1,234,567.891"),
    ],
)
def test_moments_as_every_page_writes_them(stored: object, shown: object):
    assert plainly(stored) == shown


def test_an_entry_without_a_sentence():
    entry = SimpleNamespace(
        at=wall_now(),
        actor_label="Sofia",
        summary="",
        action="model.standing_approval",
        via="page",
        changes={"until": "2027-02-20 18:50:54.679753+00:00"},
    )
    said = render_to_string("components/history.html", {"entries": [entry]})
    assert "Model: standing approval" in said
    assert "Until: 20 Feb 2027, 18:50" in said
    assert "<code>" not in said
