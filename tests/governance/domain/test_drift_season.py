"""The seasonal reference, and feature drift on a real gas turbine."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from governance.domain.drift import DriftLimits, DriftState, Season, drift_statistics, judge, seasonal_drift
from governance.domain.reference import MIN_BLOCKS, Reference, SeasonalHistory
from tests.usecases.domain.tables import number, read_table

DATA = Path(__file__).resolve().parents[3] / "edge_bridge" / "demo" / "data" / "gas_turbine_2011_2014.csv.gz"
INPUTS = ("AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP")


def day(text: str) -> np.datetime64:
    return np.datetime64(text.strip(), "s")


@pytest.mark.parametrize("row", read_table("drift", "drift-season"))
def test_worked_seasons(row):
    times = np.arange(day(row["first row of the past"]), day("2014-01-01"), np.timedelta64(1, "D"))
    history = SeasonalHistory.from_rows(times, np.zeros(times.size))
    start, end = (day(part) for part in row["window"].split("to"))
    slices = history.season_slices(start, end)
    expected = [] if row["seasons"] == "none" else [part.split("to") for part in row["seasons"].split(",")]
    assert [(times[part.start], times[part.stop - 1]) for part in slices] == [(day(a), day(b)) for a, b in expected]
    assert sum(part.stop - part.start for part in slices) == int(row["rows, one a day"])


def hourly(start: str, rows: int) -> np.ndarray:
    return np.datetime64(start, "s") + np.arange(rows) * np.timedelta64(3600, "s")


def seasonal_values(times: np.ndarray, seed: int) -> np.ndarray:
    days = (times - np.datetime64("2020-01-01", "s")) / np.timedelta64(1, "D")
    return 15 + 10 * np.sin(2 * np.pi * days / 365.2425) + np.random.default_rng(seed).normal(size=times.size)


def test_a_season_is_no_drift_but_a_change_of_level_is():
    times = hourly("2020-01-01", 24 * 366 * 2)
    values = seasonal_values(times, 0)
    history = SeasonalHistory.from_rows(times, values, ["AT"])
    window = hourly("2022-02-01", 600)
    calm = seasonal_values(window, 1)
    assert judge(drift_statistics(Reference.from_rows(values), calm)).state is DriftState.DRIFTED
    verdict = seasonal_drift(history, calm, window[0], window[-1])
    assert verdict.season is Season.SAME_SEASON
    assert verdict.state is DriftState.STABLE
    assert seasonal_drift(history, calm + 15.0, window[0], window[-1]).state is DriftState.DRIFTED


def test_without_that_season_nothing_is_measured_and_the_figures_stay():
    times = hourly("2020-01-01", 24 * 60)
    history = SeasonalHistory.from_rows(times, seasonal_values(times, 0))
    window = hourly("2020-03-01", 600)
    verdict = seasonal_drift(history, seasonal_values(window, 1) + 40, window[0], window[-1])
    assert verdict.state is DriftState.NOT_MEASURED
    assert verdict.season is Season.MISSING
    assert verdict.features[0].significant is True
    assert verdict.features[0].effect > 1
    first = hourly("2020-01-01", 600)
    assert seasonal_drift(history, seasonal_values(first, 1), first[0], first[-1]) is None


def test_the_future_is_never_a_reference():
    times = hourly("2020-01-01", 24 * 366 * 3)
    history = SeasonalHistory.from_rows(times, np.arange(times.size, dtype=float))
    start, end = day("2021-06-01"), day("2021-09-01")
    for part in history.season_slices(start, end):
        assert times[part.stop - 1] < start
    long_window = history.season_slices(day("2021-01-01"), day("2022-12-01"))
    stops = [part.stop for part in long_window]
    assert all(times[stop - 1] < day("2021-01-01") for stop in stops)
    starts = [part.start for part in long_window]
    assert all(later >= stop for stop, later in zip(stops, starts[1:], strict=False)), "no row counts twice"


def test_rows_in_any_order_make_the_same_history():
    times = hourly("2020-01-01", 24 * 500)
    values = seasonal_values(times, 0)
    mixed = np.random.default_rng(0).permutation(times.size)
    ordered, shuffled = SeasonalHistory.from_rows(times, values), SeasonalHistory.from_rows(times[mixed], values[mixed])
    assert (ordered.times == shuffled.times).all()
    assert (ordered.rows == shuffled.rows).all()


def test_natural_effect_needs_enough_blocks():
    times = hourly("2020-01-01", 24 * 366)
    history = SeasonalHistory.from_rows(times, seasonal_values(times, 0))
    few = history.reference_for(day("2021-06-01"), day("2021-06-26"), block_rows=1500)
    assert few.blocks < MIN_BLOCKS
    assert np.isnan(few.natural).all()
    many = history.reference_for(day("2021-06-01"), day("2021-06-26"), block_rows=600)
    assert many.blocks >= MIN_BLOCKS
    assert 0 < many.natural[0] < 5
    assert history.reference_for(day("2020-02-01"), day("2020-02-20")) is None


def test_bad_histories_are_refused():
    times = hourly("2020-01-01", 10)
    with pytest.raises(ValueError, match="one time per row"):
        SeasonalHistory.from_rows(times, np.zeros(9))
    with pytest.raises(ValueError, match="needs a time"):
        SeasonalHistory.from_rows(np.array(["NaT"], dtype="datetime64[s]"), np.zeros(1))
    with pytest.raises(ValueError, match="names"):
        SeasonalHistory.from_rows(times, np.zeros((10, 2)), ["one"])
    with pytest.raises(ValueError, match="positive"):
        SeasonalHistory.from_rows(times, np.zeros(10), half_width_days=0)
    with pytest.raises(ValueError, match="before"):
        SeasonalHistory.from_rows(times, np.zeros(10)).season_slices(times[5], times[4])
    empty = SeasonalHistory.from_rows(np.empty(0, "datetime64[s]"), np.empty((0, 2)))
    assert empty.season_slices(times[0], times[1]) == []


@pytest.fixture(scope="module")
def turbine():
    with gzip.open(DATA, "rt") as file:
        table = np.genfromtxt(file, delimiter=",", names=True)
    years = table["year"].astype(int)
    times = np.concatenate([hourly(f"{year}-01-01", int((years == year).sum())) for year in range(2011, 2015)])
    return years, times, np.stack([table[name] for name in INPUTS], axis=1), table["NOX"]


@pytest.mark.parametrize("row", read_table("drift", "drift-turbine"))
def test_gas_turbine(turbine, row):
    years, times, inputs, labels = turbine
    plain = Reference.from_rows(inputs[years == 2011], INPUTS)
    features = SeasonalHistory.from_rows(times, inputs, INPUTS)
    nox = SeasonalHistory.from_rows(times, labels, ["NOX"])
    rows = np.flatnonzero(years == int(row["year"]))
    windows = [rows[start : start + 600] for start in range(0, rows.size - 599, 300)]
    fires, verdicts, moved = [], [], 0
    for window in windows:
        start, end = times[window[0]], times[window[-1]]
        fires += [f.significant for f in judge(drift_statistics(plain, inputs[window]), DriftLimits()).features]
        verdicts.append(seasonal_drift(features, inputs[window], start, end))
        moved += seasonal_drift(nox, labels[window], start, end).state is DriftState.DRIFTED
    assert len(windows) == int(row["windows"])
    assert 100 * np.mean(fires) == pytest.approx(number(row["pairs (feature, window) that plain KS reports"]), abs=0.05)
    drifted = [[f.state is DriftState.DRIFTED for f in verdict.features] for verdict in verdicts]
    assert 100 * np.mean(drifted) == pytest.approx(number(row["pairs that drifted"]), abs=0.05)
    assert sum(verdict.state is DriftState.DRIFTED for verdict in verdicts) == int(row["windows that drifted"])
    assert moved == int(row["windows with drifted labels"])
    assert {verdict.season for verdict in verdicts} == {Season.SAME_SEASON}
