"""The resources of governance: what they answer, to whom, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from governance.models import Batch, Check, Incident, ModelVersion, Slo
from portal.core.models import AuditEntry

pytestmark = pytest.mark.django_db

NOUNS = (
    "models",
    "model-versions",
    "pipelines",
    "datasets",
    "batches",
    "checks",
    "check-results",
    "drift-reports",
    "slos",
    "alerts",
    "incidents",
    "retrainings",
)


@pytest.mark.parametrize("noun", NOUNS)
def test_lists_equal_details_and_are_cheap(plant: Any, api: Any, noun: str, django_assert_max_num_queries: Any) -> None:
    client = api(plant.data_scientist)
    with django_assert_max_num_queries(6):
        response = client.get(f"/api/v1/{noun}?page_size=3")
    assert response.status_code == 200
    rows = response.json()["results"]
    assert rows, noun
    one = client.get(f"/api/v1/{noun}/{rows[0]['id']}")
    assert one.json() == rows[0]
    assert client.get(f"/api/v1/{noun}/{rows[0]['id']}", HTTP_IF_NONE_MATCH=one["ETag"]).status_code == 304
    stranger = api(plant.stranger)
    assert stranger.get(f"/api/v1/{noun}").json()["results"] == []
    assert stranger.get(f"/api/v1/{noun}/{rows[0]['id']}").status_code == 404
    assert api().get(f"/api/v1/{noun}").status_code == 401
    csv = client.get(f"/api/v1/{noun}?format=csv")
    assert csv.status_code == 200


def test_filters(plant: Any, api: Any) -> None:
    client = api(plant.data_scientist)
    pipeline = plant.scene.pipeline.pk
    site = plant.home.pk

    def count(path: str) -> int:
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.content
        return len(answer.json()["results"])

    assert count(f"incidents?site={site}&pipeline={pipeline}&state=resolved") == 1
    assert count(f"incidents?site={site}&state=open") == 0
    assert count(f"check-results?pipeline={pipeline}&state=failed") == 2
    assert count(f"drift-reports?pipeline={pipeline}&kind=label&drifted=true") > 0
    assert (
        count(f"batches?pipeline={pipeline}&kind=label&plant_from=2013-10-01T00:00:00Z&plant_to=2013-10-02T00:00:00Z")
        > 0
    )
    assert count(f"batches?pipeline={pipeline}&plant_from=2099-01-01T00:00:00Z") == 0
    assert count("model-versions?state=live") == 1
    assert count(f"model-versions?pipeline={pipeline}") == len(plant.scene.live)
    assert client.get("/api/v1/incidents?state=nonsense").status_code == 400
    assert client.get("/api/v1/incidents?pipeline=nonsense").status_code == 400
    assert client.get("/api/v1/batches?ordering=sha256").status_code == 400


def test_lineage(plant: Any, api: Any) -> None:
    client = api(plant.data_scientist)
    batch = Batch.objects.filter(pipeline=plant.scene.pipeline, stage__kind="prediction").first()
    graph = client.get(f"/api/v1/batches/{batch.pk}/lineage").json()
    assert graph["complete"] is True
    assert {edge["target"] for edge in graph["edges"]} <= {node["id"] for node in graph["nodes"]}
    assert client.get(f"/api/v1/pipelines/{plant.scene.pipeline.pk}/lineage").json()["complete"] is True
    assert api(plant.stranger).get(f"/api/v1/batches/{batch.pk}/lineage").status_code == 404


def test_readings_and_predictions(plant: Any, api: Any) -> None:
    client = api(plant.data_scientist)
    pipeline = plant.scene.pipeline.pk
    whole = client.get(f"/api/v1/readings?pipeline={pipeline}&points=50").json()
    assert whole["rows"] == plant.scene.row
    assert whole["points"] == 50
    assert whole["downsampled"] is True
    by_name = {column["name"]: column for column in whole["columns"]}
    assert set(by_name) == {"AT", "AP", "NOX"}
    assert by_name["NOX"]["unit"] == "mg/m3"
    assert max(by_name["AT"]["high"]) == 900.0
    few = client.get(f"/api/v1/readings?pipeline={pipeline}&from=2013-09-02T00:00:00Z&to=2013-09-02T05:00:00Z").json()
    assert few["rows"] == 6
    assert few["downsampled"] is False
    assert few["plant_at"][0] == "2013-09-02T00:00:00.000Z"
    assert all(column["mean"] == column["low"] == column["high"] for column in few["columns"])
    said = client.get(f"/api/v1/predictions?pipeline={pipeline}&points=40").json()
    assert said["columns"][0]["name"] == "live"
    assert {c["version"] for c in said["columns"]} == {None, *(str(v.pk) for v in plant.scene.live)}
    none = client.get(f"/api/v1/readings?pipeline={pipeline}&from=2099-01-01T00:00:00Z").json()
    assert (none["rows"], none["points"], none["plant_at"]) == (0, 0, [])
    for query in (
        "",
        f"pipeline={pipeline}&points=0",
        f"pipeline={pipeline}&points=x",
        f"pipeline={pipeline}&from=gestern",
    ):
        assert client.get(f"/api/v1/readings?{query}").status_code == 400, query
    assert client.get("/api/v1/readings?pipeline=nonsense").status_code == 404
    assert api(plant.stranger).get(f"/api/v1/readings?pipeline={pipeline}").status_code == 404


def test_acknowledge_and_steps(plant: Any, api: Any) -> None:
    incident = Incident.objects.get(pipeline=plant.scene.pipeline)
    Incident.objects.filter(pk=incident.pk).update(state="open", live_at=None, resolved_at=None)
    path = f"/api/v1/incidents/{incident.pk}"
    assert api(plant.executive).post(f"{path}/acknowledge").status_code == 403
    assert api(plant.stranger).post(f"{path}/acknowledge").status_code == 404
    client = api(plant.ot_engineer)
    assert client.post(f"{path}/acknowledge", HTTP_IF_MATCH='"other"').status_code == 412
    taken = client.post(f"{path}/acknowledge", HTTP_IDEMPOTENCY_KEY="take-1")
    assert taken.status_code == 200
    assert taken.json()["acknowledged_by"] == str(plant.ot_engineer.pk)
    assert client.post(f"{path}/acknowledge", HTTP_IDEMPOTENCY_KEY="take-1").status_code == 200
    assert client.post(f"{path}/acknowledge").status_code == 409
    assert AuditEntry.objects.filter(action="incident.acknowledge").count() == 1
    steps = client.get(f"{path}/steps").json()["results"]
    assert [step["key"] for step in steps][:3] == ["began", "detected", "alerted"]
    assert steps[-1]["key"] == "acknowledged"


def test_slos(plant: Any, api: Any) -> None:
    client = api(plant.ot_engineer)
    slo = plant.scene.slos["alert_to_retrain"]
    status = client.get(f"/api/v1/slos/{slo.pk}/status").json()
    assert (status["counted"], status["used"], status["overdue"]) == (1.0, 0.0, 0)
    path = f"/api/v1/slos/{slo.pk}"
    etag = client.get(path)["ETag"]
    assert client.patch(path, {"target": 2}, format="json").status_code == 400
    same = {"ot_owner": str(plant.ot_engineer.pk), "ds_owner": str(plant.ot_engineer.pk)}
    assert client.patch(path, same, format="json").json()["errors"][0]["field"] == "ds_owner"
    good = {"ot_owner": str(plant.ot_engineer.pk), "ds_owner": str(plant.data_scientist.pk)}
    assert client.patch(path, good, format="json", HTTP_IF_MATCH=etag).status_code == 200
    assert client.patch(path, {"name": "x"}, format="json", HTTP_IF_MATCH=etag).status_code == 412
    assert api(plant.executive).patch(path, {"name": "x"}, format="json").status_code == 403
    assert api(plant.stranger).patch(path, {"name": "x"}, format="json").status_code == 404
    Slo.objects.filter(kind="uptime").delete()
    new = {"adoption": str(plant.scene.adoption.pk), "kind": "uptime", "name": "Uptime", "target": 0.99}
    assert client.post("/api/v1/slos", new, format="json").status_code == 201
    assert client.post("/api/v1/slos", new, format="json").status_code in {400, 409}
    assert api(plant.executive).post("/api/v1/slos", new, format="json").status_code == 403
    assert api(plant.stranger).post("/api/v1/slos", new, format="json").status_code == 400


def test_checks_can_be_changed(plant: Any, api: Any) -> None:
    check = Check.objects.get(stage__pipeline=plant.scene.pipeline, stage__kind="source", kind="range")
    client = api(plant.ot_engineer)
    path = f"/api/v1/checks/{check.pk}"
    wide = {"config": {"limits": {"AT": [-50, 1000]}}, "max_failed_share": 0.2}
    assert client.patch(path, wide, format="json").status_code == 200
    check.refresh_from_db()
    assert check.config == wide["config"]
    for bad in ({"limits": {"AT": [5, 1]}}, {"nonsense": 1}, {"limits": 3}, {"columns": "AT"}, {"period_s": -1}):
        assert client.patch(path, {"config": bad}, format="json").status_code == 400, bad
    assert client.patch(path, {"kind": "schema"}, format="json").json().get("kind", "range") == "range"
    assert api(plant.executive).patch(path, wide, format="json").status_code == 403


def test_signing_and_withdrawing(plant: Any, api: Any) -> None:
    version = ModelVersion.objects.get(model=plant.scene.model, state="live")
    ModelVersion.objects.filter(pk=version.pk).update(state="candidate", signature="")
    path = f"/api/v1/model-versions/{version.pk}"
    refused = api(plant.data_scientist).post(f"{path}/sign")
    assert refused.status_code == 403
    assert "Safety Officer" in refused.json()["detail"]
    signer = api(plant.safety_officer)
    assert signer.post(f"{path}/sign").json()["state"] == "approved"
    assert signer.post(f"{path}/sign").status_code == 409
    assert signer.post(f"{path}/withdraw", {}, format="json").status_code == 400
    assert signer.post(f"{path}/withdraw", {"reason": "Smells"}, format="json").json()["state"] == "withdrawn"
    assert api(plant.stranger).post(f"{path}/sign").status_code == 404
