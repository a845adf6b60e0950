"""Permission as a queryset: ``Model.objects.permitted(user, action)``; unseen is 404 everywhere.

A model says in ``access`` through which containers it is reached; grants (django-guardian) exist on containers only, so a
check is one subquery, never a row per device or channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    ``when``: what must hold of a row besides; this way opens no other (plain columns and foreign keys only).
    """

    container: str | None = None
    path: str = ""
    own: str = ""
    everybody: tuple[str, ...] = ()
    everything: str = ""
    verbs: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()
    when: Q | None = None

    def verb(self, action: str) -> str:
        return dict(self.verbs).get(action, _AS_VERB.get(action, action))


def container_codename(container: str, verb: str) -> str:
    return f"{verb}_{container.split('.')[1].lower()}"


def container_permission(container: str, verb: str) -> str:
    return f"{container.split('.')[0]}.{container_codename(container, verb)}"


def granted_ids(user: User, container: str, verb: str) -> models.QuerySet[Any]:
    """Ids of the containers of this kind on which the user holds the verb, as a subquery."""
    return (
        grants_model(container)
        .objects.filter(user=user, permission__codename=container_codename(container, verb))
        .values("content_object_id")
    )


EVERY_ROW = Q()


def reach_of(model: Any, user: Any, action: str) -> Q | None:
    """The condition on rows of this model for the action: ``EVERY_ROW``, None for no row at all, or what must hold."""
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return None
    # What is private to a person (``private_to_persons``) is private before a superuser too.
    if user.is_superuser and not getattr(model, "private_to_persons", False):
        return EVERY_ROW
    reach: Q | None = None
    for way in model.access:
        if way.only and action not in way.only:
            continue
        for condition in _opened_by(way, model, user, action):
            narrowed = condition
            if way.when is not None:
                narrowed = way.when if condition is EVERY_ROW else condition & way.when
            if narrowed is EVERY_ROW:
                return EVERY_ROW
            reach = narrowed if reach is None else reach | narrowed
    return reach


def _opened_by(way: Access, model: Any, user: Any, action: str) -> Iterator[Q]:
    """The conditions under which this way opens rows, before its ``when``."""
    if action in way.everybody or (way.everything and user.has_perm(way.everything)):
        yield EVERY_ROW
        return
    if way.own:
        yield _match(model, way.own, user.pk)
    if way.container:
        verb = way.verb(action)
        if not user.has_perm(container_permission(way.container, verb)):
            yield _match(model, way.path, granted_ids(user, way.container, verb), "__in")
        elif way.path in {"pk", "id"} or not _nullable(model, way.path):
            yield EVERY_ROW
        else:
            yield _match(model, way.path, False, "__isnull")


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


def offered(queryset: Any, user: Any) -> Any:
    """The rows that a form or a body may name: those the user may see, and people by everybody."""
    named = any("name" in way.everybody for way in queryset.model.access)
    return queryset.permitted(user, "name" if named else "view")


def grants_model(container: str) -> Any:
    """The table of object permissions on this kind of container."""
    app_label, name = container.split(".")
    return apps.get_model(app_label, f"{name}UserObjectPermission")


def _by_kind(containers: Iterable[models.Model]) -> dict[str, list[models.Model]]:
    found: dict[str, list[models.Model]] = {}
    for container in containers:
        found.setdefault(f"{container._meta.app_label}.{type(container).__name__}", []).append(container)
    return found


def grant_role(user: User, role_key: str, *containers: models.Model) -> None:
    """Give a person a role, and its verbs on these containers (a kind on which the role has none is passed over)."""
    from django.contrib.auth.models import Group, Permission

    from portal.core.models import RoleGrant

    role = ROLES[role_key]
    user.groups.add(Group.objects.get(name=role_key))
    user.__dict__.pop("standing", None)
    for label, rows in _by_kind(containers).items():
        verbs = role.on.get(label, ())
        if not verbs:
            continue
        RoleGrant.objects.bulk_create(
            [RoleGrant(user=user, role=role_key, container=label, container_id=row.pk) for row in rows],
            ignore_conflicts=True,
        )
        model = grants_model(label)
        permissions = Permission.objects.filter(
            content_type__app_label=label.split(".")[0],
            codename__in=[container_codename(label, verb) for verb in verbs],
        )
        model.objects.bulk_create(
            [model(user=user, permission=permission, content_object=row) for permission in permissions for row in rows],
            ignore_conflicts=True,
        )


def revoke_role(user: User, role_key: str, *containers: models.Model) -> None:
    """Take a role's verbs on these containers back, but for those that another role of the person gives there."""
    from portal.core.models import RoleGrant

    for label, rows in _by_kind(containers).items():
        here = RoleGrant.objects.filter(user=user, container=label, container_id__in=[row.pk for row in rows])
        here.filter(role=role_key).delete()
        kept: dict[Any, set[str]] = {}
        for place, other in here.values_list("container_id", "role"):
            kept.setdefault(place, set()).update(ROLES[other].on.get(label, ()) if other in ROLES else ())
        together: dict[frozenset[str], list[Any]] = {}
        for row in rows:
            taken = frozenset(ROLES[role_key].on.get(label, ())) - kept.get(row.pk, set())
            together.setdefault(taken, []).append(row.pk)
        for verbs, ids in together.items():
            grants_model(label).objects.filter(
                user=user,
                content_object_id__in=ids,
                permission__codename__in=[container_codename(label, verb) for verb in verbs],
            ).delete()


def _record_grants() -> None:
    """Verbs that were granted before roles were recorded per container: each role that the person holds and that they cover."""
    from django.contrib.auth.models import Group
    from django.db import connection

    from portal.core.models import RoleGrant

    tables = set(connection.introspection.table_names())
    for label in VERBS:
        model = grants_model(label)
        if not {model._meta.db_table, RoleGrant._meta.db_table} <= tables:
            continue
        known = set(RoleGrant.objects.filter(container=label).values_list("user_id", "container_id"))
        verbs: dict[tuple[Any, Any], set[str]] = {}
        for person, place, codename in model.objects.values_list(
            "user_id", "content_object_id", "permission__codename"
        ):
            if (person, place) not in known:
                verbs.setdefault((person, place), set()).add(codename)
        held: dict[Any, set[str]] = {}
        for person, role in Group.objects.filter(user__in={who for who, _ in verbs}).values_list("user", "name"):
            held.setdefault(person, set()).add(role)
        RoleGrant.objects.bulk_create(
            [
                RoleGrant(user_id=person, role=role.key, container=label, container_id=place)
                for (person, place), codenames in verbs.items()
                for role in ROLES.values()
                if role.key in held.get(person, ())
                and role.on.get(label)
                and {container_codename(label, verb) for verb in role.on[label]} <= codenames
            ],
            ignore_conflicts=True,
        )


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
    _record_grants()


def container_permissions(container: str) -> list[tuple[str, StrOrPromise]]:
    """The ``Meta.permissions`` of a container model (Django itself makes view and change)."""
    name = container.split(".")[1]
    return [
        (container_codename(container, verb), f"Can {verb} {name}")
        for verb in VERBS[container]
        if verb not in {"view", "change"}
    ]
