"""Registered on the one router of /api/v1."""

from typing import Any

from devices.api import views


def register(router: Any) -> None:
    router.register("sites", views.SiteViewSet, "site")
    router.register("locations", views.LocationViewSet, "location")
    router.register("assets", views.AssetViewSet, "asset")
    router.register("device-types", views.DeviceTypeViewSet, "device-type")
    router.register("devices", views.DeviceViewSet, "device")
    router.register("channels", views.ChannelViewSet, "channel")
    router.register("enrolments", views.EnrolmentViewSet, "enrolment")
    router.register("credentials", views.CredentialViewSet, "credential")
