"""From channels to a running model, as a customer does it: model, pipeline, first version, signature, SLO; by page and API alike."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from governance.models import Check, Model, ModelVersion, Pipeline, Slo, Stage
from governance.services import commissioning, setup, versions
from portal.core.access import grant_role
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Job, Notification

pytestmark = pytest.mark.django_db
SMALL = {"window": 100, "stride": 50, "train_rows": 400, "memory": 300.0, "min_gap": 50, "holdout": 50, "evidence": 60}


def contract(hall: Any, **changes: Any) -> dict[str, Any]:
    return {
        "use_case": str(hall.ours.pk),
        "code": "nox",
        "name": "NOx soft sensor",
        "kind": "soft_sensor",
        "features": ["AT", "AP"],
        "target": "NOX",
        "unit": "mg/m3",
        "recipe": "gradient_boosting",
    } | changes


def wiring(hall: Any, model: Any, **changes: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "adoption": str(hall.scene.adoption.pk),
        "source": str(hall.scene.plc.pk),
        "retraining": SMALL,
        "drift": {"mode": "fixed", "window": 150, "step": 100, "first": 300},
    } | changes


def errors(answer: Any) -> dict[str, str]:
    return {row["field"]: row["message"] for row in answer.json()["errors"]}


def follow(hall: Any, model: Any, pipeline: Any) -> None:
    """Rows go to what the test set up."""
    hall.scene.model, hall.scene.pipeline = model, pipeline


def test_the_way_of_a_customer_through_the_api(bare: Any, api: Any, django_capture_on_commit_callbacks: Any) -> None:
    scientist, steward = api(bare.data_scientist), api(bare.data_steward)
    made = scientist.post("/api/v1/models", contract(bare), format="json")
    assert made.status_code == 201, made.content
    model = Model.objects.get(pk=made.json()["id"])
    assert model.registry_name == "phasegate-nox"
    assert scientist.post("/api/v1/pipelines", wiring(bare, model.pk), format="json").status_code == 403
    laid = steward.post("/api/v1/pipelines", wiring(bare, model.pk), format="json")
    assert laid.status_code == 201, laid.content
    pipeline = Pipeline.objects.get(pk=laid.json()["id"])
    assert (pipeline.stream, pipeline.expected_period_s) == ("plc-1", 3600.0)
    assert [s.kind for s in Stage.objects.filter(pipeline=pipeline)] == [
        "source",
        "window",
        "features",
        "prediction",
        "label",
    ]
    assert Check.objects.filter(stage__pipeline=pipeline).count() == 7
    assert {c.code for c in Stage.objects.get(pipeline=pipeline, kind="label").channels.all()} == {"NOX"}
    again = steward.post("/api/v1/pipelines", wiring(bare, model.pk), format="json")
    assert (again.status_code, list(errors(again))) == (400, ["source"])

    follow(bare, model, pipeline)
    bare.scene.ingest(400, predict=False)
    path = f"/api/v1/pipelines/{pipeline.pk}/commission"
    assert steward.post(path, {}, format="json").status_code == 403
    assert api(bare.stranger).post(path, {}, format="json").status_code == 404
    with django_capture_on_commit_callbacks(execute=True):
        begun = scientist.post(path, {}, format="json")
        twice = scientist.post(path, {}, format="json")
    assert begun.status_code == twice.status_code == 202
    assert begun.json()["job"] == twice.json()["job"]
    assert begun["Location"] == f"/api/v1/jobs/{begun.json()['job']}"
    job = scientist.get(begun["Location"]).json()
    assert job["state"] == "succeeded", job
    version = ModelVersion.objects.get(model=model)
    assert job["result"] == {"version": str(version.pk), "url": version.get_absolute_url()}
    assert (version.number, version.state, version.quantisation) == (1, "candidate", "not_applicable")
    assert version.metrics["mae"] > 0
    assert Notification.objects.filter(user=bare.safety_officer, kind="signature").count() == 1
    pipeline.refresh_from_db()
    assert pipeline.policy_state["policy"]["config"]["window"] == 100
    assert pipeline.reference["out_of_fold_rows"] == 200
    third = scientist.post(path, {}, format="json")
    assert (third.status_code, third.json()["code"]) == (409, "commissioned")

    assert api(bare.safety_officer).post(f"/api/v1/model-versions/{version.pk}/sign").json()["state"] == "approved"
    promise = {
        "adoption": str(bare.scene.adoption.pk),
        "kind": "uptime",
        "name": "Uptime",
        "target": 0.99,
        "ot_owner": str(bare.ot_engineer.pk),
        "ds_owner": str(bare.data_scientist.pk),
    }
    assert scientist.post("/api/v1/slos", promise, format="json").status_code == 201
    for action in ("model.create", "pipeline.create", "job.start", "pipeline.commission", "model_version.register"):
        assert AuditEntry.objects.filter(action=action).exists(), action


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": []}, "features"),
        ({"features": ["AT", "AT"]}, "features"),
        ({"features": ["AT", "NOX"]}, "target"),
        ({"features": ["not a code"]}, "features"),
        ({"recipe": "sensor_autoencoder"}, "recipe"),
        ({"kind": "anomaly"}, "recipe"),
        ({"kind": "anomaly", "recipe": "sensor_autoencoder"}, "target"),
        ({"kind": "fault", "recipe": "process_plane", "target": ""}, "features"),
        ({"recipe": "magic"}, "recipe"),
        ({"target": ""}, "target"),
        ({"unit": ""}, "unit"),
        ({"error_limit": -1}, "error_limit"),
        ({"registry_name": "a'b"}, "registry_name"),
        ({"code": "with space"}, "code"),
    ],
)
def test_a_contract_that_does_not_hold_is_refused_beside_its_field(
    bare: Any, api: Any, change: Any, field: str
) -> None:
    answer = api(bare.data_scientist).post("/api/v1/models", contract(bare, **change), format="json")
    assert answer.status_code == 400, answer.content
    assert field in errors(answer)
    assert not Model.objects.exists()


def test_a_model_is_for_those_who_may_change_its_use_case(bare: Any, api: Any) -> None:
    assert api(bare.ot_engineer).post("/api/v1/models", contract(bare), format="json").status_code == 403
    assert api(bare.stranger).post("/api/v1/models", contract(bare), format="json").status_code == 400
    assert api().post("/api/v1/models", contract(bare), format="json").status_code == 401


def test_the_contract_is_fixed_once_a_pipeline_rests_on_it(hall: Any, api: Any) -> None:
    client, path = api(hall.data_scientist), f"/api/v1/models/{hall.scene.model.pk}"
    assert client.patch(path, {"name": "NOx at the stack", "error_limit": 4}, format="json").status_code == 200
    refused = client.patch(path, {"features": ["AT"], "unit": "ppm"}, format="json")
    assert (refused.status_code, set(errors(refused))) == (400, {"features", "unit"})
    assert client.patch(path, {"features": ["AT", "AP"]}, format="json").status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"retraining": {"holdout": 200}}, "holdout"),
        ({"retraining": {"train_rows": 100}}, "train_rows"),
        ({"retraining": {"window": 0}}, "window"),
        ({"drift": {"window": 5}}, "drift_window"),
        ({"drift": {"window": 150, "step": 151}}, "drift_step"),
        ({"drift": {"limits": {"share": 0}}}, "drift_share"),
        ({"expected_period_s": 0}, "expected_period_s"),
    ],
)
def test_limits_that_cannot_be_are_refused_beside_their_field(bare: Any, api: Any, change: Any, field: str) -> None:
    model = setup.model_create(actor=None, **contract(bare, use_case=bare.ours))
    answer = api(bare.data_steward).post("/api/v1/pipelines", wiring(bare, model.pk, **change), format="json")
    assert answer.status_code == 400, answer.content
    assert field in errors(answer)
    assert not Pipeline.objects.exists()


def test_a_source_must_have_the_inputs_and_the_label(bare: Any) -> None:
    model = setup.model_create(actor=None, **contract(bare, use_case=bare.ours, features=["AT", "GTEP"]))
    with pytest.raises(InvalidInput) as refusal:
        setup.pipeline_create(actor=None, model=model, adoption=bare.scene.adoption, source=bare.scene.plc)
    assert "GTEP" in refusal.value.errors[0]["message"]
    bare.scene.plc.channels.filter(code="NOX").delete()
    whole = setup.model_create(actor=None, **contract(bare, use_case=bare.ours, code="other"))
    with pytest.raises(InvalidInput) as refusal:
        setup.pipeline_create(actor=None, model=whole, adoption=bare.scene.adoption, source=bare.scene.plc)
    assert "NOX" in refusal.value.errors[0]["message"]


def test_too_few_rows_are_a_failed_job_that_says_so(
    hall: Any, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    hall.scene.ingest(100, predict=False)
    with django_capture_on_commit_callbacks(execute=True):
        answer = api(hall.data_scientist).post(
            f"/api/v1/pipelines/{hall.scene.pipeline.pk}/commission", {}, format="json"
        )
    job = Job.objects.get(pk=answer.json()["job"])
    assert (job.state, job.error["code"]) == ("failed", "too_few_rows")
    assert "100 usable rows" in job.error["message"]
    assert not ModelVersion.objects.exists()


def test_the_default_windows_need_more_rows_than_the_least(hall: Any) -> None:
    hall.scene.ingest(400, predict=False)
    with pytest.raises(DomainError, match="error windows of the policy need 900") as refusal:
        commissioning.pipeline_commission(actor=None, pipeline=hall.scene.pipeline)
    assert refusal.value.code == "too_few_rows"


def test_settings_change_live_or_are_fixed_by_what_was_measured(hall: Any, api: Any) -> None:
    from tests.governance import builders

    builders.commission(hall.scene, hall.safety_officer)
    client, path = api(hall.ot_engineer), f"/api/v1/pipelines/{hall.scene.pipeline.pk}/policy"
    shown = client.get(path).json()
    assert (shown["retraining"]["window"], shown["rule"], shown["commissioned"]) == (100, None, True)
    changed = client.patch(
        path, {"retraining": {"train_rows": 300}, "drift": {"limits": {"effect": 1.5}}}, format="json"
    )
    assert changed.status_code == 200, changed.content
    assert changed.json()["retraining"] == shown["retraining"] | {"train_rows": 300}
    assert changed.json()["drift"]["limits"]["effect"] == 1.5
    assert changed.json()["drift"]["window"] == 150
    pipeline = Pipeline.objects.get(pk=hall.scene.pipeline.pk)
    assert pipeline.policy_state["policy"]["config"]["train_rows"] == 300
    fixed = client.patch(path, {"retraining": {"window": 200}}, format="json")
    assert (fixed.status_code, list(errors(fixed))) == (400, ["window"])
    assert api(hall.executive).patch(path, {"drift": {}}, format="json").status_code == 403
    etag = client.get(f"/api/v1/pipelines/{pipeline.pk}")["ETag"]
    assert client.patch(path, {"drift": {"step": 90}}, format="json", HTTP_IF_MATCH=etag).status_code == 200
    assert client.patch(path, {"drift": {"step": 80}}, format="json", HTTP_IF_MATCH=etag).status_code == 412


# ---- pages ------------------------------------------------------------------------------------------------------------


def test_the_pages_lead_from_one_step_to_the_next(
    bare: Any, as_user: Any, django_capture_on_commit_callbacks: Any
) -> None:
    client = as_user(bare.data_scientist)
    panel = client.get(bare.ours.get_absolute_url())
    assert panel.status_code == 200
    address = f"{reverse('governance:model-create')}?use_case={bare.ours.pk}"
    shown = client.get(address).content.decode()
    assert "AT, Cel, -20 – 50 (Turbine PLC)" in shown
    assert 'value="NOX"' in shown
    answer = client.post(address, contract(bare, unit=""))
    assert answer.status_code == 302, answer.content.decode()[:3000]
    model = Model.objects.get()
    assert (model.unit, model.features) == ("mg/m3", ["AT", "AP"])
    page = client.get(model.get_absolute_url()).content.decode()
    assert "Until it runs" in page
    assert "Industrial Data Steward" in page

    client = as_user(bare.data_steward)
    page = client.get(model.get_absolute_url()).content.decode()
    create = reverse("governance:pipeline-create", args=[model.pk])
    assert create in page
    form = client.get(create)
    assert form.context["form"].initial["source"] == bare.scene.plc.pk
    body = {name: form.context["form"].initial.get(name, "") for name in form.context["form"].fields}
    body = {name: "" if value is None else value for name, value in body.items()} | SMALL | {"drift_window": 5}
    wrong = client.post(create, body)
    assert wrong.status_code == 400 or wrong.status_code == 422
    assert "From 100 to 100,000 rows." in wrong.content.decode()
    assert wrong.context["form"]["holdout"].value() == "50"
    answer = client.post(create, body | {"drift_window": 150, "drift_step": 100})
    assert answer.status_code == 302, answer.content.decode()[:3000]
    pipeline = Pipeline.objects.get()
    assert client.get(pipeline.get_absolute_url()).status_code == 200

    follow(bare, model, pipeline)
    bare.scene.ingest(400, predict=False)
    client = as_user(bare.data_scientist)
    commission = reverse("governance:pipeline-commission", args=[pipeline.pk])
    assert commission in client.get(model.get_absolute_url()).content.decode()
    assert "400" in client.get(commission).content.decode()
    missing = client.post(commission, {"method": "file"})
    assert missing.status_code == 400
    assert set(missing.context["form"].errors) == {"onnx", "trained_until"}
    with django_capture_on_commit_callbacks(execute=True):
        first = client.post(commission, {"method": "train"})
        second = client.post(commission, {"method": "train"})
    job = Job.objects.get(kind="commissioning")
    assert first.url == second.url == reverse("core:job", args=[job.pk])
    version = ModelVersion.objects.get()
    assert version.get_absolute_url() in client.get(first.url).content.decode()
    assert version.get_absolute_url() in client.get(model.get_absolute_url()).content.decode()
    assert "commissioned already" in client.post(commission, {"method": "train"}).content.decode()

    versions.version_sign(actor=bare.safety_officer, version=version)
    page = client.get(version.get_absolute_url()).content.decode()
    assert f"/rollouts/new/?version={version.pk}" in page.replace("&amp;", "&")
    versions.version_live(version=version)
    page = client.get(model.get_absolute_url()).content.decode()
    slo = f"{reverse('governance:slo-create')}?adoption={bare.scene.adoption.pk}"
    assert slo in page
    assert client.get(slo).context["form"].initial["adoption"] == str(bare.scene.adoption.pk)
    Slo.objects.create(adoption=bare.scene.adoption, kind="uptime", name="Uptime", target=0.99)
    assert "Until it runs" not in client.get(model.get_absolute_url()).content.decode()


def test_pages_are_for_the_roles_that_may(hall: Any, as_user: Any) -> None:
    model, pipeline = hall.scene.model, hall.scene.pipeline
    allowed = {
        reverse("governance:model-edit", args=[model.pk]): {"data_scientist", "integrator"},
        reverse("governance:pipeline-edit", args=[pipeline.pk]): {"ot_engineer", "data_steward", "integrator"},
        reverse("governance:pipeline-commission", args=[pipeline.pk]): {"ot_engineer", "data_scientist"},
        reverse("governance:pipeline-retrain", args=[pipeline.pk]): {"ot_engineer", "data_scientist"},
    }
    for role in ("ot_engineer", "data_scientist", "data_steward", "executive", "integrator"):
        client = as_user(getattr(hall, role))
        for url, roles in allowed.items():
            assert client.get(url).status_code == (200 if role in roles else 403), (role, url)
    client = as_user(hall.stranger)
    assert {client.get(url).status_code for url in allowed} == {404}


def test_a_stale_form_shows_both_versions(hall: Any, as_user: Any) -> None:
    client = as_user(hall.data_scientist)
    model = hall.scene.model
    url = reverse("governance:model-edit", args=[model.pk])
    setup.model_update(actor=None, model=model, data={"name": "By somebody else"})
    answer = client.post(url, {"name": "Mine", "version": "1"})
    assert answer.status_code == 412
    assert "By somebody else" in answer.content.decode()


def test_channels_whose_units_differ_cannot_be_one_input(hall: Any, as_user: Any) -> None:
    from tests.factories import make_channel, make_device

    make_channel(make_device(hall.home, "plc", code="plc-2"), "AT", unit="[degF]")
    answer = as_user(hall.data_scientist).post(reverse("governance:model-create"), contract(hall, code="second"))
    assert answer.status_code == 422
    assert "AT is measured in Cel / [degF]" in answer.content.decode()


def test_a_use_case_that_is_adopted_nowhere_is_adopted_first(bare: Any, as_user: Any) -> None:
    from tests.factories import make_use_case

    idea = make_use_case("idea")
    grant_role(bare.data_scientist, "data_scientist", idea)
    model = setup.model_create(actor=None, **contract(bare, use_case=idea))
    page = as_user(bare.data_scientist).get(model.get_absolute_url()).content.decode()
    assert reverse("usecases:adoption-create", args=[idea.pk]) in page
    assert as_user(bare.ot_engineer).get(model.get_absolute_url()).status_code == 404
