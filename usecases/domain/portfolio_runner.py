"""The optimiser as a process of its own: ``python -m usecases.domain.portfolio_runner`` reads one question from standard input and
answers with a line of JSON for each step, so that whoever asked can show how far it is, keep what is there, and stop it at any moment
(a solver that runs inside a worker cannot be stopped).

Question: ``{"kind": "plan" | "frontier" | "core", "problem": ..., "options": {"gap", "time_limit", "draws", "seed", "ranges"}}``.
The question is the first line; who asks keeps the input open, and when that ends (a worker was killed) the process ends too.
Answer lines: ``{"progress": 0..1, "step": code, "result": {...}}``; the newest result is whole. The last line has ``"done": true``;
a question that cannot be asked answers ``{"error": {"code", "message", "field"}}``.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from usecases.domain import portfolio_study as study
from usecases.domain.errors import InvalidInput
from usecases.domain.portfolio import Candidate, Plan, Problem, build_rows, used
from usecases.domain.portfolio_solver import greedy, solve

#: So many use cases that are out are forced in to learn what that costs, and so many foundations taken away.
FORCED: Final = 6
FOUNDATIONS: Final = 8
RULES: Final = 8
#: A point of the frontier may take so long: ten of them end well within the time of a job.
POINT_SECONDS: Final = 60.0


def problem_as_data(problem: Problem) -> dict[str, Any]:
    """The question as plain JSON, in a fixed order."""
    return {
        "candidates": [
            asdict(c)
            | {"spend": list(c.spend), "needs": list(c.needs), "sites": list(c.sites)}
            | {"effort": {role: list(days) for role, days in sorted(c.effort.items())}}
            for c in problem.candidates
        ],
        "budget": list(problem.budget),
        "capacity": {role: list(days) for role, days in sorted(problem.capacity.items())},
        "rate": problem.rate,
        "lag": problem.lag,
        "exclusions": [list(pair) for pair in problem.exclusions],
        "must": sorted(problem.must),
        "must_not": sorted(problem.must_not),
        "foundation_share": problem.foundation_share,
        "site_shares": dict(sorted(problem.site_shares.items())),
    }


def problem_from_data(data: Mapping[str, Any]) -> Problem:
    return Problem(
        candidates=tuple(
            Candidate(
                key=c["key"],
                title=c["title"],
                value=float(c["value"]),
                spend=tuple(map(float, c["spend"])),
                effort={role: tuple(map(float, days)) for role, days in c["effort"].items()},
                needs=tuple(c["needs"]),
                foundation=bool(c["foundation"]),
                sites=tuple(c["sites"]),
            )
            for c in data["candidates"]
        ),
        budget=tuple(map(float, data["budget"])),
        capacity={role: tuple(map(float, days)) for role, days in data["capacity"].items()},
        rate=float(data["rate"]),
        lag=int(data["lag"]),
        exclusions=tuple((a, b) for a, b in data["exclusions"]),
        must=frozenset(data["must"]),
        must_not=frozenset(data["must_not"]),
        foundation_share=float(data["foundation_share"]),
        site_shares={site: float(share) for site, share in data["site_shares"].items()},
    )


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def plan_as_data(problem: Problem, plan: Plan) -> dict[str, Any]:
    money, days = used(problem, plan.starts)
    return {
        "status": plan.status,
        "value": _number(plan.value),
        "bound": _number(plan.bound),
        "gap": _number(plan.gap),
        "seconds": round(plan.seconds, 3),
        "starts": {key: start for key, start in plan.starts.items() if start is not None},
        "spend": [round(float(v), 2) for v in money],
        "effort": {role: [round(float(v), 2) for v in row] for role, row in days.items()},
        "out": [asdict(r) for r in study.why_out(problem, plan)] if plan.starts else [],
    }


def study_plan(problem: Problem, options: Mapping[str, Any]) -> Iterator[tuple[float, str, dict[str, Any]]]:
    """The plan first, then what it means; each step a whole result."""
    gap, limit = float(options["gap"]), float(options["time_limit"])
    first = greedy(problem)
    result: dict[str, Any] = plan_as_data(problem, first) if first.starts else {}
    yield 0.02, "first", dict(result)
    plan = solve(problem, gap=gap, time_limit=limit)
    result = plan_as_data(problem, plan)
    if not plan.starts:
        if plan.status == "infeasible":
            found = study.relax(problem)
            result["relax"] = {"raises": [list(r) for r in found.raises], "drops": list(found.drops)}
        yield 1.0, "infeasible", result
        return
    result["sharpened"] = False
    if not plan.gap <= study.FINE_GAP:
        # What follows are differences of optima: they say nothing if the first is only good to one per cent.
        yield 0.3, "sharpen", dict(result)
        sharper = solve(problem, gap=study.FINE_GAP, time_limit=study.STEP_SECONDS)
        if sharper.starts and sharper.value >= plan.value:
            plan = sharper
            result = plan_as_data(problem, plan) | {"sharpened": True}
    step = study.step_of(problem)
    out = sorted(
        (r for r in study.why_out(problem, plan) if r.code in {"budget", "capacity", "needs", "share", "within_gap"}),
        key=lambda r: -problem.candidates[problem.at[r.key]].value,
    )[:FORCED]
    standing_on = {n for c in problem.candidates for n in c.needs if n in problem.at}
    foundations = [key for key in plan.chosen if key in standing_on or problem.candidates[problem.at[key]].foundation]
    rules = [("exclusion", f"{a}|{b}") for a, b in problem.exclusions]
    rules += [("must_not", key) for key in sorted(problem.must_not)] + [("must", key) for key in sorted(problem.must)]
    total = 1 + problem.quarters + len(out) + min(len(foundations), FOUNDATIONS) + min(len(rules), RULES)
    done = 0

    def tell(code: str) -> tuple[float, str, dict[str, Any]]:
        return 0.3 + 0.7 * done / total, code, dict(result)

    yield tell("more")
    result["step"] = step
    result["marginal"] = []
    for quarter in (None, *range(problem.quarters)):
        result["marginal"].append(asdict(study.marginal(problem, plan, step, quarter)))
        done += 1
        yield tell("more")
    result["enabling"] = {}
    for key in foundations[:FOUNDATIONS]:
        result["enabling"][key] = _number(study.enabling_value(problem, plan, key))
        done += 1
        yield tell("foundations")
    result["costs"] = []
    for reason in out:
        result["costs"].append(asdict(study.cost_of_forcing(problem, plan, reason.key)))
        done += 1
        yield tell("forcing")
    for kind, key in rules[:RULES]:
        result["costs"].append(asdict(study.cost_of_rule(problem, plan, kind, key)))
        done += 1
        yield tell("rules")
    yield 1.0, "done", result


def study_frontier(problem: Problem, options: Mapping[str, Any]) -> Iterator[tuple[float, str, dict[str, Any]]]:
    points: list[study.Point] = []
    for at, factor in enumerate(study.FRONTIER):
        last = points[-1] if points else None
        found = study.frontier_point(
            problem, factor, last, gap=float(options["gap"]), seconds=min(POINT_SECONDS, float(options["time_limit"]))
        )
        if found is not None:
            points.append(found)
        yield (at + 1) / len(study.FRONTIER), "frontier", {"points": [asdict(p) for p in points]}


def study_core(problem: Problem, options: Mapping[str, Any]) -> Iterator[tuple[float, str, dict[str, Any]]]:
    draws, seed = int(options["draws"]), int(options["seed"])
    ranges = options["ranges"]
    values = study.core_draws([tuple(ranges[c.key]) for c in problem.candidates], draws, seed)
    rows = build_rows(problem)
    count = {c.key: 0 for c in problem.candidates}
    done = 0
    for at, row in enumerate(values, 1):
        plan = study.core_plan(problem, row, rows)
        if plan.starts:
            done += 1
            for key in plan.chosen:
                count[key] += 1
        share = {key: round(n / done, 4) for key, n in count.items()} if done else {}
        yield at / draws, "core", {"share": share, "done": done, "draws": draws, "seed": seed}
        if plan.status == "infeasible":
            # The rules are the same for every draw.
            return


STUDIES: Final = {"plan": study_plan, "frontier": study_frontier, "core": study_core}


def _end_with_the_asker() -> None:
    """Nobody waits for the answer once the other end of the input is gone. HiGHS works without the interpreter's lock."""
    sys.stdin.read()
    os._exit(3)


def main(*, alone: bool = False) -> int:
    """``alone``: this process is only here to answer, and ends with who asked."""
    question = json.loads(sys.stdin.readline())
    out = sys.stdout
    if alone:
        threading.Thread(target=_end_with_the_asker, daemon=True).start()
        # HiGHS now and then writes a line of its own to descriptor 1, between ours.
        out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(row: Mapping[str, Any]) -> None:
        out.write(json.dumps(row, allow_nan=False) + "\n")
        out.flush()

    try:
        problem = problem_from_data(question["problem"])
        for progress, code, result in STUDIES[question["kind"]](problem, question["options"]):
            say({"progress": round(progress, 4), "step": code, "result": result})
    except InvalidInput as error:
        say({"error": {"code": error.code, "message": error.message, "field": error.field}})
        return 2
    say({"done": True})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(alone=True))
