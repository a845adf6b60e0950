"""Which model version runs in which installation: fetching, checking, switching, falling back.

A version is switched in only after every check has passed, by one transaction and one assignment; whatever fails before
that leaves the running version alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_bridge import wire
from edge_bridge.agent.board import Board, Severity
from edge_bridge.agent.clock import Backoff, wall_ms
from edge_bridge.agent.model import Model, ModelRefused, check_file, check_signature
from edge_bridge.agent.stopping import LocalStop
from edge_bridge.agent.store import Installed, Store, StoreFull
from edge_bridge.agent.transport import Failed, Transport

RETRIED = {"artefact_size", "artefact_hash", "artefact_unavailable"}
FAILING_CALLS = 3


@dataclass(frozen=True)
class Version:
    """A model version that passed every check, and the installation order it came with."""

    order: wire.Installation
    model: Model

    @property
    def name(self) -> str:
        return self.order.manifest.model_version


@dataclass
class Place:
    """One installation: what is wanted, what runs, what is kept."""

    wanted: wire.Installation
    running: Version | None = None
    last_good: Version | None = None
    failed: str = ""
    activated_ms: int = 0
    error: wire.ErrorReport | None = None
    given_up: wire.Installation | None = None
    failing: int = 0
    backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 300.0))
    not_before: float = 0.0


@dataclass(frozen=True)
class Choice:
    """What an installation does now. `version` is None when it computes nothing."""

    wanted: wire.Installation
    version: Version | None
    state: wire.InstallState
    stopped_by: wire.StopBy

    @property
    def fallback(self) -> bool:
        return self.state == "fallback"


class Keeper:
    """Keeps the installations of a gateway; `work()` belongs to one thread, the rest to any."""

    def __init__(
        self, folder: Path, store: Store, board: Board, transport: Transport, keys: Mapping[str, bytes]
    ) -> None:
        self.folder, self.store, self.board, self.transport, self.keys = folder, store, board, transport, dict(keys)
        self.wake = threading.Event()
        self._lock = threading.RLock()
        self._places: dict[str, Place] = {}
        self._all_stopped = False

    # ---- what is wanted ----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Bring back what ran before the agent ended; every check is made again. Call before anything else."""
        for kept in self.store.installed():
            running = self._restore(kept.running)
            last_good = self._restore(kept.last_good)
            order = running or last_good
            if order is not None:
                self._places[kept.id] = Place(order.order, running, last_good, kept.failed, kept.activated_ms)

    def want(self, state: wire.DesiredState) -> None:
        """Take over the installations of a desired state; those no longer wanted end here."""
        with self._lock:
            self._all_stopped = state.stopped
            wanted = {order.id: order for order in state.installations}
            for gone in self._places.keys() - wanted.keys():
                del self._places[gone]
                with self.store.transaction() as step:
                    step.uninstall(gone)
            for key, order in wanted.items():
                place = self._places.setdefault(key, Place(order))
                if place.wanted.manifest != order.manifest or place.wanted.signature != order.signature:
                    place.not_before = 0.0
                    place.backoff.reset()
                    place.error = None
                    if place.failed != _mark(order):
                        place.failed = ""
                place.wanted = order
        self.wake.set()

    def choose(self, source: str, local: LocalStop) -> list[Choice]:
        """What each installation of a source does now."""
        with self._lock:
            return [self._choice(p, local) for p in self._places.values() if p.wanted.source == source]

    def reports(self, local: LocalStop) -> list[wire.InstallationReport]:
        with self._lock:
            found = []
            for key, place in sorted(self._places.items()):
                choice = self._choice(place, local)
                total = self.board.total(key)
                found.append(
                    wire.InstallationReport(
                        id=key,
                        state=choice.state,
                        wanted=place.wanted.manifest.model_version,
                        running=choice.version.name if choice.version else "",
                        last_good=place.last_good.name if place.last_good else "",
                        stopped_by=choice.stopped_by,
                        activated_ms=place.activated_ms,
                        rows=total.rows,
                        refused=total.refused,
                        error=place.error,
                    )
                )
            return found

    def _choice(self, place: Place, local: LocalStop) -> Choice:
        order = place.wanted
        stopped_by: wire.StopBy = (
            "local" if local.holds(order.id) else "portal" if self._all_stopped or order.stopped else ""
        )
        if stopped_by:
            if order.fallback == "shutdown":
                return Choice(order, None, "shut_down", stopped_by)
            if order.fallback == "last_good" and place.last_good is not None:
                return Choice(order, place.last_good, "fallback", stopped_by)
            return Choice(order, None, "bypassed", stopped_by)
        if place.running is not None:
            return Choice(order, place.running, "fallback" if place.failed == _mark(order) else "active", "")
        if place.failed == _mark(order):
            return Choice(order, None, "bypassed", "")
        return Choice(order, None, "failed" if place.error else "downloading", "")

    # ---- a model call failed -----------------------------------------------------------------------------------------

    def call_failed(self, choice: Choice, reason: str) -> None:
        """Count a failed model call; the third in a row brings back the last good version."""
        with self._lock:
            place = self._places.get(choice.wanted.id)
            if place is None or choice.version is None or place.running is not choice.version:
                return
            place.failing += 1
            place.error = _error("inference_failed", reason)
            if place.failing == 1:
                self._say("inference_failed", reason, choice.wanted, choice.version.name)
            if place.failing >= FAILING_CALLS:
                bad = choice.version.name
                place.running, place.last_good = place.last_good, None
                place.failed = _mark(choice.version.order)
                place.failing = 0
                place.activated_ms = wall_ms()
                self._remember(place)
                runs_now = place.running.name if place.running else "nothing"
                self._say(
                    "rolled_back",
                    f"{bad} failed {FAILING_CALLS} times in a row; {runs_now} runs now",
                    choice.wanted,
                    bad,
                )

    def call_worked(self, choice: Choice) -> None:
        """A model call came back."""
        with self._lock:
            place = self._places.get(choice.wanted.id)
            if place is not None and place.failing and place.running is choice.version:
                place.failing = 0
                place.error = None

    # ---- bringing in what is wanted ----------------------------------------------------------------------------------

    def work(self) -> float:
        """Try to bring in every wanted version that does not run; returns the seconds until another look is worth
        while."""
        with self._lock:
            due = [place for place in self._places.values() if self._missing(place)]
        now = time.monotonic()
        for place in due:
            if place.not_before <= now:
                self._bring(place)
        with self._lock:
            waits = [place.not_before - now for place in self._places.values() if self._missing(place)]
        self._tidy()
        return max(0.1, min(waits, default=3600.0))

    @staticmethod
    def _missing(place: Place) -> bool:
        runs = place.running is not None and place.running.order.manifest == place.wanted.manifest
        return not runs and place.failed != _mark(place.wanted) and place.given_up != place.wanted

    def _bring(self, place: Place) -> None:
        order = place.wanted
        try:
            check_signature(order, self.keys)
            kept = place.last_good
            if kept is None or kept.order.manifest != order.manifest:
                kept = Version(order, Model(self._fetch(order), order.manifest))
            self._activate(place, Version(order, kept.model))
        except ModelRefused as refusal:
            if place.error is None or place.error.code != refusal.code:
                self._say(refusal.code, refusal.message, order, order.manifest.model_version)
            with self._lock:
                place.error = _error(refusal.code, refusal.message, place.error)
                if refusal.code in RETRIED:
                    place.not_before = time.monotonic() + place.backoff.next()
                else:
                    place.given_up = order
            self.board.changed.set()
        except StoreFull:
            place.not_before = time.monotonic() + place.backoff.next()

    def _activate(self, place: Place, version: Version) -> None:
        with self._lock:
            if place.wanted.manifest != version.order.manifest:
                return  # the portal changed its mind while this was fetched
            before = place.running
            returned = place.last_good is not None and place.last_good.model is version.model
            last_good = None if returned else before or place.last_good
            activated = wall_ms()
            self._remember(Place(place.wanted, version, last_good, "", activated), activated_event=version)
            place.running, place.last_good = version, last_good
            place.failed, place.error, place.activated_ms, place.failing = "", None, activated, 0
            place.backoff.reset()
        self.board.changed.set()

    def _fetch(self, order: wire.Installation) -> Path:
        manifest = order.manifest
        final = self.folder / f"{manifest.sha256}.onnx"
        if final.exists():
            try:
                check_file(final, manifest)
                return final
            except ModelRefused:
                final.unlink()
        part = self.folder / f"{manifest.sha256}.part"
        try:
            self._download(order, part)
            try:
                check_file(part, manifest)
            except ModelRefused:
                part.unlink()
                raise
            part.replace(final)
            _sync_folder(self.folder)
        except OSError as error:
            raise ModelRefused("artefact_unavailable", f"cannot be written: {error.strerror}") from error
        return final

    def _download(self, order: wire.Installation, part: Path) -> None:
        size = order.manifest.size
        have = part.stat().st_size if part.exists() else 0
        if have >= size:
            have = 0
        try:
            with self.transport.artefact(order.url, have) as (begins, chunks), part.open("ab") as file:
                file.truncate(begins)
                total = begins
                for chunk in chunks:
                    file.write(chunk)
                    total += len(chunk)
                    if total > size:
                        break  # too long: the check of the file says so
                file.flush()
                os.fsync(file.fileno())
        except Failed as failure:
            raise ModelRefused("artefact_unavailable", failure.message) from failure

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def _restore(self, encoded: bytes | None) -> Version | None:
        if encoded is None:
            return None
        try:
            order = wire.decode(encoded, wire.Installation)
            check_signature(order, self.keys)
            path = self.folder / f"{order.manifest.sha256}.onnx"
            if not path.exists():
                raise ModelRefused("artefact_unavailable", "its file is gone from this machine")
            check_file(path, order.manifest)
            return Version(order, Model(path, order.manifest))
        except wire.WireError as error:
            self.board.event("model_invalid", f"a kept installation cannot be read: {error.message}", severity="error")
        except ModelRefused as refusal:
            self._say(refusal.code, f"kept on this machine: {refusal.message}", order, order.manifest.model_version)
        return None

    def _remember(self, place: Place, *, activated_event: Version | None = None) -> None:
        with self.store.transaction() as step:
            step.install(
                Installed(
                    place.wanted.id,
                    wire.encode(place.running.order) if place.running else None,
                    wire.encode(place.last_good.order) if place.last_good else None,
                    place.failed,
                    place.activated_ms,
                )
            )
            if activated_event is not None:
                order = activated_event.order
                self.board.event(
                    "activated",
                    source=order.source,
                    installation=order.id,
                    model_version=activated_event.name,
                    data={"last_good": place.last_good.name if place.last_good else "", "canary": order.canary},
                    step=step,
                )

    def _say(self, code: str, detail: str, order: wire.Installation, version: str) -> None:
        severity: Severity = "warning" if code == "artefact_unavailable" else "error"
        self.board.event(
            code, detail, severity=severity, source=order.source, installation=order.id, model_version=version
        )

    def _tidy(self) -> None:
        """Remove model files that nothing refers to any more."""
        with self._lock:
            versions = [v for p in self._places.values() for v in (p.running, p.last_good) if v is not None]
            used = {v.order.manifest.sha256 for v in versions}
            used |= {place.wanted.manifest.sha256 for place in self._places.values()}
        for file in self.folder.iterdir():
            if file.suffix in (".onnx", ".part") and file.stem not in used:
                file.unlink()


def _mark(order: wire.Installation) -> str:
    return f"{order.manifest.model_version}:{order.manifest.sha256}"


def _error(code: str, detail: str, before: wire.ErrorReport | None = None) -> wire.ErrorReport:
    since = before.since_ms if before is not None and before.code == code else wall_ms()
    return wire.ErrorReport(code=code, detail=detail[:2000], since_ms=since)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
