from typing import Any

from portal.dashboard.api.views import DashboardViewSet


def register(router: Any) -> None:
    router.register("", DashboardViewSet, "dashboard")
