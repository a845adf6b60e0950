"""The last answers: 400, 404, 500 and 503, as a problem on the API doors and as a page elsewhere. Never a stack trace."""

import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db.utils import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from portal.core.api.problems import PROBLEM, problem

_DOORS = ("/api/", "/edge/", "/services/")
#: Seconds after which a caller may ask again when the database is away.
RETRY_AFTER = 5


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    if request.path.startswith(_DOORS):
        body = problem(404, "not_found", "There is nothing here that you may see.")
        return JsonResponse(body, status=404, content_type=PROBLEM)
    return render(request, "404.html", {"title": "Not found"}, status=404)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """A request that is refused before any view: too large (413), or not well formed (400)."""
    large = isinstance(exception, RequestDataTooBig)
    status, code = (413, "too_large") if large else (400, "bad_request")
    message = "What was sent is too large; nothing was saved." if large else "The request is not well formed."
    if request.path.startswith(_DOORS):
        return JsonResponse(problem(status, code, message), status=status, content_type=PROBLEM)
    return render(request, "refused.html", {"title": "That was refused", "message": message}, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django asks for this while the error is being handled, so it can be told apart here."""
    if isinstance(sys.exc_info()[1], (OperationalError, InterfaceError)):
        return database_away(request)
    request_id = getattr(request, "request_id", "")
    if request.path.startswith(_DOORS):
        body = problem(500, "internal", f"Something failed here. Tell us the request id {request_id}.")
        return JsonResponse(body, status=500, content_type=PROBLEM)
    return render(request, "500.html", {"title": "Something failed", "request_id": request_id}, status=500)


def database_away(request: HttpRequest) -> HttpResponse:
    """503 that needs no database itself: no session, no menu. Whatever was being written has been rolled back."""
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    message = "The database does not answer at the moment. Nothing was saved; try again in a few seconds."
    if request.path.startswith(_DOORS):
        body = problem(503, "database_away", message, extra={"retry_after": RETRY_AFTER})
        return JsonResponse(body, status=503, content_type=PROBLEM, headers=headers)
    text = render_to_string("503.html", {"title": "Not available now", "message": message})
    return HttpResponse(text, status=503, headers=headers)
