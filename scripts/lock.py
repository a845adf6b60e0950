"""Compile every requirements*.in into its lock file with hashes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    ("requirements.in",),
    ("requirements-assets.in",),
    ("requirements-dev.in",),
    ("requirements-agent.in", "-c", "requirements.txt"),
)


def main() -> int:
    uv = Path(sys.executable).parent / "uv"
    for source, *rest in LOCKS:
        target = source.replace(".in", ".txt")
        command = [
            str(uv),
            "pip",
            "compile",
            "-q",
            "--generate-hashes",
            "--python-version",
            "3.11",
            source,
            "-o",
            target,
            *rest,
        ]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
