"""A small portal's door for tests: a real HTTP server that speaks docs/edge-protocol.md, and fails when told to."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edge_bridge import wire


@dataclass
class Door:
    """What the door knows and how it misbehaves. `faults` is a queue of faults for the next `POST messages`: `503`,
    `cut` (before storing), `cut_after` (stored, answer lost), `retry`; `artefact_faults` likewise: `cut`, `short`,
    `wrong`, `404`."""

    gateway: str = "gw-1"
    site: str = "hall-1"
    signing_keys: dict[str, bytes] = field(default_factory=dict)
    claim_codes: set[str] = field(default_factory=lambda: {"CLAIM-1"})
    sequences: dict[str, int] = field(default_factory=dict)
    mqtt: wire.MqttAccess | None = None
    token: str = ""
    claimed: dict[str, str] = field(default_factory=dict)
    state: wire.DesiredState = field(default_factory=lambda: wire.DesiredState(version=0))
    inbox: dict[tuple[str, int], bytes] = field(default_factory=dict)
    order: list[tuple[str, int]] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0
    refuse: dict[str, str] = field(default_factory=dict)
    reported: list[wire.ReportedState] = field(default_factory=list)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    artefact_faults: list[str] = field(default_factory=list)
    enrol_faults: list[str] = field(default_factory=list)
    away: bool = False
    calls: int = 0
    news: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        door = self

        class Handler(_Handler):
            pass

        Handler.door = door
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def want(self, **changes: Any) -> None:
        """A new desired state with a higher version."""
        import msgspec

        with self.news:
            self.state = msgspec.structs.replace(self.state, version=self.state.version + 1, **changes)

    def wait(self, condition: Any, seconds: float = 20.0) -> None:
        """Wait until `condition()` is true; fail the test otherwise."""
        with self.news:
            if not self.news.wait_for(condition, timeout=seconds):
                raise AssertionError(
                    f"not within {seconds} s; inbox {len(self.inbox)}, last report {self.reported[-1:]}, events {self.codes()}"
                )

    def take(self, data: bytes) -> wire.Ack:
        """Store one envelope like a portal's inbox."""
        envelope = wire.open_envelope(data)
        key = (envelope.stream, envelope.sequence)
        if envelope.gateway != self.gateway:
            return wire.Ack(stream=key[0], sequence=key[1], status="refused", code="wrong_gateway")
        if envelope.stream in self.refuse:
            return wire.Ack(stream=key[0], sequence=key[1], status="refused", code=self.refuse[envelope.stream])
        if key in self.inbox:
            if wire.open_envelope(self.inbox[key]).digest != envelope.digest:
                self.conflicts += 1
                return wire.Ack(stream=key[0], sequence=key[1], status="refused", code="conflict")
            self.duplicates += 1
            return wire.Ack(stream=key[0], sequence=key[1], status="duplicate")
        wire.open_body(envelope)
        self.inbox[key] = data
        self.order.append(key)
        return wire.Ack(stream=key[0], sequence=key[1], status="accepted")

    def bodies(self, kind: type, stream: str = "") -> list[Any]:
        """Bodies of one type in order of stream and sequence."""
        found = [
            wire.open_body(wire.open_envelope(data))
            for (name, _), data in sorted(self.inbox.items())
            if not stream or name == stream
        ]
        return [body for body in found if isinstance(body, kind)]

    def rows(self, source: str) -> list[int]:
        """Row numbers that came in, in the order of their messages."""
        found: list[int] = []
        for body in self.bodies(wire.Telemetry, f"{source}/rows"):
            found += range(body.first_row, body.first_row + body.rows)
        return found

    def codes(self) -> list[str]:
        return [event.code for event in self.bodies(wire.Event)]

    def last(self) -> wire.ReportedState:
        return self.reported[-1]

    def installation(self, key: str) -> wire.InstallationReport | None:
        if not self.reported:
            return None
        return next((place for place in self.reported[-1].installations if place.id == key), None)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Agents are killed in mid-call here: a broken connection is no news."""


class _Handler(BaseHTTPRequestHandler):
    door: Door
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.door.news:
            self.door.calls += 1
            if self.door.away:
                self._cut()
                return
            path = self.path.removeprefix("/edge/v1/")
            if path == "enrol":
                self._enrol(body)
            elif self._trusted() and path == "messages":
                self._messages(body)
            elif self._trusted() and path == "reported":
                self.door.reported.append(wire.decode(body, wire.ReportedState))
                self._answer(204)
            else:
                self._problem(401, "bad_token")
            self.door.news.notify_all()

    def do_GET(self) -> None:
        with self.door.news:
            if self.door.away:
                self._cut()
                return
            if not self._trusted():
                self._problem(401, "bad_token")
            elif self.path == "/edge/v1/desired":
                if self.headers["If-None-Match"] == f'"{self.door.state.version}"':
                    self._answer(304)
                else:
                    self._answer(200, wire.encode(self.door.state), {"ETag": f'"{self.door.state.version}"'})
            elif self.path.startswith("/edge/v1/artefacts/"):
                self._artefact(self.path.rsplit("/", 1)[1])
            else:
                self._problem(404, "not_found")

    def _enrol(self, body: bytes) -> None:
        request = wire.decode(body, wire.EnrolRequest)
        door = self.door
        if request.claim_code not in door.claim_codes:
            self._problem(404, "claim_unknown")
            return
        if door.claimed.setdefault(request.claim_code, request.secret) != request.secret:
            self._problem(409, "claim_used")
            return
        door.token = request.secret
        if door.enrol_faults:
            door.enrol_faults.pop(0)
            self._cut()
            return
        reply = wire.EnrolReply(
            gateway=door.gateway,
            site=door.site,
            name="Gateway A",
            signing_keys=door.signing_keys,
            sequences=door.sequences,
            mqtt=door.mqtt,
        )
        self._answer(200, wire.encode(reply))

    def _messages(self, body: bytes) -> None:
        fault = self.door.faults.pop(0) if self.door.faults else ""
        if fault == "503":
            self._answer(503, b"{}", {"Retry-After": "0.05"})
            return
        if fault == "cut":
            self._cut()
            return
        try:
            envelopes = wire.open_batch(body)
            if fault == "retry":
                opened = [wire.open_envelope(data) for data in envelopes]
                acks = [wire.Ack(stream=e.stream, sequence=e.sequence, status="retry", code="busy") for e in opened]
            else:
                acks = [self.door.take(data) for data in envelopes]
        except wire.WireError as error:
            self._problem(400, error.code)
            return
        if fault == "cut_after":
            self._cut()
            return
        self._answer(200, wire.encode(wire.AckBatch(acks=acks, desired_version=self.door.state.version)))

    def _artefact(self, sha256: str) -> None:
        fault = self.door.artefact_faults.pop(0) if self.door.artefact_faults else ""
        data = self.door.artefacts.get(sha256)
        if data is None or fault == "404":
            self._problem(404, "not_found")
            return
        if fault == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "short":
            data = data[: len(data) // 2]
        begins = 0
        asked = self.headers["Range"] or ""
        self.door.ranges.append(asked)
        if asked:
            begins = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if begins else 200)
        self.send_header("Content-Length", str(len(data) - begins))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(data[begins : begins + (len(data) - begins) // 2])
            self._cut()
            return
        self.wfile.write(data[begins:])

    def _trusted(self) -> bool:
        return bool(self.door.token) and self.headers["Authorization"] == f"Bearer {self.door.token}"

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def _problem(self, status: int, code: str) -> None:
        self._answer(status, json.dumps({"status": status, "code": code, "detail": f"{code}."}).encode())

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304 and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
