"""Two people change one business case at their browsers: both versions are shown, nothing typed is lost, each difference is a choice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.plant import ROOT, clean_environment, free_port, wait_for
from tests.browser.visitor import Visitor, visiting

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
TYPED = "The washing is done by hand today. Three plants were asked; two have answered.\nMore in the minutes."


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Any]:
    """A portal of its own (see ``business_server``)."""
    port = free_port()
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.business_server", str(tmp_path), str(port)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        ready = tmp_path / "business.json"
        wait_for(lambda: ready.exists() or process.poll() is not None, 180, "the portal with the business case")
        assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", home=tmp_path, **json.loads(ready.read_text()))
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture
def visit(browser: Any, portal: Any) -> Iterator[Any]:
    with ExitStack() as stack:

        def one(role: str, **how: Any) -> Visitor:
            visitor = stack.enter_context(visiting(browser, portal, **({"width": 1280} | how)))
            visitor.page.context.add_cookies(
                [{"name": portal.cookie, "value": portal.sessions[role], "url": portal.url}]
            )
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


def test_two_people_on_one_case(visit: Any, portal: Any) -> None:
    scientist = visit("data_scientist")
    page = scientist.go(f"{portal.case}change/")
    clean_everywhere(scientist, "business-form")
    page.get_by_label("Assumptions").fill(TYPED)
    page.locator("#id_lines-0-high").fill("91000")
    page.locator("#id_discount_rate").fill("0.07")

    # Meanwhile the lead saves: the same rate otherwise, another line, and one line taken out.
    lead = visit("coe_lead", width=390)
    other = lead.go(f"{portal.case}change/")
    other.locator("#id_discount_rate").fill("0.1")
    other.locator("#id_lines-2-high").fill("55000")
    other.locator("#id_lines-1-DELETE").check()
    other.get_by_role("button", name="Save and compute").click()
    expect(other.get_by_text("Saved and computed.")).to_be_visible()
    lead.expect_clean()

    with scientist.troubles.expecting(412):
        page.get_by_role("button", name="Save and compute").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("Lea Winter changed this while you were editing")
    clean_everywhere(scientist, "business-conflict")

    # Nothing typed is lost, and both versions stand side by side.
    expect(page.get_by_label("Assumptions").last).to_have_value(TYPED)
    expect(page.locator("#id_lines-0-high")).to_have_value("91000")
    expect(page.locator("#id_discount_rate")).to_have_value("0.07")
    table = page.locator(".pg-conflict table")
    rate = table.get_by_role("row", name="Discount rate per year")
    expect(rate).to_contain_text("you both changed it")
    expect(rate).to_contain_text("10 %")
    expect(rate).to_contain_text("7 %")
    removed = table.get_by_role("row", name="running")
    expect(removed).to_contain_text("not there")
    expect(removed.get_by_role("radio").first).to_be_checked()
    expect(table.get_by_role("row", name="sensors").get_by_role("radio").last).to_be_checked()

    # Chosen by keyboard: their rate, the line that they took out stays.
    rate.get_by_role("radio").last.focus()
    page.keyboard.press("ArrowLeft")
    expect(rate.get_by_role("radio").first).to_be_checked()
    removed.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Save what was chosen").click()
    expect(page.get_by_text("Saved and computed.")).to_be_visible()
    main = page.locator("main")
    for words in ("Three plants were asked", "91,000", "55,000", "running"):
        expect(main).to_contain_text(words)
    expect(main).to_contain_text("10.0 %")
    clean_everywhere(scientist, "business-case")


def test_the_conflict_needs_no_script(visit: Any, portal: Any) -> None:
    scientist = visit("data_scientist", scripts=False)
    page = scientist.go(f"{portal.case}change/")
    page.get_by_label("Assumptions").fill(TYPED)
    other = visit("coe_lead").go(f"{portal.case}change/")
    other.get_by_label("Assumptions").fill("Agreed with the plant.")
    other.get_by_role("button", name="Save and compute").click()
    expect(other.get_by_text("Saved and computed.")).to_be_visible()
    page.get_by_role("button", name="Save and compute").click()
    expect(page.locator(".pg-conflict")).to_contain_text("Agreed with the plant.")
    expect(page.locator("#id_assumption")).to_have_value(TYPED)
    page.get_by_role("link", name="Keep what is saved now").click()
    expect(page.locator("main")).to_contain_text("Agreed with the plant.")
