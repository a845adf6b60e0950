"""The portal's HTTPS door (docs/edge-protocol.md, "HTTPS door")."""

from __future__ import annotations

import contextlib
import email.utils
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import httpx
import msgspec

from edge_bridge import wire
from edge_bridge.agent.transport.base import Failed

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
MAX_PROBLEM_BYTES = 64 * 1024
T = TypeVar("T")


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class HttpsTransport:
    """One keep-alive client for all calls. `portal` is the base address, `secret` the bearer token."""

    name: Literal["https", "mqtt"] = "https"

    def __init__(self, portal: str, secret: str, *, ca: Path | None = None) -> None:
        self.clock_offset_ms: float | None = None
        self._portal = portal.rstrip("/")
        self._secret = secret
        self._client = _client(ca)

    def send(self, envelopes: Sequence[bytes]) -> wire.AckBatch:
        answer = self._call("POST", "messages", wire.seal_batch(envelopes))
        return _decoded(answer.content, wire.AckBatch)

    def desired(self, known: int) -> wire.DesiredState | None:
        answer = self._call("GET", "desired", headers={"If-None-Match": f'"{known}"'})
        return None if answer.status_code == 304 else _decoded(answer.content, wire.DesiredState)

    def report(self, reported: wire.ReportedState) -> None:
        self._call("POST", "reported", wire.encode(reported))

    @contextlib.contextmanager
    def artefact(self, url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        address = url if "://" in url else self._portal + "/" + url.lstrip("/")
        headers = {"Accept-Encoding": "identity"}
        if address.startswith(self._portal + "/"):
            headers["Authorization"] = f"Bearer {self._secret}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with self._client.stream("GET", address, headers=headers) as answer:
                if answer.status_code == 416:
                    yield 0, iter(())
                    return
                if answer.status_code not in (200, 206):
                    raise Failed(f"http_{answer.status_code}", f"{address} answers {answer.status_code}")
                begins = offset if answer.status_code == 206 else 0
                yield begins, answer.iter_raw()
        except httpx.HTTPError as error:
            raise Failed("unreachable", f"{address}: {error or type(error).__name__}") from error

    def close(self) -> None:
        self._client.close()

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self._secret}", "Accept": wire.CONTENT_TYPE, **(headers or {})}
        answer = _exchange(self._client, method, self._portal + wire.HTTP_PREFIX + path, body, sent)
        if date := answer.headers.get("Date"):
            with contextlib.suppress(ValueError, TypeError):
                self.clock_offset_ms = (email.utils.parsedate_to_datetime(date).timestamp() - time.time()) * 1000
        return answer


def enrol(portal: str, request: wire.EnrolRequest, *, ca: Path | None = None) -> wire.EnrolReply:
    """Exchange a claim code for an identity. Raises Failed, `permanent` when another attempt is useless."""
    with _client(ca) as client:
        answer = _exchange(client, "POST", portal.rstrip("/") + wire.HTTP_PREFIX + "enrol", wire.encode(request), {})
    return _decoded(answer.content, wire.EnrolReply)


def _client(ca: Path | None) -> httpx.Client:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Failed("bad_ca", f"cannot use the certificate authority {ca}: {error}", permanent=True) from error
    limits = httpx.Limits(max_connections=4, max_keepalive_connections=2)
    return httpx.Client(verify=context, timeout=TIMEOUT, limits=limits, follow_redirects=False)


def _exchange(
    client: httpx.Client, method: str, address: str, body: bytes | None, headers: dict[str, str]
) -> httpx.Response:
    sent = {**headers, "Content-Type": wire.CONTENT_TYPE} if body is not None else headers
    try:
        answer = client.request(method, address, content=body, headers=sent)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failed("unreachable", f"{address}: {error or type(error).__name__}") from error
    if answer.status_code in (200, 204, 304):
        return answer
    problem = _Problem()
    if len(answer.content) <= MAX_PROBLEM_BYTES:
        with contextlib.suppress(msgspec.MsgspecError):
            problem = msgspec.json.decode(answer.content, type=_Problem)
    wait = 0.0
    with contextlib.suppress(ValueError):
        wait = min(3600.0, max(0.0, float(answer.headers.get("Retry-After", "0"))))
    raise Failed(
        problem.code or f"http_{answer.status_code}",
        problem.detail or f"{address} answers {answer.status_code}",
        permanent=400 <= answer.status_code < 500 and answer.status_code not in (401, 403, 408, 429),
        wait=wait,
    )


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return wire.decode(data, kind)
    except wire.WireError as error:
        raise Failed("bad_answer", f"the portal's answer cannot be read: {error.message}") from error
