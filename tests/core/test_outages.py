"""Work that meets a server which is away: it waits in the queue, and ends after enough attempts."""

from __future__ import annotations

from typing import Any

import pytest
from celery import shared_task

from portal.core import jobs
from portal.core.errors import DomainError
from portal.core.models import Job

pytestmark = pytest.mark.django_db


@shared_task(name="tests.outage")
def outage(job_id: str) -> None:
    """Named by the job; the test itself is the worker."""


def start(cast: Any) -> Job:
    return jobs.job_start(actor=cast.ot_engineer, kind="probe", title="A probe", task="tests.outage", args=[])


def test_work_that_meets_an_outage_waits_and_ends_after_enough_attempts(cast: Any):
    job = start(cast)
    away = DomainError("registry", "The registry is away.", {"temporary": True})
    for attempt in range(1, jobs.OUTAGE_ATTEMPTS):
        with jobs.running(job.pk) as work:
            assert work is not None
            assert work.tries_again
            raise away
        job.refresh_from_db()
        assert (job.state, job.attempts) == ("queued", attempt)
        assert "The registry is away." in job.step
    with jobs.running(job.pk) as work:
        assert work is not None
        assert not work.tries_again
        raise away
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == ("failed", "registry")
