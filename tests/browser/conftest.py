"""One real demo and one real Chromium for the tests of this folder.

With ``PHASEGATE_DEMO_HOME=DIR`` a demo that runs already in DIR is used and left running (its tests of stopping are skipped).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.browser.plant import ROOT, Demo, clean_environment, free_port, wait_for
from tests.conftest import skip_or_fail

# Playwright's synchronous interface runs an event loop in this thread; Django would refuse its database beside one.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ORDER = ("test_story", "test_pages", "test_demo")


def chromium_path() -> str | None:
    return os.environ.get("PHASEGATE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The story while the decay is still ahead, then every page, then what breaks and stops the demo."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return ORDER.index(name) if item.path.parent == Path(__file__).parent and name in ORDER else -1

    items.sort(key=place)


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    given = os.environ.get("PHASEGATE_DEMO_HOME")
    if given:
        running = Demo(Path(given).resolve(), 0)
        running.read()
        yield running
        return
    if chromium_path() is None:
        skip_or_fail("Chromium is not installed (apt install chromium)")
    plant = Demo(tmp_path_factory.mktemp("demo") / "home", free_port())
    plant.start()
    try:
        yield plant
    finally:
        if plant.process is not None:
            plant.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    path = chromium_path()
    if path is None:
        skip_or_fail("Chromium is not installed (apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, demo: Demo) -> Iterator[Callable[..., Any]]:
    """``visit("ot_engineer", width=390, dark=True)`` gives a Visitor; without a role nobody is signed in."""
    from tests.browser.visitor import visiting

    with ExitStack() as stack:

        def open_one(role: str | None = None, **how: Any) -> Any:
            visitor = stack.enter_context(visiting(browser, demo, **how))
            return visitor.sign_in(role) if role else visitor

        yield open_one


@pytest.fixture(scope="package")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A portal of its own (see ``round_server``), so that nobody else's writes are waited for."""
    home, port = tmp_path_factory.mktemp("workshop"), free_port()
    log = (home / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.round_server", str(home), str(port)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        ready = home / "workshop.json"
        wait_for(lambda: ready.exists() or process.poll() is not None, 180, "the portal of the workshop")
        assert process.poll() is None, (home / "server.log").read_text()[-2000:]
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", **json.loads(ready.read_text()))
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture
def enter(browser: Any, workshop: Any) -> Iterator[Callable[..., Any]]:
    """``enter("coe_lead", width=390)``: a browser of their own, signed in to the workshop's portal."""
    from tests.browser.visitor import visiting

    with ExitStack() as stack:

        def one(role: str, **how: Any) -> Any:
            visitor = stack.enter_context(visiting(browser, workshop, **how))
            session: Any = {"name": workshop.cookie, "value": workshop.sessions[role], "url": workshop.url}
            visitor.page.context.add_cookies([session])
            return visitor

        yield one
