from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DevicesConfig(AppConfig):
    name = "devices"
    verbose_name = _("Devices")

    def ready(self) -> None:
        from devices.models import Asset, Device, DeviceType, Location, Site
        from devices.selectors import sites_for_switcher
        from portal.core import navigation, search

        navigation.register(
            navigation.NavItem("architect", _("Sites & devices"), "devices:devices", "device", 10),
            navigation.NavItem("architect", _("Onboarding"), "devices:onboarding", "enrolment", 20),
        )
        navigation.register_site_lister(sites_for_switcher)
        kinds = (
            ("site", _("Site"), Site, ("name", "code"), "devices:site", 10),
            ("device", _("Device"), Device, ("name", "code", "serial"), "devices:device", 20),
            ("location", _("Place"), Location, ("name", "path"), "devices:location", 30),
            ("asset", _("Asset"), Asset, ("name", "code", "serial"), "devices:asset", 40),
            ("device_type", _("Device type"), DeviceType, ("name", "manufacturer"), "devices:device-type", 60),
        )
        for key, label, model, fields, url_name, order in kinds:
            icon = "device" if key == "device_type" else key
            search.register_model(
                key=key, label=label, model=model, fields=fields, url_name=url_name, icon=icon, order=order
            )
        search.register(search.SearchKind("channel", _("Channel"), _find_channels, 50))


def _find_channels(user: object, text: str, limit: int) -> list:
    """A channel has no page of its own: the hit leads to its line on the device's."""
    from django.db.models import Q

    from devices.models import Channel
    from portal.core.search import Hit

    rows = (
        Channel.objects.permitted(user)
        .select_related("device")
        .filter(Q(code__icontains=text) | Q(name__icontains=text))
    )
    return [
        Hit(str(_("Channel")), str(row), row.get_absolute_url(), f"{row.name}, {row.device}", "channel")
        for row in rows[:limit]
    ]
