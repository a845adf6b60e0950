"""An anomaly detector: an ONNX graph that turns raw rows into a score, and the threshold above which it alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governance.modelling.arrays import as_rows
from governance.modelling.graph import RECONSTRUCTION_NAME, SCORE_NAME, WindowSpec, write_metadata
from governance.modelling.metrics import DetectionMetrics, detection_metrics
from governance.modelling.runtime import run


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Rows handed to it are flat windows (n, window * channels), oldest row first (`arrays.sliding_windows`); with
    window 1 they are the rows themselves. An alarm is `score > threshold`; the score has no unit.
    """

    kind: str
    onnx: bytes
    channels: int
    spec: WindowSpec
    threshold: float
    threshold_quantile: float
    training_fingerprint: str
    training_rows: int
    precision: str = "fp32"
    params: Mapping[str, object] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def score(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Anomaly scores, shape (n,)."""
        return run(self.onnx, rows)[SCORE_NAME].ravel()

    def reconstruction(self, rows: ArrayLike) -> NDArray[np.float32]:
        """What the model expected instead, in the features' own units, shape (n, features)."""
        return run(self.onnx, rows)[RECONSTRUCTION_NAME]

    def alarm(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Alarms, shape (n,)."""
        return self.score(rows) > self.threshold

    def judge(self, rows: ArrayLike, faulty: ArrayLike) -> DetectionMetrics:
        """Detection and false-alarm rates against labels (n,)."""
        return detection_metrics(self.alarm(rows), faulty)

    def with_threshold(self, threshold: float) -> Detector:
        """The same detector with another threshold, in the dataclass and in the file's metadata."""
        return replace(
            self, threshold=threshold, onnx=write_metadata(self.onnx, {"threshold": format_number(threshold)})
        )


def threshold_of(scores: ArrayLike, quantile: float) -> float:
    """The smallest score that at most a share 1 - quantile of the healthy scores exceeds.

    The upper empirical quantile (no interpolation), so the promise holds on the rows it was set from.
    Raises ValueError for no scores or a quantile outside 0..1 (0 excluded).
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if values.size == 0:
        raise ValueError("a threshold needs healthy scores")
    if not 0 < quantile <= 1:
        raise ValueError("quantile must lie above 0 and not above 1")
    return float(np.quantile(values, quantile, method="higher"))


def metadata(kind: str, channels: int, spec: WindowSpec, threshold: float, quantile: float) -> dict[str, str]:
    """What a detector's file says about itself."""
    return {
        "kind": kind,
        "channels": str(channels),
        "window": str(spec.window),
        "spans": ",".join(map(str, spec.spans)),
        "threshold": format_number(threshold),
        "threshold_quantile": format_number(quantile),
    }


def format_number(value: float) -> str:
    """The shortest text that reads back as the same float."""
    return repr(float(value))


def standardiser(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and scale (n,) of features (rows, n); a constant feature gets scale 1, so it never divides by zero."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    scale[scale <= np.abs(mean) * np.finfo(np.float32).eps] = 1.0
    return mean.astype(np.float32), scale.astype(np.float32)


def window_rows(rows: ArrayLike, channels: int, spec: WindowSpec, *, name: str) -> NDArray[np.float32]:
    """Checked flat windows (n, window * channels)."""
    return as_rows(rows, columns=channels * spec.window, name=name)
