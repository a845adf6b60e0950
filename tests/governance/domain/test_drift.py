"""Drift statistics and verdicts: the worked tables, SciPy as oracle, and what must hold for any data."""

from __future__ import annotations

import math
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon

from governance.domain.distances import effect_size, population_stability, psi_without_drift
from governance.domain.drift import (
    DriftLimits,
    DriftState,
    DriftStatistics,
    Season,
    category_drift,
    drift_statistics,
    feature_drift,
    judge,
)
from governance.domain.ks import _outside_probability, _tail_quickly, ks_critical, ks_exceeds, ks_p_value, ks_sorted
from governance.domain.reference import Reference, quantile_edges
from tests.usecases.domain.tables import number, read_table


def values(cell: str) -> np.ndarray:
    return np.array([float(part) for part in cell.split()])


@pytest.mark.parametrize("row", read_table("drift", "drift-statistics"))
def test_worked_statistics(row):
    found = drift_statistics(Reference.from_rows(values(row["reference"])), values(row["window"]))
    for column, figure in (
        ("KS", found.ks),
        ("W1", found.wasserstein),
        ("PSI", found.psi),
        ("JS", found.js),
        ("effect", found.effect),
        ("missing", found.missing),
    ):
        assert figure[0] == pytest.approx(number(row[column]), abs=6e-5), column


@pytest.mark.parametrize("row", read_table("drift", "drift-critical"))
def test_worked_critical_values(row):
    alpha, m, n = float(row["alpha"]), int(row["m"]), int(row["n"])
    critical = ks_critical(alpha, m, n)
    if row["critical KS"] == "never":
        assert critical == math.inf
        assert ks_p_value(1.0, m, n) > alpha
    else:
        assert critical == pytest.approx(float(row["critical KS"]), abs=6e-7)
        assert ks_p_value(critical, m, n) == pytest.approx(float(row["p-value there"]), abs=1e-6)


@pytest.mark.parametrize("row", read_table("drift", "drift-psi-noise"))
def test_psi_without_drift(row):
    rows = int(row["rows on each side"])
    assert psi_without_drift(10, rows, rows) == pytest.approx(float(row["PSI to expect without drift"]))
    rng = np.random.default_rng(5)
    found = [
        drift_statistics(Reference.from_rows(rng.normal(size=rows)), rng.normal(size=rows)).psi[0] for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(psi_without_drift(10, rows, rows), rel=0.15)
    assert 100 * np.mean(np.array(found) > 0.1) == pytest.approx(number(row["pairs above 0.1"]), abs=6)


samples = arrays(
    np.float64,
    st.integers(1, 120),
    elements=st.one_of(st.integers(-5, 5).map(float), st.floats(-1e3, 1e3).map(lambda x: round(x, 3))),
)


@given(samples, samples)
@settings(max_examples=150, deadline=None)
def test_equals_scipy(reference, window):
    found = drift_statistics(Reference.from_rows(reference), window)
    with warnings.catch_warnings(record=True) as gave_up:
        warnings.simplefilter("always")
        oracle = stats.ks_2samp(reference, window)
    assert found.ks[0] == pytest.approx(oracle.statistic, abs=1e-12)
    if not gave_up:  # SciPy falls back to the asymptotic value where its own exact one rounds above 1
        assert found.p_values()[0] == pytest.approx(oracle.pvalue, abs=1e-9)
    assert found.wasserstein[0] == pytest.approx(stats.wasserstein_distance(reference, window), rel=1e-9, abs=1e-9)
    edges = quantile_edges(np.sort(reference))
    p = np.bincount(np.searchsorted(edges, reference), minlength=edges.size + 1) / reference.size
    q = np.bincount(np.searchsorted(edges, window), minlength=edges.size + 1) / window.size
    assert found.js[0] == pytest.approx(float(np.nan_to_num(jensenshannon(p, q, base=2))), abs=1e-7)
    p, q = np.where(p > 0, p, 0.5 / reference.size), np.where(q > 0, q, 0.5 / window.size)
    assert found.psi[0] == pytest.approx(float(np.sum((q - p) * np.log(q / p))), abs=1e-9)


@pytest.mark.parametrize(("m", "n"), [(7411, 600), (5000, 5000), (20_000, 700), (15_000, 15_000), (9_999, 64)])
def test_large_samples_equal_scipy(m, n):
    rng = np.random.default_rng(m + n)
    reference, window = rng.normal(size=m), rng.normal(0.05, 1.1, size=n)
    found = drift_statistics(Reference.from_rows(reference), window)
    oracle = stats.ks_2samp(reference, window)
    assert found.ks[0] == pytest.approx(oracle.statistic, abs=1e-12)
    assert found.p_values()[0] == pytest.approx(oracle.pvalue, abs=1e-9)
    assert found.wasserstein[0] == pytest.approx(stats.wasserstein_distance(reference, window), abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.001, 0.01, 0.05, 0.2]))
@settings(max_examples=80, deadline=None)
def test_critical_value_is_the_same_decision_as_the_p_value(m, n, alpha):
    critical = ks_critical(alpha, m, n)
    lcm = math.lcm(m, n)
    for h in sorted(random.Random(m * n).sample(range(1, lcm + 1), min(lcm, 12))):
        p = ks_p_value(h / lcm, m, n)
        if abs(p - alpha) > 1e-12:
            assert bool(ks_exceeds(h / lcm, critical)) == (p <= alpha)


def test_verdicts_on_800_features_equal_the_p_value_decisions():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(300, 800))
    window = rng.normal(size=(200, 800)) + rng.uniform(0, 0.4, size=800)
    found = drift_statistics(Reference.from_rows(reference), window)
    decided = ks_exceeds(found.ks, found.critical_values(0.05))
    assert (decided == (found.p_values() <= 0.05)).all()
    assert 100 < decided.sum() < 700


def test_every_row_counts_in_ks_between_the_grid():
    reference = np.arange(10_000.0)
    window = np.sort(np.concatenate([np.arange(5_000.0), np.full(37, 4_321.5)]))
    expected = stats.ks_2samp(reference, window).statistic
    assert ks_sorted(reference, window) / (reference.size * window.size) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 128, 129, 1000])
def test_ks_at_the_edges_of_the_grid(rows):
    rng = np.random.default_rng(rows)
    for _ in range(20):
        reference, window = np.sort(rng.integers(0, 40, 300) / 4.0), np.sort(rng.integers(5, 45, rows) / 4.0)
        expected = stats.ks_2samp(reference, window).statistic
        assert ks_sorted(reference, window) / (300 * rows) == pytest.approx(expected, abs=1e-12)


@given(samples, samples, st.floats(0.1, 50), st.floats(-100, 100))
@settings(max_examples=60, deadline=None)
def test_scale_and_shift_change_nothing_but_the_unit(reference, window, scale, shift):
    before = drift_statistics(Reference.from_rows(reference), window)
    after = drift_statistics(Reference.from_rows(reference * 2**10), window * 2**10)
    assert after.ks[0] == before.ks[0]
    assert after.psi[0] == pytest.approx(before.psi[0])
    assert after.effect[0] == pytest.approx(before.effect[0])
    moved = drift_statistics(Reference.from_rows(reference * scale + shift), window * scale + shift)
    assert moved.wasserstein[0] == pytest.approx(before.wasserstein[0] * scale, rel=1e-6, abs=1e-6)


@given(samples)
@settings(max_examples=40, deadline=None)
def test_a_sample_does_not_drift_from_itself(sample):
    found = drift_statistics(Reference.from_rows(sample), sample[::-1])
    assert found.ks[0] == found.wasserstein[0] == found.psi[0] == found.js[0] == found.effect[0] == 0.0


def test_missing_values_are_left_out_and_counted():
    rng = np.random.default_rng(1)
    clean = rng.normal(size=(500, 2))
    dirty = np.vstack([clean, [[np.nan, np.inf], [np.nan, 0.5]]])
    reference = Reference.from_rows(rng.normal(size=(800, 2)), ["a", "b"])
    with_gaps, without = drift_statistics(reference, dirty), drift_statistics(reference, clean)
    assert with_gaps.rows.tolist() == [500, 501]
    assert with_gaps.missing == pytest.approx([2 / 502, 1 / 502])
    assert with_gaps.ks[0] == without.ks[0]
    assert with_gaps.wasserstein[0] == without.wasserstein[0]


def test_nothing_to_compare_is_not_measured():
    reference = Reference.from_rows(np.full((300, 1), np.nan))
    found = drift_statistics(reference, np.zeros((300, 1)))
    assert np.isnan(found.ks[0]) and np.isnan(found.effect[0]) and np.isnan(found.p_values()[0])
    verdict = judge(found)
    assert verdict.state is DriftState.NOT_MEASURED
    assert verdict.features[0].significant is None
    assert math.isnan(verdict.share)
    empty = drift_statistics(Reference.from_rows(np.zeros((300, 1))), np.empty((0, 1)))
    assert judge(empty).state is DriftState.NOT_MEASURED


def test_wrong_shapes_are_refused():
    reference = Reference.from_rows(np.zeros((10, 3)))
    with pytest.raises(ValueError, match="3"):
        drift_statistics(reference, np.zeros((10, 2)))
    with pytest.raises(ValueError, match="names"):
        Reference.from_rows(np.zeros((10, 3)), ["one"])
    with pytest.raises(ValueError, match="shape"):
        Reference.from_rows(np.zeros((2, 2, 2)))
    for wrong in ({"alpha": 0.0}, {"effect": -1.0}, {"share": 0.0}, {"min_rows": 0}):
        with pytest.raises(ValueError):
            DriftLimits(**wrong)
    for alpha, m, n in ((0.0, 5, 5), (1.0, 5, 5), (0.05, 0, 5)):
        with pytest.raises(ValueError):
            ks_critical(alpha, m, n)


def test_a_reference_cannot_be_changed_and_does_not_follow_its_source():
    source = np.arange(20.0)
    reference = Reference.from_rows(source)
    source[:] = 0.0
    assert reference.columns[0].values[-1] == 19.0
    with pytest.raises(ValueError, match="read-only"):
        reference.columns[0].values[0] = 1.0


def made_statistics(row: dict[str, str]) -> DriftStatistics:
    size = int(row["values"])
    critical = ks_critical(0.05, 2000, size)
    ks = critical + 0.01 if row["significant"] == "yes" else critical - 0.01
    one = np.ones(1)
    return DriftStatistics(
        names=("x",),
        rows=np.array([size]),
        reference_rows=np.array([2000]),
        missing=one * float(row["missing rose by"]),
        reference_missing=one * 0.0,
        ks=one * ks,
        wasserstein=one,
        psi=one,
        js=one,
        effect=one * float(row["effect"]),
        mean_shift=one,
    )


@pytest.mark.parametrize("row", read_table("drift", "drift-verdict"))
def test_worked_verdicts(row):
    natural = None if row["natural"] == "-" else np.array([float(row["natural"])])
    verdict = judge(made_statistics(row), season=Season(row["season"]), natural=natural)
    assert verdict.features[0].state == row["verdict"]
    assert verdict.features[0].reason == row["why"]
    assert verdict.state == row["verdict"]


def test_the_window_drifts_when_enough_of_its_measured_features_do():
    rng = np.random.default_rng(3)
    reference = Reference.from_rows(rng.normal(size=(1000, 10)))
    window = rng.normal(size=(600, 10))
    window[:, :2] += 2.0
    window[:, 9] = np.nan
    verdict = feature_drift(reference, window, DriftLimits(share=0.31))
    assert (verdict.measured, verdict.drifted) == (10, 3)
    assert verdict.state is DriftState.STABLE
    assert feature_drift(reference, window, DriftLimits(share=0.3)).state is DriftState.DRIFTED
    assert verdict.worst().name in {"feature 0", "feature 1"}
    assert verdict.features[9].reason == "missing values rose above the limit"


def test_bonferroni_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(11)
    limits = DriftLimits(effect=0.0, share=0.001)
    false = 0
    for _ in range(200):
        reference = Reference.from_rows(rng.normal(size=(300, 20)))
        false += feature_drift(reference, rng.normal(size=(300, 20)), limits).state is DriftState.DRIFTED
    assert false <= 22


def test_effect_of_a_constant_reference_is_finite():
    assert effect_size(0.0, std=0.0) == 0.0
    assert effect_size(3.0, std=0.0, mean=1.0, current_std=0.0, current_mean=4.0) == pytest.approx(2.0)


def test_psi_of_an_empty_bin_counts_half_a_row():
    assert population_stability(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 10, 10) == pytest.approx(
        (0.5 - 1.0) * math.log(0.5 / 1.0) + (0.5 - 0.05) * math.log(0.5 / 0.05)
    )


def test_classes_of_labels():
    stable = category_drift(["ok"] * 900 + ["bad"] * 100, ["ok"] * 182 + ["bad"] * 18)
    assert stable.state is DriftState.STABLE
    table = np.array([[100, 900], [18, 182]])
    assert stable.chi_square == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    moved = category_drift(["ok"] * 900 + ["bad"] * 100, ["ok"] * 150 + ["bad"] * 40 + ["new"] * 10)
    assert moved.state is DriftState.DRIFTED
    assert moved.categories == ("bad", "new", "ok")
    assert moved.greatest_change == pytest.approx(0.15)
    small = category_drift(["ok"] * 90_000 + ["bad"] * 10_000, ["ok"] * 88_000 + ["bad"] * 12_000)
    assert small.state is DriftState.STABLE
    assert small.reason == "significant but small"
    few = category_drift(["ok"] * 900, ["bad"] * 9)
    assert few.state is DriftState.NOT_MEASURED
    assert few.reason == "9 labels, 100 needed"
    assert category_drift(["ok"] * 100, ["ok"] * 100).state is DriftState.STABLE
    assert category_drift([], []).state is DriftState.NOT_MEASURED


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 7), (12, 12), (30, 47), (60, 900), (1500, 1500), (9000, 650)])
def test_both_sweeps_over_the_lattice_agree(m, n):
    lcm = math.lcm(m, n)
    for share in (0.001, 0.01, 0.03, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0):
        h = max(1, round(share * lcm))
        assert _tail_quickly(m, n, h) == pytest.approx(_outside_probability(m, n, h), abs=1e-11)
        assert _tail_quickly(n, m, h) == pytest.approx(_tail_quickly(m, n, h), abs=1e-11)


@pytest.mark.parametrize("h", [20, 193, 270, 400, 5000])
def test_both_sweeps_agree_on_the_largest_exact_samples(h):
    assert _tail_quickly(10_000, 10_000, h) == pytest.approx(_outside_probability(10_000, 10_000, h), abs=1e-11)
