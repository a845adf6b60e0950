"""Who may look at work under way may not end it for that."""

from __future__ import annotations

from typing import Any

import pytest

from portal.core.models import Job

pytestmark = pytest.mark.django_db


def job_of(cast: Any, person: Any = None) -> Job:
    made: Job = Job.objects.create(
        kind="retraining",
        title="Retraining",
        task="core.prune",
        created_by=person,
        site_ref=cast.home.pk,
        use_case_ref=cast.ours.pk,
    )
    return made


@pytest.mark.parametrize("role", ["executive", "plant_manager", "safety_officer"])
def test_a_viewer_does_not_cancel_the_work_of_others(cast: Any, api: Any, as_user: Any, role: str) -> None:
    job, viewer = job_of(cast, cast.data_scientist), getattr(cast, role)
    assert api(viewer).get(f"/api/v1/jobs/{job.pk}").status_code == 200
    assert api(viewer).post(f"/api/v1/jobs/{job.pk}/cancel").status_code == 403
    assert as_user(viewer).post(f"/jobs/{job.pk}/cancel/").status_code == 403
    assert b"/cancel/" not in as_user(viewer).get(f"/jobs/{job.pk}/").content
    job.refresh_from_db()
    assert job.state == "queued"


@pytest.mark.parametrize("role", ["ot_engineer", "integrator", "coe_lead"])
def test_who_operates_there_or_started_it_does(cast: Any, api: Any, as_user: Any, role: str) -> None:
    person = getattr(cast, role)
    assert b"/cancel/" in as_user(person).get(f"/jobs/{job_of(cast).pk}/").content
    assert api(person).post(f"/api/v1/jobs/{job_of(cast).pk}/cancel").status_code == 200
    own = job_of(cast, cast.plant_manager)
    assert api(cast.plant_manager).post(f"/api/v1/jobs/{own.pk}/cancel").status_code == 200


def test_a_stranger_sees_no_job(cast: Any, api: Any) -> None:
    assert api(cast.stranger).post(f"/api/v1/jobs/{job_of(cast).pk}/cancel").status_code == 404
