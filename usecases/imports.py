"""Lists brought in from CSV or XLSX: planned first (every problem with its row, field and reason), then written through the services,
as a whole or, when asked, without the rows that have problems. Rows that say what is there already are left alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from portal.core import exports
from portal.core.clock import in_calendar
from portal.core.errors import DomainError, InvalidInput, NotAllowed
from portal.core.roles import USE_CASE, roles_that_may
from portal.core.tabular import MAX_ROWS, WINDOWS, Table, cell_problem, read_table
from usecases.models import UseCase

MAX_SHOWN = 500
NEW, CHANGED, SAME = "new", "changed", "same"


@dataclass(frozen=True)
class Column:
    name: str
    about: Any
    example: str
    needed: bool = False


@dataclass(frozen=True)
class Problem:
    """``row`` as in the file (the header is 1)."""

    row: int
    field: str
    reason: str

    def as_data(self) -> dict[str, Any]:
        return {"row": self.row, "field": self.field, "message": self.reason}


@dataclass
class Step:
    """One good row: what it does (new, changed, same), to what, and the data to write."""

    row: int
    state: str
    title: str
    data: Any = None


def state_of(new: bool, changed: bool) -> str:
    return NEW if new else CHANGED if changed else SAME


@dataclass
class Report:
    kind: str
    rows: int
    steps: list[Step] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    written: int = 0

    def _count(self, state: str) -> int:
        return sum(step.state == state for step in self.steps)

    @property
    def new(self) -> int:
        return self._count(NEW)

    @property
    def changed(self) -> int:
        return self._count(CHANGED)

    @property
    def same(self) -> int:
        return self._count(SAME)

    @property
    def refused_rows(self) -> int:
        return len({problem.row for problem in self.problems})

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "rows": self.rows,
            "new": self.new,
            "changed": self.changed,
            "same": self.same,
            "refused": self.refused_rows,
            "written": self.written,
            "problems": [problem.as_data() for problem in self.problems[:MAX_SHOWN]],
        }


class Cells:
    """One row being read; problems are noted with its number."""

    def __init__(self, row: int, values: dict[str, str], problems: list[Problem]) -> None:
        self.row, self.bad, self._problems = row, False, problems
        self._values: dict[str, str] = {}
        for name, raw in values.items():
            reason = cell_problem(raw)
            if reason:
                self.refuse(name, reason)
            # An export puts an apostrophe before what a spreadsheet would run; it is no part of the text.
            plain = raw[1:] if raw.startswith("'") and exports.safe_cell(raw[1:]) != raw[1:] else raw
            self._values[name] = plain

    def refuse(self, name: str, reason: str) -> None:
        self.bad = True
        self._problems.append(Problem(self.row, name, reason))

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, needed: bool = False) -> str:
        value = self._values.get(name, "")
        if needed and not value:
            self.refuse(name, _("This is needed."))
        return value

    def number(
        self,
        name: str,
        default: float | None = None,
        *,
        low: float | None = None,
        high: float = 1e12,
        whole: bool = False,
    ) -> Any:
        """``default`` None means that it is needed."""
        value = self.text(name, needed=default is None)
        if not value:
            return default
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            self.refuse(name, _("“{value}” is not a number; write 1234.5.").format(value=value[:40]))
            return default
        if whole and not found.is_integer():
            self.refuse(name, _("A whole number is wanted here."))
        elif low is not None and found < low:
            self.refuse(name, _("This cannot be below {low}.").format(low=f"{low:g}"))
        elif abs(found) > high:
            self.refuse(name, _("This cannot be above {high}.").format(high=f"{high:,.0f}"))
        else:
            return int(found) if whole else found
        return default

    def moment(self, name: str) -> datetime | None:
        """A day or a moment, in plant time where no offset is written."""
        value = self.text(name, needed=True)
        if not value:
            return None
        found: datetime | None = None
        try:
            found = parse_datetime(value.replace(" UTC", "Z"))
            day: date | None = parse_date(value) if found is None else None
        except ValueError:
            day = None
        if day is not None:
            found = datetime.combine(day, time.min)
        if found is not None and found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        if found is None or not in_calendar(found):
            self.refuse(
                name,
                _("“{value}” is not a day or moment; write 2026-01-31 or 2026-01-31T06:00.").format(value=value[:40]),
            )
            return None
        return found.astimezone(UTC)

    def one_of(self, name: str, allowed: Iterable[tuple[str, Any]], default: str) -> str:
        """A choice by its key or its words."""
        value = self.text(name).casefold()
        known = {str(key).casefold(): key for key, _label in allowed}
        known |= {str(label).casefold(): key for key, label in allowed}
        if not value:
            return default
        if value not in known:
            self.refuse(name, _("One of: {all}.").format(all=", ".join(str(key) for key, _label in allowed)))
        return known.get(value, default)

    def take(self, record: models.Model) -> None:
        """The model's own rules, without a query."""
        relations = {f.name for f in record._meta.fields if f.is_relation}
        for check in (lambda: record.clean_fields(exclude=relations), record.clean):
            if self.bad:
                return
            try:
                check()
            except ValidationError as error:
                for name, messages in error.message_dict.items():
                    self.refuse("" if name == "__all__" else name, " ".join(messages))


class Reader:
    """How one kind of list is read, written and exported. Records are looked up in tables loaded once."""

    key: str
    label: Any
    about: Any
    columns: tuple[Column, ...]
    #: Rows that can be written while somebody waits.
    most: int = MAX_ROWS

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self._seen: dict[Any, int] = {}

    @classmethod
    def names(cls) -> list[str]:
        return [column.name for column in cls.columns]

    def read(self, cells: Cells) -> Step | None:
        raise NotImplementedError

    def finish(self, report: Report) -> None:
        """What can be said only when all rows are read."""

    def write(self, steps: Sequence[Step], problems: list[Problem]) -> int:
        """Write new and changed rows, each in a savepoint; returns how many were written."""
        written = 0
        for step in steps:
            written += self.guarded([step], problems, partial(self.write_one, step))
        return written

    def write_one(self, step: Step) -> None:
        raise NotImplementedError

    def guarded(self, steps: Sequence[Step], problems: list[Problem], act: Callable[[], Any]) -> int:
        """What a service refuses is a problem of these rows, and nothing of theirs is written."""
        try:
            with transaction.atomic():
                act()
        except DomainError as error:
            told = error.errors or [{"field": "", "message": error.message}]
            problems.extend(
                Problem(step.row, str(row.get("field", "")), str(row.get("message", "")))
                for step in steps
                for row in told
            )
            return 0
        return len(steps)

    def export(self, **only: Any) -> Iterable[Sequence[Any]]:
        """What this person may see, as rows that can be brought in again."""
        raise NotImplementedError

    # ---- words for all kinds

    def use_case(self, cells: Cells, name: str = "use_case") -> UseCase | None:
        code = cells.text(name, needed=True)
        if not code:
            return None
        found = self.use_cases.get(code.casefold())
        if found is None:
            cells.refuse(name, _("There is no use case {code} that you may see.").format(code=code[:40]))
        elif found.pk not in self.may_change:
            cells.refuse(name, _("You may look at this use case but not change it."))
            return None
        return found

    @property
    def use_cases(self) -> dict[str, UseCase]:
        if not hasattr(self, "_use_cases"):
            rows = UseCase.objects.permitted(self.actor, "view")
            self._use_cases = {row.code.casefold(): row for row in rows}
        return self._use_cases

    @property
    def may_change(self) -> set[Any]:
        if not hasattr(self, "_may_change"):
            self._may_change = set(UseCase.objects.permitted(self.actor, "change").values_list("pk", flat=True))
        return self._may_change

    def once(self, cells: Cells, key: Any, name: str) -> None:
        """The same thing twice in one file is a mistake; which of the two would count?"""
        first = self._seen.setdefault(key, cells.row)
        if first != cells.row:
            cells.refuse(name, _("The same stands in row {row} already.").format(row=first))


def readers() -> dict[str, type[Reader]]:
    from usecases.import_kinds import KINDS

    return KINDS


def reader_of(kind: str) -> type[Reader]:
    found = readers().get(kind)
    if found is None:
        raise InvalidInput({"kind": _("One of: {all}.").format(all=", ".join(readers()))})
    return found


def require_somewhere(user: Any) -> None:
    """Whoever may change a use case, or make one, may bring in lists; every row is asked about again."""
    if not (user.has_perm("usecases.add_usecase") or UseCase.objects.permitted(user, "change").exists()):
        raise NotAllowed("import", roles_that_may(USE_CASE, "change"))


def _check_header(reader: type[Reader], table: Table) -> None:
    known = reader.names()
    unknown = [name for name in table.header if name not in known]
    missing = [column.name for column in reader.columns if column.needed and column.name not in table.header]
    parts = []
    if missing:
        parts.append(_("missing: {names}").format(names=", ".join(missing)))
    if unknown:
        parts.append(_("unknown: {names}").format(names=", ".join(name[:40] for name in unknown[:10])))
    if parts:
        raise InvalidInput(
            {
                "file": _("The first row must name the columns ({parts}). Known are: {known}.").format(
                    parts="; ".join(parts), known=", ".join(known)
                )
            }
        )
    if not table.rows:
        raise InvalidInput({"file": _("There are no rows under the header.")})
    if len(table.rows) > reader.most:
        raise InvalidInput(
            {"file": _("At most {n} rows of this kind at once. Split the file.").format(n=f"{reader.most:,}")}
        )


def _plan(reader: Reader, table: Table) -> Report:
    _check_header(type(reader), table)
    report = Report(reader.key, rows=len(table.rows))
    for number, values in table.rows:
        cells = Cells(number, values, report.problems)
        step = reader.read(cells)
        if step is not None and not cells.bad:
            report.steps.append(step)
    reader.finish(report)
    report.problems.sort(key=lambda problem: problem.row)
    bad = {problem.row for problem in report.problems}
    report.steps = [step for step in report.steps if step.row not in bad]
    return report


def import_plan(*, actor: Any, kind: str, table: Table) -> Report:
    """Check every row; nothing is written. ``InvalidInput`` on field ``file`` when the header is wrong."""
    return _plan(reader_of(kind)(actor), table)


def _refused(report: Report) -> DomainError:
    return DomainError(
        "rows_refused",
        _("{bad} of {all} rows have problems; nothing was written.").format(bad=report.refused_rows, all=report.rows),
        {"refused": [problem.as_data() for problem in report.problems[:MAX_SHOWN]]},
        status=400,
    )


@transaction.atomic
def import_run(*, actor: Any, kind: str, table: Table, partial: bool = False) -> Report:
    """Write what the plan holds. With problems nothing is written unless ``partial``: then the good rows are. ``rows_refused`` (400)
    carries the problems."""
    reader = reader_of(kind)(actor)
    report = _plan(reader, table)
    if report.problems and not partial:
        raise _refused(report)
    report.written = reader.write([step for step in report.steps if step.state != SAME], report.problems)
    if report.problems and not partial:
        raise _refused(report)
    bad = {problem.row for problem in report.problems}
    report.steps = [step for step in report.steps if step.row not in bad]
    return report


def table_of_text(text: str) -> Table:
    return read_table(text.encode(), WINDOWS)


def table_of_rows(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of the API as if they were a sheet: the first object names the columns, numbers and nulls become cells."""
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    lines = [(at, {name: _cell(row.get(name)) for name in names}) for at, row in enumerate(rows, start=2)]
    return Table(tuple(names), lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else str(value)


def template_rows(kind: str) -> tuple[list[str], list[list[str]]]:
    """Header and one example row in words."""
    reader = reader_of(kind)
    return reader.names(), [[column.example for column in reader.columns]]


def template_text(kind: str) -> str:
    header, rows = template_rows(kind)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()
