"""Plain create, change and delete of one record, with validation, version and audit. Verbs with rules live in the apps' services."""

from __future__ import annotations

from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import Deletion, Entity, RoleGrant
from portal.core.roles import VERBS

M = TypeVar("M", bound=models.Model)


def _word(obj: models.Model, verb: str) -> str:
    return f"{obj._meta.model_name}.{verb}"


def _clean(obj: models.Model, exclude: tuple[str, ...] = ()) -> None:
    try:
        obj.full_clean(exclude=exclude)
    except ValidationError as error:
        rows = [
            {"field": "" if field == "__all__" else field, "message": message}
            for field, messages in error.message_dict.items()
            for message in messages
        ]
        raise InvalidInput(rows) from error


@transaction.atomic
def entity_create(
    *, actor: Any, model: type[M], data: dict[str, Any], action: str = "", many: dict[str, Any] | None = None
) -> M:
    """Create one record from validated data; ``many`` holds many-to-many values."""
    obj = model(**data)
    _clean(obj)
    try:
        with transaction.atomic():
            obj.save(force_insert=True)
    except IntegrityError as error:
        raise DomainError("conflict", "A record with these values exists already.") from error
    for name, value in (many or {}).items():
        getattr(obj, name).set(value)
    audit.record(actor=actor, action=action or _word(obj, "create"), obj=obj, changes=data | (many or {}))
    return obj


@transaction.atomic
def entity_update(
    *,
    actor: Any,
    obj: M,
    data: dict[str, Any],
    expected_version: int | None = None,
    action: str = "",
    many: dict[str, Any] | None = None,
) -> M:
    """Change fields of one record; ``expected_version`` makes it conditional (``StaleWrite`` when somebody was faster)."""
    changes: dict[str, Any] = {}
    for name, value in data.items():
        old = getattr(obj, name)
        if old != value:
            changes[name] = [old, value]
            setattr(obj, name, value)
    for name, value in (many or {}).items():
        wanted = {v.pk for v in value}
        before = set(getattr(obj, name).values_list("pk", flat=True))
        if before != wanted:
            changes[name] = [sorted(map(str, before)), sorted(map(str, wanted))]
            getattr(obj, name).set(value)
    if expected_version is not None and isinstance(obj, Entity) and not changes and obj.version != expected_version:
        raise StaleWrite
    if not changes:
        return obj
    _clean(obj)
    values = {name: getattr(obj, name) for name in data if name in changes}
    try:
        with transaction.atomic():
            versioned_update(obj, expected_version=expected_version, **values)
    except IntegrityError as error:
        raise DomainError("conflict", "A record with these values exists already.") from error
    audit.record(actor=actor, action=action or _word(obj, "update"), obj=obj, changes=changes)
    return obj


def versioned_update(
    obj: models.Model, *, expected_version: int | None = None, where: dict[str, Any] | None = None, **values: Any
) -> None:
    """One conditional UPDATE: raises the version, refuses with ``StaleWrite`` when ``where`` or the version no longer holds."""
    rows = type(obj)._default_manager.filter(pk=obj.pk, **(where or {}))
    if isinstance(obj, Entity):
        if expected_version is not None:
            rows = rows.filter(version=expected_version)
        values |= {"version": models.F("version") + 1, "updated_at": wall_now()}
    if rows.update(**values) != 1:
        raise StaleWrite
    if isinstance(obj, Entity):
        obj.refresh_from_db(fields=[*values])
    else:
        for name, value in values.items():
            setattr(obj, name, value)


def change_state(obj: Any, *, field: str = "state", old: str | tuple[str, ...], new: str, **values: Any) -> None:
    """Move a state by a conditional update, so that of two workers one wins; the loser gets ``DomainError("wrong_state")``."""
    allowed = (old,) if isinstance(old, str) else old
    moved: dict[str, Any] = {field: new, **values}
    try:
        versioned_update(obj, where={f"{field}__in": allowed}, **moved)
    except StaleWrite as error:
        obj.refresh_from_db(fields=[field])
        raise DomainError(
            "wrong_state",
            f"This is {getattr(obj, field).replace('_', ' ')} now; that step needs {' or '.join(a.replace('_', ' ') for a in allowed)}.",
            {"state": getattr(obj, field), "needed": list(allowed)},
        ) from error


@transaction.atomic
def entity_delete(*, actor: Any, obj: models.Model, action: str = "") -> None:
    """Delete one record; what still needs it is named in the refusal."""
    refs = audit._refs(obj)
    entry = audit.record(actor=actor, action=action or _word(obj, "delete"), obj=obj)
    try:
        with transaction.atomic():
            pk = obj.pk
            obj.delete()
    except ProtectedError as error:
        names = sorted({str(o._meta.verbose_name) for o in error.protected_objects})
        raise DomainError("in_use", f"This is still used by: {', '.join(names)}. Remove those first.") from error
    if entry.object_type in VERBS:
        RoleGrant.objects.filter(container=entry.object_type, container_id=pk).delete()
    Deletion.objects.create(object_type=entry.object_type, object_id=pk, **refs)
