"""Gates on real rows: measuring, history, regression, waivers, and the order in which phases move."""

from datetime import timedelta

import pytest

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from usecases import evidence, selectors, services, signals
from usecases.evidence import Measurement
from usecases.models import Evidence, Gate, GateReview

pytestmark = pytest.mark.django_db


def gate_of(adopted, number):
    owner = {"use_case": adopted.use_case, "adoption": None} if number in (1, 5) else {"adoption": adopted}
    gate = Gate.objects.get(number=number, **owner)
    if gate.state == "closed":
        Gate.objects.filter(pk=gate.pk).update(state="open")
        gate.refresh_from_db()
    return gate


def pass_gate(gate, cast, decision="go", **extra):
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    for person in (cast.plant_manager, cast.safety_officer, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    review.refresh_from_db()
    services.review_decide(actor=cast.plant_manager, review=review, decision=decision, **extra)
    gate.refresh_from_db()
    return review


def test_new_use_case_and_adoption_get_their_gates(cast):
    case = services.use_case_create(actor=cast.coe_lead, code="new", title="New")
    assert [(g.number, g.state) for g in case.gates.all()] == [(1, "open"), (5, "closed")]
    adoption = services.adoption_create(actor=cast.coe_lead, use_case=case, site=cast.home)
    assert [(g.number, g.state) for g in adoption.gates.order_by("number")] == [
        (2, "closed"),
        (3, "closed"),
        (4, "closed"),
    ]


def test_evidence_history_is_one_row_per_change_of_state(adopted, facts):
    facts.add("a", 2, 80)
    gate = gate_of(adopted, 2)
    services.gate_measure(gate=gate)
    facts["a"] = 85
    services.gate_measure(gate=gate)
    row = Evidence.objects.get(gate=gate, key="a")
    assert (row.state, row.value, row.current) == ("not_met", 85, True)
    facts["a"] = 95
    services.gate_measure(gate=gate)
    assert [(r.state, r.current) for r in Evidence.objects.filter(gate=gate).order_by("since")] == [
        ("not_met", False),
        ("met", True),
    ]
    assert AuditEntry.objects.filter(action="evidence.change").count() == 1


def test_a_criterion_that_was_met_slips_for_its_grace(adopted, facts):
    facts.add("a", 2, 95, grace=timedelta(hours=2))
    gate, now = gate_of(adopted, 2), wall_now()
    services.gate_measure(gate=gate, now=now)
    facts["a"] = 10
    services.gate_measure(gate=gate, now=now + timedelta(minutes=1))
    row = Evidence.objects.get(gate=gate, key="a", current=True)
    assert row.state == "slipped"
    assert row.deadline == now + timedelta(minutes=1, hours=2)
    services.gate_measure(gate=gate, now=now + timedelta(minutes=2))
    row.refresh_from_db()
    assert row.current
    assert row.deadline == now + timedelta(minutes=1, hours=2), "grace counts from when it was first seen"
    services.gate_measure(gate=gate, now=now + timedelta(hours=3))
    assert Evidence.objects.get(gate=gate, key="a", current=True).state == "not_met"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (Measurement.missing("No provider."), "not_measured"),
        (Measurement.not_applicable("A tree is not quantised."), "not_applicable"),
        (Measurement.not_yet_due("First review in May."), "not_yet_due"),
    ],
)
def test_what_is_not_measured_says_why(adopted, facts, said, state):
    facts.add("a", 2, said)
    gate = gate_of(adopted, 2)
    services.gate_measure(gate=gate)
    row = Evidence.objects.get(gate=gate)
    assert (row.state, row.value, row.text) == (state, None, said.text)


def test_regression_reopens_tells_and_signals_once(adopted, facts, cast, signing_rule):
    facts.add("a", 3, 95)
    heard = []
    signals.gate_reopened.connect(lambda **kw: heard.append(kw["reason"]), weak=False, dispatch_uid="t")
    try:
        Gate.objects.filter(adoption=adopted, number=2).update(state="passed")
        gate = gate_of(adopted, 3)
        pass_gate(gate, cast)
        assert gate.state == "passed"
        facts["a"] = 20
        services.gate_measure(gate=gate)
        gate.refresh_from_db()
        services.gate_measure(gate=gate)
    finally:
        signals.gate_reopened.disconnect(dispatch_uid="t")
    assert gate.state == "reopened"
    assert "Criterion a" in gate.reopened_reason
    assert len(heard) == 1
    assert Notification.objects.filter(user=cast.plant_manager, text__contains="reopened").count() == 1
    assert list(selectors.gates_stopping_rollouts(adopted)) == [gate]
    assert selectors.adoption_health([adopted]) == {adopted.pk: "breach"}
    facts["a"] = 99
    pass_gate(gate, cast)
    assert gate.state == "passed", "a human signs again"


def test_an_adoption_waits_at_phase_1_until_its_use_case_has_passed_gate_1(facts, cast, signing_rule):
    facts.add("a", 1, 95)
    services.gates_create(use_case=cast.ours)
    early = services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.home)
    foreign = services.adoption_create(actor=cast.coe_lead, use_case=cast.theirs, site=cast.away)
    assert early.phase == 1
    pass_gate(Gate.objects.get(use_case=cast.ours, number=1), cast)
    early.refresh_from_db()
    foreign.refresh_from_db()
    assert (early.phase, foreign.phase) == (2, 1)
    moved = AuditEntry.objects.get(action="adoption.phase", object_id=str(early.pk))
    assert moved.changes == {"phase": [1, 2]}
    late = services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.away)
    assert late.phase == 2


def test_phases_move_in_order(adopted, facts, cast, signing_rule):
    for number in (1, 2, 3, 4):
        facts.add(f"a{number}", number, 95)
    one = Gate.objects.get(use_case=cast.ours, number=1)
    with pytest.raises(DomainError) as early:
        services.review_open(actor=cast.plant_manager, gate=Gate.objects.get(adoption=adopted, number=2))
    assert early.value.code == "wrong_state"
    pass_gate(one, cast)
    for number in (2, 3, 4):
        gate = Gate.objects.get(adoption=adopted, number=number)
        assert gate.state == "open"
        pass_gate(gate, cast)
        adopted.refresh_from_db()
        assert adopted.phase == number + 1
    cast.ours.refresh_from_db()
    assert cast.ours.phase == 5
    assert Gate.objects.get(use_case=cast.ours, number=5).state == "open"


def test_go_needs_the_earlier_gate(adopted, facts, cast, signing_rule):
    facts.add("a", 3, 95)
    gate = gate_of(adopted, 3)
    with pytest.raises(DomainError) as refusal:
        pass_gate(gate, cast)
    assert refusal.value.code == "earlier_gate"


@pytest.mark.parametrize(("earlier", "state"), [(1, "reopened"), (2, "reopened"), (2, "killed")])
def test_a_reopened_gate_stops_every_later_one_and_the_page_says_so_first(
    adopted, facts, cast, signing_rule, as_user, earlier, state
):
    facts.add("a", 4, 95)
    for number in (1, 2, 3):
        Gate.objects.filter(pk=gate_of(adopted, number).pk).update(state="passed")
    gate = gate_of(adopted, 4)
    Gate.objects.filter(pk=gate.pk).update(state="open")
    gate.refresh_from_db()
    review = services.review_open(actor=cast.coe_lead, gate=gate)
    for person in (cast.plant_manager, cast.coe_lead):
        services.review_sign(actor=person, review=review)
    Gate.objects.filter(pk=gate_of(adopted, earlier).pk).update(state=state)
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.coe_lead, review=review, decision="go")
    assert refusal.value.code == "earlier_gate"
    assert f"Gate {earlier}" in refusal.value.message
    page = as_user(cast.coe_lead).get(review.get_absolute_url()).content.decode()
    assert page.count("must be passed first") == 2, "go and conditional go"
    Gate.objects.filter(pk=gate_of(adopted, earlier).pk).update(state="passed")
    assert services.review_decide(actor=cast.coe_lead, review=review, decision="go").decision == "go"


@pytest.mark.parametrize(
    ("number", "state", "stops"),
    [(1, "reopened", True), (2, "reopened", True), (3, "reopened", True), (4, "reopened", True), (5, "reopened", False)]
    + [(1, "killed", True), (3, "killed", True), (5, "killed", True), (3, "held", False), (3, "open", False)],
)
def test_which_gates_new_rollouts_wait_for(adopted, cast, number, state, stops):
    gate = gate_of(adopted, number)
    Gate.objects.filter(pk=gate.pk).update(state=state)
    assert list(selectors.gates_stopping_rollouts(adopted)) == ([gate] if stops else [])
    other = services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.away)
    everywhere = stops and number in (1, 5)
    assert list(selectors.gates_stopping_rollouts(other)) == ([gate] if everywhere else [])


def test_conditions_that_are_met_turn_a_conditional_go_into_a_pass(adopted, facts, cast, signing_rule):
    facts.add("a", 2, 95)
    facts.add("b", 2, 10)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    gate = gate_of(adopted, 2)
    pass_gate(gate, cast, decision="conditional_go", conditions="b by May")
    assert gate.state == "conditional"
    facts["b"] = 95
    services.gate_measure(gate=gate)
    gate.refresh_from_db()
    assert gate.state == "passed"


def test_a_condition_still_open_at_its_date_reopens(adopted, facts, cast, signing_rule):
    facts.add("a", 2, 95)
    facts.add("b", 2, 10)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    gate = gate_of(adopted, 2)
    pass_gate(gate, cast, decision="conditional_go", conditions="b by May")
    services.gate_measure(gate=gate, now=wall_now() + timedelta(days=31))
    gate.refresh_from_db()
    assert gate.state == "reopened"


def test_waiver_counts_until_it_expires(adopted, facts, cast, signing_rule):
    facts.add("a", 2, 10)
    gate = gate_of(adopted, 2)
    waiver = services.waiver_grant(
        actor=cast.plant_manager,
        gate=gate,
        key="a",
        reason="Sensor on order",
        expires_at=wall_now() + timedelta(days=5),
    )
    services.gate_measure(gate=gate)
    assert Evidence.objects.get(gate=gate, current=True).state == "waived"
    assert selectors.evidence_rows(gate)[0]["waiver"]["by"] == cast.plant_manager
    services.gate_measure(gate=gate, now=wall_now() + timedelta(days=6))
    assert Evidence.objects.get(gate=gate, current=True).state == "not_met"
    services.waiver_revoke(actor=cast.plant_manager, waiver=waiver)
    with pytest.raises(DomainError):
        services.waiver_revoke(actor=cast.plant_manager, waiver=waiver)


def test_safety_is_waived_by_the_safety_officer_only(adopted, facts, cast, signing_rule):
    facts.add("s", 2, 10, safety=True)
    gate = gate_of(adopted, 2)
    ask = {"gate": gate, "key": "s", "reason": "Tested by hand", "expires_at": wall_now() + timedelta(days=5)}
    with pytest.raises(DomainError) as refusal:
        services.waiver_grant(actor=cast.plant_manager, **ask)
    assert refusal.value.code == "may_not_sign"
    services.waiver_grant(actor=cast.safety_officer, **ask)
    services.gate_measure(gate=gate)
    assert Evidence.objects.get(gate=gate, current=True).state == "waived"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"key": "nothing"}, "key"),
        ({"reason": "  "}, "reason"),
        ({"expires_at": wall_now() - timedelta(days=1)}, "expires_at"),
        ({"expires_at": wall_now() + timedelta(days=999)}, "expires_at"),
    ],
)
def test_waivers_say_what_is_wrong(adopted, facts, cast, signing_rule, change, field):
    facts.add("a", 2, 10)
    ask = {"key": "a", "reason": "r", "expires_at": wall_now() + timedelta(days=5)} | change
    with pytest.raises(InvalidInput) as refusal:
        services.waiver_grant(actor=cast.plant_manager, gate=gate_of(adopted, 2), **ask)
    assert [e["field"] for e in refusal.value.errors] == [field]


def test_one_broken_provider_does_not_keep_other_gates_from_being_read(adopted, facts):
    facts.add("a", 2, 95)
    facts.add("b", 3, object())
    done = services.gates_measure()
    assert done["failed"] == 1
    assert Evidence.objects.filter(key="a", state="met").exists()


def test_the_longest_unmeasured_gate_comes_first(adopted, facts):
    facts.add("a", 2, 95)
    facts.add("b", 3, 95)
    services.gates_measure(limit=1)
    services.gates_measure(limit=1)
    services.gates_measure(limit=100)
    assert Gate.objects.filter(measured_at=None).count() == 0


def test_remeasure_is_enqueued_after_commit(adopted, facts, django_capture_on_commit_callbacks):
    facts.add("a", 2, 95)
    with django_capture_on_commit_callbacks(execute=True):
        services.gates_remeasure(site=adopted.site)
    assert Evidence.objects.filter(key="a", state="met").exists()


def test_measuring_again_writes_little(adopted, facts, django_assert_max_num_queries):
    facts.add("a", 2, 95)
    gate = gate_of(adopted, 2)
    services.gate_measure(gate=gate)
    with django_assert_max_num_queries(8):
        services.gate_measure(gate=gate)


def test_text_threshold_and_flags(adopted, facts):
    from usecases.choices import Comparator

    facts.add("mode", 2, "auto", comparator=Comparator.EQUAL, threshold="auto")
    facts.add("flag", 2, False, comparator=Comparator.TRUE, threshold=True)
    facts.add("above", 2, 0, comparator=Comparator.ABOVE, threshold=0)
    rows = {r.spec.key: str(r.result.state) for r in services.gate_measure(gate=gate_of(adopted, 2))}
    assert rows == {"mode": "met", "flag": "not_met", "above": "not_met"}


def test_a_criterion_nobody_registers_any_more_leaves_the_present(adopted, facts, cast, signing_rule):
    facts.add("a", 2, 95)
    facts.add("b", 2, 95)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    gate = gate_of(adopted, 2)
    pass_gate(gate, cast)
    evidence._specs.pop("b")
    services.gate_measure(gate=gate)
    gate.refresh_from_db()
    assert gate.state == "reopened"
    assert not Evidence.objects.filter(key="b", current=True).exists()
    assert GateReview.objects.count() == 1


def test_what_has_no_number_says_why_whatever_its_state(adopted, facts, cast, signing_rule, as_user):
    facts.add("a", 3, Measurement.missing("No alert has been answered yet"))
    facts.add("b", 3, 95, grace=timedelta(days=3))
    gate = gate_of(adopted, 3)
    services.gate_measure(gate=gate)
    facts["b"] = Measurement.missing("The sensor is silent")
    services.gate_measure(gate=gate)
    until = wall_now() + timedelta(days=3)
    services.waiver_grant(actor=cast.plant_manager, gate=gate, key="a", reason="rehearsal", expires_at=until)
    services.gate_measure(gate=gate)
    rows = {row["key"]: row for row in selectors.evidence_rows(gate)}
    assert [rows[key]["state"] for key in "ab"] == ["waived", "slipped"]
    assert [rows[key]["reason"] for key in "ab"] == ["No alert has been answered yet", "The sensor is silent"]
    page = as_user(cast.plant_manager).get(gate.get_absolute_url()).content.decode()
    assert "No alert has been answered yet" in page
    assert "The sensor is silent" in page


@pytest.mark.parametrize(
    ("unit", "comparator", "threshold", "value", "said", "limit"),
    [
        ("share", ">=", 1.0, 0.5, ("50", "%"), "at least 100 %"),
        ("share", ">=", 0.0, 1.0, ("100", "%"), "at least 0 %"),
        ("s", "<=", 7200, 6300, ("1.75", "h"), "at most 2 h"),
        ("s", "<=", 7200, 600, ("10", "min"), "at most 2 h"),
        ("s", "<=", 60, 61, ("61", "s"), "at most 60 s"),
        ("alerts", "<=", 0, 2, ("2", "alerts"), "at most 0 alerts"),
    ],
)
def test_numbers_are_said_as_people_say_them_now_and_as_frozen(
    adopted, facts, cast, signing_rule, unit, comparator, threshold, value, said, limit
):
    facts.add("z", 3, 95)
    facts.add("a", 3, value, unit=unit, comparator=comparator, threshold=threshold, safety=True)
    gate = gate_of(adopted, 3)
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    live = {row["key"]: row for row in selectors.evidence_rows(gate)}["a"]
    assert (live["value"], live["unit"], live["threshold_text"]) == (*said, limit)
    assert live["note"] == f"a is {value}. Safety: only the AI Safety Officer may waive it."
    frozen = {row["label"]: row for row in selectors.frozen_rows(review)}
    assert [row["label"] for row in selectors.frozen_rows(review)] == [
        str(spec.label) for spec in evidence.specs_for(3)
    ], "in the order of the gate's page"
    assert (frozen["Criterion a"]["value"], frozen["Criterion a"]["unit"]) == said
    assert frozen["Criterion a"]["threshold"] == limit
    stored = next(row for row in review.snapshot["criteria"] if row["key"] == "a")
    assert (stored["value"], stored["unit"]) == (value, unit), "what is frozen stays as it was measured"


def test_a_passed_gate_that_slips_says_until_when(adopted, facts, cast, signing_rule, as_user):
    facts.add("a", 2, 95, grace=timedelta(days=3))
    gate = gate_of(adopted, 2)
    Gate.objects.filter(use_case=adopted.use_case, number=1).update(state="passed")
    pass_gate(gate, cast)
    page = as_user(cast.plant_manager)
    assert "reopens this gate" not in page.get(gate.get_absolute_url()).content.decode()
    facts["a"] = 20
    services.gate_measure(gate=gate)
    for url in (gate.get_absolute_url(), f"{gate.get_absolute_url()}evidence/"):
        text = page.get(url).content.decode()
        assert "Slipping" in text
        assert "reopens this gate" in text


def test_the_adoption_shows_the_evidence_of_its_reopened_gate(adopted, cast, as_user):
    page = as_user(cast.plant_manager)
    type(adopted).objects.filter(pk=adopted.pk).update(phase=5)
    assert "Evidence for gate 4" in page.get(adopted.get_absolute_url()).content.decode()
    Gate.objects.filter(adoption=adopted, number=3).update(state="reopened")
    assert "Evidence for gate 3" in page.get(adopted.get_absolute_url()).content.decode()


def test_the_first_printed_page_carries_the_hash(adopted, facts, cast, signing_rule, as_user):
    facts.add("a", 2, 95)
    review = services.review_open(actor=cast.plant_manager, gate=gate_of(adopted, 2))
    text = as_user(cast.plant_manager).get(f"{review.get_absolute_url()}print/").content.decode()
    assert text.index(review.snapshot_sha256) < text.index("<h2>"), "what follows may lie on another sheet"


def test_a_reopened_gate_whose_evidence_holds_again_says_so(adopted, facts, cast, signing_rule, as_user):
    facts.add("a", 2, 20)
    gate = gate_of(adopted, 2)
    Gate.objects.filter(pk=gate.pk).update(
        state="reopened", reopened_at=wall_now(), reopened_reason="No longer met: a."
    )
    gate.refresh_from_db()
    page = as_user(cast.plant_manager)
    services.gate_measure(gate=gate)
    assert "holds again" not in page.get(gate.get_absolute_url()).content.decode()
    facts["a"] = 95
    services.gate_measure(gate=gate)
    assert "holds again" in page.get(gate.get_absolute_url()).content.decode()
