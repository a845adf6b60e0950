"""Reviews: the frozen evidence, signatures on its hash, decisions, and two people at once."""

import hashlib

import pytest

from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry
from usecases import services
from usecases.models import Gate, GateReview, Signature
from usecases.services import decisions

pytestmark = pytest.mark.django_db


@pytest.fixture
def gate(adopted, facts, cast):
    facts.add("a", 2, 95)
    facts.add("b", 2, 95)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    Gate.objects.filter(adoption=adopted, number=2).update(state="open")
    return Gate.objects.get(adoption=adopted, number=2)


@pytest.fixture
def review(gate, cast, signing_rule):
    return services.review_open(actor=cast.plant_manager, gate=gate)


def sign(review, *people):
    for person in people:
        services.review_sign(actor=person, review=review)


def test_the_hash_is_of_the_canonical_text(review):
    fresh = GateReview.objects.get(pk=review.pk)
    assert hashlib.sha256(fresh.snapshot_text.encode()).hexdigest() == fresh.snapshot_sha256
    assert services.review_intact(fresh)
    assert {row["key"] for row in fresh.snapshot["criteria"]} == {"a", "b"}


def test_changing_the_stored_evidence_is_noticed_and_stops_signing(review, cast):
    changed = review.snapshot | {"taken_at": "2020-01-01T00:00:00.000Z"}
    GateReview.objects.filter(pk=review.pk).update(snapshot=changed)
    fresh = GateReview.objects.get(pk=review.pk)
    assert services.review_verify(fresh)["valid"] is False
    with pytest.raises(DomainError) as refusal:
        services.review_sign(actor=cast.plant_manager, review=fresh)
    assert refusal.value.code == "snapshot_changed"


def test_signature_keeps_what_it_rested_on(review, cast):
    made = services.review_sign(actor=cast.plant_manager, review=review, statement="Seen.")
    assert made.basis["certificate"] == "cert-plant_manager"
    assert made.snapshot_sha256 == review.snapshot_sha256
    assert AuditEntry.objects.filter(action="review.sign").count() == 1
    with pytest.raises(DomainError) as twice:
        services.review_sign(actor=cast.plant_manager, review=review)
    assert twice.value.code == "signed_already"
    assert Signature.objects.count() == 1


def test_an_expired_certificate_cannot_sign(review, cast, signing_rule):
    signing_rule["refuse"].add(cast.plant_manager.pk)
    with pytest.raises(DomainError) as refusal:
        services.review_sign(actor=cast.plant_manager, review=review)
    assert (refusal.value.code, int(refusal.value.status)) == ("may_not_sign", 403)
    assert "expired" in refusal.value.message


def test_go_needs_every_signature(review, cast):
    sign(review, cast.plant_manager)
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    assert refusal.value.code == "signatures_missing"
    sign(review, cast.coe_lead)
    services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    review.gate.refresh_from_db()
    assert review.gate.state == "passed"
    review.gate.adoption.refresh_from_db()
    assert review.gate.adoption.phase == 3


def test_one_person_does_not_fill_two_places(gate, cast, signing_rule):
    from portal.core.access import grant_role

    grant_role(cast.coe_lead, "plant_manager", cast.home, cast.ours)
    review = services.review_open(actor=cast.coe_lead, gate=gate)
    sign(review, cast.coe_lead)
    assert len(services.missing_signatures(review)) == 1


def test_a_voice_against_stops_a_go(review, cast):
    sign(review, cast.plant_manager, cast.coe_lead)
    with pytest.raises(InvalidInput):
        services.review_sign(actor=cast.safety_officer, review=review, approves=False)
    services.review_sign(actor=cast.safety_officer, review=review, approves=False, statement="Not tested.")
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    assert refusal.value.code == "signed_against"


def test_open_criteria_stop_a_go_and_are_named(gate, facts, cast, signing_rule):
    facts["b"] = 10
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    sign(review, cast.plant_manager, cast.coe_lead)
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    assert refusal.value.extra["criteria"] == ["b"]
    assert "Criterion b" in refusal.value.message


def test_evidence_that_went_bad_after_freezing_stops_a_go(review, facts, cast):
    sign(review, cast.plant_manager, cast.coe_lead)
    facts["a"] = 10
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    assert refusal.value.code == "evidence_regressed"


@pytest.mark.parametrize(("decision", "state"), [("hold", "held"), ("recycle", "open"), ("kill", "killed")])
def test_people_may_always_stop(review, cast, decision, state):
    with pytest.raises(InvalidInput):
        services.review_decide(actor=cast.plant_manager, review=review, decision=decision)
    services.review_decide(
        actor=cast.plant_manager,
        review=review,
        decision=decision,
        note="Because.",
        confirm=services.name_to_type(review.gate) if decision == "kill" else "",
    )
    review.gate.refresh_from_db()
    assert review.gate.state == state


def test_killing_at_gate_1_kills_the_use_case(adopted, facts, cast, signing_rule):
    facts.add("c", 1, 95)
    review = services.review_open(actor=cast.plant_manager, gate=Gate.objects.get(use_case=cast.ours, number=1))
    with pytest.raises(InvalidInput) as untyped:
        services.review_decide(actor=cast.plant_manager, review=review, decision="kill", note="No value.")
    assert [e["field"] for e in untyped.value.errors] == ["confirm"]
    services.review_decide(
        actor=cast.plant_manager, review=review, decision="kill", note="No value.", confirm=str(cast.ours).upper()
    )
    cast.ours.refresh_from_db()
    assert cast.ours.state == "killed"
    with pytest.raises(DomainError):
        services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.away)


def test_two_deciders_one_wins(review, cast):
    stale = GateReview.objects.select_related("gate").get(pk=review.pk)
    services.review_decide(actor=cast.plant_manager, review=review, decision="hold", note="x")
    with pytest.raises(DomainError) as refusal:
        services.review_decide(actor=cast.coe_lead, review=stale, decision="recycle", note="y")
    assert refusal.value.code in {"wrong_state", "decided_meanwhile"}
    review.gate.refresh_from_db()
    assert review.gate.state == "held"


def test_a_decision_on_fewer_signatures_than_there_are_is_stale(review, cast):
    seen = review.version
    services.review_sign(actor=cast.coe_lead, review=GateReview.objects.select_related("gate").get(pk=review.pk))
    fresh = GateReview.objects.select_related("gate").get(pk=review.pk)
    with pytest.raises(StaleWrite):
        services.review_decide(actor=cast.plant_manager, review=fresh, decision="hold", note="x", expected_version=seen)


def test_only_one_open_review_and_it_can_be_withdrawn(review, gate, cast):
    with pytest.raises(DomainError) as refusal:
        services.review_open(actor=cast.plant_manager, gate=gate)
    assert refusal.value.code == "review_open"
    services.review_withdraw(actor=cast.plant_manager, review=review, reason="Too early")
    services.review_open(actor=cast.plant_manager, gate=gate)


def test_gate_1_freezes_the_baseline(adopted, cast, outcome, signing_rule):
    services.review_open(actor=cast.plant_manager, gate=Gate.objects.get(use_case=cast.ours, number=1))
    outcome.refresh_from_db()
    assert outcome.baseline_frozen_at is not None
    with pytest.raises(DomainError) as refusal:
        services.outcome_update(actor=cast.data_scientist, outcome=outcome, data={"baseline_value": 1.0})
    assert refusal.value.code == "baseline_frozen"
    services.outcome_update(
        actor=cast.data_scientist, outcome=outcome, data={"baseline_value": 1.0}, reason="Meter was off"
    )
    assert AuditEntry.objects.get(action="outcome.rebaseline").changes["reason"] == "Meter was off"


def test_gate_1_refuses_a_go_and_a_conditional_go_without_a_baseline(adopted, cast, signing_rule):
    review = services.review_open(actor=cast.plant_manager, gate=Gate.objects.get(use_case=cast.ours, number=1))
    sign(review, cast.executive, cast.coe_lead)
    review.refresh_from_db()
    for decision in ("go", "conditional_go"):
        with pytest.raises(DomainError) as refusal:
            services.review_decide(actor=cast.coe_lead, review=review, decision=decision, conditions="later")
        assert "align.baseline" in refusal.value.extra["criteria"]


def test_not_pursuing_phase_5_finishes_the_use_case(adopted, cast):
    Gate.objects.filter(adoption=adopted, number=4).update(state="passed")
    services.use_case_not_pursue(actor=cast.coe_lead, use_case=cast.ours, reason="Only ours")
    cast.ours.refresh_from_db()
    assert cast.ours.state == "finished"
    assert Gate.objects.get(use_case=cast.ours, number=5).state == "not_pursued"


def test_a_voice_against_that_comes_while_somebody_decides_is_heard(review, cast, monkeypatch):
    sign(review, cast.plant_manager, cast.edge_architect)
    whole = decisions._check_go

    def and_then_somebody_objects(*args):
        whole(*args)
        other = GateReview.objects.get(pk=review.pk)
        services.review_sign(actor=cast.coe_lead, review=other, approves=False, statement="Not safe.")

    monkeypatch.setattr(decisions, "_check_go", and_then_somebody_objects)
    with pytest.raises(StaleWrite):
        services.review_decide(actor=cast.plant_manager, review=review, decision="go")
    assert GateReview.objects.get(pk=review.pk).state == "open"
    assert Gate.objects.get(pk=review.gate_id).state == "open"
