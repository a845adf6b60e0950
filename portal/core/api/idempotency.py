"""``Idempotency-Key`` on every POST: the first answer is kept 24 hours; same key and body gives it again, another body 422."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.renderers import dumps
from portal.core.errors import DomainError
from portal.core.models import IdempotencyRecord

_KEPT_HEADERS = ("Location", "ETag", "Content-Type")
#: Texts that an answer shows once: of these the portal keeps a hash and nothing else, so the kept answer goes without them.
SHOWN_ONCE = frozenset({"secret", "claim_code", "set_password_url"})


class Answered(Exception):
    """Carries the stored answer out of the view."""

    def __init__(self, record: IdempotencyRecord) -> None:
        super().__init__(record.key)
        self.record = record


def begin(request: Request) -> IdempotencyRecord | None:
    """Claims the key for this request, or raises: ``Answered`` with the first answer, 422 for another body, 409 while it runs."""
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None or not request.user.is_authenticated:
        return None
    if not 1 <= len(key) <= 200:
        raise DomainError("idempotency_key", "An Idempotency-Key has 1 to 200 characters.", status=400)
    body = hashlib.sha256(request.get_full_path().encode() + b"\0" + request.body).hexdigest()
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(
                user=request.user, key=key, path=request.path[:300], body_sha256=body
            )
    except IntegrityError:
        found = IdempotencyRecord.objects.filter(user=request.user, key=key).first()
    if found is None:
        raise DomainError(
            "idempotency_busy", "The first request with this key is still running; ask again.", {"retry_after": 1}
        )
    if found.body_sha256 != body:
        raise DomainError("idempotency_mismatch", "This Idempotency-Key was used for another request.", status=422)
    if found.status is None:
        raise DomainError(
            "idempotency_busy", "The first request with this key is still running; ask again.", {"retry_after": 1}
        )
    raise Answered(found)


def replay(record: IdempotencyRecord) -> Response:
    response = Response(bytes(record.body or b"") or None, status=record.status)
    for name, value in record.headers.items():
        if name == "Content-Type":
            response.content_type = value
        else:
            response[name] = value
    response["Idempotent-Replay"] = "true"
    return response


def finish(record: IdempotencyRecord, response: Any) -> None:
    """Keeps the answer; a failure of ours or a refusal to act now may be tried again with the same key."""
    if (
        response.status_code >= 500
        or response.status_code in {401, 403, 409, 412, 428, 429}
        or getattr(response, "streaming", False)
    ):
        record.delete()
        return
    data = getattr(response, "data", None)
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in SHOWN_ONCE}
    body = data if isinstance(data, bytes) else b"" if data is None else dumps(data)
    IdempotencyRecord.objects.filter(pk=record.pk).update(
        status=response.status_code,
        body=body,
        headers={
            name: value
            for name in _KEPT_HEADERS
            # Before rendering the header still says text/html; without a type of its own the answer is JSON again.
            if (value := getattr(response, "content_type", None) if name == "Content-Type" else response.get(name))
        },
    )
