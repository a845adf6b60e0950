"""A retraining that a person asks for: refused while one is under way, checked like any other, signed and released like any other."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from django.urls import reverse

from governance import recipes
from governance.domain.retraining import Step
from governance.models import ModelVersion, Pipeline, Retraining
from governance.providers import alert_to_retrain
from governance.services import loop, retraining, versions
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.jobs import job_cancel
from portal.core.models import AuditEntry, Job, Notification
from tests.governance import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def running(hall: Any) -> Any:
    """A commissioned pipeline whose version has predicted 75 labelled rows, none too well."""
    builders.commission(hall.scene, hall.safety_officer)
    hall.scene.ingest(75, noise=1.2)
    return hall


@pytest.fixture
def knowing() -> Iterator[None]:
    """Training finds the plant's law itself, so that a challenger is better for certain."""

    def build(data: Any, held_out: Any, channels: Any, model: Any) -> Any:
        made = known.build(data, held_out, channels, model)
        return recipes.Trained(made.package, lambda rows: builders.Scene.truth(np.asarray(rows), decayed=False))

    known = recipes.RECIPES["gradient_boosting"]
    changed = recipes.Recipe(known.key, known.label, known.labelled, build)
    with mock.patch.dict(recipes.RECIPES, {known.key: changed}):
        yield


def step_of(pipeline: Pipeline) -> Step:
    policy = loop.LoopState.of(Pipeline.objects.get(pk=pipeline.pk)).policy
    assert policy is not None
    return policy.step


def path(hall: Any) -> str:
    return f"/api/v1/models/{hall.scene.model.pk}/retrain"


def test_a_better_challenger_goes_live_with_every_step_timed(
    running: Any, knowing: None, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    client = api(running.data_scientist)
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(path(running), {"reason": "Quarterly rehearsal"}, format="json")
    assert answer.status_code == 202, answer.content
    row = Retraining.objects.get(pk=answer.json()["retraining"])
    assert client.get(answer["Location"]).json()["result"]["retraining"] == str(row.pk)
    assert (row.state, row.trigger, row.requested_by) == ("live", "rehearsal", running.data_scientist)
    assert [step["name"] for step in row.steps] == [
        "train",
        "check",
        "train on all rows",
        "register",
        "sign",
        "roll out",
    ]
    assert all(step["ended"] for step in row.steps)
    assert row.train_rows == 400
    assert row.incumbent.number == 1
    assert row.challenger.state == "live"
    assert row.comparison["challenger_rmse"] < row.comparison["incumbent_rmse"]
    assert row.incident is None
    assert step_of(running.scene.pipeline) is Step.WATCHING
    assert AuditEntry.objects.filter(action="retraining.rehearse", actor=running.data_scientist).count() == 1
    shown = client.get(f"/api/v1/retrainings/{row.pk}").json()
    assert (shown["trigger"], shown["reason"], shown["requested_by"]) == (
        "rehearsal",
        "Quarterly rehearsal",
        str(running.data_scientist.pk),
    )
    subject = SimpleNamespace(adoption=running.scene.adoption, use_case=running.ours, now=wall_now())
    measured = alert_to_retrain(subject)
    assert measured.link == row.get_absolute_url()
    assert 0 <= measured.value < 120


def test_a_worse_challenger_is_refused_and_the_plant_is_watched_on(
    running: Any, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    running.scene.ingest(75, noise=0.05)
    with django_capture_on_commit_callbacks(execute=True):
        answer = api(running.ot_engineer).post(path(running), {"reason": "To see"}, format="json")
    row = Retraining.objects.get(pk=answer.json()["retraining"])
    assert (row.state, row.challenger.state) == ("refused", "refused")
    assert row.challenger.refusal.startswith("Typically off by")
    assert ModelVersion.objects.get(model=running.scene.model, state="live").number == 1
    assert step_of(running.scene.pipeline) is Step.WATCHING
    running.scene.ingest(75)
    assert Retraining.objects.count() == 1


def test_it_is_refused_while_one_is_under_way(running: Any, api: Any) -> None:
    client = api(running.data_scientist)
    first = client.post(path(running), {"reason": "First"}, format="json")
    assert first.status_code == 202
    second = client.post(path(running), {"reason": "Second"}, format="json")
    assert (second.status_code, second.json()["code"]) == (409, "retraining_under_way")
    assert second.json()["retraining"] == first.json()["retraining"]
    assert Retraining.objects.count() == Job.objects.filter(kind="retraining").count() == 1
    again = {"HTTP_IDEMPOTENCY_KEY": "rehearse-1"}
    assert client.post(path(running), {"reason": "Third"}, format="json", **again).status_code == 409


def test_what_a_cancelled_or_lost_job_leaves_does_not_block_the_next(
    running: Any, knowing: None, django_capture_on_commit_callbacks: Any
) -> None:
    pipeline = running.scene.pipeline
    with django_capture_on_commit_callbacks(execute=True):
        row, job = retraining.retraining_rehearse(actor=running.ot_engineer, pipeline=pipeline, reason="Cancelled")
        job_cancel(actor=running.ot_engineer, job=job)
    row.refresh_from_db()
    assert (row.state, row.error) == ("failed", "Somebody cancelled the work")
    assert step_of(pipeline) is Step.WATCHING

    lost, job = retraining.retraining_rehearse(actor=running.ot_engineer, pipeline=pipeline, reason="Lost")
    Job.objects.filter(pk=job.pk).update(state="failed", unique_key=None)
    with django_capture_on_commit_callbacks(execute=True):
        third, _ = retraining.retraining_rehearse(actor=running.ot_engineer, pipeline=pipeline, reason="Third")
    lost.refresh_from_db()
    third.refresh_from_db()
    assert (lost.state, lost.error) == ("failed", "Its worker was lost")
    assert third.state == "live"


def test_what_keeps_a_rehearsal_from_beginning(hall: Any) -> None:
    def ask(reason: str = "Because") -> None:
        retraining.retraining_rehearse(actor=hall.ot_engineer, pipeline=hall.scene.pipeline, reason=reason)

    with pytest.raises(InvalidInput):
        ask("  ")
    with pytest.raises(InvalidInput):
        ask("x" * 301)
    with pytest.raises(DomainError, match="not commissioned yet") as refusal:
        ask()
    assert refusal.value.code == "no_policy"
    builders.commission(hall.scene, hall.safety_officer)
    hall.scene.ingest(25)
    with pytest.raises(DomainError, match="has predicted 25 labelled rows; the check needs 50") as refusal:
        ask()
    assert refusal.value.code == "too_early"
    assert not Retraining.objects.exists()


def test_a_hand_signature_lets_a_waiting_release_go_on(
    running: Any, knowing: None, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    versions.standing_approval_revoke(actor=running.safety_officer, model=running.scene.model)
    with django_capture_on_commit_callbacks(execute=True):
        answer = api(running.data_scientist).post(path(running), {"reason": "With a hand"}, format="json")
    row = Retraining.objects.get(pk=answer.json()["retraining"])
    assert (row.state, row.challenger.state, row.steps[-1]["name"]) == ("registering", "candidate", "sign")
    assert Notification.objects.filter(user=running.safety_officer, kind="signature").exists()
    assert step_of(running.scene.pipeline) is Step.ROLLOUT
    signed = api(running.safety_officer).post(f"/api/v1/model-versions/{row.challenger_id}/sign")
    assert signed.status_code == 200, signed.content
    row.refresh_from_db()
    assert (row.state, row.challenger.state) == ("live", "live")
    assert row.finished_at is not None
    assert all(step["ended"] for step in row.steps)
    assert step_of(running.scene.pipeline) is Step.WATCHING


def test_a_withdrawn_challenger_gives_the_waiting_release_up(
    running: Any, knowing: None, django_capture_on_commit_callbacks: Any
) -> None:
    versions.standing_approval_revoke(actor=running.safety_officer, model=running.scene.model)
    with django_capture_on_commit_callbacks(execute=True):
        row, _ = retraining.retraining_rehearse(
            actor=running.ot_engineer, pipeline=running.scene.pipeline, reason="Not wanted"
        )
    row.refresh_from_db()
    versions.version_withdraw(actor=running.safety_officer, version=row.challenger, reason="Trained on bad rows")
    row.refresh_from_db()
    assert row.state == "failed"
    assert "Trained on bad rows" in row.error
    assert step_of(running.scene.pipeline) is Step.WATCHING
    retraining.retraining_rehearse(actor=running.ot_engineer, pipeline=running.scene.pipeline, reason="Again")


def test_an_alert_during_a_rehearsal_opens_its_incident(running: Any, knowing: None) -> None:
    pipeline = running.scene.pipeline
    row, _ = retraining.retraining_rehearse(actor=running.ot_engineer, pipeline=pipeline, reason="Slow worker")
    with mock.patch.object(builders, "retraining_run"):
        running.scene.ingest(150, decayed=True)
    assert pipeline.alerts.filter(state="open").exists()
    assert Retraining.objects.count() == 1
    assert step_of(pipeline) is Step.TRAINING
    row.refresh_from_db()
    assert row.state == "queued"


# ---- pages ------------------------------------------------------------------------------------------------------------


def test_the_pages_of_a_rehearsal(
    running: Any, knowing: None, as_user: Any, django_capture_on_commit_callbacks: Any
) -> None:
    client = as_user(running.data_scientist)
    url = reverse("governance:pipeline-retrain", args=[running.scene.pipeline.pk])
    assert url in client.get(running.scene.model.get_absolute_url()).content.decode()
    assert url in client.get(running.scene.pipeline.get_absolute_url()).content.decode()
    assert client.get(url).status_code == 200
    empty = client.post(url, {"reason": ""})
    assert empty.status_code == 422
    assert set(empty.context["form"].errors) == {"reason"}
    begun = client.post(url, {"reason": "Quarterly rehearsal"})
    row = Retraining.objects.get()
    assert (begun.status_code, begun.url) == (302, row.get_absolute_url())
    live = reverse("governance:retraining-live", args=[row.pk])
    waiting = client.get(live)
    assert "It waits for a worker" in waiting.content.decode()
    assert "X-Poll-Stop" not in waiting.headers
    assert client.get(live, HTTP_IF_NONE_MATCH=waiting["ETag"]).status_code == 304
    twice = client.post(url, {"reason": "Quarterly rehearsal"})
    assert twice.status_code == 409
    assert "under way already" in twice.content.decode()
    retraining.retraining_run(retraining_id=row.pk)
    done = client.get(live)
    assert done.headers["X-Poll-Stop"] == "1"
    page = client.get(row.get_absolute_url()).content.decode()
    for text in ("Rehearsal of NOx soft sensor", "Quarterly rehearsal", "Old and new side by side", "All of it"):
        assert text in page, text
    assert client.get(live).status_code == 200
    assert as_user(running.stranger).get(live).status_code == 404


def test_who_may_look_but_not_retrain_is_told_who_may(running: Any, as_user: Any, api: Any) -> None:
    page = as_user(running.executive).get(running.scene.model.get_absolute_url()).content.decode()
    assert reverse("governance:pipeline-retrain", args=[running.scene.pipeline.pk]) not in page
    assert "OT engineer, Data scientist or Edge Integration Architect may" in page
    refused = api(running.executive).post(path(running), {"reason": "Because"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert api(running.stranger).post(path(running), {"reason": "Because"}, format="json").status_code == 404
    assert api().post(path(running), {"reason": "Because"}, format="json").status_code == 401
