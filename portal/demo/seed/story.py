"""The order of things at the first start: people, roles, plants, history, gates, reviews, the service. Restartable: it begins anew after a failure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management import call_command
from django.db import connection

from coe.models import CoeRole, Track
from coe.services.learning import attempt_record, roles_sync, tracks_load
from coe.services.people import appointment_create
from devices.choices import ReplayState
from devices.services.enrolment import enrolment_create
from edge_bridge.demo.replay import load
from edge_bridge.rollouts import rollout_start
from governance.models import Pipeline
from governance.services import kpis, versions
from governance.services.commissioning import pipeline_commission
from portal.core.clock import wall_now
from portal.core.models import User
from portal.core.records import entity_update
from portal.core.roles import ROLES
from portal.demo.paths import Paths, plc_ports, write_private
from portal.demo.seed import enable, gates, monetise, people, plant, portfolio, programme
from portal.demo.seed.history import Driver
from usecases.models import Adoption, UseCase
from usecases.services.use_cases import adoption_create

Say = Callable[[str], None]
COE_PEOPLE = ("edge_architect", "data_steward", "safety_officer")
LIVE_ROWS_BEFORE_BOUNDARY = 600


def build(paths: Paths, say: Say) -> None:
    """Migrate; make the demo plant unless it is there. What a broken first start left behind is removed first."""
    if not paths.seeded.exists() and connection.settings_dict["ENGINE"].endswith("sqlite3"):
        _clear_unfinished(paths)
    call_command("migrate", verbosity=0, interactive=False)
    if paths.seeded.exists():
        return
    began = time.monotonic()
    cast = people.make_people()
    users = people.users(cast)
    say("people and roles")
    appoint(users)
    use_cases = programme.make_use_cases(users)
    plants = plant.make_plants(users["coe_lead"], plc_ports(paths))
    plant.grant_everybody(users, plants, use_cases)
    outcome = programme.make_outcomes(users, use_cases)
    criteria = programme.make_criteria(users)
    programme.make_business_cases(users, use_cases)
    adoptions, pipelines = wire(users, plants, use_cases)
    say("history of the turbine, 2011 to the autumn of 2013, fast-forwarded")
    start_row = turbine_history(users, plants["turbine"], adoptions, pipelines, say)
    kpis.refresh_all()
    programme.set_target(users, outcome)
    say("history of workshop 7 and the process unit, fast-forwarded")
    other_histories(users, plants, adoptions, pipelines)
    programme.hold_round(users, use_cases, criteria)
    say("reviews, gates and the service")
    portfolio.make_portfolio(users, use_cases)
    gates.pass_gates(users, use_cases, adoptions, say)
    enable.hold_reviews(users, adoptions)
    if gates.pass_enabling_gates(users, use_cases, adoptions, say):
        service = monetise.package(users, use_cases["nox-soft-sensor"], pipelines["nox"])
        if gates.pass_last_gate(users, use_cases, say):
            monetise.publish(users, service, say)
    gateways = enrol(users, plants["turbine"], paths)
    known = {
        "users": [
            {
                "role": p.role,
                "label": ROLES[p.role].label,
                "email": p.user.email,
                "password": p.password,
                "token": p.token,
            }
            for p in cast.values()
        ],
        "gateways": gateways,
        "start_row": start_row,
    }
    write_private(paths.sign_ins, json.dumps(known, indent=2))
    paths.seeded.write_text(f"{wall_now().isoformat()}\n")
    say(f"the demo plant is ready after {time.monotonic() - began:.0f} s")


def _clear_unfinished(paths: Paths) -> None:
    import shutil

    for name in (
        "phasegate.sqlite3",
        "phasegate.sqlite3-wal",
        "phasegate.sqlite3-shm",
        "mlflow.sqlite3",
        "plc-turbine.json",
        "broker.aof",
    ):
        (paths.home / name).unlink(missing_ok=True)
    for folder in ("lake", "artefacts", "mlflow-artefacts", "gateways", "appendonlydir"):
        shutil.rmtree(paths.home / folder, ignore_errors=True)


def appoint(users: dict[str, User]) -> None:
    """The three CoE roles, filled by people who have passed their track's quiz."""
    roles_sync()
    tracks_load()
    lead = users["coe_lead"]
    for role in COE_PEOPLE:
        coe_role = CoeRole.objects.get(key=role)
        appointment_create(actor=lead, user=users[role], role=coe_role)
        track = Track.objects.filter(role=coe_role).first()
        if track is not None:
            answers = {str(question.pk): question.right for question in track.questions.all()}
            attempt_record(actor=users[role], track=track, answers=answers)


def wire(
    users: dict[str, User], plants: dict[str, plant.Plant], use_cases: dict[str, UseCase]
) -> tuple[dict[str, Adoption], dict[str, Pipeline]]:
    adoptions: dict[str, Adoption] = {}
    pipelines: dict[str, Pipeline] = {}
    for wiring in plant.WIRINGS:
        where = plants[wiring.profile]
        use_case = use_cases[wiring.use_case]
        adoption = adoption_create(
            actor=users["coe_lead"],
            use_case=use_case,
            site=where.site,
            location=where.plc.location,
            scope="cell",
            devices=[*where.gateways, where.plc],
            started_on=date(2013, 1, 1),
        )
        pipeline = plant.make_pipeline(users["coe_lead"], users, where, wiring, adoption)
        use_case.required_signals = list(pipeline.model.features)
        use_case.save(update_fields=["required_signals"])
        adoptions[wiring.use_case] = adoption
        pipelines[wiring.code] = pipeline
    return adoptions, pipelines


def _put_into_service(users: dict[str, User], pipeline: Pipeline, **how: Any) -> None:
    """Train the first version on the rows on record, sign it, install it."""
    officer = users["safety_officer"]
    version = pipeline_commission(actor=users["data_scientist"], pipeline=pipeline, **how)
    versions.version_sign(actor=officer, version=version)
    versions.standing_approval_grant(actor=officer, model=pipeline.model, until=wall_now() + timedelta(days=90))
    rollout_start(actor=officer, version=version, adoption=pipeline.adoption, fast_forward=True)


def turbine_history(
    users: dict[str, User], where: plant.Plant, adoptions: dict[str, Adoption], pipelines: dict[str, Pipeline], say: Say
) -> int:
    """2011 and 2012 without a model, then with one, to 600 rows before the first row of 2014; returns that row."""
    replay = load("turbine")
    driver = Driver(where.gateways[0], where.plc.code, replay, block=600)
    driver.play(replay.first_of("2013"))
    split = datetime(2012, 1, 1, tzinfo=UTC)
    _put_into_service(users, pipelines["nox"], split_at=split)
    _put_into_service(users, pipelines["gas-path"])
    say("2013 with the soft sensor in service")
    driver.block = 150
    start_row = replay.first_of("2014") - LIVE_ROWS_BEFORE_BOUNDARY
    driver.play(start_row)
    driver.finish(ReplayState.RUNNING)
    boundary = replay.first_of("2014")
    entity_update(
        actor=users["coe_lead"],
        obj=where.site,
        data={"landmarks": [{"row": boundary - 60, "label": "the decay"}]},
    )
    return start_row


def other_histories(
    users: dict[str, User],
    plants: dict[str, plant.Plant],
    adoptions: dict[str, Adoption],
    pipelines: dict[str, Pipeline],
) -> None:
    """Both replays run to their end: first the healthy rows a detector is trained on, then the rest under its eyes."""
    workshop = load("workshop")
    driver = Driver(plants["workshop"].gateways[0], plants["workshop"].plc.code, workshop, block=400)
    driver.play(2_000)
    _put_into_service(users, pipelines["machine-temp"], rule={"window": 36, "open_share": 0.8, "close_share": 0.1})
    driver.play(len(workshop))
    driver.finish(ReplayState.FINISHED)

    process = load("process")
    driver = Driver(plants["process"].gateways[0], plants["process"].plc.code, process, block=200)
    healthy = int(process.fault.argmax()) if process.fault is not None and process.fault.any() else 1_000
    driver.play(min(healthy, 1_400))
    _put_into_service(users, pipelines["process-plane"], rule={"window": 10, "open_share": 0.8, "close_share": 0.2})
    driver.play(len(process))
    driver.finish(ReplayState.FINISHED)


def enrol(users: dict[str, User], where: plant.Plant, paths: Paths) -> list[str]:
    """A claim code for each gateway, in its configuration file; the agents exchange it for their identity when they first run."""
    codes = []
    for gateway in where.gateways:
        _enrolment, claim = enrolment_create(actor=users["ot_engineer"], device=gateway, ttl=timedelta(days=2))
        folder = paths.agent(gateway.code)
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / "claim", claim)
        write_private(
            folder / "agent.toml",
            f"state_dir = {str(folder / 'state')!r}\nclaim_code_file = {str(folder / 'claim')!r}\n",
        )
        codes.append(gateway.code)
    return codes
