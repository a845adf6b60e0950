"""One probe per kind of connection. They run in a worker, never in a page: each may wait some seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings

from devices.choices import Connectivity
from devices.selectors import device_connectivity
from edge_bridge.choices import ConnectionKind
from edge_bridge.connectors.base import Probe
from edge_bridge.connectors.mqtt import Broker, MqttUnreachable, probe_broker
from edge_bridge.desired import active_gateways
from governance import lake
from governance.registry_client import Registry
from portal.core.clock import wall_now

_TIMEOUT = 3.0


def shown(url: str) -> str:
    """An address without user, password or query."""
    parts = urlsplit(url)
    if "://" not in url or not parts.hostname:
        return url.split("?")[0][:200]
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"[:200]


def gateways() -> Probe:
    now = wall_now()
    rows = active_gateways()
    if not rows:
        return Probe(None, settings.PUBLIC_URL, "No gateway is enrolled yet.")
    heard = [(g.name, device_connectivity(g, now)) for g in rows]
    count = Counter(state for _, state in heard)
    silent = [name for name, state in heard if state == Connectivity.OFFLINE]
    words = ", ".join(f"{count[state]} {state.label.lower()}" for state in Connectivity if count[state])
    return Probe(not silent, settings.PUBLIC_URL, words + (f": {', '.join(silent[:5])}" if silent else ""))


def mqtt() -> Probe:
    if not settings.MQTT_URL:
        return Probe(None, "", "No broker is set up: gateways use HTTPS.")
    try:
        took = probe_broker(Broker.of(settings.MQTT_URL), timeout=_TIMEOUT)
    except MqttUnreachable as error:
        return Probe(False, shown(settings.MQTT_URL), str(error))
    return Probe(True, shown(settings.MQTT_URL), f"Answers in {took * 1000:.0f} ms")


def registry() -> Probe:
    health = Registry(settings.MLFLOW_TRACKING_URI, artifact_root=settings.MLFLOW_ARTEFACT_ROOT).health()
    said = f"Answers in {health.latency_ms:.0f} ms" if health.ok else health.message
    return Probe(health.ok, shown(settings.MLFLOW_TRACKING_URI), said)


def data_lake() -> Probe:
    ok, detail = lake.health()
    return Probe(ok, shown(settings.LAKE_URI), "Can be written" if ok else detail)


def task_broker() -> Probe:
    if not settings.REDIS_URL:
        return Probe(None, "", "Tasks run inside this process.")
    import redis

    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT).ping()
    except (redis.RedisError, OSError) as error:
        return Probe(False, shown(settings.REDIS_URL), type(error).__name__)
    return Probe(True, shown(settings.REDIS_URL), "Answers")


PROBES: dict[str, Callable[[], Probe]] = {
    ConnectionKind.GATEWAYS: gateways,
    ConnectionKind.MQTT: mqtt,
    ConnectionKind.REGISTRY: registry,
    ConnectionKind.LAKE: data_lake,
    ConnectionKind.BROKER: task_broker,
}
