"""The map of dependencies: who waits for whom, the enabling value, and circles that are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from portal.core.clock import wall_now
from portal.core.errors import InvalidInput
from tests.factories import make_use_case
from usecases import foundations, services
from usecases.models import PortfolioRun, Scenario

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(cast: Any) -> list[Any]:
    """A third waits for a second, and that one for a first."""
    made = [make_use_case(title=title) for title in ("Historian", "Soft sensor", "Set points")]
    made[1].depends_on.add(made[0])
    made[2].depends_on.add(made[1])
    return made


def test_dependents_are_counted_once_directly_or_through_others(cast, chain):
    found = {p.case.title: p for p in foundations.places(cast.coe_lead)}
    assert [c.title for c in found["Historian"].direct] == ["Soft sensor"]
    assert [c.title for c in found["Historian"].indirect] == ["Set points"]
    assert foundations.places(cast.coe_lead)[0].case.title == "Historian"


def test_unseen_use_cases_are_neither_drawn_nor_counted(cast, chain, client):
    assert {p.case.title for p in foundations.places(cast.stranger)}.isdisjoint(c.title for c in chain)
    client.force_login(cast.stranger)
    assert "Historian" not in client.get(reverse("usecases:use-case-map")).content.decode()


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_circle_is_refused_at_the_field_and_named(cast, chain, client, api, door):
    first, _second, third = chain
    said = "Historian → Set points → Soft sensor → Historian"
    if door == "api":
        answer = api(cast.coe_lead).patch(
            f"/api/v1/use-cases/{first.pk}", {"depends_on": [str(third.pk)]}, format="json"
        )
        assert answer.status_code == 400
        error = answer.json()["errors"][0]
        assert error["field"] == "depends_on" and said in error["message"]
    else:
        client.force_login(cast.coe_lead)
        data = {"title": first.title, "code": first.code, "label": "foundation", "depends_on": [str(third.pk)]}
        answer = client.post(reverse("usecases:use-case-edit", args=[first.pk]), data)
        assert answer.status_code in {400, 409, 422}
        assert said in answer.content.decode()
    assert not first.depends_on.exists()


def test_a_circle_through_something_unseen_does_not_name_it(cast, chain):
    first, _second, third = chain
    with pytest.raises(InvalidInput) as refusal:
        services.use_case_update(actor=cast.stranger, use_case=first, data={}, many={"depends_on": [third]})
    message = refusal.value.errors[0]["message"]
    assert "a use case you may not see" in message and "Soft sensor" not in message


def test_the_enabling_value_comes_from_the_plan_of_record(cast, chain, client):
    client.force_login(cast.coe_lead)
    address = reverse("usecases:use-case-map")
    assert "No scenario is the plan of record yet." in client.get(address).content.decode()
    plan = Scenario.objects.create(
        name="Plan 2027", owner=cast.coe_lead, start=wall_now().date(), currency="CHF", of_record=True
    )
    plan.candidates.set(chain)
    assert "has not been computed yet" in client.get(address).content.decode()
    PortfolioRun.objects.create(
        scenario=plan,
        result={"enabling": {str(chain[0].pk): 120_000.0}},
        inputs_sha256="0" * 64,
        finished_at=wall_now(),
    )
    money = foundations.enabling(cast.coe_lead)
    assert (money.of(chain[0]), money.currency) == (120_000.0, "CHF")
    assert money.why_not(chain[1]) == "Not among the candidates of the plan of record."
    text = client.get(address).content.decode()
    assert "120,000 CHF" in text and "Plan 2027" in text


def test_the_map_exports(cast, chain, client):
    client.force_login(cast.coe_lead)
    text = b"".join(client.get(reverse("usecases:use-case-map"), {"export": "csv"}).streaming_content).decode()
    assert "Historian" in text and "Waiting" not in text.splitlines()[1]
