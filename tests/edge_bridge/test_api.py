"""The API of gateways, installations, rollouts, waves and connections."""

from __future__ import annotations

from typing import Any

import pytest

from edge_bridge.connections import check_all
from edge_bridge.models import Installation, Rollout
from edge_bridge.rollouts import rollout_start
from portal.core import signing
from portal.core.models import AuditEntry
from tests.edge_bridge.portal import Plant, make_plant, signed_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def ours(cast: Any, plant: Plant) -> Plant:
    """A plant at the cast's own site and use case."""
    return make_plant("home-plant", site=cast.home, use_case=cast.ours)


@pytest.fixture
def may_sign(monkeypatch: Any) -> None:
    verdict = signing.SigningVerdict(True, "", "AI Safety Officer", {})
    monkeypatch.setattr(signing, "_rule", lambda **_kw: verdict)


NOUNS = ("gateways", "installations", "rollouts", "waves", "wave-targets")


def test_lists_show_own_sites_only_in_few_queries(
    ours: Plant, plant: Plant, cast: Any, api: Any, django_assert_max_num_queries: Any
) -> None:
    rollout_start(actor=None, version=signed_version(ours), adoption=ours.adoption)
    rollout_start(actor=None, version=signed_version(plant), adoption=plant.adoption)
    counts = {"gateways": 2, "installations": 1, "rollouts": 1, "waves": 2, "wave-targets": 2}
    for noun in NOUNS:
        with django_assert_max_num_queries(6):
            answer = api(cast.ot_engineer).get(f"/api/v1/{noun}")
        assert answer.status_code == 200, (noun, answer.content)
        assert len(answer.json()["results"]) == counts[noun], noun
        assert api(cast.stranger).get(f"/api/v1/{noun}").json()["results"] == []
        assert api().get(f"/api/v1/{noun}").status_code == 401
        one = answer.json()["results"][0]["id"]
        assert api(cast.ot_engineer).get(f"/api/v1/{noun}/{one}").json() == answer.json()["results"][0]
        assert api(cast.stranger).get(f"/api/v1/{noun}/{one}").status_code == 404


def test_filters(ours: Plant, cast: Any, api: Any) -> None:
    rollout = rollout_start(actor=None, version=signed_version(ours), adoption=ours.adoption)
    client = api(cast.ot_engineer)
    assert len(client.get("/api/v1/rollouts?state=running").json()["results"]) == 1
    assert client.get("/api/v1/rollouts?state=stopped").json()["results"] == []
    assert client.get("/api/v1/rollouts?state=nonsense").status_code == 400
    assert len(client.get(f"/api/v1/waves?rollout={rollout.pk}").json()["results"]) == 2
    assert len(client.get(f"/api/v1/installations?device={ours.gateways[0].pk}").json()["results"]) == 1
    assert len(client.get("/api/v1/gateways?connectivity=never").json()["results"]) == 2


def test_start_and_stop_a_rollout(ours: Plant, cast: Any, api: Any, may_sign: None) -> None:
    version = signed_version(ours)
    body = {"version_of_model": str(version.pk), "adoption": str(ours.adoption.pk), "soak_rows": 48}
    made = api(cast.ot_engineer).post("/api/v1/rollouts", body)
    assert made.status_code == 201, made.content
    assert made.json()["soak_rows"] == 48
    assert made.json()["state"] == "running"
    assert made["Location"].endswith(made.json()["id"])
    assert Installation.objects.get().device == ours.gateways[0]
    assert AuditEntry.objects.get(action="rollout.start").actor == cast.ot_engineer
    again = api(cast.ot_engineer).post("/api/v1/rollouts", body)
    assert again.json()["id"] == made.json()["id"]
    address = f"/api/v1/rollouts/{made.json()['id']}/stop"
    assert api(cast.ot_engineer).post(address, {}).json()["errors"][0]["field"] == "reason"
    stale = api(cast.ot_engineer).post(address, {"reason": "x"}, headers={"If-Match": '"000000000000-99"'})
    assert stale.status_code == 412
    assert api(cast.plant_manager).post(address, {"reason": "x"}).status_code == 403
    assert api(cast.stranger).post(address, {"reason": "x"}).status_code == 404
    stopped = api(cast.ot_engineer).post(address, {"reason": "shift change"})
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    over = api(cast.ot_engineer).post(address, {"reason": "again"})
    assert (over.status_code, over.json()["code"]) == (409, "wrong_state")


def test_who_may_start_and_what_is_refused(ours: Plant, plant: Plant, cast: Any, api: Any, may_sign: None) -> None:
    version, unsigned = signed_version(ours), signed_version(ours, state="candidate")
    body = {"version_of_model": str(version.pk), "adoption": str(ours.adoption.pk)}
    assert api(cast.plant_manager).post("/api/v1/rollouts", body).status_code == 403
    unseen = api(cast.stranger).post("/api/v1/rollouts", body)
    assert unseen.status_code == 400
    refused = api(cast.ot_engineer).post("/api/v1/rollouts", body | {"version_of_model": str(unsigned.pk)})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_signed")
    for wrong in (
        {"soak_rows": 0},
        {"soak_rows": "many"},
        {"worst_error_ratio": 99},
        {"colour": "red"},
        {"adoption": "x"},
    ):
        answer = api(cast.ot_engineer).post("/api/v1/rollouts", body | wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["errors"][0]["field"] == next(iter(wrong))
    assert not Rollout.objects.exists()


def test_connections_after_a_look(plant: Plant, cast: Any, api: Any, settings: Any, tmp_path: Any) -> None:
    settings.MLFLOW_TRACKING_URI = f"sqlite:///{tmp_path}/mlflow.sqlite3"
    settings.MLFLOW_ARTEFACT_ROOT = str(tmp_path / "artefacts")
    settings.MQTT_URL = "mqtt://bridge:hush@127.0.0.1:1"
    found = check_all()
    assert found["lake"] is True
    assert found["mqtt"] is False
    rows = {r["kind"]: r for r in api(cast.ot_engineer).get("/api/v1/connections").json()["results"]}
    assert rows["mqtt"]["target"] == "mqtt://127.0.0.1:1"  # never the password
    assert "hush" not in str(rows)
    etag = api(cast.ot_engineer).get(f"/api/v1/connections/{rows['mqtt']['id']}")["ETag"]
    check_all()
    assert api(cast.ot_engineer).get(f"/api/v1/connections/{rows['mqtt']['id']}")["ETag"] != etag
