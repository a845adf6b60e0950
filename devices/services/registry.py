"""Devices and locations where a change has rules."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Substr
from django.utils.translation import gettext as _

from devices.choices import CredentialState, DeviceState
from devices.models import Credential, Device, Enrolment, Location
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.records import change_state, entity_create, entity_update

# The twin moves by its own verb, so that the version a gateway follows always rises with it.
_TWIN = ("wanted", "wanted_version", "actual", "actual_version", "last_seen_at", "state")


def device_register(*, actor: Any, **data: Any) -> Device:
    """A new device in state planned. It becomes active when it enrols, or by ``device_set_state`` where it cannot."""
    return entity_create(actor=actor, model=Device, data=data, action="device.register")


def device_update(*, actor: Any, device: Device, data: dict[str, Any], expected_version: int | None = None) -> Device:
    """Change what is known of a device; a device with a history stays at its site."""
    wrong = [name for name in _TWIN if name in data]
    if wrong:
        raise InvalidInput(dict.fromkeys(wrong, _("This moves by its own verb.")))
    if "site" in data and data["site"].pk != device.site_id:
        raise InvalidInput({"site": _("A device stays at its site: retire it and register it anew at the other.")})
    return entity_update(actor=actor, obj=device, data=data, expected_version=expected_version)


@transaction.atomic
def device_set_state(*, actor: Any, device: Device, state: str) -> Device:
    """Activate or retire. Retiring ends its credentials and unused claim codes; ``wrong_state`` when it is in that state."""
    if state not in (DeviceState.ACTIVE, DeviceState.RETIRED):
        raise InvalidInput({"state": _("A device is activated or retired.")})
    others = tuple(value for value in DeviceState.values if value != state)
    old = device.state
    if state == DeviceState.RETIRED and Device.objects.filter(gateway=device).exclude(state=state).exists():
        raise DomainError("in_use", _("Other devices are read by this gateway. Give them another one first."))
    change_state(device, old=others, new=state)
    if state == DeviceState.RETIRED:
        now = wall_now()
        Credential.objects.filter(device=device, state=CredentialState.ACTIVE).update(
            state=CredentialState.REVOKED, revoked_at=now, updated_at=now, version=F("version") + 1
        )
        Enrolment.objects.filter(device=device, used_at=None, expires_at__gt=now).update(
            expires_at=now, updated_at=now, version=F("version") + 1
        )
    audit.record(actor=actor, action=f"device.{state}", obj=device, changes={"state": [old, state]})
    return device


@transaction.atomic
def location_update(
    *, actor: Any, location: Location, data: dict[str, Any], expected_version: int | None = None
) -> Location:
    """Change a place; the paths of the places inside it follow."""
    if "site" in data and data["site"].pk != location.site_id:
        raise InvalidInput({"site": _("A place stays at its site.")})
    old = location.path
    location = entity_update(
        actor=actor, obj=location, data=data | {"path": _path(location, data)}, expected_version=expected_version
    )
    if location.path != old:
        Location.objects.filter(site_id=location.site_id, path__startswith=f"{old}/").update(
            path=Concat(Value(location.path), Substr("path", len(old) + 1)), updated_at=wall_now()
        )
    return location


def _path(location: Location, data: dict[str, Any]) -> str:
    parent = data.get("parent", location.parent)
    code = data.get("code", location.code)
    return f"{parent.path}/{code}" if parent else str(code)
