"""Every refusal of the API is ``application/problem+json`` (RFC 9457) with ``code`` and, for input, ``errors[]``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from portal.core.errors import DomainError

PROBLEM = "application/problem+json"
_CODES = {
    400: "invalid",
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
}


def problem(
    status: int, code: str, detail: str, *, errors: Any = (), extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"about:blank#{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "errors": list(errors),
    }
    return body | (extra or {})


def flatten(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's nested error detail as a flat list of field and message."""
    if isinstance(detail, dict):
        rows = []
        for name, value in detail.items():
            here = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
            rows += flatten(value, here)
        return rows
    if isinstance(detail, (list, tuple)):
        rows = []
        for at, value in enumerate(detail):
            rows += flatten(value, f"{path}[{at}]" if isinstance(value, dict) else path)
        return rows
    return [{"field": path, "message": str(detail)}]


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    headers: dict[str, str] = {}
    if isinstance(error, DomainError):
        body = problem(error.status, error.code, error.message, errors=error.errors, extra=error.extra)
        if error.status == 429 and "retry_after" in error.extra:
            headers["Retry-After"] = str(error.extra["retry_after"])
    elif isinstance(error, Http404):
        body = problem(404, "not_found", "There is nothing here that you may see.")
    elif isinstance(error, RequestDataTooBig):
        body = problem(413, "too_large", "The body is too large.")
    elif isinstance(error, PermissionDenied):
        body = problem(403, "not_allowed", "That is not allowed.")
    elif isinstance(error, exceptions.APIException):
        status = error.status_code
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = f"{int(wait) + 1}"
        rows = flatten(error.detail) if isinstance(error, exceptions.ValidationError) else []
        detail = "Some values are not valid." if rows else str(error.detail)
        body = problem(status, _CODES.get(status, "error"), detail, errors=rows)
    else:
        return None
    set_rollback()
    return Response(body, status=body["status"], headers=headers, content_type=PROBLEM)


__all__ = ["PROBLEM", "exception_handler", "problem"]
