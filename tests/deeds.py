"""How each write of the application comes to success: the state it starts from and the body it takes.

``DEEDS[route]`` is kept for routes whose body cannot be made from the fields alone; ``tests/bodies.py`` makes the others. A route is
named "resource action" (API) or by its URL name (pages). ``bulk`` and ``by_external_id`` take what ``create`` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.apps import apps

from portal.core.access import grant_role
from portal.core.clock import rfc3339, wall_now
from tests.coe.builders import appoint, certify, right_answers
from tests.deed import Deed
from tests.deeds_business import BUSINESS
from tests.deeds_criteria import CRITERIA
from tests.deeds_gates import GATES
from tests.deeds_portfolio import PORTFOLIO
from tests.deeds_rounds import ROUNDS
from tests.drive import Stage, basename
from tests.factories import make_adoption, make_channel, make_device, make_model, make_site, make_user
from tests.governance import setting_up
from tests.routes import Route, all_routes

RUBRIC = [f"Level {n}" for n in range(6)]
LINE = {"kind": "benefit", "name": "fuel", "low": 10, "likely": 20, "high": 30, "first_quarter": 1, "last_quarter": 4}
MONTH = "2013-02"


def deed_for(route: Route, method: str) -> Deed:
    if route.kind != "api":
        return DEEDS.get(route.name, Deed())
    action = route.actions[method]
    asked = "create" if action in {"bulk", "by_external_id"} else action
    found = DEEDS.get(f"{basename(route)} {asked}", Deed())
    if action != "bulk" or found.body is None:
        return found
    single = found.body
    return Deed(found.state, lambda stage: {"rows": [single(stage)]})


# ---- small words ------------------------------------------------------------------------------------------------------


def _model(label: str) -> Any:
    return apps.get_model(label)


def _one(stage: Stage, label: str) -> str:
    return str(stage.ours.one(label).pk)


def _set(label: str, **values: Any) -> Callable[[Stage], None]:
    """The side's row of a model with other values, in the database alone."""

    def state(stage: Stage) -> None:
        _model(label).objects.filter(pk=stage.ours.one(label).pk).update(**values)

    return state


def _another(label: str, **values: Any) -> Callable[[Stage], Any]:
    return lambda stage: stage.ours.another(label, **values)


def _says(**body: Any) -> Callable[[Stage], dict[str, Any]]:
    return lambda stage: dict(body)


def _route(name: str) -> Route:
    return next(route for route in all_routes() if route.name == name)


def _later(days: int = 30) -> str:
    return rfc3339(wall_now() + timedelta(days=days))


def _typed(days: int = 30) -> str:
    return (wall_now() + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M")


# ---- people ---------------------------------------------------------------------------------------------------------


def _colleague(stage: Stage) -> Any:
    return make_user("colleague@test.example", name="Colleague")


def _engineer(stage: Stage) -> Any:
    person = _colleague(stage)
    grant_role(person, "ot_engineer", stage.cast.home)
    return person


def _gone(stage: Stage) -> Any:
    return make_user("colleague@test.example", name="Colleague", is_active=False)


def _newcomer(stage: Stage) -> dict[str, Any]:
    role = {"role": "ot_engineer", "sites": [str(stage.cast.home.pk)]}
    return {"email": "new@test.example", "name": "New", "organisation": "Works", "roles": [role]}


# ---- states -----------------------------------------------------------------------------------------------------------


def _empty_site(stage: Stage) -> Any:
    return make_site("further", time_zone="UTC")


def _with_readings(stage: Stage) -> None:
    outcome = stage.ours.one("usecases.Outcome")
    window = {"baseline_from": "2012-12-01", "baseline_to": "2013-03-01", "baseline_frozen_at": None}
    type(outcome).objects.filter(pk=outcome.pk).update(**window)


def _officer(stage: Stage) -> None:
    """Somebody who may sign: the AI Safety Officer, appointed for all sites and certified."""
    appoint(stage.cast.safety_officer)
    certify(stage.cast.safety_officer)


def _unsigned(stage: Stage) -> Any:
    from governance import artefacts

    _officer(stage)
    return stage.ours.another("governance.ModelVersion", state="candidate", sha256=artefacts.store(b"a model"))


def _approved_model(stage: Stage) -> None:
    _officer(stage)
    until = wall_now() + timedelta(days=10)
    _set("governance.Model", standing_approval_by=stage.cast.safety_officer, standing_approval_until=until)(stage)


def _ready_to_roll(stage: Stage) -> None:
    """A signed version whose gateways are there, and two engineers who may sign a rollout."""
    from governance.models import ModelVersion, Pipeline
    from tests.edge_bridge.portal import Plant, make_plant, signed_version
    from usecases.models import Adoption

    ModelVersion.objects.all().update(signature="")
    place = stage.ours.another("devices.Location")
    Adoption.objects.filter(use_case=stage.cast.ours, site=stage.cast.home).update(location=place)
    plant: Plant = make_plant("probe", site=stage.cast.home, use_case=stage.cast.ours)
    assert Pipeline.objects.filter(adoption=plant.adoption).exists()
    signed_version(plant)
    for person in (stage.cast.ot_engineer, stage.cast.edge_architect, stage.cast.safety_officer):
        for key in ("edge_architect", "safety_officer"):
            appoint(person, key)
            certify(person, key)


def _rollout(stage: Stage) -> dict[str, str]:
    from governance.models import ModelVersion

    version = ModelVersion.objects.exclude(signature="").select_related("model").last()
    found = version.model.pipelines.first().adoption if version is not None else stage.ours.one("usecases.Adoption")
    return {"version": str(getattr(version, "pk", "")), "adoption": str(found.pk)}


@cache
def _trained() -> Any:
    from tests.marketplace.conftest import train

    return train()


def _saleable(stage: Stage) -> Any:
    """A packaged service of a proven use case with a live model, not published yet."""
    from marketplace import services
    from tests.marketplace.conftest import FEATURES, make_live, pass_gate_5

    place = stage.ours.another("devices.Location")
    plant = make_device(stage.cast.home, "plc")
    make_adoption(stage.cast.ours, stage.cast.home, location=place)
    make_channel(plant, "AT", unit="Cel", name="Ambient temperature")
    make_channel(plant, "AP", unit="mbar", name="Ambient pressure")
    model = make_model(stage.cast.ours, name="NOx soft sensor", features=FEATURES)
    make_live(model, _trained())
    service = services.service_create(
        actor=stage.cast.coe_lead,
        use_case=stage.cast.ours,
        model=model,
        code="saleable",
        name="NOx soft sensor",
        summary="NOx at the stack.",
        sla_text="99.5 % of calls a month answered within 300 ms.",
    )
    services.plan_create(actor=stage.cast.coe_lead, service=service, name="Standard", monthly_quota=1000)
    pass_gate_5(stage.cast.ours)
    return service


def _old_subscription(stage: Stage) -> None:
    _set("marketplace.Subscription", started_at=datetime(2012, 12, 1, tzinfo=UTC), internal=False)(stage)


def _no_open_review(stage: Stage) -> None:
    _set("usecases.GateReview", state="withdrawn")(stage)


def _top(stage: Stage) -> None:
    """The one criterion of the round's set stands at the top."""
    _set("usecases.Criterion", parent=None)(stage)


def _rated_cases(stage: Stage) -> dict[str, Any]:
    row = {"use_case": str(stage.cast.ours.pk), "criterion": _one(stage, "usecases.Criterion"), "value": 4}
    return {"ratings": [row]}


def _criterion(stage: Stage) -> dict[str, Any]:
    return {
        "criteria_set": _one(stage, "usecases.CriteriaSet"),
        "key": "further",
        "name": "Further",
        "weight": 1,
        "anchor_low": 0,
        "anchor_high": 5,
        "source": "judged",
        "position": 9,
        "rubric": RUBRIC,
    }


def _business(stage: Stage) -> dict[str, Any]:
    return {
        "use_case": str(stage.cast.ours.pk),
        "start": "2026-01-01",
        "assumption": "Agreed with nobody.",
        "lines": [LINE],
    }


def _business_form(stage: Stage) -> dict[str, Any]:
    case = {"currency": "EUR", "discount_rate": "0.08", "quarters": "12", "start": "2026-01-01", "assumption": "None."}
    case["version"] = str(stage.ours.one("usecases.BusinessCase").version)
    frame = {
        "lines-TOTAL_FORMS": "1",
        "lines-INITIAL_FORMS": "0",
        "lines-MIN_NUM_FORMS": "0",
        "lines-MAX_NUM_FORMS": "100",
    }
    line = LINE | {"ramp_quarters": 0, "attribution": 1}
    return case | frame | {f"lines-0-{name}": str(value) for name, value in line.items()}


def _round_form(stage: Stage) -> dict[str, Any]:
    return {
        "title": "Spring round",
        "criteria_set": _one(stage, "usecases.CriteriaSet"),
        "use_cases": [str(stage.cast.ours.pk)],
        "raters": [str(stage.cast.plant_manager.pk)],
    }


def _appointment(stage: Stage) -> dict[str, Any]:
    role = _model("coe.CoeRole").objects.get(key="safety_officer")
    return {"user": str(stage.cast.safety_officer.pk), "role": str(role.pk)}


def _answers(stage: Stage) -> dict[str, int]:
    return right_answers(stage.ours.one("coe.Track"))


def _slo(stage: Stage) -> dict[str, Any]:
    return {
        "adoption": _one(stage, "usecases.Adoption"),
        "kind": "alert_to_retrain" if stage.ours.one("governance.Slo").kind == "uptime" else "uptime",
        "name": "Two hours",
        "target": 0.95,
        "limit_seconds": 7200,
        "window_days": 30,
        "minimum_events": 3,
    }


def _csv(stage: Stage) -> dict[str, Any]:
    kind = stage.ours.one("devices.DeviceType")
    text = f"site,code,name,device_type\n{stage.cast.home.code},listed-1,Listed,{kind.name}\n"
    return {"kind": "devices", "text": text, "write": "all"}


def _released(stage: Stage) -> None:
    _model("devices.MachineStop").objects.filter(device=stage.ours.one("devices.Device")).update(released_at=wall_now())


def _done(stage: Stage) -> None:
    _set("coe.Action", state="done", closed_at=wall_now())(stage)


def _reading(stage: Stage) -> dict[str, Any]:
    return {
        "outcome": _one(stage, "usecases.Outcome"),
        "site": str(stage.cast.home.pk),
        "period_from": "2013-05-01T00:00:00Z",
        "period_to": "2013-06-01T00:00:00Z",
        "value": 3.5,
        "exposure": 700,
    }


def _confirm(label: str) -> Callable[[Stage], dict[str, Any]]:
    return lambda stage: {"confirm_name": str(stage.ours.one(label))}


_PUBLISHED = _set("usecases.CriteriaSet", state="published")
_REASON = _says(reason="Found out in a test.")
_DECISION = _says(decision="hold", note="The baseline is not measured yet.")

DEEDS: dict[str, Deed] = {
    # portal.core
    "core:tokens": Deed(body=_says(name="probe", scopes=["read"])),
    "person create": Deed(body=_newcomer),
    "person grant": Deed(_colleague, lambda stage: {"role": "ot_engineer", "sites": [str(stage.cast.home.pk)]}),
    "person revoke": Deed(_engineer, lambda stage: {"role": "ot_engineer", "sites": [str(stage.cast.home.pk)]}),
    "person link": Deed(_colleague),
    "person deactivate": Deed(_colleague),
    "person activate": Deed(_gone),
    "core:person-invite": Deed(
        body=lambda stage: {
            "email": "new@test.example",
            "name": "New",
            "organisation": "",
            "role_0": "ot_engineer",
            "where_0": [f"sites:{stage.cast.home.pk}"],
        }
    ),
    "core:person-edit": Deed(_colleague, _says(email="other@test.example", name="Other", organisation="Works")),
    "core:person-grant": Deed(
        _colleague, lambda stage: {"role": "ot_engineer", "where": [f"sites:{stage.cast.home.pk}"]}
    ),
    "core:person-revoke": Deed(
        _engineer, lambda stage: {"role": "ot_engineer", "place": f"sites:{stage.cast.home.pk}"}
    ),
    "core:person-link": Deed(_colleague),
    "core:person-deactivate": Deed(_colleague),
    "core:person-activate": Deed(_gone),
    # devices
    "site destroy": Deed(_empty_site),
    "devices:site-delete": Deed(_empty_site),
    "site replay": Deed(_set("devices.Site", kind="replay"), _says(rows_per_second=4)),
    "devices:site-replay": Deed(_set("devices.Site", kind="replay"), _says(rows_per_second=4)),
    "location destroy": Deed(_another("devices.Location")),
    "devices:location-delete": Deed(_another("devices.Location")),
    "device-type destroy": Deed(_another("devices.DeviceType")),
    "devices:device-type-delete": Deed(_another("devices.DeviceType")),
    "device destroy": Deed(_another("devices.Device")),
    "devices:device-delete": Deed(_another("devices.Device")),
    "device activate": Deed(_set("devices.Device", state="planned")),
    "devices:device-activate": Deed(_set("devices.Device", state="planned")),
    "device stop": Deed(_released, _REASON),
    "devices:device-stop": Deed(_released, _says(reason="Found out in a test.", fallback="bypass")),
    "device want": Deed(body=_says(wanted={"report_every_s": 5})),
    "enrolment create": Deed(body=lambda stage: {"device": _one(stage, "devices.Device")}),
    "devices:import": Deed(body=_csv),
    # usecases
    "use-case not_pursue": Deed(body=_REASON),
    "outcome baseline": Deed(_with_readings, _says()),
    "usecases:outcome-baseline": Deed(_with_readings),
    "kpi-reading create": Deed(body=_reading),
    "usecases:reading-create": Deed(
        body=lambda stage: _reading(stage) | {"period_from": "2013-05-01T00:00", "period_to": "2013-06-01T00:00"}
    ),
    "criterion create": Deed(body=_criterion),
    "criterion destroy": Deed(_another("usecases.Criterion")),
    "scoring-round create": Deed(_PUBLISHED, _round_form),
    "usecases:round-create": Deed(_PUBLISHED, _round_form),
    "scoring-round ratings": Deed(body=_rated_cases),
    "usecases:round-rate": Deed(
        body=lambda stage: {
            "use_case": str(stage.cast.ours.pk),
            f"value-{_one(stage, 'usecases.Criterion')}": "4",
        }
    ),
    "scoring-round what_if": Deed(_top, lambda stage: {"weights": {stage.ours.one("usecases.Criterion").key: 50.0}}),
    "usecases:round-what-if": Deed(_top, lambda stage: {stage.ours.one("usecases.Criterion").key: "50"}),
    "business-case create": Deed(
        lambda stage: _model("usecases.BusinessCase").objects.filter(use_case=stage.cast.ours).delete() and None,
        _business,
    ),
    "usecases:business-case-edit": Deed(body=_business_form),
    "adoption create": Deed(
        lambda stage: _empty_site(stage) and None,
        lambda stage: {
            "use_case": str(stage.cast.ours.pk),
            "site": str(_model("devices.Site").objects.get(code="further").pk),
        },
    ),
    "usecases:adoption-create": Deed(
        lambda stage: _empty_site(stage) and None,
        lambda stage: {"site": str(_model("devices.Site").objects.get(code="further").pk), "scope": "cell"},
    ),
    "usecases:outcome-edit": Deed(
        body=lambda stage: stage.body(_route("usecases:outcome-edit"), "post", stage.ours) | {"assumption": "Changed."}
    ),
    "usecases:adoption-edit": Deed(body=_says(started_on="2013-04-05")),
    "waiver create": Deed(
        body=lambda stage: {
            "gate": _one(stage, "usecases.Gate"),
            "key": "align.baseline",
            "reason": "Measured next week.",
            "expires_at": _later(),
        }
    ),
    "usecases:waiver-create": Deed(
        body=lambda stage: {"key": "align.baseline", "reason": "Measured next week.", "expires_at": _typed()}
    ),
    "gate-review create": Deed(_no_open_review, lambda stage: {"gate": _one(stage, "usecases.Gate")}),
    "usecases:review-open": Deed(_no_open_review),
    "usecases:review-sign": Deed(body=_says(approves="yes")),
    "gate-review decide": Deed(body=_DECISION),
    "usecases:review-decide": Deed(body=_DECISION),
    # governance
    "model create": Deed(lambda stage: setting_up.plc(stage) and None, setting_up.contract),
    "model retrain": Deed(setting_up.rehearsable, _says(reason="Quarterly rehearsal.")),
    "governance:model-create": Deed(lambda stage: setting_up.plc(stage) and None, setting_up.contract),
    "governance:model-edit": Deed(body=_says(name="Renamed", error_limit="5")),
    "governance:pipeline-create": Deed(setting_up.labelled_model, setting_up.whole_policy_form),
    "governance:pipeline-edit": Deed(setting_up.labelled_model, setting_up.policy_form),
    "governance:pipeline-commission": Deed(setting_up.labelled_model, _says(method="train")),
    "governance:pipeline-retrain": Deed(setting_up.rehearsable, _says(reason="Quarterly rehearsal.")),
    "pipeline create": Deed(
        setting_up.labelled_model, lambda stage: setting_up.pipeline(stage) | {"model": _one(stage, "governance.Model")}
    ),
    "pipeline commission": Deed(setting_up.labelled_model, _says(method="train")),
    "pipeline policy_change": Deed(body=_says(drift={"window": 300})),
    "model-version sign": Deed(_unsigned),
    "governance:version-sign": Deed(_unsigned),
    "model-version withdraw": Deed(_unsigned, _REASON),
    "governance:version-withdraw": Deed(_unsigned, _REASON),
    "governance:model-approve": Deed(_officer, lambda stage: {"until": _typed()}),
    "governance:model-approval-revoke": Deed(_approved_model),
    "slo create": Deed(body=_slo),
    "governance:slo-create": Deed(body=_slo),
    # edge_bridge
    "rollout create": Deed(
        _ready_to_roll,
        lambda stage: {"version_of_model": _rollout(stage)["version"], "adoption": _rollout(stage)["adoption"]},
    ),
    "edge_bridge:rollout-new": Deed(
        _ready_to_roll, lambda stage: _rollout(stage) | {"soak_rows": 24, "worst_error_ratio": 1.1}
    ),
    "rollout stop": Deed(_set("edge_bridge.Rollout", state="running"), _REASON),
    "edge_bridge:rollout-stop": Deed(_set("edge_bridge.Rollout", state="running"), _REASON),
    # coe
    "appointment create": Deed(body=_appointment),
    "coe:appointment-new": Deed(body=_appointment),
    "certificate revoke": Deed(body=_REASON),
    "track attempt": Deed(body=lambda stage: {"answers": _answers(stage)}),
    "coe:quiz": Deed(body=lambda stage: {f"q_{key}": value for key, value in _answers(stage).items()}),
    "retrospective create": Deed(body=lambda stage: {"site": str(stage.cast.home.pk), "month": f"{MONTH}-01"}),
    "coe:retrospective-edit": Deed(body=_says(went_well="All of it.", to_improve="Nothing.")),
    "retrospective hold": Deed(body=_says(went_well="All of it.", to_improve="Nothing.")),
    "coe:retrospective-hold": Deed(body=_says(went_well="All of it.", to_improve="Nothing.")),
    "action reopen": Deed(_done),
    "coe:action-reopen": Deed(_done),
    "roi-review hold": Deed(body=_says(note="Go on.")),
    "roi-review move_budget": Deed(body=_says(amount="1000.00")),
    # marketplace
    "service admit": Deed(body=lambda stage: {"email": stage.cast.stranger.email}),
    "marketplace:service-admit": Deed(body=lambda stage: {"email": stage.cast.stranger.email}),
    "service publish": Deed(_saleable),
    "marketplace:service-publish": Deed(_saleable),
    "marketplace:service-retire": Deed(body=_confirm("marketplace.Service")),
    "plan destroy": Deed(_another("marketplace.Plan")),
    "marketplace:plan-edit": Deed(_another("marketplace.Plan")),
    "subscription keys": Deed(body=_says(name="probe")),
    "subscription resume": Deed(_set("marketplace.Subscription", state="suspended")),
    "marketplace:subscription-resume": Deed(_set("marketplace.Subscription", state="suspended")),
    "invoice create": Deed(
        _old_subscription, lambda stage: {"subscription": _one(stage, "marketplace.Subscription"), "period": MONTH}
    ),
    "marketplace:invoice-draft": Deed(_old_subscription, _says(period=MONTH)),
    "invoice issue": Deed(_old_subscription),
    "marketplace:invoice-issue": Deed(_old_subscription),
    "invoice pay": Deed(_set("marketplace.Invoice", state="issued")),
    "marketplace:invoice-pay": Deed(_set("marketplace.Invoice", state="issued")),
}
DEEDS |= GATES | CRITERIA
DEEDS |= BUSINESS
DEEDS |= ROUNDS
DEEDS |= PORTFOLIO
