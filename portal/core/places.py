"""Where a person's roles hold, for the eyes of somebody who manages people: containers they may not see are counted, not named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db.models import BooleanField, Case, Value, When
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from portal.core.access import grants_model
from portal.core.models import RoleGrant, User
from portal.core.people import KINDS
from portal.core.roles import ROLES, VERBS


@dataclass
class Place:
    """One container: ``value`` names it in forms, ``roles`` are keys, ``verbs`` what the person may do there by grant."""

    value: str
    kind: str
    name: str
    url: str
    roles: list[str] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)

    @property
    def through(self) -> str:
        return ", ".join(ROLES[role].label for role in self.roles if role in ROLES)


@dataclass(frozen=True)
class RoleHeld:
    """``everywhere``: verbs by kind that need no grant. ``bound``: the role is given on chosen containers."""

    key: str
    label: str
    everywhere: list[tuple[str, str]]
    bound: bool
    places: list[Place]


def kind_words(container: str) -> str:
    return capfirst(str(apps.get_model(container)._meta.verbose_name_plural))


def places_of(viewer: User, person: User) -> tuple[list[Place], int]:
    """What the person was granted, container by container, and how many containers the viewer may not see. Four queries."""
    roles: dict[Any, list[str]] = {}
    for role, place in sorted(RoleGrant.objects.filter(user=person).values_list("role", "container_id")):
        roles.setdefault(place, []).append(role)
    found: list[Place] = []
    hidden = 0
    for word, label in KINDS.items():
        model = apps.get_model(label)
        seen = model.objects.permitted(viewer).values("pk")
        rows = grants_model(label).objects.filter(user=person).select_related("content_object", "permission")
        if not viewer.is_superuser:
            rows = rows.annotate(seen=_among(seen))
        here: dict[Any, Place] = {}
        unseen = set()
        for row in rows:
            container = row.content_object
            if not getattr(row, "seen", True):
                unseen.add(container.pk)
                continue
            if container.pk not in here:
                here[container.pk] = Place(
                    f"{word}:{container.pk}",
                    str(capfirst(model._meta.verbose_name)),
                    str(container),
                    container.get_absolute_url(),
                    roles.get(container.pk, []),
                )
            here[container.pk].verbs.append(row.permission.codename.rsplit("_", 1)[0])
        for one in here.values():
            one.verbs.sort(key=VERBS[label].index)
        found += sorted(here.values(), key=lambda one: one.name.lower())
        hidden += len(unseen)
    return found, hidden


def _among(seen: Any) -> Any:
    return Case(When(content_object__in=seen, then=Value(True)), default=Value(False), output_field=BooleanField())


def roles_held(person: User, places: Iterable[Place]) -> list[RoleHeld]:
    """The person's roles in the order of the table of roles, each with where it holds."""
    keys = {group.name for group in person.groups.all()}
    rows = list(places)
    return [
        RoleHeld(
            role.key,
            role.label,
            [(kind_words(label), ", ".join(verbs)) for label, verbs in role.everywhere.items()],
            bool(role.on),
            [place for place in rows if role.key in place.roles],
        )
        for role in ROLES.values()
        if role.key in keys
    ]


def names_of_places(viewer: User) -> dict[Any, str]:
    """Names of all containers that any role of anybody holds on, as far as the viewer may see them. Three queries."""
    found: dict[Any, str] = {}
    for label in KINDS.values():
        held = RoleGrant.objects.filter(container=label).values("container_id")
        found |= {row.pk: str(row) for row in apps.get_model(label).objects.permitted(viewer).filter(pk__in=held)}
    return found


def in_words(person: User, names: dict[Any, str], most: int | None = None) -> list[tuple[str, str]]:
    """Role and where it holds; ``person`` with groups and role grants prefetched. ``most``: so many names, then a count."""
    where: dict[str, list[str]] = {}
    for grant in person.role_grants.all():
        where.setdefault(grant.role, []).append(names.get(grant.container_id, "…"))
    held = {group.name for group in person.groups.all()}
    return [
        (role.label, _where(sorted(where.get(role.key, []), key=str.lower), bool(role.everywhere), most))
        for role in ROLES.values()
        if role.key in held
    ]


def _where(names: list[str], everywhere: bool, most: int | None) -> str:
    shown = names if most is None or len(names) <= most + 1 else names[:most]
    text = ", ".join(shown)
    if len(shown) < len(names):
        text = _("%(names)s and %(n)d more") % {"names": text, "n": len(names) - len(shown)}
    if everywhere:
        return _("everywhere; also %(names)s") % {"names": text} if text else _("everywhere")
    return text or _("nowhere yet")
