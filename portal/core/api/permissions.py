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
            # Who gives roles or sets passwords can get at every app: the scope of one is not enough for that.
            whole = kind == "write" and getattr(view, "writes_need_whole_scope", False)
            needed = [kind] if whole else [kind, f"{app}:{kind}"]
            if not scopes & ({"write"} if whole else {*needed, "write", f"{app}:write"}):
                raise DomainError(
                    "scope",
                    f"This token does not carry the scope {' or '.join(needed)}.",
                    {"needed": needed},
                    status=403,
                )
        return True
