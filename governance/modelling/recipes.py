"""How each detector of this house is built: one recipe per use, and the one function that follows it.

`build` takes raw rows in time order and returns what is shipped: the INT8 detector where it stays close to float32,
the float32 detector and a `refused` report where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governance.modelling import autoencoder, pca
from governance.modelling.arrays import as_rows, sliding_windows
from governance.modelling.autoencoder import AutoencoderParams
from governance.modelling.detector import Detector
from governance.modelling.graph import WindowSpec
from governance.modelling.pca import PcaParams
from governance.modelling.quantise import (
    QuantisationLimits,
    QuantisationParams,
    QuantisationReport,
    quantise,
    refused,
)


@dataclass(frozen=True)
class Recipe:
    """`block`: rows per contiguous block; every fifth block is kept from training to set the threshold and to judge."""

    params: AutoencoderParams | PcaParams
    spec: WindowSpec = field(default_factory=WindowSpec)
    threshold_quantile: float = 0.995
    block: int = 100
    quantisation: QuantisationParams = field(default_factory=QuantisationParams)
    limits: QuantisationLimits = field(default_factory=QuantisationLimits)


TURBINE_SENSORS = Recipe(AutoencoderParams(hidden=(64, 4, 64), max_iter=40), block=100)
MACHINE_TEMPERATURE = Recipe(
    AutoencoderParams(hidden=(16, 3, 16), max_iter=80), spec=WindowSpec(144, (12, 144)), block=72
)
PROCESS_FAULTS = Recipe(AutoencoderParams(hidden=(32, 10, 32), max_iter=80), threshold_quantile=0.99, block=50)
PROCESS_PLANE = Recipe(PcaParams(components=10, folds=5), threshold_quantile=0.99, block=50)


@dataclass(frozen=True)
class Built:
    """What a recipe made: `shipped` is `reference` (float32) or its INT8 version, as the report says."""

    shipped: Detector
    reference: Detector
    report: QuantisationReport


def build(
    recipe: Recipe,
    rows: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    judged_rows: ArrayLike | None = None,
    faulty: ArrayLike | None = None,
) -> Built:
    """Train, quantise and decide.

    rows (n, channels) in time order; `usable` (n,) marks rows known to be healthy (default: all), and a window counts
    only if all of its rows do. `judged_rows` are flat windows with labels `faulty` for the accuracy delta; without
    them the held-back windows serve, unlabelled. Raises ValueError for shapes that do not fit and too few rows.
    """
    raw = as_rows(rows)
    channels = raw.shape[1]
    windows, held_back = healthy_windows(raw, recipe, usable)
    if not held_back.any() or held_back.all():
        raise ValueError(f"{len(windows)} healthy windows do not fill five blocks of {recipe.block} rows")
    training, healthy = windows[~held_back], windows[held_back]

    reference: Detector
    if isinstance(recipe.params, AutoencoderParams):
        reference = autoencoder.train(
            training,
            healthy_rows=healthy,
            channels=channels,
            spec=recipe.spec,
            threshold_quantile=recipe.threshold_quantile,
            params=recipe.params,
        )
    else:
        reference = pca.train(
            training,
            channels=channels,
            spec=recipe.spec,
            threshold_quantile=recipe.threshold_quantile,
            params=recipe.params,
        )
    smaller, report = quantise(
        reference,
        calibration_rows=training,
        healthy_rows=healthy,
        judged_rows=healthy if judged_rows is None else judged_rows,
        faulty=faulty if judged_rows is not None else None,
        params=recipe.quantisation,
    )
    reasons = report.reasons_against(recipe.limits)
    if reasons:
        return Built(shipped=reference, reference=reference, report=refused(report, reasons))
    return Built(shipped=smaller, reference=reference, report=report)


def healthy_windows(
    rows: NDArray[np.float32], recipe: Recipe, usable: ArrayLike | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flat windows all of whose rows are usable, and which of them belong to a held-back block (by their last row)."""
    mask = np.ones(len(rows), dtype=bool) if usable is None else np.asarray(usable, dtype=bool)
    if mask.shape != (len(rows),):
        raise ValueError(f"usable must have shape ({len(rows)},), got {mask.shape}")
    window = recipe.spec.window
    flat = sliding_windows(rows, window)
    whole = np.lib.stride_tricks.sliding_window_view(mask, window).all(axis=1)
    last = np.arange(window - 1, len(rows))
    held_back = (last // recipe.block) % 5 == 4
    return flat[whole], held_back[whole]
