"""Two waves: canary, soak on the same rows, the rest; refused, worse, unreached and stopped rollouts go back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from edge_bridge import wire
from edge_bridge.choices import InstallationState, RolloutState, TargetState
from edge_bridge.desired import desired_state
from edge_bridge.ingest import messages_take
from edge_bridge.models import Installation, Rollout
from edge_bridge.progress import rollouts_advance
from edge_bridge.reported import reported_take
from edge_bridge.rollouts import rollout_start, rollout_stop, version_take_back
from edge_bridge.soak import compare
from governance.backends import release_backend
from governance.models import Pipeline
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from tests.edge_bridge.portal import Plant, inference, labels, make_plant, report, signed_version, telemetry

pytestmark = pytest.mark.django_db


class Feed:
    """Sends rows, predictions and labels as both gateways would."""

    def __init__(self, plant: Plant) -> None:
        self.plant, self.row, self.sequence = plant, 1, 1

    def rows(self, running: dict[Any, Any], *, count: int = 16, label: float = 50.0, shadow: Any = None) -> None:
        plant, row, n = self.plant, self.row, self.sequence
        for gateway, version in running.items():
            messages: list[tuple[str, Any]] = [("turbine/rows", telemetry(row, count))]
            for key, runs in ((plant.key(), version), (plant.key(shadow=True), shadow)):
                if runs is not None:
                    body = inference(key, runs, row, np.full(count, bias_of(runs)), sequence=n)
                    messages.append((f"turbine/inference/{key}", body))
            messages.append(("turbine/labels", labels(row, np.full(count, label))))
            data = [wire.seal(str(gateway.pk), stream, n, body, wall_ms=0) for stream, body in messages]
            acks = messages_take(gateway, data).acks
            assert {a.status for a in acks} == {"accepted"}, acks
        self.row += count
        self.sequence += 1


def bias_of(version: Any) -> float:
    return float(version.metrics["bias"])


def version_of(plant: Plant, bias: float, **extra: Any) -> Any:
    return signed_version(plant, bias=bias, metrics={"bias": bias}, **extra)


def live(plant: Plant, bias: float = 40.0) -> Any:
    """A first version, in force on every gateway."""
    version = version_of(plant, bias)
    rollout_start(actor=None, version=version, adoption=plant.adoption, fast_forward=True)
    return version


def step(rollout: Rollout) -> str:
    rollouts_advance()
    rollout.refresh_from_db()
    return rollout.state


def test_canary_soak_second_wave_live(plant: Plant) -> None:
    first, second = plant.gateways
    old, new = live(plant, 40.0), version_of(plant, 49.0)
    feed = Feed(plant)
    feed.rows({first: old, second: old})
    rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)
    assert rollout.previous == old
    assert rollout_start(actor=None, version=new, adoption=plant.adoption) == rollout  # asked again: the same
    assert [w.targets.count() for w in rollout.waves.all()] == [1, 1]
    record = rollout.waves.first().gate
    assert [d["included"] for d in record["devices"]] == [True, True]
    assert record["basis"]["by"] == "loop"
    assert desired_state(first)[0].installations[0].manifest.model_version == str(new.pk)
    assert desired_state(second)[0].installations[0].manifest.model_version == str(old.pk)
    assert step(rollout) == RolloutState.RUNNING
    reported_take(first, report(plant, first, new))
    assert step(rollout) == RolloutState.SOAKING
    feed.rows({first: new, second: old})
    assert step(rollout) == RolloutState.SOAKING  # 16 of 24 rows
    soak = rollout.waves.first().gate["soak"][0]
    assert (soak["rows"], soak["ok"]) == (16, None)
    feed.rows({first: new, second: old})
    assert step(rollout) == RolloutState.RUNNING
    soak = rollout.waves.first().gate["soak"][0]
    assert (soak["rows"], soak["ok"]) == (32, True)
    assert soak["new"] == pytest.approx(1.0)
    assert soak["old"] == pytest.approx(10.0)
    assert desired_state(second)[0].installations[0].manifest.model_version == str(new.pk)
    reported_take(second, report(plant, second, new))
    assert step(rollout) == RolloutState.RUNNING  # active, but no row of the second gateway was predicted by it yet
    feed.rows({first: new, second: new})
    assert step(rollout) == RolloutState.SUCCEEDED
    new.refresh_from_db()
    old.refresh_from_db()
    assert (new.state, old.state) == ("live", "superseded")
    champion = Pipeline.objects.get(pk=plant.pipeline.pk).policy_state["champions"][-1]
    assert champion["version"] == str(new.pk)
    last = Installation.objects.get(device=second, version_of_model=new)
    assert champion["from_ms"] == last.predicts_from_plant.timestamp() * 1000
    assert set(Installation.objects.filter(version_of_model=old).values_list("state", flat=True)) == {"replaced"}
    assert release_backend().live_version(adoption=plant.adoption, model=plant.model) == new
    assert rollouts_advance() == {}


def test_a_worse_canary_goes_back_and_nobody_else_gets_it(plant: Plant) -> None:
    first, second = plant.gateways
    old, new = live(plant, 49.0), version_of(plant, 40.0)
    feed = Feed(plant)
    feed.rows({first: old, second: old})
    rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)
    reported_take(first, report(plant, first, new))
    step(rollout)
    feed.rows({first: new, second: old}, count=32)
    assert step(rollout) == RolloutState.ROLLED_BACK
    assert "worse" in rollout.reason
    assert Installation.objects.get(device=first, version_of_model=new).state == InstallationState.ROLLED_BACK
    again = desired_state(first)[0].installations[0]
    assert again.manifest.model_version == str(old.pk)
    reported_take(first, report(plant, first, old))
    assert Installation.objects.get(device=first, version_of_model=old).state == InstallationState.ACTIVE
    assert not Installation.objects.filter(device=second, version_of_model=new).exists()
    assert [w.state for w in rollout.waves.all()] == ["failed", "pending"]


@pytest.mark.parametrize("code", ["signature_invalid", "artefact_hash", "golden_mismatch", "model_invalid"])
def test_a_gateway_that_refuses_is_heard_and_shown(plant: Plant, code: str) -> None:
    first = plant.gateways[0]
    old, new = live(plant), version_of(plant, 49.0)
    rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)
    refused = wire.InstallationReport(
        id=plant.key(),
        state="active",
        wanted=str(new.pk),
        running=str(old.pk),
        error=wire.ErrorReport(code=code, detail="not what was signed"),
    )
    reported_take(first, report(plant, first, installations=[refused]))
    assert step(rollout) == RolloutState.ROLLED_BACK
    row = Installation.objects.get(device=first, version_of_model=new)
    assert (row.state, row.reason) == (InstallationState.REFUSED, f"{code}: not what was signed")
    target = rollout.waves.first().targets.get()
    assert (target.state, target.reason) == (TargetState.REFUSED, row.reason)
    assert code in rollout.reason
    assert desired_state(first)[0].installations[0].manifest.model_version == str(old.pk)


def test_a_file_that_cannot_be_had_now_is_waited_for(plant: Plant) -> None:
    first = plant.gateways[0]
    rollout = rollout_start(actor=None, version=version_of(plant, 49.0), adoption=plant.adoption)
    waiting = wire.InstallationReport(
        id=plant.key(),
        state="failed",
        wanted=str(rollout.version_of_model_id),
        error=wire.ErrorReport(code="artefact_unavailable", detail="503"),
    )
    reported_take(first, report(plant, first, installations=[waiting]))
    assert step(rollout) == RolloutState.RUNNING
    Installation.objects.update(wanted_at=wall_now() - timedelta(minutes=11))
    assert step(rollout) == RolloutState.ROLLED_BACK
    assert rollout.waves.first().targets.get().state == TargetState.UNREACHED


def test_a_version_that_fails_at_work_takes_the_rollout_back(plant: Plant) -> None:
    first, second = plant.gateways
    old, new = live(plant, 40.0), version_of(plant, 49.0)
    feed = Feed(plant)
    feed.rows({first: old, second: old})
    rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)
    reported_take(first, report(plant, first, new))
    step(rollout)
    feed.rows({first: new, second: old}, count=32)
    assert step(rollout) == RolloutState.RUNNING
    gave_up = wire.InstallationReport(
        id=plant.key(),
        state="fallback",
        wanted=str(new.pk),
        running=str(old.pk),
        error=wire.ErrorReport(code="inference_failed", detail="three calls in a row"),
    )
    reported_take(first, report(plant, first, installations=[gave_up]))
    assert step(rollout) == RolloutState.ROLLED_BACK
    for gateway in plant.gateways:
        assert desired_state(gateway)[0].installations[0].manifest.model_version == str(old.pk)


def test_budgets_exclude_with_reasons_and_the_next_gateway_is_the_canary(plant: Plant) -> None:
    first, second = plant.gateways
    from tests.factories import make_device_type

    first.device_type = make_device_type("gateway", memory_kb=500, latency_budget_us=100)
    first.save()
    rollout = rollout_start(actor=None, version=version_of(plant, 49.0), adoption=plant.adoption)
    verdicts = {d["name"]: d for d in rollout.waves.first().gate["devices"]}
    assert not verdicts[first.name]["included"]
    assert verdicts[first.name]["reasons"] == [
        "needs 900 KiB of memory, the device has 500",
        "takes 120 µs a row, the device's budget is 100",
    ]
    assert rollout.waves.first().targets.get().device == second
    second.device_type = first.device_type
    second.save()
    with pytest.raises(DomainError) as refused:
        rollout_start(
            actor=None, version=version_of(plant, 49.0), adoption=make_plant("b", use_case=plant.use_case).adoption
        )
    assert refused.value.code == "rollout_open" or refused.value.code


def test_nobody_fits(plant: Plant) -> None:
    big = version_of(plant, 49.0, memory_kb=10_000_000)
    with pytest.raises(DomainError) as refused:
        rollout_start(actor=None, version=big, adoption=plant.adoption)
    assert refused.value.code == "nobody_fits"
    assert not Rollout.objects.exists()


def test_one_gateway_soaks_beside_the_version_in_force(plant: Plant) -> None:
    alone = make_plant("solo", gateways=1)
    (gateway,) = alone.gateways
    old, new = live(alone, 40.0), version_of(alone, 49.0)
    feed = Feed(alone)
    feed.rows({gateway: old})
    rollout = rollout_start(actor=None, version=new, adoption=alone.adoption)
    orders = {o.id: o for o in desired_state(gateway)[0].installations}
    assert orders[alone.key()].manifest.model_version == str(old.pk)
    assert orders[alone.key(shadow=True)].role == "shadow"
    both = [
        wire.InstallationReport(id=alone.key(), state="active", wanted=str(old.pk), running=str(old.pk)),
        wire.InstallationReport(id=alone.key(shadow=True), state="active", wanted=str(new.pk), running=str(new.pk)),
    ]
    reported_take(gateway, report(alone, gateway, installations=both))
    assert Installation.objects.get(version_of_model=old).state == InstallationState.ACTIVE
    assert step(rollout) == RolloutState.SOAKING
    feed.rows({gateway: old}, count=32, shadow=new)
    assert step(rollout) == RolloutState.RUNNING
    (order,) = desired_state(gateway)[0].installations
    assert (order.id, order.role, order.manifest.model_version) == (alone.key(), "active", str(new.pk))
    reported_take(gateway, report(alone, gateway, new))
    feed.rows({gateway: new})
    assert step(rollout) == RolloutState.SUCCEEDED
    assert Installation.objects.get(version_of_model=old).state == InstallationState.REPLACED


def test_a_first_version_has_nothing_to_be_compared_with(plant: Plant) -> None:
    first, second = plant.gateways
    version = version_of(plant, 49.0)
    rollout = rollout_start(actor=None, version=version, adoption=plant.adoption)
    reported_take(first, report(plant, first, version))
    assert step(rollout) == RolloutState.RUNNING
    reported_take(second, report(plant, second, version))
    Feed(plant).rows({first: version, second: version})
    assert step(rollout) == RolloutState.SUCCEEDED


def test_fast_forward_is_recorded_as_such(plant: Plant) -> None:
    version = live(plant)
    rollout = Rollout.objects.get()
    assert rollout.state == RolloutState.SUCCEEDED
    assert all(w.gate["fast_forwarded"] for w in rollout.waves.all())
    version.refresh_from_db()
    assert version.state == "live"
    # A gateway that connects later gets it.
    assert desired_state(plant.gateways[1])[0].installations[0].manifest.model_version == str(version.pk)


def test_stop_by_a_person(plant: Plant, cast: Any) -> None:
    old, new = live(plant), version_of(plant, 49.0)
    rollout = rollout_start(actor=None, version=new, adoption=plant.adoption)
    with pytest.raises(InvalidInput):
        rollout_stop(actor=cast.ot_engineer, rollout=rollout, reason=" ")
    rollout_stop(actor=cast.ot_engineer, rollout=rollout, reason="shift change")
    assert rollout.state == RolloutState.STOPPED
    assert desired_state(plant.gateways[0])[0].installations[0].manifest.model_version == str(old.pk)
    assert AuditEntry.objects.filter(action="rollout.stopped", actor=cast.ot_engineer).count() == 1
    with pytest.raises(DomainError) as refused:
        rollout_stop(actor=cast.ot_engineer, rollout=rollout, reason="again")
    assert refused.value.code == "wrong_state"


def test_only_signed_versions_and_only_those_who_may_sign(plant: Plant, cast: Any, monkeypatch: Any) -> None:
    from portal.core import signing
    from usecases.models import Gate

    monkeypatch.setattr(signing, "_rule", None)
    with pytest.raises(DomainError) as refused:
        rollout_start(actor=None, version=version_of(plant, 1.0, state="candidate"), adoption=plant.adoption)
    assert refused.value.code == "not_signed"
    version = version_of(plant, 2.0)
    with pytest.raises(DomainError) as refused:
        rollout_start(actor=cast.ot_engineer, version=version, adoption=plant.adoption)
    assert (refused.value.code, refused.value.status) == ("may_not_sign", 403)
    verdict = signing.SigningVerdict(True, "", "AI Safety Officer", {"certificate": "c-1"})
    monkeypatch.setattr(signing, "_rule", lambda **_kw: verdict)
    for number in (1, 2, 3, 4):
        adoption = None if number == 1 else plant.adoption
        gate = Gate.objects.create(use_case=plant.use_case, adoption=adoption, number=number, state="reopened")
        with pytest.raises(DomainError) as refused:
            rollout_start(actor=cast.ot_engineer, version=version, adoption=plant.adoption)
        assert refused.value.code == "gate_reopened"
        assert f"Gate {number}" in refused.value.message
        assert "until it is passed again" in refused.value.message
        Gate.objects.filter(pk=gate.pk).update(state="killed")
        with pytest.raises(DomainError) as refused:
            rollout_start(actor=cast.ot_engineer, version=version, adoption=plant.adoption)
        assert "killed" in refused.value.message
        assert "again" not in refused.value.message
        Gate.objects.filter(pk=gate.pk).update(state="passed")
    rollout = rollout_start(actor=cast.ot_engineer, version=version, adoption=plant.adoption)
    assert rollout.waves.first().gate["basis"]["certificate"] == "c-1"


def test_a_withdrawn_version_is_taken_back_everywhere(plant: Plant) -> None:
    first, second = plant.gateways
    old, new = live(plant, 40.0), version_of(plant, 49.0)
    rollout_start(actor=None, version=new, adoption=plant.adoption, fast_forward=True)
    new.state = "withdrawn"
    new.save()
    rollouts_advance()  # the schedule notices by itself
    for gateway in (first, second):
        assert desired_state(gateway)[0].installations[0].manifest.model_version == str(old.pk)
    assert version_take_back(new) == 0


def test_comparison_of_labelled_and_unlabelled_rows() -> None:
    label = np.arange(40.0)
    new, old = label + 1.0, label + 2.0
    result = compare(new, old, label, needed=24, ratio=1.1, unit="mg/m3")
    assert (result.ok, result.new, result.old) == (True, 1.0, 2.0)
    assert result.limit == pytest.approx(2.2)
    assert compare(old, new, label, needed=24, ratio=1.1).ok is False
    label[20:] = np.nan
    few = compare(new, old, label, needed=24, ratio=1.1)
    assert (few.ok, few.rows, few.rows_seen) == (None, 20, 40)
    scores = np.linspace(0, 1, 40)
    calm = compare(scores, scores, None, needed=24, ratio=1.1, thresholds=(0.9, 0.9))
    assert calm.ok is True
    assert calm.correlation == pytest.approx(1.0)
    loud = compare(scores, scores, None, needed=24, ratio=1.1, thresholds=(0.1, 0.9))
    assert loud.ok is False
    flat = compare(np.zeros(40), scores, None, needed=24, ratio=1.1, thresholds=(0.9, 0.9))
    assert flat.correlation is None
