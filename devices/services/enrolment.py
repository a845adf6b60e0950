"""How a gateway gets its credential: a claim code, used once, turns the agent's own secret into one (docs/edge-protocol.md)."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from devices.choices import CredentialState, DeviceState
from devices.models import Credential, Device, Enrolment
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import change_state

# Letters and digits that cannot be taken for another when read aloud or copied from a screen.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_GROUPS, _GROUP = 4, 4
DEFAULT_TTL = timedelta(hours=24)
MAX_TTL = timedelta(days=30)
_SEEN_EVERY = timedelta(seconds=60)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(code: str) -> str:
    return "".join(letter for letter in code.upper() if letter.isalnum())


@transaction.atomic
def enrolment_create(*, actor: Any, device: Device, ttl: timedelta = DEFAULT_TTL) -> tuple[Enrolment, str]:
    """A claim code for one device and its text (80 bits), which is shown this once; only its hash is kept.

    Unused codes of the device end, so that one code is good at a time. ``device_retired``, or field error on ``ttl``.
    """
    if not timedelta(minutes=1) <= ttl <= MAX_TTL:
        raise InvalidInput({"ttl": _("From one minute to 30 days.")})
    if device.state == DeviceState.RETIRED:
        raise DomainError("device_retired", _("This device is retired. Activate it first."))
    now = wall_now()
    Enrolment.objects.filter(device=device, used_at=None, expires_at__gt=now).update(
        expires_at=now, updated_at=now, version=F("version") + 1
    )
    code = "-".join("".join(secrets.choice(_ALPHABET) for _i in range(_GROUP)) for _g in range(_GROUPS))
    enrolment = Enrolment.objects.create(
        device=device,
        code_hash=_digest(_normal(code)),
        code_hint=code[:_GROUP],
        expires_at=now + ttl,
        created_by=actor if getattr(actor, "is_authenticated", False) else None,
    )
    audit.record(
        actor=actor, action="enrolment.create", obj=enrolment, changes={"device": device, "expires_at": now + ttl}
    )
    return enrolment, code


@transaction.atomic
def enrolment_claim(code: str, secret: str, now: datetime) -> tuple[Device, Credential]:
    """Turn a claim code and the agent's own secret into a credential; the device becomes active.

    The same code with the same secret gives the same answer for good, because an answer may be lost. Raises ``claim_unknown``
    (404), ``claim_used`` (409: other secret, or the credential was revoked), ``claim_expired`` (410), ``gateway_disabled`` (403:
    the device is retired), ``secret_reused`` (409: another device has this secret). An older credential of the device ends:
    one device, one credential.
    """
    enrolment = (
        Enrolment.objects.select_for_update(of=("self",))
        .select_related("device__site", "device__device_type")
        .filter(code_hash=_digest(_normal(code)))
        .first()
    )
    if enrolment is None:
        raise DomainError("claim_unknown", _("There is no such claim code."), status=404)
    token_hash = _digest(secret)
    held = Credential.objects.filter(token_hash=token_hash).first()
    if enrolment.used_at is not None:
        if held is None or held.enrolment_id != enrolment.pk or held.state != CredentialState.ACTIVE:
            raise DomainError("claim_used", _("This claim code has been used. Ask for a new one."))
        return enrolment.device, held
    if enrolment.expires_at <= now:
        raise DomainError("claim_expired", _("This claim code has expired. Ask for a new one."), status=410)
    if enrolment.device.state == DeviceState.RETIRED:
        raise DomainError("gateway_disabled", _("This device is retired."), status=403)
    if held is not None:
        raise DomainError("secret_reused", _("This secret is in use. Make a new one and try again."))
    device = enrolment.device
    Enrolment.objects.filter(pk=enrolment.pk).update(used_at=now, updated_at=now, version=F("version") + 1)
    replaced = Credential.objects.filter(device=device, state=CredentialState.ACTIVE).update(
        state=CredentialState.REVOKED, revoked_at=now, updated_at=now, version=F("version") + 1
    )
    credential = Credential.objects.create(
        device=device, enrolment=enrolment, prefix=token_hash[:8], token_hash=token_hash, last_used_at=now
    )
    if device.state == DeviceState.PLANNED:
        change_state(device, old=DeviceState.PLANNED, new=DeviceState.ACTIVE)
    audit.record(
        actor=None,
        action="enrolment.claim",
        obj=device,
        changes={"credential": credential.prefix, "credentials_replaced": replaced},
    )
    return device, credential


def credential_check(token: str, now: datetime) -> Device | None:
    """The device a bearer token belongs to (site and type loaded), or None. A retired device's token ends with it.

    One query; the time of last use is written at most once a minute.
    """
    credential = (
        Credential.objects.select_related("device__site", "device__device_type")
        .filter(token_hash=_digest(token), state=CredentialState.ACTIVE)
        .filter(Q(expires_at=None) | Q(expires_at__gt=now))
        .exclude(device__state=DeviceState.RETIRED)
        .first()
    )
    if credential is None:
        return None
    if credential.last_used_at is None or now - credential.last_used_at > _SEEN_EVERY:
        Credential.objects.filter(pk=credential.pk).update(last_used_at=now)
    return credential.device


@transaction.atomic
def credential_revoke(*, actor: Any, credential: Credential) -> Credential:
    """The gateway cannot sign in any more from its next call on. ``wrong_state`` when it was revoked before."""
    change_state(credential, old=CredentialState.ACTIVE, new=CredentialState.REVOKED, revoked_at=wall_now())
    audit.record(actor=actor, action="credential.revoke", obj=credential, changes={"device": credential.device})
    return credential
