"""Scenarios of the portfolio and the runs of the optimiser on them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.models import Site
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.jobs import job_cancel, job_start
from portal.core.models import JobState
from portal.core.records import entity_create, entity_delete, entity_update, versioned_update
from portal.core.roles import ROLES
from usecases import planning
from usecases.choices import RunKind
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.domain.portfolio_runner import problem_from_data
from usecases.models import EffortNeed, Exclusion, PortfolioRun, Scenario, UseCase
from usecases.services.gates import gates_remeasure

MAX_EXCLUSIONS = 200
#: Roles whose person-days a plan counts.
PEOPLE = tuple(key for key in ROLES if key not in {"executive", "external_partner", "integrator"})
KIND_TITLES = {
    RunKind.PLAN: gettext_lazy("What the budget buys: {name}"),
    RunKind.FRONTIER: gettext_lazy("What more budget buys: {name}"),
    RunKind.CORE: gettext_lazy("Safe bets: {name}"),
}


def _numbers(value: Any, quarters: int, field: str, wrong: dict[str, str]) -> None:
    if not isinstance(value, list) or len(value) != quarters:
        wrong[field] = _("Give one number for each of the {n} quarters.").format(n=quarters)
        return
    for at, number in enumerate(value):
        good = isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
        if not good or number < 0:
            wrong[f"{field}[{at}]"] = _("Each quarter needs a number, 0 or more.")


def _check(data: dict[str, Any], many: dict[str, Any], exclusions: Any, current: Scenario | None) -> None:
    """What the fields alone cannot tell: quarters, roles, shares and which use cases rule each other out."""

    def value(name: str, default: Any) -> Any:
        return data[name] if name in data else getattr(current, name, default) if current else default

    def ids(name: str) -> set[Any]:
        if name in many:
            return {c.pk for c in many[name]}
        return set(getattr(current, name).values_list("pk", flat=True)) if current else set()

    wrong: dict[str, str] = {}
    quarters = value("quarters", 4)
    _numbers(value("budget", []), quarters, "budget", wrong)
    capacity = value("capacity", {})
    if not isinstance(capacity, dict):
        wrong["capacity"] = _("Give the person-days of each role, one number per quarter.")
    else:
        for role, days in capacity.items():
            if role not in PEOPLE:
                wrong[f"capacity.{role}"] = _("There is no role of this name.")
            else:
                _numbers(days, quarters, f"capacity.{role}", wrong)
    shares = value("site_shares", {})
    if not isinstance(shares, dict) or not all(
        isinstance(s, (int, float)) and not isinstance(s, bool) and math.isfinite(s) and 0 <= s <= 1
        for s in shares.values()
    ):
        wrong["site_shares"] = _("A share per site, between 0 and 1.")
    elif shares and not _are_sites(shares):
        wrong["site_shares"] = _("There is no such site.")
    elif sum(shares.values()) > 1 + 1e-9:
        wrong["site_shares"] = _("The least shares of the sites add up to over 100 %.")
    candidates, must, must_not = ids("candidates"), ids("must"), ids("must_not")
    if not candidates:
        wrong["candidates"] = _("Choose at least one use case.")
    if must - candidates:
        wrong["must"] = _("Only use cases of this plan can be named here.")
    if must_not - candidates:
        wrong["must_not"] = _("Only use cases of this plan can be named here.")
    elif must & must_not:
        wrong["must_not"] = _("A use case cannot be both in and out.")
    pairs = [(e["first"].pk, e["second"].pk) for e in exclusions] if exclusions is not None else (
        list(current.exclusions.values_list("first_id", "second_id")) if current else []
    )  # fmt: skip
    seen: set[frozenset[Any]] = set()
    for at, (first, second) in enumerate(pairs):
        pair = frozenset((first, second))
        if first == second:
            wrong[f"exclusions[{at}]"] = _("A use case cannot exclude itself.")
        elif not pair <= candidates:
            wrong[f"exclusions[{at}]"] = _("Only use cases of this plan can be named here.")
        elif pair in seen:
            wrong[f"exclusions[{at}]"] = _("These two are listed twice.")
        elif pair <= must:
            wrong[f"exclusions[{at}]"] = _("These two exclude each other, and both must be in.")
        seen.add(pair)
    if len(pairs) > MAX_EXCLUSIONS:
        wrong["exclusions"] = _("At most {n} exclusions.").format(n=MAX_EXCLUSIONS)
    if wrong:
        raise InvalidInput(wrong)


def _are_sites(keys: Iterable[str]) -> bool:
    try:
        ids = {UUID(str(key)) for key in keys}
    except ValueError:
        return False
    return Site.objects.filter(pk__in=ids).count() == len(ids)


def _exclude(scenario: Scenario, exclusions: list[dict[str, Any]]) -> None:
    Exclusion.objects.filter(scenario=scenario).delete()
    Exclusion.objects.bulk_create(
        Exclusion(scenario=scenario, first=e["first"], second=e["second"], reason=e.get("reason", "")[:300])
        for e in exclusions
    )


def _told(exclusions: list[dict[str, Any]]) -> list[list[str]]:
    return [[str(e["first"]), str(e["second"])] for e in exclusions]


@transaction.atomic
def scenario_create(
    *, actor: Any, many: dict[str, Any], exclusions: list[dict[str, Any]] | None = None, **data: Any
) -> Scenario:
    """A new question. ``many``: candidates, must, must_not; ``exclusions``: ``[{first, second, reason}]``."""
    _check(data, many, exclusions or [], None)
    scenario = entity_create(actor=actor, model=Scenario, data={"owner": actor} | data, many=many)
    if exclusions:
        _exclude(scenario, exclusions)
    return scenario


@transaction.atomic
def scenario_update(
    *,
    actor: Any,
    scenario: Scenario,
    data: dict[str, Any],
    many: dict[str, Any] | None = None,
    exclusions: list[dict[str, Any]] | None = None,
    expected_version: int | None = None,
) -> Scenario:
    """Change the question; results of earlier runs stay and say that they are out of date."""
    _check(data, many or {}, exclusions, scenario)
    before = scenario.version
    scenario = entity_update(actor=actor, obj=scenario, data=data, many=many or {}, expected_version=expected_version)
    if exclusions is not None:
        old = list(scenario.exclusions.values_list("first_id", "second_id", "reason"))
        new = [(e["first"].pk, e["second"].pk, e.get("reason", "")) for e in exclusions]
        if sorted(map(str, old)) != sorted(map(str, new)):
            if scenario.version == before:
                versioned_update(scenario, expected_version=expected_version)
            _exclude(scenario, exclusions)
            audit.record(
                actor=actor, action="scenario.exclusions", obj=scenario, changes={"exclusions": _told(exclusions)}
            )
    return scenario


@transaction.atomic
def scenario_delete(*, actor: Any, scenario: Scenario) -> None:
    if scenario.of_record:
        raise DomainError("of_record", _("This is the plan of record. Make another one the plan of record first."))
    entity_delete(actor=actor, obj=scenario)


@transaction.atomic
def scenario_copy(
    *,
    actor: Any,
    scenario: Scenario,
    name: str = "",
    more: dict[int, float] | None = None,
    without: Any = (),
    relief: bool = False,
) -> Scenario:
    """The same question once more. ``more``: quarter -> money added to its budget; ``without``: musts that are dropped; ``relief``: every
    limit raised as the newest run says is needed for a plan to exist."""
    budget = list(scenario.budget)
    for quarter, amount in (more or {}).items():
        if not 0 <= quarter < len(budget) or not math.isfinite(amount) or budget[quarter] + amount < 0:
            raise InvalidInput({"budget": _("There is no such quarter, or less than nothing would be left in it.")})
        budget[quarter] = round(budget[quarter] + amount, 2)
    dropped = {str(pk) for pk in without}
    limits: dict[str, Any] = {
        "budget": budget,
        "capacity": {role: list(days) for role, days in scenario.capacity.items()},
        "foundation_share": scenario.foundation_share,
        "site_shares": dict(scenario.site_shares),
    }
    if relief:
        _relieve(limits, planning.newest_run(scenario))
    plain = ("note", "currency", "start", "quarters", "lag", "gap", "time_limit", "seed")
    return scenario_create(
        actor=actor,
        many={
            "candidates": list(scenario.candidates.all()),
            "must": [c for c in scenario.must.all() if str(c.pk) not in dropped],
            "must_not": list(scenario.must_not.all()),
        },
        exclusions=[
            {"first": e.first, "second": e.second, "reason": e.reason}
            for e in scenario.exclusions.select_related("first", "second")
        ],
        name=(name or _("{name}, copy").format(name=scenario.name))[:140],
        **limits,
        **{field: getattr(scenario, field) for field in plain},
    )


def _relieve(limits: dict[str, Any], run: PortfolioRun | None) -> None:
    """Whole units, rounded up: what the page offers is what is done."""
    raises = (run.result.get("relax") or {}).get("raises") if run is not None else None
    if run is None or not raises:
        raise DomainError("no_relief", _("The newest run does not say that any limit has to be raised."))
    if planning.changed_since(run):
        raise DomainError("plan_outdated", _("The figures have changed since this plan was made: run it again first."))
    for kind, what, quarter, amount in raises:
        if kind == "budget":
            limits["budget"][quarter] += math.ceil(amount - 0.001)
        elif kind == "capacity":
            limits["capacity"][what][quarter] += math.ceil(amount - 0.001)
        elif what == "foundations":
            limits["foundation_share"] = 0.0
        else:
            limits["site_shares"].pop(what.removeprefix("site:"), None)


@transaction.atomic
def run_start(*, actor: Any, scenario: Scenario, kind: str = RunKind.PLAN) -> PortfolioRun:
    """Freeze the question and hand it to a worker. The same open run is returned, not doubled."""
    # Of two clicks at once the second waits here, and finds the run of the first.
    list(Scenario.objects.select_for_update().filter(pk=scenario.pk).values_list("pk"))
    running = (
        PortfolioRun.objects.filter(scenario=scenario, kind=kind, job__state__in=[JobState.QUEUED, JobState.RUNNING])
        .select_related("job")
        .first()
    )
    if running is not None:
        return running
    inputs = planning.inputs_of(scenario)
    try:
        problem_from_data(inputs["problem"])
    except DomainInvalid as error:
        raise InvalidInput({error.field or "candidates": error.message}) from error
    run = PortfolioRun.objects.create(
        scenario=scenario, kind=kind, requested_by=actor, inputs=inputs, inputs_sha256=planning.fingerprint(inputs)
    )
    job = job_start(
        actor=actor,
        kind="portfolio",
        title=str(KIND_TITLES[RunKind(kind)]).format(name=scenario.name),
        task="usecases.portfolio_run",
        args=[str(run.pk)],
    )
    PortfolioRun.objects.filter(pk=run.pk).update(job=job)
    run.job = job
    audit.record(
        actor=actor, action="portfoliorun.start", obj=run, changes={"kind": kind, "inputs": run.inputs_sha256[:12]}
    )
    return run


@transaction.atomic
def run_cancel(*, actor: Any, run: PortfolioRun) -> PortfolioRun:
    """Stop a run; what it has found so far is kept."""
    if run.job is None:
        raise DomainError("job_over", _("This work is over already."))
    job_cancel(actor=actor, job=run.job)
    PortfolioRun.objects.filter(pk=run.pk, finished_at=None).update(finished_at=wall_now(), updated_at=wall_now())
    run.refresh_from_db()
    return run


@transaction.atomic
def scenario_adopt(*, actor: Any, scenario: Scenario) -> Scenario:
    """Make this the plan of record: gate 1 reads from it who has a place in the portfolio."""
    run = planning.newest_run(scenario)
    if run is None or not run.result.get("starts"):
        raise DomainError("no_plan", _("There is no finished plan for this scenario yet: run the optimiser first."))
    if planning.changed_since(run):
        raise DomainError("plan_outdated", _("The figures have changed since this plan was made: run it again first."))
    now = wall_now()
    old = list(Scenario.objects.filter(of_record=True).exclude(pk=scenario.pk))
    for other in old:
        versioned_update(other, of_record=False)
    try:
        with transaction.atomic():
            taken = Scenario.objects.filter(pk=scenario.pk, of_record=False).update(of_record=True)
    except IntegrityError as error:
        raise DomainError("adopted_meanwhile", _("Somebody made another plan the plan of record just now.")) from error
    if taken != 1:
        raise DomainError("of_record", _("This is the plan of record already."))
    versioned_update(scenario, of_record=True, of_record_at=now)
    audit.record(
        actor=actor,
        action="scenario.adopt",
        obj=scenario,
        changes={"instead_of": [str(o) for o in old], "plan": run.inputs_sha256[:12], "value": run.result.get("value")},
    )
    concerned = set(scenario.candidates.values_list("pk", flat=True))
    for other in old:
        concerned |= set(other.candidates.values_list("pk", flat=True))
    for pk in concerned:
        gates_remeasure(use_case=pk)
    return scenario


@transaction.atomic
def efforts_put(*, actor: Any, use_case: UseCase, rows: list[dict[str, Any]]) -> list[EffortNeed]:
    """The person-days a use case needs, whole: ``[{role, quarter, days}]`` replaces what was there."""
    wrong: dict[str, str] = {}
    seen = set()
    for at, row in enumerate(rows):
        days = row.get("days")
        if row.get("role") not in PEOPLE:
            wrong[f"rows[{at}].role"] = _("There is no role of this name.")
        if days is None or not math.isfinite(days) or not 0 <= days <= 10_000:
            wrong[f"rows[{at}].days"] = _("Person-days, 0 or more.")
        if not 0 <= int(row.get("quarter", 0)) < 80:
            wrong[f"rows[{at}].quarter"] = _("A quarter after the start, from 0.")
        key = (row.get("role"), row.get("quarter", 0))
        if key in seen:
            wrong[f"rows[{at}].quarter"] = _("There is a figure for this role and quarter already.")
        seen.add(key)
    if wrong:
        raise InvalidInput(wrong)
    list(UseCase.objects.select_for_update().filter(pk=use_case.pk).values_list("pk"))
    before = [[e.role, e.quarter, e.days] for e in use_case.efforts.all()]
    after = [[r["role"], r.get("quarter", 0), r["days"]] for r in rows if r["days"] > 0]
    if sorted(before) == sorted(after):
        return list(use_case.efforts.all())
    use_case.efforts.all().delete()
    made = EffortNeed.objects.bulk_create(
        EffortNeed(use_case=use_case, role=role, quarter=quarter, days=days) for role, quarter, days in after
    )
    audit.record(actor=actor, action="effort.put", obj=use_case, changes={"efforts": [before, after]})
    return made
