"""Appointments, quizzes, certificates, reminders: services."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coe import services
from coe.models import Certificate, QuizAttempt, Track
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry, Notification
from tests.coe.builders import appoint, certify, right_answers, role

pytestmark = pytest.mark.django_db


def test_an_appointment_is_recorded_audited_and_told(cast: Any) -> None:
    made = services.appointment_create(actor=cast.coe_lead, user=cast.safety_officer, role=role(), site=cast.home)
    assert made.appointed_by == cast.coe_lead
    assert AuditEntry.objects.filter(action="appointment.create", object_id=str(made.pk)).count() == 1
    assert Notification.objects.filter(user=cast.safety_officer, kind="appointment").count() == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"interim": True}, "valid_until"),
        ({"interim": True, "valid_until": timedelta(days=400)}, "valid_until"),
        ({"valid_until": timedelta(days=-1)}, "valid_until"),
        ({"self": True}, "user"),
    ],
)
def test_an_appointment_that_makes_no_sense_is_refused_at_its_field(
    cast: Any, data: dict[str, Any], field: str
) -> None:
    now = wall_now()
    user = cast.coe_lead if data.pop("self", False) else cast.safety_officer
    if "valid_until" in data:
        data["valid_until"] = now + data["valid_until"]
    with pytest.raises(InvalidInput) as refused:
        services.appointment_create(actor=cast.coe_lead, user=user, role=role(), **data)
    assert refused.value.errors[0]["field"] == field


def test_the_same_appointment_twice_is_refused_and_can_follow_an_end(cast: Any) -> None:
    first = services.appointment_create(actor=cast.coe_lead, user=cast.safety_officer, role=role())
    with pytest.raises(DomainError, match="already"):
        services.appointment_create(actor=cast.coe_lead, user=cast.safety_officer, role=role())
    services.appointment_end(actor=cast.coe_lead, appointment=first)
    with pytest.raises(DomainError, match="ended on"):
        services.appointment_end(actor=cast.coe_lead, appointment=first)
    services.appointment_create(actor=cast.coe_lead, user=cast.safety_officer, role=role())


def test_ending_with_an_old_version_is_refused(cast: Any) -> None:
    made = appoint(cast.safety_officer)
    with pytest.raises(StaleWrite):
        services.appointment_end(actor=cast.coe_lead, appointment=made, expected_version=made.version + 1)


def test_a_passed_quiz_issues_one_certificate(cast: Any) -> None:
    track = Track.objects.get(code="ai-safety-at-the-machine")
    attempt = services.attempt_record(actor=cast.safety_officer, track=track, answers=right_answers(track, wrong=2))
    assert attempt.passed
    assert attempt.share == pytest.approx(10 / 12)
    certificate = Certificate.objects.get(attempt=attempt)
    assert certificate.role == role()
    assert certificate.valid_until - certificate.issued_at == timedelta(days=365)
    assert AuditEntry.objects.filter(action="certificate.issue").count() == 1
    # Sent twice: the second is swallowed.
    with pytest.raises(DomainError) as again:
        services.attempt_record(actor=cast.safety_officer, track=track, answers=right_answers(track))
    assert again.value.code == "too_soon"
    assert Certificate.objects.count() == 1


def test_a_failed_quiz_issues_nothing_and_may_be_repeated_after_the_delay(cast: Any) -> None:
    track = Track.objects.get(code="ai-safety-at-the-machine")
    attempt = services.attempt_record(actor=cast.safety_officer, track=track, answers=right_answers(track, wrong=3))
    assert not attempt.passed
    assert not Certificate.objects.exists()
    QuizAttempt.objects.update(taken_at=wall_now() - timedelta(minutes=track.retry_after_minutes, seconds=1))
    assert services.attempt_record(actor=cast.safety_officer, track=track, answers=right_answers(track)).passed


def test_exactly_the_share_passes(cast: Any) -> None:
    track = Track.objects.get(code="edge-integration")
    assert track.questions.count() == 10
    assert services.attempt_record(actor=cast.edge_architect, track=track, answers=right_answers(track, wrong=2)).passed


def test_missing_unknown_and_impossible_answers_are_named(cast: Any) -> None:
    track = Track.objects.get(code="ai-safety-at-the-machine")
    answers = right_answers(track)
    keys = list(answers)
    del answers[keys[0]]
    answers[keys[1]] = 9
    answers["no-such-question"] = 0
    with pytest.raises(InvalidInput) as refused:
        services.attempt_record(actor=cast.safety_officer, track=track, answers=answers)
    assert {row["field"] for row in refused.value.errors} == {
        f"answers.{keys[0]}",
        f"answers.{keys[1]}",
        "answers.no-such-question",
    }
    assert not QuizAttempt.objects.exists()


def test_revoking_needs_a_reason_and_happens_once(cast: Any) -> None:
    certificate = certify(cast.safety_officer)
    with pytest.raises(InvalidInput):
        services.certificate_revoke(actor=cast.coe_lead, certificate=certificate, reason=" ")
    services.certificate_revoke(actor=cast.coe_lead, certificate=certificate, reason="left the company")
    with pytest.raises(DomainError, match="already"):
        services.certificate_revoke(actor=cast.coe_lead, certificate=certificate, reason="again")
    assert AuditEntry.objects.filter(action="certificate.revoke").count() == 1


def test_reminders_come_30_and_7_days_before_once_each(cast: Any) -> None:
    certify(cast.safety_officer, days=20)
    certify(cast.edge_architect, "edge_architect", days=200)
    appoint(cast.data_steward, "data_steward", interim=True, valid_until=wall_now() + timedelta(days=5))
    assert services.remind() == {"certificates": 1, "appointments": 1, "actions": 0}
    services.remind()
    assert Notification.objects.filter(user=cast.safety_officer, kind="certificate").count() == 1
    assert Notification.objects.filter(user=cast.data_steward, kind="appointment").count() == 1
    services.remind(now=wall_now() + timedelta(days=14))
    assert Notification.objects.filter(user=cast.safety_officer, kind="certificate").count() == 2


def test_a_renewed_certificate_is_not_reminded_of(cast: Any) -> None:
    certify(cast.safety_officer, days=5)
    certify(cast.safety_officer, days=370, issued_at=wall_now())
    assert services.remind()["certificates"] == 0
