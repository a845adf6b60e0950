"""A table out of a CSV or XLSX that somebody gives us: bounded in size and rows, read as text, formulas refused at their cell."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import IO, Any, NoReturn
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

from django.utils.translation import gettext as _

from portal.core.errors import InvalidInput

MAX_ROWS = 10_000
MAX_BYTES = 5 * 1024 * 1024
MAX_UNPACKED = 50 * 1024 * 1024
MAX_COLUMNS = 60
MAX_CELL = 2_000
#: Sheets are full of empty formatted rows; beyond this many nobody looks for more.
MAX_LINES = 200_000
UTF8 = ("utf-8-sig",)
#: What spreadsheets on Windows save as "CSV".
WINDOWS = ("utf-8-sig", "cp1252")
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


def read_table(content: bytes, encodings: tuple[str, ...] = UTF8) -> Table:
    """CSV (comma, semicolon or tab) or XLSX (first sheet) by its first bytes. Raises ``InvalidInput`` on field ``file`` with a
    sentence: too large, too many rows, not readable, no header, doubled column. Reading stops at the first row too many."""
    if len(content) > MAX_BYTES:
        if not content.startswith(_XLSX_MAGIC) and content.count(b"\n") > MAX_ROWS + 1:
            raise _too_many()
        raise _refuse(_("The file is larger than 5 MB. Split it."))
    if not content.strip():
        raise _refuse(_("There is nothing in it."))
    return _table(_xlsx(content) if content.startswith(_XLSX_MAGIC) else _csv(content, encodings))


def read_upload(upload: Any, encodings: tuple[str, ...] = UTF8) -> Table:
    """The same of an uploaded file, of which no more than the limit is ever in memory."""
    return read_table(upload.read(MAX_BYTES + 1), encodings)


def _refuse(message: str) -> InvalidInput:
    return InvalidInput({"file": message}, message)


def _decoded(content: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Any bytes at all are text in an encoding of single bytes; a file of another kind gives itself away.
        guessed = encoding not in UTF8 and any(ord(letter) < 32 and letter not in "\r\n\t" for letter in text[:4096])
        if guessed or "\0" in text:
            raise _refuse(_("This is not a text file."))
        return text
    raise _refuse(_("This is neither UTF-8 text nor an XLSX file. Save it as CSV UTF-8."))


def _csv(content: bytes, encodings: tuple[str, ...]) -> Iterator[list[str]]:
    text = _decoded(content, encodings)
    head = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max((",", ";", "\t"), key=head.count)
    number = 0
    try:
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            number += 1
            yield [cell.strip() for cell in line]
    except csv.Error as error:
        raise _refuse(
            _("Line %(line)s cannot be read as CSV: %(why)s.") % {"line": number + 1, "why": error}
        ) from error


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


def _xlsx(content: bytes) -> Iterator[list[str]]:
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
            sheets = [e for e in entries if e.filename.startswith("xl/worksheets/") and e.filename.endswith(".xml")]
            if len(sheets) == 1:
                with archive.open(sheets[0]) as part:
                    _refuse_too_many(part)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            for cells in book.worksheets[0].iter_rows(values_only=True, max_col=MAX_COLUMNS + 1):
                yield [_text(cell) for cell in cells]
        finally:
            book.close()
    except _UNREADABLE as error:
        raise _refuse(_("This is not a readable XLSX file.")) from error


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


def _refuse_too_many(part: IO[bytes]) -> None:
    """Counts the rows that hold a value without making sense of them: the library would read every text of the book first."""
    filled, rest = 0, b""
    while piece := part.read(1024 * 1024):
        *rows, rest = (rest + piece).split(b"</row>")
        filled += sum(b"<v" in row or b"<is" in row for row in rows)
        if filled > MAX_ROWS + 1:
            raise _too_many()


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime) and (cell.hour, cell.minute, cell.second) == (0, 0, 0):
        return cell.date().isoformat()
    if isinstance(cell, (date, datetime)):
        return cell.isoformat()
    if isinstance(cell, (str, int, float)):
        return str(cell).strip()
    # Array formulas and data tables come as objects, and with them what Excel would compute.
    return f"={getattr(cell, 'text', None) or type(cell).__name__}"


def _too_many() -> InvalidInput:
    return _refuse(_("More than 10,000 rows. Split the file."))


def _filled(lines: Iterable[list[str]]) -> list[tuple[int, list[str]]]:
    """The rows that hold something, each with its number in the file."""
    filled: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        if any(line):
            filled.append((number, line))
        if len(filled) > MAX_ROWS + 1 or number > MAX_LINES:
            raise _too_many()
    return filled


def _table(lines: Iterable[list[str]]) -> Table:
    filled = _filled(lines)
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
        return _("A formula: give the value itself, or begin a text with an apostrophe.")
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
        return _("Control characters are not allowed.")
    return ""


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
