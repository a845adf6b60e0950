"""Background work of the core."""

from datetime import timedelta

from celery import shared_task
from django.contrib.sessions.models import Session

from portal.core import jobs
from portal.core.clock import wall_now
from portal.core.models import IdempotencyRecord


@shared_task(name="core.sweep_jobs", time_limit=60)
def sweep_jobs() -> dict[str, int]:
    return jobs.sweep()


@shared_task(name="core.prune", time_limit=300)
def prune() -> None:
    """Forget answers older than 24 hours and sessions that are over."""
    IdempotencyRecord.objects.filter(created_at__lt=wall_now() - timedelta(hours=24)).delete()
    Session.objects.filter(expire_date__lt=wall_now()).delete()
