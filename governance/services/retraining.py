"""One turn of the loop: train a challenger, check it against the incumbent, register, sign, release. Each step timed; safe to run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from devices.models import Channel
from governance import recipes
from governance.backends import release_backend
from governance.choices import IncidentState, RetrainingState, RetrainingTrigger, VersionState
from governance.domain.retraining import ChallengerAccepted, RetrainingPolicy, recency_weights
from governance.frame import Frame, frame_of
from governance.lake import moment
from governance.models import Incident, Model, ModelVersion, Pipeline, Retraining
from governance.rows import Ints
from governance.services import incidents, loop, versions
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.jobs import JobCancelled, is_outage, job_start
from portal.core.models import Job
from portal.core.records import change_state
from usecases.services.gates import gates_remeasure

Progress = Callable[[str, float], None]
OPEN = (
    RetrainingState.QUEUED,
    RetrainingState.TRAINING,
    RetrainingState.CHECKING,
    RetrainingState.REGISTERING,
    RetrainingState.RELEASING,
)


def channels_read(pipeline: Pipeline, codes: Iterable[str]) -> list[Channel]:
    """Channels of these codes at the pipeline's site; those of the device it reads come last, so that they win in a mapping by code."""
    found = Channel.objects.filter(device__site_id=pipeline.adoption.site_id, code__in=list(codes))
    rows = list(found.select_related("device").order_by("created_at"))
    return sorted(rows, key=lambda channel: channel.device.code == pipeline.stream)


def channels_of(model: Model, pipeline: Pipeline) -> list[recipes.Channel]:
    """The model's inputs with the unit and range that the pipeline's channels declare."""
    known = {channel.code: channel for channel in channels_read(pipeline, model.features)}
    return [
        recipes.Channel(name, known[name].unit, known[name].range_low, known[name].range_high)
        if name in known
        else recipes.Channel(name, "")
        for name in model.features
    ]


def training_set(frame: Frame, places: Ints, weights: Any = None) -> recipes.TrainingSet:
    return recipes.TrainingSet(frame.features[places], frame.label[places], frame.plant_ms[places], weights)


def _step(retraining: Retraining, name: str, state: str) -> None:
    """Close the step under way and begin the next; ``state`` moves only forwards by a conditional update."""
    now = wall_now()
    steps = list(retraining.steps)
    if steps and steps[-1].get("ended") is None:
        steps[-1]["ended"] = now.isoformat()
    if name:
        steps.append({"name": name, "started": now.isoformat(), "ended": None})
    change_state(retraining, old=(retraining.state,), new=state, steps=steps)


def job_key(retraining_id: Any) -> str:
    return f"retraining:{retraining_id}"


def retraining_enqueue(*, actor: Any, retraining: Retraining) -> Job:
    adoption = retraining.pipeline.adoption
    return job_start(
        actor=actor,
        kind="retraining",
        title=f"Retraining of {retraining.pipeline}",
        task="governance.retrain",
        args=[str(retraining.pk)],
        unique_key=job_key(retraining.pk),
        site_id=adoption.site_id,
        use_case_id=adoption.use_case_id,
    )


def under_way(pipeline: Pipeline) -> Retraining | None:
    """The retraining of this pipeline that is not over yet."""
    return Retraining.objects.filter(pipeline=pipeline, state__in=OPEN).order_by("-created_at").first()


@transaction.atomic
def retraining_rehearse(*, actor: Any, pipeline: Pipeline, reason: str) -> tuple[Retraining, Job]:
    """A retraining that a person asks for, with a reason: same training, same champion check, same signature and rollout as after an alert.

    Raises field errors (``reason``), ``no_policy`` (a detector, or not commissioned), ``retraining_under_way`` (with its id) and
    ``too_early`` (the version in force has not predicted enough labelled rows to be compared with).
    """
    reason = reason.strip()
    if not reason:
        raise InvalidInput({"reason": _("Say why: it stands on the record beside the result.")})
    if len(reason) > 300:
        raise InvalidInput({"reason": _("At most 300 characters.")})
    locked = Pipeline.objects.select_for_update(of=("self",)).select_related("model", "adoption").get(pk=pipeline.pk)
    running = under_way(locked)
    if running is not None and _lost(running):
        _abandon(running, "Its worker was lost")
        locked.refresh_from_db()
        running = None
    if running is not None:
        raise DomainError(
            "retraining_under_way",
            _("A retraining of this pipeline is under way already (%(state)s). Wait for its end.")
            % {"state": running.get_state_display().lower()},
            {"retraining": str(running.pk)},
        )
    state = loop.LoopState.of(locked)
    if state.policy is None:
        raise DomainError(
            "no_policy",
            _("This pipeline is not commissioned yet: there is no version to retrain.")
            if recipes.recipe_of(locked.model).labelled
            else _("This model learns without labels: there is nothing to compare a new version with."),
        )
    try:
        due = state.policy.rehearse()
    except ValueError as error:
        raise DomainError("too_early", _("Not yet: %(why)s.") % {"why": error}) from error
    loop.state_save(locked, state)
    retraining = Retraining.objects.create(
        pipeline=locked,
        trigger=RetrainingTrigger.REHEARSAL,
        reason=reason,
        requested_by=actor,
        due_row=due.row,
        incumbent_id=UUID(state.champion) if state.champion else None,
        comparison={"number": due.number, "held_out": due.last - due.held_out + 1, "last": due.last},
    )
    audit.record(actor=actor, action="retraining.rehearse", obj=retraining, changes={"reason": reason})
    return retraining, retraining_enqueue(actor=actor, retraining=retraining)


def _lost(retraining: Retraining) -> bool:
    """Whether nobody will carry it on: no job of it is open, and it waits for no signature and no rollout."""
    working = (RetrainingState.QUEUED, RetrainingState.TRAINING, RetrainingState.CHECKING)
    if retraining.state not in working or retraining.fast_forwarded:
        return False
    return not Job.objects.filter(unique_key=job_key(retraining.pk)).exists()


def retraining_cancelled(*, retraining_id: UUID | str) -> None:
    """Its job was cancelled before a worker began."""
    retraining = Retraining.objects.filter(pk=retraining_id, state=RetrainingState.QUEUED).first()
    if retraining is not None:
        _abandon(retraining, "Somebody cancelled the work")


def retraining_run(
    *, retraining_id: UUID | str, progress: Progress = lambda text, share: None, tries_again: bool = False
) -> Retraining:
    """Carry a due retraining through to its verdict and, when it won, into the hands of the release backend.

    A run that died in the middle starts again from the top: training is deterministic, registering is keyed, the verdict is given once.
    ``tries_again``: whoever runs it comes back after an outage of the model registry, so it is not given up for one.
    """
    retraining = Retraining.objects.select_related(
        "pipeline__model", "pipeline__adoption__site", "incident", "incumbent"
    ).get(pk=retraining_id)
    over = (RetrainingState.REFUSED, RetrainingState.LIVE, RetrainingState.FAILED, RetrainingState.RELEASING)
    if retraining.state in over:
        return retraining
    if retraining.state != RetrainingState.QUEUED:
        change_state(retraining, old=(retraining.state,), new=RetrainingState.QUEUED, steps=[])
    change_state(retraining, old=RetrainingState.QUEUED, new=RetrainingState.TRAINING, started_at=wall_now(), error="")
    try:
        _train_and_judge(retraining, progress)
    except JobCancelled:
        _abandon(retraining, "Somebody cancelled the work")
        raise
    except (DomainError, ValueError, ArithmeticError) as error:
        if tries_again and is_outage(error):
            Retraining.objects.filter(pk=retraining.pk).update(error=str(error)[:300])
            raise
        _abandon(retraining, getattr(error, "message", str(error)))
        raise
    return retraining


def _train_and_judge(retraining: Retraining, progress: Progress) -> None:
    pipeline, model = retraining.pipeline, retraining.pipeline.model
    recipe = recipes.recipe_of(model)
    frame = frame_of(pipeline)
    state = loop.LoopState.of(Pipeline.objects.get(pk=pipeline.pk))
    if state.policy is None:
        raise DomainError("no_policy", "This pipeline has no retraining policy.")
    config = state.policy.config
    seen = loop.observed(frame, state)
    places = seen.places
    base = loop.first_number(frame, state, places)
    last = retraining.comparison["last"] - base
    held = np.arange(last - config.holdout + 1, last + 1)
    all_rows = loop.training_places(frame, places, last, config.train_rows)
    if retraining.train_from is None:
        _rows_known(retraining, frame, all_rows)
    early = all_rows[all_rows < places[held[0]]]
    held_out = training_set(frame, places[held])
    channels = channels_of(model, pipeline)

    progress("Training a challenger", 0.1)
    _step(retraining, "train", RetrainingState.TRAINING)
    trial = recipe.build(
        training_set(frame, early, recency_weights(len(early), config.memory)), held_out, channels, model
    )
    progress("Checking it against the incumbent", 0.4)
    _step(retraining, "check", RetrainingState.CHECKING)
    challenger = held_out.labels - trial.predict(held_out.inputs)
    verdict, comparison = _verdict(retraining, challenger, seen.residuals[held])
    if not isinstance(verdict, ChallengerAccepted):
        progress("Registering the refused challenger", 0.8)
        _refused(retraining, trial, comparison)
        return
    progress("Training the winner on all rows", 0.55)
    _step(retraining, "train on all rows", RetrainingState.REGISTERING)
    winner = recipe.build(
        training_set(frame, all_rows, recency_weights(len(all_rows), config.memory)), held_out, channels, model
    )
    winner = recipes.with_metrics(winner, **trial.package.metrics)
    progress("Registering, checking the budget, signing", 0.75)
    _step(retraining, "register", RetrainingState.REGISTERING)
    version = versions.version_register(
        actor=None,
        model=model,
        package=winner.package,
        key=str(retraining.pk),
        predecessor=retraining.incumbent,
        tags={"phasegate.retraining": str(retraining.pk)},
    )
    _accepted(retraining, version, comparison)


def _rows_known(retraining: Retraining, frame: Frame, rows: Ints) -> None:
    """A rehearsal is asked for where the rows are not at hand; its first step says which they are."""
    retraining.train_from = moment(int(frame.plant_ms[rows[0]]))
    retraining.train_to = moment(int(frame.plant_ms[rows[-1]]))
    retraining.train_rows = len(rows)
    retraining.save(update_fields=["train_from", "train_to", "train_rows"])


@transaction.atomic
def _verdict(retraining: Retraining, challenger: Any, incumbent: Any) -> tuple[Any, dict[str, Any]]:
    """The champion check, once: the policy's verdict and the comparison are stored together."""
    locked = Pipeline.objects.select_for_update().get(pk=retraining.pipeline_id)
    state = loop.LoopState.of(locked)
    assert state.policy is not None
    stored = retraining.comparison.get("verdict")
    if stored is not None:
        if stored == "accepted":
            known = retraining.comparison
            accepted_before = ChallengerAccepted(
                retraining.due_row, known["number"], known["challenger_rmse"], known["incumbent_rmse"], known["rows"]
            )
            return accepted_before, known
        return None, retraining.comparison
    verdict = state.policy.check(challenger, incumbent)
    accepted = isinstance(verdict, ChallengerAccepted)
    comparison = retraining.comparison | {
        "verdict": "accepted" if accepted else "refused",
        "rows": verdict.rows,
        "challenger_rmse": verdict.challenger,
        "incumbent_rmse": verdict.incumbent,
        "challenger_mae": float(np.mean(np.abs(challenger))),
        "incumbent_mae": float(np.mean(np.abs(incumbent))),
        "challenger_bias": float(-np.mean(challenger)),
        "incumbent_bias": float(-np.mean(incumbent)),
    }
    retraining.comparison = comparison
    retraining.save(update_fields=["comparison"])
    loop.state_save(locked, state)
    return verdict, comparison


def _refused(retraining: Retraining, trial: Any, comparison: dict[str, Any]) -> None:
    reason = f"Typically off by {comparison['challenger_mae']:.2f} on the newest {comparison['rows']} rows; the incumbent by {comparison['incumbent_mae']:.2f}"
    version = versions.version_register(
        actor=None,
        model=retraining.pipeline.model,
        package=trial.package,
        key=str(retraining.pk),
        predecessor=retraining.incumbent,
        refusal=reason,
        tags={"phasegate.retraining": str(retraining.pk)},
    )
    with transaction.atomic():
        _step(retraining, "", RetrainingState.REFUSED)
        Retraining.objects.filter(pk=retraining.pk).update(challenger=version, finished_at=wall_now())
        audit.record(actor=None, action="retraining.refuse", obj=retraining, changes=comparison)
        if retraining.incident is not None:
            incidents.step_add(
                retraining.incident,
                "refused",
                f"Challenger refused. {reason}",
                plant_at=retraining.train_to,
                link=retraining.get_absolute_url(),
                **comparison,
            )


def _accepted(retraining: Retraining, version: ModelVersion, comparison: dict[str, Any]) -> None:
    with transaction.atomic():
        Retraining.objects.filter(pk=retraining.pk).update(challenger=version)
        retraining.challenger = version
        audit.record(actor=None, action="retraining.accept", obj=retraining, changes=comparison)
        if retraining.incident is not None:
            incidents.incident_mitigating(retraining.incident)
            incidents.step_add(
                retraining.incident,
                "retrained",
                f"Version {version.number} is better: typically off by {comparison['challenger_mae']:.2f} against {comparison['incumbent_mae']:.2f}",
                plant_at=retraining.train_to,
                link=version.get_absolute_url(),
                **comparison,
            )
    _step(retraining, "sign", RetrainingState.REGISTERING)
    if version.state == VersionState.CANDIDATE and not versions.version_sign_by_standing_approval(version=version):
        _wait_for_signature(retraining, version)
        return
    retraining_release(actor=None, retraining=retraining)


def _wait_for_signature(retraining: Retraining, version: ModelVersion) -> None:
    text = versions.ask_for_signature(version=version, site=retraining.pipeline.adoption.site)
    if retraining.incident is not None:
        incidents.step_add(retraining.incident, "waiting", text, link=version.get_absolute_url())


def retraining_release(*, actor: Any, retraining: Retraining) -> None:
    """Hand the signed challenger to the release backend. Called at once under a standing approval, else when somebody has signed."""
    version = retraining.challenger
    if version is None or version.state != VersionState.APPROVED:
        raise DomainError("not_signed", "Only a signed version can be rolled out.")
    _step(retraining, "roll out", RetrainingState.RELEASING)
    release_backend().release(
        actor=actor,
        version=version,
        adoption=retraining.pipeline.adoption,
        incident=retraining.incident,
        retraining=retraining,
        fast_forward=retraining.fast_forwarded,
    )


def waiting_abandoned(*, version: ModelVersion, reason: str) -> None:
    """Give up the repair that waited for this version's signature, if there is one: the incumbent stays."""
    waiting = Retraining.objects.filter(challenger=version, state=RetrainingState.REGISTERING).first()
    if waiting is not None:
        _abandon(waiting, reason)


def waiting_release(*, actor: Any, version: ModelVersion) -> None:
    """Go on with the repair that waited for this version's signature, if there is one."""
    waiting = (
        Retraining.objects.filter(challenger=version, state=RetrainingState.REGISTERING)
        .select_related("pipeline__adoption__site", "pipeline__model", "incident", "challenger")
        .first()
    )
    if waiting is not None:
        retraining_release(actor=None, retraining=waiting)


@transaction.atomic
def retraining_live(*, retraining: Retraining, from_ms: int) -> None:
    """The rollout is through: the challenger runs on all gateways; ``from_ms`` is the plant time from which it predicts."""
    version = retraining.challenger
    assert version is not None
    versions.version_live(version=version)
    loop.champion_deployed(pipeline=retraining.pipeline, version_id=version.pk, from_ms=from_ms)
    _step(retraining, "", RetrainingState.LIVE)
    now = wall_now()
    Retraining.objects.filter(pk=retraining.pk).update(finished_at=now, version=F("version") + 1)
    if retraining.incident_id is not None:
        incident = Incident.objects.get(pk=retraining.incident_id)
        if incident.live_at is None:
            Incident.objects.filter(pk=incident.pk, live_at=None).update(
                live_at=now, version=F("version") + 1, updated_at=now
            )
        incidents.step_add(
            incident, "live", f"Version {version.number} is live on all gateways", link=version.get_absolute_url()
        )
    audit.record(actor=None, action="retraining.live", obj=retraining)
    if not retraining.fast_forwarded:
        gates_remeasure(adoption=retraining.pipeline.adoption_id)


@transaction.atomic
def retraining_failed(*, retraining: Retraining, reason: str) -> None:
    """The rollout was rolled back: the incumbent stays, the policy waits for its next turn."""
    _abandon(retraining, reason)


@transaction.atomic
def _abandon(retraining: Retraining, reason: str) -> None:
    retraining.refresh_from_db()
    if retraining.state in {RetrainingState.FAILED, RetrainingState.LIVE, RetrainingState.REFUSED}:
        return
    _step(retraining, "", RetrainingState.FAILED)
    Retraining.objects.filter(pk=retraining.pk).update(error=reason[:300], finished_at=wall_now())
    locked = Pipeline.objects.select_for_update().get(pk=retraining.pipeline_id)
    state = loop.LoopState.of(locked)
    policy: RetrainingPolicy | None = state.policy
    if policy is not None and policy.step.value in {"training", "rollout"}:
        policy.abandon()
        loop.state_save(locked, state)
    if retraining.incident is not None and retraining.incident.state != IncidentState.RESOLVED:
        incidents.step_add(
            retraining.incident, "failed", f"Retraining failed: {reason}", link=retraining.get_absolute_url()
        )
    audit.record(actor=None, action="retraining.fail", obj=retraining, changes={"reason": reason})
