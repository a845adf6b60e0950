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


GATES: dict[str, Deed] = {
    "deputy create": Deed(body=_deputy),
    "coe:deputy-new": Deed(body=_deputy_form),
}
