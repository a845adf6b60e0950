"""Lines in people's inboxes."""

from collections.abc import Iterable
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Q
from kombu.exceptions import OperationalError

from portal.core.access import container_codename
from portal.core.models import Notification, User

log = structlog.get_logger(__name__)


def notify(
    *,
    user_ids: Iterable[Any],
    kind: str,
    text: str,
    url: str = "",
    dedupe_key: str | None = None,
    mail: bool = False,
) -> None:
    """One line per person; a ``dedupe_key`` seen before for a person is not written again.

    ``mail``: the same line goes out by mail as well, once the transaction is committed, where a mail server is set up.
    """
    rows = [
        Notification(user_id=user_id, kind=kind, text=text[:300], url=url, dedupe_key=dedupe_key)
        for user_id in dict.fromkeys(user_ids)
    ]
    Notification.objects.bulk_create(rows, ignore_conflicts=True)
    if mail and rows and settings.EMAIL_HOST:
        # A line that was there already keeps its own key, so its new twin is not found and not sent.
        ids = [str(row.pk) for row in rows]
        transaction.on_commit(lambda: _send(ids), robust=True)


def _send(ids: list[str]) -> None:
    from portal.core.tasks import mail_lines

    # A broker that is away costs the mail, never the line in the inbox.
    try:
        mail_lines.apply_async(args=[ids], retry=False)
    except (OSError, OperationalError) as error:
        log.warning("notifications.broker_away", lines=len(ids), error=str(error))


def reach(container: Any, verb: str) -> Q:
    """The condition on people who hold this verb on this container, by grant or by a role that has it everywhere."""
    from django.apps import apps

    label = f"{container._meta.app_label}.{type(container).__name__}"
    codename = container_codename(label, verb)
    rows = apps.get_model(container._meta.app_label, f"{type(container).__name__}UserObjectPermission")
    granted = rows.objects.filter(content_object=container, permission__codename=codename).values("user_id")
    everywhere = Permission.objects.filter(codename=codename, content_type__app_label=container._meta.app_label)
    return Q(pk__in=granted) | Q(groups__permissions__in=everywhere)


def people_who_may(container: Any, verb: str) -> list[Any]:
    """Ids of the active users who hold this verb on this container."""
    found = User.objects.filter(reach(container, verb), is_active=True).distinct()
    return list(found.values_list("pk", flat=True))
