"""Use cases brought in as a list, with what they depend on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from django.db.models import Prefetch
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.errors import InvalidInput
from portal.core.models import User
from usecases import services
from usecases.choices import Label
from usecases.imports import CHANGED, SAME, Cells, Column, Problem, Reader, Report, Step, state_of
from usecases.models import UseCase

_SPLIT = re.compile(r"[\s,;]+")


class UseCases(Reader):
    key = "use_cases"
    most = 1_000
    label = gettext_lazy("Use cases")
    about = gettext_lazy(
        "Named by their code: a known code is changed, an unknown one is new. A column that is left out stays as it is; an empty "
        "cell empties the field."
    )
    columns = (
        Column("code", gettext_lazy("short code, lower case with dashes"), "pump-health", needed=True),
        Column("title", gettext_lazy("title"), "Pump health", needed=True),
        Column("summary", gettext_lazy("what it is about"), "Hear of a failing pump before it stops."),
        Column("label", gettext_lazy("quick_win, foundation, moon_shot or unlabelled"), "quick_win"),
        Column("sponsor", gettext_lazy("e-mail of a person"), ""),
        Column("owner", gettext_lazy("e-mail of a person"), ""),
        Column("depends_on", gettext_lazy("codes of use cases, with blanks between"), ""),
        Column("required_signals", gettext_lazy("channel codes, with blanks between"), "P1 T4"),
    )

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self.may_add = actor.has_perm("usecases.add_usecase")
        self._people: dict[str, User] | None = None
        self._codes: set[str] | None = None
        self._after: dict[str, list[str]] = {}
        self._rows: dict[str, int] = {}

    def person(self, cells: Cells, name: str) -> User | None:
        email = cells.text(name)
        if not email:
            return None
        if self._people is None:
            self._people = {u.email.casefold(): u for u in User.objects.filter(is_active=True)}
        found = self._people.get(email.casefold())
        if found is None:
            cells.refuse(name, _("Nobody active has this e-mail address."))
        return found

    def read(self, cells: Cells) -> Step | None:
        code = cells.text("code", needed=True)
        found = self.use_cases.get(code.casefold())
        self.once(cells, code.casefold(), "code")
        if found is not None and found.pk not in self.may_change:
            cells.refuse("code", _("You may look at this use case but not change it."))
        elif found is None and self._hidden(code):
            cells.refuse("code", _("This code is taken."))
        elif found is None and not self.may_add:
            cells.refuse("code", _("There is no such use case that you may change, and you may not make a new one."))
        data: dict[str, Any] = {"code": found.code if found else code, "title": cells.text("title", needed=True)}
        if cells.has("summary"):
            data["summary"] = cells.text("summary")
        if cells.has("label"):
            data["label"] = cells.one_of("label", Label.choices, Label.UNLABELLED.value)
        for name in ("sponsor", "owner"):
            if cells.has(name):
                data[name] = self.person(cells, name)
        if cells.has("required_signals"):
            data["required_signals"] = [part for part in _SPLIT.split(cells.text("required_signals")) if part]
        cells.take(UseCase(**data))
        if cells.has("depends_on"):
            self._after[code.casefold()] = [p.casefold() for p in _SPLIT.split(cells.text("depends_on")) if p]
        self._rows[code.casefold()] = cells.row
        changed = found is not None and any(getattr(found, name) != value for name, value in data.items())
        return Step(cells.row, state_of(found is None, changed), data["title"], (code.casefold(), data))

    def _hidden(self, code: str) -> bool:
        """A code that another, unseen use case has."""
        if self._codes is None:
            self._codes = {c.casefold() for c in UseCase.objects.values_list("code", flat=True)}
        return code.casefold() in self._codes

    def finish(self, report: Report) -> None:
        """Dependencies may name use cases further down, and must not go round."""
        ahead: dict[str, list[str]] = defaultdict(list)
        names = {use_case.pk: code for code, use_case in self.use_cases.items()}
        links = UseCase.depends_on.through.objects.filter(from_usecase_id__in=names)
        for one, other in links.values_list("from_usecase_id", "to_usecase_id"):
            ahead[names[one]].append(names.get(other, ""))
        self._before = {code: sorted(filter(None, ahead[code])) for code in self._after}
        ahead |= self._after
        known = set(self.use_cases) | set(self._rows)
        for code, wanted in self._after.items():
            for name in wanted:
                if name not in known:
                    self._no(report, code, _("There is no use case {code}.").format(code=name[:40]))
            if code in _reached(ahead, wanted):
                self._no(report, code, _("These use cases would wait for each other."))
        for step in report.steps:
            code = step.data[0]
            if step.state == SAME and code in self._after and sorted(set(self._after[code])) != self._before[code]:
                step.state = CHANGED

    def _no(self, report: Report, code: str, reason: str) -> None:
        report.problems.append(Problem(self._rows[code], "depends_on", reason))

    def write(self, steps: Sequence[Step], problems: list[Problem]) -> int:
        written = super().write(steps, problems)
        bad = {problem.row for problem in problems}
        for step in steps:
            if step.data[0] in self._after and step.row not in bad:
                done = self.guarded([step], problems, partial(self._link, step))
                written -= 1 - done
        return written

    def write_one(self, step: Step) -> None:
        code, data = step.data
        found = self.use_cases.get(code)
        if found is None:
            self.use_cases[code] = services.use_case_create(actor=self.actor, **data)
        else:
            services.use_case_update(actor=self.actor, use_case=found, data=data)

    def _link(self, step: Step) -> None:
        missing = [name for name in self._after[step.data[0]] if name not in self.use_cases]
        if missing:
            raise InvalidInput({"depends_on": _("There is no use case {code}.").format(code=missing[0])})
        wanted = [self.use_cases[name] for name in dict.fromkeys(self._after[step.data[0]])]
        services.use_case_update(
            actor=self.actor, use_case=self.use_cases[step.data[0]], data={}, many={"depends_on": wanted}
        )

    def export(self, **only: Any) -> Iterable[Sequence[Any]]:
        needed = Prefetch("depends_on", UseCase.objects.permitted(self.actor))
        rows = UseCase.objects.permitted(self.actor).select_related("sponsor", "owner").prefetch_related(needed)
        for row in rows.order_by("code"):
            yield (
                row.code,
                row.title,
                row.summary,
                row.label,
                row.sponsor.email if row.sponsor else "",
                row.owner.email if row.owner else "",
                " ".join(sorted(other.code for other in row.depends_on.all())),
                " ".join(row.required_signals),
            )


def _reached(ahead: dict[str, list[str]], start: list[str]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += ahead.get(name, [])
    return seen
