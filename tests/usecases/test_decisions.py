"""What a decision asks for and moves: conditions with owners and dates, what to redo, a hold's end, a kill's name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from usecases import consequences, evidence, selectors, services
from usecases.models import Gate, GateCondition
from usecases.services import Term

pytestmark = pytest.mark.django_db


@pytest.fixture
def gate(adopted: Any, facts: Any, cast: Any) -> Any:
    facts.add("a", 2, 95)
    facts.add("b", 2, 10)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    Gate.objects.filter(adoption=adopted, number=2).update(state="open")
    return Gate.objects.select_related("use_case", "adoption__site", "adoption__use_case").get(
        adoption=adopted, number=2
    )


def opened(gate: Any, cast: Any) -> Any:
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    return review


def decide(review: Any, cast: Any, decision: str, **extra: Any) -> Any:
    return services.review_decide(actor=cast.plant_manager, review=review, decision=decision, **extra)


@pytest.fixture
def review(gate: Any, cast: Any, signing_rule: Any) -> Any:
    return opened(gate, cast)


def in_days(days: float) -> Any:
    return wall_now() + timedelta(days=days)


def test_each_open_criterion_becomes_a_condition_with_its_owner_and_date(review: Any, cast: Any) -> None:
    due = in_days(20)
    decide(review, cast, "conditional_go", terms=[Term("b", owner=cast.ot_engineer, due_at=due)])
    row = GateCondition.objects.get()
    assert (row.kind, row.key, row.owner, row.due_at) == ("condition", "b", cast.ot_engineer, due)
    assert review.conditions_due == due
    assert review.conditions.startswith("Criterion b: ot_engineer")
    assert Notification.objects.filter(user=cast.ot_engineer, kind="condition").count() == 1


def test_a_criterion_nobody_named_is_a_condition_all_the_same(review: Any, cast: Any) -> None:
    decide(review, cast, "conditional_go", terms=[Term(text="Train the night shift", owner=cast.data_steward)])
    rows = GateCondition.objects.order_by("key")
    assert [(r.key, r.owner) for r in rows] == [("", cast.data_steward), ("b", cast.plant_manager)]
    assert all(r.due_at and r.due_at > in_days(29) for r in rows)


def test_evidence_closes_its_condition_and_people_close_theirs(review: Any, cast: Any, facts: Any) -> None:
    decide(review, cast, "conditional_go", terms=[Term(text="Train the night shift", owner=cast.ot_engineer)])
    gate = review.gate
    facts["b"] = 95
    services.gate_measure(gate=gate)
    gate.refresh_from_db()
    assert gate.state == "conditional", "the sentence is still open"
    measured = GateCondition.objects.get(key="b")
    assert measured.met_at is not None
    with pytest.raises(DomainError) as by_hand:
        services.condition_meet(actor=cast.plant_manager, condition=measured, note="Looks fine.")
    assert by_hand.value.code == "measured"
    said = GateCondition.objects.get(key="")
    services.condition_meet(actor=cast.ot_engineer, condition=said, note="List of names in the shift book.")
    services.gate_measure(gate=gate)
    gate.refresh_from_db()
    assert gate.state == "passed"
    assert AuditEntry.objects.filter(action="condition.met").count() == 2


def test_a_sentence_still_open_on_its_date_reopens_and_is_quoted(review: Any, cast: Any, facts: Any) -> None:
    decide(review, cast, "conditional_go", terms=[Term(text="Train the night shift", owner=cast.ot_engineer)])
    facts["b"] = 95
    gate = review.gate
    services.gate_measure(gate=gate, now=in_days(29))
    gate.refresh_from_db()
    assert gate.state == "conditional"
    services.gate_measure(gate=gate, now=in_days(31))
    gate.refresh_from_db()
    assert gate.state == "reopened"
    assert "Train the night shift" in gate.reopened_reason


def test_a_condition_once_met_may_regress_like_the_others_with_its_grace(
    gate: Any, cast: Any, facts: Any, signing_rule: Any
) -> None:
    facts["b"] = 95
    facts.add("c", 2, 10, grace=timedelta(hours=2))
    decide(opened(gate, cast), cast, "conditional_go", conditions="c by then")
    gate.refresh_from_db()
    facts["c"] = 95
    services.gate_measure(gate=gate)
    gate.refresh_from_db()
    assert gate.state == "passed"
    facts["c"] = 10
    late = in_days(40)
    services.gate_measure(gate=gate, now=late)
    gate.refresh_from_db()
    assert gate.state == "passed", "slipped: its grace runs, though the condition's date is over"
    services.gate_measure(gate=gate, now=late + timedelta(hours=3))
    gate.refresh_from_db()
    assert gate.state == "reopened"
    assert "Criterion c (c is 10)" in gate.reopened_reason


def test_who_owns_a_condition_must_see_the_gate(review: Any, cast: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decide(review, cast, "conditional_go", terms=[Term("b", owner=cast.stranger)])
    assert "stranger" in refusal.value.errors[0]["message"]


@pytest.mark.parametrize(
    "terms",
    [
        [Term("a")],
        [Term("nothing")],
        [Term("b"), Term("b")],
        [Term("b", due_at=wall_now() - timedelta(days=1))],
        [Term("b", due_at=wall_now() + timedelta(days=400))],
    ],
    ids=["met already", "unknown", "twice", "past", "too late"],
)
def test_wrong_conditions_are_refused(review: Any, cast: Any, terms: list[Term]) -> None:
    with pytest.raises(InvalidInput):
        decide(review, cast, "conditional_go", terms=terms)
    assert not GateCondition.objects.exists()


def test_what_later_decisions_are_measured_against_cannot_be_left_open(
    gate: Any, cast: Any, facts: Any, signing_rule: Any
) -> None:
    facts.add("e", 2, 10, essential=True)
    with pytest.raises(DomainError) as refusal:
        decide(opened(gate, cast), cast, "conditional_go", conditions="later")
    assert refusal.value.code == "essential_open"
    assert "Criterion e" in refusal.value.message


def test_a_recycle_sends_back_what_was_open_and_shows_it_until_it_is_done(
    review: Any, cast: Any, facts: Any, as_user: Any
) -> None:
    decide(review, cast, "recycle", note="Too early.")
    gate = review.gate
    assert gate.state == "open"
    assert [(r.kind, r.key) for r in GateCondition.objects.all()] == [("redo", "b")]
    page = as_user(cast.plant_manager).get(f"/gates/{gate.pk}/").content.decode()
    assert "To redo before the next review" in page
    facts["b"] = 95
    services.gate_measure(gate=Gate.objects.get(pk=gate.pk))
    assert GateCondition.objects.get().met_at is not None
    pass_on = opened(Gate.objects.get(pk=gate.pk), cast)
    decide(pass_on, cast, "go")
    page = as_user(cast.plant_manager).get(f"/gates/{gate.pk}/").content.decode()
    assert "To redo before the next review" not in page


def test_a_recycle_takes_the_list_it_is_given(review: Any, cast: Any) -> None:
    terms = [Term("a", owner=cast.ot_engineer), Term(text="Calibrate the probe", owner=cast.ot_engineer)]
    decide(review, cast, "recycle", note="Not convincing.", terms=terms)
    assert sorted(r.key for r in GateCondition.objects.all()) == ["", "a"]


def test_a_hold_has_an_end(adopted: Any, facts: Any, cast: Any, signing_rule: Any) -> None:
    facts.add("c", 1, 95)
    gate = Gate.objects.select_related("use_case").get(use_case=cast.ours, number=1)
    decide(services.review_open(actor=cast.plant_manager, gate=gate), cast, "hold", note="No budget before May.")
    cast.ours.refresh_from_db()
    gate.refresh_from_db()
    assert (gate.state, cast.ours.state) == ("held", "held")
    gate = Gate.objects.select_related("use_case").get(pk=gate.pk)
    services.gate_resume(actor=cast.plant_manager, gate=gate, note="Budget came.")
    cast.ours.refresh_from_db()
    assert (gate.state, cast.ours.state) == ("open", "active")
    assert AuditEntry.objects.get(action="gate.resume").changes["note"] == "Budget came."
    with pytest.raises(DomainError):
        services.gate_resume(actor=cast.plant_manager, gate=gate)


def test_nothing_is_reviewed_in_a_killed_use_case(gate: Any, cast: Any, facts: Any, signing_rule: Any) -> None:
    gate.use_case.state = "killed"
    gate.use_case.save()
    with pytest.raises(DomainError) as refusal:
        services.review_open(actor=cast.plant_manager, gate=gate)
    assert "killed" in refusal.value.message


def test_consequences_are_said_before_the_click(review: Any, cast: Any, as_user: Any) -> None:
    does = {o["value"]: o for o in consequences.options(review)}
    assert not does["go"]["allowed"]
    assert "Criterion b" in does["go"]["why"]
    assert "reopens the gate by itself" in " ".join(does["conditional_go"]["effects"])
    assert "Criterion b" in " ".join(does["conditional_go"]["effects"])
    assert "other sites go on" in " ".join(does["kill"]["effects"])
    page = as_user(cast.plant_manager).get(f"/reviews/{review.pk}/").content.decode()
    for option in does.values():
        for line in option["effects"] if option["allowed"] else [option["why"]]:
            assert line.replace("“", "“") in page.replace("&#x27;", "'")
    assert f"type “{services.name_to_type(review.gate)}”" in page


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_gate_says_what_each_decision_does(adopted: Any, cast: Any, number: int) -> None:
    gate = Gate.objects.get(use_case=cast.ours, number=number)
    said = consequences.effects(gate)
    assert set(said) == {"go", "conditional_go", "hold", "recycle", "kill"}
    assert all(line for lines in said.values() for line in lines)


def test_the_page_decides_with_conditions_and_keeps_what_was_typed(review: Any, cast: Any, as_user: Any) -> None:
    page = as_user(cast.plant_manager)
    url = f"/reviews/{review.pk}/decide/"
    body = {"version": review.version, "decision": "conditional_go", "owner_b": str(cast.ot_engineer.pk)}
    refused = page.post(url, body | {"due_b": "2001-01-01T10:00", "conditions": "Train them"})
    assert refused.status_code == 400
    assert "Train them" in refused.content.decode()
    due = in_days(9).strftime("%Y-%m-%dT%H:%M")
    assert page.post(url, body | {"due_b": due, "conditions": "Train them"}).status_code == 302
    assert sorted((r.key, str(r.owner)) for r in GateCondition.objects.all()) == [
        ("", "plant_manager"),
        ("b", "ot_engineer"),
    ]
    shown = page.get(f"/gates/{review.gate_id}/").content.decode()
    assert "Passed with conditions; the first is due on" in shown
    assert "Train them" in shown


def test_the_page_kills_with_the_name_only(review: Any, cast: Any, as_user: Any) -> None:
    page = as_user(cast.plant_manager)
    body = {"version": review.version, "decision": "kill", "note": "No value."}
    refused = page.post(f"/reviews/{review.pk}/decide/", body)
    assert refused.status_code == 400
    assert 'id="id_confirm_error"' in refused.content.decode()
    name = services.name_to_type(review.gate)
    assert page.post(f"/reviews/{review.pk}/decide/", body | {"confirm": name}).status_code == 302
    review.gate.refresh_from_db()
    assert review.gate.state == "killed"


def test_the_api_decides_with_terms(review: Any, cast: Any, api: Any) -> None:
    me = api(cast.plant_manager)
    url = f"/api/v1/gate-reviews/{review.pk}"
    tag = me.get(url)["ETag"]
    body = {"decision": "conditional_go", "terms": [{"key": "b", "owner": str(cast.ot_engineer.pk)}]}
    assert me.post(f"{url}/decide", body).status_code == 428
    assert me.post(f"{url}/decide", body, HTTP_IF_MATCH=tag).json()["decision"] == "conditional_go"
    row = me.get(f"/api/v1/gate-conditions?review={review.pk}&met=false").json()["results"][0]
    assert (row["key"], row["owner"]) == ("b", str(cast.ot_engineer.pk))
    assert api(cast.stranger).get(f"/api/v1/gate-conditions/{row['id']}").status_code == 404


def test_a_criterion_of_another_app_appears_everywhere_without_a_change_here(
    gate: Any, cast: Any, facts: Any, as_user: Any, api: Any, signing_rule: Any
) -> None:
    """What an app above registers in ``AppConfig.ready`` is all that it takes."""
    measured = wall_now() - timedelta(hours=1)
    evidence.register(
        evidence.CriterionSpec(
            "other.vibration", 2, "Vibration health", "Is the spindle quiet?", "mm/s", evidence.Comparator.AT_MOST, 4.5,
            lambda subject: evidence.Measurement.of(
                2.8, "2.8 mm/s at the spindle.", measured_at=measured, link="/batches/?q=1", plant_at=measured
            ),
            "OT engineer", max_age=timedelta(days=7), order=5,
        )
    )  # fmt: skip
    services.gate_measure(gate=gate)
    page = as_user(cast.ot_engineer).get(f"/gates/{gate.pk}/").content.decode()
    for words in (
        "Vibration health",
        "2.8",
        "at most 4.5 mm/s",
        "at most 7 days old",
        "OT engineer",
        'href="/batches/?q=1"',
    ):
        assert words in page, words
    client = api(cast.ot_engineer)
    asked = {row["key"]: row for row in client.get(f"/api/v1/gates/{gate.pk}/criteria").json()}
    assert asked["other.vibration"]["state"] == "met"
    assert asked["other.vibration"]["max_age_seconds"] == 7 * 86_400
    assert client.get("/api/v1/evidence?key=other.vibration").json()["results"][0]["value"] == 2.8
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    frozen = next(row for row in review.snapshot["criteria"] if row["key"] == "other.vibration")
    assert (frozen["threshold"], frozen["value"], frozen["link"]) == (4.5, 2.8, "/batches/?q=1")
    assert "Vibration health" in as_user(cast.plant_manager).get(f"/reviews/{review.pk}/print/").content.decode()
    form = as_user(cast.plant_manager).get(f"/gates/{gate.pk}/waive/").content.decode()
    assert "Vibration health" in form


def test_every_state_is_drawn_with_its_word(gate: Any, cast: Any, facts: Any, signing_rule: Any) -> None:
    say = evidence.Measurement
    facts.add("met", 2, 95)
    facts.add("not_applicable", 2, say.not_applicable("A tree is not quantised."))
    facts.add("not_yet_due", 2, say.not_yet_due("First review in May.", in_days(9)))
    facts.add("not_measured", 2, say.missing("No provider."))
    facts.add("slipped", 2, 95, grace=timedelta(hours=9))
    facts.add("waived", 2, 10)
    services.waiver_grant(actor=cast.plant_manager, gate=gate, key="waived", reason="On order", expires_at=in_days(9))
    services.gate_measure(gate=gate)
    facts["slipped"] = 10
    services.gate_measure(gate=gate)
    states = {row["key"]: row["state"] for row in selectors.evidence_rows(gate)}
    assert {key: state for key, state in states.items() if key not in {"a", "b"}} == {
        key: key for key in ("met", "not_applicable", "not_yet_due", "not_measured", "slipped", "waived")
    }
    assert states["b"] == "not_met"


@pytest.mark.parametrize("number", [1, 3])
def test_a_kill_ends_what_waits_at_the_other_gates(
    gate: Any, cast: Any, facts: Any, signing_rule: Any, as_user: Any, number: int
) -> None:
    """Open reviews are withdrawn and say why, nothing is measured, reopened or reminded any more, and the page offers nothing."""
    facts.add("k", number, 10)
    second = opened(gate, cast)
    decide(second, cast, "conditional_go", terms=[Term("b", "", cast.ot_engineer, in_days(5))])
    gate.refresh_from_db()
    assert selectors.terms_open().count() == 1
    waiting = services.review_open(actor=cast.plant_manager, gate=gate)
    owner = {"adoption": gate.adoption} if number == 3 else {"use_case": gate.use_case, "adoption": None}
    Gate.objects.filter(number=number, **owner).update(state="open")
    over = Gate.objects.get(number=number, **owner)
    last = services.review_open(actor=cast.plant_manager, gate=over)
    decide(last, cast, "kill", note="No budget.", confirm=services.name_to_type(over))
    waiting.refresh_from_db()
    assert (waiting.state, waiting.note) == ("withdrawn", f"{over} was killed.")
    assert selectors.terms_open().count() == 0
    facts["a"] = 1
    services.gates_measure()
    gate.refresh_from_db()
    assert gate.state == "conditional", "nobody hears of evidence that no longer matters"
    with pytest.raises(DomainError) as refused:
        services.review_open(actor=cast.plant_manager, gate=gate)
    assert "killed" in refused.value.message
    over.refresh_from_db()
    with pytest.raises(DomainError):
        services.gate_measure(gate=over, actor=cast.plant_manager)
    page = as_user(cast.plant_manager).get(over.get_absolute_url()).content.decode()
    assert "Measure now" not in page
    assert "/waive/" not in page
