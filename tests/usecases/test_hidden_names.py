"""No page, export or answer of the API names a use case to somebody who may not see it, however it is tied to one that they see."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import reverse

from portal.core.clock import wall_now
from tests.factories import make_use_case
from tests.permission_matrix import PAGES
from tests.routes import routes
from tests.usecases.conftest import HIGH, LINES, LOW, rate
from usecases import planning, services
from usecases.choices import RunKind
from usecases.models import CriteriaSet, PortfolioRun, Scenario, UseCase

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(120)]
NAME = "Quetzalcoatl"


@pytest.fixture
def tied(cast: Any, criteria: Any) -> Any:
    """Three hidden use cases: one that ours needs, one that needs ours, and one that excludes it; all in one round and one plan."""
    hidden = [make_use_case(f"{NAME.lower()}-{n}", title=f"{NAME} {n}") for n in range(3)]
    cases = [cast.ours, *hidden]
    cast.ours.depends_on.add(hidden[0])
    hidden[1].depends_on.add(cast.ours)
    for case in cases:
        services.gates_create(use_case=case)
        services.business_case_create(
            actor=cast.coe_lead, use_case=case, start=wall_now().date(), assumption="a test", lines=LINES
        )
    people = [cast.plant_manager, cast.ot_engineer, cast.data_scientist]
    rounds = []
    for title in ("Closed", "Revealed", "Open"):
        meeting = services.round_open(
            actor=cast.coe_lead, title=title, criteria_set=criteria, use_cases=cases, raters=people
        )
        for person in people:
            for at, case in enumerate(cases):
                judged = {key: value for key, value in (HIGH if at else LOW).items() if key != "roi"}
                rate(person, meeting, case, judged)
        if title == "Closed":
            services.round_close(actor=cast.coe_lead, meeting=meeting)
        elif title == "Revealed":
            services.round_reveal(actor=cast.coe_lead, meeting=meeting)
        rounds.append(meeting)
    scenario = services.scenario_create(
        actor=cast.coe_lead,
        many={"candidates": cases, "must": [hidden[0]], "must_not": []},
        exclusions=[{"first": cast.ours, "second": hidden[2], "reason": ""}],
        name="Next year",
        currency="EUR",
        start=wall_now().date().replace(day=1),
        quarters=4,
        budget=[90_000.0] * 4,
        time_limit=5.0,
    )
    services.scenario_update(
        actor=cast.coe_lead,
        scenario=scenario,
        data={},
        exclusions=[
            {"first": cast.ours, "second": hidden[2], "reason": ""},
            {"first": hidden[1], "second": hidden[2], "reason": ""},
        ],
    )
    inputs = planning.inputs_of(scenario)
    few = inputs | {"options": inputs["options"] | {"draws": 3}}
    for kind in RunKind.values:
        run = PortfolioRun.objects.create(
            scenario=scenario,
            kind=kind,
            requested_by=cast.coe_lead,
            inputs=few,
            inputs_sha256=planning.fingerprint(inputs),
        )
        planning.run_execute(run_id=str(run.pk), step=lambda *_said: None)
    services.scenario_adopt(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=scenario.pk))
    for gate in cast.ours.gates.all():
        services.gate_measure(gate=gate)
    return SimpleNamespace(rounds=rounds, scenario=scenario, cases=cases)


def addresses(tied: Any, cast: Any) -> list[str]:
    """Every address that is read: of lists, and of each row that hangs on the use case, the rounds or the plan."""
    rows = [
        *tied.rounds,
        tied.scenario,
        *tied.scenario.runs.all(),
        cast.ours,
        *cast.ours.gates.all(),
        cast.ours.business_case,
        *CriteriaSet.objects.all(),
    ]
    found: list[str] = []
    for route in [*routes("page"), *routes("api")]:
        module = route.cls.__module__ if route.cls is not None else ""
        if "get" not in (route.actions or route.methods) or not module.startswith(("usecases.", "portal.")):
            continue
        if not route.params and not route.path.endswith("deleted$"):
            found.append(reverse(route.name))
        elif route.params == ("pk",):
            page = PAGES.get(route.name)
            model = route.cls.queryset.model._meta.label if route.kind == "api" else page and page.model
            found += [reverse(route.name, args=[row.pk]) for row in rows if row._meta.label == model]
    return found


def test_nobody_reads_the_name_of_a_use_case_that_is_hidden_from_them(cast, tied, as_user, api):
    reader = cast.data_steward
    assert set(UseCase.objects.permitted(reader)) == {cast.ours}
    asked = addresses(tied, cast)
    scenario, ours = tied.scenario.get_absolute_url(), cast.ours.get_absolute_url()
    asked += [
        f"{scenario}?export=csv",
        f"{scenario}?check=1",
        f"{ours}?export=csv",
        "/search/?q=Quetz",
        "/search/?q=Closed",
    ]
    asked += [f"{reverse('usecases:rounds')}?export=csv", f"{reverse('usecases:use-cases')}?export=csv"]
    named = []
    for address in asked:
        client = api(reader) if address.startswith("/api/") else as_user(reader)
        text = client.get(address).getvalue().decode(errors="replace")
        for found in re.finditer(NAME, text, re.IGNORECASE):
            near = text[max(0, found.start() - 60) : found.end() + 20]
            named.append(f"{address}: …{' '.join(near.split())}")
    assert not named, "\n".join(named)


def test_who_changes_a_use_case_does_not_take_away_what_they_cannot_see(cast, as_user, api):
    """Neither form nor API nor import shows a hidden dependency, so leaving it out is no wish to drop it."""
    hidden, seen = make_use_case("hidden", title=NAME), make_use_case("seen")
    cast.ours.depends_on.add(hidden, seen)
    person = cast.data_scientist
    form = as_user(person).get(reverse("usecases:use-case-edit", args=[cast.ours.pk]))
    assert NAME not in form.content.decode()
    sent = {"title": "Ours", "code": cast.ours.code, "label": cast.ours.label, "required_signals": ""}
    answer = as_user(person).post(reverse("usecases:use-case-edit", args=[cast.ours.pk]), sent | {"depends_on": []})
    assert answer.status_code == 302
    answer = api(person).patch(f"/api/v1/use-cases/{cast.ours.pk}", {"depends_on": []}, format="json")
    assert answer.status_code == 200, answer.content
    text = f"code,title,depends_on\n{cast.ours.code},Ours,\n"
    answer = api(person).post("/api/v1/imports", {"kind": "use_cases", "text": text}, format="json")
    assert answer.status_code == 200, answer.content
    assert set(cast.ours.depends_on.all()) >= {hidden}
    services.use_case_update(actor=cast.coe_lead, use_case=cast.ours, data={}, many={"depends_on": []})
    assert not cast.ours.depends_on.exists(), "who sees it may drop it"
