"""How every outside end fares: one row per kind, written by a task, read by the page."""

from __future__ import annotations

import structlog

from edge_bridge.choices import ConnectionKind
from edge_bridge.connectors import PROBES
from edge_bridge.models import Connection
from edge_bridge.touch import touch
from portal.core.clock import wall_now

log = structlog.get_logger(__name__)


def check_all() -> dict[str, bool | None]:
    """Probe each end and write down what it said. A change is logged; nothing is raised for an end that is away."""
    found: dict[str, bool | None] = {}
    known = {row.kind: row for row in Connection.objects.all()}
    for kind in ConnectionKind.values:
        probe = PROBES[kind]()
        now = wall_now()
        values = {"target": probe.target[:200], "ok": probe.ok, "detail": probe.detail[:300], "checked_at": now}
        if probe.ok:
            values["last_ok_at"] = now
        before = known.get(kind)
        if before is not None and before.ok != probe.ok:
            log.info("connection.changed", kind=kind, ok=probe.ok, detail=probe.detail)
        if before is None:
            Connection.objects.get_or_create(kind=kind, defaults=values)
        else:
            Connection.objects.filter(pk=before.pk).update(**values, **touch(now))
        found[kind] = probe.ok
    return found
