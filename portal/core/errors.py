"""Refusals. A service raises ``DomainError``; page and API each turn it into their own answer (see docs/architecture.md)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


class DomainError(Exception):
    """A rule of the business said no.

    ``code`` is a stable word for programs, ``message`` a sentence for people, ``extra`` data for the answer,
    ``errors`` the field errors as ``[{"field": ..., "message": ...}]``.
    """

    status = HTTPStatus.CONFLICT

    def __init__(
        self,
        code: str,
        message: str,
        extra: Mapping[str, Any] | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.errors = [dict(error) for error in errors]
        if status is not None:
            self.status = HTTPStatus(status)

    def __str__(self) -> str:
        said = "; ".join(f"{row.get('field')}: {row.get('message')}" for row in self.errors)
        return f"{self.message} ({said})" if said else self.message


class NotAllowed(DomainError):
    """The person may see the object but not do this to it; says which roles may."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, action: str, who: Sequence[str]) -> None:
        allowed = " or ".join(who) if who else "an administrator"
        super().__init__(
            "not_allowed",
            f"You may look at this but not {action.replace('_', ' ')} it. {allowed} may: ask one of them.",
            {"action": action, "who_may": list(who)},
        )


class StaleWrite(DomainError):
    """Somebody else changed the object since it was read (412)."""

    status = HTTPStatus.PRECONDITION_FAILED

    def __init__(self, current: Mapping[str, Any] | None = None) -> None:
        super().__init__(
            "stale_write",
            "This was changed by somebody else after you opened it. Nothing of yours was saved; compare and save again.",
            {"current": dict(current or {})},
        )


class PreconditionRequired(DomainError):
    status = HTTPStatus.PRECONDITION_REQUIRED

    def __init__(self) -> None:
        super().__init__(
            "if_match_required",
            "Send If-Match with the ETag you read: two people may be editing this at once.",
        )


class InvalidInput(DomainError):
    """Field errors found by a service rather than a form or serializer (400)."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(
        self, errors: Mapping[str, str] | Sequence[Mapping[str, Any]], message: str = "Some values are not valid."
    ) -> None:
        rows = [{"field": k, "message": v} for k, v in errors.items()] if isinstance(errors, Mapping) else errors
        super().__init__("invalid", message, errors=rows)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(
        request,
        "403.html",
        {"title": "The form has expired", "message": "Reload the page and send it again; nothing was saved."},
        status=403,
    )
