"""Background work of the marketplace. Each task fetches and calls a service; all are safe to run twice."""

from __future__ import annotations

from celery import shared_task

from marketplace.choices import ServiceState
from marketplace.models import Service
from marketplace.services.invoices import invoices_draw_up
from portal.core.notifications import notify, people_who_may


@shared_task(name="marketplace.invoice_month", time_limit=900)
def invoice_month() -> dict[str, int]:
    """Draft last month's invoice of every paying subscription that has none."""
    return invoices_draw_up()


@shared_task(name="marketplace.announce_watch", time_limit=60)
def announce_watch(gate_id: str, version: int, reason: str) -> int:
    """Tell those who run a published service that a gate of its use case is open again. Customers see it on the service's page."""
    from usecases.models import Gate

    gate = Gate.objects.filter(pk=gate_id).first()
    rows = Service.objects.filter(use_case=gate.use_case, state=ServiceState.PUBLISHED) if gate else []
    told = 0
    for service in rows:
        people = people_who_may(service, "change")
        notify(
            user_ids=people,
            kind="service",
            text=f"{service} is on watch and keeps serving. {reason}",
            url=service.get_absolute_url(),
            dedupe_key=f"watch:{service.pk}:{gate_id}:{version}",
        )
        told += len(people)
    return told
