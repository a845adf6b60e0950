"""The registry's list, a device, its channels, and what may be done on it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices import forms, live, services, tables
from devices.choices import DeviceKind, DeviceState, Fallback
from devices.domain.twin import twin_lines
from devices.filters import DeviceFilter
from devices.models import Channel, Credential, Device, Enrolment, MachineStop, Site
from devices.plant_time import plant_now
from devices.selectors import device_connectivity, site_tree, with_connectivity
from devices.views.common import Crumbs, RecordCreate, RecordPage, RecordUpdate, button, registry_crumb
from portal.core.access import get_permitted, require
from portal.core.api.renderers import dumps
from portal.core.clock import wall_now
from portal.core.pages import ActionPage, DeletePage, FormPage, ListPage, Page
from portal.core.records import entity_delete, entity_update

LOADED = ("site__plant_clock", "location", "asset", "device_type", "gateway__site")

# What the machine does while its models are stopped, said before the button is pressed.
FALLBACK_SAYS = {
    Fallback.LAST_GOOD: gettext_lazy(
        "The version that ran before computes instead. Without one the machine goes on with no model."
    ),
    Fallback.BYPASS: gettext_lazy("No model computes. Readings still reach the portal; the machine itself goes on."),
    Fallback.SHUTDOWN: gettext_lazy(
        "The gateway lets go of the machine: no model computes and nothing is read until the stop is lifted."
    ),
}


class DeviceList(ListPage):
    title = gettext_lazy("Sites & devices")
    model = Device
    table_class = tables.DeviceTable
    filterset_class = DeviceFilter
    site_path = "site_id"
    template = "devices/devices.html"
    create_url_name = "devices:device-new"
    create_label = gettext_lazy("Add device")
    export_name = "devices"
    empty = gettext_lazy("No device is registered yet. Add the first one, or bring a list of them.")

    def get_queryset(self) -> Any:
        return with_connectivity(Device.objects.select_related("site", "location", "device_type"))

    def create_url(self) -> str | None:
        return super().create_url() if self._may_change() else None

    def _may_change(self) -> bool:
        if not hasattr(self, "_change"):
            self._change = Site.objects.permitted(self.request.user, "change").exists()
        return self._change

    def more(self) -> dict[str, Any]:
        if self.partial:
            return {}
        sites = Site.objects.permitted(self.request.user).select_related("plant_clock")
        if self.site_id:
            sites = sites.filter(pk=self.site_id)
        devices = list(self.rows().order_by("name", "id")[:2000])
        return {
            "tree": site_tree(sites, devices),
            "may_change": self._may_change(),
            "may_add_site": self.request.user.has_perm("devices.add_site"),
        }


class DevicePage(RecordPage):
    model = Device
    template = "devices/device.html"

    def get_queryset(self) -> Any:
        return Device.objects.select_related(*LOADED)

    def site_of(self, obj: Any) -> Site:
        return obj.site

    def trail(self, obj: Any) -> Crumbs:
        place = [(str(obj.location), obj.location.get_absolute_url())] if obj.location else []
        return [registry_crumb(), (str(obj.site), obj.site.get_absolute_url()), *place, (str(obj), "")]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        found = []
        self.stops = list(
            MachineStop.objects.filter(device=obj)
            .select_related("stopped_by", "released_by")
            .order_by("-stopped_at")[:10]
        )
        self.stop = next((stop for stop in self.stops if stop.released_at is None), None)
        is_gateway = obj.device_type.kind == DeviceKind.GATEWAY
        if is_gateway and self.stop is None and obj.state != DeviceState.RETIRED:
            found.append(
                button(
                    _("Stop on this machine"),
                    reverse("devices:device-stop", args=[obj.pk]),
                    allowed="stop" in self.verbs,
                    model=Device,
                    verb="stop",
                    danger=True,
                    icon="stop",
                )
            )
        if "change" in self.verbs:
            found.append(button(_("Change"), reverse("devices:device-edit", args=[obj.pk]), icon="edit"))
            if obj.state != DeviceState.RETIRED:
                if obj.state == DeviceState.PLANNED and not is_gateway:
                    found.append(self._state_button(obj, _("Put into service"), "activate"))
                found.append(self._state_button(obj, _("Retire"), "retire"))
            else:
                found.append(self._state_button(obj, _("Put back into service"), "activate"))
        return found

    def _state_button(self, obj: Any, label: str, verb: str) -> dict[str, Any]:
        return button(label, reverse(f"devices:device-{verb}", args=[obj.pk]), method="post")

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        address = ", ".join(f"{key} {value}" for key, value in obj.address.items())
        return [
            (_("Site"), obj.site),
            (_("Place"), obj.location.path if obj.location else None),
            (_("Asset"), obj.asset),
            (_("Type"), obj.device_type),
            (_("Kind"), obj.device_type.get_kind_display()),
            (_("Protocol"), obj.device_type.get_protocol_display()),
            (_("Read by"), obj.gateway),
            (_("State"), obj.get_state_display()),
            (_("Code"), obj.code),
            (_("Serial number"), obj.serial),
            (_("Address"), address),
            (_("Reports every"), f"{obj.report_every_s} s"),
            (_("When stopped"), obj.get_fallback_display()),
            (_("Key elsewhere"), f"{obj.external_source} {obj.external_id}".strip()),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        now = wall_now()
        connectivity = device_connectivity(obj, now)
        is_gateway = obj.device_type.kind == DeviceKind.GATEWAY
        view = live.live_view(obj)
        lines = twin_lines(obj.wanted, obj.actual)
        code = self.request.GET.get("channel") or next((s.code for s in view.signals if s.value is not None), "")
        enrolments = list(Enrolment.objects.filter(device=obj).order_by("-created_at")[:5]) if is_gateway else []
        channels = [channel for channel in view.channels if channel.device_id == obj.pk]
        return {
            "state": {"state": connectivity.value, "label": connectivity.label},
            "connectivity": connectivity,
            "is_gateway": is_gateway,
            "stop": self.stop,
            "stops": self.stops,
            "may_stop": "stop" in self.verbs,
            "may_enrol": "enrol" in self.verbs,
            "may_change": "change" in self.verbs,
            "view": view,
            "live_url": reverse("devices:device-live", args=[obj.pk]),
            "live_etag": live_etag(obj, view),
            "figure_url": f"{reverse('devices:device-figure', args=[obj.pk])}?channel={code}" if code else "",
            "chosen": code,
            "series": [s for s in view.signals if s.value is not None],
            "channels": tables.ChannelTable(channels) if channels else None,
            "channel_count": len(channels),
            "twin": lines,
            "twin_differs": [line for line in lines if line.state in {"differs", "waiting"}],
            "twin_behind": obj.actual_version < obj.wanted_version,
            "enrolments": enrolments,
            "open_enrolment": next((e for e in enrolments if e.used_at is None and e.expires_at > now), None),
            "credentials": list(Credential.objects.filter(device=obj).order_by("-created_at")[:10])
            if is_gateway
            else [],
            "next_action": self._next(obj, is_gateway),
        }

    def _next(self, obj: Any, is_gateway: bool) -> dict[str, Any] | None:
        if obj.state == DeviceState.PLANNED and is_gateway:
            return {
                "label": _("Create a claim code and enrol the gateway"),
                "url": reverse("devices:device-enrol", args=[obj.pk]) if "enrol" in self.verbs else "",
                "owner": _("OT engineer"),
            }
        if obj.state == DeviceState.PLANNED:
            return {"label": _("Put it into service when it is wired"), "owner": _("OT engineer")}
        return None


def live_etag(device: Device, view: live.LiveView) -> str:
    """Changes with new rows, and with the plant's clock: ages grow even when nothing comes."""
    tick = int(plant_now(device.site).timestamp()) // 30
    return f'{view.etag[:-1]}-{tick:x}"'


def _not_modified(request: HttpRequest, etag: str) -> bool:
    return etag in {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}


class LivePart(Page):
    """The table of newest values, polled with an ETag."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        device = get_permitted(Device.objects.select_related(*LOADED), request.user, pk)
        view = live.live_view(device)
        etag = live_etag(device, view)
        if _not_modified(request, etag):
            response = HttpResponse(status=304)
        else:
            response = render(request, "devices/_live.html", {"view": view, "object": device})
        response["ETag"] = etag
        response["Cache-Control"] = "private, no-cache"
        return response


class FigurePart(Page):
    """One channel of the live window as a chart."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        device = get_permitted(Device.objects.select_related(*LOADED), request.user, pk)
        view = live.live_view(device)
        if _not_modified(request, view.etag):
            response = HttpResponse(status=304)
        else:
            response = HttpResponse(
                dumps(live.signal_figure(view, request.GET.get("channel", "")[:80])), content_type="application/json"
            )
        response["ETag"] = view.etag
        response["Cache-Control"] = "private, no-cache"
        return response


class DeviceCreate(RecordCreate):
    title = gettext_lazy("New device")
    model = Device
    form_class = forms.DeviceForm
    container_field = "site"

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        return services.device_register(actor=self.request.user, **data)


class DeviceUpdate(RecordUpdate):
    model = Device
    form_class = forms.DeviceForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        data.pop("site", None)
        return services.device_update(actor=self.request.user, device=obj, data=data, expected_version=version)


class DeviceDelete(DeletePage):
    model = Device
    list_url_name = "devices:devices"


class DeviceActivate(ActionPage):
    model = Device
    success = gettext_lazy("In service.")

    def act(self, obj: Any) -> None:
        services.device_set_state(actor=self.request.user, device=obj, state=DeviceState.ACTIVE)


class DeviceRetire(ActionPage):
    model = Device
    success = gettext_lazy("Retired: its credentials no longer work.")

    def act(self, obj: Any) -> None:
        services.device_set_state(actor=self.request.user, device=obj, state=DeviceState.RETIRED)


class StopPage(FormPage):
    """Stop on this machine: what it does is said before the button."""

    title = gettext_lazy("Stop on this machine")
    form_class = forms.StopForm
    template = "devices/stop.html"
    submit_label = gettext_lazy("Stop on this machine")
    success = gettext_lazy("Stopped. The gateway is told; the page shows when it has confirmed.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return Device.objects.select_related(*LOADED).seen_by(self.request.user, pk, "stop")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return forms.StopForm(data=data, initial={"fallback": obj.fallback})

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "title": _("Stop on %(name)s") % {"name": obj},
            "breadcrumbs": [registry_crumb(), (str(obj), obj.get_absolute_url()), (str(self.title), "")],
            "says": [(choice.label, FALLBACK_SAYS[choice]) for choice in Fallback],
            "declared": obj.get_fallback_display(),
        }

    def save(self, obj: Any, form: Any) -> str:
        services.machine_stop(actor=self.request.user, device=obj, **form.cleaned_data)
        return obj.get_absolute_url()


class ReleaseAction(ActionPage):
    model = Device
    verb = "stop"
    success = gettext_lazy("The stop is lifted.")

    def act(self, obj: Any) -> None:
        services.machine_release(actor=self.request.user, device=obj)


class EnrolPage(FormPage):
    """A claim code for one device; after it was made the page shows it once, with the command to run."""

    title = gettext_lazy("Enrol")
    form_class = forms.EnrolForm
    template = "devices/enrol.html"
    submit_label = gettext_lazy("Create claim code")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return Device.objects.select_related(*LOADED).seen_by(self.request.user, pk, "enrol")

    def more(self, obj: Any) -> dict[str, Any]:
        held = self.request.session.get("claim") or {}
        shown = self.request.session.pop("claim") if held.get("device") == str(obj.pk) else None
        portal = self.request.build_absolute_uri("/").rstrip("/")
        return {
            "title": _("Enrol %(name)s") % {"name": obj},
            "breadcrumbs": [registry_crumb(), (str(obj), obj.get_absolute_url()), (str(self.title), "")],
            "claim": shown,
            "commands": enrol_commands(portal, shown["code"]) if shown else None,
        }

    def save(self, obj: Any, form: Any) -> str:
        enrolment, code = services.enrolment_create(actor=self.request.user, device=obj, ttl=form.cleaned_data["ttl"])
        self.request.session["claim"] = {
            "device": str(obj.pk),
            "code": code,
            "expires_at": enrolment.expires_at.isoformat(),
        }
        return reverse("devices:device-enrol", args=[obj.pk])


def enrol_commands(portal: str, code: str) -> list[str]:
    """What to run on the gateway, in order."""
    plain = " --allow-http" if portal.startswith("http://") else ""
    return [
        f"phasegate-agent enrol --state-dir /var/lib/phasegate --portal {portal} --claim-code {code}{plain}",
        "phasegate-agent run --state-dir /var/lib/phasegate",
    ]


class CredentialRevoke(ActionPage):
    model = Credential
    verb = "revoke"
    success = gettext_lazy("Revoked: the gateway cannot sign in with it any more.")

    def act(self, obj: Any) -> str:
        services.credential_revoke(actor=self.request.user, credential=obj)
        return obj.device.get_absolute_url() + "#identity"


class ChannelCreate(RecordCreate):
    title = gettext_lazy("New channel")
    model = Channel
    form_class = forms.ChannelForm

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        require(data["device"].site, self.request.user, "change")
        return super().perform(data, many)


class ChannelUpdate(RecordUpdate):
    model = Channel
    form_class = forms.ChannelForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        require(data["device"].site, self.request.user, "change")
        return entity_update(actor=self.request.user, obj=obj, data=data, expected_version=version)


class ChannelDelete(ActionPage):
    model = Channel
    success = gettext_lazy("Deleted.")

    def act(self, obj: Any) -> str:
        target = obj.device.get_absolute_url()
        entity_delete(actor=self.request.user, obj=obj)
        return target
