"""First version of a model on a pipeline: trained on the rows on record, or brought as a file; sets the policy's limits out-of-fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from governance import artefacts, recipes
from governance.domain.anomaly import AnomalyRule, AnomalyWatch
from governance.domain.retraining import Limits, RetrainingConfig, RetrainingPolicy, calibrate
from governance.frame import frame_of
from governance.lake import moment
from governance.models import ModelVersion, Pipeline
from governance.services import loop, versions
from governance.services.retraining import channels_of, training_set
from portal.core import audit
from portal.core.errors import DomainError, InvalidInput
from portal.core.jobs import job_start
from portal.core.models import Job

MIN_ROWS = 200
MAX_FILE = 5 * 1024 * 1024
METHODS = ("train", "file", "registry")
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Brought:
    """A model trained elsewhere. ``trained_until``: plant time of the newest row it has seen; ``origin`` names where it came from."""

    onnx: bytes
    trained_until: datetime | None
    origin: str


@dataclass(frozen=True)
class _Made:
    """A package and what was measured on the way; ``reference`` goes onto the pipeline."""

    package: Any
    policy: RetrainingPolicy | None
    reference: dict[str, Any]


def _quiet(text: str, share: float) -> None:
    """Nobody watches."""


def commissioned(pipeline: Pipeline) -> bool:
    state = pipeline.policy_state or {}
    return bool(state.get("policy") or state.get("watch"))


def rows_needed(pipeline: Pipeline) -> tuple[int, int]:
    """Usable rows below which nothing begins, and rows with which half of them fill the policy's windows."""
    recipe = recipes.recipe_of(pipeline.model)
    if not recipe.labelled:
        return MIN_ROWS, MIN_ROWS
    config = RetrainingConfig(**pipeline.reference.get("retraining", {}))
    return 2 * MIN_ROWS, 2 * max(MIN_ROWS, config.window + config.stride)


def pipeline_commission(
    *,
    actor: Any,
    pipeline: Pipeline,
    split_at: datetime | None = None,
    until: datetime | None = None,
    config: RetrainingConfig | None = None,
    rule: dict[str, Any] | None = None,
    brought: Brought | None = None,
    progress: Progress = _quiet,
) -> ModelVersion:
    """Train and register version 1 on the rows before ``until`` (plant time), or take the file that was ``brought``.

    Labelled models: the policy's limits come from a model of the rows before ``split_at`` (``trained_until`` of a file) scored on the
    rows after it, so they are out-of-fold. Others: the last fifth of the rows is held out as healthy rows for the threshold.
    ``config`` and ``rule`` override what was chosen when the pipeline was set up. Raises DomainError: too few rows, a file that does not fit.
    """
    model = pipeline.model
    recipe = recipes.recipe_of(model)
    progress(_("Reading the rows on record"), 0.05)
    frame = frame_of(pipeline)
    if recipe.labelled:
        places = frame.labelled()
    else:
        places = np.flatnonzero(np.isfinite(frame.features[: frame.n]).all(axis=1))
    if until is not None:
        places = places[frame.plant_ms[places] < until.timestamp() * 1000]
    if len(places) < MIN_ROWS:
        raise DomainError("too_few_rows", f"{len(places)} usable rows are on record; commissioning needs {MIN_ROWS}.")
    chosen = config or RetrainingConfig(**pipeline.reference.get("retraining", {}))
    try:
        if recipe.labelled:
            made = _labelled(pipeline, recipe, training_set(frame, places), chosen, split_at, brought, progress)
        else:
            made = _unlabelled(pipeline, recipe, training_set(frame, places), brought, progress)
    except ValueError as error:
        raise DomainError("not_commissioned", f"The rows or the file do not serve: {error}.") from error
    progress(_("Checking the budget, registering"), 0.85)
    version = versions.version_register(
        actor=actor,
        model=model,
        package=made.package,
        key=f"commission:{pipeline.pk}",
        tags={"phasegate.origin": brought.origin} if brought else None,
    )
    with transaction.atomic():
        locked = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        state = loop.LoopState.of(locked)
        state.policy = made.policy
        state.feature_next = 0
        if not recipe.labelled:
            chosen_rule = rule if rule is not None else locked.reference.get("rule", {})
            state.watch = AnomalyWatch(AnomalyRule(threshold=float(made.package.threshold), **chosen_rule))
        loop.state_save(locked, state)
        locked.reference = locked.reference | made.reference
        Pipeline.objects.filter(pk=pipeline.pk).update(reference=locked.reference)
        audit.record(
            actor=actor, action="pipeline.commission", obj=locked, changes=made.reference | {"version": version.number}
        )
    pipeline.refresh_from_db()
    return version


def _span(data: recipes.TrainingSet) -> dict[str, Any]:
    return {"from": moment(int(data.plant_ms[0])).isoformat(), "to": moment(int(data.plant_ms[-1])).isoformat()}


def _cut(data: recipes.TrainingSet, at: datetime | None) -> int:
    """Rows before the moment, or half of them; both sides must be able to speak."""
    split = at or moment(int(np.median(data.plant_ms)))
    cut = int(np.searchsorted(data.plant_ms, split.timestamp() * 1000))
    if cut < MIN_ROWS or len(data.plant_ms) - cut < MIN_ROWS:
        raise DomainError("bad_split", f"Both sides of the split need {MIN_ROWS} labelled rows.")
    return cut


def _limits(labels: Any, predicted: Any, config: RetrainingConfig) -> Limits:
    if len(labels) < config.window + config.stride:
        raise DomainError(
            "too_few_rows",
            f"{len(labels)} labelled rows lie after the split; the error windows of the policy need {config.window + config.stride}. "
            "Split earlier, wait for more rows, or choose a shorter window.",
        )
    return calibrate(labels, predicted, config)


def _labelled(
    pipeline: Pipeline,
    recipe: recipes.Recipe,
    data: recipes.TrainingSet,
    config: RetrainingConfig,
    split_at: datetime | None,
    brought: Brought | None,
    progress: Progress,
) -> _Made:
    model, channels, rows = pipeline.model, channels_of(pipeline.model, pipeline), len(data.plant_ms)
    if brought is not None:
        if brought.trained_until is None:
            raise InvalidInput({"trained_until": _("Say up to which plant time the model has seen rows.")})
        progress(_("Scoring the file on rows that it has not seen"), 0.3)
        return _brought_sensor(model, data, channels, config, brought)
    cut = _cut(data, split_at)
    first, second = data.slice(0, cut), data.slice(cut, rows)
    progress(_("Training on the earlier rows, scoring the later ones"), 0.2)
    out_of_fold = recipe.build(first, second, channels, model)
    limits = _limits(second.labels, out_of_fold.predict(second.inputs), config)
    progress(_("Training on all rows"), 0.55)
    trained = recipes.with_metrics(recipe.build(data, second, channels, model), **out_of_fold.package.metrics)
    reference = _span(data) | {"out_of_fold_rows": rows - cut, "split_at": moment(int(data.plant_ms[cut])).isoformat()}
    return _Made(trained.package, RetrainingPolicy(config, limits, start=rows), reference)


def _brought_sensor(
    model: Any, data: recipes.TrainingSet, channels: Any, config: RetrainingConfig, brought: Brought
) -> _Made:
    from governance.modelling import imported
    from governance.modelling.package import Feature, PlantTime

    until = brought.trained_until
    assert until is not None
    cut = int(np.searchsorted(data.plant_ms, until.timestamp() * 1000, side="right"))
    unseen = data.slice(cut, len(data.plant_ms))
    if len(unseen.plant_ms) < MIN_ROWS:
        raise DomainError(
            "too_few_rows",
            f"{len(unseen.plant_ms)} labelled rows are newer than what the model has seen; {MIN_ROWS} are needed to judge it.",
        )
    end = round(until.timestamp() * 1000)
    package, predicted = imported.soft_sensor(
        brought.onnx,
        features=[Feature(c.name, c.unit, c.low, c.high) for c in channels],
        target=model.target,
        unit=model.unit,
        plant_time=PlantTime(min(int(data.plant_ms[0]), end), end),
        held_out_rows=unseen.inputs,
        held_out_target=unseen.labels,
    )
    limits = _limits(unseen.labels, predicted, config)
    reference = _span(unseen) | {"out_of_fold_rows": len(predicted), "split_at": until.isoformat()}
    return _Made(package, RetrainingPolicy(config, limits, start=len(data.plant_ms)), reference)


def _unlabelled(
    pipeline: Pipeline, recipe: recipes.Recipe, data: recipes.TrainingSet, brought: Brought | None, progress: Progress
) -> _Made:
    model, channels, rows = pipeline.model, channels_of(pipeline.model, pipeline), len(data.plant_ms)
    cut = int(rows * 0.8)
    if brought is None:
        progress(_("Training on healthy rows, quantising"), 0.2)
        trained = recipe.build(data.slice(0, cut), data.slice(cut, rows), channels, model)
        return _Made(trained.package, None, _span(data))
    from governance.modelling import imported
    from governance.modelling.package import Feature, PlantTime

    progress(_("Scoring the file on healthy rows"), 0.3)
    package = imported.detector(
        brought.onnx,
        features=[Feature(c.name, c.unit, c.low, c.high) for c in channels],
        plant_time=PlantTime(int(data.plant_ms[0]), int(data.plant_ms[-1])),
        healthy_rows=data.inputs,
    )
    return _Made(package, None, _span(data))


# ---- as work in the background ----------------------------------------------------------------------------------------


def job_key(pipeline_id: Any) -> str:
    return f"commission:{pipeline_id}"


@transaction.atomic
def commission_start(
    *,
    actor: Any,
    pipeline: Pipeline,
    method: str = "train",
    split_at: datetime | None = None,
    until: datetime | None = None,
    trained_until: datetime | None = None,
    onnx: bytes | None = None,
    registry_version: str = "",
) -> Job:
    """Start the work; asked twice it is the same job. Raises ``commissioned`` when there is a first version already, and field errors.

    ``method``: train (``split_at``, ``until``), file (``onnx``) or registry (``registry_version`` of the model's name there); a labelled
    model that is brought needs ``trained_until``. All moments are plant time.
    """
    Pipeline.objects.select_for_update(of=("self",)).get(pk=pipeline.pk)
    pipeline.refresh_from_db()
    if commissioned(pipeline):
        raise DomainError(
            "commissioned", _("It is commissioned already. Further versions come by retraining: rehearse one by hand.")
        )
    wrong: dict[str, str] = {}
    if method not in METHODS:
        wrong["method"] = _("Train it here, bring a file, or take a version of the registry.")
    if method == "file" and not onnx:
        wrong["onnx"] = _("Choose the ONNX file.")
    if onnx is not None and len(onnx) > MAX_FILE:
        wrong["onnx"] = _("At most %(n)s MiB.") % {"n": MAX_FILE // 2**20}
    if method == "registry" and not (registry_version.isascii() and registry_version.isdigit()):
        wrong["registry_version"] = _("The number of a version in the registry.")
    if method in {"file", "registry"} and trained_until is None and recipes.recipe_of(pipeline.model).labelled:
        wrong["trained_until"] = _("Say up to which plant time the model has seen rows: it is judged on newer ones.")
    if split_at is not None and until is not None and split_at >= until:
        wrong["split_at"] = _("The split lies before the end.")
    if wrong:
        raise InvalidInput(wrong)
    options = {
        "method": method,
        "split_at": split_at.isoformat() if split_at else None,
        "until": until.isoformat() if until else None,
        "trained_until": trained_until.isoformat() if trained_until else None,
        "sha256": artefacts.store(onnx) if method == "file" and onnx else None,
        "registry_version": registry_version if method == "registry" else "",
    }
    return job_start(
        actor=actor,
        kind="commissioning",
        title=f"First version of {pipeline.name}",
        task="governance.commission",
        args=[str(pipeline.pk), options],
        unique_key=job_key(pipeline.pk),
        site_id=pipeline.adoption.site_id,
        use_case_id=pipeline.adoption.use_case_id,
    )


def commission_run(
    *, actor: Any, pipeline_id: UUID | str, options: dict[str, Any], progress: Progress = _quiet
) -> ModelVersion:
    """What the job does: bring or train, quantise, register; then sign under a standing approval or ask for a hand."""
    pipeline = Pipeline.objects.select_related("model", "adoption__site", "adoption__use_case").get(pk=pipeline_id)
    if commissioned(pipeline):
        return pipeline.model.versions.order_by("number")[0]
    version = pipeline_commission(
        actor=actor,
        pipeline=pipeline,
        split_at=_moment(options.get("split_at")),
        until=_moment(options.get("until")),
        brought=_brought(pipeline, options, progress),
        progress=progress,
    )
    progress(_("Waiting for a signature"), 0.95)
    if not versions.version_sign_by_standing_approval(version=version):
        versions.ask_for_signature(version=version, site=pipeline.adoption.site)
    return version


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _brought(pipeline: Pipeline, options: dict[str, Any], progress: Progress) -> Brought | None:
    until = _moment(options.get("trained_until"))
    if options["method"] == "file":
        return Brought(artefacts.load(options["sha256"]), until, f"file {options['sha256'][:12]}")
    if options["method"] != "registry":
        return None
    from governance.registry_client import Registry, RegistryError

    progress(_("Fetching the file from the registry"), 0.02)
    name, number = pipeline.model.registry_name or pipeline.model.code, options["registry_version"]
    registry = Registry(settings.MLFLOW_TRACKING_URI, artifact_root=settings.MLFLOW_ARTEFACT_ROOT)
    try:
        return Brought(registry.download(name, number), until, f"registry {name} {number}")
    except (RegistryError, OSError) as error:
        raise DomainError("registry", f"The registry has no file for {name} version {number}: {error}") from error
