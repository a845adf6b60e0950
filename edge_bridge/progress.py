"""Carrying rollouts on: canary installed -> watched -> second wave -> live, or back. One pass may run at any time, any number of times."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from devices.models import Device, PlantClock
from devices.plant_time import plant_now
from edge_bridge.choices import InstallationState, RolloutState, TargetState, WaveState
from edge_bridge.models import Installation, Rollout, Wave, WaveTarget
from edge_bridge.rollouts import (
    OPEN,
    UNREACHED_AFTER,
    finish,
    installation_want,
    pipelines_of,
    roll_back,
    version_take_back,
)
from edge_bridge.selectors import IN_FORCE
from edge_bridge.soak import Comparison, soak
from edge_bridge.touch import touch
from governance.choices import VersionState
from governance.models import ModelVersion
from governance.services import incidents
from portal.core import audit
from portal.core.clock import rfc3339, wall_now
from portal.core.errors import DomainError

log = structlog.get_logger(__name__)
# A version that is active but has nothing to predict (a paused plant) counts as predicting from now on after this wall time.
QUIET_AFTER = timedelta(seconds=60)
_ENDED = {
    InstallationState.REFUSED: TargetState.REFUSED,
    InstallationState.ROLLED_BACK: TargetState.FAILED,
    InstallationState.REPLACED: TargetState.FAILED,
}


def rollouts_advance() -> dict[str, str]:
    """Carry every open rollout on; returns what became of each. One that cannot go on does not hold up the others."""
    done = {}
    withdrawn = Installation.objects.filter(state__in=IN_FORCE, version_of_model__state=VersionState.WITHDRAWN)
    for version in ModelVersion.objects.filter(pk__in=withdrawn.values("version_of_model")).select_related("model"):
        version_take_back(version)
    for pk in list(Rollout.objects.filter(state__in=OPEN).order_by("created_at").values_list("pk", flat=True)):
        try:
            done[str(pk)] = rollout_advance(pk)
        except DomainError as error:
            log.warning("rollout.refused", rollout=str(pk), code=error.code, message=error.message)
            done[str(pk)] = error.code
    return done


def rollout_advance(pk: Any) -> str:
    """One step of one rollout; returns its state. The rows are compared first, so that no lock is held meanwhile."""
    figures = _figures(pk)
    with transaction.atomic():
        return _advance(pk, figures)


def _open(pk: Any, *, lock: bool = False) -> Rollout:
    rows = Rollout.objects.select_for_update(of=("self",)) if lock else Rollout.objects
    return rows.select_related(
        "adoption__site", "version_of_model__model", "previous", "incident", "retraining__pipeline"
    ).get(pk=pk)


def _figures(pk: Any) -> list[Comparison] | None:
    rollout = _open(pk)
    if rollout.state not in OPEN or rollout.previous is None:
        return None
    canary = Installation.objects.filter(
        rollout=rollout,
        state=InstallationState.ACTIVE,
        device__wave_targets__wave__in=rollout.waves.filter(
            position=1, state__in=[WaveState.RUNNING, WaveState.SOAKING]
        ),
    ).first()
    return compare_all(rollout, canary) if canary is not None else None


def _advance(pk: Any, figures: list[Comparison] | None) -> str:
    rollout = _open(pk, lock=True)
    if rollout.state not in OPEN:
        return rollout.state
    wave = rollout.waves.filter(state__in=[WaveState.RUNNING, WaveState.SOAKING]).order_by("position").first()
    if wave is None:
        return rollout.state
    _targets(rollout, wave)
    # A gateway of an earlier wave that gave the version up counts as well.
    if rollout.state in OPEN:
        _earlier(rollout, wave)
    if rollout.state in OPEN and not wave.targets.exclude(state=TargetState.SUCCEEDED).exists():
        if wave.position == 1:
            _canary(rollout, wave, figures)
        else:
            _wave_passed(rollout, wave, {})
    return rollout.state


def _rows(rollout: Rollout) -> dict[Any, Installation]:
    return {row.device_id: row for row in Installation.objects.filter(rollout=rollout).select_related("device__site")}


def _targets(rollout: Rollout, wave: Wave) -> None:
    """Take over from the installations what became of each target of the wave."""
    now = wall_now()
    rows = _rows(rollout)
    for target in wave.targets.select_related("device__site"):
        row = rows.get(target.device_id)
        if row is None:
            continue
        if row.state == InstallationState.ACTIVE:
            _target(target, TargetState.SUCCEEDED, "")
        elif row.state in _ENDED:
            _target(target, _ENDED[InstallationState(row.state)], row.reason)
            roll_back(rollout, reason=f"{target.device}: {row.reason or row.get_state_display()}")
            return
        elif now - row.wanted_at > UNREACHED_AFTER:
            reason = f"not active {int(UNREACHED_AFTER.total_seconds() // 60)} minutes after it was wanted"
            _target(target, TargetState.UNREACHED, reason)
            roll_back(rollout, reason=f"{target.device}: {reason}")
            return


def _target(target: WaveTarget, state: str, reason: str) -> None:
    if target.state != state:
        WaveTarget.objects.filter(pk=target.pk).update(state=state, reason=reason[:300], **touch(wall_now()))
        target.state = state


def _earlier(rollout: Rollout, wave: Wave) -> None:
    ids = WaveTarget.objects.filter(wave__rollout=rollout, wave__position__lt=wave.position).values("device_id")
    bad = (
        Installation.objects.filter(rollout=rollout, device__in=ids, state__in=list(_ENDED))
        .select_related("device")
        .first()
    )
    if bad is not None:
        WaveTarget.objects.filter(wave__rollout=rollout, device=bad.device).update(
            state=_ENDED[InstallationState(bad.state)], reason=bad.reason, **touch(wall_now())
        )
        roll_back(rollout, reason=f"{bad.device}: {bad.reason or bad.get_state_display()}")


def _canary(rollout: Rollout, wave: Wave, figures: list[Comparison] | None) -> None:
    """The canary runs: watch it, and pass or fail the wave."""
    row = Installation.objects.filter(rollout=rollout, device__in=wave.targets.values("device_id")).first()
    if row is None:
        return
    if wave.state == WaveState.RUNNING:
        now = wall_now()
        Wave.objects.filter(pk=wave.pk, state=WaveState.RUNNING).update(state=WaveState.SOAKING, **touch(now))
        wave.state = WaveState.SOAKING
        Rollout.objects.filter(pk=rollout.pk).update(state=RolloutState.SOAKING, **touch(now))
        rollout.state = RolloutState.SOAKING
        audit.record(actor=None, action="rollout.soak", obj=rollout, changes={"canary": str(row.device)})
        _tell(rollout, "canary", f"Canary: version {rollout.version_of_model.number} runs on {row.device}")
    if rollout.previous is None:
        _wave_passed(rollout, wave, {"text": "Nothing ran before: there is nothing to compare with."})
        return
    if figures is None:
        return
    wave.gate = wave.gate | {"soak": [f.as_dict() for f in figures], "soak_at": rfc3339(wall_now())}
    Wave.objects.filter(pk=wave.pk).update(gate=wave.gate)
    bad = next((f for f in figures if f.ok is False), None)
    if bad is not None:
        roll_back(rollout, reason=f"The canary is worse. {bad.text}")
    elif figures and all(f.ok for f in figures):
        _tell(rollout, "soaked", f"Watched on {figures[0].rows} rows. {figures[0].text}", soak=figures[0].as_dict())
        _wave_passed(rollout, wave, {})


def compare_all(rollout: Rollout, row: Installation) -> list[Comparison]:
    """One comparison per pipeline of the rollout's model."""
    assert rollout.previous is not None
    return [
        soak(
            pipeline,
            new=rollout.version_of_model,
            old=rollout.previous,
            since=row.predicts_from_plant,
            needed=rollout.soak_rows,
            ratio=rollout.worst_error_ratio,
        )
        for pipeline in pipelines_of(rollout)
    ]


def _wave_passed(rollout: Rollout, wave: Wave, extra: dict[str, Any]) -> None:
    following = rollout.waves.filter(state=WaveState.PENDING).order_by("position").first()
    from_ms = None
    if following is None:
        from_ms = _predicts_from(rollout)
        if from_ms is None:
            return
    now = wall_now()
    wave.gate = wave.gate | extra | {"passed_at": rfc3339(now)}
    Wave.objects.filter(pk=wave.pk).update(state=WaveState.PASSED, finished_at=now, gate=wave.gate, **touch(now))
    audit.record(actor=None, action="wave.pass", obj=rollout, changes={"wave": wave.name})
    if following is None:
        assert from_ms is not None
        finish(rollout, from_ms=from_ms)
        return
    Wave.objects.filter(pk=following.pk).update(state=WaveState.RUNNING, started_at=now, **touch(now))
    Rollout.objects.filter(pk=rollout.pk).update(state=RolloutState.RUNNING, **touch(now))
    rollout.state = RolloutState.RUNNING
    devices = list(
        Device.objects.filter(wave_targets__wave=following).select_related("site", "device_type").order_by("code")
    )
    for device in devices:
        installation_want(rollout, device)
    names = ", ".join(str(device) for device in devices)
    _tell(rollout, "second wave", f"Second wave: version {rollout.version_of_model.number} goes to {names}")


def _predicts_from(rollout: Rollout) -> int | None:
    """Plant time in ms from which every gateway predicts with the version; None while one of them has not begun."""
    newest = 0
    for row in _rows(rollout).values():
        at: datetime | None = row.predicts_from_plant
        if at is None:
            if row.active_at is None or (wall_now() - row.active_at < QUIET_AFTER and _running(row.device)):
                return None
            at = plant_now(row.device.site, fresh=True)
        newest = max(newest, round(at.timestamp() * 1000))
    return newest


def _running(device: Device) -> bool:
    """Whether rows come at all: a paused or finished replay brings none to wait for."""
    clock = PlantClock.objects.filter(pk=device.site_id).first()
    return clock is None or clock.state == "running"


def _tell(rollout: Rollout, key: str, text: str, **detail: Any) -> None:
    if rollout.incident is not None:
        incidents.step_add(rollout.incident, key, text, link=rollout.get_absolute_url(), **detail)
