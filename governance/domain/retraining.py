"""The closed loop of a decaying regression model: alert, retraining, champion check, recovery.

Row by row as labels arrive, the policy decides when an alert opens, when a retraining is due, whether its challenger
replaces the incumbent and when the alert closes. It reads no clock and no store: a row number is its only time.
Terms, guarantees and the worked table: docs/algorithms/retraining.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governance.domain.concept import ConceptLimit, ConceptWindows, Measure, concept_limit, windowed_errors

Floats = NDArray[np.float64]
ROUNDING = 1.0 + 1e-9  # row by row and all at once round differently


class Detector(StrEnum):
    """What opened an alert: the judged windows, or the residual detector that looks at every row."""

    WINDOW = "window"
    STREAM = "stream"


class Step(StrEnum):
    """Where the loop stands. Only in `WATCHING` is no alert open."""

    WATCHING = "watching"
    WAITING = "waiting"  # alert open, the next retraining is not due yet
    TRAINING = "training"  # a retraining was asked for, its champion check is not back
    ROLLOUT = "rollout"  # a challenger won and is not in force yet
    TRIAL = "trial"  # the new champion is in force and collects evidence


@dataclass(frozen=True, slots=True)
class RetrainingConfig:
    """Settings of the loop; all lengths in labelled rows.

    `proportional`: errors are expected to grow with the prediction (else: the same at every level).
    `window`, `stride`: the judged windows. `sigmas`: their limit above the mean of the out-of-fold windows.
    `allowance`: excess of the loss over its out-of-fold level that is tolerated; half the excess to be found.
    `cap`: an error counts as at most this many times its expected size. `headroom`: factor on the highest out-of-fold
    value of the residual detector. `train_rows`: length of the training slice; `memory`: e-folding age of its weights.
    `min_gap`: rows between two retrainings at least. `holdout`: latest rows kept from the challenger in the check.
    `min_gain`: share by which the challenger's held-out loss must be lower. `evidence`: rows on which recovery is
    judged, and wait after a refusal. `backoff_limit`: that wait doubles with refusals in a row, at most this often.
    """

    proportional: bool = True
    window: int = 600
    stride: int = 300
    sigmas: float = 3.0
    allowance: float = 0.5
    cap: float = 3.0
    headroom: float = 1.25
    train_rows: int = 5000
    memory: float = 1000.0
    min_gap: int = 150
    holdout: int = 75
    min_gain: float = 0.0
    evidence: int = 300
    backoff_limit: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.holdout <= self.min_gap:
            raise ValueError("holdout is 1 to min_gap rows: the incumbent must not have been trained on them")
        if self.train_rows <= 2 * self.holdout:
            raise ValueError("train_rows must be more than twice the holdout")
        if self.memory <= 0 or self.cap <= 0 or self.allowance < 0 or self.headroom < 1 or self.evidence < 1:
            raise ValueError("memory and cap above 0, allowance at least 0, headroom and evidence at least 1")
        if not 0.0 <= self.min_gain < 1.0 or self.backoff_limit < 0:
            raise ValueError("min_gain from 0 to below 1, backoff_limit at least 0")

    @property
    def tolerated(self) -> float:
        """Mean loss up to which nothing accumulates."""
        return 1.0 + self.allowance

    @property
    def recovered(self) -> float:
        """Mean loss at or below which an alert closes: less than the level that the residual detector is built to find."""
        return 1.0 + 2.0 * self.allowance


@dataclass(frozen=True, slots=True)
class Limits:
    """What "as good as accepted" means, measured out-of-fold.

    `scale`: expected size of an error, a fraction of the prediction where `floor` is above 0 (predictions nearer to
    zero than `floor` count as `floor`, label's unit), else in the label's unit. `window`: limit on the root mean
    square scaled error of a window. `stream`: limit on the residual detector.
    """

    scale: float
    floor: float
    window: ConceptLimit
    stream: float

    def scaled(self, labels: ArrayLike, predictions: ArrayLike) -> Floats:
        """Errors in multiples of their expected size, shape (rows,): root mean square 1 in the out-of-fold rows."""
        truth, guess = _pair(labels, predictions)
        return (truth - guess) / (self.scale * _level(guess, self.floor))


@dataclass(frozen=True, slots=True)
class AlertOpened:
    """`value` passed `limit` with labelled row `row`.

    `window`: root mean square of the scaled errors. `stream`: accumulated excess of the loss.
    """

    row: int
    detector: Detector
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class AlertRenewed:
    """While the alert was open, the residual detector passed `limit` on the champion now in force (once for each)."""

    row: int
    detector: Detector
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class AlertClosed:
    """The last `evidence` rows of the champion cost `value` (mean scaled loss), at or below `limit`."""

    row: int
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class RetrainDue:
    """Train now, as the `number`-th retraining, on labelled rows `first` to `last` inclusive.

    In the champion check the challenger is trained on `first` to `held_out - 1` and scored on `held_out` to `last`.
    """

    row: int
    number: int
    first: int
    held_out: int
    last: int


@dataclass(frozen=True, slots=True)
class ChallengerAccepted:
    """RMSE on the held-out rows, label's unit: the challenger's is lower. Register it and roll it out."""

    row: int
    number: int
    challenger: float
    incumbent: float
    rows: int


@dataclass(frozen=True, slots=True)
class ChallengerRefused:
    """RMSE on the held-out rows, label's unit: the challenger's is not lower. The incumbent stays in force."""

    row: int
    number: int
    challenger: float
    incumbent: float
    rows: int
    next_row: int


Decision = AlertOpened | AlertRenewed | AlertClosed | RetrainDue | ChallengerAccepted | ChallengerRefused


def record(decision: Decision) -> dict[str, Any]:
    """A decision as plain values for JSON; `kind` is its class."""
    return {"kind": type(decision).__name__} | asdict(decision)


def recency_weights(rows: int, memory: float) -> Floats:
    """Weight of each training row, oldest first, shape (rows,): exp(-age / memory), the newest has weight 1."""
    return np.exp(-np.arange(rows - 1, -1, -1) / memory)


def capped_loss(scaled: ArrayLike, cap: float) -> Floats:
    """min(|scaled error|, cap) squared, shape as `scaled`: about 1 on average in the out-of-fold rows."""
    return np.square(np.minimum(np.abs(np.asarray(scaled, dtype=np.float64)), cap))


def accumulated_excess(loss: ArrayLike, allowance: float) -> Floats:
    """One-sided CUSUM of the loss (Page 1954): s = max(0, s + loss - 1 - allowance), shape as `loss`."""
    steps = np.cumsum(np.asarray(loss, dtype=np.float64) - (1.0 + allowance))
    return steps - np.minimum.accumulate(np.minimum(steps, 0.0))


def calibrate(labels: ArrayLike, predictions: ArrayLike, config: RetrainingConfig) -> Limits:
    """Limits from out-of-fold predictions, shape (rows,): a model of earlier rows scored on later ones.

    By construction no window and no row of these is an alarm. Raises ValueError without two full windows, without any
    error, or when the scale is to be proportional and a prediction is 0.
    """
    truth, guess = _pair(labels, predictions)
    floor = float(np.abs(guess).min()) if config.proportional and guess.size else 0.0
    if config.proportional and floor == 0.0:
        raise ValueError("a scale in proportion to the prediction needs predictions other than 0")
    relative = (truth - guess) / _level(guess, floor)
    scale = float(np.sqrt(np.mean(np.square(relative)))) if relative.size else 0.0
    if scale == 0.0:
        raise ValueError("no out-of-fold error: no scale")
    scaled = relative / scale
    form: dict[str, Any] = {"measure": Measure.RMSE, "size": config.window, "step": config.stride}
    window = concept_limit(scaled, k=config.sigmas, **form)
    highest = float(windowed_errors(scaled, **form).max()) * ROUNDING
    window = replace(window, open_above=max(window.open_above, highest))
    excess = accumulated_excess(capped_loss(scaled, config.cap), config.allowance)
    return Limits(scale, floor, window, max(float(excess.max()) * config.headroom * ROUNDING, 1.0))


def _level(predictions: Floats, floor: float) -> Floats:
    return np.maximum(np.abs(predictions), floor) if floor > 0.0 else np.ones_like(predictions)


def _pair(labels: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    truth, guess = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (labels, predictions))
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise ValueError("expected labels and predictions of the same shape (rows,)")
    if not (np.isfinite(truth).all() and np.isfinite(guess).all()):
        raise ValueError("labels and predictions must be finite")
    return truth, guess


@dataclass(slots=True)
class _State:
    next_row: int
    step: Step = Step.WATCHING
    champion_from: int = 0
    excess: float = 0.0
    passed: bool = False
    evidence: list[float] = field(default_factory=list)
    last_training: int | None = None
    due_row: int = 0
    refusals: int = 0
    number: int = 0
    # A rehearsal is under way and no alert is open: what ends it leads back to watching.
    quiet: bool = False


class RetrainingPolicy:
    """Decides over one model. Feed it labels and predictions as labels arrive; tell it what became of each retraining.

    Rows are the positions of labelled rows, in order, without gaps; a row that never gets a label has no position.
    `start`: the first row that will be fed; the champion in force has not been trained on it or on any later one.
    """

    def __init__(self, config: RetrainingConfig, limits: Limits, *, start: int = 0) -> None:
        self.config = config
        self.limits = limits
        self._windows = ConceptWindows(limits.window, config.window, config.stride)
        self._s = _State(next_row=start, champion_from=start)

    @property
    def step(self) -> Step:
        """Where the loop stands."""
        return self._s.step

    @property
    def alert_open(self) -> bool:
        """Whether an alert is open."""
        return self._s.step is not Step.WATCHING and not self._s.quiet

    @property
    def busy(self) -> bool:
        """Whether a retraining or a rollout is under way."""
        return self._s.step in (Step.TRAINING, Step.ROLLOUT)

    @property
    def next_row(self) -> int:
        """The first row that has not been fed."""
        return self._s.next_row

    @property
    def excess(self) -> float:
        """What the residual detector has accumulated; 0 while the error is at its accepted level."""
        return self._s.excess

    @property
    def retrainings(self) -> int:
        """Retrainings asked for so far, accepted, refused and abandoned ones."""
        return self._s.number

    def observe(self, first_row: int, labels: ArrayLike, predictions: ArrayLike) -> list[Decision]:
        """Feed labels and the live predictions of rows `first_row` on, shape (rows,) each; what follows from them.

        The decisions are those of feeding row by row. Raises ValueError when rows are missing, repeated or not finite,
        and then nothing has been taken in.
        """
        errors = self.limits.scaled(labels, predictions)
        if first_row != self._s.next_row:
            raise ValueError(f"expected row {self._s.next_row}, got {first_row}")
        losses = capped_loss(errors, self.config.cap)
        decisions: list[Decision] = []
        for error, loss in zip(errors.tolist(), losses.tolist(), strict=True):
            row = self._s.next_row
            self._s.next_row += 1
            if row >= self._s.champion_from:
                decisions += self._judge(row, error, loss)
            decisions += self._due(row)
        return decisions

    def rehearse(self) -> RetrainDue:
        """Ask for a retraining now, by hand; `check`, `deployed` and `abandon` follow as for any other.

        Without an open alert a refused or abandoned rehearsal leaves no trace but its number, and a winner is watched
        like any champion. Raises ValueError while a retraining or rollout is under way, and while the champion has
        predicted fewer rows than the check holds out or fewer than three times as many are labelled.
        """
        s, row = self._s, self._s.next_row - 1
        self._expect(Step.WATCHING, Step.WAITING, Step.TRIAL)
        judged = s.next_row - s.champion_from
        if judged < self.config.holdout or row + 1 < 3 * self.config.holdout:
            raise ValueError(
                f"the version in force has predicted {max(0, judged)} labelled rows; the check needs {self.config.holdout}"
            )
        s.quiet = s.step is Step.WATCHING
        return self._train(row)

    def check(self, challenger: ArrayLike, incumbent: ArrayLike) -> ChallengerAccepted | ChallengerRefused:
        """Champion check: residuals of both models on the rows held out by the last RetrainDue, shape (holdout,) each.

        Accepted only if the challenger's mean squared residual is lower by `min_gain`. Raises ValueError when no
        retraining is under way or the shapes differ.
        """
        self._expect(Step.TRAINING)
        ours, theirs = (np.asarray(each, dtype=np.float64) for each in (challenger, incumbent))
        if ours.shape != (self.config.holdout,) or theirs.shape != ours.shape:
            raise ValueError(f"expected residuals of the {self.config.holdout} held-out rows of both models")
        if not np.isfinite(theirs).all():
            raise ValueError("the incumbent's residuals are not finite")
        new, old = float(np.mean(np.square(ours))), float(np.mean(np.square(theirs)))
        row = self._s.next_row - 1
        metrics: dict[str, Any] = {"number": self._s.number, "challenger": math.sqrt(new), "incumbent": math.sqrt(old)}
        if math.isfinite(new) and new < old * (1.0 - self.config.min_gain):
            self._s.step, self._s.refusals = Step.ROLLOUT, 0
            return ChallengerAccepted(row, rows=ours.size, **metrics)
        self._wait()
        return ChallengerRefused(row, rows=ours.size, next_row=self._s.due_row, **metrics)

    def deployed(self, first_row: int) -> None:
        """The accepted challenger predicts from `first_row` on; reported late, it counts from the next row."""
        self._expect(Step.ROLLOUT)
        self._s.step, self._s.quiet = (Step.WATCHING if self._s.quiet else Step.TRIAL), False
        self._s.champion_from = max(first_row, self._s.next_row)
        self._s.excess, self._s.passed, self._s.evidence = 0.0, False, []
        self._windows.restart(alarm=False)

    def abandon(self) -> int:
        """The retraining or rollout under way failed: the incumbent stays. The row from which the next may be due."""
        self._expect(Step.TRAINING, Step.ROLLOUT)
        self._wait()
        return self._s.due_row

    def state(self) -> dict[str, Any]:
        """Everything as plain values for JSON; `from_state` continues exactly where this stopped."""
        return {
            "config": asdict(self.config),
            "limits": asdict(self.limits) | {"window": self.limits.window.to_dict()},
            "windows": self._windows.to_dict(),
            "loop": asdict(self._s) | {"step": self._s.step.value},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> RetrainingPolicy:
        """Inverse of `state`."""
        limits = state["limits"]
        policy = cls(
            RetrainingConfig(**state["config"]),
            Limits(**(limits | {"window": ConceptLimit.from_dict(limits["window"])})),
        )
        policy._windows = ConceptWindows.from_dict(state["windows"])
        loop = state["loop"]
        policy._s = _State(**(loop | {"step": Step(loop["step"]), "evidence": list(loop["evidence"])}))
        return policy

    def _judge(self, row: int, error: float, loss: float) -> list[Decision]:
        """One row of the champion in force."""
        s = self._s
        s.excess = max(0.0, s.excess + loss - self.config.tolerated)
        windows = self._windows.update(error)
        if not self.alert_open:
            return self._open(row, [w.level for w in windows])
        s.evidence = [*s.evidence, loss][-self.config.evidence :]
        full = len(s.evidence) == self.config.evidence
        cost = float(np.mean(s.evidence))
        if s.step in (Step.TRIAL, Step.WAITING) and full and cost <= self.config.recovered:
            self._restart()
            return [AlertClosed(row, cost, self.config.recovered)]
        decisions: list[Decision] = []
        if s.excess > self.limits.stream and not s.passed:
            s.passed = True
            decisions.append(AlertRenewed(row, Detector.STREAM, s.excess, self.limits.stream))
        if s.step is Step.TRIAL and (full or s.passed):
            s.step, s.due_row = Step.WAITING, row
        return decisions

    def _open(self, row: int, levels: list[float]) -> list[Decision]:
        s = self._s
        opened: Decision
        s.passed = s.excess > self.limits.stream
        if s.passed:
            opened = AlertOpened(row, Detector.STREAM, s.excess, self.limits.stream)
        elif levels and max(levels) > self.limits.window.open_above:
            opened = AlertOpened(row, Detector.WINDOW, max(levels), self.limits.window.open_above)
        else:
            return []
        s.due_row, s.evidence, s.refusals = row, [], 0
        if not s.quiet:
            s.step = Step.WAITING
        s.quiet = False
        return [opened]

    def _due(self, row: int) -> list[Decision]:
        s = self._s
        if s.step is not Step.WAITING or row < s.due_row or row + 1 < 3 * self.config.holdout:
            return []
        if s.last_training is not None and row - s.last_training < self.config.min_gap:
            return []
        return [self._train(row)]

    def _train(self, row: int) -> RetrainDue:
        s = self._s
        s.step, s.last_training = Step.TRAINING, row
        s.number += 1
        return RetrainDue(row, s.number, max(0, row + 1 - self.config.train_rows), row + 1 - self.config.holdout, row)

    def _wait(self) -> None:
        """Next try when as many new rows are there as recovery is judged on, doubled with each refusal in a row."""
        s = self._s
        if s.quiet:
            s.step, s.quiet, s.due_row = Step.WATCHING, False, s.next_row
            return
        gap = self.config.evidence * 2 ** min(s.refusals, self.config.backoff_limit)
        s.refusals += 1
        s.step = Step.WAITING
        s.due_row = max(s.next_row - 1, (s.last_training or 0) + gap)

    def _restart(self) -> None:
        s = self._s
        s.step, s.excess, s.passed, s.evidence, s.refusals = Step.WATCHING, 0.0, False, [], 0
        self._windows.restart(alarm=False)

    def _expect(self, *steps: Step) -> None:
        if self._s.step not in steps:
            raise ValueError(f"the loop is at {self._s.step.value}, not at {' or '.join(each.value for each in steps)}")
