"""The map of dependencies: which use cases are foundations, what waits for them, and what they enable."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import exports
from portal.core.pages import Page
from usecases import foundations
from usecases.choices import Label
from usecases.figures import SIGNS
from usecases.foundations import Enabling, Place


def graph(found: list[Place]) -> dict[str, Any]:
    """Only use cases that wait or are waited for; the table has the others as well."""
    shown = [p for p in found if p.direct or p.depends_on]
    return {
        "nodes": [
            {
                "id": str(p.case.pk),
                "label": f"{SIGNS[Label(p.case.label)]} {p.case.title}",
                "kind": str(p.case.get_label_display()),
                "phase": p.case.phase,
                "url": p.case.get_absolute_url(),
                "group": _("Phase {n}: {phase}").format(n=p.case.phase, phase=p.case.get_phase_display()),
            }
            for p in shown
        ],
        "edges": [{"source": str(p.case.pk), "target": str(dependent.pk)} for p in shown for dependent in p.direct],
    }


def finding(found: list[Place]) -> str:
    first = found[0] if found else None
    if first is None or not first.direct:
        return _("No use case waits for another")
    count = len(first.direct) + len(first.indirect)
    if count == 1:
        return _("{other} waits for {title}").format(other=first.direct[0].title, title=first.case.title)
    return _("{n} use cases wait for {title}").format(n=count, title=first.case.title)


class MapPage(Page):
    title = gettext_lazy("Foundations and what they enable")

    def get(self, request: HttpRequest) -> HttpResponse:
        found = foundations.places(request.user)
        money = foundations.enabling(request.user)
        kind = request.GET.get("export")
        if kind in {"csv", "xlsx"}:
            return self.export(found, money, kind)
        return self.render(
            "usecases/map.html",
            {
                "breadcrumbs": [(_("Use cases"), reverse("usecases:use-cases")), (_("Map"), "")],
                "rows": [{"place": p, "enabling": money.of(p.case), "reason": money.why_not(p.case)} for p in found],
                "graph": graph(found),
                "legend": _(
                    "{signs}; arrows lead from a foundation to what waits for it, the border shows the phase"
                ).format(signs=", ".join(f"{SIGNS[label]} {label.label.lower()}" for label in Label)),
                "finding": finding(found),
                "money": money,
                "export_formats": [(kind.upper(), f"?export={kind}") for kind in ("csv", "xlsx")],
            },
        )

    def export(self, found: list[Place], money: Enabling, kind: str) -> Any:
        header = [
            _("Use case"),
            _("Code"),
            _("Label"),
            _("Phase"),
            _("Depends on"),
            _("Direct dependents"),
            _("Dependents through others"),
            _("Enabling value"),
            _("Currency"),
            _("Why there is none"),
        ]
        rows = [
            [
                p.case.title,
                p.case.code,
                p.case.get_label_display(),
                p.case.phase,
                ", ".join(c.title for c in p.depends_on),
                len(p.direct),
                len(p.indirect),
                money.of(p.case),
                money.currency,
                money.why_not(p.case),
            ]
            for p in found
        ]
        return (exports.csv_response if kind == "csv" else exports.xlsx_response)("use-case-map", header, rows)
