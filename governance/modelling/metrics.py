"""Figures that say how good a model is; every one is a plain float."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class RegressionMetrics:
    """r2 has no unit; mae, rmse and bias (mean of actual - predicted) have the target's unit."""

    r2: float
    mae: float
    rmse: float
    bias: float
    rows: int

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


@dataclass(frozen=True)
class DetectionMetrics:
    """Rows judged against labels: shares in 0..1, and the counts they come from."""

    detection_rate: float
    false_alarm_rate: float
    precision: float
    f1: float
    faulty_rows: int
    healthy_rows: int

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


def regression_metrics(actual: ArrayLike, predicted: ArrayLike) -> RegressionMetrics:
    """Compare two vectors of one length >= 1.

    r2 = 1 - sum(residual^2) / sum((actual - mean)^2); 0 for a constant actual that is missed, 1 when it is met exactly.
    bias = mean(actual - predicted): negative when the model reads too high.
    """
    truth = np.asarray(actual, dtype=np.float64).ravel()
    guess = np.asarray(predicted, dtype=np.float64).ravel()
    if truth.size == 0 or truth.shape != guess.shape:
        raise ValueError(f"need two equal vectors with at least one value, got {truth.shape} and {guess.shape}")
    residual = truth - guess
    spread = float(((truth - truth.mean()) ** 2).sum())
    missed = float((residual**2).sum())
    if spread > 0:
        r2 = 1 - missed / spread
    else:
        r2 = 1.0 if missed == 0 else 0.0
    return RegressionMetrics(
        r2=r2,
        mae=float(np.abs(residual).mean()),
        rmse=float(np.sqrt((residual**2).mean())),
        bias=float(residual.mean()),
        rows=int(truth.size),
    )


def detection_metrics(alarm: ArrayLike, faulty: ArrayLike) -> DetectionMetrics:
    """Compare alarms with labels, both boolean vectors of one length; a rate over no rows is 0."""
    raised = np.asarray(alarm, dtype=bool).ravel()
    truth = np.asarray(faulty, dtype=bool).ravel()
    if raised.shape != truth.shape:
        raise ValueError(f"need two equal vectors, got {raised.shape} and {truth.shape}")
    hit = int((raised & truth).sum())
    false = int((raised & ~truth).sum())
    faulty_rows, healthy_rows = int(truth.sum()), int((~truth).sum())
    recall = hit / faulty_rows if faulty_rows else 0.0
    precision = hit / (hit + false) if hit + false else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return DetectionMetrics(
        detection_rate=recall,
        false_alarm_rate=false / healthy_rows if healthy_rows else 0.0,
        precision=precision,
        f1=f1,
        faulty_rows=faulty_rows,
        healthy_rows=healthy_rows,
    )
