"""What the threads of the agent share: present troubles, events, and what is going on at each source and
installation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_bridge import wire
from edge_bridge.agent.clock import wall_ms
from edge_bridge.agent.store import Store, StoreFull, Transaction

log = logging.getLogger("phasegate.agent")
Severity = Literal["info", "warning", "error"]
EVENTS, HEALTH = "events", "health"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass
class Pulse:
    """Counters of one installation since the last heartbeat."""

    rows: int = 0
    refused: int = 0
    failed: int = 0


class Board:
    """Thread-safe. `changed` is set when the portal should hear soon."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changed = threading.Event()
        self._lock = threading.Lock()
        self._errors: dict[tuple[str, str], wire.ErrorReport] = {}
        self._sources: dict[str, wire.SourceReport] = {}
        self._pulses: dict[str, Pulse] = {}
        self._totals: dict[str, Pulse] = {}
        self.rows = 0
        self.dropped_heartbeats = 0

    def event(
        self,
        code: str,
        detail: str = "",
        *,
        severity: Severity = "info",
        source: str = "",
        installation: str = "",
        model_version: str = "",
        data: Mapping[str, str | int | float | bool | None] | None = None,
        step: Transaction | None = None,
    ) -> None:
        """Say once that something happened; in `step` if it belongs to that transaction."""
        log.log(_LEVELS[severity], "%s %s %s %s", code, source or installation, model_version, detail)
        body = wire.Event(
            wall_ms=wall_ms(),
            code=code,
            severity=severity,
            source=source,
            installation=installation,
            model_version=model_version,
            detail=detail[:2000],
            data=dict(data or {}),
        )
        self.changed.set()
        if step is not None:
            step.add(EVENTS, body)
            return
        try:
            with self.store.transaction() as own:
                own.add(EVENTS, body)
        except StoreFull as error:
            log.error("event %s could not be stored: %s", code, error)

    def trouble(self, code: str, detail: str, *, about: str = "") -> bool:
        """A trouble is there now; True if it is new (an event should say so)."""
        with self._lock:
            before = self._errors.get((code, about))
            since = before.since_ms if before else wall_ms()
            self._errors[code, about] = wire.ErrorReport(code=code, detail=detail[:2000], since_ms=since)
        if before is None:
            self.changed.set()
        return before is None

    def clear(self, code: str, *, about: str = "") -> bool:
        """A trouble is over; True if it was there."""
        with self._lock:
            was = self._errors.pop((code, about), None) is not None
        if was:
            self.changed.set()
        return was

    def errors(self) -> list[wire.ErrorReport]:
        with self._lock:
            return list(self._errors.values())

    def tell_source(self, report: wire.SourceReport) -> None:
        with self._lock:
            self._sources[report.name] = report

    def forget_source(self, name: str) -> None:
        """The source is no longer read: its state and its troubles go."""
        with self._lock:
            self._sources.pop(name, None)
            for key in [key for key in self._errors if key[1] == name]:
                del self._errors[key]
        self.changed.set()

    def sources(self) -> list[wire.SourceReport]:
        with self._lock:
            return list(self._sources.values())

    def count(self, installation: str, *, rows: int = 0, refused: int = 0, failed: int = 0) -> None:
        with self._lock:
            for pulse in (
                self._pulses.setdefault(installation, Pulse()),
                self._totals.setdefault(installation, Pulse()),
            ):
                pulse.rows += rows
                pulse.refused += refused
                pulse.failed += failed

    def total(self, installation: str) -> Pulse:
        with self._lock:
            found = self._totals.get(installation, Pulse())
            return Pulse(found.rows, found.refused, found.failed)

    def take_pulses(self) -> dict[str, Pulse]:
        """The counters since the last call."""
        with self._lock:
            taken, self._pulses = self._pulses, {}
            return taken
