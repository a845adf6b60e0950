"""The lists that can be brought in besides use cases: KPI readings, lines of business cases, effort needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.models import Site
from portal.core.errors import InvalidInput
from portal.core.roles import ROLES
from usecases import services
from usecases.choices import KpiSource, LineKind
from usecases.domain.periods import Span, clashes
from usecases.import_use_cases import UseCases
from usecases.imports import SAME, Cells, Column, Problem, Reader, Report, Step, state_of
from usecases.models import BusinessCase, BusinessLine, EffortNeed, KpiReading, Outcome, UseCase
from usecases.services.business import lines_check
from usecases.services.outcomes import in_frozen_window, readings_put, twice_text
from usecases.services.portfolio import PEOPLE, efforts_put


class KpiReadings(Reader):
    key = "kpi_readings"
    label = gettext_lazy("KPI readings")
    about = gettext_lazy(
        "One row per KPI and period, in plant time. A period that is known already is changed. Periods inside a baseline that a gate "
        "has used need a reason."
    )
    columns = (
        Column("use_case", gettext_lazy("its code"), "pump-health", needed=True),
        Column("kpi", gettext_lazy("the outcome's KPI as it is named"), "Unplanned stops", needed=True),
        Column("site", gettext_lazy("code of the plant; empty: all together"), ""),
        Column("period_from", gettext_lazy("first moment, plant time"), "2026-01-01", needed=True),
        Column("period_to", gettext_lazy("first moment after it, plant time"), "2026-02-01", needed=True),
        Column("value", gettext_lazy("total over the period, in the KPI's unit"), "12", needed=True),
        Column("exposure", gettext_lazy("what it was measured over, in the exposure unit"), "610.5", needed=True),
        Column("note", gettext_lazy("anything to know"), ""),
        Column("reason", gettext_lazy("why a frozen baseline changes"), ""),
    )

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._sites: dict[str, Site] | None = None
        self._outcomes: dict[Any, dict[str, list[Outcome]]] | None = None
        self._known: dict[Any, dict[Any, KpiReading]] = {}

    def site(self, cells: Cells) -> Site | None:
        code = cells.text("site")
        if not code:
            return None
        if self._sites is None:
            self._sites = {site.code.casefold(): site for site in Site.objects.permitted(self.actor, "view")}
        found = self._sites.get(code.casefold())
        if found is None:
            cells.refuse("site", _("There is no site {code} that you may see.").format(code=code[:40]))
        return found

    def outcome(self, cells: Cells, use_case: UseCase | None) -> Outcome | None:
        name = cells.text("kpi", needed=True)
        if use_case is None or not name:
            return None
        if self._outcomes is None:
            self._outcomes = defaultdict(lambda: defaultdict(list))
            for row in Outcome.objects.filter(use_case__in=self.may_change):
                self._outcomes[row.use_case_id][row.kpi.casefold()].append(row)
        found = self._outcomes[use_case.pk].get(name.casefold(), [])
        if len(found) != 1:
            text = (
                _("This use case has no KPI of that name.")
                if not found
                else _("Two KPIs of this use case have that name.")
            )
            cells.refuse("kpi", text)
            return None
        return found[0]

    def known(self, outcome: Outcome) -> dict[Any, KpiReading]:
        if outcome.pk not in self._known:
            rows = KpiReading.objects.filter(outcome=outcome)
            self._known[outcome.pk] = {(row.site_id, row.period_from): row for row in rows}
        return self._known[outcome.pk]

    def read(self, cells: Cells) -> Step | None:
        outcome, site = self.outcome(cells, self.use_case(cells)), self.site(cells)
        start, end = cells.moment("period_from"), cells.moment("period_to")
        value, exposure = cells.number("value"), cells.number("exposure", low=0.0)
        note, reason = cells.text("note"), cells.text("reason")
        if start is not None and end is not None and start >= end:
            cells.refuse("period_to", _("The period must begin before it ends."))
        if outcome is None or start is None or end is None or cells.bad:
            return None
        made = KpiReading(
            outcome=outcome,
            site=site,
            period_from=start,
            period_to=end,
            value=value,
            exposure=exposure,
            note=note,
            source=KpiSource.IMPORT,
        )
        cells.take(made)
        self.once(cells, (outcome.pk, made.site_id, start), "period_from")
        found = self.known(outcome).get((made.site_id, start))
        now = (end, value, exposure, note)
        changed = found is not None and (found.period_to, found.value, found.exposure, found.note) != now
        if (found is None or changed) and not reason:
            ends = [end] if found is None else [end, found.period_to]
            if any(in_frozen_window(outcome, start, last) for last in ends):
                cells.refuse("reason", _("A gate has used the baseline this belongs to: give a reason."))
        title = f"{outcome.kpi}, {start.date().isoformat()}"
        return Step(cells.row, state_of(found is None, changed), title, (made, found, reason))

    def finish(self, report: Report) -> None:
        """A stretch of time counts once: against the other rows, and against what is known and not changed by them."""
        for outcome, steps in _by_outcome(step for step in report.steps if step.state != SAME).items():
            places = {(made.site_id, made.period_from) for made, _found, _reason in (step.data for step in steps)}
            kept = [r for place, r in self.known(outcome).items() if place not in places]
            spans = [Span(r.period_from, r.period_to, r.site_id, None) for r in kept]
            spans += [Span(s.data[0].period_from, s.data[0].period_to, s.data[0].site_id, s.row) for s in steps]
            told: set[int] = set()
            for one, other in clashes(spans):
                here, there = (other, one) if other.what is not None else (one, other)
                if here.what is None or here.what in told:
                    continue
                told.add(here.what)
                text = (
                    twice_text(there.start, there.end)
                    if there.what is None
                    else _("Row {row} counts a part of this period already; it would count twice.").format(
                        row=there.what
                    )
                )
                report.problems.append(Problem(here.what, "period_from", text))

    def write(self, steps: Sequence[Step], problems: list[Problem]) -> int:
        """All readings of one outcome in one go: its baseline and gate are looked at once and not ten thousand times."""
        return sum(
            self.guarded(rows, problems, partial(readings_put, actor=self.actor, rows=[step.data for step in rows]))
            for rows in _by_outcome(steps).values()
        )

    def export(self, outcome: Any = None, **only: Any) -> Iterable[Sequence[Any]]:
        rows = KpiReading.objects.permitted(self.actor).select_related("outcome__use_case", "site")
        if outcome is not None:
            rows = rows.filter(outcome=outcome)
        for row in rows.order_by("outcome__use_case__code", "outcome__kpi", "period_from", "id").iterator():
            yield (
                row.outcome.use_case.code,
                row.outcome.kpi,
                row.site.code if row.site else "",
                row.period_from,
                row.period_to,
                row.value,
                row.exposure,
                row.note,
                "",
            )


def _by_outcome(steps: Iterable[Step]) -> dict[Outcome, list[Step]]:
    found: dict[Outcome, list[Step]] = defaultdict(list)
    for step in steps:
        found[step.data[0].outcome].append(step)
    return found


class BusinessLines(Reader):
    key = "business_lines"
    label = gettext_lazy("Lines of business cases")
    about = gettext_lazy(
        "One row per line, amounts per quarter without a sign. A line of the same kind and name is changed; lines that are not in the "
        "file stay. The business case itself must exist."
    )
    columns = (
        Column("use_case", gettext_lazy("its code"), "pump-health", needed=True),
        Column("kind", gettext_lazy("capex, opex or benefit"), "benefit", needed=True),
        Column("name", gettext_lazy("what it is"), "Stops avoided", needed=True),
        Column("low", gettext_lazy("per quarter, at the least"), "2000", needed=True),
        Column("likely", gettext_lazy("per quarter, likely"), "6000", needed=True),
        Column("high", gettext_lazy("per quarter, at the most"), "12000", needed=True),
        Column("first_quarter", gettext_lazy("0 is the day of the decision"), "1"),
        Column("last_quarter", gettext_lazy("the last one with money"), "11"),
        Column("ramp_quarters", gettext_lazy("quarters to 63 % of the amount"), "1.5"),
        Column("delay_low", gettext_lazy("quarters late, at best"), "0"),
        Column("delay_likely", gettext_lazy("quarters late, likely"), "0.5"),
        Column("delay_high", gettext_lazy("quarters late, at worst"), "2"),
        Column("attribution", gettext_lazy("share due to this use case, 0 to 1"), "0.7"),
        Column("note", gettext_lazy("where the amount comes from"), "Estimate of maintenance"),
    )
    defaults: ClassVar[dict[str, float]] = {
        "first_quarter": 0,
        "last_quarter": 0,
        "ramp_quarters": 0.0,
        "delay_low": 0.0,
        "delay_likely": 0.0,
        "delay_high": 0.0,
        "attribution": 1.0,
    }

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._cases: dict[Any, BusinessCase] | None = None
        self._lines: dict[Any, list[dict[str, Any]]] = {}

    def case(self, cells: Cells, use_case: UseCase | None) -> BusinessCase | None:
        if use_case is None:
            return None
        if self._cases is None:
            rows = (
                BusinessCase.objects.filter(use_case__in=self.may_change)
                .select_related("use_case")
                .prefetch_related("lines")
            )
            self._cases = {row.use_case_id: row for row in rows}
        found = self._cases.get(use_case.pk)
        if found is None:
            cells.refuse("use_case", _("It has no business case yet: write its currency, rate and start first."))
        return found

    def read(self, cells: Cells) -> Step | None:
        case = self.case(cells, self.use_case(cells))
        kind = cells.one_of("kind", LineKind.choices, "")
        if not cells.text("kind", needed=True):
            return None
        name = cells.text("name", needed=True)
        row: dict[str, Any] = {"kind": kind, "name": name}
        for amount in ("low", "likely", "high"):
            found = cells.number(amount, low=0.0)
            row[amount] = None if found is None else Decimal(repr(found)).quantize(Decimal("0.01"))
        for field, default in self.defaults.items():
            if cells.has(field):
                row[field] = cells.number(field, default, low=0.0, whole=field.endswith("_quarter"))
        if cells.has("note"):
            row["note"] = cells.text("note")
        if case is None or cells.bad:
            return None
        self.once(cells, (case.pk, kind, name.casefold()), "name")
        lines = self._lines.setdefault(case.pk, services.lines_as_data(case))
        at = next((n for n, line in enumerate(lines) if _same_line(line, kind, name)), None)
        before = dict(lines[at]) if at is not None else None
        after = {"note": "", **self.defaults, **(before or {}), **row}
        cells.take(BusinessLine(**after))
        order = after["low"] <= after["likely"] <= after["high"]
        if not order:
            cells.refuse("likely", _("Low, likely and high must rise in that order."))
        if after["first_quarter"] > after["last_quarter"]:
            cells.refuse("last_quarter", _("The line must begin before it ends."))
        if not after["delay_low"] <= after["delay_likely"] <= after["delay_high"]:
            cells.refuse("delay_likely", _("The delays at best, likely and at worst must rise in that order."))
        if cells.bad:
            return None
        return Step(cells.row, state_of(before is None, before != after), f"{case.use_case}: {name}", (case, after))

    def finish(self, report: Report) -> None:
        """The case with all its new lines, judged by the calculator before anything is written."""
        for case, steps in _by_case(report.steps).items():
            try:
                lines_check(case, self._merged(case, steps))
            except InvalidInput as error:
                report.problems += self._at_rows(error, case, steps)

    def _merged(self, case: BusinessCase, steps: Sequence[Step]) -> list[dict[str, Any]]:
        lines = [dict(line) for line in self._lines[case.pk]]
        for step in steps:
            after = step.data[1]
            at = next((n for n, line in enumerate(lines) if _same_line(line, after["kind"], after["name"])), None)
            if at is None:
                lines.append(after)
            else:
                lines[at] = after
        return lines

    def _at_rows(self, error: InvalidInput, case: BusinessCase, steps: Sequence[Step]) -> list[Problem]:
        """What is wrong with line n of the case, at the row that wrote it; else at every row of the case."""
        lines = self._merged(case, steps)
        found: list[Problem] = []
        for told in error.errors:
            name = str(told["field"])
            at, _dot, field = name.removeprefix("lines[").partition("].")
            line = lines[int(at)] if name.startswith("lines[") and at.isdigit() else None
            rows = [s for s in steps if line is not None and s.data[1] is line] or steps
            found += [Problem(step.row, field or "use_case", str(told["message"])) for step in rows]
        return found

    def write(self, steps: Sequence[Step], problems: list[Problem]) -> int:
        written = 0
        for case, rows in _by_case(steps).items():
            lines = self._merged(case, rows)
            written += self.guarded(
                rows,
                problems,
                partial(
                    services.business_case_update,
                    actor=self.actor,
                    case=case,
                    data={},
                    lines=lines,
                    expected_version=case.version,
                ),
            )
        return written

    def export(self, **only: Any) -> Iterable[Sequence[Any]]:
        rows = BusinessLine.objects.permitted(self.actor).select_related("case__use_case")
        for row in rows.order_by("case__use_case__code", "position", "id"):
            fields = [getattr(row, name) for name in self.names()[1:]]
            yield (row.case.use_case.code, *fields)


def _same_line(line: dict[str, Any], kind: str, name: str) -> bool:
    return bool(line["kind"] == kind and line["name"].casefold() == name.casefold())


def _by_case(steps: Sequence[Step]) -> dict[BusinessCase, list[Step]]:
    found: dict[BusinessCase, list[Step]] = defaultdict(list)
    for step in steps:
        found[step.data[0]].append(step)
    return found


class EffortNeeds(Reader):
    key = "effort_needs"
    label = gettext_lazy("Effort needs")
    about = gettext_lazy(
        "Person-days of a role that a use case needs, per quarter after its start. A known role and quarter is changed, "
        "0 days take it out, the others stay."
    )
    columns = (
        Column("use_case", gettext_lazy("its code"), "pump-health", needed=True),
        Column("role", gettext_lazy("key of the role"), "data_scientist", needed=True),
        Column("quarter", gettext_lazy("0 is the quarter it starts in"), "0", needed=True),
        Column("days", gettext_lazy("person-days"), "20", needed=True),
    )

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._known: dict[Any, dict[tuple[str, int], float]] | None = None

    def read(self, cells: Cells) -> Step | None:
        use_case = self.use_case(cells)
        role = cells.one_of("role", [(key, ROLES[key].label) for key in PEOPLE], "")
        cells.text("role", needed=True)
        quarter = cells.number("quarter", low=0.0, high=79.0, whole=True)
        days = cells.number("days", low=0.0, high=10_000.0)
        if use_case is None or cells.bad:
            return None
        self.once(cells, (use_case.pk, role, quarter), "role")
        found = self.known(use_case).get((role, quarter), 0.0)
        title = f"{use_case}: {ROLES[role].label}"
        state = state_of(found == 0.0 and days > 0, found != days)
        return Step(cells.row, state, title, (use_case, role, quarter, days))

    def known(self, use_case: UseCase) -> dict[tuple[str, int], float]:
        if self._known is None:
            self._known = defaultdict(dict)
            for row in EffortNeed.objects.filter(use_case__in=self.may_change):
                self._known[row.use_case_id][row.role, row.quarter] = row.days
        return self._known[use_case.pk]

    def write(self, steps: Sequence[Step], problems: list[Problem]) -> int:
        """One use case at a time: what is there already stays beside what the file says."""
        by_case: dict[UseCase, list[Step]] = defaultdict(list)
        for step in steps:
            by_case[step.data[0]].append(step)
        written = 0
        for use_case, group in by_case.items():
            needs = dict(self.known(use_case)) | {(step.data[1], step.data[2]): step.data[3] for step in group}
            rows = [{"role": role, "quarter": quarter, "days": days} for (role, quarter), days in needs.items()]
            written += self.guarded(
                group, problems, partial(efforts_put, actor=self.actor, use_case=use_case, rows=rows)
            )
        return written

    def export(self, **only: Any) -> Iterable[Sequence[Any]]:
        rows = EffortNeed.objects.permitted(self.actor).order_by("use_case__code", "quarter", "role")
        yield from rows.values_list("use_case__code", "role", "quarter", "days")


KINDS: dict[str, type[Reader]] = {reader.key: reader for reader in (UseCases, KpiReadings, BusinessLines, EffortNeeds)}
