"""The demo's commands.

python -m portal.demo up [--port 8000] [--home DIR] [--mlflow-server 0|1]
python -m portal.demo reset|check [--home DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from portal.demo.paths import DemoError, Paths


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m portal.demo", description="The demo plant.")
    parser.add_argument("command", choices=["up", "reset", "check", "seed", "assets"])
    parser.add_argument("--home", default=".demo", help="folder for everything the demo keeps")
    parser.add_argument("--port", type=int, default=8000, help="port of the portal")
    parser.add_argument("--mlflow-server", default="0", help="1: run an MLflow server instead of the embedded store")
    parser.add_argument("--mark", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    paths = Paths(Path(given.home).expanduser().resolve())
    try:
        if given.command == "check":
            from portal.demo.check import run

            return run(paths)
        from portal.demo import life

        if given.command == "reset":
            return life.reset(paths)
        if given.command == "seed":
            return life.seed(paths, port=given.port)
        if given.command == "assets":
            return life.assets(paths, port=given.port, mark=given.mark)
        return life.up(paths, port=given.port, mlflow_server=given.mlflow_server not in {"", "0", "false", "no"})
    except KeyboardInterrupt:
        print("\n  stopped; run it again to go on", file=sys.stderr)
        return 130
    except DemoError as error:
        print(f"\nPhasegate cannot start: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
