"""What edge_bridge shows on pages of lower apps: models on a device, rollouts of an adoption."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from devices.choices import DeviceKind
from edge_bridge.models import GatewayState, Installation, Rollout
from edge_bridge.selectors import IN_FORCE, sources_of
from portal.core import panels


def device_installations(user: Any, device: Any) -> dict[str, Any] | None:
    """Versions wanted and running on a gateway, newest first, and what its way to the portal looks like."""
    if device.device_type.kind != DeviceKind.GATEWAY:
        return None
    rows = list(
        Installation.objects.permitted(user)
        .filter(device=device)
        .select_related("version_of_model__model", "adoption__use_case", "adoption__site", "rollout")[:12]
    )
    said = device.actual.get("installations", {}) if isinstance(device.actual, dict) else {}
    state = GatewayState.objects.filter(pk=device.pk).first()
    return {
        "installations": rows,
        "link": device.actual if isinstance(device.actual, dict) else {},
        "errors": [f"{key}: {entry['error']}" for key, entry in said.items() if entry.get("error")],
        "problem": state.problem if state else "",
        "sources": sources_of(device),
    }


def adoption_rollouts(user: Any, adoption: Any) -> dict[str, Any] | None:
    rollouts = list(
        Rollout.objects.permitted(user)
        .filter(adoption=adoption)
        .select_related("version_of_model__model", "adoption__use_case", "adoption__site")[:6]
    )
    running = list(
        Installation.objects.permitted(user)
        .filter(adoption=adoption, state__in=IN_FORCE)
        .select_related("version_of_model__model", "device")
        .order_by("version_of_model__model__name", "device__name")
    )
    return {"rollouts": rollouts, "running": running}


def register_all() -> None:
    panels.register(
        panels.Panel(
            "devices.Device",
            "installations",
            _("Models on this gateway"),  # type: ignore[arg-type]
            "edge_bridge/_device_panel.html",
            device_installations,
            20,
        )
    )
    panels.register(
        panels.Panel(
            "usecases.Adoption",
            "rollouts",
            _("Models in this plant"),  # type: ignore[arg-type]
            "edge_bridge/_adoption_panel.html",
            adoption_rollouts,
            30,
        )
    )
