"""The door of paying clients: ``/services/{code}/v1/``. Its own authentication (client keys), its own contract, problems as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from math import isfinite
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from marketplace import scoring
from marketplace.choices import ServiceState
from marketplace.contract import MAX_ROWS
from marketplace.models import ClientKey, Service
from marketplace.selectors import watch_reasons
from marketplace.services.metering import Call, LimitReached, call_score, check_open
from portal.core.api.problems import PROBLEM, problem
from portal.core.api.renderers import dumps
from portal.core.errors import DomainError
from portal.core.models import ApiToken

MAX_ERRORS = 50
#: Models compute in 32-bit floats.
LARGEST = 3.4e38
_JSON = "application/json"
Door = Callable[..., HttpResponse]


def _problem(error: DomainError) -> HttpResponse:
    body = problem(int(error.status), error.code, error.message, errors=error.errors, extra=error.extra)
    response = HttpResponse(dumps(body), status=int(error.status), content_type=PROBLEM)
    if error.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="services"'
    if "retry_after" in error.extra:
        response["Retry-After"] = str(error.extra["retry_after"])
    if isinstance(error, LimitReached):
        for name, value in error.limits.headers().items():
            response[name] = value
    return response


def door(*methods: str) -> Callable[[Door], Door]:
    """A view of this door: only these methods, every refusal a problem, never cached."""

    def wrap(view: Door) -> Door:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest, code: str) -> HttpResponse:
            if request.method not in methods:
                refusal = DomainError("method_not_allowed", f"Send {' or '.join(methods)}.", status=405)
                response = _problem(refusal)
                response["Allow"] = ", ".join(methods)
                return response
            try:
                response = view(request, code)
            except DomainError as error:
                response = _problem(error)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return answer

    return wrap


def not_found() -> DomainError:
    return DomainError("not_found", "There is no such service for you.", status=404)


def client_key(request: HttpRequest, code: str) -> ClientKey:
    """The caller's key with subscription, plan and service. 401: no or no valid key; 404: a key of another service.

    Whether a service of that code exists cannot be told from either answer.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, text = header.partition(" ")
    key = None
    if scheme.lower() == "bearer" and text.strip():
        key = (
            ClientKey.objects.select_related(
                "subscription__plan", "subscription__service__model", "subscription__owner"
            )
            .filter(key_hash=ApiToken.digest(text.strip()), revoked_at=None, subscription__owner__is_active=True)
            .first()
        )
    if key is None:
        raise DomainError("key_needed", "Send a valid client key: Authorization: Bearer pgc_….", status=401)
    if key.subscription.service.code != code:
        raise not_found()
    return key


def read_body(request: HttpRequest) -> bytes:
    if request.content_type != _JSON:
        raise DomainError("unsupported_media_type", "Send JSON: Content-Type: application/json.", status=415)
    try:
        return request.body
    except RequestDataTooBig as error:
        raise DomainError("too_large", f"The body is too large; send at most {MAX_ROWS} rows.", status=413) from error


def parse_rows(body: bytes, features: list[str]) -> list[dict[str, Any]]:
    """Rows with every feature as a finite number or None. DomainError 400 with the path of each mistake (at most 50), or 413."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DomainError("invalid", f"The body is not valid JSON: {error}.", status=400) from error
    rows = data.get("rows") if isinstance(data, dict) else None
    wrong: list[dict[str, str]] = []
    if isinstance(data, dict):
        wrong += [{"field": name, "message": "There is no such field."} for name in sorted(set(data) - {"rows"})]
    if not isinstance(rows, list) or not rows:
        wrong.append({"field": "rows", "message": f"A list of 1 to {MAX_ROWS} rows."})
        rows = []
    if len(rows) > MAX_ROWS:
        raise DomainError("too_many_rows", f"{len(rows)} rows; at most {MAX_ROWS} at once.", status=413)
    known = set(features)
    for at, row in enumerate(rows):
        if len(wrong) >= MAX_ERRORS:
            break
        if not isinstance(row, dict):
            wrong.append({"field": f"rows[{at}]", "message": "An object with one number for each input."})
            continue
        wrong += [
            {"field": f"rows[{at}].{name}", "message": "There is no such input."} for name in sorted(set(row) - known)
        ]
        for name in features:
            message = _mistake(row, name)
            if message:
                wrong.append({"field": f"rows[{at}].{name}", "message": message})
    if wrong:
        raise DomainError("invalid", "Some values are not valid.", errors=wrong[:MAX_ERRORS], status=400)
    return rows


def _mistake(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return "This input is missing."
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "A number."
    return "" if isfinite(value) and abs(value) <= LARGEST else "A number that fits 32 bits."


@door("POST")
def score(request: HttpRequest, code: str) -> HttpResponse:
    """Up to 1,000 rows in, one prediction a row out."""
    key = client_key(request, code)
    check_open(key.subscription)
    idempotency_key = request.headers.get("Idempotency-Key", "")
    if len(idempotency_key) > 200:
        raise DomainError("idempotency_key", "An Idempotency-Key has 1 to 200 characters.", status=400)
    body = read_body(request)
    rows = parse_rows(body, list(key.subscription.service.model.features))
    answer = call_score(
        key=key, call=Call(rows, idempotency_key, hashlib.sha256(body).hexdigest(), request.path)
    )  # fmt: skip
    response = HttpResponse(answer.body, content_type=_JSON)
    for name, value in answer.headers.items():
        response[name] = value
    if answer.replayed:
        response["Idempotent-Replay"] = "true"
    return response


def _visible(request: HttpRequest, code: str) -> Service:
    """A published service for everybody; a draft or retired one only for a key of its own."""
    service = Service.objects.select_related("model").filter(code=code).first()
    if service is not None and service.state == ServiceState.PUBLISHED:
        return service
    if request.headers.get("Authorization"):
        return client_key(request, code).subscription.service
    raise not_found()


@door("GET", "HEAD")
def openapi(request: HttpRequest, code: str) -> HttpResponse:
    """The contract as an OpenAPI 3.1 document."""
    service = _visible(request, code)
    body = dumps(service.openapi)
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(body, content_type=_JSON, headers={"ETag": etag, "Cache-Control": "public, max-age=60"})


@door("GET", "HEAD")
def health(request: HttpRequest, code: str) -> HttpResponse:
    """pass; warn: answers, but a gate of its use case is open again; fail (503): no version can be run."""
    service = _visible(request, code)
    body: dict[str, Any] = {"status": "pass", "service": service.code, "model_version": None}
    if service.state == ServiceState.RETIRED:
        return _health(body | {"status": "fail", "output": "The service is retired."})
    try:
        body["model_version"] = scoring.runner_for(service.model).number
    except DomainError as error:
        return _health(body | {"status": "fail", "output": error.message.removesuffix(" Nothing was billed.")})
    if watch_reasons([service]):
        body |= {"status": "warn", "output": "A gate of its use case is open again; the service keeps answering."}
    return _health(body)


def _health(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(dumps(body), status=503 if body["status"] == "fail" else 200, content_type=_JSON)


urlpatterns = [
    path("services/<slug:code>/v1/score", score, name="service-score"),
    path("services/<slug:code>/v1/openapi.json", openapi, name="service-openapi"),
    path("services/<slug:code>/v1/health", health, name="service-health"),
]
