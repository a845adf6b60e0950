"""Two people at once, on a real PostgreSQL: close, rate, sign, decide, publish, plan. One of them wins and the other is told."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.services.servers import environment
from tests.services.test_postgres import run

pytestmark = [pytest.mark.services, pytest.mark.timeout(600), pytest.mark.xdist_group("postgres")]


@pytest.fixture(scope="module")
def programme(postgres_url: str, tmp_path_factory: Any) -> dict[str, str]:
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE programme")
    env = environment(tmp_path_factory.mktemp("programme"), DATABASE_URL=f"{postgres_url}/programme")
    done = run(["manage.py", "migrate", "--no-input"], env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return env


RACES = """
import django, json
django.setup()
from datetime import date, timedelta
from threading import Barrier, Thread
from django.db import connections
from portal.core import jobs, signing
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from tests.factories import make_use_case
from tests.objects import make_cast
from usecases import planning, services
from usecases.models import *
from usecases.services import gates

jobs._send = gates._send = lambda *given: None
signing._rule = lambda *, user, kind, site=None, now=None: signing.SigningVerdict(True, "valid", (user.role_keys or [""])[0], {})
cast = make_cast()
services.gates_create(use_case=cast.ours)
criteria = CriteriaSet.objects.create(name="Standard", number=1, state="published")
leaf = Criterion.objects.create(criteria_set=criteria, key="data", name="Data", weight=1.0, rubric=["x"] * 6)
ROUNDS = 8
found = {}

def race(*works):
    barrier, told = Barrier(len(works)), []
    def go(name, work):
        try:
            barrier.wait()
            work()
            told.append(f"{name} won")
        except DomainError as error:
            told.append(f"{name} {error.code}")
        except Exception as error:
            told.append(f"{name} {type(error).__name__}: {error}"[:300])
        finally:
            connections.close_all()
    threads = [Thread(target=go, args=work) for work in works]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sorted(told)

def told(name, outcome):
    found.setdefault(name, []).append(outcome)

def vote(person, meeting):
    row = {"use_case": cast.ours, "criterion": leaf, "value": 4.0}
    services.ratings_put(actor=person, meeting=ScoringRound.objects.get(pk=meeting.pk), rows=[row])

for at in range(ROUNDS):
    meeting = services.round_open(
        actor=cast.coe_lead, title=f"Round {at}", criteria_set=criteria, use_cases=[cast.ours],
        raters=[cast.plant_manager, cast.ot_engineer])
    vote(cast.plant_manager, meeting)
    def close():
        services.round_close(actor=cast.coe_lead, meeting=ScoringRound.objects.get(pk=meeting.pk))
    outcome = race(("close", close), ("close", close), ("rate", lambda: vote(cast.ot_engineer, meeting)))
    frozen = ScoringRound.objects.get(pk=meeting.pk).result["agreement"][0]["count"]
    assert frozen == Rating.objects.filter(round=meeting).count(), "an answer that was saved is no part of the frozen result"
    told("close", [one for one in outcome if one.startswith("close")])
    told("rate", [one for one in outcome if one.startswith("rate")][0])

gate = Gate.objects.get(use_case=cast.ours, number=1)
for at in range(ROUNDS):
    def opening():
        services.review_open(actor=cast.coe_lead, gate=Gate.objects.get(pk=gate.pk))
    told("open", race(("open", opening), ("open", opening)))
    review = GateReview.objects.get(gate=gate, state="open")
    def sign(person, other=None):
        services.review_sign(actor=person, review=GateReview.objects.get(pk=review.pk), on_behalf_of=other)
    told("sign", race(("sign", lambda: sign(cast.plant_manager)), ("sign", lambda: sign(cast.plant_manager))))
    signing._deputies = lambda *, people=None, deputy=None, site=None, now=None: [
        signing.StandIn(cast.safety_officer.pk, who.pk) for who in (cast.coe_lead, cast.executive) if deputy in (None, who)]
    told("deputies", race(
        ("first", lambda: sign(cast.coe_lead, cast.safety_officer)), ("second", lambda: sign(cast.executive, cast.safety_officer))))
    signed = review.signatures.count()
    assert signed == 2, signed
    def decide(decision):
        services.review_decide(actor=cast.coe_lead, review=GateReview.objects.get(pk=review.pk), decision=decision, note="so")
    told("decide", race(("decide", lambda: decide("hold")), ("decide", lambda: decide("recycle"))))
    Gate.objects.filter(pk=gate.pk).update(state="open")

for at in range(ROUNDS):
    draft = services.criteria_set_create(actor=cast.coe_lead, name=f"Draft {at}")
    one = services.criterion_create(actor=cast.coe_lead, criteria_set=draft, key="data", name="Data", weight=1.0, rubric=["x"] * 6)
    stale = CriteriaSet.objects.get(pk=draft.pk)
    mine = Criterion.objects.select_related("criteria_set").get(pk=one.pk)
    def publish():
        services.criteria_set_publish(actor=cast.coe_lead, criteria_set=stale)
    def edit():
        services.criterion_update(actor=cast.coe_lead, criterion=mine, data={"name": "Other"})
    outcome = race(("publish", publish), ("edit", edit))
    draft.refresh_from_db()
    one.refresh_from_db()
    assert outcome[1] == "publish won" and one.updated_at < draft.published_at, (outcome, one.updated_at, draft.published_at)
    told("publish", outcome)
    following = CriteriaSet.objects.get(pk=draft.pk)
    told("next", race(*[("next", lambda: services.criteria_set_next(actor=cast.coe_lead, criteria_set=following))] * 2))

def scenario(at):
    return services.scenario_create(
        actor=cast.coe_lead, many={"candidates": [cast.ours], "must": [], "must_not": []}, name=f"Plan {at}",
        start=date(2027, 1, 1), quarters=1, budget=[100.0])

worth = {"p10": 1.0, "p50": 2.0, "p90": 3.0, "capex": [-1.0], "opex": [0.0]}
BusinessCase.objects.create(use_case=cast.ours, start=date(2027, 1, 1), assumption="a test", result=worth)
for at in range(ROUNDS):
    pair = [scenario(f"{at}-{n}") for n in range(2)]
    for plan in pair:
        outcome = race(*[("run", lambda: services.run_start(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=plan.pk)))] * 2)
        told("run", outcome)
        assert PortfolioRun.objects.filter(scenario=plan).count() == 1, "one question, one run"
        PortfolioRun.objects.filter(scenario=plan).update(result={"starts": {"x": 0}}, finished_at=wall_now())
    def adopt(plan):
        services.scenario_adopt(actor=cast.coe_lead, scenario=Scenario.objects.get(pk=plan.pk))
    told("adopt", race(("adopt", lambda: adopt(pair[0])), ("adopt", lambda: adopt(pair[1]))))
    assert Scenario.objects.filter(of_record=True).count() == 1
    def efforts(days):
        services.efforts_put(actor=cast.coe_lead, use_case=cast.ours, rows=[{"role": "ot_engineer", "quarter": 0, "days": days}])
    told("efforts", race(("efforts", lambda: efforts(2.0 * at + 1)), ("efforts", lambda: efforts(2.0 * at + 2))))

print(json.dumps(found))
"""


def test_two_at_once(programme: dict[str, str]):
    done = run(["-c", RACES], programme, seconds=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    wanted: dict[str, set[Any]] = {
        "close": {("close won", "close wrong_state")},
        "rate": {"rate won", "rate round_closed"},
        "open": {("open review_open", "open won")},
        "sign": {("sign signed_already", "sign won")},
        "deputies": {("first signed_for_already", "second won"), ("first won", "second signed_for_already")},
        "decide": {("decide decided_meanwhile", "decide won"), ("decide stale_write", "decide won"), ("decide won", "decide wrong_state")},
        "publish": {("edit published", "publish won"), ("edit won", "publish won")},
        "next": {("next conflict", "next won"), ("next won", "next won"), ("next invalid", "next won")},
        "run": {("run won", "run won")},
        "adopt": {("adopt adopted_meanwhile", "adopt won"), ("adopt won", "adopt won")},
        "efforts": {("efforts won", "efforts won")},
    }  # fmt: skip
    wrong = {
        name: odd
        for name, outcomes in found.items()
        if (odd := {tuple(o) if isinstance(o, list) else o for o in outcomes} - wanted[name])
    }
    assert not wrong, wrong
    assert found.keys() == wanted.keys()
