"""Request id and log context; the audit door; DomainError on pages; caching and Vary for partials."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from portal.core import audit
from portal.core.errors import DomainError

_SAFE_ID = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
Respond = Callable[[HttpRequest], HttpResponse]
log = structlog.get_logger("portal.request")


class RequestIdMiddleware:
    """Every request has an id: the caller's ``X-Request-Id`` when it is well formed, else a new one; it is sent back."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _SAFE_ID.match(given) else uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        if response.status_code >= 500:
            log.error("request.failed", method=request.method, path=request.path, status=response.status_code)
        return response


class PortalMiddleware:
    """After sign-in: which door this write comes through, which site is chosen, and refusals as pages."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path
        via = "page"
        for prefix, door in (("/api/", "api"), ("/services/", "api"), ("/edge/", "edge")):
            if path.startswith(prefix):
                via = door
        token = audit.enter(audit.Door(via=via, request_id=getattr(request, "request_id", "")))
        try:
            response = self.get_response(request)
        finally:
            audit.leave(token)
        if via == "page" and response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Vary", "HX-Request")
            if "HX-Request" not in response["Vary"]:
                response["Vary"] += ", HX-Request"
            if "Cache-Control" not in response:
                response["Cache-Control"] = "private, no-cache"
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, DomainError):
            return None
        context = {"error": exception, "title": "That was refused", "message": exception.message}
        template = "components/refusal.html" if getattr(request, "htmx", False) else "refused.html"
        response = render(request, template, context, status=exception.status)
        if getattr(request, "htmx", False):
            response["HX-Retarget"] = "#refusals"
            response["HX-Reswap"] = "innerHTML"
        return response
