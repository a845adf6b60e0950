"""CSV and XLSX of any list. Cells that a spreadsheet would run as a formula are neutralised."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse

from portal.core.clock import rfc3339

_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z")
# What a spreadsheet takes for the begin of a formula, in both widths; it skips blanks and control characters before it.
_RISKY = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SKIPPED = "".join(map(chr, range(33)))
# Characters that XML cannot hold: one of them in any name would keep everybody from the whole list.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def safe_cell(value: Any) -> Any:
    """Plain cell value; text that starts like a formula gets a leading apostrophe (numbers stay numbers)."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    if isinstance(value, Decimal) or _NUMBER.match(text):
        return text
    risky = text[:1] in {"\t", "\r"} or text.lstrip().lstrip(_SKIPPED).startswith(_RISKY)
    return f"'{text}" if risky else text


class _Echo:
    def write(self, value: str) -> str:
        return value


def _in_xml(cell: Any) -> Any:
    return _NO_XML.sub("", cell) if isinstance(cell, str) else cell


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow([safe_cell(name) for name in header])
    for row in rows:
        yield writer.writerow([safe_cell(cell) for cell in row])


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(csv_lines(header, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def xlsx_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> HttpResponse:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet(title=name[:31] or "Export")
    for row in chain([header], rows):
        # Asked again without them: what stood before a formula may be gone.
        sheet.append([safe_cell(_in_xml(safe_cell(cell))) for cell in row])
    out = io.BytesIO()
    book.save(out)
    response = HttpResponse(
        out.getvalue(), content_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    )
    response["Content-Disposition"] = f'attachment; filename="{name}.xlsx"'
    return response
