"""From the inbox to the record: batches with lineage, checks, the loop, drift reports. One pass is idempotent and may be killed at any point.

Within one transaction per source and pass: batches, check results, the policy's new state and ``processed_at``; so a message is either wholly
processed or not at all. Drift reports follow outside, unique on what they compare. Retrainings are jobs, or run at once while history is fast-forwarded.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from django.db import DataError, IntegrityError, transaction
from django.db.models import Q

from devices.choices import ReplayState
from devices.models import PlantClock
from governance.choices import AlertKind, CheckKind, CheckState, DriftKind, StageKind, StreamKind
from governance.domain import checks as rules
from governance.domain.drift import DriftLimits, DriftState, WindowDrift, feature_drift, seasonal_drift
from governance.domain.reference import Reference, SeasonalHistory
from governance.frame import Frame, forget_frames, frame_of
from governance.lake import ROW_KINDS, moment
from governance.models import Batch, Check, CheckResult, DriftReport, InboxMessage, Pipeline, Retraining, Stage
from governance.rows import RowBlock, unpack
from governance.services import incidents, loop
from governance.services.retraining import channels_read, retraining_enqueue, retraining_run
from portal.core.clock import wall_now

PASS_SIZE = 400
log = structlog.get_logger(__name__)
#: What the contents of a message may cause. A database or a file store that is away ends the pass.
PASSING_BY = (ArithmeticError, AttributeError, DataError, IntegrityError, LookupError, TypeError, ValueError)


@dataclass
class Passed:
    """What one pass did."""

    messages: int = 0
    retrainings: int = 0


def process_pending(*, limit: int = PASS_SIZE, fast_forwarded: bool = False, site_id: Any = None) -> Passed:
    """Process what the inbox holds, oldest first, source by source. A source that cannot be processed keeps its messages and does not
    keep the others from theirs; its error is raised when all had their turn."""
    rows = InboxMessage.objects.filter(processed_at=None, kind__in=ROW_KINDS)
    if site_id is not None:
        rows = rows.filter(gateway__site_id=site_id)
    total, failed, error = Passed(), Q(), None
    while True:
        waiting = list(rows.exclude(failed).order_by("id").values_list("id", "gateway__site_id", "stream")[:limit])
        by_source: dict[tuple[Any, str], list[int]] = defaultdict(list)
        for pk, site, stream in waiting:
            by_source[(site, stream.split("/")[0])].append(pk)
        again = False
        for (site, source), ids in by_source.items():
            try:
                due = _process_source(site, source, ids, fast_forwarded)
            except PASSING_BY as problem:
                log.exception("inbox.source_failed", site=str(site), source=source, messages=len(ids))
                # The frame may be ahead of what was rolled back; it is only a cache.
                forget_frames()
                failed |= Q(gateway__site_id=site, stream__startswith=f"{source}/")
                error, again = error or problem, True
                continue
            except BaseException:
                forget_frames()
                raise
            total.messages += len(ids)
            for retraining in due:
                total.retrainings += 1
                _begin(retraining)
        # What the failed source filled of the pass is left to those behind it.
        if not again or len(waiting) < limit:
            break
    if error is not None:
        raise error
    return total


def _begin(retraining: Retraining) -> None:
    if retraining.fast_forwarded:
        retraining_run(retraining_id=retraining.pk)
        return
    retraining_enqueue(actor=None, retraining=retraining)


def _process_source(site_id: Any, source: str, ids: list[int], fast_forwarded: bool) -> list[Retraining]:
    due: list[Retraining] = []
    with transaction.atomic():
        pipelines = list(
            Pipeline.objects.select_for_update(of=("self",))
            .filter(adoption__site_id=site_id, stream=source)
            .select_related("model", "adoption__site", "adoption__use_case")
            .order_by("pk")
        )
        messages = list(
            InboxMessage.objects.filter(pk__in=ids, processed_at=None).select_related("gateway").order_by("id")
        )
        if messages:
            blocks = [(message, unpack(message.payload)) for message in messages]
            for pipeline in pipelines:
                due += _process_pipeline(pipeline, blocks, fast_forwarded)
            InboxMessage.objects.filter(pk__in=[m.pk for m in messages]).update(processed_at=wall_now())
    for pipeline in pipelines:
        drift_evaluate(pipeline)
    return due


def _process_pipeline(
    pipeline: Pipeline, blocks: list[tuple[InboxMessage, RowBlock]], fast_forwarded: bool
) -> list[Retraining]:
    frame = frame_of(pipeline)
    state = loop.LoopState.of(pipeline)
    recorder = Recorder(pipeline)
    for message, block in blocks:
        recorder.take(message, block)
    recorder.save()
    if state.watch is not None:
        for message, block in blocks:
            # Only what the version in force says: two gateways report the same rows.
            if (
                message.kind == StreamKind.INFERENCE
                and block.meta.get("model_version") == state.champion
                and recorder.first_reporter(block)
            ):
                loop.watch(pipeline, state, block.column("prediction"), block.times, fast_forwarded=fast_forwarded)
    due = loop.feed(pipeline, frame, state, fast_forwarded=fast_forwarded) if pipeline.model.target else []
    loop.state_save(pipeline, state)
    _check_alerts(pipeline, recorder, fast_forwarded)
    return due


class Recorder:
    """Batches, lineage and check results of one pass for one pipeline, written in bulk."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.stages = {stage.kind: stage for stage in Stage.objects.filter(pipeline=pipeline)}
        self.checks: dict[Any, list[Check]] = defaultdict(list)
        for check in Check.objects.filter(stage__pipeline=pipeline, enabled=True):
            self.checks[check.stage_id].append(check)
        self.versions = {str(pk) for pk in pipeline.model.versions.values_list("pk", flat=True)}
        names = {*pipeline.model.features, pipeline.model.target}
        self.limits = {
            channel.code: (channel.range_low, channel.range_high) for channel in channels_read(pipeline, names)
        }
        self.batches: list[Batch] = []
        self.links: list[tuple[Batch, Batch]] = []
        self.results: list[CheckResult] = []
        self.failed: list[CheckResult] = []
        self._windows: dict[tuple[Any, Any], Batch] = {}
        self._last_ms: dict[tuple[Any, str], int | None] = {}
        self._reporters: set[tuple[int, int]] = set()

    def first_reporter(self, block: RowBlock) -> bool:
        """Whether these rows were not yet reported in this pass by another gateway."""
        key = (block.run, int(block.rows[0]))
        newest = self.pipeline.policy_state.get("watched", [-1, -1]) if self.pipeline.policy_state else [-1, -1]
        if key in self._reporters or [block.run, int(block.rows[-1])] <= list(newest):
            return False
        self._reporters.add(key)
        return True

    def take(self, message: InboxMessage, block: RowBlock) -> None:
        if message.kind == StreamKind.TELEMETRY:
            columns = {name: block.column(name) for name in self.pipeline.model.features if name in block.columns}
            if not columns:
                return
            source = self._batch(StageKind.SOURCE, message, block, sequence=message.sequence)
            window = self._batch(StageKind.WINDOW, message, block, sequence=message.sequence)
            self._link(window, source)
            if window is not None:
                self._windows[(message.gateway_id, message.sequence)] = window
            self._check(source, columns, block)
            self._check(window, columns, block)
        elif message.kind == StreamKind.INFERENCE and str(block.meta.get("model_version")) in self.versions:
            values = block.column("prediction")
            refused = min(int(block.meta.get("refused", 0)), len(block.times))
            features = self._batch(StageKind.FEATURES, message, block, sequence=message.sequence, refused=refused)
            prediction = self._batch(
                StageKind.PREDICTION, message, block, sequence=message.sequence, refused=int(np.isnan(values).sum())
            )
            self._link(prediction, features)
            self._link(features, self._window_of(message, block))
            self._check(features, {}, block)
            self._check(prediction, {"prediction": values[np.isfinite(values)]}, block)
        elif message.kind == StreamKind.LABELS and self.pipeline.model.target in block.columns:
            label = self._batch(StageKind.LABEL, message, block, sequence=message.sequence)
            self._check(label, {self.pipeline.model.target: block.column(self.pipeline.model.target)}, block)

    def _batch(
        self, kind: str, message: InboxMessage, block: RowBlock, *, sequence: int, refused: int = 0
    ) -> Batch | None:
        stage = self.stages.get(kind)
        if stage is None:
            return None
        times = block.times
        version = block.meta.get("model_version") if kind in {StageKind.FEATURES, StageKind.PREDICTION} else None
        batch = Batch(
            pipeline=self.pipeline,
            stage=stage,
            gateway=message.gateway,
            sequence=sequence,
            rows=len(times),
            rows_refused=refused,
            plant_from=moment(int(times.min())),
            plant_to=moment(int(times.max())),
            received_at=message.received_at,
            sha256=message.sha256,
            model_version_id=version,
            inbox=message,
        )
        self.batches.append(batch)
        return batch

    def _link(self, after: Batch | None, before: Batch | None) -> None:
        if after is not None and before is not None:
            self.links.append((after, before))

    def _window_of(self, message: InboxMessage, block: RowBlock) -> Batch | None:
        sequence = block.meta.get("input_sequence")
        found = self._windows.get((message.gateway_id, sequence))
        if found is None and sequence is not None and StageKind.WINDOW in self.stages:
            found = Batch.objects.filter(
                stage=self.stages[StageKind.WINDOW], gateway=message.gateway, sequence=sequence
            ).first()
        return found

    def _previous_ms(self, batch: Batch) -> int | None:
        key = (batch.gateway_id, batch.stage.kind)
        if key not in self._last_ms:
            before = Batch.objects.filter(stage=batch.stage, gateway=batch.gateway).order_by("-sequence").first()
            self._last_ms[key] = round(before.plant_to.timestamp() * 1000) if before else None
        return self._last_ms[key]

    def _check(self, batch: Batch | None, columns: dict[str, Any], block: RowBlock) -> None:
        if batch is None:
            return
        for check in self.checks.get(batch.stage_id, ()):
            if check.kind == CheckKind.SCHEMA:
                expected = check.config.get("columns") or list(columns)
                finding = rules.schema_finding(columns, expected)
            elif check.kind == CheckKind.RANGE:
                limits = {name: tuple(pair) for name, pair in check.config.get("limits", {}).items()} or self.limits
                finding = rules.range_finding(columns, limits)
            else:
                previous = self._previous_ms(batch)
                finding = rules.staleness_finding(
                    block.times,
                    previous,
                    check.config.get("period_s", self.pipeline.expected_period_s),
                    allowed_gap_s=check.config.get("allowed_gap_s"),
                )
            state = CheckState.PASSED if finding.passed(check.max_failed_share) else CheckState.FAILED
            result = CheckResult(
                stage_check=check,
                batch=batch,
                state=state,
                failed_rows=finding.failed,
                text=finding.text[:300],
                detail=finding.detail,
                plant_at=batch.plant_to,
            )
            self.results.append(result)
            if state == CheckState.FAILED:
                self.failed.append(result)
        self._last_ms[(batch.gateway_id, batch.stage.kind)] = int(block.times[-1])

    def save(self) -> None:
        Batch.objects.bulk_create(self.batches, batch_size=500)
        through = Batch.inputs.through
        through.objects.bulk_create(
            [through(from_batch_id=after.pk, to_batch_id=before.pk) for after, before in self.links], batch_size=1000
        )
        CheckResult.objects.bulk_create(self.results, batch_size=500)


def _check_alerts(pipeline: Pipeline, recorder: Recorder, fast_forwarded: bool) -> None:
    """Checks that fail batch after batch are an alert; one bad batch is a red line on the page."""
    if not recorder.results:
        return
    newest = list(
        CheckResult.objects.filter(batch__pipeline=pipeline, stage_check__kind__in=[CheckKind.SCHEMA, CheckKind.RANGE])
        .order_by("-plant_at", "-created_at")
        .values_list("state", "plant_at", "text")[:6]
    )
    at: Any = newest[0][1]
    if len(newest) == 6 and all(state == CheckState.FAILED for state, _, _ in newest):
        incidents.alert_open(
            pipeline=pipeline,
            kind=AlertKind.CHECK,
            value=6.0,
            limit=5.0,
            plant_at=at,
            cause=newest[0][2],
            fast_forwarded=fast_forwarded,
        )
    elif newest and all(state != CheckState.FAILED for state, _, _ in newest):
        incidents.alert_close(pipeline=pipeline, kinds=(AlertKind.CHECK,), plant_at=at, text="The checks pass again")


# ---- drift -----------------------------------------------------------------------------------------------------------


def drift_evaluate(pipeline: Pipeline) -> int:
    """Reports on inputs and label for every window that is full and has none yet. Returns how many were written."""
    settings = {"mode": "seasonal", "window": 600, "step": 300, "first": 600} | pipeline.reference.get("drift", {})
    frame = frame_of(pipeline)
    feature_stage = Stage.objects.filter(pipeline=pipeline, kind=StageKind.WINDOW).first()
    label_stage = Stage.objects.filter(pipeline=pipeline, kind=StageKind.LABEL).first()
    written = 0
    if feature_stage is not None:
        places = np.flatnonzero(np.isfinite(frame.features[: frame.n]).any(axis=1))
        written += _drift_windows(
            pipeline, feature_stage, DriftKind.FEATURE, frame, places, frame.features, frame.names, settings
        )
    if label_stage is not None and pipeline.model.target:
        places = np.flatnonzero(np.isfinite(frame.label[: frame.n]))
        written += _drift_windows(
            pipeline,
            label_stage,
            DriftKind.LABEL,
            frame,
            places,
            frame.label[:, None],
            (pipeline.model.target,),
            settings,
        )
    return written


def _drift_windows(
    pipeline: Pipeline,
    stage: Stage,
    kind: str,
    frame: Frame,
    places: Any,
    values: Any,
    names: tuple[str, ...],
    settings: dict[str, Any],
) -> int:
    size, step = int(settings["window"]), int(settings["step"])
    times = frame.plant_ms[places]
    newest = (
        DriftReport.objects.filter(stage=stage, kind=kind)
        .order_by("-plant_to")
        .values_list("plant_to", flat=True)
        .first()
    )
    ends = np.arange(max(size, int(settings["first"])), len(places) + 1, step)
    if newest is not None:
        ends = ends[times[ends - 1] > newest.timestamp() * 1000 + 0.5]
    written = 0
    for end in ends.tolist():
        here = places[end - size : end]
        start_ms, end_ms = int(times[end - size]), int(times[end - 1])
        rows = values[here]
        verdict = _compare(settings, frame, places[: end - size], values, names, rows, start_ms, end_ms)
        batch = Batch.objects.filter(stage=stage, plant_to__lte=moment(end_ms)).order_by("-plant_to").first()
        report = _report(pipeline, stage, kind, batch, size, start_ms, end_ms, verdict)
        DriftReport.objects.bulk_create([report], ignore_conflicts=True)
        written += 1
    return written


def _compare(
    settings: dict[str, Any],
    frame: Frame,
    past: Any,
    values: Any,
    names: tuple[str, ...],
    rows: Any,
    start_ms: int,
    end_ms: int,
) -> WindowDrift | None:
    limits = DriftLimits(**settings.get("limits", {}))
    if settings["mode"] == "fixed":
        first = past[: int(settings["first"])]
        return (
            feature_drift(Reference.from_rows(values[first], names), rows, limits)
            if len(first) >= limits.min_rows
            else None
        )
    history = SeasonalHistory.from_rows(
        frame.plant_ms[past].astype("datetime64[ms]").astype("datetime64[s]"), values[past], names
    )
    start, end = (np.datetime64(ms, "ms").astype("datetime64[s]") for ms in (start_ms, end_ms))
    return seasonal_drift(history, rows, start, end, limits)


def _report(
    pipeline: Pipeline,
    stage: Stage,
    kind: str,
    batch: Batch | None,
    rows: int,
    start_ms: int,
    end_ms: int,
    verdict: WindowDrift | None,
) -> DriftReport:
    measured = verdict is not None and verdict.state is not DriftState.NOT_MEASURED
    features: list[dict[str, Any]] = []
    if verdict is not None:
        ordered = sorted(verdict.features, key=lambda f: -(f.effect if f.effect == f.effect else -1.0))
        features = [
            {
                "name": f.name,
                "state": f.state.value,
                "reason": f.reason,
                "effect": _number(f.effect),
                "effect_limit": _number(f.effect_limit),
                "ks": _number(f.ks),
                "critical": _number(f.critical),
                "psi": _number(f.psi),
                "js": _number(f.js),
                "wasserstein": _number(f.wasserstein),
                "mean_shift": _number(f.mean_shift),
            }
            for f in ordered
        ]
    worst = features[0] if features else None
    return DriftReport(
        pipeline=pipeline,
        stage=stage,
        kind=kind,
        batch=batch,
        rows=rows,
        plant_from=moment(start_ms),
        plant_to=moment(end_ms),
        value=worst["effect"] if worst else None,
        limit=worst["effect_limit"] if worst else None,
        drifted=bool(verdict is not None and verdict.state is DriftState.DRIFTED),
        measured=measured,
        reason="" if measured else (worst["reason"] if worst else "There are no earlier rows to compare with."),
        features=features,
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def replaying(site_id: Any) -> bool:
    return PlantClock.objects.filter(site_id=site_id, state=ReplayState.RUNNING).exists()
