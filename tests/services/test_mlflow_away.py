"""The model registry away while a retraining runs: said in clear words, tried again, registered once. Real MLflow server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from governance.models import ModelVersion, Retraining
from governance.registry_client import Registry
from governance.services.retraining import job_key, retraining_enqueue
from governance.tasks import retrain
from portal.core import jobs
from portal.core.models import Job
from tests.governance import builders
from tests.services.test_mlflow import free_port, mlflow_server

pytestmark = [pytest.mark.django_db, pytest.mark.services, pytest.mark.timeout(240)]


@pytest.fixture
def due(cast: Any, settings: Any, tmp_path: Path) -> Any:
    """A retraining that waits for a worker."""
    from governance.frame import forget_frames

    settings.LAKE_URI = str(tmp_path / "lake")
    settings.ARTEFACT_DIR = tmp_path / "artefacts"
    settings.SIGNING_KEY_FILE = tmp_path / "key.pem"
    forget_frames()
    scene = builders.make_scene(cast.home, cast.ours, owners=(cast.ot_engineer, cast.data_scientist))
    with builders.stand_ins(scene), mock.patch.object(builders, "retraining_run"):
        builders.commission(scene, cast.safety_officer)
        scene.ingest(150)
        for _ in range(40):
            scene.ingest(builders.CHUNK, decayed=True)
            found = Retraining.objects.filter(state="queued").first()
            if found is not None:
                break
    assert found is not None
    yield found, scene
    forget_frames()


def work(retraining: Retraining, scene: Any) -> Job:
    """One attempt of a worker, with the real registry; the gateways alone are stood in for."""
    job = Job.objects.get(args=[str(retraining.pk)])
    with (
        mock.patch("portal.core.signing._rule", builders.everybody_signs),
        mock.patch("governance.backends._release", builders.Hands(scene)),
    ):
        retrain(str(job.pk))
    job.refresh_from_db()
    retraining.refresh_from_db()
    return job


def test_away_for_a_while_the_retraining_waits_and_is_registered_once(due: Any, settings: Any, tmp_path: Path):
    retraining, scene = due
    port = free_port()
    settings.MLFLOW_TRACKING_URI = f"http://127.0.0.1:{port}"
    retraining_enqueue(actor=None, retraining=retraining)
    before = ModelVersion.objects.count()
    for attempt in (1, 2):
        job = work(retraining, scene)
        assert (job.state, job.attempts, job.unique_key) == ("queued", attempt, job_key(retraining.pk))
        assert "The model registry did not take the version" in job.step
        assert "The model registry did not take the version" in retraining.error
        assert retraining.state != "failed"
        assert ModelVersion.objects.count() == before, "half of a version is there"
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow", port) as address:
        job = work(retraining, scene)
        assert job.state == "succeeded", job.error
        assert (retraining.state, retraining.error) in {("live", ""), ("refused", ""), ("releasing", "")}
        assert ModelVersion.objects.count() == before + 1
        listed = Registry(address).changes_since(0).versions
    assert [v.version for v in listed] == ["1"], "registered more than once"


def test_away_for_good_the_job_ends_and_says_why(due: Any, settings: Any):
    retraining, scene = due
    settings.MLFLOW_TRACKING_URI = f"http://127.0.0.1:{free_port()}"
    job = retraining_enqueue(actor=None, retraining=retraining)
    Job.objects.filter(pk=job.pk).update(attempts=jobs.OUTAGE_ATTEMPTS - 1)
    job = work(retraining, scene)
    assert (job.state, job.error["code"], job.unique_key) == ("failed", "registry", None)
    assert "The model registry did not take the version" in job.error["message"]
    assert retraining.state == "failed"
    assert "The model registry did not take the version" in retraining.error
