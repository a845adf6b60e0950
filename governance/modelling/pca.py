"""Fault detection by principal components: Hotelling's T2 inside the model plane, SPE (Q) off it.

The classical multivariate monitor (Jackson and Mudholkar 1979; MacGregor and Kourti 1995), as one ONNX graph.
With z the standardised row, P (f, k) the loadings and lambda (k,) the variances of the scores t = z P:

    T2  = sum_i t_i^2 / lambda_i            SPE = |z - t P'|^2
    score = max(T2 / limit_T2, SPE / limit_SPE)

The limits are quantiles of *out-of-fold* values over contiguous blocks of the training rows: limits taken on the rows
that made the loadings are too tight, above all for SPE, and alarm several times as often as they promise.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from governance.modelling.arrays import fingerprint
from governance.modelling.detector import Detector, metadata, standardiser, threshold_of, window_rows
from governance.modelling.graph import RECONSTRUCTION_NAME, SCORE_NAME, GraphBuilder, WindowSpec, window_statistics

KIND = "pca"
T2_NAME = "t2"
SPE_NAME = "spe"


@dataclass(frozen=True)
class PcaParams:
    """`folds` = 1 takes the limits on the training rows themselves (the textbook's way, for comparison)."""

    components: int = 10
    folds: int = 5
    threads: int = 1

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Plane:
    """A fitted model plane: mean, scale (f,), loadings (f, k), variances (k,)."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    loadings: NDArray[np.float64]
    variances: NDArray[np.float64]

    def statistics(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """T2 and SPE, each (n,), of features (n, f)."""
        z = (features.astype(np.float64) - self.mean) / self.scale
        t = z @ self.loadings
        return (t**2 / self.variances).sum(axis=1), ((z - t @ self.loadings.T) ** 2).sum(axis=1)


def fit_plane(features: NDArray[np.float32], components: int) -> Plane:
    """Principal components of standardised features (n, f); raises ValueError if fewer than `components` exist."""
    if not 1 <= components < min(features.shape):
        raise ValueError(f"components must lie in 1..{min(features.shape) - 1} for {features.shape} features")
    mean, scale = standardiser(features)
    z = (features.astype(np.float64) - mean) / scale
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    loadings = axes[:components].T
    # The sign of a component is arbitrary: fix it, so that equal data give equal bytes everywhere.
    loadings = loadings * np.where(loadings[np.abs(loadings).argmax(axis=0), np.arange(components)] < 0, -1.0, 1.0)
    variances = singular[:components] ** 2 / (len(z) - 1)
    if (variances <= np.finfo(np.float32).eps).any():
        raise ValueError(f"the rows hold fewer than {components} independent directions")
    return Plane(mean, scale, loadings, variances)


def out_of_fold_statistics(
    features: NDArray[np.float32], components: int, folds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """T2 and SPE of each row by a plane that was fitted without the row's block; with folds = 1 by the one plane."""
    if folds == 1:
        return fit_plane(features, components).statistics(features)
    blocks = np.array_split(np.arange(len(features)), folds)
    parts = []
    for block in blocks:
        rest = np.delete(features, block, axis=0)
        parts.append(fit_plane(rest, components).statistics(features[block]))
    return np.concatenate([t2 for t2, _ in parts]), np.concatenate([spe for _, spe in parts])


def train(
    rows: ArrayLike,
    *,
    channels: int,
    spec: WindowSpec = WindowSpec(),  # noqa: B008 - frozen
    threshold_quantile: float = 0.99,
    params: PcaParams = PcaParams(),  # noqa: B008 - frozen
) -> Detector:
    """Fit the plane and its limits on healthy flat windows (n, window * channels), in time order.

    Each limit is the `threshold_quantile` of its statistic; the score's threshold is 1 by construction.
    Raises ValueError for shapes that do not fit, too few rows, or values not finite.
    """
    training = window_rows(rows, channels, spec, name="rows")
    if params.folds < 1 or len(training) < 2 * params.folds:
        raise ValueError(f"{len(training)} rows cannot be split into {params.folds} folds")
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    with threadpool_limits(params.threads):
        features = window_statistics(training, spec)
        plane = fit_plane(features, params.components)
        t2, spe = out_of_fold_statistics(features, params.components, params.folds)
    seconds["train"] = time.perf_counter() - started
    started = time.perf_counter()
    exported = export(
        plane,
        t2_limit=threshold_of(t2, threshold_quantile),
        spe_limit=threshold_of(spe, threshold_quantile),
        channels=channels,
        spec=spec,
        quantile=threshold_quantile,
    )
    seconds["convert"] = time.perf_counter() - started
    return Detector(
        kind=KIND,
        onnx=exported,
        channels=channels,
        spec=spec,
        threshold=1.0,
        threshold_quantile=threshold_quantile,
        training_fingerprint=fingerprint(training),
        training_rows=len(training),
        params=params.as_dict(),
        seconds=seconds,
    )


def export(
    plane: Plane, *, t2_limit: float, spe_limit: float, channels: int, spec: WindowSpec, quantile: float
) -> bytes:
    """ONNX bytes: outputs `score` (n, 1), `reconstruction` (n, f), `t2` and `spe` (n, 1)."""
    graph = GraphBuilder()
    standardised = graph.standardise(graph.window_features(spec, channels), plane.mean, plane.scale)
    # Scores of unit variance: T2 is their squared length, and an INT8 scale fits all components alike.
    deviations = np.sqrt(plane.variances)
    unit = graph.gemm(standardised, plane.loadings / deviations, None, "encode")
    rebuilt = graph.gemm(unit, (plane.loadings * deviations).T, None, "decode")
    t2 = graph.sum_over(graph.node("Mul", [unit, unit], "unit_squared"), 1, T2_NAME)
    residual = graph.node("Sub", [standardised, rebuilt], "residual")
    spe = graph.sum_over(graph.node("Mul", [residual, residual], "squared"), 1, SPE_NAME)
    t2_share = graph.node("Div", [t2, graph.constant("t2_limit", [t2_limit])], "t2_share")
    spe_share = graph.node("Div", [spe, graph.constant("spe_limit", [spe_limit])], "spe_share")
    graph.node("Max", [t2_share, spe_share], SCORE_NAME)
    graph.restore(rebuilt)
    return graph.build(
        KIND,
        columns=channels * spec.window,
        outputs={SCORE_NAME: 1, RECONSTRUCTION_NAME: len(plane.mean), T2_NAME: 1, SPE_NAME: 1},
        metadata=metadata(KIND, channels, spec, 1.0, quantile),
    )
