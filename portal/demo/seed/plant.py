"""Three sites, their machines, devices, channels, pipelines and SLOs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devices.choices import ChannelRole, DeviceKind, DeviceState, LocationLevel, Protocol, SiteKind
from devices.models import Asset, Channel, Device, DeviceType, Location, Site
from edge_bridge.demo import profiles
from governance.choices import ModelKind, SloKind
from governance.models import Pipeline, Slo
from governance.services import setup
from portal.core.access import grant_role
from portal.core.records import entity_create
from usecases.models import Adoption, UseCase

UCUM = {
    "degC": "Cel",
    "degF": "[degF]",
    "MWh": "MW.h",
    "kscmh": "10*3.m3/h",
    "mol%": "%",
    "kg/h": "kg/h",
    "kPa": "kPa",
    "m3/h": "m3/h",
    "kW": "kW",
    "mbar": "mbar",
    "%": "%",
    "": "1",
}
SIGNAL_NAMES = {
    "AT": "Ambient temperature",
    "AP": "Ambient pressure",
    "AH": "Ambient humidity",
    "AFDP": "Air filter difference pressure",
    "GTEP": "Gas turbine exhaust pressure",
    "TIT": "Turbine inlet temperature",
    "TAT": "Turbine after temperature",
    "TEY": "Turbine energy yield",
    "CDP": "Compressor discharge pressure",
    "NOX": "Nitrogen oxides (laboratory)",
    "temperature": "Machine temperature",
}


@dataclass
class Plant:
    """One site with what hangs on it."""

    site: Site
    gateways: list[Device]
    plc: Device
    profile: str
    period_s: float


def _place(actor: Any, site: Site, level: str, code: str, name: str, *, parent: Location | None = None) -> Location:
    return entity_create(
        actor=actor, model=Location, data={"site": site, "level": level, "code": code, "name": name, "parent": parent}
    )


def device_types(actor: Any) -> dict[str, DeviceType]:
    rows = {
        "gateway": ("Edge gateway, 2 cores, 1 GiB", "Generic", DeviceKind.GATEWAY, Protocol.HTTPS, 262_144, 5_000),
        "plc": ("Legacy PLC, Modbus TCP", "Generic", DeviceKind.PLC, Protocol.MODBUS_TCP, None, None),
    }
    return {
        key: entity_create(
            actor=actor,
            model=DeviceType,
            data={
                "name": name,
                "manufacturer": maker,
                "kind": kind,
                "protocol": protocol,
                "memory_kb": memory,
                "latency_budget_us": latency,
            },
        )
        for key, (name, maker, kind, protocol, memory, latency) in rows.items()
    }


def _devices(
    actor: Any,
    types: dict[str, DeviceType],
    site: Site,
    cell: Location,
    asset: Asset,
    profile: Any,
    gateway_names: list[str],
    port: int,
    period_s: float,
) -> tuple[list[Device], Device]:
    gateways = [
        entity_create(
            actor=actor,
            model=Device,
            data={
                "site": site,
                "location": cell,
                "asset": asset,
                "device_type": types["gateway"],
                "code": name,
                "name": f"Gateway {name.upper()}",
                "state": DeviceState.ACTIVE,
            },
        )
        for name in gateway_names
    ]
    plc = entity_create(
        actor=actor,
        model=Device,
        data={
            "site": site,
            "location": cell,
            "asset": asset,
            "device_type": types["plc"],
            "gateway": gateways[0],
            "code": profile,
            "name": f"{asset.name} PLC",
            "state": DeviceState.ACTIVE,
            "address": {
                "host": "127.0.0.1",
                "port": port,
                "unit": 1,
                "slots": {g.code: slot for slot, g in enumerate(gateways)},
                "window_rows": 16,
                "window_ms": 1000,
            },
        },
    )
    for config in profiles.channels(profile):
        entity_create(
            actor=actor,
            model=Channel,
            data={
                "device": plc,
                "code": config.name,
                "name": SIGNAL_NAMES.get(config.name, config.name),
                "unit": UCUM.get(config.unit, config.unit),
                "range_low": config.low,
                "range_high": config.high,
                "period_s": period_s,
                "source": {
                    "register": config.address,
                    "type": config.type,
                    "divisor": config.divisor,
                    "offset": config.offset,
                },
            },
        )
    return gateways, plc


def make_plants(actor: Any, ports: dict[str, int]) -> dict[str, Plant]:
    types = device_types(actor)
    specs: dict[str, tuple[Any, ...]] = {
        "turbine": (
            "turbine-hall-1",
            "Turbine hall 1",
            SiteKind.REPLAY,
            "Replay of a real gas turbine, 2011 to 2014 (UCI 551, CC BY 4.0). Rows have nominal hourly plant time.",
            ("hall", "Turbine hall"),
            ("gt1", "Gas turbine line 1"),
            ("gt1-cell", "Gas path cell"),
            ("gt1", "Gas turbine GT1", "Gas turbine"),
            ["gt1-gw-a", "gt1-gw-b"],
            3600.0,
        ),
        "workshop": (
            "workshop-7",
            "Workshop 7",
            SiteKind.REPLAY,
            "Replay of a real machine temperature with a real failure (Numenta Anomaly Benchmark, MIT).",
            ("hall", "Workshop hall"),
            ("line-7", "Line 7"),
            ("press-cell", "Machine cell"),
            ("machine-7", "Machine 7", "Industrial machine"),
            ["ws7-gw"],
            300.0,
        ),
        "process": (
            "process-unit",
            "Process unit",
            SiteKind.SIMULATED,
            "Simulated chemical plant (Tennessee Eastman, University of Illinois): not a real plant.",
            ("unit", "Process area"),
            ("reactor", "Reactor line"),
            ("reactor-cell", "Reactor cell"),
            ("reactor-1", "Reactor 1", "Reactor"),
            ["pu-gw"],
            180.0,
        ),
    }
    plants: dict[str, Plant] = {}
    for profile, (code, name, kind, notice, area, line, cell, asset, gateway_codes, period) in specs.items():
        site = entity_create(
            actor=actor, model=Site, data={"code": code, "name": name, "kind": kind, "data_notice": notice}
        )
        place_area = _place(actor, site, LocationLevel.AREA, *area)
        place_line = _place(actor, site, LocationLevel.LINE, *line, parent=place_area)
        place_cell = _place(actor, site, LocationLevel.CELL, *cell, parent=place_line)
        machine = entity_create(
            actor=actor,
            model=Asset,
            data={"location": place_cell, "code": asset[0], "name": asset[1], "kind": asset[2]},
        )
        gateways, plc = _devices(
            actor, types, site, place_cell, machine, profile, gateway_codes, ports[profile], period
        )
        if profile == "turbine":
            entity_create(
                actor=actor,
                model=Channel,
                data={
                    "device": plc,
                    "code": "NOX",
                    "name": SIGNAL_NAMES["NOX"],
                    "role": ChannelRole.LABEL,
                    "unit": "mg/m3",
                    "range_low": 0.0,
                    "range_high": 150.0,
                    "period_s": period,
                },
            )
        plants[profile] = Plant(site, gateways, plc, profile, period)
    return plants


def grant_everybody(people: dict[str, Any], plants: dict[str, Plant], use_cases: dict[str, UseCase]) -> None:
    """Plant people hold their role at every demo site and on every demo use case, so one click shows each view."""
    sites = [plant.site for plant in plants.values()]
    for role, user in people.items():
        if role != "external_partner":
            grant_role(user, role, *sites, *use_cases.values())


@dataclass(frozen=True)
class Wiring:
    """How a use case's model is wired at a plant."""

    use_case: str
    profile: str
    code: str
    name: str
    kind: str
    recipe: str
    target: str = ""
    unit: str = ""
    error_limit: float | None = None
    drift: str = "seasonal"


WIRINGS = (
    Wiring(
        "nox-soft-sensor",
        "turbine",
        "nox",
        "NOx soft sensor",
        ModelKind.SOFT_SENSOR,
        "gradient_boosting",
        "NOX",
        "mg/m3",
        6.0,
    ),
    Wiring(
        "gas-path-anomaly", "turbine", "gas-path", "Gas path anomaly detector", ModelKind.ANOMALY, "sensor_autoencoder"
    ),
    Wiring(
        "machine-early-warning",
        "workshop",
        "machine-temp",
        "Machine temperature detector",
        ModelKind.ANOMALY,
        "temperature_autoencoder",
        drift="fixed",
    ),
    Wiring(
        "process-fault-detection",
        "process",
        "process-plane",
        "Process fault detector",
        ModelKind.FAULT,
        "process_plane",
        drift="fixed",
    ),
)


def make_pipeline(actor: Any, people: dict[str, Any], plant: Plant, wiring: Wiring, adoption: Adoption) -> Pipeline:
    """Model, pipeline with stages and checks, and the two SLOs of an adoption."""
    features = [
        c.code for c in Channel.objects.filter(device=plant.plc, role=ChannelRole.SIGNAL).order_by("created_at")
    ]
    model = setup.model_create(
        actor=actor,
        use_case=adoption.use_case,
        code=wiring.code,
        name=wiring.name,
        kind=wiring.kind,
        features=features,
        target=wiring.target,
        unit=wiring.unit,
        error_limit=wiring.error_limit,
        recipe=wiring.recipe,
    )
    pipeline = setup.pipeline_create(
        actor=actor,
        model=model,
        adoption=adoption,
        source=plant.plc,
        expected_period_s=plant.period_s,
        owner=people["data_steward"],
        drift={"mode": "fixed", "window": 300, "step": 150, "first": 600} if wiring.drift == "fixed" else None,
    )
    owners = {"ot_owner": people["ot_engineer"], "ds_owner": people["data_scientist"]}
    if plant.profile == "turbine":
        entity_create(
            actor=actor,
            model=Slo,
            data={
                "adoption": adoption,
                "kind": SloKind.UPTIME,
                "name": f"Edge inference uptime, {wiring.name}",
                "target": 0.995,
                "window_days": 30,
                "minimum_events": 1,
            }
            | owners,
        )
    if wiring.target:
        entity_create(
            actor=actor,
            model=Slo,
            data={
                "adoption": adoption,
                "kind": SloKind.ALERT_TO_RETRAIN,
                "name": "Alert to retrain under two hours",
                "target": 0.9,
                "limit_seconds": 7200.0,
                "window_days": 90,
                "minimum_events": 1,
            }
            | owners,
        )
    return pipeline
