"""A small plant in the portal's records: a replayed turbine, two gateways that read its PLC, a model with signed versions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from edge_bridge import wire
from edge_bridge.demo.profiles import channels as profile_channels
from portal.core.clock import wall_now
from tests.edge_bridge.agent.plant import linear_model
from tests.factories import make_adoption, make_device, make_device_type, make_model, make_site, make_use_case

FEATURES = ["AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP"]
START_MS = 1_293_840_000_000
HOUR = 3_600_000


@dataclass
class Plant:
    site: Any
    plc: Any
    gateways: list[Any]
    use_case: Any
    adoption: Any
    model: Any
    pipeline: Any
    tokens: dict[Any, str] = field(default_factory=dict)

    def token(self, gateway: Any) -> str:
        """The gateway's bearer token; enrolled on the first call."""
        from devices.services import enrolment_claim, enrolment_create

        if gateway.pk not in self.tokens:
            _enrolment, code = enrolment_create(actor=None, device=gateway)
            secret = secrets.token_urlsafe(32)
            enrolment_claim(code, secret, wall_now())
            self.tokens[gateway.pk] = secret
        return self.tokens[gateway.pk]

    def key(self, *, shadow: bool = False) -> str:
        from edge_bridge.selectors import installation_key

        return installation_key(self.pipeline, self.model.code, shadow=shadow)


def make_plant(
    code: str = "hall", *, gateways: int = 2, port: int = 5020, site: Any = None, use_case: Any = None
) -> Plant:
    from devices.models import Channel
    from governance.models import Pipeline

    site = site or make_site(code, kind="replay")
    kind = make_device_type("gateway", memory_kb=65_536, latency_budget_us=5_000)
    made = [make_device(site, device_type=kind, code=f"{code}-gw{i + 1}", report_every_s=1) for i in range(gateways)]
    plc = make_device(
        site,
        "plc",
        code="turbine",
        gateway=made[0],
        address={
            "host": "127.0.0.1",
            "port": port,
            "unit": 1,
            "slots": {g.code: i for i, g in enumerate(made)},
            "window_ms": 200,
            "poll_ms": 50,
        },
    )
    for config in profile_channels("turbine"):
        Channel.objects.create(
            device=plc,
            code=config.name,
            name=config.name,
            unit=config.unit,
            range_low=config.low,
            range_high=config.high,
            source={"register": config.address, "type": config.type, "divisor": config.divisor},
        )
    Channel.objects.create(device=plc, code="NOX", name="NOx", unit="mg/m3", role="label")
    use_case = use_case or make_use_case(f"{code}-nox")
    adoption = make_adoption(use_case, site)
    model = make_model(use_case, code=f"{code}-nox-sensor", features=FEATURES)
    pipeline = Pipeline.objects.create(adoption=adoption, model=model, name="NOx", stream=plc.code)
    return Plant(site, plc, made, use_case, adoption, model, pipeline)


def signed_version(
    plant: Plant, *, bias: float = 0.0, state: str = "approved", break_it: str = "", **extra: Any
) -> Any:
    """A version whose model is ``0 * inputs + bias``, packaged and signed with the portal's own key.

    ``break_it``: ``hash`` (the file in the store is another one), ``signature`` (signed over something else)."""
    import base64
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from governance import artefacts
    from governance.models import ModelVersion
    from portal.core.ids import uuid7

    data = linear_model([0.0] * len(FEATURES), bias)
    sha = artefacts.store(data)
    pk = uuid7()
    if break_it == "hash":
        sha = hashlib.sha256(b"another file" + pk.bytes).hexdigest()
        path = artefacts.path_of(sha)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest = wire.Manifest(
        model=plant.model.code,
        model_version=str(pk),
        sha256=sha,
        size=len(data),
        task="regression",
        features=FEATURES,
        output="NOX",
        unit="mg/m3",
    )
    document = wire.manifest_bytes(manifest) if break_it != "signature" else b"something else"
    value = Ed25519PrivateKey.from_private_bytes(artefacts.signing_key()).sign(document)
    number = (ModelVersion.objects.filter(model=plant.model).count()) + 1
    return ModelVersion.objects.create(
        id=pk,
        model=plant.model,
        number=number,
        state=state,
        sha256=sha,
        size_bytes=len(data),
        manifest=msgspec.json.encode(manifest).decode(),
        signature=base64.b64encode(value).decode(),
        signed_at=wall_now(),
        memory_kb=extra.pop("memory_kb", 900),
        latency_us=extra.pop("latency_us", 120.0),
        trained_at=wall_now(),
        **extra,
    )


def telemetry(first: int, rows: int = 8, *, source: str = "turbine", run: int = 7, **changes: Any) -> wire.Telemetry:
    numbers = np.arange(first, first + rows)
    values = {
        "source": source,
        "schema": 1,
        "run": run,
        "epoch": 0,
        "first_row": first,
        "rows": rows,
        "times": wire.PlantTimes(start=START_MS + first * HOUR, step=HOUR),
        "columns": {name: wire.pack_floats(numbers * 0.1 + j) for j, name in enumerate(FEATURES)},
        "replay": True,
    }
    return wire.Telemetry(**(values | changes))


def inference(
    key: str,
    version: Any,
    first: int,
    values: Any,
    *,
    sequence: int,
    source: str = "turbine",
    run: int = 7,
    **changes: Any,
) -> wire.Inference:
    values = np.asarray(values, dtype=float)
    fields = {
        "source": source,
        "installation": key,
        "model_version": str(version.pk),
        "run": run,
        "first_row": first,
        "rows": len(values),
        "times": wire.PlantTimes(start=START_MS + first * HOUR, step=HOUR),
        "output": "NOX",
        "predictions": wire.pack_floats(values),
        "input_stream": f"{source}/rows",
        "input_sequence": sequence,
        "latency_p50_us": 80.0,
        "latency_p99_us": 120.0,
        "calls": len(values),
    }
    return wire.Inference(**(fields | changes))


def labels(first: int, values: Any, *, source: str = "turbine", run: int = 7, name: str = "NOX") -> wire.Labels:
    values = np.asarray(values, dtype=float)
    rows = np.arange(first, first + len(values))
    return wire.Labels(
        source=source,
        name=name,
        run=run,
        rows=len(values),
        row=wire.pack_ints(rows),
        plant_ms=wire.pack_ints(START_MS + rows * HOUR),
        values=wire.pack_floats(values),
    )


def report(plant: Plant, gateway: Any, version: Any = None, **changes: Any) -> wire.ReportedState:
    """A gateway's report in which its installation runs ``version``."""
    places = []
    if version is not None:
        places = [
            wire.InstallationReport(id=plant.key(), state="active", wanted=str(version.pk), running=str(version.pk))
        ]
    fields = {
        "gateway": str(gateway.pk),
        "desired_version": 10_000,
        "wall_ms": round(wall_now().timestamp() * 1000),
        "boot": "b",
        "installations": places,
    }
    return wire.ReportedState(**(fields | changes))
