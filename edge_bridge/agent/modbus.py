"""Reading a PLC: the acknowledged row block, or plain registers by polling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymodbus import ModbusException
from pymodbus.client import ModbusTcpClient

from edge_bridge import wire

MAGIC, MAP_VERSION = 0x5047, 1
HEAD_WORDS, SLOT_WORDS, ROW_HEAD_WORDS = 23, 40, 6
SLOT_BASE, SLOT_SPACE, LAB_AT, LAB_WORDS = 1000, 4000, 2000, 12
ACK_ROWS, ACK_LAB, TAKE = 20, 24, 28
PACE_AT, PAUSE_AT, JUMP_AT = 40, 41, 42
MAX_READ = 125
STATES: dict[int, str] = {1: "running", 2: "paused", 3: "finished"}
_FORMATS = {"int": ">i", "uint": ">u", "float": ">f"}


class PlcUnreachable(Exception):
    """No connection, or none that answers."""


class PlcRefused(Exception):
    """The PLC answers, but not with what the configuration says."""


@dataclass(frozen=True)
class Head:
    """The PLC's own words about itself."""

    state: str
    produced: int
    remaining: int
    pace: float
    epoch: int
    row_words: int
    simulated: bool
    replay: bool
    position: int
    run: int


@dataclass(frozen=True)
class Slot:
    """What waits for this gateway; `words` are the registers of the slot's page read so far, from its offset 0."""

    active: bool
    count: int
    first: int
    acked: int
    epoch: int
    lab_count: int
    lab_first: int
    lab_acked: int
    words: list[int]


@dataclass(frozen=True)
class Rows:
    """n consecutive rows from number `first`: `plant_ms` int64[n], `values` float64[n, k] in the order of the
    channels."""

    first: int
    plant_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.plant_ms)


@dataclass(frozen=True)
class LabValues:
    """n laboratory values: row numbers int64[n], plant time of those rows int64[n], values float64[n]."""

    row: NDArray[np.int64]
    plant_ms: NDArray[np.int64]
    values: NDArray[np.float64]


class PlcClient:
    """One connection to one PLC. Every method raises PlcUnreachable or PlcRefused."""

    def __init__(self, config: wire.SourceConfig, *, timeout: float = 3.0) -> None:
        self.config = config
        self.base = SLOT_BASE + SLOT_SPACE * config.slot
        self._client = ModbusTcpClient(config.host, port=config.port, timeout=timeout, retries=0)
        self._divisors = np.array([channel.divisor for channel in config.channels])
        self._offsets = np.array([channel.offset for channel in config.channels])

    def connect(self) -> None:
        if not self._client.connected and not self._client.connect():
            raise PlcUnreachable(f"no PLC answers at {self.config.host}:{self.config.port}")

    def close(self) -> None:
        self._client.close()

    # ---- row block ---------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """Read and check the header."""
        words = self._read(0, HEAD_WORDS)
        if words[0] != MAGIC or words[1] != MAP_VERSION:
            raise PlcRefused(f"no row block of version {MAP_VERSION} at {self.config.host}:{self.config.port}")
        if self.config.slot >= words[14]:
            raise PlcRefused(f"slot {self.config.slot} does not exist, the PLC has {words[14]}")
        self._check_layout(words[12])
        return Head(
            state=STATES.get(words[3], ""),
            produced=_join(words[4:8]),
            remaining=_join(words[8:10]),
            pace=words[10] / 100,
            epoch=words[11],
            row_words=words[12],
            simulated=bool(words[15] & 1),
            replay=bool(words[15] & 2),
            position=_join(words[16:18]),
            run=_join(words[20:22]),
        )

    def slot(self) -> Slot:
        """Read the slot's status and, in the same request, the first rows."""
        words = self._read(self.base, MAX_READ)
        return Slot(
            active=words[0] == 1,
            count=words[1],
            first=_join(words[2:6]),
            acked=_join(words[6:10]),
            epoch=words[10],
            lab_count=words[11],
            lab_first=_join(words[12:16]),
            lab_acked=_join(words[16:20]),
            words=words,
        )

    def take(self, active: bool) -> None:
        """Take the slot, or release it so that the PLC no longer waits for this gateway."""
        self._write(self.base + TAKE, [int(active)])

    def rows(self, head: Head, slot: Slot) -> Rows:
        """The rows of the block that `slot` announced; PlcRefused if they are not the rows it said."""
        wanted = SLOT_WORDS + slot.count * head.row_words
        words = slot.words[:wanted]
        while len(words) < wanted:
            words = words + self._read(self.base + len(words), min(MAX_READ, wanted - len(words)))
        table = np.array(words[SLOT_WORDS:], dtype=">u2").tobytes()
        records = np.frombuffer(table, dtype=self._row_type(head.row_words))
        expected = (slot.first + np.arange(slot.count)) & 0xFFFFFFFF
        if not np.array_equal(records["number"], expected):
            raise PlcRefused(f"slot {self.config.slot} changed while it was read: does another gateway use it?")
        return Rows(slot.first, records["plant_ms"].astype(np.int64), self._scaled(records))

    def lab(self, slot: Slot) -> LabValues:
        """The laboratory values that `slot` announced."""
        words: list[int] = []
        wanted = slot.lab_count * LAB_WORDS
        while len(words) < wanted:
            words += self._read(self.base + LAB_AT + len(words), min(MAX_READ, wanted - len(words)))
        kind = np.dtype([("row", ">i8"), ("plant_ms", ">i8"), ("value", ">f8")])
        records = np.frombuffer(np.array(words, dtype=">u2").tobytes(), dtype=kind)
        return LabValues(
            records["row"].astype(np.int64), records["plant_ms"].astype(np.int64), records["value"].astype(np.float64)
        )

    def acknowledge(self, row: int) -> None:
        """Tell the PLC that rows up to `row` are stored for good."""
        self._write(self.base + ACK_ROWS, _split(row))

    def acknowledge_lab(self, row: int) -> None:
        """Tell the PLC that laboratory values up to `row` are stored for good."""
        self._write(self.base + ACK_LAB, _split(row))

    def set_pace(self, rows_per_s: float) -> None:
        self._write(PACE_AT, [round(rows_per_s * 100)])

    def set_paused(self, paused: bool) -> None:
        self._write(PAUSE_AT, [int(paused)])

    def jump(self, index: int) -> None:
        self._write(JUMP_AT, [index >> 16 & 0xFFFF, index & 0xFFFF])

    # ---- plain registers ---------------------------------------------------------------------------------------------

    def sample(self) -> NDArray[np.float64]:
        """One scan of plain registers, float64[k]."""
        values = np.empty(len(self.config.channels))
        for position, channel in enumerate(self.config.channels):
            words = self._read(channel.address, wire.REGISTER_WORDS[channel.type])
            values[position] = np.frombuffer(np.array(words, dtype=">u2").tobytes(), dtype=_format(channel.type))[0]
        return values / self._divisors + self._offsets

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _read(self, address: int, count: int) -> list[int]:
        try:
            answer = self._client.read_holding_registers(address, count=count, device_id=self.config.device_id)
        except (ModbusException, OSError) as error:
            self.close()
            raise PlcUnreachable(f"{self.config.host}:{self.config.port}: {error}") from error
        if answer.isError():
            raise PlcRefused(f"registers {address} to {address + count - 1} cannot be read: {answer}")
        if len(answer.registers) != count:
            self.close()
            raise PlcUnreachable(f"{len(answer.registers)} registers came instead of {count}")
        return list(answer.registers)

    def _write(self, address: int, values: list[int]) -> None:
        try:
            answer = self._client.write_registers(address, values, device_id=self.config.device_id)
        except (ModbusException, OSError) as error:
            self.close()
            raise PlcUnreachable(f"{self.config.host}:{self.config.port}: {error}") from error
        if answer.isError():
            raise PlcRefused(f"register {address} takes no {values}: {answer}")

    def _check_layout(self, row_words: int) -> None:
        for channel in self.config.channels:
            if not ROW_HEAD_WORDS <= channel.address <= row_words - wire.REGISTER_WORDS[channel.type]:
                raise PlcRefused(
                    f"channel {channel.name} at word {channel.address} lies outside a row of {row_words} words"
                )

    def _row_type(self, row_words: int) -> np.dtype:
        channels = self.config.channels
        return np.dtype(
            {
                "names": ["number", "plant_ms", *(f"c{i}" for i in range(len(channels)))],
                "formats": [">u4", ">i8", *(_format(channel.type) for channel in channels)],
                "offsets": [0, 4, *(2 * channel.address for channel in channels)],
                "itemsize": 2 * row_words,
            }
        )

    def _scaled(self, records: NDArray) -> NDArray[np.float64]:
        columns = [records[f"c{i}"].astype(np.float64) for i in range(len(self.config.channels))]
        raw = np.column_stack(columns) if columns else np.empty((len(records), 0))
        return raw / self._divisors + self._offsets


def _format(kind: str) -> str:
    return _FORMATS[kind.rstrip("0123456789")] + str(2 * wire.REGISTER_WORDS[kind])


def _split(value: int) -> list[int]:
    return [value >> shift & 0xFFFF for shift in (48, 32, 16, 0)]


def _join(words: Sequence[int]) -> int:
    value = 0
    for word in words:
        value = value << 16 | word
    return value
