"""First version of a model on a pipeline, from the rows on record; sets the limits of the retraining policy out-of-fold."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from django.db import transaction

from governance import recipes
from governance.domain.anomaly import AnomalyRule, AnomalyWatch
from governance.domain.retraining import RetrainingConfig, RetrainingPolicy, calibrate
from governance.frame import frame_of
from governance.lake import moment
from governance.models import ModelVersion, Pipeline
from governance.services import loop, versions
from governance.services.retraining import channels_of, training_set
from portal.core import audit
from portal.core.errors import DomainError

MIN_ROWS = 200


def pipeline_commission(
    *,
    actor: Any,
    pipeline: Pipeline,
    split_at: datetime | None = None,
    until: datetime | None = None,
    config: RetrainingConfig | None = None,
    rule: dict[str, Any] | None = None,
) -> ModelVersion:
    """Train and register version 1 on the rows before ``until`` (plant time).

    Labelled recipes: the policy's limits come from a model of the rows before ``split_at`` scored on the rows after it, so they are out-of-fold.
    Others: the last fifth of the rows is held out as healthy rows for the threshold. Raises DomainError when there are too few rows.
    """
    model = pipeline.model
    recipe = recipes.recipe_of(model)
    frame = frame_of(pipeline)
    if recipe.labelled:
        places = frame.labelled()
    else:
        places = np.flatnonzero(np.isfinite(frame.features[: frame.n]).all(axis=1))
    if until is not None:
        places = places[frame.plant_ms[places] < until.timestamp() * 1000]
    if len(places) < MIN_ROWS:
        raise DomainError("too_few_rows", f"{len(places)} usable rows are on record; commissioning needs {MIN_ROWS}.")
    channels = channels_of(model, pipeline)
    data = training_set(frame, places)
    policy: RetrainingPolicy | None = None
    reference: dict[str, Any] = {
        "from": moment(int(data.plant_ms[0])).isoformat(),
        "to": moment(int(data.plant_ms[-1])).isoformat(),
    }
    metrics: dict[str, float] = {}
    if recipe.labelled:
        cut = int(
            np.searchsorted(data.plant_ms, (split_at or moment(int(np.median(data.plant_ms)))).timestamp() * 1000)
        )
        if cut < MIN_ROWS or len(places) - cut < MIN_ROWS:
            raise DomainError("bad_split", f"Both sides of the split need {MIN_ROWS} labelled rows.")
        first, second = data.slice(0, cut), data.slice(cut, len(places))
        out_of_fold = recipe.build(first, second, channels, model)
        chosen = config or RetrainingConfig()
        limits = calibrate(second.labels, out_of_fold.predict(second.inputs), chosen)
        policy = RetrainingPolicy(chosen, limits, start=len(places))
        reference |= {"out_of_fold_rows": len(second.plant_ms), "split_at": moment(int(data.plant_ms[cut])).isoformat()}
        metrics = dict(out_of_fold.package.metrics)
        trained = recipes.with_metrics(recipe.build(data, second, channels, model), **metrics)
    else:
        cut = int(len(places) * 0.8)
        trained = recipe.build(data.slice(0, cut), data.slice(cut, len(places)), channels, model)
    version = versions.version_register(
        actor=actor, model=model, package=trained.package, key=f"commission:{pipeline.pk}"
    )
    with transaction.atomic():
        locked = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        state = loop.LoopState.of(locked)
        state.policy = policy
        state.feature_next = 0
        if not recipe.labelled:
            state.watch = AnomalyWatch(AnomalyRule(threshold=float(trained.package.threshold), **(rule or {})))
        loop.state_save(locked, state)
        locked.reference = locked.reference | reference
        Pipeline.objects.filter(pk=pipeline.pk).update(reference=locked.reference)
        audit.record(
            actor=actor, action="pipeline.commission", obj=locked, changes=reference | {"version": version.number}
        )
    pipeline.refresh_from_db()
    return version
