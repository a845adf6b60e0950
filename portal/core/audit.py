"""The audit trail. A service calls ``record`` inside its transaction; a test drives every write route and looks for the row."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.db import models

from portal.core.models import AuditEntry


@dataclass(frozen=True)
class Door:
    """Through which door a write came: page, api, edge, task, command."""

    via: str = "command"
    request_id: str = ""
    label: str = ""


_COMMAND = Door()
_door: ContextVar[Door] = ContextVar("door", default=_COMMAND)


def enter(door: Door) -> Any:
    return _door.set(door)


def leave(token: Any) -> None:
    _door.reset(token)


def current_door() -> Door:
    return _door.get()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    return str(value)


def _refs(obj: models.Model) -> dict[str, Any]:
    """The containers an object belongs to, read through its ``access`` paths without a query where they are loaded."""
    refs: dict[str, Any] = {"site_ref": None, "use_case_ref": None, "service_ref": None}
    slot = {"devices.Site": "site_ref", "usecases.UseCase": "use_case_ref", "marketplace.Service": "service_ref"}
    for way in getattr(obj, "access", ()):
        if way.container not in slot or refs[slot[way.container]] is not None:
            continue
        value: Any = obj
        for part in way.path.split("__"):
            value = getattr(value, "pk" if part in {"pk", "id"} else part, None)
            if value is None or isinstance(value, models.Manager):
                value = None
                break
        refs[slot[way.container]] = getattr(value, "pk", value)
    return refs


def record(
    *, actor: Any, action: str, obj: models.Model, changes: dict[str, Any] | None = None, label: str = ""
) -> AuditEntry:
    door = _door.get()
    person = actor if getattr(actor, "is_authenticated", False) else None
    return AuditEntry.objects.create(
        actor=person,
        actor_label=(str(person) if person else (door.label or "system"))[:160],
        via=door.via,
        action=action,
        object_type=f"{obj._meta.app_label}.{type(obj).__name__}",
        object_id=str(obj.pk),
        object_label=(label or str(obj))[:200],
        changes=_plain({name: value for name, value in (changes or {}).items() if not name.endswith("_hash")}),
        request_id=door.request_id,
        **_refs(obj),
    )


def history(
    obj: models.Model, limit: int = 20, action: str = "", also: Iterable[models.Model] = ()
) -> list[AuditEntry]:
    """The newest entries about one object, for the foot of its page; ``action``: only those that begin so; ``also``: those
    about what belongs to it."""
    about = models.Q()
    for one in (obj, *also):
        about |= models.Q(object_type=f"{one._meta.app_label}.{type(one).__name__}", object_id=str(one.pk))
    rows = AuditEntry.objects.filter(about)
    return list((rows.filter(action__startswith=action) if action else rows)[:limit])
