"""The loop of a pipeline: residuals in as labels arrive, decisions out, written down as alerts, incidents and retrainings.

The policy itself is pure (governance.domain.retraining); its state lives in ``Pipeline.policy_state`` and only changes here, under the
pipeline's row lock, in the transaction that marks the messages processed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.db import transaction

from governance.choices import AlertKind, DriftKind, RetrainingTrigger, StageKind
from governance.domain.anomaly import AnomalyWatch
from governance.domain.retraining import (
    AlertClosed,
    AlertOpened,
    AlertRenewed,
    Decision,
    Detector,
    RetrainDue,
    RetrainingPolicy,
    Step,
)
from governance.frame import Frame, frame_of
from governance.lake import moment
from governance.models import Alert, Batch, DriftReport, Pipeline, Retraining, Stage
from governance.rows import Floats, Ints
from governance.services import incidents
from portal.core import audit
from portal.core.clock import day_text


@dataclass
class LoopState:
    """What ``Pipeline.policy_state`` holds besides the policy: where it stands among the rows, and which version is in force since when.

    ``anchor``: (run, row) of the newest labelled row fed, with its labelled row number ``anchor_number``.
    ``champions``: oldest first, ``{"version": id, "from_ms": plant time from which it predicts}``.
    """

    policy: RetrainingPolicy | None
    watch: AnomalyWatch | None
    champions: list[dict[str, Any]] = field(default_factory=list)
    anchor: list[int] | None = None
    anchor_number: int = -1
    rising_since_ms: int | None = None
    concept_next: int = 0
    feature_next: int = 0

    @classmethod
    def of(cls, pipeline: Pipeline) -> LoopState:
        raw = dict(pipeline.policy_state or {})
        policy, watch = raw.pop("policy", None), raw.pop("watch", None)
        return cls(
            RetrainingPolicy.from_state(policy) if policy else None,
            AnomalyWatch.from_state(watch) if watch else None,
            **raw,
        )

    def dump(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state() if self.policy else None,
            "watch": self.watch.state() if self.watch else None,
            "champions": self.champions[-20:],
            "anchor": self.anchor,
            "anchor_number": self.anchor_number,
            "rising_since_ms": self.rising_since_ms,
            "concept_next": self.concept_next,
            "feature_next": self.feature_next,
        }

    @property
    def champion(self) -> str | None:
        return self.champions[-1]["version"] if self.champions else None


def state_save(pipeline: Pipeline, state: LoopState) -> None:
    pipeline.policy_state = state.dump()
    Pipeline.objects.filter(pk=pipeline.pk).update(policy_state=pipeline.policy_state)


def live_predictions(frame: Frame, state: LoopState) -> Floats:
    """What the plant saw for each row of the frame: the version in force at that time, else whichever version did predict; NaN without any."""
    out = np.full(frame.n, np.nan)
    for values in frame.predictions.values():
        chosen = np.isnan(out)
        out[chosen] = values[: frame.n][chosen]
    times = frame.plant_ms[: frame.n]
    for champion in state.champions:
        predicted = frame.predictions.get(champion["version"])
        if predicted is None:
            continue
        here = (times >= champion["from_ms"]) & np.isfinite(predicted[: frame.n])
        out[here] = predicted[: frame.n][here]
    return out


@dataclass(frozen=True)
class Observed:
    """The rows with inputs, label and a prediction, oldest first: their places in the frame, labels and live predictions."""

    places: Ints
    labels: Floats
    predictions: Floats

    @property
    def residuals(self) -> Floats:
        """Label minus prediction."""
        return self.labels - self.predictions

    def __len__(self) -> int:
        return len(self.places)


def observed(frame: Frame, state: LoopState) -> Observed:
    places = frame.labelled()
    predictions = live_predictions(frame, state)[places]
    usable = np.isfinite(predictions)
    places = places[usable]
    return Observed(places, frame.label[places], predictions[usable])


def first_number(frame: Frame, state: LoopState, places: Ints) -> int:
    """The policy's number of ``places[0]``. The anchor keeps it right when a frame begins later than the plant did."""
    if state.anchor is None:
        return state.policy.next_row if state.policy else 0
    at = frame.keys.get((state.anchor[0], state.anchor[1]))
    position = int(np.searchsorted(places, at)) if at is not None else len(places) - 1
    return state.anchor_number - position


def training_places(frame: Frame, observed_places: Ints, last_position: int, rows: int) -> Ints:
    """Places of the last ``rows`` labelled rows up to the observed row at ``last_position``, whether or not a model predicted them."""
    labelled = frame.labelled()
    end = int(np.searchsorted(labelled, observed_places[last_position], side="right"))
    return labelled[max(0, end - rows) : end]


def feed(pipeline: Pipeline, frame: Frame, state: LoopState, *, fast_forwarded: bool) -> list[Retraining]:
    """Feed the policy what is new; writes alerts, incidents and due retrainings. Call under the pipeline's lock. Returns what to train."""
    if state.policy is None:
        return []
    seen = observed(frame, state)
    places = seen.places
    if state.anchor is None:
        # Rows from before the first version have no live prediction, so the first observed row is the policy's first.
        start = 0
    else:
        at = frame.keys.get((state.anchor[0], state.anchor[1]))
        start = int(np.searchsorted(places, at, side="right")) if at is not None else len(places)
    fresh = places[start:]
    if len(fresh) == 0:
        return []
    first = state.policy.next_row
    decisions: list[tuple[Decision, int]] = []
    for offset in range(len(fresh)):
        before = state.policy.excess
        here = slice(start + offset, start + offset + 1)
        made = state.policy.observe(first + offset, seen.labels[here], seen.predictions[here])
        after = state.policy.excess
        place = int(fresh[offset])
        if before == 0.0 and after > 0.0:
            state.rising_since_ms = int(frame.plant_ms[place])
        decisions += [(decision, place) for decision in made]
    inverse = _key_of(frame, int(fresh[-1]))
    state.anchor, state.anchor_number = [inverse[0], inverse[1]], first + len(fresh) - 1
    due: list[Retraining] = []
    for decision, place in decisions:
        due += _write(pipeline, frame, state, decision, place, places, first - start, fast_forwarded)
    _concept_reports(pipeline, frame, state, seen)
    return due


def _key_of(frame: Frame, place: int) -> tuple[int, int]:
    for key, at in reversed(frame.keys.items()):
        if at == place:
            return key
    raise LookupError(place)


def _write(
    pipeline: Pipeline,
    frame: Frame,
    state: LoopState,
    decision: Decision,
    place: int,
    places: Ints,
    base: int,
    fast_forwarded: bool,
) -> list[Retraining]:
    at = moment(int(frame.plant_ms[place]))
    if isinstance(decision, AlertOpened):
        kind = AlertKind.RESIDUAL if decision.detector is Detector.STREAM else AlertKind.CONCEPT
        began = moment(state.rising_since_ms) if state.rising_since_ms else at
        incidents.alert_open(
            pipeline=pipeline,
            kind=kind,
            value=decision.value,
            limit=decision.limit,
            plant_at=at,
            began_plant_at=began,
            cause=cause_of(pipeline),
            fast_forwarded=fast_forwarded,
        )
    elif isinstance(decision, AlertRenewed):
        incidents.alert_renew(
            pipeline=pipeline,
            kind=AlertKind.RESIDUAL if decision.detector is Detector.STREAM else AlertKind.CONCEPT,
            value=decision.value,
            limit=decision.limit,
            plant_at=at,
            cause=cause_of(pipeline),
            fast_forwarded=fast_forwarded,
        )
    elif isinstance(decision, AlertClosed):
        incidents.alert_close(
            pipeline=pipeline,
            kinds=(AlertKind.RESIDUAL, AlertKind.CONCEPT),
            plant_at=at,
            text=f"Error back to {decision.value:.2f} times its accepted level (limit {decision.limit:.2f})",
        )
        state.rising_since_ms = None
    elif isinstance(decision, RetrainDue):
        position = decision.last - base
        rows = training_places(frame, places, position, decision.last - decision.first + 1)
        alert = Alert.objects.filter(pipeline=pipeline, state="open").order_by("-opened_at").first()
        retraining, created = Retraining.objects.get_or_create(
            pipeline=pipeline,
            due_row=decision.row,
            trigger=RetrainingTrigger.ALERT,
            defaults={
                "alert": alert,
                "incident": alert.incident if alert else None,
                "train_from": moment(int(frame.plant_ms[rows[0]])),
                "train_to": moment(int(frame.plant_ms[rows[-1]])),
                "train_rows": len(rows),
                "incumbent_id": UUID(state.champion) if state.champion else None,
                "fast_forwarded": fast_forwarded,
                "comparison": {
                    "number": decision.number,
                    "held_out": decision.last - decision.held_out + 1,
                    "last": decision.last,
                },
            },
        )
        if created:
            audit.record(actor=None, action="retraining.due", obj=retraining)
            if retraining.incident is not None:
                incidents.step_add(
                    retraining.incident,
                    "retraining",
                    f"Retraining {decision.number} is due on the last {retraining.train_rows} labelled rows",
                    plant_at=at,
                    link=retraining.get_absolute_url(),
                )
            return [retraining]
    return []


def cause_of(pipeline: Pipeline) -> str:
    """What the newest report on the inputs says, for the incident's line "cause"."""
    report = (
        DriftReport.objects.filter(pipeline=pipeline, kind=DriftKind.FEATURE, measured=True)
        .order_by("-plant_to")
        .first()
    )
    if report is None:
        return "Cause not known yet: the inputs have not been compared with their reference."
    worst = report.features[0]["name"] if report.features else ""
    if report.drifted:
        return f"Inputs behave differently since {day_text(report.plant_from)} (most: {worst})"
    return f"Inputs look as in the same season of earlier years (nearest to a change: {worst}): the relation to the label has moved"


def _concept_reports(pipeline: Pipeline, frame: Frame, state: LoopState, seen: Observed) -> None:
    """The sliding windows as reports (for charts and gates) every ``stride`` rows: root mean square of the error in multiples of its expected
    size over the last ``window`` rows, and the residual detector."""
    assert state.policy is not None
    config, limits, places = state.policy.config, state.policy.limits, seen.places
    newest = state.anchor_number
    base = newest - (len(places) - 1)
    if state.concept_next == 0:
        state.concept_next = base + config.window
    stage = Stage.objects.filter(pipeline=pipeline, kind=StageKind.LABEL).first()
    if stage is None:
        return
    batch = Batch.objects.filter(stage=stage).order_by("-plant_to").first()
    while state.concept_next <= newest + 1:
        last = state.concept_next - base
        first = last - config.window
        state.concept_next += config.stride
        if first < 0:
            continue
        window = seen.residuals[first:last]
        value = float(np.sqrt(np.mean(np.square(limits.scaled(seen.labels[first:last], seen.predictions[first:last])))))
        common = {
            "pipeline": pipeline,
            "stage": stage,
            "batch": batch,
            "rows": len(window),
            "plant_from": moment(int(frame.plant_ms[places[first]])),
            "plant_to": moment(int(frame.plant_ms[places[last - 1]])),
        }
        extra = [
            {"name": "mean error", "value": float(np.mean(np.abs(window)))},
            {"name": "bias", "value": float(-window.mean())},
        ]
        limit = float(limits.window.open_above)
        rows = [
            DriftReport(
                kind=DriftKind.CONCEPT, value=value, limit=limit, drifted=value > limit, features=extra, **common
            ),
            DriftReport(
                kind=DriftKind.RESIDUAL,
                value=float(state.policy.excess),
                limit=float(limits.stream),
                drifted=state.policy.alert_open,
                features=extra,
                **common,
            ),
        ]
        DriftReport.objects.bulk_create(rows, ignore_conflicts=True)


def watch(pipeline: Pipeline, state: LoopState, scores: Floats, plant_ms: Ints, *, fast_forwarded: bool) -> None:
    """Feed anomaly scores in order; opens and closes the anomaly alert."""
    if state.watch is None:
        return
    for change in state.watch.update(scores):
        at = moment(int(plant_ms[change.index]))
        if change.opened:
            first = max(0, change.index - state.watch.rule.window + 1)
            incidents.alert_open(
                pipeline=pipeline,
                kind=AlertKind.ANOMALY,
                value=float(scores[change.index]),
                limit=state.watch.rule.threshold,
                plant_at=at,
                began_plant_at=moment(int(plant_ms[first])),
                fast_forwarded=fast_forwarded,
                cause=f"{change.share:.0%} of the last {state.watch.rule.window} readings are unlike the healthy machine",
            )
        else:
            incidents.alert_close(
                pipeline=pipeline, kinds=(AlertKind.ANOMALY,), plant_at=at, text="The readings look healthy again"
            )


@transaction.atomic
def champion_deployed(*, pipeline: Pipeline, version_id: Any, from_ms: int) -> None:
    """The accepted challenger predicts for the plant from this plant time on; the policy judges it from its first labelled row."""
    locked = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
    state = LoopState.of(locked)
    if state.champion == str(version_id):
        return
    state.champions.append({"version": str(version_id), "from_ms": int(from_ms)})
    if state.policy is not None and state.policy.step is Step.ROLLOUT:
        frame = frame_of(pipeline)
        state.policy.deployed(state.policy.next_row + _rows_before(frame, state, pipeline.expected_period_s, from_ms))
    state_save(locked, state)


def _rows_before(frame: Frame, state: LoopState, period_s: float, from_ms: int) -> int:
    """Rows that the version before has predicted, or will, and whose label is still to come."""
    if state.anchor is None or frame.n == 0:
        return 0
    at = frame.keys.get((state.anchor[0], state.anchor[1]))
    waiting = frame.plant_ms[(at + 1 if at is not None else 0) : frame.n]
    newest = int(frame.plant_ms[frame.n - 1])
    still_to_come = max(0, round((from_ms - newest) / (period_s * 1000)) - 1)
    return int(np.count_nonzero(waiting < from_ms)) + still_to_come
