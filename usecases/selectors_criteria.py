"""Reads of the scoring model: which version counts, what a version changed, how its weights stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from portal.core.models import AuditEntry, User
from usecases import facts
from usecases.choices import CriterionSource, SetState, WeightMethod
from usecases.models import CriteriaSet, Criterion


def newest_published() -> CriteriaSet | None:
    return CriteriaSet.objects.filter(state=SetState.PUBLISHED).order_by("-published_at").first()


def measured_leaves() -> list[Criterion]:
    """The sub-criteria of the newest published version that nobody needs to judge. Two queries."""
    newest = newest_published()
    if newest is None:
        return []
    rows = list(newest.criteria.all())
    parents = {row.parent_id for row in rows}
    return [row for row in rows if row.source != CriterionSource.JUDGED and row.pk not in parents]


#: What a rubric writes out: 0 to 5.
RUBRIC_LEVELS = 6


# ---- one version as a page ------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """One criterion as the page shows it; shares are 0 to 1. ``whole``: of everything, ``share``: among its sisters."""

    criterion: Criterion
    share: float | None
    whole: float | None = None
    fact: facts.Fact | None = None
    subs: list[Told] = field(default_factory=list)

    @property
    def rubric(self) -> list[tuple[int, str]]:
        """Each level with its text, empty where it is not written yet."""
        written = list(self.criterion.rubric)
        return list(enumerate(written + [""] * (RUBRIC_LEVELS - len(written))))

    @property
    def percent(self) -> float:
        return round(100 * (self.share or 0.0), 1)

    @property
    def measured_in(self) -> str:
        return self.fact.unit if self.fact is not None else ""


def shares(weights: Sequence[float]) -> list[float | None]:
    """Weights as shares; None for each where they sum to nothing."""
    total = sum(max(0.0, w) for w in weights)
    return [max(0.0, w) / total if total > 0 else None for w in weights]


def told(rows: Sequence[Criterion]) -> list[Told]:
    """The tree of a version with its shares, from the criteria in their order."""
    tops = [row for row in rows if row.parent_id is None]
    made = []
    for top, share in zip(tops, shares([t.weight for t in tops]), strict=True):
        below = [row for row in rows if row.parent_id == top.pk]
        subs = [
            Told(sub, within, None if share is None or within is None else share * within, facts.get(sub.fact))
            for sub, within in zip(below, shares([s.weight for s in below]), strict=True)
        ]
        made.append(Told(top, share, share, facts.get(top.fact), subs))
    return made


def weighed(criteria_set: CriteriaSet, key: str, people: Mapping[str, User]) -> dict[str, Any] | None:
    """How the weights of a level were found; None where nobody said."""
    kept = criteria_set.weighting.get(key)
    if not kept:
        return None
    return {
        "method": kept["method"],
        "label": WeightMethod(kept["method"]).label,
        "at": parse_datetime(kept["at"]) if kept.get("at") else None,
        "by": str(people.get(kept.get("by", ""), "")),
        "consistency": kept.get("consistency"),
    }


def people(criteria_set: CriteriaSet) -> dict[str, User]:
    """Who weighed the levels, by id. One query, none where nobody did."""
    ids = {kept.get("by") for kept in criteria_set.weighting.values()} - {"", None}
    return {str(person.pk): person for person in User.objects.filter(pk__in=ids)} if ids else {}


def published_by(entries: Sequence[AuditEntry]) -> str:
    """Who published it, as far as the history reaches back: after that act little is left to happen to a version."""
    return next((e.actor_label for e in entries if e.action == "criteriaset.publish"), "")


# ---- what a version changed -------------------------------------------------------------------------------------------------


@dataclass
class Change:
    """One criterion that is new, gone or different; ``rows`` are (what, before, after)."""

    name: str
    kind: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)


def changes(old: Sequence[Criterion], new: Sequence[Criterion]) -> list[Change]:
    """From one version to the next, criterion by criterion (they are the same if their key is)."""
    before, after = {c.key: c for c in old}, {c.key: c for c in new}
    was, now = _shares_by_key(old), _shares_by_key(new)
    made = [Change(c.name, "added") for key, c in after.items() if key not in before]
    made += [Change(c.name, "removed") for key, c in before.items() if key not in after]
    for key, row in after.items():
        if key in before and (rows := _differences(before[key], row, was[key], now[key])):
            made.append(Change(row.name, "changed", rows))
    return made


def _shares_by_key(rows: Sequence[Criterion]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for parent in {row.parent_id for row in rows}:
        level = [row for row in rows if row.parent_id == parent]
        found |= {row.key: share for row, share in zip(level, shares([r.weight for r in level]), strict=True)}
    return found


def _differences(old: Criterion, new: Criterion, was: float | None, now: float | None) -> list[tuple[str, str, str]]:
    rows = []
    if round(100 * (was or 0), 1) != round(100 * (now or 0), 1):
        rows.append((_("Weight"), f"{100 * (was or 0):.3g} %", f"{100 * (now or 0):.3g} %"))
    for label, one, two in (
        (_("Name"), old.name, new.name),
        (_("What it asks"), old.description, new.description),
        (_("Under"), _parent(old), _parent(new)),
        (_("Source"), old.get_source_display(), new.get_source_display()),
        (_("Measured by"), _fact(old), _fact(new)),
        (_("Anchors"), _anchors(old), _anchors(new)),
    ):
        if one != two:
            rows.append((label, str(one) or "–", str(two) or "–"))
    for at in range(max(len(old.rubric), len(new.rubric))):
        one, two = (c.rubric[at] if at < len(c.rubric) else "" for c in (old, new))
        if one != two:
            rows.append((_("What {n} means").format(n=at), one or "–", two or "–"))
    return rows


def _parent(row: Criterion) -> str:
    return row.parent.key if row.parent is not None else ""


def _fact(row: Criterion) -> str:
    known = facts.get(row.fact)
    return str(known.label) if known is not None else row.fact


def _anchors(row: Criterion) -> str:
    return f"{row.anchor_low:g} – {row.anchor_high:g}"
