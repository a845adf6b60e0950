"""The gateways' door, ``/edge/v1/`` (docs/edge-protocol.md). Own authentication, limits before the body is read, msgpack both ways."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, BinaryIO, NoReturn

import structlog
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.utils import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from devices.choices import DeviceKind, DeviceState
from devices.models import Credential, Device
from devices.services import credential_check, enrolment_claim
from edge_bridge import wire
from edge_bridge.broker import broker_login_set
from edge_bridge.desired import desired_state, gateway_changed, mqtt_access
from edge_bridge.ingest import messages_take
from edge_bridge.models import Installation
from edge_bridge.reported import reported_take
from edge_bridge.rollouts import progress_soon
from edge_bridge.selectors import IN_FORCE
from governance import artefacts, lake
from portal.core.api.problems import PROBLEM, problem
from portal.core.api.renderers import dumps
from portal.core.clock import wall_now
from portal.core.errors import DomainError

log = structlog.get_logger(__name__)
View = Callable[..., HttpResponseBase]
_CHUNK = 64 * 1024
_SHA = re.compile(r"^[0-9a-f]{64}$")
_RANGE = re.compile(r"^bytes=(\d{1,18})-(\d{0,18})$")
_ENROL_LIMIT = 16 * 1024


class Turned(Exception):
    """The call is answered with a problem."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


def refusal(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(
        dumps(problem(status, code, detail)), status=status, content_type=PROBLEM, headers=headers or {}
    )


def door(method: str) -> Callable[[View], View]:
    """A call of the door: one method, refusals as problems, a database that is away as 503."""

    def wrap(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method != method:
                    raise Turned(405, "method_not_allowed", f"This address takes {method}.", Allow=method)
                return view(request, *args, **kwargs)
            except Turned as turned:
                return refusal(turned.status, turned.code, turned.detail, turned.headers)
            except wire.WireError as error:
                return refusal(413 if error.code == "too_large" else 400, error.code, error.message)
            except DomainError as error:
                return refusal(int(error.status), error.code, error.message)
            except (OperationalError, InterfaceError) as error:
                log.warning("door.database_away", error=type(error).__name__)
                return refusal(503, "busy", "The portal cannot store anything now.", {"Retry-After": "2"})
            except DatabaseFailure as error:
                log.error("door.database", error=str(error))
                return refusal(503, "busy", "The portal could not store this.", {"Retry-After": "10"})

        return call

    return wrap


def read_body(request: HttpRequest, limit: int) -> bytes:
    """The body, refused by its announced length before a byte of it is read."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    if not announced.isdigit():
        raise Turned(411, "length_required", "Send Content-Length.")
    if int(announced) > limit:
        raise Turned(413, "too_large", f"{announced} bytes, at most {limit} are taken.")
    if request.content_type != wire.CONTENT_TYPE:
        raise Turned(415, "unsupported_media_type", f"Send {wire.CONTENT_TYPE}.")
    data = request.read(int(announced))
    if len(data) != int(announced):
        raise Turned(400, "malformed", "The body is shorter than announced.")
    return data


def gateway_of(request: HttpRequest) -> Device:
    """The gateway whose token this is."""
    kind, _sep, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not 32 <= len(token) <= 128:
        raise Turned(401, "bad_token", "Sign in with the gateway's token.", **{"WWW-Authenticate": "Bearer"})
    device = credential_check(token, wall_now())
    if device is None:
        _raise_unknown(token)
    if device.device_type.kind != DeviceKind.GATEWAY:
        raise Turned(403, "gateway_disabled", "This device is not a gateway.")
    return device


def _raise_unknown(token: str) -> NoReturn:
    digest = hashlib.sha256(token.encode()).hexdigest()
    if Credential.objects.filter(token_hash=digest, device__state=DeviceState.RETIRED).exists():
        raise Turned(403, "gateway_disabled", "This gateway is retired.")
    raise Turned(401, "bad_token", "This token is not valid (any more).", **{"WWW-Authenticate": "Bearer"})


def packed(message: wire.Message, **headers: str) -> HttpResponse:
    return HttpResponse(
        wire.encode(message), content_type=wire.CONTENT_TYPE, headers={"Cache-Control": "no-store"} | headers
    )


@door("POST")
def enrol(request: HttpRequest) -> HttpResponse:
    asked = wire.decode(read_body(request, _ENROL_LIMIT), wire.EnrolRequest, limit=_ENROL_LIMIT)
    now = wall_now()
    with transaction.atomic():
        device, credential = enrolment_claim(asked.claim_code, asked.secret, now)
        if device.device_type.kind != DeviceKind.GATEWAY:
            raise DomainError("claim_unknown", "This claim code is not a gateway's.", status=404)
        access = mqtt_access()
        if access is not None:
            broker_login_set(device, asked.secret)
        if credential.created_at >= now or device.wanted_version == 0:
            gateway_changed(device)
    return packed(
        wire.EnrolReply(
            gateway=str(device.pk),
            site=device.site.code,
            signing_keys=artefacts.public_keys(),
            name=device.name[:200],
            sequences=lake.sequences(device),
            mqtt=access,
            wall_ms=round(now.timestamp() * 1000),
        )
    )


@door("GET")
def desired(request: HttpRequest) -> HttpResponse:
    gateway = gateway_of(request)
    etag = f'"{gateway.wanted_version}"'
    if etag in {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}:
        return HttpResponse(status=304, headers={"ETag": etag})
    state, problems = desired_state(gateway)
    if problems:
        log.warning("door.left_out", gateway=gateway.code, problems=problems)
    return packed(state, ETag=etag)


@door("POST")
def messages(request: HttpRequest) -> HttpResponse:
    gateway = gateway_of(request)
    return packed(messages_take(gateway, wire.open_batch(read_body(request, wire.MAX_BATCH_BYTES))))


@door("POST")
def reported(request: HttpRequest) -> HttpResponse:
    gateway = gateway_of(request)
    report = wire.decode(read_body(request, wire.MAX_STATE_BYTES), wire.ReportedState)
    if report.gateway != str(gateway.pk):
        raise Turned(400, "wrong_gateway", "The token belongs to another gateway.")
    reported_take(gateway, report)
    progress_soon(gateway)
    return HttpResponse(status=204)


@door("GET")
def artefact(request: HttpRequest, sha256: str) -> HttpResponse | StreamingHttpResponse:
    gateway = gateway_of(request)
    unknown = Turned(404, "not_found", "There is no such model file for this gateway.")
    if not _SHA.match(sha256):
        raise unknown
    if not Installation.objects.filter(device=gateway, state__in=IN_FORCE, version_of_model__sha256=sha256).exists():
        raise unknown
    file = artefacts.path_of(sha256)
    try:
        size = file.stat().st_size
        begin, end = _range(request.headers.get("Range", ""), size)
        handle = file.open("rb")
    except OSError as error:
        log.error("door.artefact_missing", sha256=sha256, error=error.strerror)
        raise unknown from error
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{sha256}"', "Content-Length": str(end - begin)}
    whole = begin == 0 and end == size and "Range" not in request.headers
    if not whole:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    return StreamingHttpResponse(
        _pieces(handle, begin, end),
        status=200 if whole else 206,
        content_type="application/octet-stream",
        headers=headers,
    )


def _range(asked: str, size: int) -> tuple[int, int]:
    """First byte and the one after the last. Anything but one range from an offset is answered with the whole file, as HTTP allows."""
    match = _RANGE.match(asked)
    if match is None:
        return 0, size
    begin = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    if begin >= size or end <= begin:
        raise Turned(416, "range", f"The file has {size} bytes.", **{"Content-Range": f"bytes */{size}"})
    return begin, end


def _pieces(handle: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    with handle:
        handle.seek(begin)
        left = end - begin
        while left > 0:
            piece = handle.read(min(_CHUNK, left))
            if not piece:
                return
            left -= len(piece)
            yield piece


_BASE = wire.HTTP_PREFIX.strip("/")
urlpatterns = [
    path(f"{_BASE}/enrol", enrol, name="edge-enrol"),
    path(f"{_BASE}/desired", desired, name="edge-desired"),
    path(f"{_BASE}/messages", messages, name="edge-messages"),
    path(f"{_BASE}/reported", reported, name="edge-reported"),
    path(f"{_BASE}/artefacts/<str:sha256>", artefact, name="edge-artefact"),
]
