"""What lower apps tell: an incident that opened or was repaired belongs into its month's retrospective. Only enqueues."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from django.dispatch import receiver
from kombu.exceptions import OperationalError

from governance.signals import incident_opened, incident_resolved

log = structlog.get_logger(__name__)


@receiver(incident_opened, dispatch_uid="coe.incident_opened")
@receiver(incident_resolved, dispatch_uid="coe.incident_resolved")
def incident_changed(sender: Any, incident: Any, **_: Any) -> None:
    # History in fast-forward is filled in month by month afterwards.
    if incident.fast_forwarded:
        return
    moments = [incident.detected_plant_at, incident.resolved_plant_at]
    months = [moment.date().isoformat() for moment in moments if moment is not None]
    site_id = str(incident.adoption.site_id)
    transaction.on_commit(lambda: _send(site_id, months), robust=True)


def _send(site_id: str, months: list[str]) -> None:
    from coe.tasks import prepare_months

    # What a broker that is away does not take, the periodic task fills in when the month is over.
    try:
        prepare_months.apply_async(args=[site_id, months], retry=False)
    except (OSError, OperationalError) as error:
        log.warning("retrospective.broker_away", site=site_id, error=str(error))
