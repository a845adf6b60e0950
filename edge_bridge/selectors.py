"""Which gateway reads which PLC, and what runs where. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from devices.choices import ChannelRole, DeviceKind, DeviceState
from devices.models import Channel, Device
from edge_bridge.choices import InstallationState
from edge_bridge.models import Installation
from governance.models import Model, ModelVersion, Pipeline
from usecases.models import Adoption

IN_FORCE = (InstallationState.WANTED, InstallationState.ACTIVE)
SHADOW = "-shadow"


@dataclass(frozen=True)
class Source:
    """A PLC as one gateway reads it. ``first``: it is the gateway that the PLC names, so it may steer a replay."""

    plc: Device
    slot: int
    first: bool

    @property
    def name(self) -> str:
        return self.plc.code


def slot_of(plc: Device, gateway: Device) -> int | None:
    """The acknowledgement slot of a gateway at a PLC, None if it does not read it. ``PLC.address["slots"]`` maps gateway codes to slots."""
    slots = plc.address.get("slots") if isinstance(plc.address, dict) else None
    found = slots.get(gateway.code) if isinstance(slots, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= 7:
        return found
    return 0 if plc.gateway_id == gateway.pk else None


def plcs_at(site_id: Any) -> list[Device]:
    return list(
        Device.objects.filter(site_id=site_id, device_type__kind=DeviceKind.PLC)
        .exclude(state=DeviceState.RETIRED)
        .order_by("code")
    )


def sources_of(gateway: Device, plcs: Iterable[Device] | None = None) -> list[Source]:
    """The PLCs a gateway reads, by code: those that name it, and those that give it a slot."""
    found = []
    for plc in plcs_at(gateway.site_id) if plcs is None else plcs:
        slot = slot_of(plc, gateway)
        if slot is not None:
            found.append(Source(plc, slot, plc.gateway_id == gateway.pk))
    return found


def gateways_of(plc: Device, gateways: Iterable[Device]) -> list[Device]:
    """The gateways that read a PLC: the one it names first, then by slot."""
    reading = [(slot_of(plc, g), g) for g in gateways]
    known = [(slot, g) for slot, g in reading if slot is not None]
    return [g for _slot, g in sorted(known, key=lambda x: (x[1].pk != plc.gateway_id, x[0], x[1].code))]


def gateways_for(adoption: Adoption, model: Model) -> list[Device]:
    """The gateways an adoption's model runs on, canary first: those that read the PLCs of its pipelines."""
    streams = set(Pipeline.objects.filter(adoption=adoption, model=model).values_list("stream", flat=True))
    gateways = list(
        Device.objects.filter(site_id=adoption.site_id, device_type__kind=DeviceKind.GATEWAY)
        .exclude(state=DeviceState.RETIRED)
        .select_related("device_type", "site")
        .order_by("code")
    )
    found: dict[Any, Device] = {}
    for plc in plcs_at(adoption.site_id):
        if plc.code in streams:
            found |= {g.pk: g for g in gateways_of(plc, gateways) if g.pk not in found}
    return list(found.values())


def installation_key(pipeline: Pipeline, code: str, *, shadow: bool = False) -> str:
    """The id of a model's place at a source on the wire: it stays while versions change, and is short enough for a stream name."""
    stem = code[:24].strip("-_.") or "model"
    return f"{stem}-{pipeline.pk.hex[-6:]}{SHADOW if shadow else ''}"


@dataclass(frozen=True)
class Place:
    """One installation at one source: what the wire calls an installation."""

    key: str
    source: str
    installation: Installation

    @property
    def version_id(self) -> str:
        return str(self.installation.version_of_model_id)


def pipelines_for(rows: Iterable[Installation]) -> dict[tuple[Any, Any], list[Pipeline]]:
    rows = list(rows)
    wanted = Pipeline.objects.filter(
        adoption__in={row.adoption_id for row in rows}, model__in={row.version_of_model.model_id for row in rows}
    )
    found: dict[tuple[Any, Any], list[Pipeline]] = {}
    for pipeline in wanted.order_by("pk") if rows else ():
        found.setdefault((pipeline.adoption_id, pipeline.model_id), []).append(pipeline)
    return found


def places_of(rows: Iterable[Installation], sources: Iterable[Source]) -> list[Place]:
    """Installations (with ``version_of_model__model`` loaded) at the sources that their pipelines read."""
    rows = list(rows)
    names = {source.name for source in sources}
    pipelines = pipelines_for(rows)
    return [
        Place(installation_key(p, row.version_of_model.model.code, shadow=row.shadow), p.stream, row)
        for row in rows
        for p in pipelines.get((row.adoption_id, row.version_of_model.model_id), ())
        if p.stream in names
    ]


def installations_in_force(device: Device) -> list[Installation]:
    """Newest wanted or active installation of each model and adoption, and a shadow beside it."""
    rows = (
        Installation.objects.filter(device=device, state__in=IN_FORCE)
        .select_related("version_of_model__model", "adoption", "rollout")
        .order_by("-wanted_at", "-id")
    )
    found: dict[tuple[Any, Any, bool], Installation] = {}
    for row in rows:
        found.setdefault((row.adoption_id, row.version_of_model.model_id, row.shadow), row)
    return list(found.values())


def channels_of(plcs: Iterable[Device]) -> dict[Any, list[Channel]]:
    found: dict[Any, list[Channel]] = {plc.pk: [] for plc in plcs}
    for channel in Channel.objects.filter(device__in=list(found)).order_by("created_at", "id"):
        found[channel.device_id].append(channel)
    return found


def signal_names(channels: Iterable[Channel]) -> frozenset[str]:
    return frozenset(c.code for c in channels if c.role == ChannelRole.SIGNAL)


def label_names(channels: Iterable[Channel]) -> frozenset[str]:
    return frozenset(c.code for c in channels if c.role == ChannelRole.LABEL)


def live_version(adoption: Adoption, model: Model) -> ModelVersion | None:
    """The version that runs on most gateways of an adoption; of two, the one installed last."""
    rows = Installation.objects.filter(
        adoption=adoption, version_of_model__model=model, state=InstallationState.ACTIVE, shadow=False
    ).select_related("version_of_model__model")
    count: dict[Any, int] = {}
    newest: dict[Any, Installation] = {}
    for row in rows:
        count[row.version_of_model_id] = count.get(row.version_of_model_id, 0) + 1
        if row.version_of_model_id not in newest or newest[row.version_of_model_id].wanted_at < row.wanted_at:
            newest[row.version_of_model_id] = row
    if not count:
        return None
    best = max(count, key=lambda pk: (count[pk], newest[pk].wanted_at))
    return newest[best].version_of_model
