"""The three real and simulated sets the models are tried on, read once per session."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "edge_bridge" / "demo" / "data"
TURBINE_INPUTS = ("AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP")


@dataclass(frozen=True)
class Turbine:
    rows: NDArray[np.float32]
    nox: NDArray[np.float64]
    year: NDArray[np.int64]


@dataclass(frozen=True)
class Machine:
    values: NDArray[np.float32]
    faulty: NDArray[np.bool_]
    windows: tuple[tuple[int, int], ...]

    @property
    def learnt(self) -> int:
        """The benchmark's probation period: the first 15 % of the rows."""
        return int(0.15 * len(self.values))


@dataclass(frozen=True)
class Process:
    rows: NDArray[np.float32]
    run: NDArray[np.str_]
    sample: NDArray[np.int64]

    def of(self, name: str) -> NDArray[np.float32]:
        return self.rows[self.run == name]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows outside the training run; `faulty` says which of them carry a fault (from sample 161 on)."""
        return self.run != "d00"

    @property
    def faulty(self) -> NDArray[np.bool_]:
        return ~np.isin(self.run, ("d00", "d00_te")) & (self.sample > 160)


def _lines(name: str) -> tuple[list[str], list[list[str]]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        header = next(file).strip().split(",")
        return header, [line.strip().split(",") for line in file]


@cache
def turbine() -> Turbine:
    header, lines = _lines("gas_turbine_2011_2014.csv.gz")
    table = np.array(lines, dtype=np.float64)
    columns = [header.index(name) for name in TURBINE_INPUTS]
    return Turbine(
        rows=table[:, columns].astype(np.float32),
        nox=table[:, header.index("NOX")],
        year=table[:, header.index("year")].astype(np.int64),
    )


@cache
def machine() -> Machine:
    _, lines = _lines("nab_machine_temperature_system_failure.csv.gz")
    stamps = np.array([line[0] for line in lines], dtype="datetime64[s]")
    values = np.array([line[1] for line in lines], dtype=np.float32)
    labels = json.loads((DATA / "nab_windows.json").read_text())
    faulty = np.zeros(len(values), dtype=bool)
    windows = []
    for start, end in labels["realKnownCause/machine_temperature_system_failure.csv"]:
        inside = (stamps >= np.datetime64(start.replace(" ", "T"))) & (stamps <= np.datetime64(end.replace(" ", "T")))
        faulty |= inside
        where = np.flatnonzero(inside)
        windows.append((int(where[0]), int(where[-1])))
    return Machine(values=values, faulty=faulty, windows=tuple(windows))


@cache
def process() -> Process:
    _, lines = _lines("tep_dev.csv.gz")
    return Process(
        rows=np.array([line[2:] for line in lines], dtype=np.float32),
        run=np.array([line[0] for line in lines]),
        sample=np.array([line[1] for line in lines], dtype=np.int64),
    )


def with_sensor_faults(
    rows: NDArray[np.float32], spread: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows with simulated sensor faults, 100 of every 400 rows shifted by 3 `spread` on one channel; and the labels."""
    faulted, faulty = rows.copy(), np.zeros(len(rows), dtype=bool)
    rng = np.random.default_rng(0)
    for start in range(200, len(rows), 400):
        channel = rng.integers(rows.shape[1])
        faulted[start : start + 100, channel] += 3 * spread[channel]
        faulty[start : start + 100] = True
    return faulted, faulty


def false_episodes_per_day(alarm: NDArray[np.bool_], data: Machine) -> float:
    """Alarm episodes outside the labelled windows a day, after the probation period; three quiet hours part episodes."""
    judged = np.arange(len(alarm)) >= data.learnt
    false = np.flatnonzero(alarm & judged & ~data.faulty)
    episodes = 1 + int((np.diff(false) > 36).sum()) if len(false) else 0
    return episodes / ((judged & ~data.faulty).sum() / 288)
