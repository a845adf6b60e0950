"""The registry's list, a device, its channels, and what may be done on it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices import forms, live, services, tables
from devices.choices import DeviceKind, DeviceState, Fallback
from devices.domain.twin import twin_lines
from devices.filters import DeviceFilter
from devices.models import Channel, Credential, Device, Enrolment, MachineStop
from devices.plant_time import plant_now
from devices.selectors import device_connectivity, may_somewhere, reach_of, site_tree, site_verbs, with_connectivity
from devices.views.common import (
    Crumbs,
    RecordCreate,
    RecordPage,
    RecordPanels,
    RecordUpdate,
    button,
    link,
    origin,
    registry_crumb,
)
from portal.core import audit
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
        return super().create_url() if may_somewhere(self.request.user, "change") else None

    def more(self) -> dict[str, Any]:
        if self.partial:
            return {}
        sites = [site for site in reach_of(self.request.user).sites if self.site_id in (None, str(site.pk))]
        devices = list(self.rows().order_by("name", "id")[:2000])
        return {
            "tree": site_tree(sites, devices),
            "may_change": may_somewhere(self.request.user, "change"),
            "may_add_site": self.request.user.has_perm("devices.add_site"),
        }


TABS = (
    ("now", gettext_lazy("Now")),
    ("twin", gettext_lazy("Twin and channels")),
    ("identity", gettext_lazy("Identity")),
    ("history", gettext_lazy("History")),
)


class DevicePage(RecordPage):
    """A device in four tabs; each reads only what it shows."""

    model = Device
    template = "devices/device.html"
    panels_url_name = "devices:device-panels"

    def get_queryset(self) -> Any:
        return Device.objects.select_related(*LOADED)

    def context(self, obj: Any) -> dict[str, Any]:
        self.obj = obj
        self.verbs = site_verbs(self.request.user, obj.site_id)
        asked = self.request.GET.get("tab", "now")
        tab = asked if asked in dict(TABS) else "now"
        stops = MachineStop.objects.filter(device=obj).select_related("stopped_by", "released_by")
        # Null sorts differently on the two databases, so the open stop is asked for by name.
        self.stops = list(stops.order_by("-stopped_at")[:20] if tab == "history" else stops.filter(released_at=None))
        self.stop = next((stop for stop in self.stops if stop.released_at is None), None)
        connectivity = device_connectivity(obj)
        self.is_gateway = obj.device_type.kind == DeviceKind.GATEWAY
        return {
            "object": obj,
            "title": str(obj),
            "site": obj.site,
            "state": {"state": connectivity.value, "label": connectivity.label},
            "connectivity": connectivity,
            "facts": self.facts(obj),
            "actions": self.actions(obj),
            "next_action": self._next(obj),
            "tab": tab,
            "tabs": [
                {"label": label, "url": f"?tab={key}", "active": key == tab}
                for key, label in TABS
                if key != "identity" or self.is_gateway
            ],
            "is_gateway": self.is_gateway,
            "stop": self.stop,
            **{f"may_{verb}": verb in self.verbs for verb in ("stop", "enrol", "change")},
            **origin(obj.site),
            **getattr(self, f"_{tab}")(obj),
        }

    def trail(self, obj: Any) -> Crumbs:
        place = [(str(obj.location), obj.location.get_absolute_url())] if obj.location else []
        return [registry_crumb(), (str(obj.site), obj.site.get_absolute_url()), *place, (str(obj), "")]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        found = []
        if self.is_gateway and self.stop is None and obj.state != DeviceState.RETIRED:
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
        if "change" not in self.verbs:
            return found
        found.append(button(_("Change"), reverse("devices:device-edit", args=[obj.pk]), icon="edit"))
        if obj.state == DeviceState.RETIRED:
            return [*found, self._state_button(obj, _("Put back into service"), "activate")]
        if obj.state == DeviceState.PLANNED and not self.is_gateway:
            found.append(self._state_button(obj, _("Put into service"), "activate"))
        return [*found, self._state_button(obj, _("Retire"), "retire")]

    def _state_button(self, obj: Any, label: str, verb: str) -> dict[str, Any]:
        return button(label, reverse(f"devices:device-{verb}", args=[obj.pk]), method="post")

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        address = ", ".join(f"{key} {value}" for key, value in obj.address.items())
        return [
            (_("Site"), link(obj.site)),
            (_("Place"), link(obj.location)),
            (_("Asset"), link(obj.asset)),
            (_("Type"), link(obj.device_type)),
            (_("Kind"), obj.device_type.get_kind_display()),
            (_("Protocol"), obj.device_type.get_protocol_display()),
            (_("Read by"), link(obj.gateway)),
            (_("State"), obj.get_state_display()),
            (_("Code"), obj.code),
            (_("Serial number"), obj.serial),
            (_("Address"), address),
            (_("Reports every"), f"{obj.report_every_s} s"),
            (_("When stopped"), obj.get_fallback_display()),
            (_("Key elsewhere"), f"{obj.external_source} {obj.external_id}".strip()),
        ]

    def _now(self, obj: Any) -> dict[str, Any]:
        view = live.live_view(obj)
        code = self.request.GET.get("channel") or next((s.code for s in view.signals if s.value is not None), "")
        chosen = next((s for s in view.signals if s.code == code), None)
        return {
            "view": view,
            "live_url": reverse("devices:device-live", args=[obj.pk]),
            "live_etag": live_etag(obj, view.etag),
            "figure_url": f"{reverse('devices:device-figure', args=[obj.pk])}?{urlencode({'channel': code})}"
            if code
            else "",
            "chart_title": f"{chosen.name} ({chosen.unit})" if chosen and chosen.unit else code,
            "panels_url": self.panels_url(obj),
        }

    def _twin(self, obj: Any) -> dict[str, Any]:
        lines = twin_lines(obj.wanted, obj.actual)
        channels = list(Channel.objects.filter(device=obj).order_by("code"))
        return {
            "twin": lines,
            "in_step": all(line.state in {"same", "reported"} for line in lines),
            "behind": max(0, obj.wanted_version - obj.actual_version),
            "channels": channels,
        }

    def _identity(self, obj: Any) -> dict[str, Any]:
        now = wall_now()
        enrolments = list(Enrolment.objects.filter(device=obj).order_by("-created_at")[:10])
        return {
            "enrolments": enrolments,
            "open_enrolment": next((e for e in enrolments if e.used_at is None and e.expires_at > now), None),
            "credentials": list(Credential.objects.filter(device=obj).order_by("-created_at")[:10]),
        }

    def _history(self, obj: Any) -> dict[str, Any]:
        return {"stops": self.stops, "history": audit.history(obj)}

    def _next(self, obj: Any) -> dict[str, Any] | None:
        if obj.state != DeviceState.PLANNED:
            return None
        if not self.is_gateway:
            return {"label": _("Put it into service when it is wired"), "owner": _("OT engineer")}
        return {
            "label": _("Create a claim code and enrol the gateway"),
            "url": reverse("devices:device-enrol", args=[obj.pk]) if "enrol" in self.verbs else "",
            "owner": _("OT engineer"),
        }


class DevicePanels(RecordPanels):
    model = Device

    def get_queryset(self) -> Any:
        return Device.objects.select_related(*LOADED)


def live_etag(device: Device, etag: str) -> str:
    """Changes with new rows, and with the plant's clock: ages grow even when nothing comes."""
    tick = int(plant_now(device.site).timestamp()) // 30
    return f'{etag[:-1]}-{tick:x}"'


class LivePart(Page):
    """The table of newest values, polled with an ETag."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        device = get_permitted(Device.objects.select_related(*LOADED), request.user, pk)
        etag = live_etag(device, live.etag_of(device))
        return unchanged(request, etag) or tagged(
            HttpResponse(render_to_string("devices/_live.html", {"view": live.live_view(device), "object": device})),
            etag,
        )


class FigurePart(Page):
    """One channel of the live window as a chart."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        device = get_permitted(Device.objects.select_related(*LOADED), request.user, pk)
        etag = live.etag_of(device)
        if answer := unchanged(request, etag):
            return answer
        figure = live.signal_figure(live.live_view(device), request.GET.get("channel", "")[:80])
        return tagged(HttpResponse(dumps(figure), content_type="application/json"), etag)


def unchanged(request: HttpRequest, etag: str) -> HttpResponse | None:
    asked = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    return tagged(HttpResponse(status=304), etag) if etag in asked else None


def tagged(response: HttpResponse, etag: str) -> HttpResponse:
    response["ETag"] = etag
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
        return obj.device.get_absolute_url() + "?tab=identity"


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
