"""A PLC in a thread, an agent as a real process, and models made on the spot."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from edge_bridge import wire
from edge_bridge.demo.machine import ReplayPlc
from edge_bridge.demo.plc import PlcServer
from edge_bridge.demo.replay import load

ROOT = Path(__file__).parents[3]
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY_ID = "test-key"


class PlcThread:
    """A real Modbus TCP PLC on a free port, in a thread of its own."""

    def __init__(
        self, profile: str, *, pace: float = 0, start_row: int = 0, state: Path | None = None, port: int = 0
    ) -> None:
        self.plc = ReplayPlc(load(profile), pace=pace, start_row=start_row, state=state)
        self.port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        async def work() -> None:
            server = PlcServer(self.plc, port=self.port)
            await server.start()
            self.port = server.port
            self._ready.set()
            await self._stop.wait()
            await server.stop()

        self._loop.run_until_complete(work())
        self._loop.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)


@dataclass
class AgentProcess:
    """`python -m edge_bridge.agent` on a state directory."""

    state_dir: Path
    portal: str
    claim_code: str = "CLAIM-1"
    process: subprocess.Popen[bytes] | None = None
    ca: Path | None = None

    def start(self) -> AgentProcess:
        log = (self.state_dir.parent / "agent.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "edge_bridge.agent", "run", "--state-dir", str(self.state_dir)),
                *("--portal", self.portal, "--claim-code", self.claim_code),
                *(("--ca", str(self.ca)) if self.ca else ()),
            ],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        log.close()
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def terminate(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_bridge.agent", *arguments, "--state-dir", str(self.state_dir)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def log(self) -> str:
        return (self.state_dir.parent / "agent.log").read_text()


def linear_model(weights: list[float], bias: float = 0.0) -> bytes:
    """ONNX: y = x . weights + bias, one output column."""
    w = numpy_helper.from_array(np.array(weights, dtype=np.float32).reshape(-1, 1), "w")
    b = numpy_helper.from_array(np.array([bias], dtype=np.float32), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [w, b],
    )
    return _bytes(graph)


def tree_model(x: np.ndarray, y: np.ndarray) -> tuple[bytes, object]:
    """A HistGradientBoostingRegressor as ONNX, and the fitted regressor."""
    from governance.modelling.soft_sensor import SoftSensorParams, export, fit

    fitted = fit(x.astype(np.float32), y, None, SoftSensorParams(max_iter=20))
    return export(fitted), fitted


def shrinking_autoencoder(width: int, factor: float = 0.5) -> bytes:
    """ONNX: x -> factor * x, so that the score of scaled z is mean(((factor - 1) z)^2)."""
    f = numpy_helper.from_array(np.array([factor], dtype=np.float32), "f")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "f"], ["y"])],
        "shrink",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        [f],
    )
    return _bytes(graph)


def failing_model(width: int) -> bytes:
    """ONNX that computes one row but fails on two or more: it reshapes whatever comes to [1, width]."""
    shape = numpy_helper.from_array(np.array([1, width], dtype=np.int64), "s")
    w = numpy_helper.from_array(np.ones((width, 1), dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])],
        "failing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 1])],
        [shape, w],
    )
    return _bytes(graph)


def _bytes(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def order(
    artefact: bytes,
    *,
    version: str = "v1",
    source: str = "turbine",
    key: str = "nox",
    features: list[str],
    task: str = "regression",
    signed_by: Ed25519PrivateKey = KEY,
    key_id: str = KEY_ID,
    fallback: str = "last_good",
    stopped: bool = False,
    canary: bool = False,
    sha256: str = "",
    size: int = 0,
    **manifest: object,
) -> wire.Installation:
    """A signed installation order."""
    sha = sha256 or hashlib.sha256(artefact).hexdigest()
    made = wire.Manifest(
        model="m",
        model_version=version,
        sha256=sha,
        size=size or len(artefact),
        task=task,
        features=features,
        **manifest,
    )
    return wire.Installation(
        id=key,
        source=source,
        manifest=made,
        signature=wire.Signature(key=key_id, value=signed_by.sign(wire.manifest_bytes(made))),
        url=f"/edge/v1/artefacts/{sha}",
        fallback=fallback,
        stopped=stopped,
        canary=canary,
    )
