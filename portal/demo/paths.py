"""Where the demo keeps what, and its environment."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PLC_PORTS = {"turbine": 15_020, "workshop": 15_021, "process": 15_022}


class DemoError(Exception):
    """A sentence for the person at the terminal."""


@dataclass(frozen=True)
class Paths:
    home: Path

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def demo_json(self) -> Path:
        return self.home / "demo.json"

    @property
    def sign_ins(self) -> Path:
        return self.home / "sign-ins.json"

    @property
    def ports(self) -> Path:
        return self.home / "ports.json"

    @property
    def plc_state(self) -> Path:
        return self.home / "plc-turbine.json"

    @property
    def seeded(self) -> Path:
        return self.home / "seeded"

    @property
    def runtime(self) -> Path:
        """A short folder for the unix sockets: their addresses are limited to 108 bytes."""
        key = hashlib.sha256(str(self.home).encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"phasegate-{os.getuid()}-{key}"

    @property
    def broker_socket(self) -> Path:
        return self.runtime / "broker.sock"

    def agent(self, code: str) -> Path:
        return self.home / "gateways" / code


def environment(paths: Paths, *, port: int) -> dict[str, str]:
    """The variables every process of the demo gets."""
    return {
        "PHASEGATE_HOME": str(paths.home),
        "PHASEGATE_DEMO": "1",
        "PHASEGATE_SELLER_NAME": "Demo plant operator",
        "PHASEGATE_SELLER_ADDRESS": "Address of the demo, not a real one|00000 Nowhere",
        "PHASEGATE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PHASEGATE_ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
        "REDIS_URL": os.environ.get("REDIS_URL") or f"unix://{paths.broker_socket}",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def port_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def plc_ports(paths: Paths) -> dict[str, int]:
    """The PLCs' ports, chosen once and kept: the usual ones where they are free, else any."""
    if paths.ports.exists():
        return {name: int(port) for name, port in json.loads(paths.ports.read_text()).items()}
    chosen = {}
    for name, port in PLC_PORTS.items():
        if not port_free(port):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        chosen[name] = port
    paths.ports.write_text(json.dumps(chosen))
    return chosen


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; whole or not at all."""
    temporary = path.with_suffix(".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
