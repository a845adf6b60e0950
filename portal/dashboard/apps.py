from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DashboardConfig(AppConfig):
    name = "portal.dashboard"
    label = "dashboard"
    verbose_name = _("Dashboard")

    def ready(self) -> None:
        from portal.core import navigation
        from portal.dashboard.banner import replay_banner

        navigation.register(
            navigation.NavItem("home", _("Cockpit"), "dashboard:cockpit", "cockpit", 10),
            navigation.NavItem("home", _("My work"), "dashboard:work", "my_work", 20, _work_count),
            navigation.NavItem("home", _("My plant"), "dashboard:plant", "my_plant", 30),
            navigation.NavItem("home", _("Scale map"), "dashboard:scale-map", "scale_map", 40),
        )
        navigation.register_banner(replay_banner)


def _work_count(user: Any) -> int:
    from portal.dashboard.work import menu_count

    return menu_count(user)
