"""Deputies at a review, reminders to signers and owners, who is told of a regression, and copies that verify."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from portal.core import signing
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from portal.core.signing import StandIn
from tests.test_query_counts import _session
from usecases import gate_history, services
from usecases.models import Gate, GateReview, Signature, Waiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def stand_ins(monkeypatch: Any) -> list[tuple[Any, Any]]:
    """Pairs (who is away, deputy) that hold now."""
    pairs: list[tuple[Any, Any]] = []

    def rule(*, people: Any = None, deputy: Any = None, site: Any = None, now: Any = None) -> list[StandIn]:
        return [
            StandIn(person.pk, other.pk, None, {"id": "named", "reason": "Holiday."})
            for person, other in pairs
            if (people is None or person.pk in people) and (deputy is None or deputy.pk == other.pk)
        ]

    monkeypatch.setattr(signing, "_deputies", rule)
    return pairs


@pytest.fixture
def gate(adopted: Any, facts: Any, cast: Any) -> Any:
    facts.add("a", 2, 95)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    Gate.objects.filter(adoption=adopted, number=2).update(state="open")
    return Gate.objects.select_related("use_case", "adoption__site", "adoption__use_case").get(
        adoption=adopted, number=2
    )


@pytest.fixture
def review(gate: Any, cast: Any, signing_rule: Any) -> Any:
    return services.review_open(actor=cast.plant_manager, gate=gate)


# ---- deputies ----------------------------------------------------------------------------------------------------------


def test_a_deputy_fills_the_place_of_who_is_away(review: Any, cast: Any, stand_ins: Any) -> None:
    stand_ins.append((cast.plant_manager, cast.safety_officer))
    made = services.review_sign(actor=cast.safety_officer, review=review, on_behalf_of=cast.plant_manager)
    assert (made.user, made.on_behalf_of) == (cast.safety_officer, cast.plant_manager)
    assert made.basis["certificate"] == "cert-safety_officer"
    assert made.basis["signed_for"]["basis"]["certificate"] == "cert-plant_manager"
    assert made.basis["deputy"]["reason"] == "Holiday."
    assert made.basis["roles"] == ["plant_manager"]
    services.review_sign(actor=cast.coe_lead, review=review)
    assert services.missing_signatures(review) == []
    review.refresh_from_db()
    services.review_decide(actor=cast.coe_lead, review=review, decision="go")
    assert Notification.objects.filter(user=cast.plant_manager, text__contains="in your place").count() == 1


def test_one_hand_and_one_person_one_place(review: Any, cast: Any, stand_ins: Any) -> None:
    stand_ins += [(cast.plant_manager, cast.coe_lead), (cast.plant_manager, cast.safety_officer)]
    services.review_sign(actor=cast.coe_lead, review=review, on_behalf_of=cast.plant_manager)
    assert len(services.missing_signatures(review)) == 1, "the deputy's own place is not filled by it"
    with pytest.raises(DomainError) as twice:
        services.review_sign(actor=cast.coe_lead, review=review)
    assert twice.value.code == "signed_already"
    for actor, other in ((cast.safety_officer, cast.plant_manager), (cast.plant_manager, None)):
        with pytest.raises(DomainError) as refusal:
            services.review_sign(actor=actor, review=review, on_behalf_of=other)
        assert refusal.value.code == "signed_for_already"
    assert Signature.objects.count() == 1


def test_nobody_signs_for_who_has_signed(review: Any, cast: Any, stand_ins: Any) -> None:
    stand_ins.append((cast.plant_manager, cast.coe_lead))
    services.review_sign(actor=cast.plant_manager, review=review)
    with pytest.raises(DomainError) as refusal:
        services.review_sign(actor=cast.coe_lead, review=review, on_behalf_of=cast.plant_manager)
    assert refusal.value.code == "signed_for_already"


@pytest.mark.parametrize("whose", ["deputy", "person", "nobody named"])
def test_both_need_the_right_at_that_moment(
    review: Any, cast: Any, stand_ins: Any, signing_rule: Any, whose: str
) -> None:
    if whose != "nobody named":
        stand_ins.append((cast.plant_manager, cast.coe_lead))
        signing_rule["refuse"].add({"deputy": cast.coe_lead, "person": cast.plant_manager}[whose].pk)
    with pytest.raises(DomainError) as refusal:
        services.review_sign(actor=cast.coe_lead, review=review, on_behalf_of=cast.plant_manager)
    assert (refusal.value.code, int(refusal.value.status)) == ("may_not_sign", 403)


def test_who_may_not_sign_here_has_no_deputy_here(review: Any, cast: Any, stand_ins: Any) -> None:
    stand_ins.append((cast.ot_engineer, cast.coe_lead))
    with pytest.raises(DomainError) as refusal:
        services.review_sign(actor=cast.coe_lead, review=review, on_behalf_of=cast.ot_engineer)
    assert refusal.value.code == "may_not_sign"


def test_the_page_offers_it_and_shows_it(review: Any, cast: Any, stand_ins: Any, as_user: Any) -> None:
    stand_ins.append((cast.plant_manager, cast.coe_lead))
    page = as_user(cast.coe_lead)
    url = f"/reviews/{review.pk}/"
    assert "for plant_manager, as deputy" in page.get(url).content.decode()
    body = {"approves": "yes", "on_behalf_of": str(cast.plant_manager.pk)}
    assert page.post(f"{url}sign/", body).status_code == 302
    for address in (url, f"{url}print/", f"{url}verify/"):
        assert "for plant_manager" in page.get(address).content.decode(), address
    assert page.post(f"{url}sign/", body).status_code in {409, 422}


def test_the_api_takes_it(review: Any, cast: Any, stand_ins: Any, api: Any) -> None:
    stand_ins.append((cast.plant_manager, cast.coe_lead))
    body = {"on_behalf_of": str(cast.plant_manager.pk)}
    answer = api(cast.coe_lead).post(f"/api/v1/gate-reviews/{review.pk}/sign", body, HTTP_IF_MATCH="*")
    assert answer.json()["on_behalf_of"] == str(cast.plant_manager.pk)


def test_a_review_waits_in_the_deputys_work(review: Any, cast: Any) -> None:
    from coe.services import deputy_name
    from portal.dashboard import work

    def waits(person: Any) -> bool:
        return any(item.kind == "review" for item in work.waiting_for(type(person).objects.get(pk=person.pk)))

    assert (waits(cast.plant_manager), waits(cast.data_steward)) == (True, False)
    deputy_name(
        actor=cast.plant_manager,
        deputy=cast.data_steward,
        site=cast.home,
        valid_until=wall_now() + timedelta(days=9),
        reason="Holiday.",
    )
    assert waits(cast.data_steward)
    services.review_sign(actor=cast.data_steward, review=review, on_behalf_of=cast.plant_manager)
    assert (waits(cast.plant_manager), waits(cast.data_steward)) == (False, False)


# ---- reminders to signers ----------------------------------------------------------------------------------------------


def reminded(person: Any) -> int:
    return Notification.objects.filter(user=person, text__contains="missing").count()


def test_signers_are_reminded_after_two_days_then_every_three_and_once_each(review: Any, cast: Any) -> None:
    GateReview.objects.filter(pk=review.pk).update(signatures_due=None)
    services.review_sign(actor=cast.coe_lead, review=review)
    start = review.created_at
    seen = []
    for hours in range(0, 24 * 9, 6):
        services.gates_remind(now=start + timedelta(hours=hours))
        services.gates_remind(now=start + timedelta(hours=hours))
        seen.append((hours, reminded(cast.plant_manager)))
    assert [next(h for h, n in seen if n == count) for count in (1, 2, 3)] == [48, 120, 192]
    assert reminded(cast.coe_lead) == 0, "has signed"
    assert reminded(cast.ot_engineer) == 0, "signs nothing"


def test_a_day_before_the_date_and_on_it(review: Any, cast: Any) -> None:
    due = review.created_at + timedelta(days=1, hours=12)
    GateReview.objects.filter(pk=review.pk).update(signatures_due=due)
    services.gates_remind(now=due - timedelta(hours=25))
    assert reminded(cast.plant_manager) == 0
    services.gates_remind(now=due - timedelta(hours=23))
    services.gates_remind(now=due - timedelta(hours=1))
    assert reminded(cast.plant_manager) == 1
    services.gates_remind(now=due + timedelta(minutes=1))
    assert reminded(cast.plant_manager) == 2
    assert "It was wanted by" in Notification.objects.filter(user=cast.plant_manager).latest("created_at").text


def test_the_deputy_is_reminded_too(review: Any, cast: Any, stand_ins: Any) -> None:
    stand_ins.append((cast.plant_manager, cast.data_steward))
    services.gates_remind(now=review.created_at + timedelta(days=3))
    line = Notification.objects.get(user=cast.data_steward, text__contains="missing")
    assert "for plant_manager" in line.text


def test_reminding_does_not_make_an_open_page_stale(review: Any, cast: Any) -> None:
    before = review.version
    services.gates_remind(now=review.created_at + timedelta(days=3))
    review.refresh_from_db()
    assert (review.version, review.reminded_at is not None) == (before, True)


def test_by_hand_once_an_hour(review: Any, cast: Any, as_user: Any, api: Any) -> None:
    assert services.review_remind(actor=cast.plant_manager, review=review) >= 2
    with pytest.raises(DomainError) as refusal:
        services.review_remind(actor=cast.coe_lead, review=GateReview.objects.get(pk=review.pk))
    assert refusal.value.code == "reminded_already"
    assert "Again in" in refusal.value.message
    page = as_user(cast.plant_manager).post(f"/reviews/{review.pk}/remind/", follow=True).content.decode()
    assert "They were reminded" in page
    assert (
        api(cast.plant_manager).post(f"/api/v1/gate-reviews/{review.pk}/remind", HTTP_IF_MATCH="*").status_code == 409
    )
    later = wall_now() + timedelta(hours=2)
    assert services.review_remind(actor=cast.coe_lead, review=review, now=later)
    assert AuditEntry.objects.filter(action="review.remind").count() == 2
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    with pytest.raises(DomainError) as done:
        services.review_remind(actor=cast.coe_lead, review=review, now=later + timedelta(hours=2))
    assert done.value.code == "nobody_missing"


def test_the_date_can_be_moved(review: Any, cast: Any, as_user: Any) -> None:
    page = as_user(cast.plant_manager)
    due = (wall_now() + timedelta(days=12)).strftime("%Y-%m-%dT%H:%M")
    assert page.post(f"/reviews/{review.pk}/wanted-by/", {"signatures_due": due}).status_code == 302
    review.refresh_from_db()
    assert review.signatures_due.strftime("%Y-%m-%dT%H:%M") == due
    assert page.post(f"/reviews/{review.pk}/wanted-by/", {"signatures_due": "2001-01-01T10:00"}).status_code == 400
    with pytest.raises(InvalidInput):
        services.review_want_by(actor=cast.coe_lead, review=review, signatures_due=wall_now() + timedelta(days=400))


# ---- reminders to owners -----------------------------------------------------------------------------------------------


def test_a_waiver_is_announced_fourteen_and_three_days_before_its_end_and_when_it_has_ended(
    gate: Any, cast: Any, facts: Any, signing_rule: Any
) -> None:
    facts["a"] = 10
    now = wall_now()
    services.waiver_grant(
        actor=cast.plant_manager, gate=gate, key="a", reason="On order", expires_at=now + timedelta(days=30)
    )
    told = []
    for day in range(32):
        services.gates_remind(now=now + timedelta(days=day, minutes=1))
        told.append(Notification.objects.filter(user=cast.plant_manager, kind="waiver").count())
    assert [told.index(n) for n in (1, 2, 3)] == [16, 27, 30]


def test_a_short_waiver_is_not_announced_the_moment_it_is_granted(gate: Any, cast: Any, signing_rule: Any) -> None:
    services.waiver_grant(
        actor=cast.plant_manager, gate=gate, key="a", reason="On order", expires_at=wall_now() + timedelta(days=5)
    )
    services.gates_remind()
    assert not Notification.objects.filter(kind="waiver").exists()


def test_an_expired_waiver_reopens_a_passed_gate(gate: Any, cast: Any, facts: Any, signing_rule: Any) -> None:
    facts["a"] = 10
    facts.add("b", 2, 95)
    ends = wall_now() + timedelta(days=5)
    services.waiver_grant(actor=cast.plant_manager, gate=gate, key="a", reason="On order", expires_at=ends)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    services.gate_measure(gate=gate, now=ends - timedelta(minutes=1))
    gate.refresh_from_db()
    assert gate.state == "passed"
    services.gate_measure(gate=gate, now=ends + timedelta(minutes=1))
    gate.refresh_from_db()
    assert gate.state == "reopened"
    assert Waiver.objects.get().expires_at == ends


def test_a_conditions_owner_is_reminded(gate: Any, cast: Any, facts: Any, signing_rule: Any) -> None:
    facts.add("b", 2, 10)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    now = wall_now()
    terms = [services.Term("b", owner=cast.ot_engineer, due_at=now + timedelta(days=20))]
    services.review_decide(actor=cast.plant_manager, review=review, decision="conditional_go", terms=terms)
    told = []
    for day in range(23):
        services.gates_remind(now=now + timedelta(days=day, minutes=1))
        told.append(Notification.objects.filter(user=cast.ot_engineer, kind="condition").count())
    assert [told.index(n) for n in (1, 2, 3, 4)] == [0, 6, 17, 20]


def test_what_an_earlier_decision_asked_for_is_not_reminded(
    gate: Any, cast: Any, facts: Any, signing_rule: Any
) -> None:
    facts.add("b", 2, 10)
    now = wall_now()
    due = now + timedelta(days=2)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    asked = [services.Term(text="Fence the robot", owner=cast.ot_engineer, due_at=due)]
    services.review_decide(actor=cast.plant_manager, review=review, decision="recycle", note="Not yet.", terms=asked)
    gate.refresh_from_db()
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    asked = [services.Term("b", owner=cast.ot_engineer, due_at=due)]
    services.review_decide(actor=cast.plant_manager, review=review, decision="conditional_go", terms=asked)
    Notification.objects.all().delete()
    services.gates_remind(now=due + timedelta(minutes=1))
    assert [n.text.split(" (")[0] for n in Notification.objects.filter(user=cast.ot_engineer, kind="condition")] == [
        f"Overdue since {day_text(due.date())}: Criterion b"
    ]


# ---- regression, copies ------------------------------------------------------------------------------------------------


def test_everybody_concerned_is_told_what_and_where(gate: Any, cast: Any, facts: Any, signing_rule: Any) -> None:
    cast.ours.owner, cast.ours.sponsor = cast.data_scientist, cast.executive
    cast.ours.save()
    gate = Gate.objects.select_related("use_case", "adoption__site", "adoption__use_case").get(pk=gate.pk)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead, cast.edge_architect):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    facts["a"] = 20
    services.gate_measure(gate=Gate.objects.get(pk=gate.pk))
    lines = Notification.objects.filter(text__contains="is reopened")
    told = {str(line.user) for line in lines}
    assert {"data_scientist", "executive", "plant_manager", "coe_lead", "edge_architect"} <= told
    assert "stranger" not in told
    assert lines[0].url == f"/gates/{gate.pk}/#evidence-a"
    assert "Criterion a (a is 20)" in lines[0].text
    assert "stops new rollouts" in lines[0].text
    assert "keeps serving" in lines[0].text


def test_a_downloaded_document_has_the_hash_that_was_signed(review: Any, cast: Any, as_user: Any, api: Any) -> None:
    page = as_user(cast.ot_engineer)
    content = page.get(f"/reviews/{review.pk}/document.json").content
    assert hashlib.sha256(content).hexdigest() == review.snapshot_sha256
    client = api(cast.ot_engineer)
    assert client.get(f"/api/v1/gate-reviews/{review.pk}/document").content == content
    checked = client.post(f"/api/v1/gate-reviews/{review.pk}/check", {"text": content.decode()}, HTTP_IF_MATCH="*")
    assert checked.json()["same_bytes"] is True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text, "Byte by byte"),
        (lambda text: json.dumps(json.loads(text), indent=2), "every value is the one that was signed"),
        (lambda text: text.replace('"value":95', '"value":97'), "$.criteria[a].value: 95 → 97"),
        (lambda text: text.replace('"state":"met"', '"state":"not_met"'), "$.criteria[a].state"),
        (lambda text: text[:-1], "This is no JSON document."),
        (lambda text: "[" * 100_000, "This is no JSON document."),
        (lambda text: "{}", "$.criteria"),
    ],
)
def test_a_copy_is_held_against_what_was_signed(review: Any, cast: Any, as_user: Any, change: Any, says: str) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.utils.html import escape

    sent = SimpleUploadedFile("copy.json", change(review.snapshot_text).encode(), "application/json")
    answer = as_user(cast.ot_engineer).post(f"/reviews/{review.pk}/verify/", {"document": sent})
    assert escape(says) in answer.content.decode()


def test_a_changed_store_is_found_whichever_of_the_two_was_changed(review: Any, cast: Any) -> None:
    text = review.snapshot_text.replace('"value":95', '"value":99')
    GateReview.objects.filter(pk=review.pk).update(snapshot_text=text)
    fresh = GateReview.objects.get(pk=review.pk)
    found = services.review_verify(fresh)
    assert not found["valid"]
    assert found["of_text"] != found["stored"] == found["computed"]
    assert found["differences"] == ["$.criteria[a].value: 99 → 95"]


# ---- history -----------------------------------------------------------------------------------------------------------


def test_the_whole_history_in_one_timeline(
    gate: Any, cast: Any, facts: Any, signing_rule: Any, as_user: Any, api: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    services.waiver_grant(
        actor=cast.plant_manager, gate=gate, key="a", reason="=On order", expires_at=wall_now() + timedelta(days=5)
    )
    services.comment_create(actor=cast.ot_engineer, gate=gate, text="Seen it", key="a")
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    facts["a"] = 1
    services.waiver_revoke(actor=cast.safety_officer, waiver=Waiver.objects.get())
    services.gate_measure(gate=Gate.objects.get(pk=gate.pk))
    page = as_user(cast.ot_engineer)
    url = f"/gates/{gate.pk}/history/"
    text = page.get(url).content.decode()
    for words in (
        "Waived until",
        "Waiver taken back",
        "Comment on",
        "Evidence frozen",
        "Signed for it",
        "Decided: Go",
        "Reopened",
    ):
        assert words in text, words
    with CaptureQueriesContext(connection) as seen:
        page.get(url)
    asked = [q["sql"] for q in seen.captured_queries if not _session(q["sql"])]
    assert len(asked) <= 12, "\n".join(sql[:150] for sql in asked)
    assert "Signed for it" not in page.get(f"{url}?kind=comment&kind=waiver").content.decode()
    only = page.get(f"{url}?key=a&kind=comment").content.decode()
    assert "1 moment" in only
    assert "Nothing like that" in page.get(f"{url}?until=2001-01-01").content.decode()
    assert page.get(f"{url}?since=nonsense&until=2013-02-31&key=x&kind=y&page=zz").status_code == 200
    sheet = b"".join(page.get(f"{url}?export=csv").streaming_content).decode()
    assert "'=On order" in sheet
    rows = api(cast.ot_engineer).get(f"/api/v1/gates/{gate.pk}/history?kind=review").json()
    assert [row["what"] for row in rows["results"]] == ["Decided: Go", "Evidence frozen, review opened"]
    assert rows["count"] == 2
    assert api(cast.stranger).get(f"/api/v1/gates/{gate.pk}/history").status_code == 404


def test_the_history_says_whose_hand_ended_a_waiver_or_a_review_and_when_the_gate_opened(
    gate: Any, cast: Any, facts: Any, signing_rule: Any, as_user: Any
) -> None:
    until = wall_now() + timedelta(days=5)
    services.waiver_grant(actor=cast.plant_manager, gate=gate, key="a", reason="On order", expires_at=until)
    services.waiver_revoke(actor=cast.safety_officer, waiver=Waiver.objects.get())
    told = Notification.objects.filter(user=cast.plant_manager, text__contains="took back the waiver of Criterion a")
    assert told.count() == 1
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    services.review_withdraw(actor=cast.coe_lead, review=review, reason="Too early")
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    decided = Notification.objects.filter(user=cast.coe_lead, text__contains="decided Gate 2")
    assert [line.text.rsplit(": ", 1)[1] for line in decided] == ["Go."]
    found = {m.what: m for m in gate_history.lines(gate_history.moments(gate, gate_history.Asked()))}
    assert found["Waiver taken back: Criterion a"].who == str(cast.safety_officer)
    assert found["Review withdrawn"].who == str(cast.coe_lead)
    third = Gate.objects.get(adoption=gate.adoption, number=3)
    assert third.state == "open"
    opened = list(gate_history.lines(gate_history.moments(third, gate_history.Asked())))
    assert [(m.what, m.who) for m in opened] == [("Opened: the gate before it is passed", str(cast.plant_manager))]
    page = as_user(cast.plant_manager).get(gate.get_absolute_url()).content.decode()
    foot = page[page.index('id="history"') :]
    assert "Nothing has been changed" not in foot
    assert "Review: sign" in foot, "signatures and waivers are part of the gate's story"


def test_a_phase_5_not_pursued_stands_in_its_gates_history(adopted: Any, cast: Any) -> None:
    services.use_case_not_pursue(actor=cast.coe_lead, use_case=adopted.use_case, reason="For ourselves only")
    fifth = Gate.objects.get(use_case=adopted.use_case, number=5)
    (line,) = gate_history.lines(gate_history.moments(fifth, gate_history.Asked()))
    assert (line.what, line.who, line.text) == ("Not pursued", str(cast.coe_lead), "For ourselves only")
