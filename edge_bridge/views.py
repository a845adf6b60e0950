"""Pages: rollouts, installations, connections."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import quote_etag
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.choices import DeviceKind
from devices.models import Device, Site
from devices.selectors import with_connectivity
from edge_bridge import forms, services, tables
from edge_bridge.choices import ConnectionKind, WaveState
from edge_bridge.filters import InstallationFilter, RolloutFilter
from edge_bridge.models import Connection, Installation, Rollout
from edge_bridge.rollouts import OPEN
from portal.core.access import get_permitted, require
from portal.core.pages import DetailPage, FormPage, ListPage, Page

LOADED = (
    "adoption__site",
    "adoption__use_case",
    "version_of_model__model",
    "previous__model",
    "incident",
    "retraining",
    "started_by",
)


class RolloutList(ListPage):
    title = gettext_lazy("Rollouts")
    model = Rollout
    table_class = tables.RolloutTable
    filterset_class = RolloutFilter
    site_path = "adoption__site_id"
    create_url_name = "edge_bridge:rollout-new"
    create_label = gettext_lazy("Start a rollout")
    empty = gettext_lazy(
        "No version has been rolled out yet. A signed version goes to one gateway first, then to the rest."
    )

    def get_queryset(self) -> Any:
        return Rollout.objects.select_related(
            "adoption__site", "adoption__use_case", "version_of_model__model", "previous"
        )

    def create_url(self) -> str | None:
        return super().create_url() if Site.objects.permitted(self.request.user, "operate").exists() else None


class InstallationList(ListPage):
    title = gettext_lazy("Installations")
    model = Installation
    table_class = tables.InstallationTable
    filterset_class = InstallationFilter
    site_path = "device__site_id"
    empty = gettext_lazy("No model version is wanted on any gateway yet.")

    def get_queryset(self) -> Any:
        return Installation.objects.select_related("device__site", "version_of_model__model")


def wave_views(rollout: Rollout) -> list[dict[str, Any]]:
    """Waves with their targets, the decision per device and the soak figures, as the page shows them."""
    found = []
    for wave in rollout.waves.prefetch_related("targets__device").all():
        targets = {str(t.device_id): t for t in wave.targets.all()}
        decided = [d for d in wave.gate.get("devices", []) if d["device"] in targets]
        rows = [
            {
                "target": targets[d["device"]],
                "device": targets[d["device"]].device,
                "memory": (d["memory_kb"], d["memory_budget_kb"]),
                "latency": (d["latency_us"], d["latency_budget_us"]),
                "link": d["link"],
            }
            for d in decided
        ]
        found.append({"wave": wave, "rows": rows, "soak": wave.gate.get("soak", []), "text": wave.gate.get("text", "")})
    return found


def excluded(rollout: Rollout, waves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gateways that were looked at and left out, with the reasons they were left out for."""
    return [d for d in waves[0]["wave"].gate.get("devices", []) if not d["included"]] if waves else []


def steps_of(rollout: Rollout, waves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = [{"label": _("Started"), "at": rollout.started_at, "state": "done"}]
    for item in waves:
        wave = item["wave"]
        state = {WaveState.PASSED: "done", WaveState.FAILED: "bad", WaveState.PENDING: ""}.get(wave.state, "now")
        steps.append({"label": wave.name, "at": wave.finished_at, "state": state, "note": wave.get_state_display()})
    ended = {"succeeded": "done", "rolled_back": "bad", "stopped": "bad"}.get(rollout.state, "")
    steps.append(
        {"label": rollout.get_state_display() if ended else _("Live"), "at": rollout.finished_at, "state": ended}
    )
    return steps


class RolloutPage(DetailPage):
    model = Rollout
    template = "edge_bridge/rollout.html"

    def get_queryset(self) -> Any:
        return Rollout.objects.select_related(*LOADED)

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Rollouts"), reverse("edge_bridge:rollouts"))]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Adoption"), obj.adoption),
            (_("Instead of"), obj.previous or _("nothing: the first version")),
            (_("Rows to watch"), obj.soak_rows),
            (_("Error at most"), f"{obj.worst_error_ratio:g} ×"),
            (_("Started by"), obj.started_by or _("the retraining loop, under the version's signature")),
            (_("Incident"), obj.incident),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if obj.state in OPEN and self.may(obj, "stop"):
            url = reverse("edge_bridge:rollout-stop", args=[obj.pk])
            return [{"label": _("Stop and take back"), "url": url, "method": "get", "danger": True, "icon": "stop"}]
        return []

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "live_url": reverse("edge_bridge:rollout-live", args=[obj.pk]),
            "live_etag": rollout_etag(obj),
            "state": {"state": obj.tone, "label": obj.get_state_display()},
        } | live_context(obj)


def live_context(rollout: Rollout) -> dict[str, Any]:
    waves = wave_views(rollout)
    return {
        "object": rollout,
        "waves": waves,
        "excluded": excluded(rollout, waves),
        "steps": steps_of(rollout, waves),
        "open": rollout.state in OPEN,
    }


def rollout_etag(rollout: Rollout) -> str:
    """Moves with the rollout and with its waves (the soak figures are written into a wave)."""
    newest = max((w.updated_at for w in rollout.waves.all()), default=rollout.updated_at)
    return quote_etag(f"{rollout.pk.hex[-8:]}-{rollout.version}-{newest.timestamp():.6f}")


class RolloutLive(Page):
    """The moving part of a rollout's page, polled with its ETag."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        rollout = get_permitted(Rollout.objects.select_related(*LOADED), request.user, pk)
        etag = rollout_etag(rollout)
        if request.headers.get("If-None-Match") == etag:
            return HttpResponse(status=304, headers={"ETag": etag})
        response = render(request, "edge_bridge/_waves.html", live_context(rollout))
        response["ETag"] = etag
        return response


class RolloutCreate(FormPage):
    title = gettext_lazy("Start a rollout")
    form_class = forms.RolloutForm
    submit_label = gettext_lazy("Start with the canary")
    success = gettext_lazy("The rollout has begun: the canary gets the version first.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Rollouts"), reverse("edge_bridge:rollouts"))]

    def cancel_url(self, obj: Any) -> str:
        return reverse("edge_bridge:rollouts")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        for name in ("version", "adoption"):
            if data is None and name in self.request.GET:
                form.initial[name] = self.request.GET[name]
        return form

    def save(self, obj: Any, form: Any) -> str:
        data = form.cleaned_data
        require(data["adoption"], self.request.user, "operate")
        return services.rollout_start(actor=self.request.user, **data).get_absolute_url()


class RolloutStop(FormPage):
    title = gettext_lazy("Stop the rollout")
    form_class = forms.StopForm
    submit_label = gettext_lazy("Stop and take back")
    success = gettext_lazy("Stopped. Every gateway goes back to the version before.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(Rollout.objects.select_related(*LOADED), self.request.user, pk, "stop")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Rollouts"), reverse("edge_bridge:rollouts"))]

    def save(self, obj: Any, form: Any) -> str:
        services.rollout_stop(actor=self.request.user, rollout=obj, reason=form.cleaned_data["reason"])
        return obj.get_absolute_url()


class Connections(Page):
    title = gettext_lazy("Connections")

    def get(self, request: HttpRequest) -> HttpResponse:
        known = {row.kind: row for row in Connection.objects.permitted(request.user)}
        rows = [{"kind": kind, "label": label, "row": known.get(kind)} for kind, label in ConnectionKind.choices]
        gateways = with_connectivity(
            Device.objects.permitted(request.user)
            .filter(device_type__kind=DeviceKind.GATEWAY)
            .exclude(state="retired")
            .select_related("site", "gateway_state")
        )
        if self.site_id:
            gateways = gateways.filter(site_id=self.site_id)
        return self.render("edge_bridge/connections.html", {"rows": rows, "gateways": gateways.order_by("name")[:200]})
