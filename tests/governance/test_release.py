"""A repair in the hands of the real rollouts: the rollout carries incident and retraining, and tells both how it ended."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from edge_bridge import rollouts
from edge_bridge.models import Rollout
from governance.choices import IncidentState
from governance.models import Incident, Retraining
from governance.services import retraining, versions
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from tests.coe.builders import appoint, certify
from tests.edge_bridge.portal import make_plant, signed_version
from tests.factories import make_user

pytestmark = pytest.mark.django_db
NOW_MS = 1_400_000_000_000


@pytest.fixture
def repair(db: Any, tmp_path: Any, settings: Any) -> Any:
    """A challenger that won and waits for a signature, with the incident it is to repair."""
    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    plant = make_plant()
    live = signed_version(plant, state="live")
    challenger = signed_version(plant, bias=1.0, state="candidate")
    type(challenger).objects.filter(pk=challenger.pk).update(signature="", signed_at=None)
    now = wall_now()
    incident = Incident.objects.create(
        adoption=plant.adoption,
        pipeline=plant.pipeline,
        title="Error is rising",
        state=IncidentState.MITIGATING,
        began_plant_at=now,
        detected_plant_at=now,
        opened_at=now - timedelta(minutes=5),
    )
    row = Retraining.objects.create(
        pipeline=plant.pipeline,
        incident=incident,
        state="registering",
        due_row=100,
        incumbent=live,
        challenger=challenger,
        steps=[{"name": "sign", "started": now.isoformat(), "ended": None}],
    )
    officer = make_user("officer@plant.example", name="Officer")
    appoint(officer)
    certify(officer)
    challenger.refresh_from_db()
    return SimpleNamespace(plant=plant, live=live, challenger=challenger, incident=incident, row=row, officer=officer)


def sign(repair: Any) -> Rollout:
    versions.version_sign(actor=repair.officer, version=repair.challenger)
    repair.row.refresh_from_db()
    return Rollout.objects.get(version_of_model=repair.challenger)


def test_the_signature_starts_a_rollout_that_carries_incident_and_retraining(repair: Any) -> None:
    rollout = sign(repair)
    assert (rollout.incident, rollout.retraining) == (repair.incident, repair.row)
    assert rollout.started_by is None
    assert repair.row.state == "releasing"
    assert [step["name"] for step in repair.row.steps] == ["sign", "roll out"]
    assert repair.row.steps[0]["ended"] is not None
    told = repair.incident.steps.get(key="rollout")
    assert told.link == rollout.get_absolute_url()
    assert "is the canary, 1 to follow" in told.text
    assert [wave.targets.count() for wave in rollout.waves.order_by("position")] == [1, 1]


def test_its_end_tells_the_retraining_and_the_incident(repair: Any) -> None:
    rollout = sign(repair)
    rollouts.finish(rollout, from_ms=NOW_MS)
    for row in (repair.row, repair.incident, repair.challenger, repair.live):
        row.refresh_from_db()
    assert (repair.row.state, repair.challenger.state, repair.live.state) == ("live", "live", "superseded")
    assert repair.row.finished_at is not None
    assert repair.incident.live_at is not None
    assert repair.incident.steps.filter(key="live").count() == 1
    repair.plant.pipeline.refresh_from_db()
    newest = repair.plant.pipeline.policy_state["champions"][-1]
    assert newest == {"version": str(repair.challenger.pk), "from_ms": NOW_MS}


def test_a_roll_back_fails_the_retraining_and_says_so_on_the_incident(repair: Any) -> None:
    rollout = sign(repair)
    rollouts.roll_back(rollout, reason="the canary's error is twice the other's")
    for row in (repair.row, repair.incident, repair.live):
        row.refresh_from_db()
    assert (repair.row.state, repair.live.state) == ("failed", "live")
    assert "twice" in repair.row.error
    assert repair.incident.live_at is None
    assert {"rolled_back", "failed"} <= set(repair.incident.steps.values_list("key", flat=True))


def test_a_signature_that_nothing_waits_for_starts_no_rollout(repair: Any) -> None:
    Retraining.objects.all().delete()
    versions.version_sign(actor=repair.officer, version=repair.challenger)
    assert not Rollout.objects.exists()
    with pytest.raises(DomainError):
        versions.version_sign(actor=repair.officer, version=repair.challenger)


def test_an_unsigned_challenger_is_not_released(repair: Any) -> None:
    with pytest.raises(DomainError, match="Only a signed version"):
        retraining.retraining_release(actor=None, retraining=repair.row)
    repair.row.refresh_from_db()
    assert repair.row.state == "registering"


def test_the_way_to_the_first_rollout_is_the_rollouts_own_page(repair: Any) -> None:
    url = rollouts.EdgeRelease().start_url(version=repair.live, adoption=repair.plant.adoption)
    assert url == f"/rollouts/new/?version={repair.live.pk}&adoption={repair.plant.adoption.pk}"
