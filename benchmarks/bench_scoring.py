"""Ranking methods and cash flows: ours against scikit-criteria, pymcdm, pySensMCDA and numpy-financial.

    python -m benchmarks.bench_scoring

Every peer gets the same data in one run, on one thread, and its answers are compared with ours: identical ranks for TOPSIS,
identical acceptabilities for SMAA under the same weightings, flows and rates to the difference shown.

Times are processor time, so that other work on the machine does not count, and the best of several runs on both sides (a peer that takes seconds
runs once or twice). The slider's answer is wall time: the median of requests through Django's test client in a process of its own, from
the request to the bytes, and the page with its charts' figures; with the memory of that process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SEED = 20260101
REQUESTS = 15
LOOP_DRAWS = 1_000  # the one-by-one loop is measured on a tenth of the draws and scaled, or it would run for minutes
WRONG_CASES = (
    [-50.0, -100.0, 600.0, 300.0, -100.0],
    [-1678.87, 771.96, 1814.05, 3520.30, 3552.95, 3584.99, 4789.91, -1.0],
)


def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1,000 alternatives x 10 criteria, weights, and which criteria are benefits."""
    rng = np.random.default_rng(SEED)
    return rng.uniform(1, 100, (1000, 10)), rng.dirichlet(np.ones(10)), np.arange(10) % 3 != 0


def cases() -> tuple[np.ndarray, np.ndarray]:
    """200 alternatives x 10 values in 0..1, and 10,000 weightings."""
    rng = np.random.default_rng(SEED + 1)
    return rng.random((200, 10)), rng.dirichlet(np.ones(10), 10_000)


def flows() -> np.ndarray:
    """10,000 investments over 20 periods: paid at the start, earning or losing a little in each period."""
    rng = np.random.default_rng(SEED + 2)
    cf = rng.uniform(-5, 60, (10_000, 21))
    cf[:, 0] = -rng.uniform(50, 400, 10_000)
    return cf


def seconds(work: Callable[[], object], repeat: int, *, warm: int = 1) -> float:
    """Best processor time of ``repeat`` runs, after ``warm`` that do not count."""
    for _ in range(warm):
        work()
    taken = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def run_in_peer(peer: str, folder: Path) -> dict[str, float]:
    """Runs in the peer's own environment: times on the last line, answers as .npy beside it."""
    return {"pymcdm": _pymcdm, "skcriteria": _skcriteria, "pysensmcda": _pysensmcda, "numpyfinancial": _npf}[peer](
        folder
    )


def _pymcdm(folder: Path) -> dict[str, float]:
    from pymcdm.helpers import rankdata
    from pymcdm.methods import PROMETHEE_II, TOPSIS, WSM
    from pymcdm.normalizations import vector_normalization

    x, w, benefit = table()
    types = np.where(benefit, 1, -1)
    # Costs keep their scale and change sides, as ours do: handed over negated, as benefits.
    signed, ones = np.where(benefit, x, -x), np.ones(10)

    def vector(column: np.ndarray, cost: bool = False) -> np.ndarray:
        return vector_normalization(column, cost=False)

    topsis = TOPSIS(vector)
    np.save(folder / "pymcdm-topsis.npy", topsis(signed, w, ones))
    promethee = PROMETHEE_II("usual")
    np.save(folder / "pymcdm-promethee.npy", promethee(x, w, types))
    values, weights = cases()
    m = len(values)
    counts = np.zeros((m, m))
    weighted_sum = WSM(lambda column, cost=False: column)

    def loop() -> None:
        for drawn in weights[:LOOP_DRAWS]:
            ranks = rankdata(weighted_sum(values, drawn, ones), reverse=True).astype(int)
            counts[np.arange(m), ranks - 1] += 1

    return {
        "topsis": seconds(lambda: rankdata(topsis(signed, w, ones), reverse=True), 15),
        "promethee": seconds(lambda: promethee(x, w, types), 2, warm=0),
        "smaa_loop": seconds(loop, 1, warm=0) * len(weights) / LOOP_DRAWS,
    }


def _skcriteria(folder: Path) -> dict[str, float]:
    import skcriteria
    from skcriteria.agg.topsis import TOPSIS
    from skcriteria.pipelines import mkpipe
    from skcriteria.preprocessing.invert_objectives import NegateMinimize
    from skcriteria.preprocessing.scalers import SumScaler, VectorScaler

    x, w, benefit = table()
    objectives = [max if b else min for b in benefit]
    # The steps ours takes too: turn costs round by their sign, normalise weights and matrix, measure, rank.
    steps = mkpipe(NegateMinimize(), SumScaler(target="weights"), VectorScaler(target="matrix"), TOPSIS())

    def from_arrays() -> np.ndarray:
        return steps.evaluate(skcriteria.mkdm(x, objectives, weights=w)).rank_

    np.save(folder / "skcriteria-ranks.npy", from_arrays())
    data = skcriteria.mkdm(x, objectives, weights=w)
    return {"topsis": seconds(from_arrays, 51), "evaluate": seconds(lambda: steps.evaluate(data).rank_, 51)}


def _pysensmcda(folder: Path) -> dict[str, float]:
    from pysensmcda.smaa import smaa2

    values, weights = cases()

    def weighted_sum(matrix: np.ndarray, drawn: np.ndarray, types: np.ndarray) -> np.ndarray:
        return matrix @ drawn

    def run() -> np.ndarray:
        return smaa2(weighted_sum, values, np.ones(10), weights=weights, reverse_ranking=True).rank_acceptability

    np.save(folder / "pysensmcda-acceptability.npy", run())
    return {"smaa": seconds(run, 5, warm=0)}


def _npf(folder: Path) -> dict[str, float]:
    import numpy_financial as npf

    cf = flows()
    np.save(folder / "npf-irr.npy", np.array([npf.irr(row) for row in cf]))
    taken = seconds(lambda: [npf.irr(row) for row in cf], 2, warm=0)
    np.save(folder / "npf-wrong.npy", np.array([npf.irr(row) for row in WRONG_CASES]))
    return {"irr": taken}


def answer_a_slider() -> dict[str, float]:
    """Runs in a process of its own: a workshop of 30 x 12 in SQLite, and what a moved slider and the whole page take."""
    import resource
    from types import SimpleNamespace

    import django

    django.setup()
    from django.test import Client
    from django.urls import reverse

    from tests.factories import make_user
    from tests.usecases.workshop import thirty_by_twelve

    people = {name: make_user(f"{name}@bench.example") for name in ("plant_manager", "ot_engineer", "data_scientist")}
    lead = make_user("lead@bench.example", is_superuser=True)
    measured = {}
    for state, close in (("revealed", False), ("closed", True)):
        meeting = thirty_by_twelve(SimpleNamespace(coe_lead=lead, **people), close=close)
        client = Client()
        client.force_login(lead, backend="django.contrib.auth.backends.ModelBackend")
        address = reverse("usecases:round-ranking", args=[meeting.pk])
        for kind, headers in (("slider", {"Accept": "application/json"}), ("page", {"Accept": "text/html"})):
            taken = []
            for n in range(REQUESTS):
                query = {"roi": 20 + 3 * n, "feasibility": 30, "data": 50 - n}
                start = time.perf_counter()
                answer = client.get(address, query, headers=headers)
                taken.append(time.perf_counter() - start)
                assert answer.status_code == 200, answer.status_code
            measured[f"{state}_{kind}"] = statistics.median(taken)
    return measured | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def in_own_process() -> dict[str, float]:
    """`answer_a_slider` with a home and a database that are thrown away."""
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as home:
        foreign = ("PHASEGATE_", "DATABASE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            "PHASEGATE_HOME": home,
            "PHASEGATE_TESTING": "1",
            "PHASEGATE_ALLOWED_HOSTS": "testserver",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
        }
        for arguments in (["-m", "django", "migrate", "-v0"], ["-m", "benchmarks.bench_scoring", "--slider"]):
            command = [sys.executable, "-W", "ignore", *arguments]
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise SystemExit(f"the slider could not be asked:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    from benchmarks.runner import ROOT, Row, report, run_peer
    from usecases.domain.cash_flow import irr, npv
    from usecases.domain.outranking import promethee, topsis
    from usecases.domain.robustness import assess, smaa
    from usecases.domain.scoring import CriteriaTree, SubCriterion, TopCriterion, ranking

    folder = ROOT / "build" / "bench-scoring"
    folder.mkdir(parents=True, exist_ok=True)
    names = ("pymcdm", "skcriteria", "pysensmcda", "numpyfinancial")
    peer = {name: run_peer(name, __file__, "--peer", name, "--folder", str(folder)) for name in names}
    x, w, benefit = table()
    closeness = topsis(x, w, benefit)
    # Many calls at once: one alone is shorter than what the clock of processor time tells apart.
    topsis_seconds = seconds(lambda: [ranking(topsis(x, w, benefit)) for _ in range(20)], 21) / 20
    ranks = ranking(closeness).rank
    same = (ranking(np.load(folder / "pymcdm-topsis.npy")).rank == ranks).all()
    same &= (np.load(folder / "skcriteria-ranks.npy") == ranks).all()
    flow_gap = float(np.abs(promethee(x, w, benefit) - np.load(folder / "pymcdm-promethee.npy")).max())
    promethee_seconds = seconds(lambda: [promethee(x, w, benefit) for _ in range(20)], 11) / 20
    values, weights = cases()
    acceptability = smaa(values, weights).acceptability
    smaa_seconds = seconds(lambda: smaa(values, weights), 15)
    smaa_gap = float(np.abs(acceptability - np.load(folder / "pysensmcda-acceptability.npy")).max())
    cf = flows()
    found = irr(cf)
    irr_seconds = seconds(lambda: irr(cf), 15)
    theirs = np.load(folder / "npf-irr.npy")
    both = ~np.isnan(found.rate) & ~np.isnan(theirs)
    irr_gap = float(np.abs(found.rate[both] - theirs[both]).max())
    residual = max(abs(float(npv(row, r))) for row, r in zip(cf[both][:500], found.rate[both][:500], strict=True))
    ours_wrong = [irr(row).rate[0] for row in WRONG_CASES]

    tops = tuple(
        TopCriterion(f"t{t}", weight, tuple(SubCriterion(f"t{t}s{s}", 1 + s) for s in range(4)))
        for t, weight in enumerate((50, 30, 20))
    )
    tree, ratings = CriteriaTree(tops), np.random.default_rng(SEED + 3).uniform(0, 5, (30, 12))
    slider = in_own_process()
    rerank = seconds(lambda: assess(tree, ratings, [f"u{i}" for i in range(30)]), 9)

    rows = [
        Row("TOPSIS + ranks, 1,000 x 10", topsis_seconds, peer["skcriteria"]["topsis"], "scikit-criteria", required=30),
        Row("the same, its matrix built before", topsis_seconds, peer["skcriteria"]["evaluate"], "scikit-criteria"),
        Row("TOPSIS + ranks, 1,000 x 10", topsis_seconds, peer["pymcdm"]["topsis"], "pymcdm", required=30),
        Row("PROMETHEE II, 1,000 x 10", promethee_seconds, peer["pymcdm"]["promethee"], "pymcdm", required=50),
        Row("largest difference of its flows", flow_gap, 1e-12, "limit", unit="", required=1),
        Row("SMAA 10,000 x 200 x 10", smaa_seconds, peer["pysensmcda"]["smaa"], "pySensMCDA", required=5),
        Row("SMAA 10,000 x 200 x 10", smaa_seconds, peer["pymcdm"]["smaa_loop"], "pymcdm loop", required=80),
        Row("largest difference of acceptability", smaa_gap, 1e-12, "limit", unit="", required=1),
        Row("IRR of 10,000 rows", irr_seconds, peer["numpyfinancial"]["irr"], "numpy-financial", required=20),
        Row("ranking 30 x 12, 10,000 draws", rerank, 0.3, "limit"),
        Row("a slider's answer, 30 x 12, round revealed", slider["revealed_slider"], 0.3, "limit", required=1),
        Row("the page with these weights", slider["revealed_page"], 0.3, "limit", required=1),
        Row("a slider's answer, 30 x 12, round closed", slider["closed_slider"], 0.3, "limit", required=1),
        Row("the page with these weights", slider["closed_page"], 0.3, "limit", required=1),
        Row("most memory of that process", slider["memory_mb"], 200, "limit", unit="MB", required=1),
    ]
    wrong = ", ".join(f"{r:.5f}" for r in np.load(folder / "npf-wrong.npy"))
    notes = [
        f"TOPSIS ranks identical: {bool(same)}",
        f"IRR found in {int(both.sum())} rows by both, largest difference {irr_gap:.1e}, NPV residual {residual:.1e}",
        f"two cases numpy-financial gets wrong: ours {ours_wrong[0]:.5f} (no single rate), {ours_wrong[1]:.5f};"
        f" theirs {wrong}",
        "processor time, the best of several runs; slider and page: wall time, the median of "
        f"{REQUESTS} requests through Django's test client",
        f"the pymcdm loop was measured on {LOOP_DRAWS:,} draws and scaled",
    ]
    code = report("scoring, one thread", rows, notes=notes)
    return code if same else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--slider", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.slider:
        print(json.dumps(answer_a_slider()))
        sys.exit(0)
    if chosen.peer:
        print(json.dumps(run_in_peer(chosen.peer, chosen.folder)))
        sys.exit(0)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    sys.exit(main())
