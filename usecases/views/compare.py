"""Scenarios side by side."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.pages import Page
from usecases import planning, portfolio_words
from usecases.models import Scenario
from usecases.views.portfolio import SCENARIOS, site_names

MOST_COMPARED = 4


class ComparePage(Page):
    """Up to four scenarios side by side."""

    title = gettext_lazy("Scenarios side by side")

    def get(self, request: HttpRequest) -> HttpResponse:
        known: dict[str, Scenario] = {
            str(s.pk): s for s in SCENARIOS.permitted(request.user).order_by("-of_record", "-created_at")[:50]
        }
        asked = [key for key in dict.fromkeys(request.GET.getlist("s")) if key in known][:MOST_COMPARED]
        shown = asked or list(known)[:2]
        visible = planning.visible_ids(request.user)
        columns: list[dict[str, Any]] = []
        for key in shown:
            scenario = known[key]
            run = planning.newest_run(scenario)
            columns.append(
                {
                    "scenario": scenario,
                    "total": sum(scenario.budget),
                    "told": portfolio_words.Told(run, scenario, visible, site_names(scenario, request.user))
                    if run
                    else None,
                }
            )
        differences(columns)
        return self.render(
            "usecases/compare.html",
            {
                "breadcrumbs": [(_("Portfolio"), reverse("usecases:portfolio")), (_("Side by side"), "")],
                "columns": columns,
                "cases": compared(columns, visible),
                "known": [{"scenario": s, "on": key in shown} for key, s in known.items()],
            },
        )


def differences(columns: list[dict[str, Any]]) -> None:
    """What each plan is worth more or less than the first, where both are in one currency."""
    first = columns[0]["told"] if columns else None
    for column in columns:
        told = column["told"]
        column["spend"] = sum(told.result["spend"]) if told is not None and told.result.get("starts") else None
        if column is columns[0] or first is None or told is None or told.currency != first.currency:
            continue
        if told.result.get("starts") and first.result.get("starts"):
            column["against"] = told.result["value"] - first.result["value"]


def compared(columns: list[dict[str, Any]], visible: set[str]) -> list[dict[str, Any]]:
    """One row per use case: the quarter in which each scenario starts it; where they differ comes first."""
    keys: dict[str, str] = {}
    for column in columns:
        if column["told"] is not None:
            keys |= {k: c["title"] for k, c in column["told"].cases.items() if k in visible}
    rows = []
    for key, title in keys.items():
        cells = []
        for column in columns:
            told = column["told"]
            start = told.result.get("starts", {}).get(key) if told else None
            cells.append(
                {
                    "text": told.quarters[start]
                    if told and start is not None
                    else (_("out") if told and key in told.cases else "–"),
                    "in": start is not None,
                    "label": column["scenario"].name,
                }
            )
        rows.append({"title": title, "cells": cells, "differs": len({c["text"] for c in cells}) > 1})
    return sorted(rows, key=lambda r: (not r["differs"], r["title"]))
