"""A gate is decided by people at their browsers: a criterion turns green by itself, a deputy signs, a mention arrives, paper and hash hold."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.plant import ROOT, clean_environment, free_port, wait_for
from tests.browser.visitor import SCREENS, Visitor, visiting

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
KEEP_MARK = "() => { window.__sameDocument = true; }"
SAME = "() => window.__sameDocument === true"
PATIENCE_MS = 20_000


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Any]:
    """A portal of its own (see ``gate_server``)."""
    port = free_port()
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.gate_server", str(tmp_path), str(port)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        ready = tmp_path / "gate.json"
        wait_for(lambda: ready.exists() or process.poll() is not None, 180, "the portal with the gate")
        assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", home=tmp_path, **json.loads(ready.read_text()))
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture
def visit(browser: Any, portal: Any) -> Iterator[Callable[..., Visitor]]:
    """``visit("plant_manager", width=390)``: a browser in which that person is signed in."""
    with ExitStack() as stack:

        def one(role: str, **how: Any) -> Visitor:
            visitor = stack.enter_context(visiting(browser, portal, **({"width": 1280} | how)))
            session = {"name": portal.cookie, "value": portal.sessions[role], "url": portal.url}
            visitor.page.context.add_cookies([session])
            return visitor

        yield one


def clean_everywhere(visitor: Visitor, name: str) -> None:
    """Wide and narrow, light and dark."""
    page = visitor.page
    for width, dark in ((1280, False), (390, True), (390, False), (1280, True)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        visitor.expect_clean()
        visitor.shot(f"{name}-{width}-{'dark' if dark else 'light'}")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")


def test_a_gate_is_decided(visit: Any, portal: Any, tmp_path: Path) -> None:
    manager = visit("plant_manager")
    page = manager.go(portal.gate)
    drift = page.locator('[id="evidence-probe.drift"]')
    expect(drift).to_contain_text("Not met")
    expect(drift).to_contain_text("at most 7 days old")
    clean_everywhere(manager, "gate-red")

    # It turns green on a page that nobody touches.
    page.evaluate(KEEP_MARK)
    (portal.home / "facts.json").write_text(json.dumps({"probe.drift": 97, "probe.lineage": 100}))
    engineer = visit("ot_engineer", width=390)
    engineer.go(portal.gate).get_by_role("button", name="Measure now").click()
    expect(drift).to_contain_text("97", timeout=PATIENCE_MS)
    expect(drift).not_to_contain_text("Not met")
    assert page.evaluate(SAME), "the page was reloaded"

    # A colleague asks something; the name is offered after "@".
    asks = engineer.page
    asks.get_by_role("link", name="Write a comment").click()
    box = asks.get_by_label("Comment", exact=True)
    box.press_sequentially("@anna")
    expect(asks.get_by_role("option", name="Anna Gruber").first).to_be_visible()
    assert engineer.axe() == []
    engineer.shot("gate-comment-390-light")
    box.press("Enter")
    box.press_sequentially("is this the new probe? https://example.org/probe")
    asks.get_by_role("button", name="Send").click()
    expect(asks.locator(".gate-comments")).to_contain_text("is this the new probe?")
    expect(page.locator("#comments-live")).to_contain_text("is this the new probe?", timeout=PATIENCE_MS)
    page = manager.go("/inbox/")
    expect(page.locator("main")).to_contain_text("Jonas Weber mentions you at")
    manager.shot("gate-inbox-1280-light")
    page.locator('main a[href*="#comment-"]').first.click()
    expect(page.locator(".gate-comments .pg-mention")).to_have_text("@Anna Gruber")

    # A human still signs: two people, one of them for somebody who is away.
    page.get_by_role("button", name="Freeze evidence and review").click()
    page.get_by_role("button", name="Sign as Plant manager").click()
    expect(page.locator("main")).to_contain_text("You have signed this.")
    review = re.search(r"/reviews/[0-9a-f-]{36}/", page.url)
    assert review is not None
    clean_everywhere(manager, "gate-review")
    deputy = visit("data_steward")
    signs = deputy.go(review[0])
    signs.get_by_label("for Tom Berger, as deputy").check()
    signs.get_by_role("button", name="Sign as").click()
    expect(signs.locator("main")).to_contain_text("for Tom Berger (AI Safety Officer), as deputy")
    deputy.expect_clean()

    page = manager.go(review[0])
    expect(page.locator("#decide")).to_contain_text("moves to phase 4, Enable")
    page.get_by_role("radio", name="Go", exact=True).check()
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("body")).to_contain_text("The evidence it was taken on is frozen.")
    clean_everywhere(manager, "gate-decided")
    expect(manager.go(portal.gate).locator(".pg-head")).to_contain_text("Passed")
    assert manager.go(portal.adoption).get_by_text("Phase 4").count() or "4" in page.locator("main").inner_text()

    # Paper, without scripts.
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = manager.go(f"{review[0]}print/")
    expect(page.locator("main")).to_contain_text("for Tom Berger")
    signed = page.locator("footer .pg-hash").inner_text()
    assert page.locator("dl .pg-hash").inner_text() == signed, "on the first sheet as on the last"
    manager.expect_clean()
    paper = page.pdf(path=SCREENS / "gate-review.pdf", prefer_css_page_size=True, format="A4")
    assert paper.startswith(b"%PDF-")

    # The copy that somebody keeps has the hash that was signed.
    page = manager.go(f"{review[0]}verify/")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the document").click()
    copy = tmp_path / "copy.json"
    waiting.value.save_as(copy)
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == signed
    page.locator("#id_document").set_input_files(copy)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("main")).to_contain_text("Byte by byte the document that was signed.")
    copy.write_text(copy.read_text().replace('"value":97', '"value":99'))
    page.locator("#id_document").set_input_files(copy)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("main")).to_contain_text("97 → 99")
    clean_everywhere(manager, "gate-verify")

    manager.go(f"{portal.gate}history/")
    expect(manager.page.locator("main")).to_contain_text("Decided: Go")
    clean_everywhere(manager, "gate-history")
    away = visit("safety_officer")
    away.go("/coe/deputies/")
    expect(away.page.locator("main")).to_contain_text("Two weeks of holiday.")
    clean_everywhere(away, "deputies")
    away.go("/coe/deputies/new")
    clean_everywhere(away, "deputy-new")

    # Without scripts everything is there too.
    plain = visit("ot_engineer", scripts=False)
    page = plain.go(portal.gate)
    page.get_by_role("link", name="Write a comment").click()
    page.get_by_label("Comment", exact=True).fill("Seen it.")
    page.get_by_label("Mention").select_option(label="Anna Gruber")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Read the comments").click()
    expect(page.locator(".gate-comments")).to_contain_text("Told: Anna Gruber")
