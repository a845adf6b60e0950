"""Drift statistics of 50 features x 100,000 rows: ours against Evidently's DataDriftPreset and a SciPy loop.

    python -m benchmarks.bench_drift

Ours: all four statistics, verdicts by critical value, reference sorted beforehand (as it is kept in service). The
preset computes one statistic per feature (Wasserstein at this size) with its report. One thread, one run, same data.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

SEED = 20260101


def samples(rows: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference and window of shape (rows, features); every fifth feature of the window is shifted by 0.3 sigma."""
    rng = np.random.default_rng(SEED)
    reference = rng.normal(size=(rows, features))
    window = rng.normal(size=(rows, features))
    window[:, ::5] += 0.3
    return reference, window


def evidently_seconds(rows: int, features: int) -> dict[str, float]:
    """Runs in Evidently's own environment: median of three reports, and how many features it calls drifted."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    reference, window = samples(rows, features)
    names = [f"f{j}" for j in range(features)]
    old, new = pd.DataFrame(reference, columns=names), pd.DataFrame(window, columns=names)
    Report([DataDriftPreset()]).run(new.head(2000), old.head(2000))
    taken, drifted = [], -1.0
    for _ in range(3):
        start = time.perf_counter()
        snapshot = Report([DataDriftPreset()]).run(new, old)
        taken.append(time.perf_counter() - start)
        for metric in snapshot.dict()["metrics"]:
            if isinstance(metric["value"], dict) and "count" in metric["value"]:
                drifted = float(metric["value"]["count"])
    return {"seconds": sorted(taken)[1], "drifted": drifted}


def main() -> int:
    from scipy import stats
    from scipy.spatial.distance import jensenshannon

    from benchmarks.runner import Row, median_seconds, report, run_peer
    from governance.domain.drift import drift_statistics, judge
    from governance.domain.reference import Reference, bin_shares
    from governance.domain.streaming import PageHinkley

    arguments = _arguments()
    rows, features = arguments.rows, arguments.features
    reference, window = samples(rows, features)
    build = median_seconds(lambda: Reference.from_rows(reference), repeat=3)
    prepared = Reference.from_rows(reference)
    ours = median_seconds(lambda: judge(drift_statistics(prepared, window)), repeat=7)
    statistics = drift_statistics(prepared, window)
    p_values: list[np.ndarray] = []
    with_p = ours + median_seconds(lambda: p_values.append(statistics.p_values()), repeat=3)

    start = time.perf_counter()
    worst = 0.0
    for j in range(features):
        ks = stats.ks_2samp(reference[:, j], window[:, j])
        distance = stats.wasserstein_distance(reference[:, j], window[:, j])
        edges = prepared.edges[j]
        p = np.bincount(np.searchsorted(edges, reference[:, j]), minlength=edges.size + 1) / rows
        q = np.bincount(np.searchsorted(edges, window[:, j]), minlength=edges.size + 1) / rows
        psi = float(np.sum((q - p) * np.log(q / p)))
        js = float(jensenshannon(p, q, base=2))
        theirs = (ks.statistic, ks.pvalue, distance, psi, js)
        mine = (statistics.ks[j], p_values[-1][j], statistics.wasserstein[j], statistics.psi[j], statistics.js[j])
        worst = max(worst, *(abs(a - b) for a, b in zip(mine, theirs, strict=True)))
        if not np.allclose(bin_shares(np.sort(window[:, j]), edges), q):
            raise SystemExit("bins differ")
    scipy_seconds = time.perf_counter() - start

    streams = np.random.default_rng(SEED).normal(size=(200, 8000))
    bank = PageHinkley(streams.shape[1])
    per_second = streams.size / median_seconds(lambda: bank.update_many(streams), repeat=3)

    table = [
        Row("KS, W1, PSI, JS, verdicts", ours, scipy_seconds, "SciPy loop, all four", required=1.0),
        Row("the same with p-values", with_p, scipy_seconds, "SciPy loop, all four"),
        Row("preparing the reference, once", build, scipy_seconds, "SciPy loop, all four"),
        Row("largest difference from SciPy", worst, 1e-9, "limit", unit="", required=1.0),
        Row(
            "Page-Hinkley, 8,000 streams", per_second, _river_per_second(), "river, one stream", "values/s",
            higher_is_better=True, required=1.0,
        ),
    ]  # fmt: skip
    notes = [f"features drifted, ours: {int(np.sum(statistics.effect > 0.1))} with effect above 0.1"]
    if not arguments.no_peer:
        peer = run_peer("evidently", __file__, "--peer", f"--rows={rows}", f"--features={features}")
        full = (rows, features) == (100_000, 50)
        table.insert(
            0,
            Row(
                "KS, W1, PSI, JS, verdicts", ours, peer["seconds"], "Evidently DataDriftPreset",
                required=40.0 if full else None,
            ),
        )  # fmt: skip
        notes.append(f"features drifted, Evidently: {int(peer['drifted'])} (Wasserstein / std >= 0.1)")
    return report(f"drift: {features} features x {rows:,} rows, one thread", table, notes=notes)


def _river_per_second() -> float:
    from river.drift import PageHinkley as One

    values = np.random.default_rng(SEED).normal(size=100_000).tolist()
    one = One()
    start = time.perf_counter()
    for value in values:
        one.update(value)
    return len(values) / (time.perf_counter() - start)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--no-peer", action="store_true", help="leave Evidently out")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _arguments()
    if chosen.peer:
        print(json.dumps(evidently_seconds(chosen.rows, chosen.features)))
        sys.exit(0)
    sys.exit(main())
