"""Files that people bring and take: spreadsheets that grow, cells that poison an export."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from django.urls import reverse
from openpyxl import Workbook, load_workbook

from portal.core import exports, tabular
from portal.core.errors import InvalidInput
from portal.core.pages import ListPage
from tests.factories import make_device
from tests.routes import routes

SHEET = "xl/worksheets/sheet1.xml"


def workbook_with(change: Any, part: str = SHEET) -> bytes:
    book = Workbook()
    book.active.append(["site", "code"])
    plain, out = io.BytesIO(), io.BytesIO()
    book.save(plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name).decode()) if name == part else old.read(name))
    return out.getvalue()


def growing(text: str) -> str:
    """One entity of 100 kB, named ten thousand times: a gigabyte out of a sheet of 50 kB."""
    body = text[text.index("<worksheet") :].replace(">site<", ">" + "&big;" * 10_000 + "<")
    return f'<?xml version="1.0"?>\n<!-- {"x" * 100_000} --><!DOCTYPE x [<!ENTITY big "{"A" * 100_000}">]>{body}'


@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_a_workbook_that_defines_entities_is_not_read(monkeypatch: pytest.MonkeyPatch, coding: str) -> None:
    def reached(*_args: Any, **_named: Any) -> None:
        pytest.fail("the reader must not see it")

    monkeypatch.setattr("openpyxl.load_workbook", reached)
    content = workbook_with(lambda text: growing(text).encode(coding))
    assert len(content) < 40_000
    with pytest.raises(InvalidInput, match="entities"):
        tabular.read_table(content)


def test_a_plain_workbook_is_read() -> None:
    assert tabular.read_table(workbook_with(lambda text: text)).header == ("site", "code")


@pytest.mark.django_db
def test_a_control_character_in_a_name_spoils_nobodys_export(cast: Any, as_user: Any) -> None:
    make_device(cast.home, code="gw-x", name="Gate\x0bway \x1f\ufffe")
    answer = as_user(cast.ot_engineer).get("/devices/?export=xlsx")
    assert answer.status_code == 200
    cells = [str(c.value) for row in load_workbook(io.BytesIO(answer.content)).active.iter_rows() for c in row]
    assert any(cell.startswith("Gateway") for cell in cells)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "\x0b=1+1", "\u3000=1+1", "＝1+1"],
)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    assert str(exports.safe_cell(text)).startswith("'")


@pytest.mark.parametrize("text", ["-12.5", "3", "Gateway 3", " spaced", "a=b", "2026-01-01"])
def test_other_cells_stay(text: str) -> None:
    assert exports.safe_cell(text) == text


def test_what_is_left_out_uncovers_no_formula() -> None:
    sheet = load_workbook(io.BytesIO(exports.xlsx_response("x", ["a"], [["\ufffe=1+1"]]).content)).active
    assert sheet["A2"].value == "'=1+1"


def _lists() -> list[Any]:
    return [
        pytest.param(r, id=r.name) for r in routes("page") if r.cls and issubclass(r.cls, ListPage) and not r.params
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("route", _lists())
@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_every_list_can_be_taken_away(cast: Any, as_user: Any, route: Any, form: str) -> None:
    answer = as_user(cast.coe_lead).get(reverse(route.name), {"export": form})
    assert answer.status_code == 200
    assert f'.{form}"' in answer["Content-Disposition"]
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert content.startswith(b"PK") if form == "xlsx" else content.count(b"\r\n") >= 1


def test_a_header_is_neutralised_too() -> None:
    lines = list(exports.csv_lines(["=HYPERLINK(1)"], []))
    assert lines == ["'=HYPERLINK(1)\r\n"]
    sheet = load_workbook(io.BytesIO(exports.xlsx_response("x", ["=HYPERLINK(1)"], []).content)).active
    assert [cell.data_type for cell in next(sheet.iter_rows())] == ["s"]
