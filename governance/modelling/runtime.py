"""Running a model the way a gateway does: ONNX Runtime, CPU, one thread; and what it costs there."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray

from governance.modelling.arrays import as_rows

INPUT_NAME = "features"
OPSETS = {"": 18, "ai.onnx.ml": 3}
# Upper bounds from measurement (docs/algorithms/models.md): an opened session by itself, and what each tree node costs in
# it (parsed attributes, the kernel's own struct, allocator slack).
SESSION_BYTES = 256 * 1024
TREE_NODE_BYTES = 256


@dataclass(frozen=True)
class Latency:
    """Wall time of one single-row inference on this machine, in microseconds."""

    p50_us: float
    p99_us: float
    repeats: int
    threads: int = 1

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


@dataclass(frozen=True)
class MemoryEstimate:
    """What an opened model adds to a process that has ONNX Runtime loaded, for one row, in bytes: an upper estimate."""

    file_bytes: int
    parameter_bytes: int
    activation_bytes: int

    @property
    def total_kb(self) -> int:
        """Session + file buffer + parameters + activations, rounded up to whole kilobytes (1024 bytes)."""
        return -(-(SESSION_BYTES + self.file_bytes + self.parameter_bytes + self.activation_bytes) // 1024)

    def as_dict(self) -> dict[str, int]:
        return {**asdict(self), "total_kb": self.total_kb}


def open_session(model: bytes, *, threads: int = 1) -> ort.InferenceSession:
    """Open ONNX bytes for inference on the CPU; sequential execution, no spinning threads.

    Raises onnxruntime's own error for bytes that are no valid model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes | ort.InferenceSession, rows: ArrayLike) -> dict[str, NDArray[np.float32]]:
    """Score rows of shape (n, columns); returns each output by name, first axis n."""
    session = open_session(model) if isinstance(model, bytes) else model
    entry = session.get_inputs()[0]
    width = entry.shape[1]
    array = as_rows(rows, columns=width if isinstance(width, int) else None)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {entry.name: array}), strict=True))


def measure_latency(model: bytes, row: ArrayLike, *, repeats: int = 500, warm_up: int = 50) -> Latency:
    """Time `repeats` single-row inferences after `warm_up`; `row` has shape (columns,) or (1, columns)."""
    if repeats < 1:
        raise ValueError("repeats must be at least 1")
    session = open_session(model)
    feed = {session.get_inputs()[0].name: as_rows(np.atleast_2d(np.asarray(row)))[:1]}
    for _ in range(warm_up):
        session.run(None, feed)
    spent = np.empty(repeats)
    for index in range(repeats):
        start = time.perf_counter()
        session.run(None, feed)
        spent[index] = time.perf_counter() - start
    p50, p99 = np.quantile(spent, (0.5, 0.99)) * 1e6
    return Latency(p50_us=round(float(p50), 1), p99_us=round(float(p99), 1), repeats=repeats)


def estimate_memory(model: bytes) -> MemoryEstimate:
    """Estimate from the graph: initialisers, tree nodes, and the sum of all intermediate tensors for one row."""
    proto = onnx.load_model_from_string(model)
    parameters = sum(_tensor_bytes(tensor) for tensor in proto.graph.initializer)
    for node in proto.graph.node:
        if node.op_type.startswith("TreeEnsemble"):
            sizes = [len(item.ints) for item in node.attribute if item.name == "nodes_nodeids"]
            parameters += TREE_NODE_BYTES * sum(sizes)
    inferred = onnx.shape_inference.infer_shapes(proto)
    tensors = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    activations = sum(_value_bytes(info) for info in tensors)
    return MemoryEstimate(file_bytes=len(model), parameter_bytes=parameters, activation_bytes=activations)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    items = int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1
    return items * np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize


def _value_bytes(info: onnx.ValueInfoProto) -> int:
    kind = info.type.tensor_type
    if not kind.elem_type:
        return 0
    dims = [dim.dim_value or 1 for dim in kind.shape.dim]  # an open dimension is the batch: one row
    return int(np.prod(dims, dtype=np.int64)) * np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
