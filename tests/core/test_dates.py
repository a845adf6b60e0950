"""One style for every date on a page: 22 Nov 2026, 17:30."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import django_tables2 as tables
import pytest
from django.template import Context, Template
from django.utils import translation

from portal.core.clock import day_text, moment_text, month_text

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 2, 17, 30, 5, tzinfo=UTC)
#: A date written out by a format of its own; ISO for inputs, addresses and charts is not meant for reading.
OWN = re.compile(r"""date_format\([^"]*"(?!DATE|YEAR_MONTH)|%d[ .]%[bBm]|%B %Y|%b %Y|:%Y-%m-%d( %H:%M(:%S)?)?}""")
OWN_IN_TEMPLATE = re.compile(
    r'\|date:"(?!DATE_FORMAT|DATETIME_FORMAT|YEAR_MONTH_FORMAT|c"|H:i|Y-m"|D j M"|M Y"|j M Y, H:i:s")'
)


@pytest.mark.parametrize(
    ("language", "moment", "day"),
    [("en", "2 Nov 2026, 17:30", "2 Nov 2026"), ("de", "2. Nov 2026, 17:30", "2. Nov 2026")],
)
def test_days_and_moments_in_sentences(language: str, moment: str, day: str) -> None:
    with translation.override(language):
        assert moment_text(AT) == moment
        assert day_text(AT) == day_text(AT.date()) == day
        assert month_text(date(2026, 11, 1)) == "November 2026"
    with translation.override("en"):
        assert moment_text(AT, seconds=True) == "2 Nov 2026, 17:30:05"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ at }}", "2 Nov 2026, 17:30"),
        ("{{ at.date }}", "2 Nov 2026"),
        ("{{ at|date }}", "2 Nov 2026"),
        ("{% load phasegate %}{{ at|plant|striptags }}", "2 Nov 2026, 17:30"),
    ],
)
def test_days_and_moments_in_templates(source: str, text: str) -> None:
    assert Template(source).render(Context({"at": AT})) == text


def test_days_and_moments_in_tables() -> None:
    class Rows(tables.Table):
        at = tables.DateTimeColumn()
        day = tables.DateColumn()

    row = Rows([{"at": AT, "day": AT.date()}], order_by=()).rows[0]
    assert [str(row.get_cell(name)) for name in ("at", "day")] == ["2 Nov 2026, 17:30", "2 Nov 2026"]


def test_nobody_writes_dates_in_a_way_of_their_own() -> None:
    apps = ("coe", "devices", "edge_bridge", "governance", "marketplace", "portal", "usecases")
    sources = [
        p for app in apps for p in (ROOT / app).rglob("*.py") if not {"agent", "demo", "management"} & {*p.parts}
    ]
    found = [
        f"{p.relative_to(ROOT)}: {line.strip()}"
        for p in sources
        for line in p.read_text().splitlines()
        if OWN.search(line)
    ]
    templates = (ROOT / "templates").rglob("*.html")
    found += [
        f"{p.relative_to(ROOT)}: {hit.group()}" for p in templates for hit in OWN_IN_TEMPLATE.finditer(p.read_text())
    ]
    assert found == []
