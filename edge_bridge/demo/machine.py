"""The replaying PLC as a plain state machine: rows, slots, laboratory, persistence. No network, no clock of its own.

The register map is in docs/edge-protocol.md, "The row block of a PLC". Row numbers count from 1 and never go back;
which row of the set a number stands for follows from `segments`, so a restarted PLC serves the very same rows again.
"""

from __future__ import annotations

import json
import os
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from edge_bridge.demo.profiles import CODES, HEAD_WORDS, channels
from edge_bridge.demo.replay import Replay

MAGIC, MAP_VERSION = 0x5047, 1
BLOCK_ROWS, SLOTS, RING = 16, 8, 4096
SLOT_BASE, SLOT_SPACE = 1000, 4000
ROWS_AT, LAB_AT, LAB_WORDS = 40, 2000, 12
REGISTERS = SLOT_BASE + SLOTS * SLOT_SPACE
RUNNING, PAUSED, FINISHED = 1, 2, 3
PACE_AT, PAUSE_AT, JUMP_AT = 40, 41, 42
ACK_ROWS, ACK_LAB, TAKE = 20, 24, 28


class StateError(Exception):
    """The state file cannot be used; the text says why and what to do."""


class Refused(Exception):
    """A write that the PLC answers with "illegal value"."""


class SlotState(TypedDict):
    """What one client has acknowledged. `lab`: it reads the laboratory block too."""

    active: bool
    lab: bool
    acked: int
    lab_acked: int


class ReplayPlc:
    """A legacy PLC that replays a data set. `now` arguments are monotonic seconds.

    `pace` is rows per second, 0 = as fast as the slots acknowledge. Raises StateError for a state file that is damaged
    or belongs to another profile."""

    def __init__(self, replay: Replay, *, state: Path | None = None, pace: float = 4.0, start_row: int = 0) -> None:
        if not 0 <= start_row < len(replay):
            raise StateError(f"start row {start_row}: the set has rows 0 to {len(replay) - 1}")
        self.replay = replay
        self.path = state
        self.words = _row_words(replay)
        self.run = secrets.randbelow(2**32 - 1) + 1
        self.pace = pace
        self.paused = False
        self.produced = 0
        self.overtime = 0
        self.segments: list[tuple[int, int]] = [(1, start_row)]
        self.slots = [SlotState(active=False, lab=False, acked=0, lab_acked=0) for _ in range(SLOTS)]
        self.changed = True
        self._carry = 0.0
        self._last: float | None = None
        if state is not None and state.exists():
            self._load(state)

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let the machine work until `now`: rows come at the pace, but never beyond what the slowest active slot lets
        go."""
        elapsed = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        active = [slot for slot in self.slots if slot["active"]]
        if self.paused or not active or (self.state == FINISHED and not self._lab_left):
            self._carry = 0.0
            return
        room = RING - (self.produced - min(self._freed(slot) for slot in active))
        if self.pace:
            self._carry += elapsed * self.pace
            due = int(self._carry)
            self._carry -= due
        else:
            due = RING
        fresh = max(0, min(due, room, self.remaining))
        if due and room <= 0 and self.remaining:
            self._carry = 0.0
        self.produced += fresh
        late = min(due - fresh, self._lab_left) if not self.remaining else 0
        self.overtime += late
        self.changed = self.changed or bool(fresh or late)

    def _freed(self, slot: SlotState) -> int:
        return min(slot["acked"], slot["lab_acked"] + self.replay.label_delay) if slot["lab"] else slot["acked"]

    # ---- what is where -----------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Index in the set of the next row to come (its length when finished)."""
        first, index = self.segments[-1]
        return index + self.produced + 1 - first

    @property
    def remaining(self) -> int:
        return len(self.replay) - self.position

    @property
    def epoch(self) -> int:
        return len(self.segments) - 1

    @property
    def state(self) -> int:
        if self.paused:
            return PAUSED
        return RUNNING if self.remaining else FINISHED

    @property
    def lab_released(self) -> int:
        """Number of the last row whose laboratory value is there."""
        return max(0, self.produced - self.replay.label_delay + self.overtime) if self.replay.label is not None else 0

    @property
    def _lab_left(self) -> int:
        return self.produced - self.lab_released if self.replay.label is not None else 0

    def segment_of(self, number: int) -> int:
        """Epoch of a row number."""
        return bisect_right(self.segments, (number, len(self.replay))) - 1

    def index_of(self, number: int) -> int:
        """Index in the set of a row number."""
        first, index = self.segments[self.segment_of(number)]
        return index + number - first

    def block(self, slot: SlotState) -> tuple[int, int]:
        """First row number and count of the slot's block: at most 16 rows of one epoch."""
        first = slot["acked"] + 1
        count = min(BLOCK_ROWS, self.produced - slot["acked"])
        epoch = self.segment_of(first)
        if epoch < self.epoch:
            count = min(count, self.segments[epoch + 1][0] - first)
        return first, max(0, count)

    # ---- registers ---------------------------------------------------------------------------------------------------

    def read(self, address: int, count: int) -> list[int]:
        """`count` holding registers from `address`; unused ones are 0."""
        if address < SLOT_BASE:
            page, base = self._head(), 0
        else:
            number = (address - SLOT_BASE) // SLOT_SPACE
            page, base = self._slot_page(self.slots[number]), SLOT_BASE + number * SLOT_SPACE
        found = page[address - base : address - base + count]
        return found + [0] * (count - len(found))

    def write(self, address: int, values: Sequence[int]) -> None:
        """Carry out a write to control or slot registers. Raises Refused for anything else or a value that makes no
        sense."""
        if address == PACE_AT and len(values) == 1:
            self.pace = values[0] / 100
        elif address == PAUSE_AT and len(values) == 1 and values[0] in (0, 1):
            self.paused = values[0] == 1
        elif address == JUMP_AT and len(values) == 2:
            self._jump(_join(values))
        elif address >= SLOT_BASE:
            number, offset = divmod(address - SLOT_BASE, SLOT_SPACE)
            self._write_slot(self.slots[number], offset, values)
            self.changed = True
            return
        else:
            raise Refused
        self.changed = True
        self.save()

    def _write_slot(self, slot: SlotState, offset: int, values: Sequence[int]) -> None:
        if offset == TAKE and len(values) == 1 and values[0] in (0, 1):
            slot["active"] = values[0] == 1
            if slot["active"]:
                oldest = max(0, self.produced - RING)
                slot["acked"] = max(slot["acked"], oldest)
                slot["lab_acked"] = max(slot["lab_acked"], min(oldest, self.lab_released))
        elif offset == ACK_ROWS and len(values) == 4:
            number = _join(values)
            if not slot["acked"] <= number <= self.produced:
                raise Refused
            slot["acked"] = number
        elif offset == ACK_LAB and len(values) == 4:
            number = _join(values)
            if not slot["lab_acked"] <= number <= self.lab_released:
                raise Refused
            slot["lab_acked"] = number
            slot["lab"] = True
        else:
            raise Refused

    def _jump(self, index: int) -> None:
        if index >= len(self.replay):
            raise Refused
        first = self.produced + 1
        if self.segments[-1][0] == first:
            self.segments[-1] = (first, index)
        else:
            self.segments.append((first, index))
        self.overtime = 0
        self._carry = 0.0

    def _head(self) -> list[int]:
        kind = (1 if self.replay.simulated else 0) | 2
        return [
            *(MAGIC, MAP_VERSION, CODES[self.replay.name], self.state),
            *_split(self.produced, 4),
            *_split(self.remaining, 2),
            *(round(self.pace * 100), self.epoch & 0xFFFF),
            *(self.words.shape[1] + 2, BLOCK_ROWS, SLOTS, kind),
            *_split(self.position, 2),
            *_split(len(self.replay), 2),
            *_split(self.run, 2),
            self.replay.label_delay,
        ]

    def _slot_page(self, slot: SlotState) -> list[int]:
        first, count = self.block(slot)
        lab_first = slot["lab_acked"] + 1
        lab_count = max(0, min(BLOCK_ROWS, self.lab_released - slot["lab_acked"]))
        page = [
            *(int(slot["active"]), count),
            *_split(first, 4),
            *_split(slot["acked"], 4),
            *(self.segment_of(first) & 0xFFFF, lab_count),
            *_split(lab_first, 4),
            *_split(slot["lab_acked"], 4),
        ]
        page += [0] * (ROWS_AT - len(page))
        for number in range(first, first + count):
            page += _split(number & 0xFFFFFFFF, 2)
            page += self.words[self.index_of(number)].tolist()
        page += [0] * (LAB_AT - len(page))
        if self.replay.label is not None:
            for number in range(lab_first, lab_first + lab_count):
                index = self.index_of(number)
                page += _split(number, 4)
                page += _words(self.replay.plant_ms[index : index + 1], ">i8").tolist()
                page += _words(self.replay.label[index : index + 1], ">f8").tolist()
        return page

    # ---- persistence -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state file atomically, if there is one and something changed."""
        if self.path is None or not self.changed:
            return
        state = {
            "profile": self.replay.name,
            "run": self.run,
            "produced": self.produced,
            "overtime": self.overtime,
            "segments": self.segments,
            "pace": self.pace,
            "paused": self.paused,
            "slots": self.slots,
        }
        part = self.path.with_name(self.path.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)
        self.changed = False

    def _load(self, path: Path) -> None:
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["profile"] != self.replay.name:
                raise StateError(f"{path} belongs to the profile {state['profile']}, not {self.replay.name}")
            self.run = int(state["run"])
            self.segments = [(int(first), int(index)) for first, index in state["segments"]]
            self.slots = [_slot(slot) for slot in state["slots"]]
            # Rows acknowledged after the last save were produced for certain.
            self.produced = max([int(state["produced"]), *(slot["acked"] for slot in self.slots)])
            self.overtime = int(state["overtime"])
            self.pace, self.paused = float(state["pace"]), bool(state["paused"])
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{path} is damaged ({error}); remove it to begin the replay again") from None
        if len(self.slots) != SLOTS or not self.segments or self.remaining < 0:
            raise StateError(f"{path} does not fit this data set; remove it to begin the replay again")


def _slot(kept: dict[str, Any]) -> SlotState:
    return SlotState(
        active=bool(kept["active"]), lab=bool(kept["lab"]), acked=int(kept["acked"]), lab_acked=int(kept["lab_acked"])
    )


def _row_words(replay: Replay) -> NDArray[np.uint16]:
    """uint16[n, words]: plant time and channels of each row as the registers hold them (the row number comes
    before)."""
    layout = channels(replay.name)
    parts = [_words(replay.plant_ms, ">i8")]
    for column, channel in enumerate(layout):
        values = replay.values[:, column]
        if channel.type == "int32":
            parts.append(_words(np.rint(values * channel.divisor).astype(np.int64), ">i4"))
        else:
            parts.append(_words(values, ">f8"))
    table = np.hstack([part.reshape(len(replay), -1) for part in parts])
    if table.shape[1] + 2 - HEAD_WORDS != sum(2 if channel.type == "int32" else 4 for channel in layout):
        raise StateError("the register layout and the data set do not fit")
    return table


def _words(values: NDArray, kind: str) -> NDArray[np.uint16]:
    return np.frombuffer(values.astype(kind).tobytes(), dtype=">u2").astype(np.uint16)


def _split(value: int, words: int) -> list[int]:
    return [(value >> (16 * i)) & 0xFFFF for i in reversed(range(words))]


def _join(words: Sequence[int]) -> int:
    value = 0
    for word in words:
        value = value << 16 | word
    return value
