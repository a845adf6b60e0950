"""Appointments: who holds a CoE role, where, from when to when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q

from coe import selectors
from coe.catalogue import LONGEST_INTERIM
from coe.models import Appointment, CoeRole
from devices.models import Site
from portal.core import audit
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import User
from portal.core.notifications import notify
from portal.core.records import entity_create, versioned_update
from usecases.services import gates_remeasure


def remeasure(site: Site | None) -> None:
    """People changed: the gates of the site (of every site for a company-wide appointment) are read again."""
    for row in [site] if site is not None else Site.objects.all():
        gates_remeasure(site=row)


@transaction.atomic
def appointment_create(
    *,
    actor: Any,
    user: User,
    role: CoeRole,
    site: Site | None = None,
    interim: bool = False,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> Appointment:
    """Appoint a person for a site, or company-wide without one. An interim appointment must end, within 180 days."""
    valid_from = valid_from or wall_now()
    wrong: dict[str, str] = {}
    if interim and valid_until is None:
        wrong["valid_until"] = "An interim appointment needs an end."
    elif valid_until is not None and valid_until <= valid_from:
        wrong["valid_until"] = "It must end after it begins."
    elif interim and valid_until is not None and valid_until - valid_from > LONGEST_INTERIM:
        wrong["valid_until"] = f"An interim appointment lasts {LONGEST_INTERIM.days} days at most."
    if not user.is_active:
        wrong["user"] = "This account is not active."
    elif actor is not None and getattr(actor, "pk", None) == user.pk:
        wrong["user"] = "Nobody appoints themselves: ask somebody else who manages people."
    if wrong:
        raise InvalidInput(wrong)
    # Serialises two appointments of one person, so that they see each other.
    User.objects.select_for_update().get(pk=user.pk)
    overlapping = Appointment.objects.filter(
        Q(valid_until=None) | Q(valid_until__gt=valid_from),
        user=user,
        role=role,
        site=site,
        interim=interim,
        ended_at=None,
    )
    if valid_until is not None:
        overlapping = overlapping.filter(valid_from__lt=valid_until)
    if overlapping.exists():
        raise DomainError("appointed_already", f"{user} holds this appointment in that time already.")
    appointment = entity_create(
        actor=actor,
        model=Appointment,
        data={
            "user": user,
            "role": role,
            "site": site,
            "interim": interim,
            "valid_from": valid_from,
            "valid_until": valid_until,
            "appointed_by": actor if getattr(actor, "is_authenticated", False) else None,
        },
    )
    where = f" for {site}" if site is not None else " for all sites"
    notify(
        user_ids=[user.pk],
        kind="appointment",
        text=f"You are appointed as {role}{where}{' (interim)' if interim else ''}.",
        url=appointment.get_absolute_url(),
        dedupe_key=f"appointment:{appointment.pk}",
    )
    remeasure(site)
    return appointment


@transaction.atomic
def appointment_end(
    *, actor: Any, appointment: Appointment, reason: str = "", expected_version: int | None = None
) -> Appointment:
    """End an appointment now. What was signed under it stays signed."""
    now = wall_now()
    end = selectors.appointment_end_of(appointment)
    if end is not None and end <= now:
        raise DomainError("wrong_state", f"This appointment ended on {day_text(end)} already.")
    versioned_update(appointment, expected_version=expected_version, where={"ended_at": None}, ended_at=now)
    audit.record(actor=actor, action="appointment.end", obj=appointment, changes={"reason": reason.strip()})
    notify(
        user_ids=[appointment.user_id],
        kind="appointment",
        text=f"Your appointment as {appointment.role} has ended.",
        url=appointment.get_absolute_url(),
        dedupe_key=f"appointment-end:{appointment.pk}",
    )
    remeasure(appointment.site)
    return appointment
