"""Pages on rows made by the real code: who may see them, what they say, how many queries they cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from governance.models import (
    Batch,
    Check,
    DriftReport,
    Incident,
    ModelVersion,
    Retraining,
    Slo,
)
from portal.core.models import AuditEntry

pytestmark = pytest.mark.django_db

LISTS = ("trust", "models", "pipelines", "batches", "checks", "drift", "slos", "incidents")


def detail_urls(plant: Any) -> dict[str, str]:
    scene = plant.scene
    incident = Incident.objects.get(pipeline=scene.pipeline)
    report = DriftReport.objects.filter(pipeline=scene.pipeline, kind="feature").first()
    concept = DriftReport.objects.filter(pipeline=scene.pipeline, kind="concept").first()
    batch = Batch.objects.filter(pipeline=scene.pipeline, stage__kind="prediction").first()
    check = Check.objects.filter(stage__pipeline=scene.pipeline, kind="range").first()
    version = ModelVersion.objects.filter(model=scene.model, state="live").get()
    return {
        "model": scene.model.get_absolute_url(),
        "version": version.get_absolute_url(),
        "pipeline": scene.pipeline.get_absolute_url(),
        "pipeline lineage": reverse("governance:pipeline-lineage", args=[scene.pipeline.pk]),
        "batch": batch.get_absolute_url(),
        "batch lineage": reverse("governance:batch-lineage", args=[batch.pk]),
        "check": check.get_absolute_url(),
        "drift report": report.get_absolute_url(),
        "concept report": concept.get_absolute_url(),
        "distribution": reverse("governance:drift-distribution", args=[report.pk]) + "?feature=AT",
        "uptime": scene.slos["uptime"].get_absolute_url(),
        "alert to retrain": scene.slos["alert_to_retrain"].get_absolute_url(),
        "incident": incident.get_absolute_url(),
        "incident live": reverse("governance:incident-live", args=[incident.pk]),
        "incident error": reverse("governance:incident-error", args=[incident.pk]),
        "retraining": Retraining.objects.filter(incident=incident).first().get_absolute_url(),
    }


@pytest.mark.parametrize("name", LISTS)
def test_lists_stay_within_their_queries(
    plant: Any, as_user: Any, name: str, django_assert_max_num_queries: Any
) -> None:
    client = as_user(plant.data_scientist)
    client.get(reverse(f"governance:{name}"))
    with django_assert_max_num_queries(12):
        response = client.get(reverse(f"governance:{name}"))
    assert response.status_code == 200
    partial = client.get(reverse(f"governance:{name}"), HTTP_HX_REQUEST="true")
    assert partial.status_code == 200


def test_strangers_see_empty_lists(plant: Any, as_user: Any) -> None:
    client = as_user(plant.stranger)
    for name in LISTS:
        response = client.get(reverse(f"governance:{name}"))
        assert response.status_code == 200
        assert "NOx" not in response.content.decode()


def test_details_open_for_those_who_may_and_not_for_strangers(plant: Any, as_user: Any) -> None:
    urls = detail_urls(plant)
    client = as_user(plant.plant_manager)
    for name, url in urls.items():
        assert client.get(url).status_code == 200, name
    client = as_user(plant.stranger)
    for name, url in urls.items():
        assert client.get(url).status_code == 404, name


def test_details_stay_within_their_queries(plant: Any, as_user: Any, django_assert_max_num_queries: Any) -> None:
    client = as_user(plant.ot_engineer)
    for name, url in detail_urls(plant).items():
        client.get(url)
        with django_assert_max_num_queries(12):
            assert client.get(url).status_code == 200, name


def test_exports(plant: Any, as_user: Any) -> None:
    client = as_user(plant.ot_engineer)
    for name in LISTS[1:]:
        response = client.get(reverse(f"governance:{name}"), {"export": "csv"})
        text = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200
        assert len(text.splitlines()) > 1, name


def test_the_incident_page_tells_the_whole_story(plant: Any, as_user: Any) -> None:
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    html = as_user(plant.ot_engineer).get(incident.get_absolute_url()).content.decode()
    for words in (
        "From first sign to repaired",
        "Began",
        "Detected",
        "Alerted",
        "New version live",
        "Recovered",
        "Old and new side by side",
        "Typical error",
        "It beats the incumbent",
        "standing approval",
        "plant time",
        "wall time",
        "What happened, step by step",
    ):
        assert words in html, words


def test_the_live_part_answers_304_until_something_changes(plant: Any, as_user: Any) -> None:
    client = as_user(plant.ot_engineer)
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    url = reverse("governance:incident-live", args=[incident.pk])
    first = client.get(url)
    etag = first["ETag"]
    assert (
        f'data-poll-etag="{etag}"'.replace('"', "&quot;")
        or etag in client.get(incident.get_absolute_url()).content.decode()
    )
    assert client.get(url, HTTP_IF_NONE_MATCH=etag).status_code == 304
    Incident.objects.filter(pk=incident.pk).update(cause="Something else")
    again = client.get(url, HTTP_IF_NONE_MATCH=etag)
    assert again.status_code == 200
    assert again["ETag"] != etag
    assert "Something else" in again.content.decode()


def test_fast_forwarded_incidents_say_whose_clock_it_was(plant: Any, as_user: Any) -> None:
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    Incident.objects.filter(pk=incident.pk).update(fast_forwarded=True)
    html = as_user(plant.executive).get(incident.get_absolute_url()).content.decode()
    assert "are of the replay" in html


def test_refused_challengers_are_shown_with_their_reason(plant: Any, as_user: Any) -> None:
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    run = Retraining.objects.filter(incident=incident).first()
    Retraining.objects.filter(pk=run.pk).update(state="refused", comparison=run.comparison | {"verdict": "refused"})
    html = as_user(plant.executive).get(incident.get_absolute_url()).content.decode()
    assert "does not beat the incumbent" in html


def test_taking_an_incident(plant: Any, as_user: Any) -> None:
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    Incident.objects.filter(pk=incident.pk).update(state="open", resolved_at=None, resolved_plant_at=None, live_at=None)
    url = reverse("governance:incident-acknowledge", args=[incident.pk])
    page = as_user(plant.ot_engineer).get(incident.get_absolute_url()).content.decode()
    assert "I have it" in page
    assert "data-stopwatch" in page
    assert as_user(plant.executive).post(url).status_code == 403
    assert as_user(plant.stranger).post(url).status_code == 404
    assert as_user(plant.ot_engineer).post(url).status_code == 302
    incident.refresh_from_db()
    assert incident.acknowledged_by == plant.ot_engineer
    assert AuditEntry.objects.filter(action="incident.acknowledge", object_id=str(incident.pk)).count() == 1
    assert as_user(plant.ot_engineer).post(url).status_code == 409


def test_trust_says_it_plainly(plant: Any, as_user: Any) -> None:
    html = as_user(plant.data_scientist).get(reverse("governance:trust")).content.decode()
    assert "Behaves differently since" in html
    assert "Look at the check" in html
    assert "No minute has been measured yet" in html
    assert "1 of 1 repairs within 2 h" in html
    assert "Replay of real data" in html


def test_a_batch_leads_back_to_its_channels(plant: Any, as_user: Any) -> None:
    batch = Batch.objects.filter(pipeline=plant.scene.pipeline, stage__kind="prediction").first()
    client = as_user(plant.data_scientist)
    assert "Lineage complete" in client.get(batch.get_absolute_url()).content.decode()
    graph = client.get(reverse("governance:batch-lineage", args=[batch.pk])).json()
    kinds = [node["kind"] for node in graph["nodes"]]
    assert kinds.count("batch") == 4
    assert {"channel", "batch", "model_version"} == set(kinds)
    source = Batch.objects.get(outputs__outputs__outputs=batch)
    down = client.get(reverse("governance:batch-lineage", args=[source.pk])).json()
    assert sum(node["kind"] == "batch" for node in down["nodes"]) == 4


def test_a_check_says_what_failed_and_can_be_changed(plant: Any, as_user: Any) -> None:
    check = Check.objects.get(stage__pipeline=plant.scene.pipeline, stage__kind="source", kind="range")
    client = as_user(plant.ot_engineer)
    assert "AT = 900 is outside -20 to 50" in client.get(check.get_absolute_url()).content.decode()
    url = reverse("governance:check-edit", args=[check.pk])
    good = {"name": check.name, "enabled": "on", "max_failed_share": "0.1", "version": check.version}
    bad = client.post(url, good | {"limits": "AT 50 -20"})
    assert bad.status_code == 422
    assert "the lowest must be below the highest" in bad.content.decode()
    assert "AT 50 -20" in bad.content.decode()
    assert client.post(url, good | {"limits": "AT -20 1000\nAP 900 1100"}).status_code == 302
    check.refresh_from_db()
    assert check.config == {"limits": {"AT": [-20.0, 1000.0], "AP": [900.0, 1100.0]}}
    assert check.max_failed_share == 0.1
    assert AuditEntry.objects.filter(action="check.update", object_id=str(check.pk)).exists()
    assert client.post(url, good | {"limits": ""}).status_code == 412
    assert as_user(plant.executive).get(url).status_code == 403
    assert as_user(plant.stranger).get(url).status_code == 404


def test_slos_are_set_and_changed_by_those_who_operate(plant: Any, as_user: Any) -> None:
    slo = plant.scene.slos["alert_to_retrain"]
    url = reverse("governance:slo-edit", args=[slo.pk])
    client = as_user(plant.ot_engineer)
    good = {
        "name": "Alert to repair",
        "target": "0.9",
        "limit_seconds": "3600",
        "window_days": "60",
        "minimum_events": "2",
        "ot_owner": plant.ot_engineer.pk,
        "ds_owner": plant.data_scientist.pk,
        "version": slo.version,
    }
    same = client.post(url, good | {"ds_owner": plant.ot_engineer.pk})
    assert same.status_code == 422
    assert "Two owners are two people" in same.content.decode()
    assert client.post(url, good).status_code == 302
    slo.refresh_from_db()
    assert (slo.limit_seconds, slo.ds_owner) == (3600, plant.data_scientist)
    assert as_user(plant.plant_manager).get(url).status_code == 403
    create = reverse("governance:slo-create")
    new = {**good, "adoption": plant.scene.adoption.pk, "kind": "uptime"}
    taken = as_user(plant.ot_engineer).post(create, new)
    assert taken.status_code in {400, 409, 422}
    Slo.objects.filter(adoption=plant.scene.adoption, kind="uptime").delete()
    assert as_user(plant.ot_engineer).post(create, new).status_code == 302
    assert AuditEntry.objects.filter(action="slo.create").exists()


def test_versions_are_signed_by_those_who_may(plant: Any, as_user: Any) -> None:
    version = ModelVersion.objects.get(model=plant.scene.model, state="live")
    page = as_user(plant.executive).get(version.get_absolute_url()).content.decode()
    assert "names this file and this version" in page
    assert "Ed25519, made with this portal" in page
    assert "Only an AI Safety Officer" in page
    ModelVersion.objects.filter(pk=version.pk).update(state="candidate", signature="", signed_by=None)
    sign = reverse("governance:version-sign", args=[version.pk])
    assert as_user(plant.executive).post(sign).status_code == 403
    assert as_user(plant.safety_officer).post(sign).status_code == 302
    version.refresh_from_db()
    assert version.state == "approved"
    assert version.signature
    withdraw = reverse("governance:version-withdraw", args=[version.pk])
    assert as_user(plant.safety_officer).post(withdraw, {"reason": ""}).status_code == 422
    assert as_user(plant.executive).post(withdraw, {"reason": "x"}).status_code == 403
    assert as_user(plant.safety_officer).post(withdraw, {"reason": "Smells"}).status_code == 302
    version.refresh_from_db()
    assert version.state == "withdrawn"


def test_a_status_column_knows_the_stored_state(plant: Any, as_user: Any) -> None:
    html = as_user(plant.executive).get(plant.scene.model.get_absolute_url()).content.decode()
    assert "pg-status-ok" in html.split('id="versions-title"')[1].split("</section>")[0]
    html = as_user(plant.executive).get(reverse("governance:incidents")).content.decode()
    assert "pg-status-ok" in html.split('id="table"')[1]


def test_a_tampered_package_is_seen(plant: Any, as_user: Any) -> None:
    version = ModelVersion.objects.get(model=plant.scene.model, state="live")
    ModelVersion.objects.filter(pk=version.pk).update(manifest=version.manifest.replace("NOX", "SOX"))
    assert "does not fit the manifest" in as_user(plant.executive).get(version.get_absolute_url()).content.decode()


def test_the_mark_is_the_one_that_is_signed() -> None:
    from governance.modelling import package
    from governance.selectors.models import MANIFEST_MARK

    assert MANIFEST_MARK == package.MANIFEST_MARK


def test_the_file_can_be_downloaded_by_those_who_see_the_model(plant: Any, as_user: Any) -> None:
    import hashlib

    version = ModelVersion.objects.get(model=plant.scene.model, state="live")
    url = reverse("governance:version-file", args=[version.pk])
    response = as_user(plant.data_scientist).get(url)
    assert hashlib.sha256(response.content).hexdigest() == version.sha256
    assert as_user(plant.stranger).get(url).status_code == 404


def test_standing_approval(plant: Any, as_user: Any) -> None:
    model = plant.scene.model
    url = reverse("governance:model-approve", args=[model.pk])
    assert as_user(plant.executive).post(url, {"until": "2099-01-01T00:00"}).status_code in {400, 403}
    far = as_user(plant.safety_officer).post(url, {"until": "2099-01-01T00:00"})
    assert far.status_code == 400
    assert "within the next 180 days" in far.content.decode()
    revoke = reverse("governance:model-approval-revoke", args=[model.pk])
    assert as_user(plant.executive).post(revoke).status_code == 403
    assert as_user(plant.safety_officer).post(revoke).status_code == 302
    model.refresh_from_db()
    assert model.standing_approval_by is None
    plant.scene.model.refresh_from_db()


def test_panels_of_lower_apps(plant: Any) -> None:
    from governance import panels

    card = panels.adoption_panel(plant.executive, plant.scene.adoption)
    assert card is not None
    assert len(card["slos"]) == 2
    assert panels.use_case_panel(plant.executive, plant.ours)["models"][0]["quality"].startswith("typically off")
    assert panels.device_panel(plant.executive, plant.scene.gateway)["batches"][0].failed
    assert panels.device_panel(plant.stranger, plant.scene.gateway) is None
    assert panels.adoption_panel(plant.stranger, plant.scene.adoption) is None


def test_unknown_feature_has_no_distribution(plant: Any, as_user: Any) -> None:
    report = DriftReport.objects.filter(pipeline=plant.scene.pipeline, kind="feature").first()
    url = reverse("governance:drift-distribution", args=[report.pk])
    assert as_user(plant.executive).get(url, {"feature": "nope"}).status_code == 404
    figure = as_user(plant.executive).get(url, {"feature": "AP"}).json()
    assert [trace["name"] for trace in figure["data"]] == ["Reference", "This window"]
    assert all(abs(sum(trace["y"]) - 100) < 0.1 for trace in figure["data"])
