"""Personal access tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import transaction

from portal.core import audit
from portal.core.clock import rfc3339, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import ApiToken
from portal.core.records import entity_create


def known_scopes() -> list[str]:
    own = {"core", "dashboard", "devices", "usecases", "governance", "edge_bridge", "coe", "marketplace"}
    labels = sorted(own & {config.label for config in apps.get_app_configs()})
    return ["read", "write", *(f"{label}:{kind}" for label in labels for kind in ("read", "write"))]


@transaction.atomic
def token_create(
    *, actor: Any, name: str, scopes: list[str], expires_at: datetime | None = None, via_token: Any = None
) -> tuple[ApiToken, str]:
    """A token and its text, which is shown this once. A token cannot make one with more scopes than its own, or that outlives it."""
    unknown = [scope for scope in scopes if scope not in known_scopes()]
    if unknown or not scopes:
        raise InvalidInput({"scopes": f"Choose from: {', '.join(known_scopes())}."})
    if expires_at is not None and expires_at <= wall_now():
        raise InvalidInput({"expires_at": "This lies in the past."})
    if isinstance(via_token, ApiToken):
        _check_not_more(via_token, scopes, expires_at)
    secret = ApiToken.new_secret()
    token = entity_create(
        actor=actor,
        model=ApiToken,
        action="token.create",
        data={
            "user": actor,
            "name": name,
            "prefix": secret[:12],
            "token_hash": ApiToken.digest(secret),
            "scopes": scopes,
            "expires_at": expires_at,
        },
    )
    return token, secret


def _check_not_more(via: ApiToken, scopes: list[str], expires_at: datetime | None) -> None:
    if not set(scopes) <= set(via.scopes):
        raise DomainError("scope", "A token cannot make another with more scopes than it has itself.", status=403)
    if via.expires_at is not None and (expires_at is None or expires_at > via.expires_at):
        raise DomainError(
            "scope",
            "A token cannot make another that lasts longer than it does itself.",
            {"expires_at": rfc3339(via.expires_at)},
            status=403,
        )


@transaction.atomic
def token_revoke(*, actor: Any, token: ApiToken) -> None:
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=wall_now()) != 1:
        raise DomainError("revoked", "This token is revoked already.")
    audit.record(actor=actor, action="token.revoke", obj=token)
