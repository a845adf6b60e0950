"""How the writes around the portfolio come to success."""

from __future__ import annotations

from typing import Any

from django.apps import apps

from portal.core.clock import wall_now
from tests.deed import Deed
from tests.drive import Stage

WORTH = {
    "p10": 10_000.0,
    "p50": 50_000.0,
    "p90": 90_000.0,
    "capex": [-20_000.0, 0.0, 0.0],
    "opex": [0.0, -1_000.0, -1_000.0],
    "rating": 3.0,
}


def _valued(stage: Stage) -> Any:
    """A use case that can be weighed, in a scenario that asks about it."""
    case = stage.ours.one("usecases.BusinessCase")
    apps.get_model("usecases.BusinessCase").objects.filter(pk=case.pk).update(result=WORTH, currency="EUR")
    return stage.ours.one("usecases.Scenario")


def _solved(stage: Stage) -> Any:
    from usecases import planning

    scenario = _valued(stage)
    inputs = planning.inputs_of(scenario)
    apps.get_model("usecases.PortfolioRun").objects.create(
        scenario=scenario,
        inputs=inputs,
        inputs_sha256=planning.fingerprint(inputs),
        result={"starts": {str(stage.ours.use_case.pk): 0}, "value": 50_000.0, "status": "optimal"},
        finished_at=wall_now(),
    )
    return scenario


def _running(stage: Stage) -> Any:
    run = stage.ours.one("usecases.PortfolioRun")
    job = stage.ours.another("core.Job")
    apps.get_model("usecases.PortfolioRun").objects.filter(pk=run.pk).update(job=job, finished_at=None)
    return run


def _asked(stage: Stage) -> dict[str, Any]:
    return {
        "name": "Half the budget",
        "start": "2027-01-01",
        "quarters": 4,
        "budget": [10_000, 10_000, 10_000, 10_000],
        "candidates": [str(stage.ours.use_case.pk)],
    }


def _typed(stage: Stage) -> dict[str, Any]:
    plain = {"name": "Half the budget", "start": "2027-01-01", "currency": "EUR", "quarters": "4"}
    rules = {"lag": "0", "foundation_share": "0", "gap": "1", "time_limit": "10", "seed": "1"}
    choices = {f"case_{pk}": "no" for pk in apps.get_model("usecases.UseCase").objects.values_list("pk", flat=True)}
    chosen = {f"case_{stage.ours.use_case.pk}": "may"}
    return plain | rules | choices | chosen | {f"budget_{q}": "10000" for q in range(4)}


def _efforts(stage: Stage) -> dict[str, Any]:
    return {"days_data_scientist_0": "12.5"}


PORTFOLIO: dict[str, Deed] = {
    "scenario create": Deed(body=_asked),
    "scenario partial_update": Deed(body=lambda stage: {"name": "Another name"}),
    "scenario run": Deed(_valued, lambda stage: {"kind": "plan"}),
    "scenario copy": Deed(body=lambda stage: {"name": "A copy", "more": {"0": 500}}),
    "scenario adopt": Deed(_solved),
    "effort-need create": Deed(
        body=lambda stage: {"use_case": str(stage.ours.use_case.pk), "role": "data_scientist", "quarter": 9, "days": 5}
    ),
    "portfolio-run cancel": Deed(_running),
    "usecases:scenario-create": Deed(body=_typed),
    "usecases:scenario-edit": Deed(body=_typed),
    "usecases:scenario-run": Deed(_valued, lambda stage: {"kind": "core"}),
    "usecases:scenario-adopt": Deed(_solved),
    "usecases:scenario-copy": Deed(body=lambda stage: {"quarter": "0", "amount": "500"}),
    "usecases:run-cancel": Deed(_running),
    "usecases:effort": Deed(body=_efforts),
}
