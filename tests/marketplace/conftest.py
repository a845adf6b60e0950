"""A use case with a real, signed ONNX model that is live, and a service made of it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from tests.factories import make_adoption, make_channel, make_device, make_model, make_user

FEATURES = ["AT", "AP"]
LIMITS = {"AT": (-20.0, 50.0), "AP": (950.0, 1070.0)}


@dataclass(frozen=True)
class Trained:
    """A trained model's package and a predictor of its own, (n, 2) -> (n,)."""

    package: Any
    predict: Any


def train() -> Trained:
    """A small soft sensor, trained within a second."""
    from governance.modelling import package, soft_sensor

    random = np.random.default_rng(4)
    rows = np.column_stack([random.normal(15, 8, 600), random.normal(1013, 8, 600)]).astype(np.float32)
    target = 60 + 0.8 * rows[:, 0] - 0.05 * (rows[:, 1] - 1013)
    sensor = soft_sensor.train(
        rows[:400],
        target[:400],
        held_out_rows=rows[400:],
        held_out_target=target[400:],
        params=soft_sensor.SoftSensorParams(max_iter=20, min_samples_leaf=5),
    )
    made = package.from_soft_sensor(
        sensor,
        features=[package.Feature(name, "Cel" if name == "AT" else "mbar", *LIMITS[name]) for name in FEATURES],
        target="NOX",
        unit="mg/m3",
        plant_time=package.PlantTime(0, 3_600_000),
        sample_rows=rows[:10],
    )
    return Trained(made, sensor.predict)


@pytest.fixture(scope="session")
def trained() -> Trained:
    return train()


def make_live(model: Any, trained: Trained, number: int = 1, **changes: Any) -> Any:
    """A live version of the model with the trained file in the store; ``changes`` to the manifest before it is signed."""
    from governance import artefacts
    from governance.modelling import package
    from governance.models import ModelVersion
    from portal.core.clock import wall_now

    version_id = uuid4()
    manifest = trained.package.manifest(model=model.code, model_version=str(version_id)) | changes
    document = package.manifest_bytes(manifest)
    return ModelVersion.objects.create(
        id=version_id,
        model=model,
        number=number,
        state="live",
        sha256=artefacts.store(trained.package.onnx),
        size_bytes=trained.package.size,
        manifest=package.canonical_json(manifest).decode(),
        signature=base64.b64encode(package.sign(document, artefacts.signing_key())).decode(),
        trained_at=wall_now(),
    )


def pass_gate_5(use_case: Any, state: str = "passed") -> Any:
    from usecases.models import Gate

    return Gate.objects.update_or_create(use_case=use_case, adoption=None, number=5, defaults={"state": state})[0]


@pytest.fixture
def shop(cast: Any, trained: Trained) -> Any:
    """A published service "nox" with a plan, and a partner with a subscription and a key."""
    from marketplace import scoring, services

    scoring.forget()
    plant = make_device(cast.home, "plc")
    make_adoption(cast.ours, cast.home)
    make_channel(plant, "AT", unit="Cel", name="Ambient temperature")
    make_channel(plant, "AP", unit="mbar", name="Ambient pressure")
    model = make_model(cast.ours, name="NOx soft sensor", features=FEATURES)
    version = make_live(model, trained)
    lead = cast.coe_lead
    service = services.service_create(
        actor=lead,
        use_case=cast.ours,
        model=model,
        code="nox",
        name="NOx soft sensor",
        summary="NOx at the stack, predicted from ambient conditions.",
        sla_text="99.5 % of calls a month answered within 300 ms.",
    )
    plan = services.plan_create(
        actor=lead,
        service=service,
        name="Standard",
        monthly_fee_minor=4900,
        included_units=10,
        unit_price_micro=800_000,
        monthly_quota=1000,
        rate_per_minute=50,
    )
    pass_gate_5(cast.ours)
    services.service_publish(actor=lead, service=service)
    partner = make_user("partner@customer.example", name="Partner")
    services.partner_admit(actor=lead, service=service, email=partner.email)
    subscription = services.subscription_create(actor=partner, service=service, plan=plan, customer="Customer Ltd")
    key, secret = services.client_key_create(actor=partner, subscription=subscription, name="plant system")
    return SimpleNamespace(
        cast=cast,
        lead=lead,
        model=model,
        version=version,
        service=service,
        plan=plan,
        partner=partner,
        subscription=subscription,
        key=key,
        secret=secret,
    )


@pytest.fixture
def call(client: Any) -> Any:
    """``call(secret, rows, code=..., **headers)`` posts to the door."""

    def post(secret: str | None, rows: Any, code: str = "nox", body: bytes | None = None, **headers: str) -> Any:
        if secret is not None:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        data = body if body is not None else json.dumps({"rows": rows})
        kind = headers.pop("content_type", "application/json")
        return client.post(f"/services/{code}/v1/score", data, content_type=kind, **headers)

    return post


def rows_of(n: int, **values: float) -> list[dict[str, float]]:
    return [{"AT": 15.0, "AP": 1013.0} | values for _ in range(n)]
