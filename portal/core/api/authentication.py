"""Bearer tokens and sessions for /api/v1."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from portal.core import prepared
from portal.core.clock import wall_now
from portal.core.models import ApiToken, User

TOKEN = tuple(field.attname for field in ApiToken._meta.concrete_fields)
PERSON = tuple(field.attname for field in User._meta.concrete_fields)


def _token(digest: str) -> ApiToken | None:
    """The token of this hash with its user, by one statement compiled once."""
    kept = prepared.statement(
        "bearer",
        lambda: (
            ApiToken.objects.filter(token_hash=prepared.TEXT)
            .order_by()
            .values_list(*TOKEN, *(f"user__{name}" for name in PERSON))
        ),
    )
    rows = kept.run({prepared.TEXT: digest}) if kept is not None else []
    if not rows:
        return None
    token = ApiToken.from_db(connection.alias, TOKEN, rows[0][: len(TOKEN)])
    token.user = User.from_db(connection.alias, PERSON, rows[0][len(TOKEN) :])
    return token


class BearerAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer pgt_…``: a personal token, looked up by its hash."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        header = request.headers.get("Authorization", "")
        if not header.lower().startswith("bearer "):
            return None
        token = _token(ApiToken.digest(header[7:].strip()))
        now = wall_now()
        if token is None or not token.is_valid(now) or not token.user.is_active:
            raise exceptions.AuthenticationFailed("The token is unknown, expired or revoked.")
        if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=5):
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="phasegate"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The page's session, with its CSRF check; unauthenticated requests get 401 rather than 403."""

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="phasegate"'


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
