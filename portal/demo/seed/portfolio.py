"""What the budget buys in the demo: person-days, two scenarios, and a plan of record made by the optimiser itself. All of it is assumption."""

from __future__ import annotations

from datetime import date
from typing import Any

from usecases import services
from usecases.models import PortfolioRun, Scenario, UseCase
from usecases.tasks import portfolio_run

#: Person-days by role in the quarters after the start; nobody has kept books, so they are assumptions.
DAYS: dict[str, dict[str, list[float]]] = {
    "nox-soft-sensor": {"data_scientist": [25, 10], "ot_engineer": [12, 4], "edge_architect": [6]},
    "gas-path-anomaly": {"data_scientist": [20, 10], "ot_engineer": [8, 4], "edge_architect": [5]},
    "machine-early-warning": {"data_scientist": [22, 8], "ot_engineer": [15, 6], "edge_architect": [8]},
    "process-fault-detection": {"data_scientist": [30, 15], "ot_engineer": [10, 5]},
    "vibration-health": {"data_scientist": [25, 10], "ot_engineer": [20, 8], "edge_architect": [8]},
    "energy-per-part": {"data_scientist": [15, 5], "ot_engineer": [6]},
}
NOTE = "Budgets and person-days are assumptions of the demo. The values come from the business cases, which say what they assume."


def make_portfolio(people: dict[str, Any], use_cases: dict[str, UseCase]) -> Scenario:
    """Two scenarios solved by the optimiser; the smaller one, which lacks little for one more use case, becomes the plan of record."""
    lead = people["coe_lead"]
    for code, roles in DAYS.items():
        rows = [
            {"role": role, "quarter": quarter, "days": float(days)}
            for role, row in roles.items()
            for quarter, days in enumerate(row)
        ]
        services.efforts_put(actor=lead, use_case=use_cases[code], rows=rows)
    quarters = 4
    scenario = services.scenario_create(
        actor=lead,
        many={"candidates": list(use_cases.values()), "must": [use_cases["nox-soft-sensor"]], "must_not": []},
        name="2013, as budgeted",
        note=NOTE,
        start=date(2013, 1, 1),
        quarters=quarters,
        budget=[60_000.0, 45_000.0, 35_000.0, 25_000.0],
        capacity={
            "data_scientist": [50.0] * quarters,
            "ot_engineer": [30.0] * quarters,
            "edge_architect": [15.0] * quarters,
        },
    )
    richer = services.scenario_copy(actor=lead, scenario=scenario, name="2013, 10,000 EUR more", more={1: 10_000.0})
    for each in (scenario, richer):
        solve(lead, each, "plan")
    solve(lead, scenario, "frontier")
    solve(lead, scenario, "core")
    return services.scenario_adopt(actor=lead, scenario=scenario)


def solve(lead: Any, scenario: Scenario, kind: str) -> PortfolioRun:
    """Run the optimiser here and now: the demo's worker is not up yet."""
    run = services.run_start(actor=lead, scenario=scenario, kind=kind)
    portfolio_run(str(run.job_id))
    run.refresh_from_db()
    return run
