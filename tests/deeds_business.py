"""How the writes around outcomes, business cases and imports come to success."""

from __future__ import annotations

from typing import Any

from django.apps import apps

from tests.deed import Deed
from tests.drive import Stage

READING = {"period_from": "2013-05-01T00:00", "period_to": "2013-06-01T00:00", "value": "3.5", "exposure": "700"}
RATE = {"base": "CHF", "quote": "EUR", "rate": "1.05", "on": "2026-01-01", "source": "Treasury"}


def _efforts(stage: Stage) -> dict[str, Any]:
    row = {"use_case": stage.cast.ours.code, "role": "data_scientist", "quarter": 7, "days": 20}
    return {"kind": "effort_needs", "rows": [row]}


def _efforts_form(stage: Stage) -> dict[str, Any]:
    text = f"use_case,role,quarter,days\n{stage.cast.ours.code},data_scientist,7,20\n"
    return {"kind": "effort_needs", "text": text, "write": "all"}


def _no_efforts(stage: Stage) -> None:
    """The world's own need is of a made-up role."""
    apps.get_model("usecases.EffortNeed").objects.filter(use_case=stage.cast.ours).delete()


def _another_reading(stage: Stage) -> Any:
    """One that no gate has used."""
    outcome = stage.ours.one("usecases.Outcome")
    apps.get_model("usecases.Outcome").objects.filter(pk=outcome.pk).update(baseline_frozen_at=None)


BUSINESS: dict[str, Deed] = {
    "usecases:reading-edit": Deed(_another_reading, lambda stage: dict(READING)),
    "usecases:reading-delete": Deed(_another_reading, lambda stage: {"reason": "Typed twice."}),
    "exchange-rate create": Deed(body=lambda stage: dict(RATE)),
    "usecases:exchange-rate-create": Deed(body=lambda stage: dict(RATE)),
    "usecases:exchange-rate-edit": Deed(body=lambda stage: dict(RATE)),
    "import bring_in": Deed(_no_efforts, _efforts),
    "usecases:import": Deed(_no_efforts, _efforts_form),
}
