"""Comments on a gate, one of its criteria or a review. Who is mentioned must be able to see the gate, and is told once.

Comments are talk, not evidence: they are in no frozen document and under no hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from django.db import transaction

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import Notification, User
from portal.core.notifications import notify
from portal.core.records import versioned_update
from usecases import evidence as registry
from usecases.models import Gate, GateComment, GateReview
from usecases.services.audience import who_see

#: A comment is put right within this long; afterwards it is withdrawn, or answered.
EDIT_WITHIN: Final = timedelta(minutes=15)
LONGEST: Final = 4000
MOST_MENTIONS: Final = 50


def named_in(text: str) -> list[User]:
    """The people whom the text names as @name or @address, the longest name first; an address like a@b is no mention."""
    if "@" not in text:
        return []
    rest, found = text, []
    rows = User.objects.filter(is_active=True).only("id", "name", "email")
    keys = [(key, person) for person in rows for key in (person.name, person.email) if key]
    for key, person in sorted(keys, key=lambda pair: -len(pair[0])):
        pattern = re.compile(rf"(?<![\w@])@{re.escape(key)}(?!\w)", re.IGNORECASE)
        if pattern.search(rest):
            found.append(person)
            rest = pattern.sub(" ", rest)
    return list({person.pk: person for person in found}.values())


def _checked(gate: Gate, text: str, mentions: Iterable[Any]) -> tuple[str, list[Any]]:
    """The text as it is kept and the people mentioned in it; refuses with the names of those who may not see the gate."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise InvalidInput({"text": "Write something first."})
    if len(text) > LONGEST:
        raise InvalidInput({"text": f"A comment has {LONGEST} characters at most."})
    people = {person.pk: person for person in [*mentions, *named_in(text)]}
    if len(people) > MOST_MENTIONS:
        raise InvalidInput({"mentions": f"A comment mentions {MOST_MENTIONS} people at most."})
    seeing = set(who_see(gate).filter(pk__in=people).values_list("pk", flat=True))
    blind = sorted(str(person) for pk, person in people.items() if pk not in seeing)
    if blind:
        raise InvalidInput(
            {"mentions": f"May not see this gate, so cannot be mentioned here: {', '.join(blind)}. Nobody was told."}
        )
    return text, list(people.values())


def _tell(comment: GateComment, people: Iterable[Any], actor: Any) -> None:
    """Each once, whatever is edited later: the line in the inbox is known by the comment."""
    first = " ".join(comment.text.split())
    notify(
        user_ids=[person.pk for person in people if person.pk != actor.pk],
        kind="mention",
        text=f"{actor} mentions you at {comment.gate}: “{first[:120]}{'…' if len(first) > 120 else ''}”",
        url=comment.get_absolute_url(),
        dedupe_key=f"comment:{comment.pk}",
        mail=True,
    )


@transaction.atomic
def comment_create(
    *,
    actor: Any,
    gate: Gate,
    text: str,
    key: str = "",
    review: GateReview | None = None,
    mentions: Iterable[Any] = (),
) -> GateComment:
    """Say something about the gate, a criterion of it, or a review of it."""
    spec = registry.spec(key) if key else None
    if key and (spec is None or spec.gate != gate.number):
        raise InvalidInput({"key": "This gate has no such criterion."})
    if review is not None and review.gate_id != gate.pk:
        raise InvalidInput({"review": "That is a review of another gate."})
    text, people = _checked(gate, text, mentions)
    comment = GateComment.objects.create(gate=gate, review=review, key=key, author=actor, text=text)
    comment.mentions.set(people)
    audit.record(
        actor=actor,
        action="comment.create",
        obj=comment,
        changes={"criterion": key, "review": review, "mentions": [str(person) for person in people]},
    )
    _tell(comment, people, actor)
    return comment


def may_edit(comment: GateComment, user: Any) -> bool:
    return (
        comment.author_id == user.pk and comment.withdrawn_at is None and wall_now() - comment.created_at < EDIT_WITHIN
    )


@transaction.atomic
def comment_edit(
    *,
    actor: Any,
    comment: GateComment,
    text: str,
    mentions: Iterable[Any] | None = None,
    expected_version: int | None = None,
) -> GateComment:
    """Put one's own comment right within fifteen minutes; it says that it was edited. Who is newly mentioned is told."""
    if comment.withdrawn_at is not None:
        raise DomainError("wrong_state", "This comment was withdrawn.")
    if wall_now() - comment.created_at >= EDIT_WITHIN:
        raise DomainError(
            "too_late", "A comment can be edited for 15 minutes. Withdraw it, or write another one that puts it right."
        )
    kept = list(comment.mentions.all()) if mentions is None else mentions
    text, people = _checked(comment.gate, text, kept)
    before = comment.text
    versioned_update(
        comment, expected_version=expected_version, where={"withdrawn_at": None}, text=text, edited_at=wall_now()
    )
    comment.mentions.set(people)
    audit.record(actor=actor, action="comment.edit", obj=comment, changes={"text": [before, text]})
    _tell(comment, people, actor)
    return comment


@transaction.atomic
def comment_withdraw(*, actor: Any, comment: GateComment, expected_version: int | None = None) -> GateComment:
    """Take one's own words back: the place stays, the words go. The audit trail keeps that it was there, and how it was edited."""
    if comment.withdrawn_at is not None:
        raise DomainError("wrong_state", "This comment was withdrawn already.")
    versioned_update(
        comment, expected_version=expected_version, where={"withdrawn_at": None}, withdrawn_at=wall_now(), text=""
    )
    comment.mentions.clear()
    told = Notification.objects.filter(kind="mention", dedupe_key=f"comment:{comment.pk}")
    told.update(text=f"{actor} mentioned you at {comment.gate}; the comment is withdrawn."[:300], updated_at=wall_now())
    audit.record(actor=actor, action="comment.withdraw", obj=comment)
    return comment
