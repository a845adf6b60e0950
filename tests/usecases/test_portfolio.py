"""Scenarios and runs: rules, frozen questions, the solver process, stopping, the plan of record and what gate 1 reads of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import date
from typing import Any

import numpy as np
import pytest

from portal.core.errors import DomainError, InvalidInput
from portal.core.jobs import JobCancelled, job_cancel
from portal.core.models import Job, JobState
from tests.factories import make_site, make_use_case
from usecases import planning, providers, services
from usecases.choices import Label, RunKind
from usecases.domain.portfolio import Candidate, Problem
from usecases.domain.portfolio_runner import problem_as_data
from usecases.evidence import Subject
from usecases.models import BusinessCase, ExchangeRate, PortfolioRun, Scenario, UseCase
from usecases.portfolio_words import Told
from usecases.services.use_cases import use_case_update
from usecases.tasks import portfolio_run

pytestmark = pytest.mark.django_db


def worth(value: float, capex: list[float], currency: str = "EUR") -> dict[str, Any]:
    return {
        "currency": currency,
        "start": date(2027, 1, 1),
        "assumption": "a test",
        "result": {
            "p10": value / 2,
            "p50": value,
            "p90": value * 1.5,
            "capex": [-c for c in capex],
            "opex": [0.0] * len(capex),
            "rating": 3.0,
            "investment": sum(capex),
        },
    }


@pytest.fixture
def cases(cast: Any) -> dict[str, UseCase]:
    """A 10 (50 + 10), B 90 (40) on A, C 80 (60), D 70 (30 + 30), E without a business case."""
    made = {key: make_use_case(f"case-{key}", title=f"Case {key.upper()}") for key in "abcde"}
    for key, value, capex in (("a", 10, [50, 10]), ("b", 90, [40]), ("c", 80, [60]), ("d", 70, [30, 30])):
        BusinessCase.objects.create(use_case=made[key], **worth(value, [float(c) for c in capex]))
    made["b"].depends_on.add(made["a"])
    UseCase.objects.filter(pk=made["a"].pk).update(label=Label.FOUNDATION)
    return made


def scenario_of(cast: Any, cases: dict[str, UseCase], **extra: Any) -> Scenario:
    many = {"candidates": list(cases.values()), "must": [], "must_not": []} | extra.pop("many", {})
    exclusions = extra.pop("exclusions", [{"first": cases["c"], "second": cases["d"]}])
    data = {"name": "Two quarters", "start": date(2027, 1, 1), "quarters": 2, "budget": [100.0, 60.0], "gap": 0.0}
    return services.scenario_create(actor=cast.coe_lead, many=many, exclusions=exclusions, **(data | extra))


def solved(cast: Any, scenario: Scenario, kind: str = RunKind.PLAN) -> PortfolioRun:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario, kind=kind)
    assert run.job is not None
    portfolio_run(str(run.job.pk))
    run.refresh_from_db()
    return run


def test_the_process_answers_and_the_job_succeeds(cast: Any, cases: dict[str, UseCase]) -> None:
    run = solved(cast, scenario_of(cast, cases))
    assert run.finished_at is not None
    # Discounted by 2 % a quarter D in the second quarter is worth a little less.
    starts = {UseCase.objects.get(pk=key).code: start for key, start in run.result["starts"].items()}
    assert starts == {"case-a": 0, "case-b": 0, "case-d": 1}
    assert run.result["value"] == pytest.approx(100 + 70 / 1.08**0.25, abs=0.001)
    assert run.inputs["blocked"] == {str(cases["e"].pk): {"code": "no_case"}}
    assert Job.objects.get(pk=run.job_id).state == JobState.SUCCEEDED
    again = run.result
    portfolio_run(str(run.job_id))
    run.refresh_from_db()
    assert run.result == again


def test_frontier_and_safe_bets(cast: Any, cases: dict[str, UseCase]) -> None:
    scenario = scenario_of(cast, cases)
    values = [p["value"] for p in solved(cast, scenario, RunKind.FRONTIER).result["points"]]
    assert values == sorted(values)
    assert values[0] == 0
    first = solved(cast, scenario, RunKind.CORE).result
    assert first["done"] == 100
    assert first == solved(cast, scenario, RunKind.CORE).result


def test_an_open_run_is_not_doubled(cast: Any, cases: dict[str, UseCase]) -> None:
    scenario = scenario_of(cast, cases)
    run = services.run_start(actor=cast.coe_lead, scenario=scenario)
    assert services.run_start(actor=cast.coe_lead, scenario=scenario) == run
    assert services.run_start(actor=cast.coe_lead, scenario=scenario, kind=RunKind.CORE) != run


def test_stopping_ends_the_process_and_keeps_what_was_found(
    cast: Any, cases: dict[str, UseCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = scenario_of(cast, cases)
    run = services.run_start(actor=cast.coe_lead, scenario=scenario)
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def kept(*args: Any, **keywords: Any) -> Any:
        made.append(real(*args, **keywords))
        return made[-1]

    monkeypatch.setattr(planning.subprocess, "Popen", kept)
    heard = []

    def step(text: str, progress: float | None) -> None:
        heard.append(text)
        if PortfolioRun.objects.get(pk=run.pk).result:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        planning.run_execute(run_id=str(run.pk), step=step)
    assert made[0].poll() is not None
    run.refresh_from_db()
    assert run.result["status"] == "greedy"
    assert run.finished_at is not None
    assert heard


def test_cancel_through_the_service(cast: Any, cases: dict[str, UseCase]) -> None:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario_of(cast, cases))
    services.run_cancel(actor=cast.coe_lead, run=run)
    assert Job.objects.get(pk=run.job_id).state == JobState.CANCELLED
    with pytest.raises(DomainError, match="over already"):
        services.run_cancel(actor=cast.coe_lead, run=run)
    portfolio_run(str(run.job_id))
    assert PortfolioRun.objects.get(pk=run.pk).result == {}


def test_a_job_cancelled_elsewhere_leaves_the_run_over(cast: Any, cases: dict[str, UseCase]) -> None:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario_of(cast, cases))

    def step(_text: str, _progress: float | None) -> None:
        if run.job is not None and Job.objects.get(pk=run.job_id).finished_at is None:
            job_cancel(actor=cast.coe_lead, job=run.job)
        raise JobCancelled

    with pytest.raises(JobCancelled):
        planning.run_execute(run_id=str(run.pk), step=step)


def test_a_solver_that_dies_is_told(cast: Any, cases: dict[str, UseCase], monkeypatch: pytest.MonkeyPatch) -> None:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario_of(cast, cases))
    monkeypatch.setattr(planning.sys, "executable", "/bin/false")
    monkeypatch.setattr(planning, "_send", lambda solver, question: None)
    assert run.job is not None
    portfolio_run(str(run.job.pk))
    job = Job.objects.get(pk=run.job_id)
    assert (job.state, (job.error or {})["code"]) == (JobState.FAILED, "solver_ended")


def test_out_of_date_says_what_changed(cast: Any, cases: dict[str, UseCase]) -> None:
    run = solved(cast, scenario_of(cast, cases))
    assert planning.changed_since(run) == []
    case = BusinessCase.objects.get(use_case=cases["c"])
    BusinessCase.objects.filter(pk=case.pk).update(result=case.result | {"p50": 500.0})
    assert planning.changed_since(run) == ["The figures of Case C have changed."]
    with pytest.raises(DomainError, match="run it again"):
        services.scenario_adopt(actor=cast.coe_lead, scenario=run.scenario)


def test_plan_of_record_is_one_and_gate_one_reads_it(cast: Any, cases: dict[str, UseCase]) -> None:
    from portal.core.clock import wall_now

    def ask(use_case: UseCase) -> Any:
        return providers.portfolio_place(Subject(use_case=use_case, adoption=None, now=wall_now()))

    assert ask(cases["a"]).status == "not_measured"
    first, second = scenario_of(cast, cases), scenario_of(cast, cases, name="Other", budget=[60.0, 0.0])
    with pytest.raises(DomainError, match="no finished plan"):
        services.scenario_adopt(actor=cast.coe_lead, scenario=first)
    for scenario in (first, second):
        solved(cast, scenario)
    services.scenario_adopt(actor=cast.coe_lead, scenario=first)
    assert ask(cases["d"]).value is True
    assert "Q2 2027" in ask(cases["d"]).text
    assert ask(cases["c"]).value is False
    assert ask(make_use_case("not-asked")).status == "not_measured"
    services.scenario_adopt(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=second.pk))
    assert list(Scenario.objects.filter(of_record=True)) == [second]
    assert ask(cases["d"]).value is False
    with pytest.raises(DomainError, match="plan of record"):
        services.scenario_delete(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=second.pk))


def test_currencies_are_summed_or_refused(cast: Any, cases: dict[str, UseCase]) -> None:
    BusinessCase.objects.filter(use_case=cases["c"]).update(currency="USD")
    scenario = scenario_of(cast, cases)
    with pytest.raises(InvalidInput) as refused:
        services.run_start(actor=cast.coe_lead, scenario=scenario)
    assert "Case C" in refused.value.errors[0]["message"]
    ExchangeRate.objects.create(base="USD", quote="EUR", rate="0.5", on=date(2026, 1, 1), source="a test")
    told = planning.inputs_of(scenario)["cases"][str(cases["c"].pk)]
    assert (told["value"], told["rate"], told["currency"]) == (40.0, 0.5, "USD")


def test_what_is_needed_outside_the_plan(cast: Any, cases: dict[str, UseCase]) -> None:
    scenario = scenario_of(cast, cases, many={"candidates": [cases["b"], cases["c"]]}, exclusions=[])
    inputs = planning.inputs_of(scenario)
    told = {"code": "needs_outside", "other": "Case A", "key": str(cases["a"].pk)}
    assert inputs["blocked"] == {str(cases["b"].pk): told}
    services.scenario_update(actor=cast.coe_lead, scenario=scenario, data={}, many={"must": [cases["b"]]})
    with pytest.raises(InvalidInput, match="not valid"):
        services.run_start(actor=cast.coe_lead, scenario=scenario)


def test_a_circle_is_refused_where_it_is_made(cast: Any, cases: dict[str, UseCase]) -> None:
    with pytest.raises(InvalidInput) as refused:
        use_case_update(actor=cast.coe_lead, use_case=cases["a"], data={}, many={"depends_on": [cases["b"]]})
    assert refused.value.errors[0]["field"] == "depends_on"


BAD: dict[str, dict[str, Any]] = {
    "budget": {"budget": [1.0]},
    "budget[1]": {"budget": [1.0, float("nan")]},
    "budget[0]": {"budget": [-1.0, 1.0]},
    "capacity.wizard": {"capacity": {"wizard": [1.0, 1.0]}},
    "capacity.ot_engineer": {"capacity": {"ot_engineer": [1.0]}},
    "site_shares": {"site_shares": {"nowhere": 0.7}},
}


@pytest.mark.parametrize("field", BAD)
def test_bad_limits_at_their_field(cast: Any, cases: dict[str, UseCase], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        scenario_of(cast, cases, **BAD[field])
    assert [e["field"] for e in refused.value.errors] == [field]


def test_shares_of_sites_above_one(cast: Any, cases: dict[str, UseCase]) -> None:
    shares = {str(make_site(name).pk): 0.7 for name in ("one", "other")}
    with pytest.raises(InvalidInput, match="not valid") as refused:
        scenario_of(cast, cases, site_shares=shares)
    assert "over 100 %" in refused.value.errors[0]["message"]


def test_rules_that_contradict(cast: Any, cases: dict[str, UseCase]) -> None:
    both = {"must": [cases["a"]], "must_not": [cases["a"]]}
    with pytest.raises(InvalidInput) as refused:
        scenario_of(cast, cases, many=both)
    assert refused.value.errors[0]["field"] == "must_not"
    with pytest.raises(InvalidInput) as refused:
        scenario_of(cast, cases, many={"must": [cases["c"], cases["d"]]})
    assert refused.value.errors[0]["field"] == "exclusions[0]"


def test_nothing_fits_says_what_to_give(cast: Any, cases: dict[str, UseCase], client: Any) -> None:
    scenario = scenario_of(cast, cases, budget=[10.0, 10.0], many={"must": [cases["c"]]})
    run = solved(cast, scenario)
    assert run.result["status"] == "infeasible"
    client.force_login(cast.coe_lead)
    page = client.get(scenario.get_absolute_url()).content.decode()
    assert "Does not fit: raise Q" in page
    assert "or drop Case C" in page
    answer = client.post(f"{scenario.get_absolute_url()}copy/", {"relief": "1", "run": "1"})
    copy = Scenario.objects.exclude(pk=scenario.pk).get()
    assert answer.url == copy.get_absolute_url()
    # The copy is being solved already; the same open run is asked for.
    assert PortfolioRun.objects.get(scenario=copy).job is not None
    assert solved(cast, copy).result["starts"]
    Scenario.objects.filter(pk=scenario.pk).update(quarters=1, budget=[10.0])
    with pytest.raises(DomainError, match="run it again"):
        services.scenario_copy(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=scenario.pk), relief=True)


def test_relief_raises_days_and_gives_up_shares(cast: Any, cases: dict[str, UseCase]) -> None:
    services.efforts_put(
        actor=cast.coe_lead, use_case=cases["c"], rows=[{"role": "data_scientist", "quarter": 0, "days": 20.5}]
    )
    site = make_site("relief")
    scenario = scenario_of(
        cast,
        cases,
        many={"must": [cases["c"]]},
        capacity={"data_scientist": [3.0, 3.0]},
        foundation_share=0.9,
        site_shares={str(site.pk): 0.5},
    )
    assert solved(cast, scenario).result["status"] == "infeasible"
    copy = services.scenario_copy(actor=cast.coe_lead, scenario=scenario, relief=True)
    assert copy.site_shares == {}
    assert copy.foundation_share == 0
    assert max(copy.capacity["data_scientist"]) == 21.0
    assert solved(cast, copy).result["starts"]
    with pytest.raises(DomainError, match="does not say"):
        services.scenario_copy(actor=cast.coe_lead, scenario=copy, relief=True)


def test_a_gain_really_is_had(cast: Any, cases: dict[str, UseCase], client: Any) -> None:
    """One click moves the budget: the copy is worth what was promised."""
    scenario = scenario_of(cast, cases, budget=[100.0, 65.0])
    run = solved(cast, scenario)
    best = max(run.result["marginal"], key=lambda m: m["gain"])
    assert best["gain"] > 0
    client.force_login(cast.coe_lead)
    told = Told(run, scenario, [])
    moves = next(row["moves"] for row, m in zip(told.marginals(), run.result["marginal"], strict=True) if m == best)
    client.post(
        f"{scenario.get_absolute_url()}copy/",
        {"quarter": [q for q, _amount in moves], "amount": [amount for _q, amount in moves], "run": "1"},
    )
    copy = Scenario.objects.exclude(pk=scenario.pk).get()
    assert "more" in copy.name
    assert solved(cast, copy).result["value"] == pytest.approx(run.result["value"] + best["gain"], abs=0.001)


def test_the_plan_as_a_table(cast: Any, cases: dict[str, UseCase], client: Any) -> None:
    scenario = scenario_of(cast, cases)
    client.force_login(cast.coe_lead)
    assert client.get(f"{scenario.get_absolute_url()}?export=csv").status_code == 409
    solved(cast, scenario)
    answer = client.get(f"{scenario.get_absolute_url()}?export=csv")
    header, *rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert header[2:8] == ["In the plan", "Starts", "Expected value", "Currency", "Q1 2027", "Q2 2027"]
    by_code = {row[1]: row for row in rows}
    assert by_code["case-d"][2:8] == ["yes", "Q2 2027", "68.67", "EUR", "0.0", "30.0"]
    assert by_code["case-c"][2] == "no"
    assert "Only one of it and Case D" in by_code["case-c"][8]
    assert len(rows) == 5
    assert client.get(f"{scenario.get_absolute_url()}?export=xlsx").status_code == 200


def test_the_values_of_the_rows_add_up_to_the_plan(cast: Any, cases: dict[str, UseCase]) -> None:
    told = Told(solved(cast, scenario := scenario_of(cast, cases)), scenario, map(str, cases))
    assert [row["value"] for row in told.gantt()] == ["10", "90", "69"]  # D starts later
    assert sum(row[4] for row in told.table()[1] if row[2]) == pytest.approx(told.result["value"], abs=0.01)


def test_a_quarter_is_one_column_of_the_form(cast: Any, cases: dict[str, UseCase], as_user: Any) -> None:
    scenario = scenario_of(cast, cases, capacity={"data_scientist": [20.0, 12.5]})
    page = as_user(cast.coe_lead).get(f"{scenario.get_absolute_url()}change/").content.decode()
    assert page.count('<th scope="col">Q2 2027</th>') == 2  # money, people
    assert all(text in page for text in ("Data scientist, Q2 2027</label>", 'value="20"', 'value="12.5"'))


def test_an_earlier_plan_is_shown_until_the_next_is_there(cast: Any, cases: dict[str, UseCase], client: Any) -> None:
    scenario = scenario_of(cast, cases)
    solved(cast, scenario)
    services.run_start(actor=cast.coe_lead, scenario=scenario)
    client.force_login(cast.coe_lead)
    page = client.get(scenario.get_absolute_url()).content.decode()
    assert "the plan of an earlier run" in page
    assert "3 of 5 use cases fit" in page


def test_names_that_may_not_be_seen_are_not_told(cast: Any, cases: dict[str, UseCase]) -> None:
    scenario = scenario_of(cast, cases, many={"candidates": [cases["b"], cases["c"]]}, exclusions=[])
    run = solved(cast, scenario)
    seen = {str(cases["b"].pk)}
    (blocked,) = [row for row in Told(run, scenario, seen).out() if row["key"] in seen]
    assert blocked["why"] == "It needs a use case you may not see, which is neither in this plan nor past gate 1."
    BusinessCase.objects.filter(use_case=cases["c"]).update(result=worth(5.0, [1.0])["result"])
    assert planning.changed_since(run, seen) == ["The figures of a use case you may not see have changed."]
    assert planning.changed_since(run) == ["The figures of Case C have changed."]


def test_pages_tell_the_plan_and_hide_what_may_not_be_seen(cast: Any, cases: dict[str, UseCase], client: Any) -> None:
    from portal.core.access import grant_role

    scenario = scenario_of(cast, cases)
    solved(cast, scenario)
    services.scenario_adopt(actor=cast.coe_lead, scenario=scenario)
    client.force_login(cast.coe_lead)
    page = client.get(scenario.get_absolute_url()).content.decode()
    for said in (
        "3 of 5 use cases fit",
        "Only one of it and Case D may start",
        "no business case yet",
        "No other plan",
    ):
        assert said in page
    grant_role(cast.stranger, "plant_manager", cases["a"])
    client.force_login(cast.stranger)
    page = client.get(scenario.get_absolute_url()).content.decode()
    assert "Case A" in page
    assert "Case B" not in page
    assert "a use case you may not see" in page
    assert "Run the optimiser" not in page
    record = client.get("/portfolio/").content.decode()
    assert "Plan of record: Two quarters" in record
    assert "Case B" not in record


def test_person_days_bind(cast: Any, cases: dict[str, UseCase]) -> None:
    rows = [{"role": "data_scientist", "quarter": 0, "days": 20.0}]
    for key in "bd":
        services.efforts_put(actor=cast.coe_lead, use_case=cases[key], rows=rows)
    scenario = scenario_of(
        cast, cases, budget=[1000.0, 1000.0], capacity={"data_scientist": [20.0, 10.0]}, exclusions=[]
    )
    run = solved(cast, scenario)
    starts = {UseCase.objects.get(pk=key).code for key in run.result["starts"]}
    assert starts == {"case-a", "case-b", "case-c"}
    (why,) = [r for r in run.result["out"] if r["key"] == str(cases["d"].pk)]
    assert (why["code"], why["role"], why["lacking"]) == ("capacity", "data_scientist", 10.0)
    with pytest.raises(InvalidInput):
        services.efforts_put(actor=cast.coe_lead, use_case=cases["b"], rows=[{"role": "x", "quarter": 0, "days": 1.0}])


def test_a_solved_scenario_costs_few_queries(
    cast: Any, cases: dict[str, UseCase], client: Any, django_assert_max_num_queries: Any
) -> None:
    scenario = scenario_of(cast, cases)
    BusinessCase.objects.filter(use_case=cases["e"]).delete()
    for kind in (RunKind.PLAN, RunKind.CORE, RunKind.FRONTIER):
        solved(cast, scenario, kind)
    client.force_login(cast.coe_lead)
    for address in (scenario.get_absolute_url(), "/portfolio/", "/portfolio/compare/"):
        with django_assert_max_num_queries(12):
            assert client.get(address).status_code == 200
    assert "Out of date" not in client.get(f"{scenario.get_absolute_url()}?check=1").content.decode()
    BusinessCase.objects.filter(use_case=cases["a"]).delete()
    assert "Case A can no longer be planned" in client.get(f"{scenario.get_absolute_url()}?check=1").content.decode()


def long_question() -> dict[str, Any]:
    """So hard that the solver cannot end by itself within the time limit of a minute."""
    rng = np.random.default_rng(3)
    cost = rng.uniform(20.0, 200.0, 150)
    rows = [
        Candidate(f"c{i}", f"C{i}", float(c * rng.uniform(0.5, 3.0)), (0.6 * c, 0.4 * c), needs=(f"c{i - 7}",) * (i > 90))
        for i, c in enumerate(cost)
    ]  # fmt: skip
    problem = Problem(tuple(rows), (float(cost.sum()) * 0.1,) * 4, rate=0.02)
    options = {"gap": 0.0, "time_limit": 60.0, "seed": 1, "draws": 100}
    return {"problem": problem_as_data(problem), "options": options, "cases": {}, "blocked": {}}


def test_a_solver_at_work_is_stopped_at_the_next_beat(
    cast: Any, cases: dict[str, UseCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario_of(cast, cases))
    PortfolioRun.objects.filter(pk=run.pk).update(inputs=long_question())
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def kept(*args: Any, **keywords: Any) -> Any:
        made.append(real(*args, **keywords))
        return made[-1]

    monkeypatch.setattr(planning.subprocess, "Popen", kept)
    silent = []

    def step(_text: str, _progress: float | None) -> None:
        # The first plan has been told; from now on the solver is silent, and only the beat asks.
        if PortfolioRun.objects.get(pk=run.pk).result:
            silent.append(made[0].poll())
            if len(silent) == 2:
                raise JobCancelled

    with pytest.raises(JobCancelled):
        planning.run_execute(run_id=str(run.pk), step=step)
    assert silent == [None, None], "it was at work when it was stopped"
    assert made[0].poll() is not None
    assert planning.BEAT <= 1.0
    run.refresh_from_db()
    assert run.result["status"] == "greedy"


def test_the_solver_does_not_outlive_a_worker_that_was_killed() -> None:
    question = long_question()
    with subprocess.Popen(
        [sys.executable, "-m", "usecases.domain.portfolio_runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as solver:
        assert solver.stdin is not None
        assert solver.stdout is not None
        solver.stdin.write(json.dumps({"kind": "plan"} | question).encode() + b"\n")
        solver.stdin.flush()
        assert json.loads(solver.stdout.readline())["step"] == "first"
        solver.stdin.close()
        assert solver.wait(timeout=5) == 3


def test_an_attempt_given_up_for_dead_writes_nothing(cast: Any, cases: dict[str, UseCase]) -> None:
    run = services.run_start(actor=cast.coe_lead, scenario=scenario_of(cast, cases))

    def step(_text: str, _progress: float | None) -> None:
        # The sweeper took the job back, and another worker has it.
        Job.objects.filter(pk=run.job_id).update(attempts=7)

    planning.run_execute(run_id=str(run.pk), step=step)
    run.refresh_from_db()
    assert (run.result, run.finished_at) == ({}, None)
