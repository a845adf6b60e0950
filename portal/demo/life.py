"""Start, run and stop the demo."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from portal.demo import supervise
from portal.demo.paths import DemoError, Paths, environment, plc_ports, port_free, write_private

FREE_MB = 800


def say(text: str) -> None:
    # A terminal that was closed takes no more lines, which must not keep the rest from being stopped.
    with contextlib.suppress(OSError):
        print(f"  {text}", flush=True)


def up(paths: Paths, *, port: int, mlflow_server: bool) -> int:
    began = time.monotonic()
    _prepare_home(paths)
    if not 1024 <= port <= 65_000:
        raise DemoError(f"port {port} is out of range; choose one between 1024 and 65000: make demo PORT=8123")
    for wanted in [port, *([port + 1] if mlflow_server else [])]:
        if not port_free(wanted):
            raise DemoError(f"port {wanted} is taken. Choose another: make demo PORT={wanted + 100}")
    if paths.demo_json.exists():
        url = json.loads(paths.demo_json.read_text())["url"]
        if _answers(url):
            raise DemoError(f"the demo of {paths.home} runs already: {url}")
        paths.demo_json.unlink()  # the last one was killed
    first = not paths.seeded.exists()
    print("Phasegate demo", flush=True)
    if first:
        say(
            "first start: the plants' history is played through the same code that runs live; this takes about two minutes"
        )
    assets = _assets(paths, port)
    _run_here(paths, port, "seed")
    if assets is not None and assets.wait():
        raise DemoError(f"styles and scripts could not be prepared; the reason is in {paths.logs / 'assets.log'}.")
    known = json.loads(paths.sign_ins.read_text())
    text = supervise.configuration(
        paths,
        port=port,
        plc_ports=plc_ports(paths),
        gateways=known["gateways"],
        mlflow_server=mlflow_server,
        start_row=known["start_row"],
    )
    stopping = _on_signal()
    process = supervise.start(paths, text)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(url, process, stopping)
        if not stopping:
            write_private(paths.demo_json, json.dumps({"url": url, "users": known["users"]}, indent=2))
            _welcome(url, known, time.monotonic() - began, paths)
        while process.poll() is None and not stopping:
            time.sleep(0.3)
    finally:
        paths.demo_json.unlink(missing_ok=True)
        _stop(process)
    if stopping:
        say("stopped; the next start goes on from here")
        return 0
    raise DemoError(f"the supervisor ended by itself; see {paths.logs}")


def seed(paths: Paths, *, port: int) -> int:
    """Bring the database up to date and make the demo plant where there is none (its own process, so that nothing of it stays in memory)."""
    os.environ.update(environment(paths, port=port))
    os.environ["REDIS_URL"] = ""
    os.environ["PHASEGATE_LOG_LEVEL"] = "ERROR"
    import django

    django.setup()
    from portal.demo.seed.story import build

    build(paths, say)
    return 0


def _assets(paths: Paths, port: int) -> subprocess.Popen[bytes] | None:
    """Collects and compresses styles, scripts and fonts beside the seeding; None if those of the last start still hold."""
    marks = [
        f"{file.relative_to(supervise.ROOT)} {state.st_size} {state.st_mtime_ns}"
        for file in sorted((supervise.ROOT / "static").rglob("*"))
        if file.is_file() and (state := file.stat())
    ]
    mark = hashlib.sha256(
        "\n".join([*marks, sys.prefix, (supervise.ROOT / "requirements.txt").read_text()]).encode()
    ).hexdigest()
    stamp = paths.home / "static" / "made-from.sha256"
    if stamp.exists() and stamp.read_text() == mark:
        return None
    shutil.rmtree(stamp.parent, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "portal.demo",
        "assets",
        "--home",
        str(paths.home),
        "--port",
        str(port),
        "--mark",
        mark,
    ]
    with (paths.logs / "assets.log").open("wb") as log:
        return subprocess.Popen(command, cwd=supervise.ROOT, stdout=log, stderr=subprocess.STDOUT)


def assets(paths: Paths, *, port: int, mark: str) -> int:
    """The work of ``_assets`` in its own process; the mark is written last."""
    os.environ.update(environment(paths, port=port))
    import django

    django.setup()
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)
    (paths.home / "static" / "made-from.sha256").write_text(mark)
    return 0


def reset(paths: Paths) -> int:
    if paths.demo_json.exists() and _answers(json.loads(paths.demo_json.read_text())["url"]):
        raise DemoError("the demo is running; stop it first (Ctrl-C in its terminal).")
    if paths.home.exists():
        if not (paths.home / "phasegate.sqlite3").exists() and any(paths.home.iterdir()):
            raise DemoError(f"{paths.home} does not look like a demo's folder, so nothing in it was deleted.")
        shutil.rmtree(paths.home)
    shutil.rmtree(paths.runtime, ignore_errors=True)
    say("the demo's data is gone; the next `make demo` begins again")
    return 0


def _prepare_home(paths: Paths) -> None:
    try:
        paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = paths.home / ".writable"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise DemoError(
            f"{paths.home} cannot be written ({error.strerror}). Choose another: make demo HOME_DIR=/some/dir"
        ) from error
    free = shutil.disk_usage(paths.home).free // 2**20
    if free < FREE_MB:
        raise DemoError(
            f"{free} MB are free in {paths.home} and {FREE_MB} MB are needed. Free some space, or: make demo HOME_DIR=/some/dir"
        )
    paths.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.logs.mkdir(parents=True, exist_ok=True)


def _run_here(paths: Paths, port: int, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portal.demo", command, "--home", str(paths.home), "--port", str(port)],
        check=False,
        cwd=supervise.ROOT,
    )
    if done.returncode:
        raise DemoError(
            "setting up did not finish; the reason is above. Run it again, or `make demo-reset` to begin anew."
        )


def _on_signal() -> list[int]:
    """The signals that ask for the end: Ctrl-C, an ordinary kill, a closed terminal."""
    got: list[int] = []

    def handle(number: int, frame: Any) -> None:
        got.append(number)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGHUP, handle)
    return got


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait_ready(url: str, process: subprocess.Popen[bytes], stopping: list[int]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not stopping:
        if process.poll() is not None:
            raise DemoError("the supervisor ended at once; see the logs folder.")
        if _answers(url):
            return
        time.sleep(0.2)
    if not stopping:
        raise DemoError(f"{url} did not answer within 90 s; see the logs folder.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    say("stopping")
    try:
        process.wait(45)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _welcome(url: str, known: dict[str, Any], seconds: float, paths: Paths) -> None:
    print(f"\nReady in {seconds:.0f} s:  {url}\n", flush=True)
    print("  One click on the first page signs you in as any of these; or use the e-mail address and this password:")
    print(f"  password  {known['users'][0]['password']}\n")
    for user in known["users"]:
        print(f"    {user['label']:<28} {user['email']}")
    print(f"\n  Logs in {paths.logs}. Check the story: make demo-check. Ctrl-C stops everything.\n", flush=True)
