"""The soft sensor as a service: packaged and metered in a test first, published once its last gate is passed, used by a partner."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from edge_bridge.demo.replay import load
from governance.models import Pipeline
from marketplace.models import ClientKey, Service
from marketplace.services.metering import Call, call_score
from marketplace.services.offers import partner_admit, plan_create, service_create, service_publish
from marketplace.services.subscriptions import client_key_create, subscription_create
from portal.core.api.renderers import dumps
from usecases.models import UseCase

SLA = "Answers within one second for up to 1,000 rows in 99 of 100 calls. The model behind it is watched and repaired as its use case's gates show."


def package(users: dict[str, Any], use_case: UseCase, pipeline: Pipeline) -> Service:
    """A draft with a price, called a few times by an internal test, so that metering and invoice can be compared."""
    lead = users["coe_lead"]
    service = service_create(
        actor=lead,
        use_case=use_case,
        model=pipeline.model,
        code="nox-soft-sensor",
        name="NOx soft sensor",
        summary="Nitrogen oxides in mg/m3 from nine gas-path sensors of a gas turbine.",
        sla_text=SLA,
    )
    plan = plan_create(
        actor=lead,
        service=service,
        name="Per row",
        currency="EUR",
        monthly_fee_minor=4_900,
        included_units=1_000,
        unit_price_micro=400_000,
        monthly_quota=100_000,
        rate_per_minute=120,
    )
    test = subscription_create(actor=lead, service=service, plan=plan, customer="Internal test")
    key, _secret = client_key_create(actor=lead, subscription=test, name="Gate 5 rehearsal")
    replay = load("turbine")
    first = replay.first_of("2013")
    for number in range(3):
        rows = [
            dict(zip(replay.columns, values, strict=True))
            for values in replay.values[first + 10 * number : first + 10 * number + 10].tolist()
        ]
        body = dumps({"rows": rows})
        call_score(
            key=ClientKey.objects.select_related("subscription__plan", "subscription__service__model").get(pk=key.pk),
            call=Call(
                rows, f"rehearsal-{number}", hashlib.sha256(body).hexdigest(), f"/services/{service.code}/v1/score"
            ),
        )
    return service


def publish(users: dict[str, Any], service: Service, say: Callable[[str], None]) -> None:
    partner = users["external_partner"]
    service_publish(actor=users["coe_lead"], service=service)
    partner_admit(actor=users["coe_lead"], service=service, email=partner.email)
    plan = service.plans.get()
    subscription_create(actor=partner, service=service, plan=plan, customer=partner.organisation)
    say(f"{service} is published")
