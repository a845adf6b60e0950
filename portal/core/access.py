"""Permission as a queryset: ``Model.objects.permitted(user, action)``; unseen is 404 everywhere.

A model says in ``access`` through which containers it is reached; grants (django-guardian) exist on containers only, so a
check is one subquery, never a row per device or channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import BooleanField, Case, Q, Value, When
from django.http import Http404

from portal.core.errors import NotAllowed
from portal.core.roles import ROLES, VERBS, roles_that_may

if TYPE_CHECKING:
    from uuid import UUID

    from django_stubs_ext import StrOrPromise

    from portal.core.models import User

# Actions that are not verbs of the container map onto one; anything else is looked up under its own name.
_AS_VERB = {"create": "change", "delete": "change", "update": "change"}


@dataclass(frozen=True)
class Access:
    """One way to a model's rows.

    ``container``: label of the container model, or None for rows that belong to a person or to everybody.
    ``path``: lookup from the row to the container's id. ``own``: lookup to the owning user's id.
    ``everybody``: any signed-in user may do these actions. ``everything``: a permission that opens all rows to all actions.
    ``verbs``: overrides action -> container verb for this way. ``only``: this way opens these actions only.
    """

    container: str | None = None
    path: str = ""
    own: str = ""
    everybody: tuple[str, ...] = ()
    everything: str = ""
    verbs: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()

    def verb(self, action: str) -> str:
        return dict(self.verbs).get(action, _AS_VERB.get(action, action))


def container_codename(container: str, verb: str) -> str:
    return f"{verb}_{container.split('.')[1].lower()}"


def container_permission(container: str, verb: str) -> str:
    return f"{container.split('.')[0]}.{container_codename(container, verb)}"


def granted_ids(user: User, container: str, verb: str) -> models.QuerySet[Any]:
    """Ids of the containers of this kind on which the user holds the verb, as a subquery."""
    app_label, name = container.split(".")
    rows = apps.get_model(app_label, f"{name}UserObjectPermission")
    return rows.objects.filter(user=user, permission__codename=container_codename(container, verb)).values(
        "content_object_id"
    )


EVERY_ROW = Q()


def reach_of(model: Any, user: Any, action: str) -> Q | None:
    """The condition on rows of this model for the action: ``EVERY_ROW``, None for no row at all, or what must hold."""
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return None
    if user.is_superuser:
        return EVERY_ROW
    reach: Q | None = None
    for way in model.access:
        if way.only and action not in way.only:
            continue
        if action in way.everybody or (way.everything and user.has_perm(way.everything)):
            return EVERY_ROW
        found: list[Q] = []
        if way.own:
            found.append(_match(model, way.own, user.pk))
        if way.container:
            verb = way.verb(action)
            if user.has_perm(container_permission(way.container, verb)):
                if way.path in {"pk", "id"} or not _nullable(model, way.path):
                    return EVERY_ROW
                found.append(_match(model, way.path, False, "__isnull"))
            else:
                found.append(_match(model, way.path, granted_ids(user, way.container, verb), "__in"))
        for condition in found:
            reach = condition if reach is None else reach | condition
    return reach


class PermittedQuerySet(models.QuerySet[Any]):
    def permitted(self, user: Any, action: str = "view") -> PermittedQuerySet:
        """The rows on which this user may do this action."""
        reach = reach_of(self.model, user, action)
        if reach is None:
            return self.none()
        return self.all() if reach is EVERY_ROW else self.filter(reach)

    def seen_by(self, user: Any, pk: Any, action: str = "view") -> Any:
        """The one row, or 404 when it may not be seen, or ``NotAllowed`` when it may be seen but not acted on."""
        return get_permitted(self, user, pk, action)


def _steps(model: type[models.Model], path: str) -> Iterator[Any]:
    """The fields along a lookup path."""
    current: Any = model
    for part in path.split("__"):
        if part == "pk":
            return
        field = current._meta.get_field(
            part.removesuffix("_id") if part.endswith("_id") and part != "external_id" else part
        )
        yield field
        if field.is_relation:
            current = field.related_model


def _nullable(model: type[models.Model], path: str) -> bool:
    return any(getattr(field, "null", False) or field.many_to_many for field in _steps(model, path))


def _match(model: type[models.Model], path: str, value: Any, lookup: str = "") -> Q:
    """A condition that never doubles rows: many-to-many paths go through a subquery."""
    condition = Q(**{f"{path}{lookup}": value})
    if any(field.many_to_many or field.one_to_many for field in _steps(model, path)):
        return Q(pk__in=model._default_manager.filter(condition).values("pk"))
    return condition


def who_may(model: Any, action: str) -> list[str]:
    labels: list[str] = []
    for way in model.access:
        if way.container and not (way.only and action not in way.only):
            labels += [label for label in roles_that_may(way.container, way.verb(action)) if label not in labels]
    return labels


def get_permitted(queryset: PermittedQuerySet, user: Any, pk: UUID | str, action: str = "view") -> Any:
    from django.core.exceptions import ValidationError

    try:
        found = queryset.permitted(user, "view").filter(pk=pk).first()
    except (ValidationError, ValueError) as error:
        raise Http404 from error
    if found is None:
        raise Http404
    if action != "view":
        require(found, user, action)
    return found


def with_may(queryset: Any, user: Any, *actions: str) -> Any:
    """Annotates ``may_<action>``: whether the row is among those permitted for it. What a page asks about its object costs no query."""
    for action in actions:
        reach = reach_of(queryset.model, user, action)
        told = (
            Value(reach is EVERY_ROW, output_field=BooleanField())
            if reach is None or reach is EVERY_ROW
            else Case(When(reach, then=Value(True)), default=Value(False), output_field=BooleanField())
        )
        queryset = queryset.annotate(**{f"may_{action}": told})
    return queryset


def require(obj: Any, user: Any, action: str) -> None:
    """Raise ``NotAllowed`` unless the user may do the action on this (visible) object."""
    if not may(obj, user, action):
        raise NotAllowed(action, who_may(type(obj), action))


def may(obj: Any, user: Any, action: str) -> bool:
    """Whether ``obj``, a row of the database, is among the permitted ones; no query where all are, or none."""
    reach = reach_of(type(obj), user, action)
    if reach is None or reach is EVERY_ROW:
        return reach is EVERY_ROW
    return type(obj)._default_manager.filter(reach, pk=obj.pk).exists()


def require_global(user: Any, permission: str, what: str) -> None:
    if not user.has_perm(permission):
        raise NotAllowed(what, [role.label for role in ROLES.values() if permission in role.extra])


def grant_role(user: User, role_key: str, *containers: models.Model) -> None:
    """Give a person a role, and its verbs on these containers."""
    from django.contrib.auth.models import Group
    from guardian.shortcuts import assign_perm

    role = ROLES[role_key]
    user.groups.add(Group.objects.get(name=role_key))
    user.__dict__.pop("standing", None)
    for container in containers:
        label = f"{container._meta.app_label}.{type(container).__name__}"
        for verb in role.on.get(label, ()):
            assign_perm(container_permission(label, verb), user, container)


def revoke_role(user: User, role_key: str, *containers: models.Model) -> None:
    """Take a role's verbs on these containers back (all of the person's verbs there; other roles must be granted again)."""
    from guardian.shortcuts import remove_perm

    role = ROLES[role_key]
    for container in containers:
        label = f"{container._meta.app_label}.{type(container).__name__}"
        for verb in role.on.get(label, ()):
            remove_perm(container_permission(label, verb), user, container)


def sync_roles(app_config: Any = None, **_: object) -> None:
    """Groups and their global permissions follow portal.core.roles after every migration (once, when the last app reports)."""
    if app_config is not None and app_config is not [c for c in apps.get_app_configs() if c.models_module][-1]:
        return
    from django.contrib.auth.management import create_permissions
    from django.contrib.auth.models import Group, Permission

    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0)
    known = {f"{p.content_type.app_label}.{p.codename}": p for p in Permission.objects.select_related("content_type")}
    for role in ROLES.values():
        group = Group.objects.get_or_create(name=role.key)[0]
        wanted = [container_permission(label, verb) for label, verbs in role.everywhere.items() for verb in verbs]
        group.permissions.set([known[name] for name in (*wanted, *role.extra) if name in known])


def container_permissions(container: str) -> list[tuple[str, StrOrPromise]]:
    """The ``Meta.permissions`` of a container model (Django itself makes view and change)."""
    name = container.split(".")[1]
    return [
        (container_codename(container, verb), f"Can {verb} {name}")
        for verb in VERBS[container]
        if verb not in {"view", "change"}
    ]
