"""What every conditional UPDATE of an Entity also does, so that its ETag moves with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import F


def touch(now: datetime) -> dict[str, Any]:
    return {"updated_at": now, "version": F("version") + 1}
