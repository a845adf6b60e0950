"""What the portal wants of a gateway, computed from the records: its PLCs, their channels, the versions to run, stops, replay control.

Nothing here is stored: the same records give the same document. ``Device.wanted_version`` is its version and ETag; whoever changes a
record that shows in it calls ``gateway_changed``, and ``refresh`` notices every other change by the document's digest.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import structlog
from django.conf import settings
from django.db import transaction

from devices.choices import ChannelRole, DeviceKind, DeviceState, SiteKind
from devices.models import Channel, Device, MachineStop, PlantClock
from devices.services import device_want
from devices.services.twin import wanted_version_raise
from edge_bridge import wire
from edge_bridge.models import GatewayState
from edge_bridge.selectors import Place, Source, channels_of, installations_in_force, places_of, sources_of
from governance.artefacts import KEY_ID
from governance.models import ModelVersion

log = structlog.get_logger(__name__)
_TUNABLE = {"poll_ms": int, "window_rows": int, "window_ms": int, "mode": str}


class ConfigProblem(Exception):
    """The records do not make a document that a gateway could carry out; the message says which and why."""


def manifest_of(version: ModelVersion) -> wire.Manifest:
    """The signed manifest of a version; ConfigProblem when the record holds none."""
    try:
        return msgspec.json.decode(version.manifest, type=wire.Manifest)
    except msgspec.MsgspecError as error:
        raise ConfigProblem(f"{version}: the manifest cannot be read ({error})") from error


def signature_of(version: ModelVersion) -> wire.Signature:
    try:
        raw = base64.b64decode(version.signature, validate=True)
        return msgspec.convert({"key": KEY_ID, "value": raw}, wire.Signature)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigProblem(f"{version} is not signed") from error


def channel_config(channel: Channel) -> wire.ChannelConfig | None:
    """A channel as a gateway reads it; None for one without a register. ``Channel.source``: register, type, divisor, offset."""
    source = channel.source if isinstance(channel.source, dict) else {}
    register = source.get("register", source.get("address"))
    if channel.role != ChannelRole.SIGNAL or register is None:
        return None
    return _checked(
        wire.ChannelConfig,
        f"channel {channel.code}",
        name=channel.code,
        address=register,
        type=source.get("type", "float64"),
        divisor=source.get("divisor", 1.0),
        offset=source.get("offset", 0.0),
        unit=channel.unit,
        low=channel.range_low,
        high=channel.range_high,
    )


def source_config(source: Source, channels: list[Channel], *, replayed: bool) -> wire.SourceConfig:
    """A PLC as a gateway reads it. ``PLC.address``: host, port, unit, slots, and optionally mode, poll_ms, window_rows, window_ms."""
    plc, address = source.plc, source.plc.address
    if not address.get("host"):
        raise ConfigProblem(f"{plc.code}: the address names no host")
    configs = [c for c in map(channel_config, channels) if c is not None]
    if not configs:
        raise ConfigProblem(f"{plc.code}: no channel has a register")
    label = next((c for c in channels if c.role == ChannelRole.LABEL), None)
    return _checked(
        wire.SourceConfig,
        plc.code,
        name=plc.code,
        host=address["host"],
        port=address.get("port", 502),
        device_id=address.get("unit", 1),
        slot=source.slot,
        channels=sorted(configs, key=lambda c: (c.address, c.name)),
        labels=wire.LabelConfig(name=label.code, unit=label.unit) if label is not None else None,
        controls_replay=source.first and replayed,
        **{name: address[name] for name in _TUNABLE if name in address},
    )


def _checked(kind: Any, what: str, **values: Any) -> Any:
    try:
        return msgspec.convert(msgspec.to_builtins(kind(**values)), kind)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise ConfigProblem(f"{what}: {error}") from error


def _order(place: Place, *, canary: bool, fallback: str) -> wire.Installation:
    version = place.installation.version_of_model
    return wire.Installation(
        id=place.key,
        source=place.source,
        manifest=manifest_of(version),
        signature=signature_of(version),
        url=f"{wire.HTTP_PREFIX}artefacts/{version.sha256}",
        fallback=fallback,  # type: ignore[arg-type]
        role="shadow" if place.installation.shadow else "active",
        canary=canary,
    )


def _replay(gateway: Device, sources: list[Source], clock: PlantClock | None) -> list[wire.ReplayControl]:
    if clock is None or not clock.wanted:
        return []
    wanted = clock.wanted
    jump = wanted.get("jump")
    return [
        wire.ReplayControl(
            source=source.name,
            pace=wanted.get("rows_per_second"),
            paused=wanted.get("paused"),
            jump=wire.ReplayJump(id=jump["id"], row=jump["row"]) if jump else None,
        )
        for source in sources
        if source.first
    ]


def desired_state(gateway: Device) -> tuple[wire.DesiredState, list[str]]:
    """The document, and what had to be left out of it with the reason. Eight queries, whatever the number of channels.

    ``gateway`` with ``site`` loaded. A PLC or version whose record is broken is left out alone: the rest goes on.
    """
    problems: list[str] = []
    sources = sources_of(gateway)
    channels = channels_of(source.plc for source in sources)
    replayed = gateway.site.kind != SiteKind.LIVE
    configs: list[wire.SourceConfig] = []
    for source in sources:
        try:
            configs.append(source_config(source, channels[source.plc.pk], replayed=replayed))
        except ConfigProblem as problem:
            problems.append(str(problem))
    usable = [source for source in sources if source.name in {c.name for c in configs}]
    stop = MachineStop.objects.filter(device=gateway, released_at=None).first()
    rows = installations_in_force(gateway)
    orders: list[wire.Installation] = []
    for place in places_of(rows, usable):
        row = place.installation
        canary = row.shadow or (row.rollout is not None and row.rollout.state in {"running", "soaking"})
        try:
            orders.append(_order(place, canary=canary, fallback=stop.fallback if stop else row.fallback))
        except ConfigProblem as problem:
            problems.append(str(problem))
    clock = PlantClock.objects.filter(pk=gateway.site_id).first() if replayed else None
    beat = float(min(3600, max(1, gateway.report_every_s)))
    state = wire.DesiredState(
        version=gateway.wanted_version,
        sources=configs,
        installations=orders,
        stopped=stop is not None,
        replay=_replay(gateway, usable, clock),
        heartbeat_s=beat,
        report_s=beat,
        poll_s=5.0,
    )
    return state, problems


def digest_of(state: wire.DesiredState) -> str:
    """Of everything but the version and the replay control (whose changes raise the version themselves)."""
    return hashlib.sha256(wire.encode(msgspec.structs.replace(state, version=0, replay=[]))).hexdigest()


def wanted_summary(gateway: Device) -> dict[str, str]:
    """Wire id to version number, for the twin: compare with what the gateway reports under the same key."""
    return {
        place.key: f"v{place.installation.version_of_model.number}"
        for place in places_of(installations_in_force(gateway), sources_of(gateway))
    }


@transaction.atomic
def gateway_changed(gateway: Device, *, actor: Any = None) -> None:
    """Something in the gateway's document changed: its twin says what is wanted now, and its version rises by one."""
    gateway.refresh_from_db(fields=["wanted", "wanted_version", "version"])
    before = gateway.wanted_version
    wanted = {key: value for key, value in gateway.wanted.items() if key != "models"}
    models = wanted_summary(gateway)
    device_want(actor=actor, device=gateway, wanted=wanted | ({"models": models} if models else {}))
    gateway.refresh_from_db(fields=["wanted_version"])
    if gateway.wanted_version == before:
        wanted_version_raise(gateway.pk)
        gateway.refresh_from_db(fields=["wanted_version"])


def active_gateways() -> list[Device]:
    return list(
        Device.objects.filter(device_type__kind=DeviceKind.GATEWAY, state=DeviceState.ACTIVE)
        .select_related("site__plant_clock", "device_type")
        .order_by("pk")
    )


def refresh() -> int:
    """Raise the version of each gateway whose document is not what it was; returns how many. Idempotent."""
    kept = {row.device_id: row for row in GatewayState.objects.all()}
    raised = 0
    for gateway in active_gateways():
        state, problems = desired_state(gateway)
        digest, problem = digest_of(state), "; ".join(problems)[:300]
        before = kept.get(gateway.pk)
        if before is not None and before.desired_digest == digest and before.problem == problem:
            continue
        with transaction.atomic():
            GatewayState.objects.update_or_create(
                device=gateway, defaults={"desired_digest": digest, "problem": problem}
            )
            if before is None or before.desired_digest != digest:
                wanted_version_raise(gateway.pk)
                raised += 1
        if problem:
            log.warning("gateway.config_problem", gateway=gateway.code, problem=problem)
    return raised


def mqtt_access() -> wire.MqttAccess | None:
    """Where gateways find the broker, None without one. ``MQTT_URL`` is the bridge's own way to it; ``?public=host:port`` the gateways'."""
    if not settings.MQTT_URL:
        return None
    parts = urlsplit(settings.MQTT_URL)
    tls = parts.scheme in {"mqtts", "ssl", "tls"}
    public = parse_qs(parts.query).get("public", [""])[0]
    host, port = parts.hostname or "", parts.port or (8883 if tls else 1883)
    if public:
        name, _sep, number = unquote(public).rpartition(":")
        host, port = (name, int(number)) if name and number.isdigit() else (public, port)
    return wire.MqttAccess(host=host, port=port, tls=tls)
