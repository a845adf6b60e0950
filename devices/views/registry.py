"""Sites, places, assets and device types."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices import forms, services, tables
from devices.filters import DeviceTypeFilter
from devices.models import Asset, Device, DeviceType, Location, Site
from devices.plant_time import plant_clock, replay_want
from devices.selectors import site_tree, with_connectivity
from devices.views.common import (
    Crumbs,
    RecordCreate,
    RecordPage,
    RecordPanels,
    RecordUpdate,
    button,
    link,
    registry_crumb,
)
from portal.core.access import require, require_global
from portal.core.pages import DeletePage, FormPage, ListPage
from portal.core.records import entity_update


def devices_at(user: Any, **where: Any) -> Any:
    rows = Device.objects.permitted(user).filter(**where)
    return with_connectivity(rows.select_related("device_type", "location", "site")).order_by("name", "id")


class SitePage(RecordPage):
    model = Site
    template = "devices/site.html"
    panels_url_name = "devices:site-panels"

    def get_queryset(self) -> Any:
        return Site.objects.select_related("plant_clock")

    def site_of(self, obj: Any) -> Site:
        return obj

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        change = "change" in self.verbs
        query = f"?site={obj.pk}"
        return [
            button(
                _("Add device"),
                reverse("devices:device-new") + query,
                allowed=change,
                model=Site,
                verb="change",
                primary=True,
                icon="add",
            ),
            *([button(_("Add place"), reverse("devices:location-new") + query, icon="add")] if change else []),
            *([button(_("Change"), reverse("devices:site-edit", args=[obj.pk]), icon="edit")] if change else []),
        ]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Code"), obj.code),
            (_("Kind"), obj.get_kind_display()),
            (_("Time zone"), obj.time_zone),
            (_("Currency"), obj.currency),
            (_("Key elsewhere"), f"{obj.external_source} {obj.external_id}".strip()),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        devices = list(devices_at(self.request.user, site=obj))
        clock = plant_clock(obj)
        replay = obj.kind != "live"
        return {
            "tree": site_tree([obj], devices),
            "device_count": len(devices),
            "clock": clock,
            "replay": replay,
            "rows_unit": _("of %(all)s") % {"all": f"{clock.rows_total:,}"} if clock else "",
            "rows_note": _("%(left)s left") % {"left": f"{clock.rows_total - clock.rows_done:,}"} if clock else "",
            "paces": (1, 4, 20, 100),
            "may_operate": "operate" in self.verbs,
        }


class SitePanels(RecordPanels):
    model = Site

    def get_queryset(self) -> Any:
        return Site.objects.select_related("plant_clock")


class SiteCreate(RecordCreate):
    title = gettext_lazy("New site")
    model = Site
    form_class = forms.SiteForm
    create_permission = "devices.add_site"
    success = gettext_lazy("The site is there. Give people roles on it, then add places and devices.")


class SiteUpdate(RecordUpdate):
    model = Site
    form_class = forms.SiteForm


class SiteDelete(DeletePage):
    model = Site
    list_url_name = "devices:devices"

    def act(self, obj: Any) -> str:
        require_global(self.request.user, "devices.add_site", "delete")
        return super().act(obj)


class ReplayPage(FormPage):
    """Pace, jump and pause of a replaying PLC."""

    title = gettext_lazy("Replay")
    form_class = forms.ReplayForm
    submit_label = gettext_lazy("Ask the PLC")
    success = gettext_lazy("Asked. The PLC reports when it has taken it over.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return Site.objects.select_related("plant_clock").all().seen_by(self.request.user, pk, "operate")

    def breadcrumbs(self) -> Crumbs:
        return [registry_crumb(), (str(self.title), "")]

    def save(self, obj: Any, form: Any) -> str:
        replay_want(actor=self.request.user, site=obj, **form.cleaned_data)
        return obj.get_absolute_url() + "#replay"


class LocationPage(RecordPage):
    model = Location
    template = "devices/place.html"

    def get_queryset(self) -> Any:
        return Location.objects.select_related("site__plant_clock", "parent")

    def site_of(self, obj: Any) -> Site:
        return obj.site

    def trail(self, obj: Any) -> Crumbs:
        above = [(str(obj.parent), obj.parent.get_absolute_url())] if obj.parent else []
        return [registry_crumb(), (str(obj.site), obj.site.get_absolute_url()), *above, (str(obj), "")]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if "change" not in self.verbs:
            return [button(_("Change"), "", allowed=False, model=Location, verb="change")]
        query = f"?site={obj.site_id}"
        return [
            button(_("Add device"), f"{reverse('devices:device-new')}{query}&location={obj.pk}", icon="add"),
            button(_("Add asset"), f"{reverse('devices:asset-new')}?location={obj.pk}", icon="add"),
            button(
                _("Add place inside"),
                f"{reverse('devices:location-new')}{query}&parent={obj.pk}",
                icon="add",
            ),
            button(_("Change"), reverse("devices:location-edit", args=[obj.pk]), icon="edit"),
            button(
                _("Delete"),
                reverse("devices:location-delete", args=[obj.pk]),
                method="post",
                danger=True,
                icon="delete",
            ),
        ]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [(_("Level (ISA-95)"), obj.get_level_display()), (_("Path"), obj.path), (_("Site"), link(obj.site))]

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "places": Location.objects.filter(parent=obj).order_by("path"),
            "assets": Asset.objects.filter(location=obj).order_by("name"),
            "devices": devices_at(self.request.user, location=obj),
            "empty_text": _("Nothing stands here yet."),
        }


class LocationCreate(RecordCreate):
    title = gettext_lazy("New place")
    model = Location
    form_class = forms.LocationForm
    container_field = "site"


class LocationUpdate(RecordUpdate):
    model = Location
    form_class = forms.LocationForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.location_update(actor=self.request.user, location=obj, data=data, expected_version=version)


class LocationDelete(DeletePage):
    model = Location
    list_url_name = "devices:devices"


class AssetPage(RecordPage):
    model = Asset
    template = "devices/place.html"

    def get_queryset(self) -> Any:
        return Asset.objects.select_related("location__site__plant_clock")

    def site_of(self, obj: Any) -> Site:
        return obj.location.site

    def trail(self, obj: Any) -> Crumbs:
        place = obj.location
        return [
            registry_crumb(),
            (str(place.site), place.site.get_absolute_url()),
            (str(place), place.get_absolute_url()),
            (str(obj), ""),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if "change" not in self.verbs:
            return [button(_("Change"), "", allowed=False, model=Asset, verb="change")]
        return [
            button(
                _("Add device"),
                f"{reverse('devices:device-new')}?site={obj.location.site_id}&location={obj.location_id}&asset={obj.pk}",
                icon="add",
            ),
            button(_("Change"), reverse("devices:asset-edit", args=[obj.pk]), icon="edit"),
            button(
                _("Delete"), reverse("devices:asset-delete", args=[obj.pk]), method="post", danger=True, icon="delete"
            ),
        ]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Code"), obj.code),
            (_("Kind"), obj.kind),
            (_("Manufacturer"), obj.manufacturer),
            (_("Serial number"), obj.serial),
            (_("Place"), link(obj.location)),
            (_("Site"), link(obj.location.site)),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "devices": devices_at(self.request.user, asset=obj),
            "empty_text": _("No device is at this machine yet."),
        }


class AssetCreate(RecordCreate):
    title = gettext_lazy("New asset")
    model = Asset
    form_class = forms.AssetForm

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        require(data["location"].site, self.request.user, "change")
        return super().perform(data, many)


class AssetUpdate(RecordUpdate):
    model = Asset
    form_class = forms.AssetForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        require(data["location"].site, self.request.user, "change")
        return entity_update(actor=self.request.user, obj=obj, data=data, expected_version=version)


class AssetDelete(DeletePage):
    model = Asset
    list_url_name = "devices:devices"


class DeviceTypeList(ListPage):
    title = gettext_lazy("Device types")
    model = DeviceType
    table_class = tables.DeviceTypeTable
    filterset_class = DeviceTypeFilter
    create_url_name = "devices:device-type-new"
    create_label = gettext_lazy("New device type")
    create_permission = "devices.add_site"
    empty = gettext_lazy("No makes of device are known yet. Add one before the first device.")

    def get_queryset(self) -> Any:
        return DeviceType.objects.annotate(devices_count=Count("devices"))

    def breadcrumbs(self) -> Crumbs:
        return [registry_crumb(), (str(self.title), "")]


class DeviceTypePage(RecordPage):
    model = DeviceType
    template = "devices/place.html"

    def trail(self, obj: Any) -> Crumbs:
        return [registry_crumb(), (_("Device types"), reverse("devices:device-types")), (str(obj), "")]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return [button(_("Change"), "", allowed=False, model=DeviceType, verb="change")]
        return [
            button(_("Change"), reverse("devices:device-type-edit", args=[obj.pk]), icon="edit"),
            button(
                _("Delete"),
                reverse("devices:device-type-delete", args=[obj.pk]),
                method="post",
                danger=True,
                icon="delete",
            ),
        ]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Kind"), obj.get_kind_display()),
            (_("Manufacturer"), obj.manufacturer),
            (_("Protocol"), obj.get_protocol_display()),
            (_("Standard protocol"), _("yes") if obj.standard else _("no")),
            (_("Memory for models"), f"{obj.memory_kb:,} KiB" if obj.memory_kb else None),
            (_("Latency budget"), f"{obj.latency_budget_us:,} µs" if obj.latency_budget_us else None),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "devices": devices_at(self.request.user, device_type=obj),
            "empty_text": _("No device of this make yet."),
        }


class DeviceTypeCreate(RecordCreate):
    title = gettext_lazy("New device type")
    model = DeviceType
    form_class = forms.DeviceTypeForm
    create_permission = "devices.add_site"


class DeviceTypeUpdate(RecordUpdate):
    model = DeviceType
    form_class = forms.DeviceTypeForm


class DeviceTypeDelete(DeletePage):
    model = DeviceType
    list_url_name = "devices:device-types"
