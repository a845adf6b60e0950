"""Rollouts in waves: who is in and why, the canary, the stop. ``edge_bridge.progress`` carries them on; both are safe to repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from devices.domain.connectivity import connectivity
from devices.models import Device, MachineStop
from edge_bridge import selectors
from edge_bridge.choices import InstallationState, RolloutState, TargetState, WaveState
from edge_bridge.desired import ConfigProblem, gateway_changed, manifest_of, signature_of
from edge_bridge.models import Installation, Rollout, Wave, WaveTarget
from edge_bridge.reported import previous_wanted
from edge_bridge.touch import touch
from governance.choices import VersionState
from governance.frame import frame_of
from governance.models import Incident, Model, ModelVersion, Pipeline, Retraining
from governance.services import incidents, loop, retraining, versions
from portal.core import audit, signing
from portal.core.clock import rfc3339, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state
from usecases.choices import GateState
from usecases.models import Adoption
from usecases.selectors import gates_stopping_rollouts

log = structlog.get_logger(__name__)
OPEN = (RolloutState.RUNNING, RolloutState.SOAKING)
SIGNED = (VersionState.APPROVED, VersionState.LIVE, VersionState.SUPERSEDED)
# Rows between what is processed and the row from which a fast-forwarded version predicts: the laboratory's delay.
FAST_FORWARD_ROWS = 24


# ---- the decision per device -----------------------------------------------------------------------------------------


def device_verdict(device: Device, version: ModelVersion, *, now: Any, stopped: bool) -> dict[str, Any]:
    """Whether a version may go onto a gateway, with every figure it rests on, so that the decision can be read again later."""
    kind = device.device_type
    reasons = []
    if kind.memory_kb is not None and version.memory_kb is not None and version.memory_kb > kind.memory_kb:
        reasons.append(f"needs {version.memory_kb} KiB of memory, the device has {kind.memory_kb}")
    budget = kind.latency_budget_us
    if budget is not None and version.latency_us is not None and version.latency_us > budget:
        reasons.append(f"takes {version.latency_us:.0f} µs a row, the device's budget is {budget}")
    if stopped:
        reasons.append("the machine is stopped")
    return {
        "device": str(device.pk),
        "name": device.name,
        "included": not reasons,
        "reasons": reasons,
        "memory_kb": version.memory_kb,
        "memory_budget_kb": kind.memory_kb,
        "latency_us": version.latency_us,
        "latency_budget_us": budget,
        "link": connectivity(device.last_seen_at, device.report_every_s, now),
        "last_seen_at": rfc3339(device.last_seen_at) if device.last_seen_at else None,
    }


def decide(devices: list[Device], version: ModelVersion) -> list[dict[str, Any]]:
    now = wall_now()
    stopped = set(MachineStop.objects.filter(device__in=devices, released_at=None).values_list("device_id", flat=True))
    return [device_verdict(device, version, now=now, stopped=device.pk in stopped) for device in devices]


# ---- starting --------------------------------------------------------------------------------------------------------


@transaction.atomic
def rollout_start(
    *,
    actor: Any,
    version: ModelVersion,
    adoption: Adoption,
    incident: Incident | None = None,
    retraining: Retraining | None = None,
    fast_forward: bool = False,
    soak_rows: int | None = None,
    worst_error_ratio: float | None = None,
) -> Rollout:
    """Bring a signed version to the gateways of an adoption: the canary first. The same open rollout again is returned, not doubled.

    Raises ``not_signed``, ``may_not_sign`` (a person without valid certificate), ``gate_reopened``, ``no_gateway``, ``nobody_fits``
    (with the reasons per device), ``rollout_open`` (another version is on its way), field errors.
    """
    model = version.model
    _check_input(soak_rows, worst_error_ratio)
    if version.state not in SIGNED or not version.signature:
        raise DomainError("not_signed", _("Only a signed version can be rolled out."))
    if model.use_case_id != adoption.use_case_id:
        raise InvalidInput({"adoption": _("This model belongs to another use case.")})
    try:
        manifest_of(version)
        signature_of(version)
    except ConfigProblem as problem:
        raise DomainError("manifest", str(problem)) from problem
    Adoption.objects.select_for_update(of=("self",)).get(pk=adoption.pk)
    other = Rollout.objects.filter(adoption=adoption, version_of_model__model=model, state__in=OPEN).first()
    if other is not None:
        if other.version_of_model_id == version.pk:
            return other
        raise DomainError(
            "rollout_open",
            _("%(other)s is on its way there already. Wait for it, or stop it first.") % {"other": other},
            {"rollout": str(other.pk)},
        )
    basis = _basis(actor, version, adoption, repairing=retraining is not None)
    devices = selectors.gateways_for(adoption, model)
    if not devices:
        raise DomainError("no_gateway", _("No gateway reads a source of this adoption's pipelines."))
    decided = decide(devices, version)
    included = [d for d, verdict in zip(devices, decided, strict=True) if verdict["included"]]
    if not included and not fast_forward:
        why = "; ".join(f"{v['name']}: {', '.join(v['reasons'])}" for v in decided)
        raise DomainError("nobody_fits", f"{_('No gateway can take this version')}: {why}"[:400], {"devices": decided})
    now = wall_now()
    rollout = Rollout.objects.create(
        adoption=adoption,
        version_of_model=version,
        previous=selectors.live_version(adoption, model),
        incident=incident,
        retraining=retraining,
        state=RolloutState.RUNNING,
        started_by=actor if getattr(actor, "is_authenticated", False) else None,
        started_at=now,
        **({} if soak_rows is None else {"soak_rows": soak_rows}),
        **({} if worst_error_ratio is None else {"worst_error_ratio": worst_error_ratio}),
    )
    record = {
        "version": str(version.pk),
        "number": version.number,
        "sha256": version.sha256,
        "decided_at": rfc3339(now),
        "basis": basis,
        "devices": decided,
    }
    audit.record(
        actor=actor,
        action="rollout.start",
        obj=rollout,
        changes={
            "version": str(version),
            "included": ", ".join(device.name for device in included),
            "left_out": "; ".join(f"{v['name']}: {', '.join(v['reasons'])}" for v in decided if not v["included"]),
        },
    )
    if fast_forward:
        _fast_forward(rollout, included or devices, record, now)
        return rollout
    # One gateway alone has nobody to compare it with: there the canary computes beside the version in force first.
    alone = len(included) == 1 and rollout.previous is not None
    rest = included if alone else included[1:]
    canary = Wave.objects.create(
        rollout=rollout,
        position=1,
        name=_("Canary"),
        state=WaveState.RUNNING,
        started_at=now,
        gate=record | {"wave": "canary", "shadow": alone},
    )
    WaveTarget.objects.create(wave=canary, device=included[0])
    if rest:
        second = Wave.objects.create(
            rollout=rollout,
            position=2,
            name=_("In force") if alone else _("All others"),
            gate=record | {"wave": "rest"},
        )
        WaveTarget.objects.bulk_create([WaveTarget(wave=second, device=device) for device in rest])
    installation_want(rollout, included[0], shadow=alone)
    if incident is not None:
        incidents.step_add(
            incident,
            "rollout",
            f"Rollout of version {version.number} began: {included[0]} is the canary, {len(rest)} to follow",
            link=rollout.get_absolute_url(),
        )
    return rollout


def _check_input(soak_rows: int | None, ratio: float | None) -> None:
    wrong = {}
    if soak_rows is not None and not 1 <= soak_rows <= 100_000:
        wrong["soak_rows"] = _("From 1 to 100,000 rows.")
    if ratio is not None and not 0.1 <= ratio <= 10:
        wrong["worst_error_ratio"] = _("From 0.1 to 10.")
    if wrong:
        raise InvalidInput(wrong)


def _basis(actor: Any, version: ModelVersion, adoption: Adoption, *, repairing: bool) -> dict[str, Any]:
    """What the start rests on. A person signs; a repair by the loop rests on the version's own signature and standing approval."""
    if not getattr(actor, "is_authenticated", False):
        return {"by": "loop", "signature": version.signing_basis}
    stopping = None if repairing else gates_stopping_rollouts(adoption).first()
    if stopping is not None:
        words = {"gate": stopping, "state": stopping.get_state_display().lower()}
        said = _("%(gate)s is %(state)s: nothing new is rolled out here.") % words
        if stopping.state == GateState.REOPENED:
            said = _("%(gate)s is %(state)s: nothing new is rolled out until it is passed again.") % words
        raise DomainError("gate_reopened", said, {"gate": str(stopping.pk)})
    verdict = signing.may_sign(user=actor, kind="rollout", site=adoption.site)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
    return {"by": str(actor.pk), "role": verdict.role, **verdict.basis, "signature": version.signing_basis}


def installation_want(rollout: Rollout, device: Device, *, shadow: bool = False) -> Installation:
    """Want the rollout's version on a gateway; told to it at once. Again: the same row. A shadow becomes the version in force."""
    now = wall_now()
    values = {
        "state": InstallationState.WANTED,
        "shadow": shadow,
        "wanted_at": now,
        "active_at": None,
        "ended_at": None,
        "predicts_from_plant": None,
        "fallback": device.fallback,
    }
    row = Installation.objects.filter(rollout=rollout, device=device).first()
    if row is None:
        row = Installation.objects.create(
            rollout=rollout,
            device=device,
            adoption=rollout.adoption,
            version_of_model=rollout.version_of_model,
            **values,
        )
    elif row.shadow and not shadow:
        Installation.objects.filter(pk=row.pk).update(**values, **touch(now))
        row.refresh_from_db()
    else:
        return row
    audit.record(
        actor=None,
        action="installation.want",
        obj=row,
        changes={"version": rollout.version_of_model, "device": device, "shadow": shadow},
    )
    gateway_changed(device)
    return row


def _fast_forward(rollout: Rollout, devices: list[Device], record: dict[str, Any], now: Any) -> None:
    """History is replayed at speed: no gateway to wait for. Everything is recorded as such."""
    gate = record | {"fast_forwarded": True}
    groups = [(1, _("Canary"), devices[:1]), (2, _("All others"), devices[1:])]
    for position, name, members in groups:
        if not members:
            continue
        wave = Wave.objects.create(
            rollout=rollout,
            position=position,
            name=name,
            state=WaveState.PASSED,
            started_at=now,
            finished_at=now,
            gate=gate,
        )
        WaveTarget.objects.bulk_create(
            [WaveTarget(wave=wave, device=d, state=TargetState.SUCCEEDED, reason="fast-forwarded") for d in members]
        )
    Installation.objects.filter(
        adoption=rollout.adoption,
        device__in=devices,
        version_of_model__model=rollout.version_of_model.model_id,
        state__in=selectors.IN_FORCE,
    ).update(state=InstallationState.REPLACED, ended_at=now, **touch(now))
    for device in devices:
        Installation.objects.create(
            rollout=rollout,
            device=device,
            adoption=rollout.adoption,
            version_of_model=rollout.version_of_model,
            state=InstallationState.ACTIVE,
            fallback=device.fallback,
            wanted_at=now,
            active_at=now,
            reason="fast-forwarded",
        )
        gateway_changed(device)
    newest = 0
    period = 0.0
    for pipeline in pipelines_of(rollout):
        frame = frame_of(pipeline)
        if frame.n:
            newest = max(newest, int(frame.plant_ms[: frame.n].max()))
        period = max(period, pipeline.expected_period_s)
    rows = FAST_FORWARD_ROWS if rollout.retraining_id else 1
    finish(rollout, from_ms=newest + int(rows * period * 1000))


# ---- ending ----------------------------------------------------------------------------------------------------------


def pipelines_of(rollout: Rollout) -> list[Pipeline]:
    return list(
        Pipeline.objects.filter(adoption=rollout.adoption, model=rollout.version_of_model.model_id)
        .select_related("model", "adoption__site")
        .order_by("pk")
    )


@transaction.atomic
def finish(rollout: Rollout, *, from_ms: int) -> None:
    """The version runs on all gateways; ``from_ms`` is the plant time from which all of them predict with it."""
    change_state(rollout, old=OPEN, new=RolloutState.SUCCEEDED, finished_at=wall_now())
    audit.record(actor=None, action="rollout.succeed", obj=rollout, changes={"from_plant_ms": from_ms})
    if rollout.retraining is not None:
        retraining.retraining_live(retraining=rollout.retraining, from_ms=from_ms)
        return
    versions.version_live(version=rollout.version_of_model)
    for pipeline in pipelines_of(rollout):
        loop.champion_deployed(pipeline=pipeline, version_id=rollout.version_of_model_id, from_ms=from_ms)


@transaction.atomic
def roll_back(rollout: Rollout, *, reason: str, actor: Any = None, state: str = RolloutState.ROLLED_BACK) -> None:
    """Want the version before again on every gateway, and say why. Raises ``wrong_state`` when the rollout is over."""
    now = wall_now()
    change_state(rollout, old=OPEN, new=state, finished_at=now, reason=reason[:300])
    for row in Installation.objects.filter(rollout=rollout).select_related(
        "device__site", "device__device_type", "version_of_model", "adoption"
    ):
        if row.state in selectors.IN_FORCE:
            Installation.objects.filter(pk=row.pk, state__in=selectors.IN_FORCE).update(
                state=InstallationState.ROLLED_BACK, reason=reason[:300], ended_at=now, **touch(now)
            )
        if row.shadow:
            gateway_changed(row.device)
        else:
            previous_wanted(row.device, row, now, rollout.previous)
    rollout.waves.filter(state__in=[WaveState.RUNNING, WaveState.SOAKING]).update(
        state=WaveState.FAILED, finished_at=now, **touch(now)
    )
    audit.record(actor=actor, action=f"rollout.{state}", obj=rollout, changes={"reason": reason})
    if rollout.incident is not None:
        incidents.step_add(
            rollout.incident,
            "rolled_back",
            f"Version {rollout.version_of_model.number} was taken back: {reason}",
            link=rollout.get_absolute_url(),
        )
    if rollout.retraining is not None:
        retraining.retraining_failed(retraining=rollout.retraining, reason=reason)
    notify(
        user_ids=people_who_may(rollout.adoption.site, "operate"),
        kind="rollout",
        text=f"{rollout} was taken back: {reason}"[:200],
        url=rollout.get_absolute_url(),
        dedupe_key=f"rollout:{rollout.pk}:{state}",
    )


def rollout_stop(*, actor: Any, rollout: Rollout, reason: str) -> Rollout:
    """A person ends a rollout under way; every gateway goes back to the version before."""
    reason = reason.strip()
    if not reason:
        raise InvalidInput({"reason": _("Say why: the next shift reads it.")})
    if len(reason) > 250:
        raise InvalidInput({"reason": _("At most 250 characters.")})
    roll_back(rollout, reason=reason, actor=actor, state=RolloutState.STOPPED)
    return rollout


# ---- for governance --------------------------------------------------------------------------------------------------


class EdgeRelease:
    """``governance.backends.ReleaseBackend`` on gateways."""

    def release(
        self,
        *,
        actor: Any,
        version: ModelVersion,
        adoption: Adoption,
        incident: Incident | None = None,
        retraining: Retraining | None = None,
        fast_forward: bool = False,
    ) -> Rollout:
        return rollout_start(
            actor=actor,
            version=version,
            adoption=adoption,
            incident=incident,
            retraining=retraining,
            fast_forward=fast_forward,
        )

    def live_version(self, *, adoption: Adoption, model: Model) -> ModelVersion | None:
        return selectors.live_version(adoption, model)

    def start_url(self, *, version: ModelVersion, adoption: Adoption) -> str:
        return f"{reverse('edge_bridge:rollout-new')}?version={version.pk}&adoption={adoption.pk}"


def progress_soon(gateway: Device) -> None:
    """Ask a worker to carry on the rollouts of a gateway that has just reported; the schedule does so anyway."""
    if settings.CELERY_BROKER_URL.startswith("memory:"):
        return
    if not Rollout.objects.filter(state__in=OPEN, waves__targets__device=gateway).exists():
        return
    if not cache.add("edge_bridge.rollouts_advance", 1, timeout=1):
        return
    try:
        current_app.send_task("edge_bridge.rollouts_advance", retry=False, expires=30)
    except (OSError, OperationalError) as error:
        log.warning("rollouts.broker_away", error=str(error))


@transaction.atomic
def version_take_back(version: ModelVersion) -> int:
    """A version was withdrawn: open rollouts of it are rolled back, and every gateway that runs it gets the one before."""
    now = wall_now()
    for rollout in Rollout.objects.filter(version_of_model=version, state__in=OPEN).select_related(
        "adoption__site", "version_of_model", "retraining", "incident"
    ):
        roll_back(rollout, reason="The version was withdrawn")
    rows = list(
        Installation.objects.filter(version_of_model=version, state__in=selectors.IN_FORCE).select_related(
            "device__site", "version_of_model", "adoption"
        )
    )
    for row in rows:
        Installation.objects.filter(pk=row.pk, state__in=selectors.IN_FORCE).update(
            state=InstallationState.ROLLED_BACK, reason="The version was withdrawn", ended_at=now, **touch(now)
        )
        audit.record(actor=None, action="installation.rolled_back", obj=row, changes={"reason": "version withdrawn"})
        previous_wanted(row.device, row, now)
    return len(rows)


UNREACHED_AFTER = timedelta(minutes=10)
