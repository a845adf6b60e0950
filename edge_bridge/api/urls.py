"""Registered on the one router of /api/v1."""

from typing import Any

from edge_bridge.api import views


def register(router: Any) -> None:
    router.register("gateways", views.GatewayViewSet, "gateway")
    router.register("installations", views.InstallationViewSet, "installation")
    router.register("rollouts", views.RolloutViewSet, "rollout")
    router.register("waves", views.WaveViewSet, "wave")
    router.register("wave-targets", views.WaveTargetViewSet, "wave-target")
    router.register("connections", views.ConnectionViewSet, "connection")
