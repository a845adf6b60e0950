"""A form that was sent twice is taken once.

Every rendering of a form carries its own CSRF token, so the same person sending the same content with the same token to the same address
is a double click or a "send again", and no second wish. The first answer is kept as with an ``Idempotency-Key``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase

from portal.core.errors import DomainError
from portal.core.models import IdempotencyRecord

_TOKEN = "csrfmiddlewaretoken"  # noqa: S105


def take_once(request: HttpRequest, work: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """``work()``, or where this very form was taken before: the way to what it made. Refusals are not kept."""
    if request.method != "POST" or _TOKEN not in request.POST or not request.user.is_authenticated:
        return work()
    digest = _digest(request)
    try:
        with transaction.atomic():
            record = IdempotencyRecord.objects.create(
                user_id=request.user.pk, key=f"form:{digest}", path=request.path[:300], body_sha256=digest
            )
    except IntegrityError:
        return _again(request, str(request.user.pk), digest)
    try:
        response = work()
    except BaseException:
        record.delete()
        raise
    done = response.status_code in {201, 204} or 300 <= response.status_code < 400
    if done:
        target = response.get("Location") or response.get("HX-Redirect") or ""
        IdempotencyRecord.objects.filter(pk=record.pk).update(
            status=response.status_code, headers={"Location": target} if target else {}
        )
    else:
        record.delete()
    return response


def _digest(request: HttpRequest) -> str:
    found = hashlib.sha256(request.get_full_path().encode())
    for name in sorted(request.POST):
        for value in request.POST.getlist(name):
            found.update(b"\0%b\0%b" % (name.encode(), value.encode("utf-8", "replace")))
    for name in sorted(request.FILES):
        for file in request.FILES.getlist(name):
            found.update(b"\0%b\0" % name.encode())
            for chunk in file.chunks():
                found.update(chunk)
            file.seek(0)
    return found.hexdigest()


def _again(request: HttpRequest, person: str, digest: str) -> HttpResponse:
    record = IdempotencyRecord.objects.filter(user_id=person, key=f"form:{digest}").first()
    target: Any = record.headers.get("Location") if record is not None and record.status is not None else None
    if not target:
        raise DomainError(
            "sent_twice",
            "This form was sent already, so nothing was saved a second time. Look whether the first is there; "
            "to send it once more, open the form again.",
        )
    if getattr(request, "htmx", False):
        response = HttpResponse(status=204)
        response["HX-Redirect"] = target
        return response
    return HttpResponseRedirect(target)
