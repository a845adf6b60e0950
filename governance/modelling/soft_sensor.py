"""A soft sensor: gradient-boosted trees that read a quantity from its neighbours, exported as ONNX.

Trained by scikit-learn's HistGradientBoostingRegressor on float32 rows and exported by skl2onnx, with two repairs
(docs/algorithms/models.md): attribute types onnx insists on, and split thresholds rounded *down* to float32, so that
`x <= t` decides alike for every float32 x on both sides and only the sum of the leaves is rounded.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_regressor_converter
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from governance.modelling.arrays import as_rows, as_vector, fingerprint
from governance.modelling.metrics import RegressionMetrics, regression_metrics
from governance.modelling.quantise import QuantisationReport, not_applicable
from governance.modelling.runtime import INPUT_NAME, OPSETS, run

KIND = "soft_sensor"
OUTPUT_NAME = "prediction"
TREE_REASON = (
    "A tree ensemble compares features with thresholds and adds leaf values: it has no matrix product that an INT8 "
    "kernel could take over, and ONNX Runtime's quantiser leaves such a graph unchanged."
)


@dataclass(frozen=True)
class SoftSensorParams:
    """Training parameters; the defaults are the project's (see docs/algorithms/models.md)."""

    max_iter: int = 100
    learning_rate: float = 0.1
    max_leaf_nodes: int = 31
    min_samples_leaf: int = 20
    l2_regularization: float = 0.0
    max_bins: int = 255
    random_state: int = 0
    threads: int = 1

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


@dataclass(frozen=True)
class Parity:
    """ONNX Runtime against scikit-learn on the same float32 rows, in the target's unit."""

    max_abs: float
    max_ulp: float
    rows: int
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.max_abs <= self.tolerance

    def as_dict(self) -> dict[str, float | int | bool]:
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True)
class SoftSensor:
    """A trained soft sensor: the file a gateway runs and what is known about it."""

    onnx: bytes
    params: SoftSensorParams
    parity: Parity
    metrics: RegressionMetrics
    quantisation: QuantisationReport
    training_fingerprint: str
    training_rows: int
    seconds: dict[str, float]

    def predict(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Predictions for rows (n, features), shape (n,), computed by the ONNX file."""
        return predict(self.onnx, rows)


def train(
    rows: ArrayLike,
    target: ArrayLike,
    *,
    held_out_rows: ArrayLike,
    held_out_target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    params: SoftSensorParams = SoftSensorParams(),  # noqa: B008 - frozen
) -> SoftSensor:
    """Fit, export and check a soft sensor.

    rows (n, features) and target (n,) train it; sample_weight (n,) >= 0 is optional. Metrics and parity are taken on
    the held-out rows only. Raises ValueError for shapes that do not fit, values that are not finite, and a parity
    beyond float32 rounding (which would mean the file on the gateway is another model than the one judged).
    """
    features = as_rows(rows)
    labels = as_vector(target, length=len(features), name="target")
    weights = None
    if sample_weight is not None:
        weights = as_vector(sample_weight, length=len(features), name="sample_weight")
        if (weights < 0).any() or not weights.any():
            raise ValueError("sample_weight must be at least 0 and not all 0")
    test_rows = as_rows(held_out_rows, columns=features.shape[1], name="held_out_rows")
    test_target = as_vector(held_out_target, length=len(test_rows), name="held_out_target")

    seconds: dict[str, float] = {}
    started = time.perf_counter()
    model = fit(features, labels, weights, params)
    seconds["train"] = time.perf_counter() - started

    started = time.perf_counter()
    exported = export(model)
    seconds["convert"] = time.perf_counter() - started

    started = time.perf_counter()
    with threadpool_limits(params.threads):
        expected = model.predict(test_rows)
    predicted = predict(exported, test_rows)
    parity = compare(expected, predicted, trees=params.max_iter)
    if not parity.ok:
        raise ValueError(
            f"the exported file differs from the trained model by {parity.max_abs:g} (> {parity.tolerance:g})"
        )
    metrics = regression_metrics(test_target, predicted)
    seconds["check"] = time.perf_counter() - started

    return SoftSensor(
        onnx=exported,
        params=params,
        parity=parity,
        metrics=metrics,
        quantisation=not_applicable(TREE_REASON, fp32_bytes=len(exported)),
        training_fingerprint=fingerprint(features, labels),
        training_rows=len(features),
        seconds=seconds,
    )


def fit(
    rows: NDArray[np.float32],
    target: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    params: SoftSensorParams,
) -> HistGradientBoostingRegressor:
    """Fit the trees; early stopping is off, so equal data and parameters give an equal model."""
    options = {key: value for key, value in params.as_dict().items() if key != "threads"}
    with threadpool_limits(params.threads):
        return HistGradientBoostingRegressor(early_stopping=False, **options).fit(rows, target, sample_weight=weights)


def export(model: HistGradientBoostingRegressor) -> bytes:
    """ONNX bytes: input `features` float32 (n, features), output `prediction` float32 (n, 1)."""
    proto = convert_sklearn(
        model,
        name="soft_sensor",
        initial_types=[(INPUT_NAME, FloatTensorType([None, model.n_features_in_]))],
        target_opset=OPSETS,
        custom_conversion_functions={HistGradientBoostingRegressor: _convert_trees},
        custom_shape_calculators={HistGradientBoostingRegressor: calculate_linear_regressor_output_shapes},
    )
    produced = proto.graph.output[0].name
    for node in proto.graph.node:
        node.output[:] = [OUTPUT_NAME if name == produced else name for name in node.output]
    proto.graph.output[0].name = OUTPUT_NAME
    del proto.opset_import[:]  # the converter declares the oldest set that would do; version 3 reads the node alike
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, number) for domain, number in OPSETS.items())
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)


def predict(model: bytes, rows: ArrayLike) -> NDArray[np.float32]:
    """Predictions of a soft sensor's ONNX bytes for rows (n, features), shape (n,)."""
    return run(model, rows)[OUTPUT_NAME].ravel()


def compare(expected: ArrayLike, predicted: ArrayLike, *, trees: int) -> Parity:
    """Parity of two prediction vectors.

    Tolerance: a float32 sum of `trees` terms may be off by (trees + 1) units in the last place of its largest
    partial sum; the largest prediction stands for that sum.
    """
    reference = np.asarray(expected, dtype=np.float64).ravel()
    values = np.asarray(predicted, dtype=np.float64).ravel()
    difference = np.abs(reference - values)
    spacing = np.spacing(np.abs(reference).astype(np.float32)).astype(np.float64)
    largest = float(np.spacing(np.float32(np.abs(reference).max())))
    return Parity(
        max_abs=float(difference.max()),
        max_ulp=float((difference / spacing).max()),
        rows=int(reference.size),
        tolerance=(trees + 1) * largest,
    )


class _TreeContainer:
    """skl2onnx's node container, with the attributes of a tree ensemble repaired on their way in."""

    def __init__(self, container: Any, thresholds: NDArray[np.float32]) -> None:
        self._container = container
        self._thresholds = thresholds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        # onnx refuses Python booleans among integers, which the converter writes for leaves.
        tracks = attributes["nodes_missing_value_tracks_true"]
        attributes["nodes_missing_value_tracks_true"] = [int(value) for value in tracks]
        attributes["nodes_values"] = self._thresholds
        attributes.pop("nodes_hitrates", None)  # statistics no runtime reads: a fifth of the file
        self._container.add_node(op_type, inputs, outputs, **attributes)


def _convert_trees(scope: Any, operator: Any, container: Any) -> None:
    trees = [tree for (tree,) in operator.raw_operator._predictors]
    exact = np.concatenate([np.where(tree.nodes["is_leaf"], 0.0, tree.nodes["num_threshold"]) for tree in trees])
    repaired = _TreeContainer(container, round_down(exact))
    convert_sklearn_random_forest_regressor_converter(scope, operator, repaired)


def round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each float64: `x <= t` and `x <= round_down(t)` agree for every float32 x."""
    nearest = values.astype(np.float32)
    return np.where(nearest.astype(np.float64) > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)
