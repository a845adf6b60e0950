"""The thread that reads one PLC: rows in, predictions and messages out, acknowledgement last.

For each block: read -> compute -> one transaction (messages and read position) -> acknowledge. A crash at any point
repeats the block at most up to the transaction, never past it; the PLC keeps what was not acknowledged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from edge_bridge import wire
from edge_bridge.agent.board import Board, Severity
from edge_bridge.agent.clock import Backoff, wall_ms
from edge_bridge.agent.keeper import Choice, Keeper
from edge_bridge.agent.modbus import Head, PlcClient, PlcRefused, PlcUnreachable, Rows, Slot
from edge_bridge.agent.model import CallFailed
from edge_bridge.agent.stopping import StopFile
from edge_bridge.agent.store import Store, StoreFull

BLOCK_ROWS = 16
STOP_LOOK = 0.25
HEAD_EVERY = 0.5


class SourceReader(threading.Thread):
    """Reads one source until `end()`. `control` may be set from any thread to steer a replaying PLC."""

    def __init__(
        self, config: wire.SourceConfig, store: Store, board: Board, keeper: Keeper, stop_file: StopFile
    ) -> None:
        super().__init__(name=f"source-{config.name}")
        self.config, self.store, self.board, self.keeper, self.stop_file = config, store, board, keeper, stop_file
        self.control: wire.ReplayControl | None = None
        self.cursor = store.cursor(config.name)
        self._end = threading.Event()
        self._client = PlcClient(config)
        self._before = np.empty((0, len(config.channels)))
        self._head: Head | None = None
        self._head_at = 0.0
        self._waiting_since: float | None = None
        self._lab_since: float | None = None
        self._rate: list[tuple[float, int]] = []
        self._released = False
        self._finished = False
        self._plant_ms: int | None = None
        self._names = [channel.name for channel in config.channels]
        self._low = np.array([-np.inf if c.low is None else c.low for c in config.channels])
        self._high = np.array([np.inf if c.high is None else c.high for c in config.channels])
        self._restore_context()

    def end(self) -> None:
        """Finish the block in hand and stop."""
        self._end.set()

    def run(self) -> None:
        backoff = Backoff(0.2, 15.0)
        name = self.config.name
        while not self._end.is_set():
            try:
                self._client.connect()
                wait = self._step_block() if self.config.mode == "block" else self._step_poll()
                for code, back in (
                    ("plc_unreachable", "plc_back"),
                    ("plc_refused", "plc_back"),
                    ("store_full", "store_back"),
                ):
                    if self.board.clear(code, about=name):
                        self.board.event(back, source=name)
                backoff.reset()
            except PlcUnreachable as error:
                wait = self._trouble("plc_unreachable", str(error), "warning", backoff)
            except PlcRefused as error:
                self._client.close()
                wait = self._trouble("plc_refused", str(error), "error", backoff)
            except StoreFull as error:
                wait = self._trouble("store_full", str(error), "error", backoff)
            if wait:
                self._end.wait(wait)
        self._client.close()
        self.board.forget_source(name)

    def _trouble(self, code: str, detail: str, severity: Severity, backoff: Backoff) -> float:
        if self.board.trouble(code, detail, about=self.config.name):
            self.board.event(code, detail, severity=severity, source=self.config.name)
        self._head = None
        self._tell(connected=code == "store_full")
        return backoff.next()

    # ---- one block ---------------------------------------------------------------------------------------------------

    def _step_block(self) -> float:
        """Read and settle one block; returns the seconds to wait before the next look."""
        now = time.monotonic()
        if self._head is None or now - self._head_at >= HEAD_EVERY:
            self._head, self._head_at = self._client.head(), now
            self._follow_run(self._head)
            self._steer(self._head)
            self._tell(connected=True)
        if self._head is None:
            return 0.0  # a jump was made: look again
        head = self._head
        choices = self.keeper.choose(self.config.name, self.stop_file.read())
        if any(choice.state == "shut_down" for choice in choices):
            if not self._released:
                self._client.take(False)
                self._released = True
                self.board.changed.set()
            return STOP_LOOK
        slot = self._client.slot()
        if not slot.active or self._released:
            self._client.take(True)
            self._released = False
            return 0.0
        if slot.acked < self.cursor.row and min(self.cursor.row, head.produced) > slot.acked:
            self._client.acknowledge(min(self.cursor.row, head.produced))  # stored before, its acknowledgement was lost
            return 0.0
        busy = self._lab(slot)
        full = min(BLOCK_ROWS, self.config.window_rows)
        if not slot.count or (slot.acked < self.cursor.row):
            self._waiting_since = None
            self._head = None
        elif slot.count >= full or self._ripe(now) or self._epoch_ends(head, slot):
            self._take_rows(head, slot, choices)
            self._waiting_since = None
            busy = True
        wait = self.config.poll_ms / 1000
        return 0.0 if busy else min(wait, STOP_LOOK) if self._waiting_since is not None else wait

    def _ripe(self, now: float) -> bool:
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= self.config.window_ms / 1000

    @staticmethod
    def _epoch_ends(head: Head, slot: Slot) -> bool:
        return slot.epoch != head.epoch

    def _take_rows(self, head: Head, slot: Slot, choices: Sequence[Choice]) -> None:
        if slot.first > self.cursor.row + 1 and self.cursor.row:
            self.board.event(
                "rows_missed",
                f"the PLC gave up rows {self.cursor.row + 1} to {slot.first - 1} before they were read",
                severity="error",
                source=self.config.name,
                data={"first": self.cursor.row + 1, "last": slot.first - 1},
            )
        if slot.first != self.cursor.row + 1 or slot.epoch != self.cursor.epoch:
            self._before = self._before[:0]
        rows = self._client.rows(head, slot)
        self._settle(rows, head.run, slot.epoch, choices, replay=head.replay, simulated=head.simulated)
        self._client.acknowledge(self.cursor.row)

    def _settle(
        self, rows: Rows, run: int, epoch: int, choices: Sequence[Choice], *, replay: bool, simulated: bool
    ) -> None:
        """Compute and store one window of rows, all or nothing."""
        name = self.config.name
        packed = wire.pack_times(rows.plant_ms)
        quality = self._quality(rows.values)
        telemetry = wire.Telemetry(
            source=name,
            schema=self.config.schema,
            run=run,
            epoch=epoch,
            first_row=rows.first,
            rows=len(rows),
            times=packed,
            columns={c: wire.pack_floats(rows.values[:, i]) for i, c in enumerate(self._names)},
            quality={c: quality[:, i].tobytes() for i, c in enumerate(self._names) if quality[:, i].any()},
            replay=replay,
            simulated=simulated,
            read_ms=wall_ms(),
        )
        answers = [found for choice in choices if (found := self._ask(choice, rows, run, packed)) is not None]
        keep = self._context_rows(choices)
        after = np.vstack([self._before, rows.values])[-keep:] if keep else self._before[:0]
        cursor = self.cursor
        was = (cursor.run, cursor.row, cursor.epoch, cursor.context)
        cursor.run, cursor.row, cursor.epoch = run, rows.first + len(rows) - 1, epoch
        cursor.context = wire.pack_floats(after.ravel())
        stream = f"{name}/rows"
        try:
            with self.store.transaction(rows=True) as step:
                sequence = step.add(stream, telemetry)
                for choice, body in answers:
                    linked = structs.replace(body, input_stream=stream, input_sequence=sequence)
                    step.add(f"{name}/inference/{choice.wanted.id}", linked)
                step.move(cursor)
        except BaseException:
            cursor.run, cursor.row, cursor.epoch, cursor.context = was
            raise
        for choice, body in answers:
            good = body.rows - body.refused - body.warming
            self.board.count(choice.wanted.id, rows=good, refused=body.refused)
        self._before = after
        self._plant_ms = int(rows.plant_ms[-1])
        self.board.rows += len(rows)
        self._rate.append((time.monotonic(), len(rows)))

    def _ask(
        self, choice: Choice, rows: Rows, run: int, packed: wire.PlantTimes
    ) -> tuple[Choice, wire.Inference] | None:
        if choice.version is None:
            return None
        model = choice.version.model
        manifest = model.manifest
        try:
            columns = [self._names.index(feature) for feature in manifest.features]
        except ValueError as error:
            self.keeper.call_failed(choice, f"a feature of the model is no channel of this source: {error}")
            self.board.count(choice.wanted.id, failed=1)
            return None
        try:
            answer = model.ask(rows.first, rows.values[:, columns], self._before[:, columns])
            self.keeper.call_worked(choice)
            values, refused, warming, named = answer.values, answer.refused, answer.warming, answer.named
        except CallFailed as error:
            self.keeper.call_failed(choice, str(error))
            self.board.count(choice.wanted.id, failed=1)
            values, refused, warming = np.full(len(rows), np.nan), len(rows), 0
            named = [wire.RefusedRow(row=rows.first + i, reason="failed") for i in range(len(rows))]
        p50, p99, calls = model.latency()
        body = wire.Inference(
            source=self.config.name,
            installation=choice.wanted.id,
            model_version=choice.version.name,
            run=run,
            first_row=rows.first,
            rows=len(rows),
            times=packed,
            output=manifest.output,
            predictions=wire.pack_floats(values),
            input_stream=f"{self.config.name}/rows",
            input_sequence=1,
            latency_p50_us=p50,
            latency_p99_us=p99,
            calls=calls,
            refused=refused,
            warming=warming,
            refused_rows=named,
            role=choice.wanted.role,
            canary=choice.wanted.canary,
            fallback=choice.fallback,
        )
        return choice, body

    def _quality(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        quality = np.full(values.shape, wire.GOOD, dtype=np.uint8)
        quality[values < self._low] = wire.LOW
        quality[values > self._high] = wire.HIGH
        quality[~np.isfinite(values)] = wire.MISSING
        return quality

    @staticmethod
    def _context_rows(choices: Sequence[Choice]) -> int:
        windows = [choice.version.model.manifest.window - 1 for choice in choices if choice.version is not None]
        return max(windows, default=0)

    def _restore_context(self) -> None:
        width = len(self.config.channels)
        flat = wire.floats(self.cursor.context)
        if width and flat.size and flat.size % width == 0:
            self._before = flat.reshape(-1, width).copy()

    # ---- laboratory --------------------------------------------------------------------------------------------------

    def _lab(self, slot: Slot) -> bool:
        if self.config.labels is None:
            return False
        if slot.lab_acked < self.cursor.lab_row and slot.lab_count:
            last = slot.lab_first + slot.lab_count - 1
            self._client.acknowledge_lab(min(self.cursor.lab_row, last))
            return True
        now = time.monotonic()
        if not slot.lab_count:
            self._lab_since = None
            return False
        if self._lab_since is None:
            self._lab_since = now
        if slot.lab_count < BLOCK_ROWS and now - self._lab_since < self.config.window_ms / 1000:
            return False
        found = self._client.lab(slot)
        body = wire.Labels(
            source=self.config.name,
            name=self.config.labels.name,
            run=self.cursor.run,
            rows=len(found.row),
            row=wire.pack_ints(found.row),
            plant_ms=wire.pack_ints(found.plant_ms),
            values=wire.pack_floats(found.values),
            unit=self.config.labels.unit,
            read_ms=wall_ms(),
        )
        was, self.cursor.lab_row = self.cursor.lab_row, int(found.row[-1])
        try:
            with self.store.transaction(rows=True) as step:
                step.add(f"{self.config.name}/labels", body)
                step.move(self.cursor)
        except BaseException:
            self.cursor.lab_row = was
            raise
        self._client.acknowledge_lab(self.cursor.lab_row)
        self._lab_since = None
        return True

    # ---- replay ------------------------------------------------------------------------------------------------------

    def _follow_run(self, head: Head) -> None:
        if self.cursor.run == head.run:
            return
        if self.cursor.run:
            self.board.event(
                "plc_replaced",
                f"run {self.cursor.run} became {head.run}; its rows are counted anew",
                severity="warning",
                source=self.config.name,
                data={"old": self.cursor.run, "new": head.run, "last_row": self.cursor.row},
            )
        self.cursor.run, self.cursor.row, self.cursor.lab_row, self.cursor.epoch = head.run, 0, 0, 0
        self._before = self._before[:0]
        with self.store.transaction() as step:
            step.move(self.cursor)

    def _steer(self, head: Head) -> None:
        if head.state == "finished" and not self._finished:
            self.board.event("replay_finished", source=self.config.name, data={"row": head.produced})
        self._finished = head.state == "finished"
        wish = self.control
        if wish is None or not head.replay or not self.config.controls_replay:
            return
        if wish.pace is not None and round(wish.pace * 100) != round(head.pace * 100):
            self._client.set_pace(wish.pace)
        if wish.paused is not None and wish.paused != (head.state == "paused"):
            self._client.set_paused(wish.paused)
        if wish.jump is not None and wish.jump.id != self.cursor.jump:
            # Remembered first: after a crash a jump is rather not made than made twice.
            self.cursor.jump = wish.jump.id
            with self.store.transaction() as step:
                step.move(self.cursor)
            self._client.jump(wish.jump.row)
            self._head = None
            self.board.event(
                "replay_jumped", source=self.config.name, data={"row": wish.jump.row, "jump": wish.jump.id}
            )

    # ---- plain registers ---------------------------------------------------------------------------------------------

    def _step_poll(self) -> float:
        """Collect one window of scans at the polling rate, then settle it; scans count from 1 by this gateway's own
        count."""
        choices = self.keeper.choose(self.config.name, self.stop_file.read())
        if any(choice.state == "shut_down" for choice in choices):
            return STOP_LOOK
        period = self.config.poll_ms / 1000
        began = time.monotonic()
        stamps: list[int] = []
        scans: list[NDArray[np.float64]] = []
        while not self._end.is_set():
            stamps.append(wall_ms())
            scans.append(self._client.sample())
            full = len(scans) >= self.config.window_rows
            if full or time.monotonic() - began + period > self.config.window_ms / 1000:
                break
            self._end.wait(max(0.0, began + len(scans) * period - time.monotonic()))
        rows = Rows(self.cursor.row + 1, np.array(stamps, dtype=np.int64), np.vstack(scans))
        self._settle(rows, 1, 0, choices, replay=False, simulated=False)
        self._tell(connected=True)
        return max(0.0, began + len(scans) * period - time.monotonic())

    # ---- saying how it goes ------------------------------------------------------------------------------------------

    def _tell(self, *, connected: bool) -> None:
        head = self._head
        now = time.monotonic()
        self._rate = [(at, n) for at, n in self._rate if now - at <= 10.0]
        self.board.tell_source(
            wire.SourceReport(
                name=self.config.name,
                connected=connected,
                replay=head.state if head and head.replay else "",  # type: ignore[arg-type]
                simulated=bool(head and head.simulated),
                run=self.cursor.run,
                row=self.cursor.row,
                plant_ms=self._plant_ms,
                remaining=head.remaining if head else 0,
                position=head.position if head else 0,
                pace=head.pace if head else 0.0,
                rows_per_s=round(sum(n for _, n in self._rate) / 10.0, 2),
                last_jump=self.cursor.jump,
            )
        )
