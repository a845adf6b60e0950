"""MQTT 5 (docs/edge-protocol.md, "MQTT 5"): messages and states over the broker, model files over HTTPS."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_bridge import wire
from edge_bridge.agent.identity import Identity
from edge_bridge.agent.transport.base import Failed
from edge_bridge.agent.transport.https import HttpsTransport

ACK_SECONDS = 15.0
KEEPALIVE = 30


class MqttTransport:
    """One connection to the broker; `files` fetches artefacts and, until the broker has a retained one, the desired
    state."""

    name: Literal["https", "mqtt"] = "mqtt"

    def __init__(self, identity: Identity, files: HttpsTransport, *, ack_seconds: float = ACK_SECONDS) -> None:
        if identity.mqtt is None:
            raise Failed("no_broker", "the enrolment gave no broker", permanent=True)
        self._files = files
        self._ack_seconds = ack_seconds
        self._site, self._gateway = identity.site, identity.gateway
        self._changed = threading.Condition()
        self._acks: dict[tuple[str, int], wire.Ack] = {}
        self._expected: set[tuple[str, int]] = set()
        self._desired: wire.DesiredState | None = None
        self._hint = 0
        self._refusal = ""
        self._unreadable = ""
        self._connections = 0
        self._send_lock = threading.Lock()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=identity.gateway, protocol=paho.MQTTv5)
        client.username_pw_set(identity.gateway, identity.secret)
        if identity.mqtt.tls:
            try:
                context = ssl.create_default_context(cafile=str(identity.ca) if identity.ca else None)
            except OSError as error:
                raise Failed(
                    "ca_unreadable", f"{identity.ca} cannot be used as a certificate authority: {error}"
                ) from error
            client.tls_set_context(context)
        client.max_inflight_messages_set(wire.MAX_BATCH_ENVELOPES)
        client.max_queued_messages_set(4 * wire.MAX_BATCH_ENVELOPES)
        client.reconnect_delay_set(1, 60)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_message = self._on_message
        self._client = client
        client.connect_async(identity.mqtt.host, identity.mqtt.port, keepalive=KEEPALIVE)
        client.loop_start()

    @property
    def clock_offset_ms(self) -> float | None:
        return self._files.clock_offset_ms

    def send(self, envelopes: Sequence[bytes]) -> wire.AckBatch:
        with self._send_lock:
            opened = [wire.open_envelope(data) for data in envelopes]
            wanted = {(envelope.stream, envelope.sequence) for envelope in opened}
            self._wait_connected()
            with self._changed:
                self._acks.clear()
                self._expected = set(wanted)
                connection = self._connections
            for data in envelopes:
                self._publish("up", data, retain=False)
            until = time.monotonic() + self._ack_seconds
            with self._changed:
                while not wanted <= self._acks.keys():
                    left = until - time.monotonic()
                    # A new connection has no memory of what was published on the old one: give up and send again.
                    if left <= 0 or not self._client.is_connected() or self._connections != connection:
                        break
                    self._changed.wait(min(left, 1.0))
                acks = list(self._acks.values())
                self._expected = set()
                hint = self._hint
            if not acks:
                raise Failed("no_ack", f"no answer to {len(wanted)} messages within {self._ack_seconds:.0f} s")
            return wire.AckBatch(acks=acks, desired_version=hint)

    def desired(self, known: int) -> wire.DesiredState | None:
        with self._changed:
            if self._unreadable:
                raise Failed("bad_answer", self._unreadable)
            if self._desired is not None:
                return self._desired if self._desired.version != known else None
        return self._files.desired(known)

    def report(self, reported: wire.ReportedState) -> None:
        self._wait_connected()
        self._publish("reported", wire.encode(reported), retain=True)

    def artefact(self, url: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        return self._files.artefact(url, offset)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._files.close()

    def _publish(self, leaf: Literal["up", "reported"], payload: bytes, *, retain: bool) -> None:
        sent = self._client.publish(wire.topic(self._site, self._gateway, leaf), payload, qos=1, retain=retain)
        if sent.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise Failed("unreachable", f"the broker connection takes no message: {paho.error_string(sent.rc)}")

    def _wait_connected(self) -> None:
        with self._changed:
            if not self._changed.wait_for(self._client.is_connected, timeout=5.0):
                raise Failed("unreachable", self._refusal or "the broker cannot be reached")

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._refusal = f"the broker refuses the connection: {reason}"
            else:
                self._refusal = ""
                self._connections += 1
                client.subscribe([(wire.topic(self._site, self._gateway, leaf), 1) for leaf in ("ack", "desired")])
            self._changed.notify_all()

    def _on_connect_fail(self, client: paho.Client, data: Any) -> None:
        # Called while the error is being handled: a certificate that is not trusted is another matter than a broker that is away.
        error = sys.exc_info()[1]
        with self._changed:
            self._refusal = "the broker cannot be reached"
            if isinstance(error, ssl.SSLError):
                self._refusal = (
                    f"no secure connection to the broker: {getattr(error, 'verify_message', '') or error.reason}"
                )
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        try:
            if message.topic.endswith("/ack"):
                batch = wire.decode(bytes(message.payload), wire.AckBatch)
                with self._changed:
                    self._hint = max(self._hint, batch.desired_version)
                    for ack in batch.acks:
                        if (ack.stream, ack.sequence) in self._expected:
                            self._acks[ack.stream, ack.sequence] = ack
                    self._changed.notify_all()
            elif message.payload:
                state = wire.decode(bytes(message.payload), wire.DesiredState)
                with self._changed:
                    self._desired, self._unreadable = state, ""
                    self._hint = max(self._hint, state.version)
                    self._changed.notify_all()
        except wire.WireError as error:
            with self._changed:
                if message.topic.endswith("/desired"):
                    self._unreadable = f"the desired state cannot be read: {error.message}"
