from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CoeConfig(AppConfig):
    name = "coe"
    verbose_name = _("Centre of Excellence")

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from coe import panels, providers, receivers  # noqa: F401
        from coe.models import Action, CoeRole, Retrospective, RoiReview, Track
        from coe.services.deputies import stand_ins
        from coe.signing import may_sign
        from portal.core import navigation, search, signing

        signing.register(may_sign)
        signing.register_deputies(stand_ins, "coe:deputies")
        providers.register_all()
        panels.register_all()
        navigation.register(
            navigation.NavItem("enable", _("CoE"), "coe:overview", "coe", 10),
            navigation.NavItem("enable", _("Upskilling"), "coe:tracks", "track", 20),
            navigation.NavItem("enable", _("Retrospectives"), "coe:retrospectives", "retrospective", 30),
            navigation.NavItem("enable", _("ROI reviews"), "coe:roi-reviews", "roi_review", 40),
            navigation.NavItem("enable", _("Actions"), "coe:actions", "action", 50),
        )
        kinds = (
            ("coe_role", _("CoE role"), CoeRole, ("name", "description"), "coe:role", 70),
            ("track", _("Track"), Track, ("title", "summary"), "coe:track", 71),
            (
                "retrospective",
                _("Retrospective"),
                Retrospective,
                ("site__name", "went_well", "to_improve"),
                "coe:retrospective",
                72,
            ),
            (
                "roi_review",
                _("ROI review"),
                RoiReview,
                ("adoption__use_case__title", "adoption__site__name", "note"),
                "coe:roi-review",
                73,
            ),
            ("action", _("Action"), Action, ("text",), "coe:action", 74),
        )
        for key, label, model, fields, url_name, order in kinds:
            search.register_model(
                key=key, label=label, model=model, fields=fields, url_name=url_name, icon=key, order=order
            )
        post_migrate.connect(_content_sync, sender=self, dispatch_uid="coe.content_sync")


def _content_sync(apps: Any = None, **_: Any) -> None:
    from coe.services import content_sync

    # ``migrate <another app>`` on a fresh database comes by here before the tables exist.
    if apps is None or "coe" in apps.app_configs:
        content_sync()
