"""Anomaly detection by a small autoencoder: what the network cannot rebuild is unusual.

Trained by scikit-learn's MLPRegressor (features as their own target), exported as one graph: raw rows -> features of
the window -> standardise -> encode -> decode -> score (mean squared reconstruction error, standardised) and the
reconstruction in the features' own units.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from governance.modelling.arrays import fingerprint
from governance.modelling.detector import Detector, metadata, standardiser, threshold_of, window_rows
from governance.modelling.graph import RECONSTRUCTION_NAME, SCORE_NAME, GraphBuilder, WindowSpec, window_statistics
from governance.modelling.runtime import run

KIND = "autoencoder"


@dataclass(frozen=True)
class AutoencoderParams:
    """Training parameters; `hidden` are the layer widths from encoder to decoder, ReLU between them."""

    hidden: tuple[int, ...] = (64, 4, 64)
    max_iter: int = 40
    learning_rate: float = 0.002
    batch_size: int = 200
    alpha: float = 1e-4
    random_state: int = 0
    threads: int = 1

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "hidden": list(self.hidden)}


def train(
    rows: ArrayLike,
    *,
    healthy_rows: ArrayLike,
    channels: int,
    spec: WindowSpec = WindowSpec(),  # noqa: B008 - frozen
    threshold_quantile: float = 0.995,
    params: AutoencoderParams = AutoencoderParams(),  # noqa: B008 - frozen
) -> Detector:
    """Train on `rows` and set the threshold from `healthy_rows`, which the network has not seen.

    Both are flat windows (n, window * channels). The threshold is the `threshold_quantile` of the healthy scores, so
    about 1 - quantile of healthy rows alarm. Raises ValueError for shapes that do not fit or values not finite.
    """
    training = window_rows(rows, channels, spec, name="rows")
    healthy = window_rows(healthy_rows, channels, spec, name="healthy_rows")

    seconds: dict[str, float] = {}
    started = time.perf_counter()
    features = window_statistics(training, spec)
    mean, scale = standardiser(features)
    network = fit((features - mean) / scale, params)
    seconds["train"] = time.perf_counter() - started

    started = time.perf_counter()
    exported = export(network, mean, scale, channels=channels, spec=spec)
    seconds["convert"] = time.perf_counter() - started

    started = time.perf_counter()
    threshold = threshold_of(run(exported, healthy)[SCORE_NAME], threshold_quantile)
    seconds["threshold"] = time.perf_counter() - started

    detector = Detector(
        kind=KIND,
        onnx=exported,
        channels=channels,
        spec=spec,
        threshold=threshold,
        threshold_quantile=threshold_quantile,
        training_fingerprint=fingerprint(training),
        training_rows=len(training),
        params=params.as_dict(),
        seconds=seconds,
    )
    return detector.with_threshold(threshold)


def fit(standardised: NDArray[np.float32], params: AutoencoderParams) -> MLPRegressor:
    """Fit the network on standardised features (n, f); a fixed number of passes, so equal data give equal weights."""
    network = MLPRegressor(
        hidden_layer_sizes=params.hidden,
        activation="relu",
        solver="adam",
        alpha=params.alpha,
        batch_size=min(params.batch_size, len(standardised)),
        learning_rate_init=params.learning_rate,
        max_iter=params.max_iter,
        n_iter_no_change=params.max_iter,
        random_state=params.random_state,
    )
    target = standardised if standardised.shape[1] > 1 else standardised.ravel()
    with threadpool_limits(params.threads), warnings.catch_warnings():
        # max_iter is the training plan here, not a search for convergence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(standardised, target)


def export(
    network: MLPRegressor,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    *,
    channels: int,
    spec: WindowSpec,
    threshold: float = float("inf"),
    quantile: float = 1.0,
) -> bytes:
    """ONNX bytes: input `features` (n, window * channels); outputs `score` (n, 1) and `reconstruction` (n, f)."""
    graph = GraphBuilder()
    standardised = graph.standardise(graph.window_features(spec, channels), mean, scale)
    layer = standardised
    last = len(network.coefs_) - 1
    for index, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        layer = graph.gemm(layer, weights, bias, f"layer{index}")
        if index < last:
            layer = graph.node("Relu", [layer], f"layer{index}_relu")
    residual = graph.node("Sub", [standardised, layer], "residual")
    squared = graph.node("Mul", [residual, residual], "squared")
    graph.mean_over(squared, 1, SCORE_NAME, keepdims=1)
    graph.restore(layer)
    return graph.build(
        KIND,
        columns=channels * spec.window,
        outputs={SCORE_NAME: 1, RECONSTRUCTION_NAME: len(mean)},
        metadata=metadata(KIND, channels, spec, threshold, quantile),
    )
