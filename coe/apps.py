from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CoeConfig(AppConfig):
    name = "coe"
    verbose_name = _("Centre of Excellence")

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from coe.signing import may_sign
        from portal.core import signing

        signing.register(may_sign)
        post_migrate.connect(_content_sync, sender=self, dispatch_uid="coe.content_sync")


def _content_sync(apps: Any = None, **_: Any) -> None:
    from coe.services import content_sync

    # ``migrate <another app>`` on a fresh database comes by here before the tables exist.
    if apps is None or "coe" in apps.app_configs:
        content_sync()
