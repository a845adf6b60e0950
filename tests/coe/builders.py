"""Makers of the records that the CoE's tests start from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from portal.core.clock import wall_now


def role(key: str = "safety_officer") -> Any:
    from coe.models import CoeRole

    return CoeRole.objects.get(key=key)


def appoint(user: Any, key: str = "safety_officer", site: Any = None, **extra: Any) -> Any:
    from coe.models import Appointment

    extra.setdefault("valid_from", wall_now() - timedelta(days=30))
    return Appointment.objects.create(user=user, role=role(key), site=site, **extra)


def certify(user: Any, key: str = "safety_officer", *, days: float = 100, **extra: Any) -> Any:
    """A certificate that ends in ``days`` (negative: it has expired)."""
    from coe.models import Certificate, Track

    now = wall_now()
    held = role(key)
    extra.setdefault("issued_at", now - timedelta(days=200))
    return Certificate.objects.create(
        user=user,
        role=held,
        track=Track.objects.filter(role=held).first(),
        valid_until=now + timedelta(days=days),
        **extra,
    )


def right_answers(track: Any, wrong: int = 0) -> dict[str, int]:
    """Answers to all questions, the first ``wrong`` of them wrong."""
    answers = {}
    for at, question in enumerate(track.questions.all()):
        answers[str(question.pk)] = (question.right + 1) % len(question.choices) if at < wrong else question.right
    return answers
