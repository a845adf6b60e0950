"""A model that was trained elsewhere, as an ONNX file: checked like the gateway checks it, and packaged with figures measured here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import ArrayLike, NDArray
from onnx.checker import ValidationError
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from governance.modelling.arrays import as_rows, sliding_windows
from governance.modelling.metrics import regression_metrics
from governance.modelling.package import Feature, ModelPackage, PlantTime, assemble
from governance.modelling.quantise import INT8, QuantisationReport, not_applicable
from governance.modelling.runtime import open_session, run

KIND = "imported"
# Operators whose weights could be 8-bit; a graph without them (trees, scalers) has nothing to quantise.
QUANTISABLE = frozenset({"Gemm", "MatMul", "Conv", "LSTM", "GRU", "Attention"})
INTEGER = frozenset({"QuantizeLinear", "QLinearMatMul", "QLinearConv", "MatMulInteger", "DynamicQuantizeLinear"})
ERRORS = (
    ort.EPFail,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NotImplemented,
    ort.RuntimeException,
    ValidationError,
    RuntimeError,
)


def refuse_outside_weights(model: bytes) -> None:
    """ValueError when any tensor of the file names another file as the place of its values.

    The runtime would read that file, from wherever the worker stands, into the model's answers: keys and databases among them.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise ValueError("this is no ONNX model") from error
    for tensor in _tensors(proto):
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"the values of {tensor.name[:60] or 'a tensor'} lie in another file; save the model as one file"
            )


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere below a message: weights, attributes, branches, functions, and places yet unknown."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _tensors(part)


def window_of(model: bytes, inputs: int) -> int:
    """Rows that the file wants at once, from the width of its input; ValueError when it is no file for these inputs."""
    refuse_outside_weights(model)
    try:
        session = open_session(model)
    except ERRORS as error:
        raise ValueError(f"this is no ONNX model that the gateway's runtime opens: {str(error)[:200]}") from error
    entries = session.get_inputs()
    if len(entries) != 1 or entries[0].type != "tensor(float)" or len(entries[0].shape) != 2:
        raise ValueError("the model must have one input: float32 with the shape [rows, columns]")
    rows, width = entries[0].shape
    if isinstance(rows, int):
        raise ValueError("the number of rows of the model's input must be free")
    if not isinstance(width, int):
        return 1
    if width == 0 or width % inputs:
        raise ValueError(
            f"the model's input has {width} columns; {inputs} inputs need {inputs}, or a multiple for a window"
        )
    return width // inputs


def score(model: bytes, rows: ArrayLike) -> NDArray[np.float64]:
    """The first output for each flat window of ``rows`` (n, columns), shape (n,); ValueError when it is not one finite number a row."""
    array = as_rows(rows)
    try:
        found = next(iter(run(model, array).values()))
    except ERRORS as error:
        raise ValueError(f"the model fails on rows of this plant: {str(error)[:200]}") from error
    values = np.asarray(found, dtype=np.float64).reshape(len(array), -1)
    if values.shape[1] != 1:
        raise ValueError(f"the model's first output has {values.shape[1]} numbers a row; one is expected")
    if not np.isfinite(values).all():
        raise ValueError("the model gives values that are no numbers on rows of this plant")
    return values[:, 0]


def quantisation_of(model: bytes) -> tuple[str, QuantisationReport]:
    """Precision and report of a file that comes as it is: 8-bit, with nothing to quantise, or 32-bit though it could be 8-bit."""
    operators = {node.op_type for node in onnx.load_model_from_string(model).graph.node}
    if operators & INTEGER:
        report = QuantisationReport(
            status=INT8,
            reason="The file came with 8-bit weights; there is no 32-bit file to compare it with.",
            fp32_bytes=0,
            int8_bytes=len(model),
            operators=tuple(sorted(operators & INTEGER)),
        )
        return INT8, report
    if operators & QUANTISABLE:
        reason = "The file came with 32-bit weights and was kept as it is."
        return "fp32", QuantisationReport(status="refused", reason=reason, fp32_bytes=len(model))
    return "fp32", not_applicable("The graph holds no weights that could be 8-bit.", fp32_bytes=len(model))


def soft_sensor(
    model: bytes,
    *,
    features: Sequence[Feature],
    target: str,
    unit: str,
    plant_time: PlantTime,
    held_out_rows: ArrayLike,
    held_out_target: ArrayLike,
) -> tuple[ModelPackage, NDArray[np.float64]]:
    """A regression file as a package, and its predictions of ``held_out_rows`` (n, features), on which its metrics are taken.

    The rows must be newer than all it was trained on. Raises ValueError when the file does not fit the inputs.
    """
    rows = as_rows(held_out_rows, columns=len(features))
    if window_of(model, len(features)) != 1:
        raise ValueError("a soft sensor reads one row at a time")
    predicted = score(model, rows)
    metrics = regression_metrics(np.asarray(held_out_target, dtype=np.float64), predicted)
    package = _package(
        model,
        task="regression",
        features=features,
        output=target,
        unit=unit,
        window=1,
        threshold=None,
        metrics={key: float(value) for key, value in metrics.as_dict().items()},
        plant_time=plant_time,
        sample_rows=rows,
    )
    return package, predicted


def detector(
    model: bytes,
    *,
    features: Sequence[Feature],
    plant_time: PlantTime,
    healthy_rows: ArrayLike,
    quantile: float = 0.995,
) -> ModelPackage:
    """A scoring file as a package; its threshold is the ``quantile`` of its scores on ``healthy_rows`` (n, features)."""
    window = window_of(model, len(features))
    flat = sliding_windows(as_rows(healthy_rows, columns=len(features)), window)
    threshold = float(np.quantile(score(model, flat), quantile))
    return _package(
        model,
        task="score",
        features=features,
        output="anomaly score",
        unit="",
        window=window,
        threshold=threshold,
        metrics={"threshold": threshold, "threshold_quantile": quantile},
        plant_time=plant_time,
        sample_rows=flat,
    )


def _package(model: bytes, **values: Any) -> ModelPackage:
    precision, report = quantisation_of(model)
    return assemble(
        model,
        kind=KIND,
        precision=precision,
        quantisation=report,
        params={},
        training_fingerprint="",
        training_rows=0,
        **values,
    )
