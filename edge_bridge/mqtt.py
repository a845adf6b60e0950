"""The bridge between an MQTT 5 broker and the portal: the same bytes and the same checks as at the HTTPS door.

Several bridges may run: they share the subscription, and the inbox's uniqueness keeps a message that two of them got from counting twice. A
message is acknowledged to the broker and to the gateway after the inbox commit, never before.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import Error as DatabaseFailure
from django.db import close_old_connections

from devices.choices import DeviceKind, DeviceState
from devices.models import Device
from edge_bridge import wire
from edge_bridge.broker import password_file_write
from edge_bridge.connectors.mqtt import Broker, MqttUnreachable, make_client
from edge_bridge.desired import desired_state
from edge_bridge.ingest import messages_take
from edge_bridge.reported import reported_take
from edge_bridge.rollouts import progress_soon
from portal.core import audit
from portal.core.errors import DomainError
from portal.core.ids import uuid7

log = structlog.get_logger(__name__)
UP = f"$share/bridge/{wire.TOPIC_PREFIX}/+/+/up"
REPORTED = f"$share/bridge/{wire.TOPIC_PREFIX}/+/+/reported"
_LOOK = 1.0
_DRAIN = 4 * wire.MAX_BATCH_ENVELOPES


@dataclass(frozen=True)
class Received:
    site: str
    gateway: str
    leaf: str
    payload: bytes
    mid: int
    qos: int


@dataclass(frozen=True)
class PasswordFile:
    """Where the broker reads who may sign in; after a change the process named in ``pid_file`` gets SIGHUP."""

    path: Path
    pid_file: Path | None = None
    accounts: tuple[tuple[str, str], ...] = ()

    def refresh(self) -> None:
        if not password_file_write(self.path, dict(self.accounts)) or self.pid_file is None:
            return
        with suppress(OSError, ValueError):
            os.kill(int(self.pid_file.read_text(encoding="ascii")), signal.SIGHUP)


class Bridge:
    """``run(stop)`` until ``stop`` is set. One thread reads the broker, the calling one works on the database."""

    def __init__(self, broker: Broker, *, passwords: PasswordFile | None = None) -> None:
        self.broker, self.passwords = broker, passwords
        self.connected = threading.Event()
        self._inbox: queue.Queue[Received] = queue.Queue(maxsize=4096)
        self._published: dict[UUID, int] = {}
        self._client = make_client(broker, f"phasegate-bridge-{uuid7().hex[-12:]}", manual_ack=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 30)

    # ---- the broker's thread -----------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            log.warning("bridge.refused", reason=str(reason))
            return
        client.subscribe([(UP, 1), (REPORTED, 1)])
        self._published.clear()
        self.connected.set()
        log.info("bridge.connected", host=self.broker.host)

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        # Called while the error is being handled; the client tries again by itself.
        log.warning("bridge.unreachable", host=self.broker.host, port=self.broker.port, error=str(sys.exc_info()[1]))

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.connected.clear()

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        parts = message.topic.split("/")
        if len(parts) != 5:
            client.ack(message.mid, message.qos)
            return
        # A full queue blocks this thread, so the broker keeps the rest: nothing is dropped here.
        self._inbox.put(Received(parts[2], parts[3], parts[4], bytes(message.payload), message.mid, message.qos))

    # ---- the working thread ------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event, *, step: Callable[[Callable[[], None]], None] | None = None) -> None:
        """``step`` wraps each piece of database work (tests hold their lock there)."""
        guarded = step or (lambda work: work())
        self._client.connect_async(self.broker.host, self.broker.port, keepalive=30)
        self._client.loop_start()
        looked = 0.0
        try:
            while not stop.is_set():
                if time.monotonic() - looked >= _LOOK:
                    guarded(self._look)
                    looked = time.monotonic()
                batch = self._drain()
                if batch:
                    guarded(lambda batch=batch: self._take(batch))  # type: ignore[misc]
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _drain(self) -> list[Received]:
        try:
            batch = [self._inbox.get(timeout=_LOOK / 2)]
        except queue.Empty:
            return []
        with suppress(queue.Empty):
            while len(batch) < _DRAIN:
                batch.append(self._inbox.get_nowait())
        return batch

    def _look(self) -> None:
        """Publish the desired states that changed, retained; and tell the broker of new gateways."""
        close_old_connections()
        try:
            if self.passwords is not None:
                self.passwords.refresh()
            if not self.connected.is_set():
                return
            rows = Device.objects.filter(device_type__kind=DeviceKind.GATEWAY, state=DeviceState.ACTIVE)
            changed = [
                pk for pk, version in rows.values_list("pk", "wanted_version") if self._published.get(pk) != version
            ]
            for gateway in rows.filter(pk__in=changed).select_related("site", "device_type"):
                state, _problems = desired_state(gateway)
                self._publish(gateway.site.code, str(gateway.pk), "desired", wire.encode(state), retain=True)
                self._published[gateway.pk] = gateway.wanted_version
        except (DatabaseFailure, OSError) as error:
            log.warning("bridge.look_failed", error=str(error))

    def _publish(self, site: str, gateway: str, leaf: Any, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(wire.topic(site, gateway, leaf), payload, qos=1, retain=retain)

    def _take(self, batch: list[Received]) -> None:
        close_old_connections()
        by_gateway: dict[tuple[str, str], list[Received]] = defaultdict(list)
        for received in batch:
            by_gateway[received.site, received.gateway].append(received)
        token = audit.enter(audit.Door(via="edge"))
        try:
            for (site, name), messages in by_gateway.items():
                self._gateway(site, name, messages)
        finally:
            audit.leave(token)
        for received in batch:
            self._client.ack(received.mid, received.qos)

    def _gateway(self, site: str, name: str, messages: list[Received]) -> None:
        up = [m.payload for m in messages if m.leaf == "up"]
        try:
            device = gateway_at(site, name)
            if device is None:
                log.warning("bridge.unknown_gateway", site=site, gateway=name[:64])
                return
            for received in messages:
                if received.leaf == "reported" and received.payload:
                    self._reported(device, received.payload)
            for at in range(0, len(up), wire.MAX_BATCH_ENVELOPES):
                answer = envelopes_take(device, up[at : at + wire.MAX_BATCH_ENVELOPES])
                self._publish(site, name, "ack", wire.encode(answer))
        except DatabaseFailure as error:
            log.warning("bridge.database_away", error=str(error))
            acks = [ack for data in up if (ack := _answer(data, "retry", "busy", "nothing can be stored now"))]
            self._publish(site, name, "ack", wire.encode(wire.AckBatch(acks=acks)))
        except (ArithmeticError, AttributeError, DomainError, LookupError, TypeError, ValueError) as error:
            # What one gateway sends must not end the bridge of all: a broker would bring it again with every start. It gets no answer,
            # so it keeps its messages and sends them again.
            log.exception("bridge.gateway_failed", site=site, gateway=name[:64], error=str(error))

    def _reported(self, device: Device, payload: bytes) -> None:
        try:
            report = wire.decode(payload, wire.ReportedState)
        except wire.WireError as error:
            log.warning("bridge.report_unreadable", gateway=device.code, code=error.code)
            return
        if report.gateway == str(device.pk):
            reported_take(device, report)
            progress_soon(device)


def gateway_at(site: str, name: str) -> Device | None:
    """The active gateway a topic belongs to; the broker has checked that its user wrote it."""
    try:
        pk = UUID(name)
    except ValueError:
        return None
    return (
        Device.objects.filter(pk=pk, site__code=site, state=DeviceState.ACTIVE, device_type__kind=DeviceKind.GATEWAY)
        .select_related("site", "device_type")
        .first()
    )


def envelopes_take(device: Device, envelopes: list[bytes]) -> wire.AckBatch:
    """Like the door, but each message came by itself: one that cannot be opened is refused alone, where its name can be read."""
    good: list[bytes] = []
    acks: list[wire.Ack] = []
    for data in envelopes:
        try:
            wire.open_envelope(data)
            good.append(data)
        except wire.WireError as error:
            log.warning("bridge.unreadable", gateway=device.code, code=error.code)
            ack = _answer(data, "refused", error.code, error.message)
            if ack is not None:
                acks.append(ack)
    answer = messages_take(device, good)
    return msgspec.structs.replace(answer, acks=answer.acks + acks)


class _Named(msgspec.Struct):
    stream: wire.StreamName
    sequence: wire.Positive


def _answer(data: bytes, status: Any, code: str, message: str) -> wire.Ack | None:
    try:
        named = wire.decode(data, _Named, limit=wire.MAX_ENVELOPE_BYTES)
    except wire.WireError:
        return None
    return wire.Ack(stream=named.stream, sequence=named.sequence, status=status, code=code, message=message[:2000])


__all__ = ["Bridge", "Broker", "MqttUnreachable", "PasswordFile", "envelopes_take", "gateway_at"]
