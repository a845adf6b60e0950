"""What a budget buys, in a browser: a scenario is asked, solved by the worker, read, compared and made the plan of record."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.plant import Demo

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo"), pytest.mark.timeout(600)]

NAME = "A smaller budget"


def test_a_scenario_is_asked_solved_read_and_decided(visit: Any, demo: Demo) -> None:
    lead = visit("coe_lead")
    page = lead.go("/portfolio/")
    expect(page.get_by_role("heading", name="Plan of record: 2013, as budgeted")).to_be_visible()
    lead.expect_clean()
    page.get_by_role("link", name="New scenario").click()
    lead.expect_clean()
    with lead.troubles.expecting(422):
        page.get_by_role("button", name="Save the scenario").click()
        expect(page.get_by_role("alert")).to_contain_text("Not saved")
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("First quarter begins").fill("2013-01-01")
    for quarter, amount in enumerate((60_000, 20_000, 20_000, 20_000)):
        page.locator(f"#id_budget_{quarter}").fill(str(amount))
    page.get_by_role("button", name="Save the scenario").click()
    expect(page.get_by_role("heading", name=NAME, level=1)).to_be_visible()
    page.get_by_role("button", name="Run the optimiser").click()
    # The worker solves; the page shows it by itself.
    expect(page.get_by_role("heading", name="What is out, and why")).to_be_visible(timeout=60_000)
    expect(page.locator("[data-verdict]")).to_contain_text("use cases fit: expected")
    expect(page.get_by_text("It has no business case yet, so there is nothing to weigh.").first).to_be_visible()
    address = page.url
    page.wait_for_function(
        "() => fetch(location.href).then(r => r.text()).then(t => t.includes('The next ') && !t.includes('data-poll=\"/portfolio'))",
        timeout=90_000,
    )
    page.goto(address)
    lead.expect_clean()
    page.get_by_role("button", name="Find the safe bets").click()
    expect(page.get_by_text("plans: a safe bet").first).to_be_visible(timeout=120_000)

    lead.go("/portfolio/compare/")
    lead.expect_clean()
    page.goto(address)
    page.get_by_role("button", name="Make it the plan of record").click()
    expect(page.get_by_text("This is the plan of record now.")).to_be_visible()
    lead.go("/portfolio/")
    expect(page.get_by_role("heading", name=f"Plan of record: {NAME}")).to_be_visible()

    phone = visit("plant_manager", width=390, dark=True)
    phone.go("/portfolio/")
    expect(phone.page.get_by_role("heading", name=f"Plan of record: {NAME}")).to_be_visible()
    phone.expect_clean()
    phone.page.goto(address)
    expect(phone.page.get_by_role("button", name="Run the optimiser")).to_have_count(0)
    phone.expect_clean()

    # Others read the plan the demo began with.
    page.goto(address)
    first = demo.one("scenarios", name="2013, as budgeted")
    page.goto(f"{demo.url}/portfolio/scenarios/{first['id']}/")
    page.get_by_role("button", name="Run the optimiser").click()
    expect(page.locator("progress.pg-progress")).to_have_count(0, timeout=90_000)
    page.get_by_role("button", name="Make it the plan of record").click()
    expect(page.get_by_text("This is the plan of record now.")).to_be_visible(timeout=60_000)
