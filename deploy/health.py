"""Is the program of this container well? Exit 0 or 1; standard library only (the agent's check uses the agent).

python deploy/health.py http URL | worker | fresh SECONDS FOLDER | connected PORT | listens PORT | agent STATE_DIR
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

ESTABLISHED = "01"


def http(url: str) -> bool:
    """Answers 200. The header stands for the proxy's TLS, so that a portal that insists on https answers too."""
    request = urllib.request.Request(url, headers={"X-Forwarded-Proto": "https"})  # noqa: S310 - from our own compose file
    try:
        with urllib.request.urlopen(request, timeout=8) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def worker() -> bool:
    """The worker of this very container answers a ping through the broker."""
    name = f"celery@{socket.gethostname()}"
    done = subprocess.run(  # noqa: S603 - our own words, the program from the image's PATH
        ["celery", "-A", "portal", "inspect", "ping", "-d", name, "-t", "8"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def fresh(seconds: str, folder: str) -> bool:
    """Some file of the folder was written within so many seconds."""
    newest = max((path.stat().st_mtime for path in Path(folder).iterdir()), default=0.0)
    return time.time() - newest < float(seconds)


def connected(port: str, tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> bool:
    """A connection to that port of another machine is up (Linux)."""
    wanted = f":{int(port):04X}"
    for table in tables:
        if Path(table).exists():
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                _slot, _local, remote, state, *_rest = line.split()
                if remote.endswith(wanted) and state == ESTABLISHED:
                    return True
    return False


def listens(port: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 3):
            return True
    except OSError:
        return False


def agent(state_dir: str) -> bool:
    """The agent holds its lock."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from edge_bridge.agent.identity import runs

    return runs(Path(state_dir))


CHECKS: dict[str, Callable[..., bool]] = {
    "http": http,
    "worker": worker,
    "fresh": fresh,
    "connected": connected,
    "listens": listens,
    "agent": agent,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in CHECKS:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    return 0 if CHECKS[arguments[0]](*arguments[1:]) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
