"""The form of a scenario: another number of quarters loses nothing of what was typed."""

from __future__ import annotations

from typing import Any

import pytest

from usecases.models import Scenario

pytestmark = pytest.mark.django_db
NEW = "/portfolio/scenarios/new/"
TYPED = {
    "name": "Typed already",
    "note": "half a thought",
    "start": "not a day yet",
    "currency": "EUR",
    "budget_0": "40000",
    "budget_1": "a lot",
    "days_data_scientist_1": "12.5",
    "foundation_share": "15",
    "gap": "2",
    "time_limit": "10",
    "lag": "1",
    "seed": "7",
}


@pytest.mark.parametrize(("quarters", "shown"), [("6", 6), ("1", 1), ("400", 16), ("none", 4), ("", 4)])
def test_another_number_of_quarters_keeps_what_was_typed(cast: Any, client: Any, quarters: str, shown: int) -> None:
    client.force_login(cast.coe_lead)
    answer = client.post(NEW, TYPED | {"quarters": quarters, "resize": "1"})
    assert answer.status_code == 200
    form = answer.context["form"]
    assert form["quarters"].value() == shown
    assert [name for name in form.fields if name.startswith("budget_")] == [f"budget_{q}" for q in range(shown)]
    for name, typed in TYPED.items():
        if name in form.fields:
            assert form[name].value() == typed, name
    page = answer.content.decode()
    assert "data-dirty" in page
    assert "pg-summary" not in page
    assert not Scenario.objects.exists()


def test_saving_with_more_quarters_than_budgets_asks_for_the_rest(cast: Any, client: Any) -> None:
    client.force_login(cast.coe_lead)
    answer = client.post(NEW, TYPED | {"quarters": "3", "start": "2027-01-01", "budget_1": "1000"})
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert {name for name in errors if not name.startswith("case_")} == {"budget_2"}
    assert answer.context["form"]["note"].value() == "half a thought"
