"""Every page of the menu, and one of each kind behind it, at three widths and in both themes.

The walk is a person's: it starts at the menu and follows links. An address with its identifiers taken out is a kind of page, and one of
each kind is looked at; a page that only another role may see is reached by that role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo"), pytest.mark.timeout(1500)]

# The first sees most; the others add what only they may do.
ROLES = ("coe_lead", "ot_engineer", "external_partner", "plant_manager", "data_scientist", "executive")
IDENTIFIER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Not pages: files, data, the interface description (its own viewer), and the way out.
NOT_A_PAGE = re.compile(r"\.(csv|json|onnx|xlsx|svg)$|^/(api|static|metrics|healthz|readyz|services)\b|/logout/")
LINKS = """() => [...document.querySelectorAll("nav a[href], main a[href], header a[href]")].map((a) => a.href)"""
DRAWN = "() => [...document.querySelectorAll('[data-chart]')].every((c) => c.dataset.chartReady || c.querySelector('[data-chart-canvas] p'))"
# A guard against links that never end; the walk ends far below it.
LIMIT = 400


@dataclass
class Walk:
    seen: dict[str, str] = field(default_factory=dict)
    troubles: dict[str, list[str]] = field(default_factory=dict)

    def blame(self, kind: str, rows: list[str]) -> None:
        if rows:
            self.troubles.setdefault(kind, []).extend(rows)


def kind_of(address: str) -> str:
    return IDENTIFIER.sub("*", urlsplit(address).path)


def name_of(kind: str) -> str:
    return kind.strip("/").replace("/", "-").replace("*", "one") or "cockpit"


def links(visitor: Visitor) -> list[str]:
    found: list[Any] = visitor.page.evaluate(LINKS)
    base = urlsplit(visitor.demo.url).netloc
    kept = []
    for address in found:
        parts = urlsplit(address)
        if parts.netloc == base and "export" not in parts.query and not NOT_A_PAGE.search(parts.path):
            kept.append(parts.path + (f"?{parts.query}" if parts.query and "*" in kind_of(address) else ""))
    return kept


def look_at(visitor: Visitor, kind: str, walk: Walk) -> None:
    """Wide and light, in between, narrow and dark: one load, as a window is made smaller and evening comes."""
    page = visitor.page
    name = name_of(kind)
    walk.blame(kind, visitor.look())
    visitor.shot(f"{name}-1440-light")
    page.set_viewport_size({"width": 1024, "height": 768})
    walk.blame(kind, [f"at 1024 px it {row}" for row in visitor.overflow()])
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.set_viewport_size({"width": 390, "height": 844})
    walk.blame(kind, [f"at 390 px, dark: {row}" for row in visitor.overflow() + visitor.axe()])
    visitor.shot(f"{name}-390-dark")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")


def walk_as(visitor: Visitor, walk: Walk) -> None:
    waiting = ["/", *links(visitor)]
    while waiting and len(walk.seen) < LIMIT:
        path = waiting.pop(0)
        kind = kind_of(path)
        if kind in walk.seen:
            continue
        answer = visitor.page.goto(visitor.demo.url + path, wait_until="load")
        landed = kind_of(visitor.page.url)
        walk.seen[kind] = path
        if answer is None or answer.status >= 400:
            walk.blame(kind, [f"a link leads to {path}, which answers {answer.status if answer else 'nothing'}"])
            continue
        if landed != kind and landed in walk.seen:
            continue
        walk.seen[landed] = path
        visitor.page.wait_for_function(DRAWN)
        look_at(visitor, landed, walk)
        walk.blame(landed, visitor.troubles.rows)
        visitor.troubles.rows.clear()
        waiting += links(visitor)


def test_every_page_is_clean_at_every_width_and_in_both_themes(visit: Any) -> None:
    walk = Walk()
    for role in ROLES:
        visitor = visit(role)
        walk_as(visitor, walk)
        visitor.page.close()
    told = [f"{kind}\n    " + "\n    ".join(dict.fromkeys(rows)) for kind, rows in sorted(walk.troubles.items())]
    assert not told, f"{len(told)} of {len(walk.seen)} kinds of page are not clean:\n" + "\n".join(told)
    assert 100 <= len(walk.seen) < LIMIT, sorted(walk.seen)
