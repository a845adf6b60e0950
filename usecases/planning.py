"""From use cases, business cases and efforts to the optimiser's question, and what its answer means now."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from usecases.choices import Label, RunKind
from usecases.domain import snapshot
from usecases.domain.cash_flow import per_quarter
from usecases.gate_rules import PASSED
from usecases.models import Adoption, EffortNeed, Gate, PortfolioRun, Scenario, UseCase
from usecases.money import Rates

log = structlog.get_logger(__name__)
#: Discount for starting later, per year, where no business case names one.
RATE = 0.08
#: So often, in seconds, a silent solver is asked whether somebody cancelled.
BEAT = 1.0
#: What the solver's process says it is doing.
STEPS = {
    "first": gettext_lazy("A first plan by value for money; the optimiser looks for a better one"),
    "infeasible": gettext_lazy("No plan keeps all the rules"),
    "sharpen": gettext_lazy("The plan is there; it is sharpened"),
    "more": gettext_lazy("What more money would buy"),
    "foundations": gettext_lazy("What stands on the foundations"),
    "forcing": gettext_lazy("What it would cost to force in what is out"),
    "rules": gettext_lazy("What the rules cost"),
    "frontier": gettext_lazy("{percent} % of the budget"),
    "core": gettext_lazy("{n} of {of} plans"),
    "done": gettext_lazy("Done"),
}


def inputs_of(scenario: Scenario) -> dict[str, Any]:
    """The question with every figure it rests on, as plain JSON: what a run freezes. A handful of queries."""
    # Not through the scenario: a caller may have fetched its use cases already, without their texts.
    cases = list(UseCase.objects.filter(scenarios=scenario).select_related("business_case").order_by("title", "pk"))
    rates = Rates(scenario.start)
    needs = _needs(cases)
    efforts, sites = _efforts(cases), _sites(cases)
    inside = {c.pk for c in cases}
    blocked: dict[str, dict[str, str]] = {}
    told: dict[str, dict[str, Any]] = {}
    outside = _passed_or_titles({n for wanted in needs.values() for n in wanted if n not in inside})
    rows: dict[str, dict[str, Any]] = {}
    for case in cases:
        key = str(case.pk)
        worth = getattr(case, "business_case", None)
        told[key] = {"title": case.title, "code": case.code}
        if worth is None or not worth.result:
            blocked[key] = {"code": "no_case"}
            continue
        if any(n not in inside and outside[n] is not None for n in needs[case.pk]):
            other = next(n for n in needs[case.pk] if n not in inside and outside[n] is not None)
            blocked[key] = {"code": "needs_outside", "other": str(outside[other]), "key": str(other)}
            continue
        rate = _rate(rates, worth.currency, scenario.currency, case)
        result = worth.result
        spend = [round(-(a + b) * rate, 2) for a, b in zip(result["capex"], result["opex"], strict=True)]
        while spend and spend[-1] == 0:
            spend.pop()
        told[key] |= {
            "value": round(result["p50"] * rate, 2),
            "range": [round(result[name] * rate, 2) for name in ("p10", "p50", "p90")],
            "currency": worth.currency,
            "rate": rate,
        }
        rows[key] = {
            "key": key,
            "title": case.title,
            "value": round(result["p50"] * rate, 2),
            "spend": [max(0.0, s) for s in spend],
            "effort": efforts[case.pk],
            "needs": sorted(str(n) for n in needs[case.pk] if n in inside),
            "foundation": case.label == Label.FOUNDATION,
            "sites": sorted(str(s) for s in sites[case.pk]),
        }
    _block_dependents(rows, blocked, told)
    musts = [str(pk) for pk in scenario.must.values_list("pk", flat=True)]
    lost = [told[key]["title"] for key in musts if key in blocked]
    if lost:
        raise InvalidInput(
            {
                "must": _("{title} cannot be planned: it lacks a business case or what it depends on.").format(
                    title=lost[0]
                )
            }
        )
    if not rows:
        raise InvalidInput(
            {"candidates": _("None of these use cases has a business case yet, so there is nothing to choose from.")}
        )
    discounts = [c.business_case.discount_rate for c in cases if getattr(c, "business_case", None) is not None]
    return {
        "problem": {
            "candidates": list(rows.values()),
            "budget": [float(b) for b in scenario.budget],
            "capacity": {role: [float(d) for d in days] for role, days in sorted(scenario.capacity.items())},
            "rate": round(per_quarter(max(discounts, default=RATE)), 10),
            "lag": scenario.lag,
            "exclusions": sorted(
                [str(a), str(b)]
                for a, b in scenario.exclusions.values_list("first_id", "second_id")
                if str(a) in rows and str(b) in rows
            ),
            "must": sorted(musts),
            "must_not": sorted(str(pk) for pk in scenario.must_not.values_list("pk", flat=True) if str(pk) in rows),
            "foundation_share": scenario.foundation_share,
            "site_shares": {str(k): float(v) for k, v in sorted(scenario.site_shares.items())},
        },
        "cases": told,
        "blocked": blocked,
        "currency": scenario.currency,
        "start": scenario.start.isoformat(),
        "options": {"gap": scenario.gap, "time_limit": scenario.time_limit, "seed": scenario.seed, "draws": 100},
    }  # fmt: skip


def _rate(rates: Rates, base: str, quote: str, case: UseCase) -> float:
    try:
        return float(rates.between(base, quote).rate if base != quote else Decimal(1))
    except DomainError as error:
        raise InvalidInput({"currency": f"{case.title}: {error.message}"}) from error


def _needs(cases: list[UseCase]) -> dict[Any, set[Any]]:
    found: dict[Any, set[Any]] = defaultdict(set)
    pairs = UseCase.depends_on.through.objects.filter(from_usecase__in=cases)
    for dependent, foundation in pairs.values_list("from_usecase_id", "to_usecase_id"):
        found[dependent].add(foundation)
    return found


def _efforts(cases: list[UseCase]) -> dict[Any, dict[str, list[float]]]:
    found: dict[Any, dict[str, list[float]]] = defaultdict(dict)
    for row in EffortNeed.objects.filter(use_case__in=cases).order_by("role", "quarter"):
        days = found[row.use_case_id].setdefault(row.role, [])
        days += [0.0] * (row.quarter + 1 - len(days))
        days[row.quarter] = float(row.days)
    return found


def _sites(cases: list[UseCase]) -> dict[Any, set[Any]]:
    found: dict[Any, set[Any]] = defaultdict(set)
    for case, site in Adoption.objects.filter(use_case__in=cases).order_by().values_list("use_case_id", "site_id"):
        found[case].add(site)
    return found


def _passed_or_titles(ids: set[Any]) -> dict[Any, str | None]:
    """None for those whose gate 1 is passed (they exist already), the title for the others."""
    passed = set(
        Gate.objects.filter(use_case__in=ids, number=1, state__in=PASSED).values_list("use_case_id", flat=True)
    )
    return {pk: None if pk in passed else title for pk, title in UseCase.objects.filter(pk__in=ids).values_list("pk", "title")}  # fmt: skip


def _block_dependents(
    rows: dict[str, dict[str, Any]], blocked: dict[str, dict[str, str]], told: dict[str, dict[str, Any]]
) -> None:
    """Who depends on a use case that cannot be planned cannot be planned either."""
    while True:
        lost = {key: next((n for n in row["needs"] if n not in rows), None) for key, row in rows.items()}
        found = {key: need for key, need in lost.items() if need is not None}
        if not found:
            return
        for key, need in found.items():
            blocked[key] = {"code": "needs_outside", "other": told[need]["title"], "key": need}
            del rows[key]


def fingerprint(inputs: dict[str, Any]) -> str:
    return snapshot.digest(inputs)


def newest_run(scenario: Scenario, kind: str = RunKind.PLAN) -> PortfolioRun | None:
    """The newest run that is over and found something."""
    rows = PortfolioRun.objects.filter(scenario=scenario, kind=kind, finished_at__isnull=False).select_related("job")
    return next((r for r in rows.order_by("-created_at")[:5] if r.result), None)


def plan_of_record() -> tuple[Scenario, PortfolioRun] | None:
    scenario = Scenario.objects.filter(of_record=True).first()
    run = newest_run(scenario) if scenario is not None else None
    return (scenario, run) if scenario is not None and run is not None else None


def changed_since(run: PortfolioRun, visible: Collection[str] | None = None) -> list[str]:
    """What is different now from what the run was asked, in words; empty while its answer is up to date. ``visible``: the use cases
    (ids as text) that the reader may see; the others are not named."""

    def named(key: str, title: str) -> str:
        return title if visible is None or key in visible else _("a use case you may not see")

    try:
        now = inputs_of(run.scenario)
    except DomainError as error:
        if visible is not None and not run.inputs.get("cases", {}).keys() <= set(visible):
            return [_("With the figures of today the question cannot be asked any more.")]
        return [error.errors[0]["message"] if error.errors else error.message]
    if fingerprint(now) == run.inputs_sha256:
        return []
    then = run.inputs
    said = []
    old = {c["key"]: c for c in then["problem"]["candidates"]}
    new = {c["key"]: c for c in now["problem"]["candidates"]}
    for key in sorted(old.keys() | new.keys()):
        title = named(key, (new.get(key) or old[key])["title"])
        if key not in old:
            said.append(_("{title} can be planned now.").format(title=title))
        elif key not in new:
            said.append(_("{title} can no longer be planned.").format(title=title))
        elif old[key] != new[key]:
            said.append(_("The figures of {title} have changed.").format(title=title))
    rest = [n for n in now["problem"] if n != "candidates" and now["problem"][n] != then["problem"].get(n)]
    if rest or not said:
        said.append(_("Limits or rules of the scenario have changed."))
    return [sentence[:1].upper() + sentence[1:] for sentence in said]


def visible_ids(user: Any) -> set[str]:
    """The use cases that somebody may see, ids as text."""
    return {str(pk) for pk in UseCase.objects.permitted(user).values_list("pk", flat=True)}


def run_execute(*, run_id: str, step: Callable[[str, float | None], None]) -> PortfolioRun:
    """Ask the solver process and keep each of its answers. ``step`` raises when somebody cancelled: then the process is ended.

    Safe to run again: it begins anew and replaces what an earlier attempt has left; an attempt that was given up for dead and
    comes back writes nothing any more.
    """
    run = PortfolioRun.objects.select_related("scenario", "job").get(pk=run_id)
    held = PortfolioRun.objects.filter(pk=run.pk)
    if run.job is not None:
        held = held.filter(job__attempts=run.job.attempts)
    inputs = run.inputs
    ranges = {key: told["range"] for key, told in inputs.get("cases", {}).items() if "range" in told}
    question = {"kind": run.kind, "problem": inputs["problem"], "options": inputs["options"] | {"ranges": ranges}}
    said, progress = _("The optimiser starts"), 0.0
    step(said, progress)
    with subprocess.Popen(
        [sys.executable, "-m", "usecases.domain.portfolio_runner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
        env={name: value for name, value in os.environ.items() if not name.startswith("PHASEGATE_")},
    ) as solver:
        try:
            _send(solver, question)
            done = False
            for line in _lines(solver):
                answer = json.loads(line) if line else {}
                if "error" in answer:
                    raise InvalidInput({answer["error"]["field"]: answer["error"]["message"]})
                if answer.get("done"):
                    done = True
                    break
                if answer:
                    said, progress = step_text(answer), answer["progress"]
                    if answer["result"]:
                        held.update(result=answer["result"], updated_at=wall_now())
                step(said, progress)
            if not done:
                raise DomainError("solver_ended", _("The optimiser ended before it was done; what it found is kept."))
        finally:
            solver.kill()
            # What was found stays, whoever or whatever ended the work.
            held.filter(finished_at=None).update(finished_at=wall_now(), updated_at=wall_now())
    run.refresh_from_db()
    return run


def _send(solver: subprocess.Popen[bytes], question: dict[str, Any]) -> None:
    """One line; the pipe stays open, by which the solver knows that somebody still waits."""
    if solver.stdin is not None:
        # A solver that is dead already is told by the end of its answers.
        with suppress(BrokenPipeError):
            solver.stdin.write(json.dumps(question).encode() + b"\n")
            solver.stdin.flush()


def step_text(answer: dict[str, Any]) -> str:
    result = answer["result"]
    points = result.get("points") or [{"factor": 0.0}]
    return str(STEPS[answer["step"]]).format(
        n=result.get("done", 0), of=result.get("draws", 0), percent=round(100 * points[-1]["factor"])
    )


def _lines(solver: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Whole lines as they come, and an empty one whenever nothing has come for a beat."""
    stream: Any = solver.stdout
    waiting = b""
    with selectors.DefaultSelector() as chooser:
        chooser.register(stream, selectors.EVENT_READ)
        while True:
            if not chooser.select(BEAT):
                yield b""
                continue
            chunk = os.read(stream.fileno(), 65_536)
            if not chunk:
                return
            *lines, waiting = (waiting + chunk).split(b"\n")
            yield from (line for line in lines if line)


def quarter_label(start: date, number: int) -> str:
    """Q3 2027: the calendar quarter ``number`` quarters after ``start``."""
    months = start.year * 12 + start.month - 1 + 3 * number
    return f"Q{months % 12 // 3 + 1} {months // 12}"
