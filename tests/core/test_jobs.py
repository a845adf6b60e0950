"""Jobs: claimed once, cancelled, failed, swept; the row is the truth."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from portal.core import jobs
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.models import AuditEntry, Job, Notification

pytestmark = pytest.mark.django_db
did: list[str] = []


@shared_task(name="tests.note")
def note(job_id: str) -> None:
    with jobs.running(job_id) as work:
        if work is not None:
            did.append(job_id)
            work.step("half", 0.5)
            jobs.job_set_result(work.job, {"rows": 2})


@pytest.fixture(autouse=True)
def _nothing_done():
    did.clear()


def start(cast, **extra):
    return jobs.job_start(actor=cast.ot_engineer, kind="probe", title="A probe", task="tests.note", args=[], **extra)


def test_a_job_runs_after_commit_and_tells_who_asked(cast, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = start(cast, site_id=cast.home.pk)
        assert not did
    job.refresh_from_db()
    assert (job.state, job.progress, job.attempts, job.result) == ("succeeded", 1.0, 1, {"rows": 2})
    assert AuditEntry.objects.filter(action="job.start", object_id=str(job.pk), site_ref=cast.home.pk).exists()
    assert Notification.objects.filter(user=cast.ot_engineer, kind="job").count() == 1


def test_of_two_workers_one_claims(cast):
    job = start(cast)
    with jobs.running(job.pk) as first, jobs.running(job.pk) as second:
        assert first is not None
        assert second is None
    with jobs.running(job.pk) as third:
        assert third is None
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("succeeded", 1)


def test_the_same_open_job_is_not_doubled(cast):
    first = start(cast, unique_key="once")
    assert start(cast, unique_key="once").pk == first.pk
    note(str(first.pk))
    assert start(cast, unique_key="once").pk != first.pk


def test_cancelled_while_it_runs(cast, api):
    job = start(cast)
    with jobs.running(job.pk) as work:
        assert api(cast.ot_engineer).post(f"/api/v1/jobs/{job.pk}/cancel").json()["state"] == "cancelled"
        work.step("more")
        pytest.fail("a cancelled job went on")
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert api(cast.ot_engineer).post(f"/api/v1/jobs/{job.pk}/cancel").json()["code"] == "job_over"
    note(str(job.pk))
    assert not did


@pytest.mark.parametrize(
    ("error", "code"),
    [(DomainError("no_rows", "There are no rows."), "no_rows"), (SoftTimeLimitExceeded(), "time_limit")],
)
def test_a_refusal_ends_the_job_with_its_reason(cast, error, code):
    job = start(cast)
    with jobs.running(job.pk):
        raise error
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == ("failed", code)


def test_a_bug_ends_the_job_and_stays_loud_but_tells_no_internals(cast):
    job = start(cast, unique_key="k")
    with pytest.raises(KeyError), jobs.running(job.pk):
        raise KeyError("private detail")
    job.refresh_from_db()
    assert (job.state, job.error["code"], job.unique_key) == ("failed", "internal", None)
    assert "private detail" not in str(job.error)


def test_the_sweeper_sends_again_what_the_broker_lost(cast):
    job = start(cast)
    jobs.sweep()
    assert not did
    Job.objects.update(created_at=wall_now() - timedelta(seconds=30))
    jobs.sweep()
    jobs.sweep()
    assert did == [str(job.pk)]


def test_the_sweeper_takes_back_what_a_dead_worker_held_and_gives_up_in_the_end(cast, monkeypatch):
    job = start(cast)
    old = wall_now() - jobs.STALE_AFTER - timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(state="running", attempts=1, heartbeat_at=old)
    assert jobs.sweep()["taken_back"] == 1
    assert did == [str(job.pk)]
    Job.objects.filter(pk=job.pk).update(state="running", attempts=3, heartbeat_at=old)
    jobs.sweep()
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == ("failed", "worker_lost")
    assert did == [str(job.pk)]


def test_a_worker_that_lost_its_job_does_not_end_it(cast):
    job = start(cast)
    with jobs.running(job.pk):
        Job.objects.filter(pk=job.pk).update(state="queued")
        Job.objects.filter(pk=job.pk, state="queued").update(state="running", attempts=2)
    job.refresh_from_db()
    assert job.state == "running"


def test_a_broker_that_is_away_does_not_undo_the_job(cast, django_capture_on_commit_callbacks, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("no broker")

    monkeypatch.setattr(note, "apply_async", away)
    with django_capture_on_commit_callbacks(execute=True):
        job = start(cast)
    assert Job.objects.get(pk=job.pk).state == "queued"


def test_a_stranger_does_not_see_it(cast, api, as_user):
    job = start(cast)
    assert api(cast.stranger).get(f"/api/v1/jobs/{job.pk}").status_code == 404
    assert as_user(cast.stranger).get(f"/jobs/{job.pk}/").status_code == 404
    assert as_user(cast.ot_engineer).get(f"/jobs/{job.pk}/").status_code == 200
    note(str(job.pk))
    assert as_user(cast.ot_engineer).get(f"/jobs/{job.pk}/")["X-Poll-Stop"] == "1"


def test_a_web_process_finds_the_tasks_when_it_first_sends_one(cast, monkeypatch, django_capture_on_commit_callbacks):
    kept = current_app.tasks.pop("tests.note")

    def import_modules():
        current_app.tasks.register(kept)

    monkeypatch.setattr(current_app.loader, "import_default_modules", import_modules)
    with django_capture_on_commit_callbacks(execute=True):
        job = start(cast)
    job.refresh_from_db()
    assert job.state == "succeeded"
