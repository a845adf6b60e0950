"""Two people on one business case: what differs between what is saved and what was typed, who changed it, and the choice of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from portal.core.clock import day_text
from usecases.models import BusinessCase, BusinessLine
from usecases.services.business import LINE_FIELDS

MINE, THEIRS = "mine", "theirs"
CASE_FIELDS = ("currency", "discount_rate", "quarters", "start", "assumption", "seed")


def plain(value: Any) -> Any:
    """A value as the form carries it: the same number typed in two ways is no difference."""
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


@dataclass(frozen=True)
class Version:
    """A case and its lines as plain text, the lines by a key that stays when lines move."""

    fields: dict[str, str]
    lines: dict[str, dict[str, str]]

    @classmethod
    def of(cls, fields: Mapping[str, Any], lines: list[dict[str, Any]]) -> Version:
        keyed: dict[str, dict[str, str]] = {}
        for line in lines:
            key = f"{line['kind']} {line['name']}"
            while key in keyed:
                key += " #"
            keyed[key] = {name: plain(line.get(name)) for name in LINE_FIELDS}
        return cls({name: plain(fields.get(name)) for name in CASE_FIELDS}, keyed)

    @classmethod
    def of_case(cls, case: BusinessCase) -> Version:
        lines = [{name: getattr(line, name) for name in LINE_FIELDS} for line in case.lines.all()]
        return cls.of({name: getattr(case, name) for name in CASE_FIELDS}, lines)

    def dumped(self) -> str:
        return json.dumps({"fields": self.fields, "lines": self.lines})

    @classmethod
    def loaded(cls, text: str) -> Version | None:
        """What the form was opened with; it decides only which choice is offered first."""
        try:
            data = json.loads(text)
            fields = {str(k): str(v) for k, v in data["fields"].items()}
            lines = {str(k): {str(n): str(v) for n, v in line.items()} for k, line in data["lines"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return cls(fields, lines)


def pick_name(kind: str, key: str) -> str:
    """The name of the choice in the form."""
    return f"pick-{kind}-{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}"


def _row(label: str, name: str, base: Any, mine: Any, theirs: Any, words: Any) -> dict[str, Any]:
    untouched, by_them = mine == base, theirs != base
    who = _("they changed it") if untouched else _("you both changed it") if by_them else _("you changed it")
    return {
        "label": label,
        "name": name,
        "yours": words(mine),
        "theirs": words(theirs),
        "pick": THEIRS if untouched else MINE,
        "who": who,
    }


def differences(
    base: Version | None, mine: Version, theirs: Version, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of ``components/version_conflict.html``. Without ``base`` everything counts as changed by both."""
    known = base or Version({}, {})
    rows = [
        _row(
            labels.get(name, name),
            pick_name("field", name),
            known.fields.get(name),
            mine.fields[name],
            theirs.fields[name],
            lambda value, name=name: _field_words(name, value),
        )
        for name in CASE_FIELDS
        if mine.fields[name] != theirs.fields[name]
    ]
    for key in _keys(mine, theirs):
        ours, other = mine.lines.get(key), theirs.lines.get(key)
        if ours != other:
            line = ours or other or {}
            label = _("Line “{name}”").format(name=line.get("name", key))
            rows.append(_row(label, pick_name("line", key), known.lines.get(key), ours, other, _line_words))
    return rows


def _keys(mine: Version, theirs: Version) -> list[str]:
    return [*mine.lines, *(key for key in theirs.lines if key not in mine.lines)]


def merged_fields(asked: Mapping[str, Any], mine: Mapping[str, Any], theirs: BusinessCase) -> dict[str, Any]:
    """The typed fields, with theirs where that was chosen."""
    return {
        name: getattr(theirs, name) if asked.get(pick_name("field", name)) == THEIRS else value
        for name, value in mine.items()
    }


def merged_lines(
    asked: Mapping[str, Any], mine: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The typed lines in their order, with theirs where that was chosen; lines that only they have come last."""
    ours, others = _by_key(mine), _by_key(theirs)
    found = []
    for key in [*ours, *(key for key in others if key not in ours)]:
        pick = asked.get(pick_name("line", key), MINE)
        line = others.get(key) if pick == THEIRS else ours.get(key)
        if line is not None:
            found.append(line)
    return found


def _by_key(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    keyed: dict[str, dict[str, Any]] = {}
    for line in lines:
        key = f"{line['kind']} {line['name']}"
        while key in keyed:
            key += " #"
        keyed[key] = line
    return keyed


def _field_words(name: str, value: str) -> str:
    if name == "start":
        return day_text(date.fromisoformat(value)) if value else "–"
    if name == "discount_rate" and value:
        return f"{100 * float(value):g} %"
    return value


def _line_words(line: dict[str, str] | None) -> str:
    if line is None:
        return _("not there")
    kind = dict(BusinessLine._meta.get_field("kind").flatchoices).get(line["kind"], line["kind"])
    text = _(
        "{kind} {low} / {likely} / {high}, Q{first} to Q{last}, ramp {ramp}, delay {delays}, share {share}"
    ).format(
        kind=kind,
        low=line["low"],
        likely=line["likely"],
        high=line["high"],
        first=line["first_quarter"],
        last=line["last_quarter"],
        ramp=line["ramp_quarters"],
        delays=" / ".join(line[name] for name in ("delay_low", "delay_likely", "delay_high")),
        share=line["attribution"],
    )
    return f"{text}; {line['note']}" if line["note"] else text
