"""Comments: who can be mentioned, who is told, what can be put right and taken back, and that nothing runs in a reader's page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from usecases import services
from usecases.models import Gate, GateComment
from usecases.services.comments import named_in
from usecases.views.comments import comment_html

pytestmark = pytest.mark.django_db


@pytest.fixture
def gate(adopted: Any, facts: Any) -> Any:
    facts.add("a", 2, 80)
    return Gate.objects.select_related("use_case", "adoption__site").get(adoption=adopted, number=2)


def say(cast: Any, gate: Any, text: str, **extra: Any) -> GateComment:
    return services.comment_create(actor=extra.pop("actor", cast.plant_manager), gate=gate, text=text, **extra)


def test_who_is_mentioned_is_told_once_with_a_link(cast: Any, gate: Any) -> None:
    made = say(cast, gate, "@ot_engineer please look at it", mentions=[cast.ot_engineer, cast.data_scientist])
    assert {p.pk for p in made.mentions.all()} == {cast.ot_engineer.pk, cast.data_scientist.pk}
    services.comment_edit(actor=cast.plant_manager, comment=made, text="@ot_engineer please look at this")
    lines = Notification.objects.filter(kind="mention")
    assert sorted(str(line.user) for line in lines) == ["data_scientist", "ot_engineer"]
    assert lines[0].url == f"/gates/{gate.pk}/#comment-{made.pk}"
    assert AuditEntry.objects.filter(object_id=str(made.pk)).count() == 2


def test_the_author_is_not_told_of_a_mention_of_oneself(cast: Any, gate: Any) -> None:
    say(cast, gate, "@plant_manager, remember")
    assert not Notification.objects.filter(kind="mention").exists()


@pytest.mark.parametrize("how", ["text", "picker"])
def test_who_may_not_see_the_gate_is_refused_by_name_and_nothing_is_kept(cast: Any, gate: Any, how: str) -> None:
    asked: dict[str, Any] = {"mentions": [cast.stranger, cast.ot_engineer]} if how == "picker" else {}
    with pytest.raises(InvalidInput) as refusal:
        say(cast, gate, "Look" if asked else "@stranger and @ot_engineer, look", **asked)
    assert refusal.value.errors[0]["field"] == "mentions"
    assert "stranger" in refusal.value.errors[0]["message"]
    assert "ot_engineer" not in refusal.value.errors[0]["message"]
    assert not GateComment.objects.exists()
    assert not Notification.objects.filter(kind="mention").exists()


def test_names_in_a_text(cast: Any) -> None:
    from tests.factories import make_user

    short, long = make_user("anna@x.example", name="Anna"), make_user("gruber@x.example", name="Anna Gruber")

    def who(text: str) -> set[str]:
        return {str(person) for person in named_in(text)}

    assert who("@Anna Gruber and @anna.") == {"Anna", "Anna Gruber"}
    assert who("@Anna Gruber only") == {"Anna Gruber"}
    assert who("(@ANNA)") == {"Anna"}
    assert who("@Annabel") == set()
    assert who("write to x@Anna or me") == set()
    assert who("@gruber@x.example") == {"Anna Gruber"}
    assert who("nobody") == set()
    assert short.pk != long.pk


def test_text_is_plain_and_links_are_safe() -> None:
    shown = comment_html(
        "<script>alert(1)</script> @Anna https://example.org/a?b=1&c=2 javascript:alert(1)\n\nNext", ["Anna"]
    )
    assert "<script>" not in shown
    assert '<b class="pg-mention">@Anna</b>' in shown
    assert 'href="https://example.org/a?b=1&amp;c=2"' in shown
    assert 'rel="nofollow"' in shown
    assert 'href="javascript' not in shown
    assert shown.count("<p>") == 2
    assert "&lt;b&gt;" in comment_html("<b>", ['<img src=x onerror="1">'])
    assert "<img" not in comment_html('@<img src=x onerror="1">', ['<img src=x onerror="1">'])


def test_fifteen_minutes_to_put_it_right(cast: Any, gate: Any) -> None:
    made = say(cast, gate, "Fisrt")
    services.comment_edit(actor=cast.plant_manager, comment=made, text="First")
    made.refresh_from_db()
    assert (made.text, made.edited_at is not None) == ("First", True)
    GateComment.objects.filter(pk=made.pk).update(created_at=wall_now() - timedelta(minutes=16))
    made.refresh_from_db()
    with pytest.raises(DomainError) as late:
        services.comment_edit(actor=cast.plant_manager, comment=made, text="Second")
    assert late.value.code == "too_late"


def test_withdrawn_words_are_gone_and_the_place_stays(cast: Any, gate: Any, as_user: Any) -> None:
    made = say(cast, gate, "@ot_engineer is slow", mentions=[cast.ot_engineer])
    services.comment_withdraw(actor=cast.plant_manager, comment=made)
    page = as_user(cast.ot_engineer).get(f"/gates/{gate.pk}/comments/").content.decode()
    assert "withdrawn" in page
    assert "slow" not in page
    assert "slow" not in Notification.objects.get(kind="mention").text
    for verb in (services.comment_withdraw, services.comment_edit):
        with pytest.raises(DomainError):
            verb(actor=cast.plant_manager, comment=made, **({"text": "x"} if verb is services.comment_edit else {}))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": "  \n "}, "text"),
        ({"text": "x" * 4001}, "text"),
        ({"key": "nothing"}, "key"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(cast: Any, gate: Any, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        say(cast, gate, **({"text": "Fine"} | change))
    assert [e["field"] for e in refusal.value.errors] == [field]


def test_a_review_of_another_gate_is_refused(cast: Any, gate: Any, signing_rule: Any) -> None:
    one = Gate.objects.get(use_case=cast.ours, number=1)
    with pytest.raises(InvalidInput):
        say(cast, gate, "Hm", review=services.review_open(actor=cast.plant_manager, gate=one))


def test_page_and_partial_with_etag(cast: Any, gate: Any, as_user: Any) -> None:
    page = as_user(cast.ot_engineer)
    url = f"/gates/{gate.pk}/comments/"
    live = {"HTTP_HX_REQUEST": "true"}
    first = page.get(url, **live)
    assert "<html" not in first.content.decode()
    assert page.get(url, **live, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    say(cast, gate, "New", key="a")
    second = page.get(url, **live, HTTP_IF_NONE_MATCH=first["ETag"])
    assert second.status_code == 200
    assert "Criterion a" in second.content.decode()
    assert "<html" in page.get(url).content.decode(), "without scripts it is a page"


def test_writing_without_scripts_by_the_picker(cast: Any, gate: Any, as_user: Any) -> None:
    page = as_user(cast.plant_manager)
    url = f"/gates/{gate.pk}/comments/new/"
    form = page.get(url + "?key=a").content.decode()
    assert f'value="{cast.ot_engineer.pk}"' in form
    assert str(cast.stranger.pk) not in form
    answer = page.post(url, {"text": "See\r\nbelow", "key": "a", "mentions": [str(cast.ot_engineer.pk)]})
    made = GateComment.objects.get()
    assert answer["Location"].endswith(f"#comment-{made.pk}")
    assert (made.text, made.key) == ("See\nbelow", "a")
    kept = page.post(url, {"text": "@stranger hello", "key": "a"})
    assert kept.status_code == 400
    text = kept.content.decode()
    assert "@stranger hello" in text, "what was typed is kept"
    assert "cannot be mentioned here: stranger" in text


def test_only_the_author_changes_and_a_stale_edit_is_refused(cast: Any, gate: Any, api: Any) -> None:
    made = say(cast, gate, "Mine")
    url = f"/api/v1/gate-comments/{made.pk}"
    assert api(cast.coe_lead).patch(url, {"text": "Yours"}).status_code == 403
    assert api(cast.stranger).get(url).status_code == 404
    mine = api(cast.plant_manager)
    tag = mine.get(url)["ETag"]
    assert mine.patch(url, {"text": "Better"}, HTTP_IF_MATCH=tag).json()["edited_at"]
    assert mine.patch(url, {"text": "Best"}, HTTP_IF_MATCH=tag).status_code == 412
    assert mine.patch(url, {"key": "a"}).status_code == 400
    assert mine.post(f"{url}/withdraw").json()["text"] == ""


def test_the_api_writes_and_lists(cast: Any, gate: Any, api: Any) -> None:
    mine = api(cast.ot_engineer)
    made = mine.post("/api/v1/gate-comments", {"gate": str(gate.pk), "text": "@data_scientist?", "key": "a"})
    assert made.status_code == 201, made.content
    assert made.json()["mentions"] == [str(cast.data_scientist.pk)]
    assert mine.get(f"/api/v1/gate-comments?gate={gate.pk}&key=a").json()["results"][0]["text"] == "@data_scientist?"
    refused = mine.post(
        "/api/v1/gate-comments", {"gate": str(gate.pk), "text": "Hi", "mentions": [str(cast.stranger.pk)]}
    )
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "mentions"


def test_comments_are_not_evidence(cast: Any, gate: Any, signing_rule: Any) -> None:
    Gate.objects.filter(pk=gate.pk).update(state="open")
    gate.refresh_from_db()
    say(cast, gate, "A word nobody froze")
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    before = review.snapshot_sha256
    say(cast, gate, "Another", review=review)
    assert "nobody froze" not in review.snapshot_text
    assert services.review_verify(review)["valid"]
    assert review.snapshot_sha256 == before
