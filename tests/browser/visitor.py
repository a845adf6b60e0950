"""A person at a browser, and what such a person must never meet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

from tests.browser.plant import ROOT, Demo

AXE = ROOT / "static" / "vendor" / "test" / "axe.min.js"
SCREENS = ROOT / "build" / "screens"
WAIT_MS = 60_000
# A shared machine may need a while for what takes a quiet one a moment; the default of 5 s would test the machine.
expect.set_options(timeout=20_000)

CSP_WATCH = """
window.__refusedByPolicy = [];
addEventListener("securitypolicyviolation", (event) =>
  window.__refusedByPolicy.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""

RUN_AXE = """
async () => {
  const found = await axe.run(document, {
    runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] },
    resultTypes: ["violations"],
  });
  return found.violations.map((v) => ({
    id: v.id, help: v.help,
    nodes: v.nodes.slice(0, 4).map((n) => `${n.target.join(" ")}: ${n.html.slice(0, 160)} | ${(n.failureSummary || "").slice(0, 240)}`),
  }));
}
"""

# Texts as they are read, without code, recorded values and the levels of a rubric ("None" is one).
READ_TEXT = """
() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const rows = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent.replace(/\\s+/g, " ").trim();
    if (text && !node.parentElement.closest("script, style, code, pre, del, ins, textarea, noscript, template, .pg-field-check label")) rows.push(text);
  }
  return rows;
}
"""

WIDTH = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDEST = """
() => [...document.querySelectorAll("main *, header *, footer *")]
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .slice(0, 4).map((e) => `${e.tagName}.${e.className}`)
"""

NO_VALUE = re.compile(r"^(None|nan|NaN|null|undefined|True|False)$|\b(nan|NaN|undefined)\b|\[object Object\]")
# "None of them", "None yet." are English; "None mg/m3", "by None" are a missing value that leaked.
LEAKED_NONE = re.compile(r"(?<![.:;] )(?<!^)\bNone\b|^None [^a-z]")
RAW_TEMPLATE = re.compile(r"\{\{|\{%|%\([a-z_]+\)[sd]|\{[a-z_]+\}")
RAW_KEY = re.compile(r"^[a-z]+([._][a-z0-9]+)+$")


def odd_texts(rows: list[str], *, keys: bool = True) -> list[str]:
    """Texts that no person should read: a missing value as a word, a template's inside, a key instead of its label."""
    wrong = [NO_VALUE, LEAKED_NONE, RAW_TEMPLATE, *([RAW_KEY] if keys else [])]
    return [text[:160] for text in rows if any(pattern.search(text) for pattern in wrong)]


@dataclass
class Troubles:
    """What went wrong on the way, one sentence each."""

    rows: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.rows.append(f"{page.url}: script error {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answer)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error" or (self.expected and "status of" in message.text):
            return
        self.rows.append(f"console: {message.text[:300]} {message.location.get('url', '')}")

    def _failed(self, request: Request) -> None:
        # Leaving a page ends its polls.
        if request.failure != "net::ERR_ABORTED":
            self.rows.append(f"request failed: {request.method} {request.url} {request.failure}")

    def _answer(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.rows.append(f"{response.status}: {response.request.method} {response.url}")

    @contextmanager
    def expecting(self, *statuses: int) -> Iterator[None]:
        self.expected = set(statuses)
        yield
        self.expected = set()


@dataclass
class Visitor:
    """One browser context, signed in as at most one person."""

    demo: Demo
    page: Page
    troubles: Troubles

    def go(self, path: str) -> Page:
        """Open a page of the portal and wait until its first content stands."""
        answer = self.page.goto(path if path.startswith("http") else self.demo.url + path, wait_until="load")
        assert answer is not None and answer.status == 200, f"{path}: {answer.status if answer else 'no answer'}"
        return self.page

    def sign_in(self, role: str) -> Visitor:
        """One click on the first page."""
        self.page.goto(self.demo.url + "/account/login/", wait_until="load")
        self.page.locator(
            f'button[name=role][value="{role}"], button[name=role][value="{role.replace("_", "-")}"]'
        ).click()
        self.page.locator("#nav").wait_for(state="attached")
        return self

    def axe(self) -> list[str]:
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate(RUN_AXE)
        return [f"axe {row['id']} ({row['help']}): {json.dumps(row['nodes'], ensure_ascii=False)}" for row in found]

    def overflow(self) -> list[str]:
        over = self.page.evaluate(WIDTH)
        return [f"scrolls sideways by {over} px: {self.page.evaluate(WIDEST)}"] if over > 1 else []

    def refused_by_policy(self) -> list[str]:
        return [f"content security policy: {row}" for row in self.page.evaluate("() => window.__refusedByPolicy || []")]

    def odd_texts(self) -> list[str]:
        # The audit trail names actions by their codes, by which it is filtered.
        keys = "/audit/" not in self.page.url
        return [f"odd text: {row!r}" for row in odd_texts(self.page.evaluate(READ_TEXT), keys=keys)]

    def look(self, *, axe: bool = True) -> list[str]:
        """Everything wrong with the page as it stands."""
        found = self.refused_by_policy() + self.overflow() + self.odd_texts()
        return found + (self.axe() if axe else [])

    def shot(self, name: str) -> Path:
        SCREENS.mkdir(parents=True, exist_ok=True)
        file = SCREENS / f"{name}.png"
        self.page.screenshot(path=file, full_page=True, animations="disabled")
        return file

    def expect_clean(self, **how: Any) -> None:
        found = self.look(**how) + self.troubles.rows
        assert not found, f"{self.page.url}:\n" + "\n".join(found)


@contextmanager
def visiting(
    browser: Browser, demo: Demo, *, width: int = 1440, dark: bool = False, scripts: bool = True
) -> Iterator[Visitor]:
    context = browser.new_context(
        viewport={"width": width, "height": 844 if width < 600 else 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        locale="en-GB",
        timezone_id="Europe/Vienna",
        has_touch=width < 600,
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(CSP_WATCH)
    page = context.new_page()
    troubles = Troubles()
    troubles.watch(page)
    try:
        yield Visitor(demo, page, troubles)
    finally:
        context.close()
