"""A model file that somebody brings must not reach for other files of the worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from governance.modelling import imported
from governance.modelling.runtime import open_session

SECRET = b"-----BEGIN PRIVATE KEY-----"


def outside(name: str) -> TensorProto:
    """A tensor whose values are the bytes of a file beside the process."""
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[len(SECRET)])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": name, "offset": "0", "length": str(len(SECRET))}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def thief(*, initialiser: bool = True) -> bytes:
    """A graph of two inputs that answers with the first byte of ``signing_key.pem``."""
    weights = outside("signing_key.pem")
    nodes = [] if initialiser else [helper.make_node("Constant", [], ["w"], value=weights)]
    nodes += [
        helper.make_node("Cast", ["w"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["as_float", "first"], ["byte"]),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
        helper.make_node("Add", ["nothing", "byte"], ["out"]),
    ]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        helper.make_tensor("nought", TensorProto.FLOAT, [1], [0.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "thief",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [weights, *constants] if initialiser else constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.fixture
def worker_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "signing_key.pem").write_bytes(SECRET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_runtime_by_itself_would_read_the_key(worker_folder: Path) -> None:
    (found,) = open_session(thief()).run(None, {"features": np.ones((1, 2), np.float32)})
    assert float(found[0, 0]) == SECRET[0]


@pytest.mark.parametrize("initialiser", [True, False])
def test_a_file_with_weights_elsewhere_is_refused(worker_folder: Path, initialiser: bool) -> None:
    with pytest.raises(ValueError, match="another file"):
        imported.window_of(thief(initialiser=initialiser), 2)


def test_weights_elsewhere_are_found_in_branches_and_functions() -> None:
    branch = helper.make_graph([helper.make_node("Constant", [], ["x"], value=outside("key"))], "branch", [], [])
    inner = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    in_branch = helper.make_model(helper.make_graph([inner], "g", [], []))
    function = helper.make_function(
        "own", "f", [], ["x"], [helper.make_node("Constant", [], ["x"], value=outside("key"))], []
    )
    in_function = helper.make_model(helper.make_graph([], "g", [], []), functions=[function])
    for model in (in_branch, in_function):
        with pytest.raises(ValueError, match="another file"):
            imported.refuse_outside_weights(model.SerializeToString())


@pytest.mark.parametrize("content", [b"not a model", b"\x08\x00\x00\x00ORTM" + b"\x00" * 64])
def test_what_is_no_onnx_is_refused_before_the_runtime_sees_it(content: bytes) -> None:
    with pytest.raises(ValueError, match="no ONNX model"):
        imported.window_of(content, 2)


def test_a_whole_file_is_taken() -> None:
    node = helper.make_node("ReduceMean", ["features"], ["out"], axes=[1], keepdims=1)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    assert imported.window_of(made.SerializeToString(), 2) == 1
