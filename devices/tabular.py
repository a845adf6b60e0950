"""A table out of a CSV or XLSX that somebody gives us: bounded in size, read as text, formulas refused."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, NoReturn
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

from django.utils.translation import gettext as _

from portal.core.errors import InvalidInput

MAX_ROWS = 10_000
MAX_BYTES = 5 * 1024 * 1024
MAX_UNPACKED = 50 * 1024 * 1024
MAX_COLUMNS = 60
MAX_CELL = 2_000
_XLSX_MAGIC = b"PK\x03\x04"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """``rows`` hold the text of each cell by column name, with the row number of the file (the header is row 1)."""

    header: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def as_csv(self) -> str:
        """The same table as CSV text, for a form that is sent again."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([row.get(name, "") for name in self.header] for _number, row in self.rows)
        return out.getvalue()


def read_table(content: bytes) -> Table:
    """CSV (UTF-8; comma, semicolon or tab) or XLSX (first sheet) by its first bytes. Raises ``InvalidInput`` on field ``file``
    with a sentence: too large, not readable, no header, doubled column."""
    if len(content) > MAX_BYTES:
        raise _refuse(_("The file is larger than 5 MB. Split it."))
    if not content.strip():
        raise _refuse(_("There is nothing in it."))
    lines = _xlsx(content) if content.startswith(_XLSX_MAGIC) else _csv(content)
    return _table(lines)


def _refuse(message: str) -> InvalidInput:
    return InvalidInput({"file": message}, message)


def _csv(content: bytes) -> list[list[str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(_("This is neither UTF-8 text nor an XLSX file. Save it as CSV UTF-8.")) from error
    if "\0" in text:
        raise _refuse(_("This is not a text file."))
    head = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max((",", ";", "\t"), key=head.count)
    lines = []
    try:
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            lines.append([cell.strip() for cell in line])
            if len(lines) > MAX_ROWS + 1:
                raise _too_many()
    except csv.Error as error:
        raise _refuse(
            _("Line %(line)s cannot be read as CSV: %(why)s.") % {"line": len(lines) + 1, "why": error}
        ) from error
    return lines


# What a damaged or crafted workbook makes openpyxl raise while it reads.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def _xlsx(content: bytes) -> list[list[str]]:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # What it unpacks to is known before anything is unpacked.
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED or len(entries) > 1000:
                raise _refuse(_("This file unpacks to more than 50 MB. Split it."))
            for entry in entries:
                with archive.open(entry) as part:
                    _refuse_doctype(part)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            lines = []
            for cells in book.worksheets[0].iter_rows(values_only=True, max_col=MAX_COLUMNS + 1):
                lines.append([_text(cell) for cell in cells])
                if len(lines) > MAX_ROWS + 1:
                    raise _too_many()
        finally:
            book.close()
    except _UNREADABLE as error:
        raise _refuse(_("This is not a readable XLSX file.")) from error
    return lines


class _RootReached(Exception):
    """The first element of an XML part begins: no document type can follow."""


def _refuse_doctype(part: IO[bytes]) -> None:
    """A spreadsheet's parts declare no document type. One that does defines entities, which grow while they are read: a file of some
    kilobytes to gigabytes, whatever it unpacks to. Parts that are no XML pass; the reader asks nothing of them."""

    def doctype(*_given: object) -> NoReturn:
        raise _refuse(_("This is not a readable XLSX file: it defines entities."))

    def element(*_given: object) -> NoReturn:
        raise _RootReached

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = doctype, element
    try:
        while piece := part.read(64 * 1024):
            parser.Parse(piece)
    except (_RootReached, expat.ExpatError):
        return


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _too_many() -> InvalidInput:
    return _refuse(_("More than 10,000 rows. Split the file."))


def _table(lines: list[list[str]]) -> Table:
    filled = [(at, line) for at, line in enumerate(lines, start=1) if any(line)]
    if not filled:
        raise _refuse(_("There is nothing in it."))
    names = [name.strip().lower().replace(" ", "_") for name in filled[0][1]]
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise _refuse(_("More than 60 columns."))
    if "" in names:
        raise _refuse(_("A column has no name: the first row must name every column."))
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise _refuse(_("The column %(name)s stands there twice.") % {"name": doubled[0]})
    rows = [(number, dict(zip(names, line + [""] * len(names), strict=False))) for number, line in filled[1:]]
    return Table(tuple(names), rows)


def cell_problem(text: str) -> str:
    """Why a cell cannot be taken, or nothing: too long, control characters, or what a spreadsheet would run as a formula."""
    if len(text) > MAX_CELL:
        return _("Longer than 2,000 characters.")
    if text.startswith(_FORMULA) and not _number(text):
        return _("A formula: give the value itself.")
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
        return _("Control characters are not allowed.")
    return ""


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
