"""What the portfolio's pages say about a plan: how sure its gains are, which plans can be taken away as a table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.usecases import test_portfolio as portfolio
from usecases.models import PortfolioRun
from usecases.portfolio_words import Told

cases = portfolio.cases


@pytest.mark.parametrize(
    ("result", "warned"),
    [
        ({"starts": {"a": 0}, "status": "optimal", "gap": 0.0}, False),
        ({"starts": {"a": 0}, "status": "optimal", "gap": 0.01}, False),
        ({"starts": {"a": 0}, "status": "optimal", "gap": 0.2}, True),
        ({"starts": {"a": 0}, "status": "time_limit", "gap": 0.11}, True),
        ({"starts": {"a": 0}, "status": "greedy", "gap": None}, True),
        ({"starts": {}, "status": "infeasible", "gap": None}, False),
    ],
)
def test_gains_over_a_plan_that_is_not_proven_say_so(result: dict[str, Any], warned: bool) -> None:
    told = Told(SimpleNamespace(result=result, inputs={}), SimpleNamespace(currency="EUR", start=None), [])  # type: ignore[arg-type]
    assert ("may be had without more money" in told.unproven) is warned


@pytest.mark.django_db
def test_without_a_plan_there_is_no_table_to_take_away(cast: Any, cases: Any, as_user: Any) -> None:
    scenario = portfolio.scenario_of(cast, cases, budget=[40.0, 40.0], many={"must": [cases["c"]]})
    PortfolioRun.objects.create(
        scenario=scenario,
        inputs={"problem": {"budget": scenario.budget, "candidates": []}},
        result={"status": "infeasible", "starts": {}},
    )
    client = as_user(cast.coe_lead)
    page = client.get(scenario.get_absolute_url()).content.decode()
    assert "No plan keeps all the rules" in page
    assert "?export=csv" not in page
    solved = portfolio.scenario_of(cast, cases, name="Fits")
    portfolio.solved(cast, solved)
    assert "?export=csv" in client.get(solved.get_absolute_url()).content.decode()


@pytest.mark.django_db
def test_a_list_of_scenarios_reads_no_texts_of_their_use_cases(
    cast: Any, cases: Any, api: Any, django_assert_max_num_queries: Any
) -> None:
    for n in range(3):
        portfolio.scenario_of(cast, cases, name=f"Question {n}", many={"must": [cases["c"]]})
    client = api(cast.coe_lead)
    client.get("/api/v1/scenarios")
    with django_assert_max_num_queries(5) as asked:
        rows = client.get("/api/v1/scenarios").json()["results"]
    assert [row["must"] for row in rows] == [[str(cases["c"].pk)]] * 3
    assert {len(row["candidates"]) for row in rows} == {5}
    assert not [query for query in asked.captured_queries if '"summary"' in query["sql"]]
