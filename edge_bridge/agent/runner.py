"""The running agent: its threads, its conversation with the portal, its orderly end."""

from __future__ import annotations

import json
import logging
import os
import resource
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from edge_bridge import wire
from edge_bridge.agent import VERSION
from edge_bridge.agent.board import HEALTH, Board
from edge_bridge.agent.clock import Backoff, wall_ms
from edge_bridge.agent.identity import Identity
from edge_bridge.agent.keeper import Keeper
from edge_bridge.agent.sender import Sender
from edge_bridge.agent.source import SourceReader
from edge_bridge.agent.stopping import LocalStop, StopFile
from edge_bridge.agent.store import Store, StoreFull
from edge_bridge.agent.transport import Failed, Transport

log = logging.getLogger("phasegate.agent")
DESIRED = "desired"
STATUS_EVERY = 1.0
STOP_LOOK = 0.2
LAST_WORDS = 5.0


class Runner:
    """One agent on one state directory. `run()` returns the exit code: 0 after `end()`, 1 when one of its threads
    died."""

    def __init__(self, state_dir: Path, identity: Identity, transport: Transport) -> None:
        self.state_dir, self.identity, self.transport = state_dir, identity, transport
        self.store = Store(state_dir / "store.db", identity.gateway)
        self.board = Board(self.store)
        self.stop_file = StopFile(state_dir)
        self.keeper = Keeper(state_dir / "models", self.store, self.board, transport, identity.signing_keys)
        self.sender = Sender(self.store, self.board, transport, self._hint)
        self.boot = secrets.token_hex(8)
        self.started_ms = wall_ms()
        self.state = wire.DesiredState(version=0)
        self._readers: dict[str, SourceReader] = {}
        self._readers_lock = threading.Lock()
        self._end = threading.Event()
        self._fetch = threading.Event()
        self._beat_at = time.monotonic()
        self._stopped = LocalStop()
        self._hinted = 0

    def end(self) -> None:
        """Ask for an orderly end; safe in a signal handler."""
        self._end.set()
        self._fetch.set()
        self.keeper.wake.set()

    def run(self) -> int:
        """Work until `end()`."""
        self.keeper.load()
        self._recall()
        self._say_started()
        threads = [
            self.sender,
            threading.Thread(target=self._converse, name="converse"),
            threading.Thread(target=self._install, name="installer"),
        ]
        for thread in threads:
            thread.start()
        died = ""
        status_at = 0.0
        while not self._end.wait(STOP_LOOK):
            self._watch_stop()
            now = time.monotonic()
            if now - self._beat_at >= self.state.heartbeat_s:
                self._beat(now)
            if now - status_at >= STATUS_EVERY:
                self._write_status()
                status_at = now
            with self._readers_lock:
                watched = [*threads, *self._readers.values()]
            died = next((thread.name for thread in watched if not thread.is_alive()), "")
            if self._end.is_set():
                died = ""  # it has seen the end before we have
            if died:
                log.critical("the thread %s died; the agent ends so that it can be started afresh", died)
                break
        self._close(threads)
        return 1 if died else 0

    # ---- conversation ------------------------------------------------------------------------------------------------

    def _hint(self, version: int) -> None:
        if version > max(self.state.version, self._hinted):
            self._hinted = version
            self._fetch.set()

    def _converse(self) -> None:
        """Fetch the desired state and post the reported state, each when it is due or called for."""
        backoff = Backoff(0.5, 30.0)
        report_at = 0.0
        wait = 0.0
        while not self._end.is_set():
            self._fetch.wait(wait)
            self._fetch.clear()
            if self._end.is_set():
                return
            try:
                self._look()
                if self.board.changed.is_set() or time.monotonic() >= report_at:
                    self.board.changed.clear()
                    self.transport.report(self.reported())
                    report_at = time.monotonic() + self.state.report_s
                backoff.reset()
                wait = self.state.poll_s
            except Failed as failure:
                self.board.changed.set()
                wait = backoff.next(failure.wait)
                log.info("no conversation with the portal, again in %.1f s: %s", wait, failure)
            except StoreFull as error:
                self.board.trouble("store_full", str(error))
                wait = backoff.next()

    def _look(self) -> None:
        """Take over a new desired state. One that cannot be read is a trouble to report, not the end of the conversation."""
        try:
            wanted = self.transport.desired(self.state.version)
        except Failed as failure:
            if failure.code != "bad_answer":
                raise
            self._bad_config(failure.message)
            return
        if wanted is not None:
            self._adopt(wanted)

    def _bad_config(self, problem: str) -> None:
        if self.board.trouble("config_invalid", problem):
            self.board.event("config_invalid", problem, severity="error")

    def _adopt(self, wanted: wire.DesiredState) -> None:
        problem = _problem(wanted)
        if problem:
            self._bad_config(problem)
            self.state = msgspec.structs.replace(self.state, version=wanted.version)
            return
        self.store.keep(DESIRED, wire.encode(wanted))
        self.board.clear("config_invalid")
        self._apply(wanted)

    def _apply(self, wanted: wire.DesiredState) -> None:
        was_stopped = _stopped_by_portal(self.state)
        self.store.limit = wanted.max_backlog_bytes
        self.keeper.want(wanted)
        sources = {source.name: source for source in wanted.sources}
        steer = {control.source: control for control in wanted.replay}
        with self._readers_lock:
            outdated = [
                self._readers.pop(name)
                for name, reader in list(self._readers.items())
                if sources.get(name) != reader.config
            ]
        for reader in outdated:
            reader.end()
        for reader in outdated:
            reader.join()
        with self._readers_lock:
            for name, source in sources.items():
                if name not in self._readers:
                    self._readers[name] = SourceReader(source, self.store, self.board, self.keeper, self.stop_file)
                    self._readers[name].start()
                self._readers[name].control = steer.get(name)
        self.state = wanted
        now_stopped = _stopped_by_portal(wanted)
        self._say_stops(was_stopped, now_stopped, {o.id: o.fallback for o in wanted.installations}, "portal", "")
        self.board.changed.set()

    def _recall(self) -> None:
        kept = self.store.kept(DESIRED)
        if kept is not None:
            try:
                state = wire.decode(kept, wire.DesiredState)
            except wire.WireError as error:
                log.error("the kept configuration cannot be read and waits for the portal: %s", error)
                return
            self.state = state
            self._apply(state)

    def _install(self) -> None:
        while not self._end.is_set():
            self.keeper.wake.clear()
            wait = self.keeper.work()
            self.keeper.wake.wait(wait)

    # ---- stops -------------------------------------------------------------------------------------------------------

    def _watch_stop(self) -> None:
        now = self.stop_file.read()
        if now != self._stopped:
            orders = self.state.installations
            before = {o.id for o in orders if self._stopped.holds(o.id)}
            after = {o.id for o in orders if now.holds(o.id)}
            self._say_stops(before, after, {o.id: o.fallback for o in orders}, "local", now.reason)
            self._stopped = now
            self.board.changed.set()
            self._write_status()
            self._fetch.set()

    def _say_stops(self, before: set[str], after: set[str], fallbacks: dict[str, Any], by: str, reason: str) -> None:
        for key in sorted(after - before):
            data = {"by": by, "fallback": fallbacks.get(key, "")}
            self.board.event("stopped", reason, severity="warning", installation=key, data=data)
        for key in sorted(before - after):
            if key in fallbacks:
                self.board.event("resumed", installation=key, data={"by": by})

    # ---- saying how it goes ------------------------------------------------------------------------------------------

    def reported(self) -> wire.ReportedState:
        """This gateway's state now."""
        local = self.stop_file.read()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return wire.ReportedState(
            gateway=self.identity.gateway,
            desired_version=self.state.version,
            wall_ms=wall_ms(),
            boot=self.boot,
            agent_version=VERSION,
            started_ms=self.started_ms,
            stopped_locally=bool(local),
            stop_reason=local.reason[:2000],
            installations=self.keeper.reports(local),
            sources=self.board.sources(),
            backlog_messages=self.store.backlog_messages,
            backlog_bytes=self.store.backlog_bytes,
            oldest_ms=self.store.oldest_ms(),
            refused_messages=self.store.refused_messages,
            dropped_heartbeats=self.board.dropped_heartbeats,
            disk_free_bytes=shutil.disk_usage(self.state_dir).free,
            memory_bytes=_memory(),
            cpu_seconds=round(used.ru_utime + used.ru_stime, 2),
            clock_offset_ms=self.transport.clock_offset_ms,
            transport=self.transport.name,
            errors=self.board.errors(),
        )

    def _beat(self, now: float) -> None:
        pulses = self.board.take_pulses()
        rows, self.board.rows = self.board.rows, 0
        body = wire.Heartbeat(
            wall_ms=wall_ms(),
            seconds=round(now - self._beat_at, 3),
            boot=self.boot,
            installations=[
                wire.InstallationPulse(
                    id=report.id,
                    state=report.state,
                    running=report.running,
                    rows=pulses[report.id].rows if report.id in pulses else 0,
                    refused=pulses[report.id].refused if report.id in pulses else 0,
                    failed=pulses[report.id].failed if report.id in pulses else 0,
                )
                for report in self.keeper.reports(self.stop_file.read())
            ],
            backlog_messages=self.store.backlog_messages,
            backlog_bytes=self.store.backlog_bytes,
            memory_bytes=_memory(),
            rows=rows,
        )
        self._beat_at = now
        try:
            with self.store.transaction() as step:
                step.add(HEALTH, body)
        except StoreFull:
            self.board.dropped_heartbeats += 1

    def _write_status(self) -> None:
        part = self.state_dir / "status.json.part"
        try:
            part.write_bytes(msgspec.json.encode(self.reported()))
            part.replace(self.state_dir / "status.json")
        except OSError as error:
            log.warning("status.json cannot be written: %s", error.strerror)

    def _say_started(self) -> None:
        self.board.event("started", data={"agent": VERSION, "boot": self.boot, "pid": os.getpid()})

    def _close(self, threads: list[threading.Thread]) -> None:
        self.end()
        with self._readers_lock:
            readers = list(self._readers.values())
        for reader in readers:
            reader.end()
        for reader in readers:
            reader.join()
        self._beat(time.monotonic())
        self.board.event("shut_down")
        self.sender.end()
        for thread in threads:
            if thread.is_alive():
                thread.join(LAST_WORDS)
        if not any(thread.is_alive() for thread in threads):
            self.sender.flush()
            self._write_status()
        self.transport.close()
        self.store.close()


def _problem(state: wire.DesiredState) -> str:
    """Why a desired state cannot be carried out, or ''."""
    names = [source.name for source in state.sources]
    if len(set(names)) != len(names):
        return "two sources have the same name"
    if len({order.id for order in state.installations}) != len(state.installations):
        return "two installations have the same id"
    for source in state.sources:
        if len({channel.name for channel in source.channels}) != len(source.channels):
            return f"source {source.name}: two channels have the same name"
        if not source.channels:
            return f"source {source.name} has no channels"
        if any(channel.divisor == 0 for channel in source.channels):
            return f"source {source.name}: a divisor is 0"
    for order in state.installations:
        if order.source not in names:
            return f"installation {order.id} belongs to source {order.source}, which does not exist"
    return ""


def _stopped_by_portal(state: wire.DesiredState) -> set[str]:
    return {order.id for order in state.installations if state.stopped or order.stopped}


def _memory() -> int:
    """Resident bytes of this process (its peak where /proc is missing)."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_status(state_dir: Path) -> dict[str, Any] | None:
    """What the agent last said of itself, None if nothing yet."""
    try:
        return json.loads((state_dir / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
