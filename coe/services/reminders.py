"""Reminders: certificates and appointments that end soon, actions that are overdue. Each is said once."""

from __future__ import annotations

from datetime import datetime, timedelta

from coe import selectors
from coe.catalogue import REMIND_BEFORE
from coe.choices import ActionState
from coe.models import Action
from portal.core.clock import day_text, wall_now
from portal.core.notifications import notify


def _step(left: timedelta) -> int | None:
    """The nearest reminder that is due, in days before the end; None while none is."""
    due = [step.days for step in REMIND_BEFORE if left <= step]
    return min(due) if due else None


def remind(*, now: datetime | None = None) -> dict[str, int]:
    """Write the reminders due now into people's inboxes. Running it again writes nothing twice."""
    now = now or wall_now()
    told = {"certificates": 0, "appointments": 0, "actions": 0}
    for certificate in selectors.certificates_due(now):
        step = _step(certificate.valid_until - now)
        if step is None:
            continue
        track = certificate.track
        notify(
            user_ids=[certificate.user_id],
            kind="certificate",
            text=f"Your certificate as {certificate.role} expires on {day_text(certificate.valid_until)}"
            + (f": take “{track}” again." if track else "."),
            url=track.get_absolute_url() if track else certificate.get_absolute_url(),
            dedupe_key=f"certificate:{certificate.pk}:{step}",
        )
        told["certificates"] += 1
    ending = selectors.appointments_in_force(now).filter(valid_until__lte=now + max(REMIND_BEFORE), ended_at=None)
    for appointment in ending.select_related("role", "site"):
        if appointment.valid_until is None or (step := _step(appointment.valid_until - now)) is None:
            continue
        people = [appointment.user_id, *([appointment.appointed_by_id] if appointment.appointed_by_id else [])]
        where = f" for {appointment.site}" if appointment.site else ""
        notify(
            user_ids=people,
            kind="appointment",
            text=f"The appointment as {appointment.role}{where} ends on {day_text(appointment.valid_until)}.",
            url=appointment.get_absolute_url(),
            dedupe_key=f"appointment:{appointment.pk}:{step}",
        )
        told["appointments"] += 1
    late = Action.objects.filter(state=ActionState.OPEN, due_on__lt=now.date(), owner__isnull=False)
    for action in late:
        notify(
            user_ids=[action.owner_id],
            kind="action",
            text=f"Overdue since {day_text(action.due_on)}: {action.text}",
            url=action.get_absolute_url(),
            dedupe_key=f"action-late:{action.pk}:{action.due_on}",
        )
        told["actions"] += 1
    return told
