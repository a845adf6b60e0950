"""Scenarios side by side: what each plan is worth, where they differ, and nothing that may not be seen."""

from __future__ import annotations

from typing import Any

import pytest

from portal.core.access import grant_role
from tests.usecases import test_portfolio as portfolio
from usecases import services

pytestmark = pytest.mark.django_db
cases = portfolio.cases


def test_two_plans_stand_side_by_side_and_their_differences_come_first(cast: Any, cases: Any, client: Any) -> None:
    small = portfolio.scenario_of(cast, cases)
    large = portfolio.scenario_of(cast, cases, name="Ten more", budget=[100.0, 70.0])
    never = portfolio.scenario_of(cast, cases, name="Not run")
    first, second = (portfolio.solved(cast, scenario).result for scenario in (small, large))
    client.force_login(cast.coe_lead)
    page = client.get("/portfolio/compare/", {"s": [str(s.pk) for s in (small, large, never)]})
    columns = page.context["columns"]
    assert [c["scenario"] for c in columns] == [small, large, never]
    assert columns[1]["against"] == pytest.approx(second["value"] - first["value"])
    assert (columns[0]["spend"], columns[1]["spend"]) == (130.0, 160.0)
    assert "against" not in columns[2]
    rows = {row["title"]: [cell["text"] for cell in row["cells"]] for row in page.context["cases"]}
    assert rows["Case C"] == ["out", "Q2 2027", "–"]
    assert rows["Case D"] == ["Q2 2027", "out", "–"]
    assert rows["Case A"] == ["Q1 2027", "Q1 2027", "–"]
    text = page.content.decode()
    assert "no plan" in text
    assert f"+{columns[1]['against']:,.0f} EUR" in text
    two = client.get("/portfolio/compare/", {"s": [str(small.pk), str(large.pk)]})
    assert [(row["title"], row["differs"]) for row in two.context["cases"]][:3] == [
        ("Case C", True),
        ("Case D", True),
        ("Case A", False),
    ]


def test_names_that_may_not_be_seen_are_not_told(cast: Any, cases: Any, client: Any) -> None:
    small = portfolio.scenario_of(cast, cases)
    portfolio.solved(cast, small)
    services.scenario_adopt(actor=cast.coe_lead, scenario=small)
    grant_role(cast.stranger, "plant_manager", cases["a"])
    client.force_login(cast.stranger)
    page = client.get("/portfolio/compare/", {"s": [str(small.pk), "not a key"]})
    assert [row["title"] for row in page.context["cases"]] == ["Case A"]
    assert "Case B" not in page.content.decode()
