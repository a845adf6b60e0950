"""Set up the environment: interpreter, packages with hashes, browser libraries. Standard library only; quick when nothing changed.

python3 scripts/bootstrap.py demo|dev|assets
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if sys.platform == "win32" else "bin")
NEEDED_MB = {"demo": 2500, "dev": 3500, "assets": 500}
UV = "uv==0.13.9"


def fail(sentence: str) -> None:
    print(f"\nPhasegate cannot start: {sentence}", file=sys.stderr)
    raise SystemExit(1)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
        fail(f"`{' '.join(command[:4])} …` failed; its last lines are above.")


def check_interpreter() -> None:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        found = ".".join(map(str, sys.version_info[:3]))
        fail(f"Python 3.11 or 3.12 is needed, this is {found}. Try: make demo PYTHON=python3.11")


def check_disk(kind: str) -> None:
    free = shutil.disk_usage(ROOT).free // 2**20
    if free < NEEDED_MB[kind] and not stamp_ok("packages", lock_of(kind)):
        fail(f"{free} MB are free here and {NEEDED_MB[kind]} MB are needed. Free some space and run it again.")


def lock_of(kind: str) -> Path:
    return ROOT / ("requirements-dev.txt" if kind == "dev" else "requirements.txt")


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamp_ok(name: str, *paths: Path) -> bool:
    stamp = VENV / f".stamp-{name}"
    known = stamp.read_text().split() if stamp.exists() else []
    return all(fingerprint(path) in known for path in paths)


def stamp(name: str, *paths: Path) -> None:
    file = VENV / f".stamp-{name}"
    known = file.read_text().split() if file.exists() else []
    file.write_text("\n".join([*known[-6:], *(fingerprint(path) for path in paths)]))


def environment(kind: str) -> None:
    lock = lock_of(kind)
    if (BIN / "python").exists() and stamp_ok("packages", lock):
        return
    began = time.monotonic()
    if not (BIN / "python").exists():
        say("making a Python environment in .venv")
        try:
            venv.create(VENV, with_pip=True, clear=False)
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"no environment could be made ({error}). On Debian and Ubuntu: apt install python3.11-venv")
    say("installing packages (about 150, checked by hash)")
    if not (BIN / "uv").exists():
        run(str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    run(
        str(BIN / "uv"),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(BIN / "python"),
        "--require-hashes",
        "-r",
        str(lock),
    )
    stamp("packages", lock)
    say(f"packages installed in {time.monotonic() - began:.0f} s")


def assets() -> None:
    target = ROOT / "static" / "vendor"
    if not (shutil.which("npm") and shutil.which("node")) and not target.exists():
        lock = ROOT / "requirements-assets.txt"
        if not stamp_ok("assets", lock):
            say("no npm found: using the one from the Python package index")
            run(
                str(BIN / "uv"),
                "pip",
                "install",
                "--quiet",
                "--python",
                str(BIN / "python"),
                "--require-hashes",
                "-r",
                str(lock),
            )
            stamp("assets", lock)
    if not target.exists():
        say("copying the browser libraries")
    run(str(BIN / "python"), "scripts/vendor_assets.py")


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "demo"
    if kind not in NEEDED_MB:
        fail(f"there is no set-up called {kind!r}; choose demo, dev or assets.")
    check_interpreter()
    check_disk(kind)
    environment("demo" if kind == "assets" else kind)
    assets()


if __name__ == "__main__":
    main()
