"""Long work with a row that somebody can see. ``job_start`` enqueues after commit; the task wraps its work in ``running``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError, transaction
from django.db.models import F
from kombu.exceptions import OperationalError

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.models import Job, JobState
from portal.core.notifications import notify

log = structlog.get_logger(__name__)
STALE_AFTER = timedelta(seconds=120)
#: So often work is tried that meets a server which is away for the moment; the sweeper sends it again every half minute.
OUTAGE_ATTEMPTS = 10


class JobCancelled(Exception):
    """Raised inside the work when somebody cancelled it."""


@transaction.atomic
def job_start(
    *,
    actor: Any,
    kind: str,
    title: str,
    task: str,
    args: list[Any],
    unique_key: str | None = None,
    site_id: Any = None,
    use_case_id: Any = None,
    max_attempts: int = 3,
) -> Job:
    """Record the job and enqueue ``task(job_id)`` after commit. With ``unique_key`` the same open job is returned, not doubled."""
    person = actor if getattr(actor, "is_authenticated", False) else None
    if unique_key:
        found = Job.objects.filter(unique_key=unique_key).first()
        if found:
            return found
    try:
        with transaction.atomic():
            job = Job.objects.create(
                kind=kind,
                title=title[:200],
                task=task,
                args=args,
                created_by=person,
                unique_key=unique_key,
                site_ref=site_id,
                use_case_ref=use_case_id,
                max_attempts=max_attempts,
            )
    except IntegrityError:
        return Job.objects.get(unique_key=unique_key)
    audit.record(actor=actor, action="job.start", obj=job, changes={"kind": kind})
    _enqueue(job)
    return job


def _enqueue(job: Job) -> None:
    job_id, task = str(job.pk), job.task
    transaction.on_commit(lambda: _send(task, job_id), robust=True)


def _send(task: str, job_id: str) -> None:
    # A broker that is away must not undo the committed job: the sweeper sends it again.
    if task not in current_app.tasks:
        # Only a worker imports the tasks by itself; a web process does so when it first has something to send.
        current_app.loader.import_default_modules()
    try:
        current_app.tasks[task].apply_async(args=[job_id], retry=False)
    except (OSError, OperationalError) as error:
        log.warning("job.broker_away", job=job_id, error=str(error))


def _held(job: Job) -> Any:
    """The job's row while this attempt still holds it; a worker that was given up for dead holds nothing any more."""
    return Job.objects.filter(pk=job.pk, state=JobState.RUNNING, attempts=job.attempts)


def is_outage(error: BaseException) -> bool:
    """A refusal that will pass by itself: ``DomainError`` with ``temporary`` in its extra data."""
    return isinstance(error, DomainError) and bool(error.extra.get("temporary"))


class Running:
    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def tries_again(self) -> bool:
        """Whether work that meets an outage now is sent again later."""
        return self.job.attempts < OUTAGE_ATTEMPTS

    def step(self, text: str, progress: float | None = None) -> None:
        """Say what is being done; raises ``JobCancelled`` when somebody cancelled meanwhile."""
        values: dict[str, Any] = {"step": text[:200], "heartbeat_at": wall_now()}
        if progress is not None:
            values["progress"] = min(1.0, max(0.0, progress))
        if _held(self.job).update(**values) != 1:
            raise JobCancelled
        self.job.step = text


@contextmanager
def running(job_id: str | UUID) -> Iterator[Running | None]:
    """Claim the job and run; yields None when another worker has it or it is over. Sets the end state either way."""
    now = wall_now()
    claimed = Job.objects.filter(pk=job_id, state=JobState.QUEUED).update(
        state=JobState.RUNNING, started_at=now, heartbeat_at=now, attempts=F("attempts") + 1
    )
    if claimed != 1:
        yield None
        return
    job = Job.objects.get(pk=job_id)
    try:
        yield Running(job)
    except JobCancelled:
        log.info("job.cancelled", job=str(job_id))
        return
    except (DomainError, SoftTimeLimitExceeded) as error:
        if is_outage(error) and job.attempts < OUTAGE_ATTEMPTS:
            _wait(job, str(error))
            return
        code = getattr(error, "code", "time_limit")
        message = getattr(error, "message", "The work took longer than its time limit.")
        _finish(job, JobState.FAILED, error={"code": code, "message": message})
        return
    except BaseException as error:
        _finish(
            job,
            JobState.FAILED,
            error={
                "code": "internal",
                "message": "The work failed; the log has the reason.",
                "type": type(error).__name__,
            },
        )
        raise
    _finish(job, JobState.SUCCEEDED)


def _wait(job: Job, why: str) -> None:
    """Back into the queue: the sweeper sends it again."""
    log.warning("job.waits", job=str(job.pk), attempt=job.attempts, why=why)
    _held(job).update(state=JobState.QUEUED, step=f"Tried again soon. {why}"[:200], version=F("version") + 1)


def _finish(job: Job, state: str, error: dict[str, Any] | None = None) -> None:
    ended = _held(job).update(
        state=state,
        finished_at=wall_now(),
        error=error,
        unique_key=None,
        version=F("version") + 1,
        **({"progress": 1.0} if state == JobState.SUCCEEDED else {}),
    )
    if ended and job.created_by_id:
        word = {JobState.SUCCEEDED: "is ready", JobState.FAILED: "failed"}[JobState(state)]
        notify(user_ids=[job.created_by_id], kind="job", text=f"{job.title} {word}", dedupe_key=f"job:{job.pk}:{state}")


def job_set_result(job: Job, result: dict[str, Any]) -> None:
    Job.objects.filter(pk=job.pk).update(result=result)


@transaction.atomic
def job_cancel(*, actor: Any, job: Job) -> None:
    changed = Job.objects.filter(pk=job.pk, state__in=[JobState.QUEUED, JobState.RUNNING]).update(
        state=JobState.CANCELLED, finished_at=wall_now(), unique_key=None, version=F("version") + 1
    )
    if changed != 1:
        raise DomainError("job_over", "This work is over already.")
    audit.record(actor=actor, action="job.cancel", obj=job)


def sweep() -> dict[str, int]:
    """Send again what a broker lost, and take back what a dead worker held. Safe to run at any time, any number of times."""
    now = wall_now()
    lost = list(Job.objects.filter(state=JobState.QUEUED, created_at__lt=now - timedelta(seconds=20))[:200])
    dead = list(Job.objects.filter(state=JobState.RUNNING, heartbeat_at__lt=now - STALE_AFTER)[:200])
    for job in dead:
        again = job.attempts < job.max_attempts
        changed = Job.objects.filter(pk=job.pk, state=JobState.RUNNING, heartbeat_at=job.heartbeat_at).update(
            state=JobState.QUEUED if again else JobState.FAILED,
            **(
                {}
                if again
                else {
                    "finished_at": now,
                    "unique_key": None,
                    "error": {"code": "worker_lost", "message": "The worker died several times."},
                }
            ),
        )
        if changed and again:
            lost.append(job)
    for job in lost:
        _send(job.task, str(job.pk))
    return {"sent_again": len(lost), "taken_back": len(dead)}
