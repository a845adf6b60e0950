"""How the writes around gates come to success: deputies, conditions, comments, reminders."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from portal.core.clock import rfc3339, wall_now
from tests.deed import Deed
from tests.drive import Stage
from tests.factories import make_user


def _colleague() -> str:
    from portal.core.models import User

    found = User.objects.filter(email="stands-in@test.example").first()
    return str((found or make_user("stands-in@test.example", name="Stands In")).pk)


def _deputy(stage: Stage) -> dict[str, Any]:
    return {"deputy": _colleague(), "valid_until": rfc3339(wall_now() + timedelta(days=20)), "reason": "Holiday."}


def _deputy_form(stage: Stage) -> dict[str, Any]:
    until = (wall_now() + timedelta(days=20)).strftime("%Y-%m-%d")
    return {"deputy": _colleague(), "valid_until": until, "reason": "Holiday."}


def _held(stage: Stage) -> None:
    gate = stage.ours.one("usecases.Gate")
    type(gate).objects.filter(pk=gate.pk).update(state="held")


def _soon(stage: Stage) -> dict[str, Any]:
    return {"signatures_due": rfc3339(wall_now() + timedelta(days=5))}


def _soon_form(stage: Stage) -> dict[str, Any]:
    return {"signatures_due": (wall_now() + timedelta(days=5)).strftime("%Y-%m-%dT%H:%M")}


def _comment(stage: Stage) -> dict[str, Any]:
    return {"gate": str(stage.ours.one("usecases.Gate").pk), "text": "Why is this red?"}


def _copy(stage: Stage) -> dict[str, Any]:
    return {"text": stage.ours.one("usecases.GateReview").snapshot_text}


def _said(**body: Any) -> Any:
    return lambda stage: dict(body)


GATES: dict[str, Deed] = {
    "deputy create": Deed(body=_deputy),
    "coe:deputy-new": Deed(body=_deputy_form),
    "gate resume": Deed(_held, _said(note="The sensor has come.")),
    "usecases:gate-resume": Deed(_held),
    "gate-comment create": Deed(body=_comment),
    "gate-comment partial_update": Deed(body=_said(text="Put right.")),
    "usecases:comment-create": Deed(body=_said(text="Why is this red?")),
    "usecases:comment-edit": Deed(body=_said(text="Put right.")),
    "gate-condition met": Deed(body=_said(note="Seen on the shop floor.")),
    "usecases:condition-meet": Deed(body=_said(note="Seen on the shop floor.")),
    "gate-review want_by": Deed(body=_soon),
    "usecases:review-want-by": Deed(body=_soon_form),
    "gate-review check": Deed(body=_copy),
    "usecases:review-verify": Deed(body=_copy),
}
