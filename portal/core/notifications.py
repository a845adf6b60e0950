"""Lines in people's inboxes."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Q

from portal.core.access import container_codename
from portal.core.models import Notification, User


def notify(*, user_ids: Iterable[Any], kind: str, text: str, url: str = "", dedupe_key: str | None = None) -> None:
    """One line per person; a ``dedupe_key`` seen before for a person is not written again."""
    rows = [
        Notification(user_id=user_id, kind=kind, text=text[:300], url=url, dedupe_key=dedupe_key)
        for user_id in dict.fromkeys(user_ids)
    ]
    Notification.objects.bulk_create(rows, ignore_conflicts=True)


def people_who_may(container: Any, verb: str) -> list[Any]:
    """Ids of the active users who hold this verb on this container, by grant or by a role that has it everywhere."""
    from django.apps import apps

    label = f"{container._meta.app_label}.{type(container).__name__}"
    codename = container_codename(label, verb)
    rows = apps.get_model(container._meta.app_label, f"{type(container).__name__}UserObjectPermission")
    granted = rows.objects.filter(content_object=container, permission__codename=codename).values("user_id")
    everywhere = Permission.objects.filter(codename=codename, content_type__app_label=container._meta.app_label)
    return list(
        User.objects.filter(Q(pk__in=granted) | Q(groups__permissions__in=everywhere), is_active=True)
        .distinct()
        .values_list("pk", flat=True)
    )
