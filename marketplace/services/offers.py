"""Services and plans: packaged from a proven use case, published behind gate 5, retired."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from governance.models import Model
from marketplace.choices import ServiceState, SubscriptionState
from marketplace.contract import contract_of, live_version, openapi
from marketplace.models import Plan, Service, Subscription
from marketplace.money import CURRENCIES
from portal.core import audit
from portal.core.access import grant_role
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import User
from portal.core.notifications import notify
from portal.core.records import change_state, entity_create, entity_update, versioned_update
from usecases.gate_rules import PASSED
from usecases.models import Gate, UseCase
from usecases.services.gates import gates_remeasure

#: What a plan costs is agreed when somebody subscribes; limits may still be raised.
PRICES = ("currency", "monthly_fee_minor", "included_units", "unit_price_micro")


@transaction.atomic
def service_create(
    *, actor: Any, use_case: UseCase, model: Model, code: str, name: str, summary: str = "", sla_text: str = ""
) -> Service:
    """A draft service from one model of a use case, packaged with its OpenAPI document."""
    if model.use_case_id != use_case.pk:
        raise InvalidInput({"model": "This model belongs to another use case."})
    if not use_case.pursue_monetisation:
        raise DomainError("not_pursued", "This use case does not pursue phase 5.")
    service = entity_create(
        actor=actor,
        model=Service,
        data={
            "use_case": use_case,
            "model": model,
            "code": code,
            "name": name,
            "summary": summary,
            "sla_text": sla_text,
        },
        action="service.create",
    )
    return service_package(actor=actor, service=service)


@transaction.atomic
def service_update(
    *, actor: Any, service: Service, data: dict[str, Any], expected_version: int | None = None
) -> Service:
    """Change name, summary or service level; the document follows."""
    if service.state == ServiceState.RETIRED:
        raise DomainError("wrong_state", "A retired service does not change any more.")
    fixed = [key for key in ("use_case", "model", "code") if key in data and data[key] != getattr(service, key)]
    if fixed:
        raise InvalidInput(dict.fromkeys(fixed, "This cannot be changed: customers' programs rely on it."))
    entity_update(
        actor=actor, obj=service, data=data, expected_version=expected_version, action="service.update"
    )  # fmt: skip
    return service_package(actor=actor, service=service)


@transaction.atomic
def service_package(*, actor: Any, service: Service) -> Service:
    """Write the OpenAPI document from the model's contract as it is now."""
    document = openapi(service, contract_of(service.model))
    if document != service.openapi:
        versioned_update(service, openapi=document)
        audit.record(
            actor=actor, action="service.package", obj=service, changes={"inputs": len(service.model.features)}
        )
    gates_remeasure(use_case=service.use_case_id)
    return service


def publish_obstacles(service: Service) -> list[str]:
    """What keeps a service from being published; empty when nothing does."""
    found = []
    gate = Gate.objects.filter(use_case_id=service.use_case_id, adoption=None, number=5).first()
    if gate is None or gate.state not in PASSED:
        state = gate.get_state_display().lower() if gate else "missing"
        found.append(f"Gate 5 of the use case must be passed first; it is {state}.")
    if not service.openapi:
        found.append("It has no OpenAPI document.")
    if not service.sla_text.strip():
        found.append("It says nothing about its service level.")
    if not service.plans.exists():
        found.append("It has no plan with a price.")
    if live_version(service.model) is None:
        found.append("No version of its model is live.")
    return found


@transaction.atomic
def service_publish(*, actor: Any, service: Service) -> Service:
    """Into the catalogue, once gate 5 of the use case is passed and the package is complete."""
    obstacles = publish_obstacles(service)
    if obstacles and service.state == ServiceState.DRAFT:
        code = "gate_not_passed" if obstacles[0].startswith("Gate 5") else "not_packaged"
        raise DomainError(code, " ".join(obstacles), {"obstacles": obstacles})
    service_package(actor=actor, service=service)
    change_state(service, old=ServiceState.DRAFT, new=ServiceState.PUBLISHED, published_at=wall_now())
    audit.record(actor=actor, action="service.publish", obj=service)
    return service


@transaction.atomic
def service_retire(*, actor: Any, service: Service) -> Service:
    """Out of the catalogue; its subscriptions end now and their owners are told."""
    change_state(service, old=(ServiceState.DRAFT, ServiceState.PUBLISHED), new=ServiceState.RETIRED)
    open_ones = Subscription.objects.filter(service=service).exclude(state=SubscriptionState.ENDED)
    owners = list(open_ones.values_list("owner_id", flat=True))
    ended = open_ones.update(state=SubscriptionState.ENDED, ended_at=wall_now())
    audit.record(actor=actor, action="service.retire", obj=service, changes={"subscriptions_ended": ended})
    notify(
        user_ids=owners,
        kind="service",
        text=f"{service} is retired; your subscription has ended.",
        url=service.get_absolute_url(),
        dedupe_key=f"retired:{service.pk}",
    )
    gates_remeasure(use_case=service.use_case_id)
    return service


def _check_plan(data: dict[str, Any]) -> None:
    wrong = {}
    if data.get("currency", "EUR") not in CURRENCIES:
        wrong["currency"] = f"Choose from: {', '.join(CURRENCIES)}."
    for key, top in (("monthly_fee_minor", 10**12), ("unit_price_micro", 10**12), ("included_units", 10**12)):
        if data.get(key, 0) > top:
            wrong[key] = f"At most {top}."
    if data.get("monthly_quota", 0) > 10**12:
        wrong["monthly_quota"] = f"At most {10**12}."
    if wrong:
        raise InvalidInput(wrong)


@transaction.atomic
def plan_create(*, actor: Any, service: Service, **data: Any) -> Plan:
    """A price: monthly fee, included rows, price per row, most rows a month and calls a minute."""
    if service.state == ServiceState.RETIRED:
        raise DomainError("wrong_state", "A retired service takes no new plan.")
    _check_plan(data)
    plan = entity_create(actor=actor, model=Plan, data={"service": service, **data}, action="plan.create")
    gates_remeasure(use_case=service.use_case_id)
    return plan


@transaction.atomic
def plan_update(*, actor: Any, plan: Plan, data: dict[str, Any], expected_version: int | None = None) -> Plan:
    """Limits and name may change; prices only while nobody has subscribed."""
    if data.get("service", plan.service) != plan.service:
        raise InvalidInput({"service": "A plan stays with its service."})
    _check_plan(data)
    changed = [name for name in PRICES if name in data and data[name] != getattr(plan, name)]
    if changed and plan.subscriptions.exists():
        text = "Somebody has subscribed at this price. Make a new plan instead."
        raise InvalidInput(dict.fromkeys(changed, text), text)
    return entity_update(actor=actor, obj=plan, data=data, expected_version=expected_version, action="plan.update")


@transaction.atomic
def partner_admit(*, actor: Any, service: Service, email: str) -> User:
    """Let a person see and use this service as an external partner."""
    person = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
    if person is None:
        raise InvalidInput({"email": "Nobody with this address has an account here."})
    grant_role(person, "external_partner", service)
    audit.record(actor=actor, action="service.admit", obj=service, changes={"person": str(person.pk)})
    notify(
        user_ids=[person.pk],
        kind="service",
        text=f"You may now use {service}.",
        url=service.get_absolute_url(),
        dedupe_key=f"admitted:{service.pk}",
    )
    return person
