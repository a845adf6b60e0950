"""All linters in one go: ruff, import contracts, templates, migrations, mypy. Every one runs; the exit code says whether all passed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

STEPS: tuple[tuple[str, list[str]], ...] = (
    ("ruff check", [str(BIN / "ruff"), "check", "."]),
    ("ruff format", [str(BIN / "ruff"), "format", "--check", "."]),
    ("import contracts", [str(BIN / "lint-imports"), "--no-cache"]),
    ("templates", [str(BIN / "djlint"), "templates", "--lint", "--quiet"]),
    ("migrations", [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]),
    ("system checks", [sys.executable, "manage.py", "check", "--fail-level", "WARNING"]),
    (
        "compose",
        [
            str(BIN / "check-jsonschema"),
            "--builtin-schema",
            "vendor.compose-spec",
            "docker-compose.yml",
            "deploy/compose.mqtt.yml",
        ],
    ),
    ("mypy", [str(BIN / "mypy"), "."]),
)


def main() -> int:
    environment = dict(os.environ) | {"PHASEGATE_TESTING": "1", "PHASEGATE_HOME": str(ROOT / "build" / "lint")}
    (ROOT / "build" / "lint").mkdir(parents=True, exist_ok=True)
    failed = []
    for name, command in STEPS:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {name}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-8000:] + done.stderr[-4000:], flush=True)
    print("All linters pass." if not failed else f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
