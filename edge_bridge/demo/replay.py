"""The real data that the demo plant replays, as arrays.

Light on purpose (csv, gzip, NumPy): the simulated PLC, the back-fill and the tests all read it. Origins and licences
are in `edge_bridge/demo/data` and NOTICE. The turbine and the process set carry no time stamps: their rows get
*nominal* plant time, and pages that show it say so.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
LABEL_DELAY_ROWS = 24
TURBINE_INPUTS = ("AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP")
PROCESS_COLUMNS = tuple(f"XMEAS_{i}" for i in range(1, 42)) + tuple(f"XMV_{i}" for i in range(1, 12))
PROCESS_RUNS = ("d00", "d00_te", "d01_te", "d04_te", "d06_te", "d08_te", "d13_te", "d14_te")
PROCESS_FAULT_SAMPLE = 161
ProfileName = Literal["turbine", "workshop", "process"]


@dataclass(frozen=True)
class Replay:
    """One data set as it is replayed; n rows in order, k columns, arrays read-only.

    `values` float64[n, k]; `plant_ms` int64[n], milliseconds since 1970-01-01T00:00Z, not always rising (workshop);
    `label` float64[n] or None, delivered `label_delay` rows late; `group` names each row's part of the set (year, run);
    `anomalies` are labelled [first, last] plant times in ms; `fault` bool[n] or None marks rows inside a simulated
    fault.
    """

    name: ProfileName
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    plant_ms: NDArray[np.int64]
    group: NDArray[np.str_]
    simulated: bool
    nominal_time: bool
    label_name: str = ""
    label: NDArray[np.float64] | None = None
    label_delay: int = 0
    anomalies: tuple[tuple[int, int], ...] = ()
    fault: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.plant_ms)

    def first_of(self, group: str) -> int:
        """Index of the first row of a group; KeyError if there is none."""
        found = np.flatnonzero(self.group == group)
        if not found.size:
            raise KeyError(f"{self.name} has no group {group}; it has {sorted(set(self.group.tolist()))}")
        return int(found[0])


@lru_cache(maxsize=1)
def load_turbine() -> Replay:
    """Gas turbine 2011-14, 29,349 rows, nine inputs, label NOX; the rows of each year have nominal hourly plant time
    from its 1 January on.

    `group` is the year the set gives ("2011".."2014"). The set leaves out idle hours, so a year's rows end in late
    October or November and a gap follows; counting on without it would shift each year against the seasons. Source:
    UCI 551, Kaya, Tufekci, Uzun 2019."""
    header, rows = _read("gas_turbine_2011_2014.csv.gz")
    table = np.array(rows, dtype=np.float64)
    at = header.index
    years = np.array([int(row[at("year")]) for row in rows])
    hours = np.concatenate([np.arange(np.count_nonzero(years == year)) for year in np.unique(years)])
    new_year = {year: _ms(datetime(year, 1, 1, tzinfo=UTC)) for year in np.unique(years).tolist()}
    return Replay(
        name="turbine",
        columns=TURBINE_INPUTS,
        values=_frozen(table[:, [at(name) for name in TURBINE_INPUTS]]),
        plant_ms=_frozen(np.array([new_year[year] for year in years.tolist()], dtype=np.int64) + HOUR_MS * hours),
        group=_frozen(years.astype(str)),
        simulated=False,
        nominal_time=True,
        label_name="NOX",
        label=_frozen(table[:, at("NOX")]),
        label_delay=LABEL_DELAY_ROWS,
    )


@lru_cache(maxsize=1)
def load_workshop() -> Replay:
    """Temperature of a machine every 5 minutes, 22,695 rows, its own time stamps taken as UTC, among them the jump back
    on 2014-01-07 from 02:55 to 02:00. Source: Numenta Anomaly Benchmark, machine_temperature_system_failure."""
    _, rows = _read("nab_machine_temperature_system_failure.csv.gz")
    stamps = np.array([row[0].replace(" ", "T") for row in rows], dtype="datetime64[ms]")
    windows = json.loads((DATA / "nab_windows.json").read_text())[
        "realKnownCause/machine_temperature_system_failure.csv"
    ]
    return Replay(
        name="workshop",
        columns=("temperature",),
        values=_frozen(np.array([[row[1]] for row in rows], dtype=np.float64)),
        plant_ms=_frozen(stamps.astype(np.int64)),
        group=_frozen(np.full(len(rows), "machine")),
        simulated=False,
        nominal_time=False,
        anomalies=tuple((_stamp(first), _stamp(last)) for first, last in windows),
    )


@lru_cache(maxsize=1)
def load_process() -> Replay:
    """Tennessee Eastman process, *simulated*: the fault-free runs d00 and d00_te, then one run per fault (1, 4, 6, 8,
    13, 14; the fault begins at sample 161); 7,220 rows, 52 columns, nominal plant time 2014-01-01T00:00Z + 3 minutes a
    row.

    `group` is the run. Source: Braatz, University of Illinois."""
    header, rows = _read("tep_dev.csv.gz")
    order = {run: i for i, run in enumerate(PROCESS_RUNS)}
    rows.sort(key=lambda row: (order[row[0]], int(row[1])))
    at = [header.index(name) for name in PROCESS_COLUMNS]
    runs = np.array([row[0] for row in rows])
    samples = np.array([int(row[1]) for row in rows])
    faulty = ~np.char.startswith(runs, "d00") & (samples >= PROCESS_FAULT_SAMPLE)
    start = _ms(datetime(2014, 1, 1, tzinfo=UTC))
    return Replay(
        name="process",
        columns=PROCESS_COLUMNS,
        values=_frozen(np.array([[row[i] for i in at] for row in rows], dtype=np.float64)),
        plant_ms=_frozen(start + 3 * MINUTE_MS * np.arange(len(rows), dtype=np.int64)),
        group=_frozen(runs),
        simulated=True,
        nominal_time=True,
        fault=_frozen(faulty),
    )


LOADERS: dict[str, Callable[[], Replay]] = {
    "turbine": load_turbine,
    "workshop": load_workshop,
    "process": load_process,
}


def load(name: str) -> Replay:
    """The set of a profile; KeyError for an unknown name."""
    return LOADERS[name]()


def _read(file: str) -> tuple[list[str], list[list[str]]]:
    with gzip.open(DATA / file, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        header = next(reader)
        return header, list(reader)


def _frozen(array: NDArray) -> NDArray:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _stamp(text: str) -> int:
    return _ms(datetime.fromisoformat(text).replace(tzinfo=UTC))
