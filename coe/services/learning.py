"""Tracks, quizzes and certificates. A certificate is issued by a passed quiz and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.db import transaction

from coe.catalogue import ROLES
from coe.models import Appointment, Certificate, CoeRole, Question, QuizAttempt, Track
from coe.services.people import remeasure
from devices.models import Site
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import User
from portal.core.notifications import notify
from portal.core.records import versioned_update

CONTENT: Final = Path(__file__).resolve().parent.parent / "content"


@transaction.atomic
def roles_sync() -> int:
    """The CoE roles as coe.catalogue has them. Gives the number of rows written; a second call writes none."""
    written = 0
    known = {role.key: role for role in CoeRole.objects.filter(key__in=[r.key for r in ROLES])}
    for wanted in ROLES:
        values = {"name": wanted.name, "description": wanted.description, "signs": list(wanted.signs)}
        role = known.get(wanted.key)
        if role is None:
            role = CoeRole.objects.create(key=wanted.key, **values)
            audit.record(actor=None, action="coerole.create", obj=role, changes=values)
        elif changes := {n: [getattr(role, n), v] for n, v in values.items() if getattr(role, n) != v}:
            versioned_update(role, **{name: change[1] for name, change in changes.items()})
            audit.record(actor=None, action="coerole.update", obj=role, changes=changes)
        else:
            continue
        written += 1
    return written


@transaction.atomic
def tracks_load() -> int:
    """Bring the tracks of coe/content into the database. Gives the number of tracks written; a second call writes none."""
    roles = {role.key: role for role in CoeRole.objects.all()}
    written = 0
    for path in sorted(CONTENT.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        written += _track_load(content, roles[content["role"]])
    return written


def _track_load(content: dict[str, Any], role: CoeRole) -> bool:
    values = {name: content[name] for name in ("title", "summary", "lessons", "pass_share", "valid_days")}
    values |= {"role": role, "retry_after_minutes": content["retry_after_minutes"]}
    track = Track.objects.filter(code=content["code"]).first()
    changed = False
    if track is None:
        track = Track.objects.create(code=content["code"], **values)
        changed = True
    elif any(getattr(track, name) != value for name, value in values.items()):
        versioned_update(track, **values)
        changed = True
    known = {question.position: question for question in track.questions.all()}
    for position, wanted in enumerate(content["questions"], 1):
        row = {name: wanted[name] for name in ("text", "choices", "right", "explanation")}
        question = known.pop(position, None)
        if question is None:
            Question.objects.create(track=track, position=position, **row)
        elif any(getattr(question, name) != value for name, value in row.items()):
            versioned_update(question, **row)
        else:
            continue
        changed = True
    if known:
        Question.objects.filter(pk__in=[q.pk for q in known.values()]).delete()
        changed = True
    if changed:
        audit.record(actor=None, action="track.load", obj=track, changes={"questions": len(content["questions"])})
    return changed


def content_sync(**_: object) -> None:
    """Roles and tracks follow the code after every migration."""
    roles_sync()
    tracks_load()


def attempt_allowed_at(*, user: Any, track: Track, now: datetime) -> datetime | None:
    """When the next attempt may be made, None for now."""
    last = QuizAttempt.objects.filter(user=user, track=track).order_by("-taken_at").first()
    if last is None:
        return None
    again = last.taken_at + timedelta(minutes=track.retry_after_minutes)
    return again if again > now else None


@transaction.atomic
def attempt_record(*, actor: Any, track: Track, answers: Mapping[str, int]) -> QuizAttempt:
    """Judge a quiz. ``answers``: question id -> index of the chosen answer; all are needed. Passing issues the certificate.

    Refuses with ``too_soon`` while the delay after the last attempt runs: it also swallows a form that was sent twice.
    """
    now = wall_now()
    # One attempt of one person at a time.
    User.objects.select_for_update().get(pk=actor.pk)
    again = attempt_allowed_at(user=actor, track=track, now=now)
    if again is not None:
        minutes = max(1, round((again - now).total_seconds() / 60))
        raise DomainError(
            "too_soon",
            f"The next attempt is possible in {minutes} minutes: read the lessons meanwhile.",
            {"retry_at": again.isoformat(), "retry_after": int((again - now).total_seconds()) + 1},
        )
    questions = list(track.questions.all())
    if not questions:
        raise DomainError("no_questions", "This track has no questions yet.")
    known = {str(q.pk): q for q in questions}
    wrong = {f"answers.{key}": "This track has no such question." for key in answers if key not in known}
    for key, question in known.items():
        chosen = answers.get(key)
        if chosen is None:
            wrong[f"answers.{key}"] = "Choose one answer."
        elif not 0 <= chosen < len(question.choices):
            wrong[f"answers.{key}"] = "There is no such answer."
    if wrong:
        raise InvalidInput(wrong)
    right = sum(answers[key] == question.right for key, question in known.items())
    share = right / len(questions)
    attempt = QuizAttempt.objects.create(
        track=track,
        user=actor,
        answers=dict(answers),
        share=share,
        # 0.8 of 10 questions is 8, whatever the binary fraction says.
        passed=share >= track.pass_share - 1e-9,
        taken_at=now,
    )
    audit.record(
        actor=actor, action="attempt.record", obj=attempt, changes={"share": round(share, 3), "passed": attempt.passed}
    )
    if attempt.passed:
        _certificate_issue(attempt)
    return attempt


def _certificate_issue(attempt: QuizAttempt) -> Certificate:
    track = attempt.track
    certificate = Certificate.objects.create(
        user=attempt.user,
        role=track.role,
        track=track,
        attempt=attempt,
        issued_at=attempt.taken_at,
        valid_until=attempt.taken_at + timedelta(days=track.valid_days),
    )
    audit.record(
        actor=attempt.user,
        action="certificate.issue",
        obj=certificate,
        changes={"track": track.code, "valid_until": certificate.valid_until.isoformat()},
    )
    _remeasure_for(certificate)
    return certificate


def _remeasure_for(certificate: Certificate) -> None:
    sites = set(
        Appointment.objects.filter(user=certificate.user_id, role=certificate.role_id).values_list("site_id", flat=True)
    )
    for site in [None] if None in sites else Site.objects.filter(pk__in=sites):
        remeasure(site)


@transaction.atomic
def certificate_revoke(
    *, actor: Any, certificate: Certificate, reason: str, expected_version: int | None = None
) -> Certificate:
    """From now on the certificate signs nothing. What was signed before stays signed."""
    now = wall_now()
    if not reason.strip():
        raise InvalidInput({"reason": "Say why it is revoked: the person will read it."})
    if certificate.revoked_at is not None:
        raise DomainError("wrong_state", "This certificate was revoked already.")
    if certificate.valid_until <= now:
        raise DomainError("wrong_state", "This certificate has expired already.")
    versioned_update(
        certificate,
        expected_version=expected_version,
        where={"revoked_at": None},
        revoked_at=now,
        revoked_reason=reason.strip(),
    )
    audit.record(actor=actor, action="certificate.revoke", obj=certificate, changes={"reason": reason.strip()})
    notify(
        user_ids=[certificate.user_id],
        kind="certificate",
        text=f"Your certificate as {certificate.role} was revoked: {reason.strip()}",
        url=certificate.get_absolute_url(),
        dedupe_key=f"certificate-revoked:{certificate.pk}",
    )
    _remeasure_for(certificate)
    return certificate
