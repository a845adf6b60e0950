"""Reproduces the tables of docs/algorithms/retraining.md from the gas-turbine data, in one process.

python -m benchmarks.retraining_table            prints them
python -m benchmarks.retraining_table --write    puts them into the document as well
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from governance.domain.closed_loop import Predict, replay
from governance.domain.concept import ConceptWindows, Measure, concept_limit
from governance.domain.retraining import (
    AlertOpened,
    AlertRenewed,
    ChallengerAccepted,
    ChallengerRefused,
    Decision,
    Floats,
    RetrainingConfig,
    RetrainingPolicy,
    calibrate,
    recency_weights,
)

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "edge_bridge/demo/data/gas_turbine_2011_2014.csv.gz"
DOCUMENT = ROOT / "docs/algorithms/retraining.md"
INPUTS = ("AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP")
DELAY = 24


def boosted_trees(inputs: Floats, labels: Floats, weights: Floats | None = None) -> Predict:
    """The soft sensor's model with scikit-learn's defaults."""
    return HistGradientBoostingRegressor(random_state=0).fit(inputs, labels, sample_weight=weights).predict


def r2(labels: Floats, predictions: Floats) -> float:
    """Coefficient of determination over these rows."""
    return float(1.0 - np.square(labels - predictions).sum() / np.square(labels - labels.mean()).sum())


@dataclass
class Turbine:
    """The data by year; `start` and `boundary` are the first rows of 2013 and 2014. Trainings are remembered."""

    inputs: Floats
    labels: Floats
    year: Floats
    fits: dict[tuple[bytes, int, bytes], Predict] = field(default_factory=dict)

    @property
    def start(self) -> int:
        return int(np.searchsorted(self.year, 2013))

    @property
    def boundary(self) -> int:
        return int(np.searchsorted(self.year, 2014))

    def fit(self, inputs: Floats, labels: Floats, weights: Floats) -> Predict:
        key = (inputs[0].tobytes() + inputs[-1].tobytes(), len(inputs), weights.tobytes())
        if key not in self.fits:
            self.fits[key] = boosted_trees(inputs, labels, weights)
        return self.fits[key]

    def trained_on(self, years: tuple[int, ...]) -> Predict:
        rows = np.isin(self.year, years)
        return boosted_trees(self.inputs[rows], self.labels[rows])

    def out_of_fold(self, train: int, score: int) -> tuple[Floats, Floats]:
        """Labels and predictions of year `score` by a model of year `train`."""
        rows = self.year == score
        return self.labels[rows], self.trained_on((train,))(self.inputs[rows])

    def scores(self, predictions: Floats) -> tuple[float, float]:
        """R2 over 2013 and over 2014."""
        s, b = self.start, self.boundary
        return r2(self.labels[s:b], predictions[s:b]), r2(self.labels[b:], predictions[b:])


def load() -> Turbine:
    """Read the data; rows in order of plant time."""
    with gzip.open(DATA, "rt") as file:
        raw = np.genfromtxt(file, delimiter=",", names=True)
    return Turbine(np.column_stack([raw[name] for name in INPUTS]), np.asarray(raw["NOX"]), np.asarray(raw["year"]))


@dataclass(frozen=True)
class Result:
    """One scheme over 2013-14. `found`: rows from the boundary to the first alarm after it, None if none came."""

    r2_2013: float
    r2_2014: float
    accepted: int
    refused: int
    found: int | None
    fits: int
    decisions: tuple[Decision, ...] = ()

    def cells(self) -> str:
        found = "-" if self.found is None else f"{self.found}"
        return (
            f"{self.r2_2013:.2f} | {self.r2_2014:.2f} | {self.accepted + self.refused} "
            f"| {self.accepted} | {self.refused} | {found}"
        )


def closed_loop(
    data: Turbine,
    config: RetrainingConfig | None = None,
    *,
    label_delay: int = DELAY,
    rollout_delay: int = DELAY,
    champion: Predict | None = None,
    fold: tuple[Floats, Floats] | None = None,
) -> Result:
    """The loop of the document over 2013-14."""
    config = config or RetrainingConfig()
    labels, predictions = fold or data.out_of_fold(2011, 2012)
    policy = RetrainingPolicy(config, calibrate(labels, predictions, config), start=data.start)
    run = replay(
        policy,
        data.inputs,
        data.labels,
        data.fit,
        champion or data.trained_on((2011, 2012)),
        label_delay=label_delay,
        rollout_delay=rollout_delay,
    )
    alarms = [d.row - data.boundary for d in run.decisions if isinstance(d, AlertOpened | AlertRenewed)]
    found = next((late for late in alarms if late >= 0), None)
    accepted = sum(isinstance(d, ChallengerAccepted) for d in run.decisions)
    refused = sum(isinstance(d, ChallengerRefused) for d in run.decisions)
    return Result(*data.scores(run.predictions), accepted, refused, found, run.fits, run.decisions)


def unchecked(data: Turbine, due: Callable[[int, float], bool], rollout_delay: int) -> Result:
    """Retrain whenever `due(row, error)` says so, on the last 5,000 labelled rows, unweighted, without any check."""
    champion = data.trained_on((2011, 2012))
    predictions = champion(data.inputs)
    trained: list[int] = []
    for n in range(data.start + DELAY, len(data.labels)):
        row = n - DELAY
        if due(row, float(data.labels[row] - predictions[row])):
            last = slice(row + 1 - 5000, row + 1)
            champion = boosted_trees(data.inputs[last], data.labels[last])
            first = n + 1 + rollout_delay
            predictions[first:] = champion(data.inputs[first:])
            trained.append(row - data.boundary)
    return Result(*data.scores(predictions), len(trained), 0, next((r for r in trained if r >= 0), None), len(trained))


def window_alarm(data: Turbine) -> Callable[[int, float], bool]:
    """Due when a window's RMSE passes the out-of-fold mean plus three sigma; windows start anew after that."""
    labels, predictions = data.out_of_fold(2011, 2012)
    windows = ConceptWindows(concept_limit(labels - predictions, measure=Measure.RMSE))

    def due(row: int, error: float) -> bool:
        fired = any(window.level > windows.limit.open_above for window in windows.update(error))
        if fired:
            windows.restart(alarm=False)
        return fired

    return due


def memory_table(data: Turbine) -> list[str]:
    """The choice of the weights' memory on 2011-12 alone: retrained every 600 rows, scored ahead."""
    lines = ["| memory (rows) | R2 of 2011-12, prequential |", "|---|---|"]
    inputs, labels = data.inputs[: data.start], data.labels[: data.start]
    for memory in (500.0, 1000.0, 2000.0, np.inf):
        predictions = np.full(len(labels), np.nan)
        for n in range(5000 + DELAY, len(labels), 600):
            last = slice(max(0, n + 1 - DELAY - 5000), n + 1 - DELAY)
            weights = recency_weights(last.stop - last.start, memory)
            model = data.fit(inputs[last], labels[last], weights)
            ahead = slice(n + 1 + DELAY, n + 1 + DELAY + 600)
            if ahead.start < len(labels):
                predictions[ahead] = model(inputs[ahead])
        scored = np.isfinite(predictions)
        name = "all rows alike" if np.isinf(memory) else f"{memory:,.0f}"
        lines.append(f"| {name} | {r2(labels[scored], predictions[scored]):.3f} |")
    return lines


def scheme_table(data: Turbine) -> list[str]:
    """Schemes side by side."""
    frozen = data.scores(data.trained_on((2011, 2012))(data.inputs))
    rows = {
        "frozen": Result(*frozen, 0, 0, None, 0),
        "window alarm alone, no check": unchecked(data, window_alarm(data), DELAY),
        "every 300 rows, in force at once": unchecked(data, lambda row, _: (row + 1 - data.start) % 300 == 0, 0),
        "every 300 rows": unchecked(data, lambda row, _: (row + 1 - data.start) % 300 == 0, DELAY),
        "**this loop**": closed_loop(data),
    }
    head = ["| scheme | R2 2013 | R2 2014 | retrainings | accepted | refused | boundary found after rows |"]
    return [*head, "|---|---|---|---|---|---|---|", *(f"| {name} | {row.cells()} |" for name, row in rows.items())]


VARIANTS: tuple[tuple[str, dict[str, float], dict[str, int]], ...] = (
    ("as above", {}, {}),
    ("allowance 0.4", {"allowance": 0.4}, {}),
    ("allowance 1.0", {"allowance": 1.0}, {}),
    ("cap 4", {"cap": 4.0}, {}),
    ("headroom 1.1", {"headroom": 1.1}, {}),
    ("headroom 1.4", {"headroom": 1.4}, {}),
    ("same scale at every level", {"proportional": False}, {}),
    ("memory 700", {"memory": 700.0}, {}),
    ("memory 1,500", {"memory": 1500.0}, {}),
    ("all rows alike", {"memory": 1e12}, {}),
    ("5,500 training rows", {"train_rows": 5500}, {}),
    ("holdout 150", {"holdout": 150}, {}),
    ("evidence 150", {"evidence": 150}, {}),
    ("in force at once", {}, {"rollout_delay": 0}),
    ("in force after 48 rows", {}, {"rollout_delay": 48}),
    ("in force after 96 rows", {}, {"rollout_delay": 96}),
    ("labels 48 rows late", {}, {"label_delay": 48}),
)


def sensitivity_table(data: Turbine) -> list[str]:
    """One setting changed at a time, and a closing line with the spread."""
    champion, fold = data.trained_on((2011, 2012)), data.out_of_fold(2011, 2012)
    lines = ["| changed | R2 2013 | R2 2014 | retrainings | accepted | refused | boundary found after rows |"]
    lines.append("|---|---|---|---|---|---|---|")
    results = []
    for name, settings, delays in VARIANTS:
        results.append(closed_loop(data, RetrainingConfig(**settings), champion=champion, fold=fold, **delays))
        lines.append(f"| {name} | {results[-1].cells()} |")
    scores = np.array([each.r2_2014 for each in results])
    runs = [each.accepted + each.refused for each in results]
    found = sum(each.found is not None and each.found <= 600 for each in results)
    lines += [
        "",
        f"R2 of 2014 over the {len(results)} lines: lowest {scores.min():.2f}, median {np.median(scores):.2f}, highest "
        f"{scores.max():.2f}; {min(runs)} to {max(runs)} retrainings; boundary found within 600 rows in {found}.",
    ]
    return lines


def false_alarm_table(data: Turbine) -> list[str]:
    """Alerts of a model left alone for a year that the limits have and have not seen."""
    config = RetrainingConfig()
    limits = calibrate(*data.out_of_fold(2011, 2012), config)
    lines = ["| trained | scored | alerts |", "|---|---|---|"]
    for train, score in ((2011, 2012), (2012, 2011)):
        policy = RetrainingPolicy(config, limits)
        opened = [d for d in policy.observe(0, *data.out_of_fold(train, score)) if isinstance(d, AlertOpened)]
        lines.append(f"| {train} | {score} | {len(opened)} |")
    return lines


def decision_table(data: Turbine) -> list[str]:
    """Every decision of the loop over 2013-14, rows counted from the boundary."""
    lines = ["| row from boundary | decision | figures |", "|---|---|---|"]
    for each in closed_loop(data).decisions:
        if isinstance(each, ChallengerAccepted | ChallengerRefused):
            figures = f"held-out RMSE {each.challenger:.1f} against {each.incumbent:.1f} of the incumbent"
        elif hasattr(each, "value"):
            figures = f"{each.value:.2f} against {each.limit:.2f}"
        else:
            continue
        name = type(each).__name__
        if isinstance(each, AlertOpened | AlertRenewed):
            name += f" ({each.detector.value})"
        lines.append(f"| {each.row - data.boundary:+,} | {name} | {figures} |")
    return lines


def main() -> None:
    began = time.perf_counter()
    data = load()
    tables = {}
    with threadpool_limits(limits=1):
        for name, make in (
            ("schemes", scheme_table),
            ("decisions", decision_table),
            ("false alarms", false_alarm_table),
            ("memory", memory_table),
            ("sensitivity", sensitivity_table),
        ):
            tables[name] = make(data)
            print("\n".join([f"{name}:", *tables[name], ""]), flush=True)
    if "--write" in sys.argv[1:]:
        text = DOCUMENT.read_text()
        for name, lines in tables.items():
            before, rest = text.split(f"<!-- {name} -->\n", 1)
            _, after = rest.split(f"<!-- end of {name} -->", 1)
            text = before + f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- end of {name} -->" + after
        DOCUMENT.write_text(text)
    print(f"{time.perf_counter() - began:.0f} s, {len(data.fits)} different trainings")


if __name__ == "__main__":
    main()
