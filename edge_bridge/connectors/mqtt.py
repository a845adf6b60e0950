"""The way to an MQTT 5 broker, from ``MQTT_URL``: ``mqtt[s]://user:password@host:port?ca=/file&cert=/file&key=/file&public=host:port``."""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from portal.core.ids import uuid7


class MqttUnreachable(Exception):
    """The broker does not answer, or refuses."""


@dataclass(frozen=True)
class Broker:
    """``ca``: file of the authority; ``cert`` and ``key``: files of the client's own certificate (mutual TLS)."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, url: str) -> Broker:
        parts = urlsplit(url)
        tls = parts.scheme in {"mqtts", "ssl", "tls"}
        if (parts.scheme not in {"mqtt", "tcp"} and not tls) or not parts.hostname:
            raise MqttUnreachable("MQTT_URL is not of the form mqtt[s]://user:password@host:port")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            parts.hostname,
            parts.port or (8883 if tls else 1883),
            tls,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            query.get("ca", ""),
            query.get("cert", ""),
            query.get("key", ""),
        )


def make_client(broker: Broker, client_id: str, **options: Any) -> paho.Client:
    """A client that is not connected yet; MqttUnreachable when a certificate cannot be read."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, **options)
    if broker.user:
        client.username_pw_set(broker.user, broker.password or None)
    if broker.tls:
        try:
            context = ssl.create_default_context(cafile=broker.ca or None)
            if broker.cert:
                context.load_cert_chain(broker.cert, broker.key or None)
        except (OSError, ssl.SSLError) as error:
            raise MqttUnreachable(f"a certificate cannot be used: {error}") from error
        client.tls_set_context(context)
    return client


def probe_broker(broker: Broker, *, timeout: float) -> float:
    """Sign in and out again; returns the seconds it took."""
    answered = threading.Event()
    said: list[str] = []
    client = make_client(broker, f"phasegate-probe-{uuid7().hex[-8:]}")

    def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            said.append(f"the broker refuses the connection: {reason}")
        answered.set()

    client.on_connect = on_connect
    client.connect_timeout = timeout
    started = time.perf_counter()
    try:
        client.connect(broker.host, broker.port, keepalive=10)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise MqttUnreachable(str(error) or type(error).__name__) from error
    client.loop_start()
    try:
        if not answered.wait(timeout):
            raise MqttUnreachable(f"no answer within {timeout:g} s")
    finally:
        client.disconnect()
        client.loop_stop()
    if said:
        raise MqttUnreachable(said[0])
    return time.perf_counter() - started
