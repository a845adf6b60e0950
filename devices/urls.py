"""Addresses of the pages."""

from django.urls import path

from devices.views import devices, onboarding, registry

app_name = "devices"

urlpatterns = [
    path("devices/", devices.DeviceList.as_view(), name="devices"),
    path("devices/new", devices.DeviceCreate.as_view(), name="device-new"),
    path("devices/import", onboarding.ImportPage.as_view(), name="import"),
    path("devices/<uuid:pk>/", devices.DevicePage.as_view(), name="device"),
    path("devices/<uuid:pk>/edit", devices.DeviceUpdate.as_view(), name="device-edit"),
    path("devices/<uuid:pk>/delete", devices.DeviceDelete.as_view(), name="device-delete"),
    path("devices/<uuid:pk>/activate", devices.DeviceActivate.as_view(), name="device-activate"),
    path("devices/<uuid:pk>/retire", devices.DeviceRetire.as_view(), name="device-retire"),
    path("devices/<uuid:pk>/stop", devices.StopPage.as_view(), name="device-stop"),
    path("devices/<uuid:pk>/release", devices.ReleaseAction.as_view(), name="device-release"),
    path("devices/<uuid:pk>/enrol", devices.EnrolPage.as_view(), name="device-enrol"),
    path("devices/<uuid:pk>/live", devices.LivePart.as_view(), name="device-live"),
    path("devices/<uuid:pk>/panels", devices.DevicePanels.as_view(), name="device-panels"),
    path("devices/<uuid:pk>/figure", devices.FigurePart.as_view(), name="device-figure"),
    path("channels/new", devices.ChannelCreate.as_view(), name="channel-new"),
    path("channels/<uuid:pk>/edit", devices.ChannelUpdate.as_view(), name="channel-edit"),
    path("channels/<uuid:pk>/delete", devices.ChannelDelete.as_view(), name="channel-delete"),
    path("credentials/<uuid:pk>/revoke", devices.CredentialRevoke.as_view(), name="credential-revoke"),
    path("onboarding/", onboarding.OnboardingPage.as_view(), name="onboarding"),
    path("sites/new", registry.SiteCreate.as_view(), name="site-new"),
    path("sites/<uuid:pk>/", registry.SitePage.as_view(), name="site"),
    path("sites/<uuid:pk>/panels", registry.SitePanels.as_view(), name="site-panels"),
    path("sites/<uuid:pk>/edit", registry.SiteUpdate.as_view(), name="site-edit"),
    path("sites/<uuid:pk>/delete", registry.SiteDelete.as_view(), name="site-delete"),
    path("sites/<uuid:pk>/replay", registry.ReplayPage.as_view(), name="site-replay"),
    path("locations/new", registry.LocationCreate.as_view(), name="location-new"),
    path("locations/<uuid:pk>/", registry.LocationPage.as_view(), name="location"),
    path("locations/<uuid:pk>/edit", registry.LocationUpdate.as_view(), name="location-edit"),
    path("locations/<uuid:pk>/delete", registry.LocationDelete.as_view(), name="location-delete"),
    path("assets/new", registry.AssetCreate.as_view(), name="asset-new"),
    path("assets/<uuid:pk>/", registry.AssetPage.as_view(), name="asset"),
    path("assets/<uuid:pk>/edit", registry.AssetUpdate.as_view(), name="asset-edit"),
    path("assets/<uuid:pk>/delete", registry.AssetDelete.as_view(), name="asset-delete"),
    path("device-types/", registry.DeviceTypeList.as_view(), name="device-types"),
    path("device-types/new", registry.DeviceTypeCreate.as_view(), name="device-type-new"),
    path("device-types/<uuid:pk>/", registry.DeviceTypePage.as_view(), name="device-type"),
    path("device-types/<uuid:pk>/edit", registry.DeviceTypeUpdate.as_view(), name="device-type-edit"),
    path("device-types/<uuid:pk>/delete", registry.DeviceTypeDelete.as_view(), name="device-type-delete"),
]
