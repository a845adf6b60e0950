"""Stop on this machine: from the portal, or on the gateway itself. One stop is open per device."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from devices.choices import DeviceKind, DeviceState, Fallback
from devices.models import Device, MachineStop
from devices.services.twin import wanted_version_raise
from devices.signals import machine_released, machine_stopped
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.notifications import notify, people_who_may


def open_stop(device: Device) -> MachineStop | None:
    return MachineStop.objects.filter(device=device, released_at=None).first()


@transaction.atomic
def machine_stop(*, actor: Any, device: Device, reason: str, fallback: str = "") -> MachineStop:
    """Stop the models on a gateway; what goes on is ``fallback`` (the device's own when empty).

    The gateway is told to fetch its desired state at once. Raises ``stopped_already``, ``device_retired``, ``not_a_gateway``, or
    field errors. Sends ``machine_stopped``; people who may operate the site are told.
    """
    wrong = {}
    if not reason.strip():
        wrong["reason"] = _("Say why: the next shift reads it.")
    elif len(reason) > 300:
        wrong["reason"] = _("At most 300 characters.")
    if fallback and fallback not in Fallback.values:
        wrong["fallback"] = _("One of: %(all)s.") % {"all": ", ".join(Fallback.values)}
    if wrong:
        raise InvalidInput(wrong)
    if device.state == DeviceState.RETIRED:
        raise DomainError("device_retired", _("This device is retired; nothing runs on it."))
    if device.device_type.kind != DeviceKind.GATEWAY:
        raise DomainError("not_a_gateway", _("Models run on gateways. Stop the gateway that reads this device."))
    stop = _begin(
        device=device,
        reason=reason.strip(),
        fallback=fallback or device.fallback,
        stopped_by=actor if getattr(actor, "is_authenticated", False) else None,
        stopped_at=wall_now(),
    )
    wanted_version_raise(device.pk)
    _tell(device, stop, actor)
    return stop


def _begin(**values: Any) -> MachineStop:
    try:
        with transaction.atomic():
            return MachineStop.objects.create(**values)
    except IntegrityError as error:
        raise DomainError("stopped_already", _("This machine is stopped already.")) from error


def _tell(device: Device, stop: MachineStop, actor: Any) -> None:
    audit.record(
        actor=actor,
        action="machine.stop",
        obj=device,
        changes={"reason": stop.reason, "fallback": stop.fallback, "local": stop.local},
    )
    notify(
        user_ids=people_who_may(device.site, "operate"),
        kind="machine_stop",
        text=_("%(device)s was stopped: %(reason)s") % {"device": device, "reason": stop.reason},
        url=device.get_absolute_url(),
        dedupe_key=f"stop:{stop.pk}",
    )
    machine_stopped.send(sender=MachineStop, device=device, stop=stop)


@transaction.atomic
def machine_release(*, actor: Any, device: Device) -> MachineStop:
    """Lift the stop. Raises ``not_stopped``, or ``stopped_locally``: a stop pressed on the gateway is lifted there only."""
    stop = MachineStop.objects.select_for_update().filter(device=device, released_at=None).first()
    if stop is None:
        raise DomainError("not_stopped", _("This machine is not stopped."))
    if stop.local:
        raise DomainError(
            "stopped_locally",
            _("This stop was pressed on the gateway itself. Only there can it be lifted: phasegate-agent resume."),
        )
    _end(device, stop, actor, wall_now())
    wanted_version_raise(device.pk)
    return stop


def _end(device: Device, stop: MachineStop, actor: Any, at: datetime) -> None:
    person = actor if getattr(actor, "is_authenticated", False) else None
    changed = MachineStop.objects.filter(pk=stop.pk, released_at=None).update(
        released_at=at, released_by=person, updated_at=wall_now(), version=F("version") + 1
    )
    if changed != 1:
        raise DomainError("not_stopped", _("This machine is not stopped."))
    stop.refresh_from_db()
    audit.record(actor=actor, action="machine.release", obj=device, changes={"stop": stop.reason, "local": stop.local})
    machine_released.send(sender=MachineStop, device=device, stop=stop)


@transaction.atomic
def machine_stopped_locally(device: Device, reason: str, at: datetime) -> MachineStop:
    """The gateway says that somebody stopped it there. Said again, it changes nothing. A stop from the portal that is open
    becomes local as well: it can then be lifted at the gateway only."""
    stop = MachineStop.objects.select_for_update().filter(device=device, released_at=None).first()
    if stop is not None:
        if not stop.local:
            text = f"{stop.reason}; {_('on the gateway')}: {reason}"[:300]
            MachineStop.objects.filter(pk=stop.pk).update(
                local=True, reason=text, confirmed_at=at, updated_at=wall_now(), version=F("version") + 1
            )
            stop.refresh_from_db()
            audit.record(actor=None, action="machine.stop", obj=device, changes={"reason": reason, "local": True})
        return stop
    stop = _begin(
        device=device,
        reason=(reason.strip() or _("Stopped on the gateway"))[:300],
        fallback=device.fallback,
        local=True,
        stopped_at=at,
        confirmed_at=at,
    )
    _tell(device, stop, None)
    return stop


@transaction.atomic
def machine_released_locally(device: Device, at: datetime) -> MachineStop | None:
    """The gateway says that no stop of its own is in force. A stop that also came from the portal stays, now the portal's to
    lift; None when nothing was stopped locally."""
    stop = MachineStop.objects.select_for_update().filter(device=device, released_at=None, local=True).first()
    if stop is None:
        return None
    if stop.stopped_by_id is not None:
        MachineStop.objects.filter(pk=stop.pk).update(local=False, updated_at=wall_now(), version=F("version") + 1)
        stop.refresh_from_db()
        return stop
    _end(device, stop, None, at)
    return stop


def machine_stop_confirm(device: Device, at: datetime) -> bool:
    """The gateway reports that it stands still as asked. True when that was news."""
    changed = MachineStop.objects.filter(device=device, released_at=None, confirmed_at=None).update(
        confirmed_at=at, updated_at=wall_now(), version=F("version") + 1
    )
    return changed == 1
