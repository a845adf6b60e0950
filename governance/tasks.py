"""Background work of governance. Each task may run twice or be killed; its outcome is a row."""

from __future__ import annotations

import structlog
from celery import shared_task

from governance import lake
from governance.services import kpis, processing, slos
from governance.services.retraining import retraining_run
from portal.core import jobs

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
            return
        retraining = retraining_run(retraining_id=running.job.args[0], progress=running.step)
        jobs.job_set_result(running.job, {"retraining": str(retraining.pk), "state": retraining.state})
