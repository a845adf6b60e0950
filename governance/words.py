"""Sentences of the pages about trust: the finding in plain words, the method stays in its drawer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from governance.choices import DriftKind, SloKind
from governance.models import DriftReport
from portal.core.clock import day_text
from portal.core.templatetags.phasegate import duration


def day(moment: datetime | None) -> str:
    """A day of plant time such as "3 Jan 2014"."""
    return day_text(moment)


def drift_sentence(report: DriftReport | None, unit: str = "") -> str:
    """What one report says, such as "Behaves differently since 3 Jan 2014 (most: AFDP)"."""
    if report is None:
        return _("Not compared yet")
    if not report.measured:
        return report.reason or _("Not measured")
    worst = report.features[0]["name"] if report.features else ""
    if report.kind in {DriftKind.FEATURE, DriftKind.LABEL}:
        if not report.drifted:
            return _("As in its reference (nearest to a change: %(name)s)") % {"name": worst or "–"}
        return _("Behaves differently since %(day)s (most: %(name)s)") % {
            "day": day(report.plant_from),
            "name": worst or "–",
        }
    if report.kind == DriftKind.CONCEPT:
        mean = next((row["value"] for row in report.features if row.get("name") == "mean error"), None)
        if mean is not None:
            words = {"value": f"{mean:.2g}", "unit": unit, "rows": report.rows}
            text = _("Typically off by %(value)s %(unit)s in %(rows)s rows") % words
            return f"{text}: {_('above its limit') if report.drifted else _('within its limit')}"
        return _("Error above its limit") if report.drifted else _("Error within its limit")
    return _("The error has been rising, row by row") if report.drifted else _("The error is at its accepted level")


def budget_sentence(status: Any) -> str:
    """ "18 of 50 allowed minutes used"; for answers "3 of 3 repairs within 2 h"."""
    budget = status.budget
    if status.slo.kind == SloKind.UPTIME:
        if status.events <= 0:
            return _("No minute has been measured yet")
        words = {"used": f"{budget.used / 60:.0f}", "allowed": f"{budget.allowed / 60:.0f}"}
        return _("%(used)s of %(allowed)s allowed minutes used") % words
    limit = duration(status.slo.limit_seconds or 7200)
    text = ""
    if status.events > 0:
        words = {"good": f"{budget.total - budget.used:.0f}", "all": f"{budget.total:.0f}", "limit": limit}
        text = _("%(good)s of %(all)s repairs within %(limit)s") % words
    elif not (status.pending or status.overdue):
        text = _("No alert has been answered yet")
    extra = []
    if status.pending:
        extra.append(ngettext("%d repair under way", "%d repairs under way", status.pending) % status.pending)
    if status.overdue:
        extra.append(ngettext("%d repair overdue", "%d repairs overdue", status.overdue) % status.overdue)
    return ", ".join(part for part in (text, *extra) if part)


def slo_state(status: Any) -> str:
    """ok, watch, breach or not_measured."""
    if status.overdue:
        return "breach"
    if status.events <= 0:
        return "not_measured"
    if status.budget.exhausted and status.enough:
        return "breach"
    if status.severity is not None:
        return "breach" if status.severity == "page" else "watch"
    return "ok" if status.enough else "not_measured"


def slo_state_words(status: Any) -> str:
    state = slo_state(status)
    if state == "not_measured" and status.events > 0:
        return _("Too few to judge")
    return {
        "ok": _("Budget left"),
        "watch": _("Burning fast"),
        "breach": _("Overdue") if status.overdue else _("Budget spent") if status.budget.exhausted else _("Burning"),
        "not_measured": _("Not measured"),
    }[state]
