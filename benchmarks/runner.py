"""Shared by all benchmarks: time things, run a peer in its own environment, print `ours / peer or limit / ratio`.

A peer's packages are listed in `benchmarks/peers/<peer>.txt`; its environment is made on demand in
`build/peers/<peer>` and made anew when the list changes. Nothing of it reaches the project's own environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Row:
    """One line of a benchmark. The ratio says how many times better ours is than the peer (or than the limit)."""

    what: str
    ours: float
    other: float
    against: str
    unit: str = "s"
    higher_is_better: bool = False
    required: float | None = None

    @property
    def ratio(self) -> float:
        better, worse = (self.ours, self.other) if self.higher_is_better else (self.other, self.ours)
        return better / worse if worse else float("inf")

    @property
    def holds(self) -> bool:
        return self.required is None or self.ratio >= self.required


def median_seconds(work: Callable[[], object], *, repeat: int = 5, warm: int = 1) -> float:
    """Median wall seconds of `repeat` runs after `warm` runs that do not count."""
    for _ in range(warm):
        work()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peer_python(peer: str) -> Path:
    """Interpreter of the peer's environment, made first if its list of packages is new or has changed."""
    listed = ROOT / "benchmarks" / "peers" / f"{peer}.txt"
    home = ROOT / "build" / "peers" / peer
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = home / "made-from.sha256"
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    print(f"making the environment of {peer} in {home.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    if home.exists():
        shutil.rmtree(home)
    uv = _uv()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([*uv, "venv", "-q", "--python", version, str(home)], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), "-r", str(listed)], check=True)
    stamp.write_text(digest)
    return python


def run_peer(peer: str, script: str | Path, *arguments: str, timeout: float = 1800.0) -> dict[str, Any]:
    """Run a script with the peer's interpreter on one thread; the JSON object on the last line it prints."""
    command = [str(peer_python(peer)), str(script), *arguments]
    home = ROOT / "build" / "peers" / peer
    environment = {**os.environ, **ONE_THREAD, "HOME": str(home), "PYTHONWARNINGS": "ignore", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{peer} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def report(title: str, rows: Sequence[Row], *, notes: Sequence[str] = ()) -> int:
    """Print the rows as a table; exit code 0 if every required ratio holds, else 1."""
    heads = ("what", "ours", "peer or limit", "against", "ratio", "required")
    table = [heads] + [
        (
            row.what,
            _figure(row.ours, row.unit),
            _figure(row.other, row.unit),
            row.against,
            f"{row.ratio:.1f}x",
            "-" if row.required is None else f"{row.required:g}x {'holds' if row.holds else 'MISSED'}",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in table) for i in range(len(heads))]
    print(f"\n{title}")
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for note in notes:
        print(f"  {note}")
    return 0 if all(row.holds for row in rows) else 1


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.4g} {unit}"


def _uv() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("uv")
    if found:
        return [found]
    raise SystemExit("uv is needed to make a peer's environment: install the development requirements")
