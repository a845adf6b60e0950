"""The ranking of a round and of the programme at a browser: sliders rank again in place, the address keeps them, a form does it too."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
MARK = "() => { window.__mark = true; }"
SAME = "() => window.__mark === true"
ROI = "Measurable ROI"
FIRST, SECOND = "NOx soft sensor", "Bearing wear"


def order(page: Page) -> Any:
    return page.locator("[data-ranking] li")


def expect_order(page: Page, *titles: str) -> None:
    expect(order(page)).to_have_text([re.compile(title) for title in titles])


def address(workshop: Any, which: str) -> str:
    return "/ranking/" if which == "programme" else str(workshop.paths["Winter round"]) + "ranking/"


@pytest.mark.parametrize("which", ["round", "programme"])
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_sliders_rank_again_in_place(enter: Any, workshop: Any, which: str, width: int, dark: bool) -> None:
    lead = enter("coe_lead", width=width, dark=dark)
    page = lead.go(address(workshop, which))
    page.evaluate(MARK)
    verdict = page.locator("[data-verdict]")
    said = verdict.inner_text()
    expect_order(page, FIRST, SECOND)
    expect(page.locator("#ranking-firsts")).to_contain_text("plausible weightings")
    page.locator("[data-chart-ready]").first.wait_for()
    lead.expect_clean()
    lead.shot(f"ranking-{which}-{width}-{'dark' if dark else 'light'}")

    page.get_by_role("slider", name=ROI).fill("0")
    expect_order(page, SECOND, FIRST)
    expect(verdict).to_contain_text(SECOND)
    expect(verdict).not_to_have_text(said)
    expect(page.locator("#ranking-opinions tbody tr").first).to_contain_text(SECOND)
    expect(page).to_have_url(re.compile(r"[?&]roi=0(&|$)"))
    assert page.evaluate(SAME), "the page was reloaded"
    lead.expect_clean()

    page.get_by_role("button", name="Back to the agreed weights").click()
    expect_order(page, FIRST, SECOND)
    expect(verdict).to_have_text(said)
    expect(page).not_to_have_url(re.compile("roi="))
    assert page.evaluate(SAME), "the page was reloaded"
    lead.expect_clean()


def test_the_address_keeps_the_weights_for_somebody_else(enter: Any, workshop: Any) -> None:
    lead, manager = enter("coe_lead", width=1280), enter("plant_manager", width=390)
    page = lead.go(address(workshop, "round"))
    page.get_by_role("slider", name=ROI).fill("0")
    expect_order(page, SECOND, FIRST)
    expect(page).to_have_url(re.compile("roi=0"))
    for link in page.locator("[data-keeps-weights] a").all():
        assert "roi=0" in str(link.get_attribute("href")), "an export is what the page shows"
    other = manager.go(page.url)
    expect_order(other, SECOND, FIRST)
    expect(other.get_by_role("slider", name=ROI)).to_have_value("0")
    manager.expect_clean()
    other.get_by_role("button", name="Back to the agreed weights").click()
    expect_order(other, FIRST, SECOND)
    expect(other.get_by_role("slider", name=ROI)).to_have_value("50")


def test_by_keyboard(enter: Any, workshop: Any) -> None:
    lead = enter("coe_lead", width=1280)
    page = lead.go(address(workshop, "round"))
    slider = page.get_by_role("slider", name=ROI)
    slider.focus()
    page.keyboard.press("Home")
    expect_order(page, SECOND, FIRST)
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", "0 %")
    page.get_by_text("Sub-criteria").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Shares of Operational feasibility")).to_be_visible()
    lead.expect_clean()


@pytest.mark.parametrize("which", ["ranking", "round"])
def test_a_slider_moved_before_its_script_has_come_ranks_too(enter: Any, workshop: Any, which: str) -> None:
    lead = enter("coe_lead", width=1280)
    held: list[Any] = []
    lead.page.route("**/sliders*.js", lambda route: held.append(route))
    page = lead.go(workshop.paths["Winter round"] + ("ranking/" if which == "ranking" else ""))
    page.locator("[data-sliders]").get_by_role("slider", name=ROI).fill("0")
    while not held:
        page.wait_for_timeout(50)
    expect_order(page, FIRST, SECOND)
    held[0].continue_()
    expect_order(page, SECOND, FIRST)
    lead.expect_clean()


@pytest.mark.parametrize("which", ["round", "programme"])
def test_without_scripts_a_form_ranks_again(enter: Any, workshop: Any, which: str) -> None:
    lead = enter("coe_lead", width=390, scripts=False)
    page = lead.go(address(workshop, which) + "?roi=0&feasibility=60&data=40")
    expect_order(page, SECOND, FIRST)
    expect(page.get_by_role("slider", name=ROI)).to_have_value("0")
    page.get_by_role("link", name="Back to the agreed weights").click()
    expect_order(page, FIRST, SECOND)
    page.get_by_role("slider", name=ROI).press("Home")
    page.get_by_role("button", name="Show the ranking").click()
    expect_order(page, SECOND, FIRST)
    expect(page).to_have_url(re.compile("roi=0"))
    assert lead.troubles.rows == []


LONG = "Predictive maintenance of guide vane actuators, Donaudampfschifffahrtsgesellschaftskapitaensmuetze line 18"
NAME_ALL = "(links, name) => links.forEach((link) => { link.textContent = name; })"
WIDER = "(nodes) => nodes.filter((node) => node.scrollWidth > node.clientWidth + 1).length"


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_stay_in_their_place(enter: Any, workshop: Any, width: int) -> None:
    lead = enter("coe_lead", width=width)
    page = lead.go(address(workshop, "round"))
    page.locator("[data-ranking] a").evaluate_all(NAME_ALL, LONG)
    page.locator(".pg-chart-title b").evaluate_all(NAME_ALL, LONG)
    assert page.locator("[data-ranking] > li > span").evaluate_all(WIDER) == 0, "a name lies over its bar"
    assert page.locator(".pg-chart-title").evaluate_all(WIDER) == 0, "a title lies over its tools"
    page = lead.go("/use-cases/map/")
    page.locator(".pg-waits th a, .pg-waits td:nth-child(4) a").evaluate_all(NAME_ALL, LONG)
    assert page.locator(".pg-table-wrap").evaluate_all(WIDER) == 0, "a column is out of sight"
    page = lead.go(workshop.paths["Winter round"])
    tabs = page.locator("#answers .pg-tabs a")
    page.locator("#answers .pg-tab-name").evaluate_all(NAME_ALL, LONG)
    assert [tab for tab in tabs.all() if (tab.bounding_box() or {})["width"] > 400] == [], "one name fills the row"
    assert lead.overflow() == []
