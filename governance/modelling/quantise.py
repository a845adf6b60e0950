"""INT8 quantisation of a detector, and what it cost in accuracy, bytes and time.

Static QDQ by ONNX Runtime: only the matrix products listed for the kind are quantised; standardisation, window
features and the score stay float32, because a squared difference of quantised values is noise (docs/algorithms/models.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from governance.modelling.detector import Detector, threshold_of, window_rows
from governance.modelling.metrics import DetectionMetrics
from governance.modelling.runtime import INPUT_NAME, Latency, measure_latency

INT8 = "int8"
NOT_APPLICABLE = "not_applicable"
REFUSED = "refused"
# Which node types are quantised, by kind of model. ReLU is listed so that its range is folded into the product before it.
OPERATORS: dict[str, tuple[str, ...]] = {"autoencoder": ("Gemm", "Relu"), "pca": ("Gemm",)}


@dataclass(frozen=True)
class QuantisationParams:
    """Signed 8 bit for weights and activations: exact on every CPU, where unsigned x signed saturates on older x86."""

    per_channel: bool = True
    calibration: str = "MinMax"
    latency_repeats: int = 500

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class QuantisationLimits:
    """How much worse than float32 the INT8 model may be before it is refused."""

    min_score_correlation: float = 0.97
    min_alarm_agreement: float = 0.98
    max_f1_drop: float = 0.02


@dataclass(frozen=True)
class AccuracyDelta:
    """INT8 against float32 on the same rows; each alarms at its own threshold, set from the same healthy rows.

    `alarm_agreement` is the share of rows judged alike; `alarm_agreement_unmoved` the same with float32's threshold
    on both. `detection_*` and `f1_delta` (INT8 - float32) need labels and are None without.
    """

    rows: int
    score_correlation: float
    alarm_agreement: float
    alarm_agreement_unmoved: float
    threshold_fp32: float
    threshold_int8: float
    detection_fp32: DetectionMetrics | None = None
    detection_int8: DetectionMetrics | None = None

    @property
    def f1_delta(self) -> float | None:
        if self.detection_fp32 is None or self.detection_int8 is None:
            return None
        return self.detection_int8.f1 - self.detection_fp32.f1

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "f1_delta": self.f1_delta}


@dataclass(frozen=True)
class QuantisationReport:
    """The outcome; bytes are file sizes.

    Status `int8`: made, with its accuracy delta; `refused`: made, but too far from float32, with the reasons;
    `not_applicable`: this kind of model has nothing to quantise, with the reason.
    """

    status: str
    reason: str
    fp32_bytes: int
    int8_bytes: int | None = None
    operators: tuple[str, ...] = ()
    quantised_nodes: int = 0
    calibration_rows: int = 0
    params: QuantisationParams | None = None
    accuracy: AccuracyDelta | None = None
    latency_fp32: Latency | None = None
    latency_int8: Latency | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        plain: dict[str, object] = {**asdict(self), "operators": list(self.operators)}
        plain["accuracy"] = self.accuracy.as_dict() if self.accuracy else None
        return plain

    def reasons_against(self, limits: QuantisationLimits = QuantisationLimits()) -> list[str]:  # noqa: B008 - frozen
        """Why the INT8 model must not replace float32: an empty list when it may, or when nothing was quantised."""
        if self.accuracy is None:
            return []
        found = []
        delta = self.accuracy
        if delta.score_correlation < limits.min_score_correlation:
            found.append(
                f"scores correlate at {delta.score_correlation:.4f} with float32, at least "
                f"{limits.min_score_correlation} is asked"
            )
        if delta.alarm_agreement < limits.min_alarm_agreement:
            found.append(
                f"{delta.alarm_agreement:.2%} of rows are judged alike, at least {limits.min_alarm_agreement:.0%} is asked"
            )
        if delta.f1_delta is not None and delta.f1_delta < -limits.max_f1_drop:
            found.append(f"F1 falls by {-delta.f1_delta:.4f}, at most {limits.max_f1_drop} is allowed")
        return found


def refused(report: QuantisationReport, reasons: Sequence[str]) -> QuantisationReport:
    """The same report for an INT8 model that is not used."""
    return replace(report, status=REFUSED, reason="; ".join(reasons))


def not_applicable(reason: str, *, fp32_bytes: int) -> QuantisationReport:
    """The report for a model type that has nothing to quantise."""
    return QuantisationReport(status=NOT_APPLICABLE, reason=reason, fp32_bytes=fp32_bytes)


def quantise(
    detector: Detector,
    *,
    calibration_rows: ArrayLike,
    healthy_rows: ArrayLike,
    judged_rows: ArrayLike,
    faulty: ArrayLike | None = None,
    params: QuantisationParams = QuantisationParams(),  # noqa: B008 - frozen
) -> tuple[Detector, QuantisationReport]:
    """Quantise a float32 detector; returns the INT8 detector and the report.

    All rows are flat windows. The activation ranges come from `calibration_rows` (training rows), the INT8 threshold
    from `healthy_rows` at the detector's quantile, and the accuracy delta from `judged_rows` with their labels
    `faulty` (n,) where there are any. Raises ValueError for a kind without operators to quantise, shapes that do not
    fit, and a quantiser that left the graph as it was.
    """
    operators = OPERATORS.get(detector.kind)
    if operators is None:
        raise ValueError(f"a {detector.kind} has no operators to quantise")
    if detector.precision != "fp32":
        raise ValueError("only a float32 detector can be quantised")
    calibration = window_rows(calibration_rows, detector.channels, detector.spec, name="calibration_rows")
    healthy = window_rows(healthy_rows, detector.channels, detector.spec, name="healthy_rows")
    judged = window_rows(judged_rows, detector.channels, detector.spec, name="judged_rows")

    started = time.perf_counter()
    exported = quantise_graph(detector.onnx, calibration, operators=operators, params=params)
    spent = time.perf_counter() - started
    nodes = sum(node.op_type == "QuantizeLinear" for node in onnx.load_model_from_string(exported).graph.node)
    if nodes == 0:
        raise ValueError("the quantiser left the graph unchanged")

    raw = replace(detector, onnx=exported, precision=INT8)
    threshold = threshold_of(raw.score(healthy), detector.threshold_quantile)
    quantised = raw.with_threshold(threshold)
    report = QuantisationReport(
        status=INT8,
        reason="",
        fp32_bytes=len(detector.onnx),
        int8_bytes=len(quantised.onnx),
        operators=operators,
        quantised_nodes=nodes,
        calibration_rows=len(calibration),
        params=params,
        accuracy=accuracy_delta(detector, quantised, judged, faulty),
        latency_fp32=measure_latency(detector.onnx, judged[0], repeats=params.latency_repeats),
        latency_int8=measure_latency(quantised.onnx, judged[0], repeats=params.latency_repeats),
        seconds=spent,
    )
    return quantised, report


def accuracy_delta(
    reference: Detector, quantised: Detector, rows: NDArray[np.float32], faulty: ArrayLike | None = None
) -> AccuracyDelta:
    """Compare two detectors on flat windows (n, columns), with labels (n,) or without."""
    before, after = reference.score(rows), quantised.score(rows)
    alarm_before = before > reference.threshold
    # Scores span decades: on the logarithm one outlier cannot make the correlation by itself.
    floor = np.finfo(np.float32).tiny
    return AccuracyDelta(
        rows=len(rows),
        score_correlation=_correlation(np.log(np.maximum(before, floor)), np.log(np.maximum(after, floor))),
        alarm_agreement=float((alarm_before == (after > quantised.threshold)).mean()),
        alarm_agreement_unmoved=float((alarm_before == (after > reference.threshold)).mean()),
        threshold_fp32=reference.threshold,
        threshold_int8=quantised.threshold,
        detection_fp32=None if faulty is None else reference.judge(rows, faulty),
        detection_int8=None if faulty is None else quantised.judge(rows, faulty),
    )


def quantise_graph(
    model: bytes, calibration: NDArray[np.float32], *, operators: tuple[str, ...], params: QuantisationParams
) -> bytes:
    """Static QDQ quantisation of ONNX bytes, calibrated on flat windows (n, columns)."""
    with TemporaryDirectory(prefix="quantise-") as folder:
        source, prepared, finished = (Path(folder, name) for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(model)
        # Symbolic shape inference needs sympy and has nothing to infer here: every width is fixed.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(finished),
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(operators),
            per_channel=params.per_channel,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[params.calibration],
        )
        proto = onnx.load(str(finished))
    del proto.graph.value_info[:]  # shapes of inner tensors: inferred again on loading
    keep_float_consumers(proto, operators)
    shorten_names(proto)
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)


def keep_float_consumers(proto: onnx.ModelProto, operators: tuple[str, ...]) -> None:
    """Give every node outside `operators` the float32 tensor again that the quantiser had replaced, in place.

    The quantiser puts a quantise-dequantise pair on a tensor for *all* its consumers. The residual of an autoencoder
    would then be taken from inputs clipped to the calibrated range: exactly the unusual rows would look usual.
    """
    graph = proto.graph
    maker = {name: node for node in graph.node for name in node.output}
    original: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and (source := maker.get(node.input[0])) is not None:
            original[node.output[0]] = source.input[0]
    for node in graph.node:
        if node.op_type not in (*operators, "QuantizeLinear", "DequantizeLinear"):
            node.input[:] = [original.get(name, name) for name in node.input]
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):  # a node whose outputs nobody reads any more goes
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def shorten_names(proto: onnx.ModelProto) -> None:
    """Rename inner tensors to _0, _1, ... in place: the quantiser's long names are half the file of a small model."""
    graph = proto.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    inner = dict.fromkeys(tensor.name for tensor in graph.initializer)
    inner |= dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output) if name)
    short = {name: f"_{index}" for index, name in enumerate(name for name in inner if name not in kept)}
    for tensor in graph.initializer:
        tensor.name = short.get(tensor.name, tensor.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]


class _Calibration(CalibrationDataReader):
    """Hands rows to the quantiser in blocks."""

    def __init__(self, rows: NDArray[np.float32], block: int = 256) -> None:
        self._blocks: Iterator[NDArray[np.float32]] = iter(np.array_split(rows, -(-len(rows) // block)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        block = next(self._blocks, None)
        return None if block is None else {INPUT_NAME: block}


def _correlation(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    if left.std() == 0 or right.std() == 0:
        return 1.0 if np.array_equal(left, right) else 0.0
    return float(np.corrcoef(left.astype(np.float64), right.astype(np.float64))[0, 1])
