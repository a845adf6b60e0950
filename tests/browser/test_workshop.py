"""A workshop of two people in two browsers, one on a phone, and whoever leads it; against a server with a small database."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.plant import wait_for
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.timeout(400)
SAME = "() => window.__mark === true"
MARK = "() => { window.__mark = true; }"
#: Seen within two seconds: asked for each second. What a busy machine adds is not the portal's.
EACH_SECOND = '[data-poll][data-poll-seconds="1"]:has(#progress)'
PATIENCE_S = 60


def choose(question: Any, level: int) -> None:
    question.locator(f'label.pg-level:has(input[value="{level}"])').click()
    expect(question.locator("[data-note]")).to_have_text("Saved")


def rate_all(visitor: Visitor, level: int, *, phone: bool) -> None:
    """Every question of the use case that is shown; on a phone one after the other."""
    page = visitor.page
    form = page.locator("[data-paper]")
    if not phone:
        for question in form.locator("fieldset[data-question]").all():
            choose(question, level)
        return
    form.locator("[data-dot]").first.click()
    count = form.locator("fieldset[data-question]").count()
    for at in range(count):
        shown = form.locator("fieldset[data-question]:visible")
        expect(shown).to_have_count(1)
        choose(shown, level)
        if at < count - 1:
            form.get_by_role("button", name="Next question").click()


def within(what: str, check: Callable[[], bool]) -> None:
    wait_for(check, PATIENCE_S, what, every=0.05)


def test_two_people_vote_privately_talk_vote_again_and_freeze(enter: Any, workshop: Any) -> None:
    path = workshop.paths["Spring round"]
    lead, engineer = enter("coe_lead"), enter("ot_engineer")
    manager = enter("plant_manager", width=390)
    for visitor in (lead, engineer, manager):
        visitor.go(path)
        visitor.page.evaluate(MARK)
        expect(visitor.page.locator(EACH_SECOND)).to_have_count(1)
    expect(lead.page.locator("#progress")).to_contain_text("0 of 2 have finished")

    # The engineer compares the criteria and hears at once where the answers disagree.
    pairs = engineer.page.locator("[data-pairs] select")
    for select, said in zip(pairs.all(), ("3", "5", "1/4"), strict=True):
        select.select_option(said)
    expect(engineer.page.locator("[data-doubt]")).to_contain_text("These answers disagree: look again.")
    pairs.nth(2).select_option("2")
    expect(engineer.page.locator("[data-agrees]")).to_be_visible()
    expect(engineer.page.locator("[data-doubt]")).to_be_hidden()
    engineer.expect_clean()

    # Both rate; each answer is saved by itself, and the other sees how far one is, not what one said.
    rate_all(engineer, 1, phone=False)
    engineer.page.get_by_role("button", name="Save and next").click()
    expect(engineer.page.locator("#rate-title")).to_contain_text("NOx soft sensor")
    rate_all(engineer, 2, phone=False)
    row = manager.page.locator("#progress li").filter(has_text="Omar Tahir")
    within("the engineer's progress on the phone", lambda: "Done" in row.inner_text())
    rate_all(manager, 5, phone=True)
    # The last answer was saved a moment ago; the lead's page is polled each second.
    seen = lead.page.locator("#progress li").filter(has_text="Petra Malik").locator("b")
    within("the manager's answers on the lead's page", lambda: seen.inner_text() == "4")
    for visitor in (lead, engineer, manager):
        assert visitor.page.evaluate(SAME) or visitor is engineer, "the page was reloaded"
        expect(visitor.page.locator("#ranking")).to_have_count(0)
        visitor.expect_clean()
    manager.shot("workshop-rate-390-light")
    engineer.shot("workshop-rate-1440-light")
    lead.shot("workshop-lead-1440-light")

    # The reveal reaches the others, without a reload of theirs.
    engineer.page.evaluate(MARK)
    lead.page.get_by_role("button", name="Reveal the answers").click()
    within("the reveal", lambda: engineer.page.locator("#answers").count() == 1)
    within("the reveal on the phone", lambda: manager.page.locator("#answers").count() == 1)
    assert engineer.page.evaluate(SAME)
    talk = engineer.page.locator("section", has=engineer.page.locator("#disagree-title"))
    expect(talk).to_contain_text("OT engineer: 1")
    expect(talk).to_contain_text("Plant manager: 5")
    assert "Petra" not in talk.inner_text(), "names are for the facilitator"
    expect(lead.page.locator("#answers")).to_contain_text("(Petra Malik)")
    for visitor in (lead, engineer, manager):
        visitor.expect_clean()
    manager.shot("workshop-revealed-390-light")
    lead.shot("workshop-revealed-1440-light")

    # The second vote starts from the first answers; who changes nothing keeps them.
    lead.page.get_by_role("button", name="Vote a second time").click()
    within("the second vote", lambda: engineer.page.locator("[data-paper]").count() == 1)
    page = engineer.page
    page.locator(".pg-tabs a", has_text="Bearing wear").first.click()
    first = page.locator("fieldset[data-question]").first
    expect(first).to_contain_text("Your first answer: 1")
    choose(first, 4)
    engineer.expect_clean()
    within("the second vote on the phone", lambda: manager.page.locator("[data-paper]").count() == 1)
    manager.page.get_by_role("button", name="Keep all my first answers").click()
    expect(manager.page.locator(".pg-messages").first).to_contain_text("Kept 4 of your first answers")

    # Something typed when the round is closed stays, and is said not to be saved.
    words = page.locator('input[name^="comment-"]').nth(1)
    page.route("**/rate/", lambda route: route.abort())
    words.fill("the guard hides two of them")
    words.blur()
    lead.page.get_by_role("link", name="Close and freeze").click()
    asked = lead.page.get_by_role("dialog")
    expect(asked).to_contain_text("2 use cases keep the scores they have now")
    lead.expect_clean()
    lead.shot("workshop-close-1440-light")
    asked.get_by_role("button", name="Close and freeze").click()
    expect(lead.page.locator(".pg-messages").first).to_contain_text("The result is frozen")
    page.unroute("**/rate/")
    within("the note that the round has moved on", lambda: page.locator("[data-moved-note]").count() == 1)
    assert words.input_value() == "the guard hides two of them"
    with engineer.troubles.expecting(409):
        page.get_by_role("button", name="Save and next").click()
        expect(page.locator('[role="alert"]').first).to_contain_text("This round is closed; its result is frozen.")
    expect(page.locator("section", has=page.locator("#unsaved-title"))).to_contain_text("the guard hides two of them")

    lead.go(path)
    moved = lead.page.locator("section", has=lead.page.locator("#moved-title"))
    expect(moved).to_contain_text(re.compile("OT engineer"))
    expect(lead.page.locator("section", has=lead.page.locator("#weights-title"))).to_contain_text("Measurable ROI")
    lead.expect_clean()
    lead.shot("workshop-closed-1440-light")
    for width, dark in ((390, True), (1440, True)):
        last = enter("plant_manager", width=width, dark=dark)
        last.go(path)
        last.expect_clean()
        last.shot(f"workshop-closed-{width}-dark")


def test_without_scripts_a_form_does_it(enter: Any, workshop: Any) -> None:
    path = workshop.paths["Autumn round"]
    manager = enter("plant_manager", width=390, scripts=False)
    page = manager.go(path).locator("main")
    questions = page.locator("fieldset[data-question]")
    assert questions.count() == 4
    for question in questions.all():
        question.locator('input[type="radio"][value="3"]').check()
    page.get_by_role("button", name="Save and next").click()
    expect(page.locator(".pg-messages").first).to_contain_text("Saved 4 answers on Bearing wear")
    page.locator("[data-pairs] select").first.select_option("3")
    page.get_by_role("button", name="Save the comparison").click()
    expect(page.locator(".pg-messages").first).to_contain_text("Your comparison is saved")
    assert manager.troubles.rows == []


def test_raters_are_chosen_by_role(enter: Any, workshop: Any) -> None:
    lead = enter("coe_lead")
    page = lead.go("/scoring/new/")
    lacking = page.locator("[data-lacking]")
    expect(lacking).to_have_text("Nobody yet for gate 1: Plant manager, OT engineer, Data scientist")
    page.get_by_role("group", name="Plant manager", exact=True).get_by_label("Petra Malik").check()
    expect(lacking).to_have_text("Nobody yet for gate 1: OT engineer, Data scientist")
    lead.expect_clean()
    lead.shot("workshop-open-1440-light")
    phone = enter("coe_lead", width=390, dark=True)
    phone.go("/scoring/new/")
    phone.expect_clean()
    phone.shot("workshop-open-390-dark")
    phone.go(workshop.paths["Autumn round"] + "raters/")
    phone.expect_clean()
    phone.shot("workshop-raters-390-dark")
