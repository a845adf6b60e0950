"""Who may enter at all: signed-in people; a token only within its scopes. What they may see is the queryset's business."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from portal.core.errors import DomainError
from portal.core.models import ApiToken


class SignedInWithScope(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        if not (request.user and request.user.is_authenticated):
            return False
        if isinstance(request.auth, ApiToken):
            app = type(view).__module__.removeprefix("portal.").split(".")[0]
            kind = "read" if request.method in SAFE_METHODS else "write"
            scopes = set(request.auth.scopes)
            if not scopes & {kind, "write", f"{app}:{kind}", f"{app}:write"}:
                raise DomainError(
                    "scope",
                    f"This token does not carry the scope {kind} or {app}:{kind}.",
                    {"needed": [kind, f"{app}:{kind}"]},
                    status=403,
                )
        return True
