"""Background work of governance. Each task may run twice or be killed; its outcome is a row."""

from __future__ import annotations

import structlog
from celery import shared_task

from governance import lake
from governance.services import kpis, processing, slos
from governance.services.commissioning import commission_run
from governance.services.retraining import retraining_cancelled, retraining_run
from portal.core import jobs
from portal.core.models import Job, JobState

log = structlog.get_logger(__name__)


@shared_task(name="governance.process_inbox", time_limit=300)
def process_inbox() -> dict[str, int]:
    """One pass over what gateways have sent; more passes while there is more, up to ten."""
    total = 0
    for _ in range(10):
        passed = processing.process_pending()
        total += passed.messages
        if passed.messages < processing.PASS_SIZE:
            break
    return {"messages": total}


@shared_task(name="governance.compact", time_limit=600)
def compact() -> dict[str, int]:
    return {"messages": lake.compact()}


@shared_task(name="governance.record_slos", time_limit=120)
def record_slos() -> None:
    slos.record_all()


@shared_task(name="governance.refresh_kpis", time_limit=300)
def refresh_kpis() -> dict[str, int]:
    return {"months": kpis.refresh_all()}


@shared_task(name="governance.retrain", time_limit=1800)
def retrain(job_id: str) -> None:
    """The job's first argument is the retraining's id."""
    with jobs.running(job_id) as running:
        if running is None:
            _tell_cancelled(job_id)
            return
        retraining = retraining_run(
            retraining_id=running.job.args[0], progress=running.step, tries_again=running.tries_again
        )
        jobs.job_set_result(
            running.job,
            {"retraining": str(retraining.pk), "state": retraining.state, "url": retraining.get_absolute_url()},
        )


def _tell_cancelled(job_id: str) -> None:
    """A retraining whose job was cancelled before a worker began does not go on waiting for one."""
    cancelled = Job.objects.filter(pk=job_id, state=JobState.CANCELLED).first()
    if cancelled is not None:
        retraining_cancelled(retraining_id=cancelled.args[0])


@shared_task(name="governance.commission", time_limit=1800)
def commission(job_id: str) -> None:
    """The job's arguments are the pipeline's id and what was chosen."""
    with jobs.running(job_id) as running:
        if running is None:
            return
        pipeline_id, options = running.job.args
        version = commission_run(
            actor=running.job.created_by, pipeline_id=pipeline_id, options=options, progress=running.step
        )
        jobs.job_set_result(running.job, {"version": str(version.pk), "url": version.get_absolute_url()})
