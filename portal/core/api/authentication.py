"""Bearer tokens and sessions for /api/v1."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from portal.core.clock import wall_now
from portal.core.models import ApiToken


class BearerAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer pgt_…``: a personal token, looked up by its hash."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        header = request.headers.get("Authorization", "")
        if not header.lower().startswith("bearer "):
            return None
        token = ApiToken.objects.select_related("user").filter(token_hash=ApiToken.digest(header[7:].strip())).first()
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
