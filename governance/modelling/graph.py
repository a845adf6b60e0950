"""ONNX graphs written node by node: features of a window, standardisation, and the anomaly score.

Everything a gateway must compute is inside the graph, so it passes its last raw rows and compares one number with the
threshold. `window_statistics` is the same computation in NumPy: the definition that the graph is tested against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from governance.modelling.arrays import as_rows
from governance.modelling.runtime import INPUT_NAME, OPSETS

SCORE_NAME = "score"
RECONSTRUCTION_NAME = "reconstruction"
IR_VERSION = 8


@dataclass(frozen=True)
class WindowSpec:
    """How the last `window` rows become features.

    Without `spans` the window's values are the features (window 1: the row itself). With spans, each channel gives its
    last value and, for each span s <= window, over its last s values: mean, standard deviation (divisor s), change
    (last - first) and minimum. Features are ordered by statistic, then by channel.
    """

    window: int = 1
    spans: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError("window must be at least 1")
        if any(span < 2 or span > self.window for span in self.spans):
            raise ValueError(f"spans must lie in 2..{self.window}, got {self.spans}")

    def feature_count(self, channels: int) -> int:
        return channels * (1 + 4 * len(self.spans)) if self.spans else channels * self.window

    def feature_names(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Names in graph order, such as `temperature.mean_12`."""
        if not self.spans:
            if self.window == 1:
                return tuple(channels)
            return tuple(f"{name}.lag_{lag}" for lag in range(self.window - 1, -1, -1) for name in channels)
        kinds = ["last"] + [f"{kind}_{span}" for span in self.spans for kind in ("mean", "std", "change", "min")]
        return tuple(f"{name}.{kind}" for kind in kinds for name in channels)


def window_statistics(flat_windows: ArrayLike, spec: WindowSpec) -> NDArray[np.float32]:
    """Features (n, feature_count) of flat windows (n, window * channels), as the graph computes them.

    Raises ValueError when the width is no multiple of the window.
    """
    flat = as_rows(flat_windows, name="flat_windows")
    if flat.shape[1] % spec.window:
        raise ValueError(f"{flat.shape[1]} columns are no multiple of the window {spec.window}")
    if not spec.spans:
        return flat
    cube = flat.reshape(len(flat), spec.window, -1)
    parts = [cube[:, -1]]
    for span in spec.spans:
        last = cube[:, -span:]
        parts += [last.mean(axis=1), last.std(axis=1), last[:, -1] - last[:, 0], last.min(axis=1)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


@dataclass
class GraphBuilder:
    """Collects nodes and constants; every method returns the name of the tensor it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, values: ArrayLike, dtype: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def mean_over(self, source: str, axis: int, name: str, *, keepdims: int = 0) -> str:
        axes = self.constant(f"{name}_axes", [axis], np.int64)
        return self.node("ReduceMean", [source, axes], name, keepdims=keepdims)

    def sum_over(self, source: str, axis: int, name: str, *, keepdims: int = 1) -> str:
        axes = self.constant(f"{name}_axes", [axis], np.int64)
        return self.node("ReduceSum", [source, axes], name, keepdims=keepdims)

    def window_features(self, spec: WindowSpec, channels: int) -> str:
        """Features of the input, shape (n, feature_count)."""
        if not spec.spans:
            return INPUT_NAME
        cube = self.node(
            "Reshape", [INPUT_NAME, self.constant("cube_shape", [-1, spec.window, channels], np.int64)], "cube"
        )
        time_axis = self.constant("time_axis", [1], np.int64)
        end = self.constant("time_end", [spec.window], np.int64)
        one = self.constant("one_axis", [1], np.int64)
        last3 = self.node(
            "Slice", [cube, self.constant("last_start", [spec.window - 1], np.int64), end, time_axis], "last_cube"
        )
        last = self.node("Squeeze", [last3, one], "last")
        parts = [last]
        for span in spec.spans:
            tag = f"span{span}"
            start = self.constant(f"{tag}_start", [spec.window - span], np.int64)
            part = self.node("Slice", [cube, start, end, time_axis], tag)
            mean3 = self.mean_over(part, 1, f"{tag}_mean3", keepdims=1)
            mean = self.node("Squeeze", [mean3, one], f"{tag}_mean")
            centred = self.node("Sub", [part, mean3], f"{tag}_centred")
            squared = self.node("Mul", [centred, centred], f"{tag}_squared")
            deviation = self.node("Sqrt", [self.mean_over(squared, 1, f"{tag}_variance")], f"{tag}_std")
            first_end = self.constant(f"{tag}_first_end", [spec.window - span + 1], np.int64)
            first3 = self.node("Slice", [cube, start, first_end, time_axis], f"{tag}_first3")
            change = self.node("Sub", [last, self.node("Squeeze", [first3, one], f"{tag}_first")], f"{tag}_change")
            low_axes = self.constant(f"{tag}_min_axes", [1], np.int64)
            low = self.node("ReduceMin", [part, low_axes], f"{tag}_min", keepdims=0)
            parts += [mean, deviation, change, low]
        return self.node("Concat", parts, "window_features", axis=1)

    def standardise(self, source: str, mean: ArrayLike, scale: ArrayLike) -> str:
        centred = self.node("Sub", [source, self.constant("scaler_mean", mean)], "centred")
        return self.node("Div", [centred, self.constant("scaler_scale", scale)], "standardised")

    def restore(self, source: str) -> str:
        """Standardised reconstruction back in the features' own units; call after `standardise`."""
        spread = self.node("Mul", [source, "scaler_scale"], "spread")
        return self.node("Add", [spread, "scaler_mean"], RECONSTRUCTION_NAME)

    def gemm(self, source: str, weights: ArrayLike, bias: ArrayLike | None, name: str) -> str:
        inputs = [source, self.constant(f"{name}_weights", weights)]
        if bias is not None:
            inputs.append(self.constant(f"{name}_bias", bias))
        return self.node("Gemm", inputs, name)

    def build(self, name: str, *, columns: int, outputs: Mapping[str, int], metadata: Mapping[str, str]) -> bytes:
        """Checked ONNX bytes: one input `features` (n, columns), outputs by name with their widths, score first."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["n", columns])],
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["n", width]) for key, width in outputs.items()],
            self.constants,
        )
        model = helper.make_model(
            graph, producer_name="phasegate", opset_imports=[helper.make_opsetid("", OPSETS[""])], ir_version=IR_VERSION
        )
        helper.set_model_props(model, dict(sorted(metadata.items())))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def read_metadata(model: bytes) -> dict[str, str]:
    """The key-value pairs stored in ONNX bytes."""
    return {entry.key: entry.value for entry in onnx.load_model_from_string(model).metadata_props}


def write_metadata(model: bytes, values: Mapping[str, str]) -> bytes:
    """The same model with `values` merged into its metadata, keys sorted."""
    proto = onnx.load_model_from_string(model)
    merged = {entry.key: entry.value for entry in proto.metadata_props} | dict(values)
    del proto.metadata_props[:]
    helper.set_model_props(proto, dict(sorted(merged.items())))
    return proto.SerializeToString(deterministic=True)
