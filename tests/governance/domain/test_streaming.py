"""Page-Hinkley against river, the residual detector and the concept windows: the worked tables and their state."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.drift import PageHinkley as RiverPageHinkley

from governance.domain.concept import ConceptLimit, ConceptWindows, Measure, concept_limit, windowed_errors
from governance.domain.streaming import (
    PageHinkley,
    PageHinkleySettings,
    ResidualDetector,
    Side,
    adwin_alarms,
    residual_baseline,
)
from tests.governance.domain.test_drift_season import DATA, INPUTS
from tests.usecases.domain.tables import number, read_table


def test_worked_page_hinkley():
    test = PageHinkley(1, PageHinkleySettings(min_instances=3, delta=0.5, threshold=4, alpha=1.0))
    for row in read_table("drift", "drift-page-hinkley"):
        alarm = bool(test.update([float(row["value"])])[0])
        found = [test.mean[0], test.rise[0], test.lowest[0], test.fall[0], test.highest[0]]
        assert found == pytest.approx(
            [number(row[name]) for name in ("running mean", "rise", "lowest", "fall", "highest")], abs=6e-5
        )
        assert row["alarm"] == ("no" if not alarm else "up" if test.upward[0] else "down")


def river_alarms(values: np.ndarray, setting: PageHinkleySettings) -> list[int]:
    test = RiverPageHinkley(setting.min_instances, setting.delta, setting.threshold, setting.alpha, setting.side.value)
    alarms = []
    for i, value in enumerate(values.tolist()):
        test.update(value)
        if test.drift_detected:
            alarms.append(i)
    return alarms


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("threshold", [5.0, 20.0, 50.0])
def test_equals_river_on_many_streams(side, threshold):
    setting = PageHinkleySettings(threshold=threshold, side=side)
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(3000, 20))
    rows[1500:] += rng.uniform(-1, 1, size=20)
    found = PageHinkley(20, setting).update_many(rows)
    for j in range(20):
        assert np.flatnonzero(found[:, j]).tolist() == river_alarms(rows[:, j], setting)
    assert found.any()


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=200),
    st.floats(0, 1),
    st.floats(0.1, 30),
    st.integers(1, 40),
    st.sampled_from(list(Side)),
)
@settings(max_examples=60, deadline=None)
def test_equals_river_on_any_stream(values, delta, threshold, min_instances, side):
    setting = PageHinkleySettings(min_instances, delta, threshold, 0.999, side)
    found = PageHinkley(1, setting).update_many(np.array(values)[:, None])
    assert np.flatnonzero(found[:, 0]).tolist() == river_alarms(np.array(values), setting)


def test_missing_values_leave_their_stream_alone():
    setting = PageHinkleySettings(threshold=10.0)
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(2000, 3))
    rows[:, 1] += np.linspace(0, 3, 2000)
    holes = rows.copy()
    holes[rng.random(rows.shape) < 0.3] = np.nan
    found = PageHinkley(3, setting).update_many(holes)
    for j in range(3):
        places = np.flatnonzero(np.isfinite(holes[:, j]))
        assert np.flatnonzero(found[:, j]).tolist() == places[river_alarms(holes[places, j], setting)].tolist()


def test_state_survives_json_at_any_moment():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(800, 4)) + np.linspace(0, 2, 800)[:, None]
    setting = PageHinkleySettings(threshold=8.0)
    whole = PageHinkley(4, setting).update_many(rows)
    test, parts = PageHinkley(4, setting), []
    for start in range(0, 800, 37):
        parts.append(test.update_many(rows[start : start + 37]))
        test = PageHinkley.from_dict(json.loads(json.dumps(test.to_dict())))
    assert (np.vstack(parts) == whole).all()
    assert whole.any()
    fresh = PageHinkley.from_dict(json.loads(json.dumps(PageHinkley(2).to_dict())))
    assert np.isinf(fresh.lowest).all()
    assert fresh.excess().tolist() == [0.0, 0.0]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="shape"):
        PageHinkley(2).update([1.0])
    with pytest.raises(ValueError, match="shape"):
        PageHinkley(2).update_many(np.zeros((3, 1)))
    with pytest.raises(ValueError):
        PageHinkley(0)
    for wrong in ({"min_instances": 0}, {"threshold": 0.0}, {"alpha": 1.5}):
        with pytest.raises(ValueError):
            PageHinkleySettings(**wrong)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 30"):
        residual_baseline(np.zeros(10))
    with pytest.raises(ValueError, match="spread"):
        residual_baseline(np.ones(100))
    with pytest.raises(ValueError, match="margin"):
        residual_baseline(rng.normal(size=100), margin=0.5)


def correlated(rows: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=rows)
    errors = np.empty(rows)
    level = 0.0
    for i, value in enumerate(noise):
        level = 0.9 * level + value
        errors[i] = level
    return errors


@given(st.integers(0, 10_000), st.floats(0.1, 1.0))
@settings(max_examples=15, deadline=None)
def test_the_baseline_is_silent_on_its_own_errors(seed, delta):
    errors = correlated(800, seed)
    assert ResidualDetector(residual_baseline(errors, delta=delta)).update(errors) == []


def test_residual_detector_finds_a_shift_and_its_direction():
    baseline = residual_baseline(correlated(5000, 0))
    errors = correlated(3000, 1)
    errors[1500:] -= 4 * baseline.std
    detector = ResidualDetector(baseline)
    alarms = detector.update(errors)
    assert alarms
    assert 1500 <= alarms[0].position < 1900
    assert not alarms[0].upward


def test_residual_detector_fed_in_pieces_with_gaps_and_restored():
    baseline = residual_baseline(correlated(3000, 0))
    errors = correlated(2500, 2)
    errors[1000:] += 3 * baseline.std
    whole = ResidualDetector(baseline).update(errors)
    detector, pieces = ResidualDetector(baseline), []
    for start in range(0, errors.size, 24):
        pieces += detector.update(np.append(errors[start : start + 24], np.nan))
        detector = ResidualDetector.from_dict(json.loads(json.dumps(detector.to_dict())))
    assert pieces == whole
    assert whole
    assert detector.seen == errors.size
    detector.update([5 * baseline.std] * 3)
    detector.restart()
    assert detector.excess == 0.0
    assert detector.seen == errors.size + 3


def test_adwin_finds_a_shift_of_independent_values():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=1000), [np.nan], rng.normal(2.0, 1.0, size=500)])
    alarms = adwin_alarms(values.tolist())
    assert len(alarms) == 1
    assert 1000 < alarms[0] < 1100


def test_worked_concept_windows():
    limit = ConceptLimit(Measure.MAE, open_above=3.0, close_below=2.0, mean=1.0, sigma=1.0, windows=10)
    windows = ConceptWindows(limit, size=4, step=2)
    for row in read_table("drift", "drift-concept"):
        done = windows.update([float(part) for part in row["errors fed"].split()])
        if not row["window"]:
            assert done == []
            assert row["alarm"] == ("on" if windows.alarm else "off")
            continue
        (window,) = done
        assert f"{window.first} to {window.last}" == row["window"]
        assert window.level == pytest.approx(float(row["level"]))
        assert row["alarm"] == ("on" if window.alarm else "off")
        assert row["event"] == ("opened" if window.opened else "closed" if window.closed else "")


@given(
    st.lists(st.floats(-9, 9), min_size=0, max_size=150),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 30),
    st.sampled_from(list(Measure)),
)
@settings(max_examples=60, deadline=None)
def test_windows_in_pieces_equal_windows_at_once(errors, size, step, piece, measure):
    step = min(step, size)
    limit = ConceptLimit(measure, 4.0, 3.0, 2.0, 1.0, 5)
    windows, levels = ConceptWindows(limit, size, step), []
    for start in range(0, len(errors), piece):
        levels += [window.level for window in windows.update(errors[start : start + piece])]
        windows = ConceptWindows.from_dict(json.loads(json.dumps(windows.to_dict())))
        assert windows.pending.size < size
    assert levels == pytest.approx(windowed_errors(errors, measure=measure, size=size, step=step).tolist())


def test_concept_limit_and_its_refusals():
    errors = np.random.default_rng(0).normal(size=3000)
    levels = windowed_errors(errors)
    limit = concept_limit(errors, k=2.0)
    assert levels.size == limit.windows == 9
    assert limit.open_above == pytest.approx(levels.mean() + 2 * levels.std(ddof=1))
    assert limit.close_below == pytest.approx(levels.mean() + levels.std(ddof=1))
    with pytest.raises(ValueError, match="at least 2"):
        concept_limit(errors[:700])
    with pytest.raises(ValueError, match="at most k"):
        concept_limit(errors, k=1.0, k_close=2.0)
    with pytest.raises(ValueError, match="closes"):
        ConceptLimit(Measure.MAE, 1.0, 2.0, 0.0, 1.0, 5)
    for wrong in ({"size": 0}, {"size": 5, "step": 6}, {"close_after": 0}):
        with pytest.raises(ValueError):
            ConceptWindows(limit, **wrong)


def test_hysteresis_waits_for_calm_windows_in_a_row():
    limit = ConceptLimit(Measure.MAE, 3.0, 2.0, 1.0, 1.0, 5)
    windows = ConceptWindows(limit, size=1, step=1, close_after=2)
    states = [window.alarm for window in windows.update([4, 1, 2.5, 1, 1, 1, 2.5, 3.5])]
    assert states == [True, True, True, True, False, False, False, True]


def test_restart_forgets_the_old_models_errors():
    limit = ConceptLimit(Measure.MAE, 3.0, 2.0, 1.0, 1.0, 5)
    windows = ConceptWindows(limit, size=4, step=2)
    windows.update([9, 9, 9])
    windows.restart(alarm=False)
    assert windows.update([0, 0, 0]) == []
    (window,) = windows.update([0])
    assert (window.first, window.last, window.level) == (3, 6, 0.0)


@pytest.fixture(scope="module")
def turbine_errors():
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    with gzip.open(DATA, "rt") as file:
        table = np.genfromtxt(file, delimiter=",", names=True)
    years, labels = table["year"].astype(int), table["NOX"]
    inputs = np.stack([table[name] for name in INPUTS], axis=1)

    def errors(taught: np.ndarray, scored: np.ndarray) -> np.ndarray:
        model = HistGradientBoostingRegressor(random_state=0).fit(inputs[taught], labels[taught])
        return labels[scored] - model.predict(inputs[scored])

    with threadpool_limits(1):
        out_of_fold, later = errors(years == 2011, years == 2012), errors(years <= 2012, years >= 2013)
    return out_of_fold, later, int((years == 2013).sum())


@pytest.mark.parametrize("row", read_table("drift", "drift-turbine-concept"))
def test_gas_turbine(turbine_errors, row):
    out_of_fold, later, rows_of_2013 = turbine_errors
    expected = int(row["first alarm in 2014 after row"])
    if row["watch"].startswith("windows"):
        limit = concept_limit(out_of_fold, measure=Measure(row["watch"].split(", ")[1]))
        assert limit.open_above == pytest.approx(float(row["limit"]), rel=0.02)
        silent = [window for window in ConceptWindows(limit).update(out_of_fold) if window.opened]
        opened = [window.last for window in ConceptWindows(limit).update(later) if window.opened]
        tolerance = 0
    else:
        baseline = residual_baseline(out_of_fold)
        assert baseline.settings.threshold == pytest.approx(float(row["limit"]), rel=0.05)
        silent = ResidualDetector(baseline).update(out_of_fold)
        opened = [alarm.position for alarm in ResidualDetector(baseline).update(later)]
        tolerance = 30
    assert len(silent) == int(row["alarms in 2012, out-of-fold"])
    first = next(place - rows_of_2013 for place in opened if place >= rows_of_2013)
    assert first == pytest.approx(expected, abs=tolerance)
