from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EdgeBridgeConfig(AppConfig):
    name = "edge_bridge"
    verbose_name = _("Edge bridge")

    def ready(self) -> None:
        from edge_bridge import panels, providers
        from edge_bridge.models import Rollout
        from edge_bridge.receivers import version_withdrawn as withdrawn
        from edge_bridge.rollouts import EdgeRelease
        from governance.backends import register_release
        from governance.signals import version_withdrawn
        from portal.core import navigation, search

        register_release(EdgeRelease())
        version_withdrawn.connect(withdrawn, dispatch_uid="edge_bridge.version_withdrawn")
        panels.register_all()
        providers.register_all()
        navigation.register(
            navigation.NavItem("architect", _("Rollouts"), "edge_bridge:rollouts", "rollout", 40),
            navigation.NavItem("architect", _("Connections"), "edge_bridge:connections", "connection", 60),
        )
        search.register_model(
            key="rollout",
            label=_("Rollout"),
            model=Rollout,
            fields=("version_of_model__model__name", "adoption__site__name"),
            url_name="edge_bridge:rollout",
            icon="rollout",
            order=70,
        )
