"""Subscriptions and the keys their programs call with."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import transaction

from marketplace.choices import ServiceState, SubscriptionState
from marketplace.models import ClientKey, Plan, Service, Subscription
from portal.core import audit
from portal.core.access import may, require
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import ApiToken
from portal.core.records import change_state, entity_create, versioned_update

KEY_KIND = "pgc"
MAX_KEYS = 20


@transaction.atomic
def subscription_create(*, actor: Any, service: Service, plan: Plan, customer: str) -> Subscription:
    """Subscribe the actor. Who may change the service but not use it (and on a draft: only they) makes an internal test."""
    if plan.service_id != service.pk:
        raise InvalidInput({"plan": "This plan belongs to another service."})
    if service.state == ServiceState.RETIRED:
        raise DomainError("wrong_state", "This service is retired.")
    internal = service.state == ServiceState.DRAFT or not may(service, actor, "use")
    if internal and not may(service, actor, "change"):
        require(service, actor, "use")
        raise DomainError("wrong_state", "This service is not published yet.")
    return entity_create(
        actor=actor,
        model=Subscription,
        data={
            "service": service,
            "plan": plan,
            "customer": customer.strip(),
            "owner": actor,
            "internal": internal,
            "started_at": wall_now(),
        },
        action="subscription.create",
    )


@transaction.atomic
def subscription_suspend(*, actor: Any, subscription: Subscription) -> Subscription:
    """Its keys are refused until it is resumed."""
    change_state(subscription, old=SubscriptionState.ACTIVE, new=SubscriptionState.SUSPENDED)
    audit.record(actor=actor, action="subscription.suspend", obj=subscription)
    return subscription


@transaction.atomic
def subscription_resume(*, actor: Any, subscription: Subscription) -> Subscription:
    change_state(subscription, old=SubscriptionState.SUSPENDED, new=SubscriptionState.ACTIVE)
    audit.record(actor=actor, action="subscription.resume", obj=subscription)
    return subscription


@transaction.atomic
def subscription_end(*, actor: Any, subscription: Subscription) -> Subscription:
    """For good: its keys stop, what was used is still invoiced."""
    change_state(
        subscription,
        old=(SubscriptionState.ACTIVE, SubscriptionState.SUSPENDED),
        new=SubscriptionState.ENDED,
        ended_at=wall_now(),
    )
    audit.record(actor=actor, action="subscription.end", obj=subscription)
    return subscription


@transaction.atomic
def client_key_create(*, actor: Any, subscription: Subscription, name: str) -> tuple[ClientKey, str]:
    """A key and its text, which is shown this once; only its SHA-256 is kept."""
    if subscription.state == SubscriptionState.ENDED:
        raise DomainError("wrong_state", "This subscription has ended.")
    if subscription.keys.filter(revoked_at=None).count() >= MAX_KEYS:
        raise DomainError("too_many_keys", f"At most {MAX_KEYS} keys at once; revoke one first.")
    secret = f"{KEY_KIND}_{secrets.token_urlsafe(32)}"
    key = entity_create(
        actor=actor,
        model=ClientKey,
        data={
            "subscription": subscription,
            "name": name.strip(),
            "prefix": secret[:12],
            "key_hash": ApiToken.digest(secret),
        },
        action="client_key.create",
    )
    return key, secret


@transaction.atomic
def client_key_revoke(*, actor: Any, key: ClientKey) -> ClientKey:
    if key.revoked_at is not None:
        raise DomainError("revoked", "This key is revoked already.")
    versioned_update(key, where={"revoked_at": None}, revoked_at=wall_now())
    audit.record(actor=actor, action="client_key.revoke", obj=key)
    return key
