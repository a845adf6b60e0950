"""Streaming detection of a changed mean: Page-Hinkley over many streams in lock-step, residuals of a model, ADWIN.

Terms and worked tables: docs/algorithms/drift.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Side(StrEnum):
    """Which change of the mean is looked for."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class PageHinkleySettings:
    """Settings of the Page-Hinkley test, in units of the values fed (standardise first: then they are sigmas).

    `min_instances`: values before an alarm is possible. `delta`: change of the mean that is tolerated.
    `threshold`: accumulated excess that is an alarm (value x rows). `alpha`: forgetting factor per row.
    """

    min_instances: int = 30
    delta: float = 0.005
    threshold: float = 50.0
    alpha: float = 1 - 0.0001
    side: Side = Side.BOTH

    def __post_init__(self) -> None:
        if self.min_instances < 1 or self.threshold <= 0.0 or not 0.0 < self.alpha <= 1.0:
            raise ValueError("Page-Hinkley: min_instances >= 1, threshold > 0, alpha above 0 up to 1")


class PageHinkley:
    """Page-Hinkley test over many streams in lock-step (Page 1954; forgetting as in river, whose alarms it equals).

    Each row holds one value per stream; NaN and infinite values leave their stream untouched. A stream that alarmed
    starts anew with its next value. After a step `alarmed` tells which streams alarm, `upward` which of them because
    their mean rose.
    """

    _ARRAYS = ("count", "mean", "rise", "fall", "lowest", "highest")

    def __init__(self, streams: int, settings: PageHinkleySettings | None = None) -> None:
        if streams < 1:
            raise ValueError("at least one stream")
        self.settings = settings or PageHinkleySettings()
        self.streams = streams
        self.count = np.zeros(streams)
        self.mean = np.zeros(streams)
        self.rise = np.zeros(streams)
        self.fall = np.zeros(streams)
        self.lowest = np.full(streams, np.inf)
        self.highest = np.full(streams, -1.0)
        self.alarmed = np.zeros(streams, dtype=bool)
        self.upward = np.zeros(streams, dtype=bool)

    def update(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Feed one value per stream, shape (streams,); whether each stream alarms now, same shape."""
        row = np.asarray(values, dtype=np.float64)
        if row.shape != (self.streams,):
            raise ValueError(f"expected an array of shape ({self.streams},)")
        live = np.isfinite(row)
        if live.all():
            self._step(row)
            return self.alarmed.copy()
        before = {name: getattr(self, name).copy() for name in self._ARRAYS}
        alarmed, upward = self.alarmed.copy(), self.upward.copy()
        self._step(np.where(live, row, 0.0))
        for name, array in before.items():
            getattr(self, name)[~live] = array[~live]
        now = self.alarmed & live
        self.alarmed = np.where(live, self.alarmed, alarmed)
        self.upward = np.where(live, self.upward, upward)
        return now

    def update_many(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Feed rows of shape (rows, streams) in order; alarms, same shape."""
        table = np.asarray(rows, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.streams:
            raise ValueError(f"expected an array of shape (rows, {self.streams})")
        alarms = np.empty(table.shape, dtype=bool)
        for i, row in enumerate(table):
            alarms[i] = self.update(row)
        return alarms

    def excess(self) -> NDArray[np.float64]:
        """How far each stream is on its way to an alarm, shape (streams,): 1 is the threshold."""
        started = self.count > 0
        up = np.where(started, self.rise - np.where(started, self.lowest, 0.0), 0.0)
        down = np.where(started, self.highest - self.fall, 0.0)
        side = self.settings.side
        level = up if side is Side.UP else down if side is Side.DOWN else np.maximum(up, down)
        return level / self.settings.threshold

    def reset(self, streams: NDArray[np.bool_] | None = None) -> None:
        """Forget everything about the streams chosen by a mask of shape (streams,), or about all."""
        chosen = np.ones(self.streams, dtype=bool) if streams is None else streams
        for name, value in zip(self._ARRAYS, (0.0, 0.0, 0.0, 0.0, np.inf, -1.0), strict=True):
            getattr(self, name)[chosen] = value
        self.alarmed[chosen] = False
        self.upward[chosen] = False

    def to_dict(self) -> dict[str, Any]:
        """State as plain values for JSON (an unset minimum is null)."""
        state: dict[str, Any] = {"settings": asdict(self.settings) | {"side": self.settings.side.value}}
        for name in self._ARRAYS:
            state[name] = [value if math.isfinite(value) else None for value in getattr(self, name).tolist()]
        state["alarmed"] = self.alarmed.tolist()
        state["upward"] = self.upward.tolist()
        return state

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> PageHinkley:
        """Inverse of `to_dict`: continues exactly where the other stopped."""
        settings = state["settings"] | {"side": Side(state["settings"]["side"])}
        test = cls(len(state["count"]), PageHinkleySettings(**settings))
        for name in cls._ARRAYS:
            setattr(test, name, np.array([math.inf if value is None else value for value in state[name]], dtype=float))
        test.alarmed = np.array(state["alarmed"], dtype=bool)
        test.upward = np.array(state["upward"], dtype=bool)
        return test

    def _step(self, row: NDArray[np.float64]) -> None:
        if self.alarmed.any():
            self.reset(self.alarmed.copy())
        settings = self.settings
        self.count += 1.0
        self.mean += (1.0 / self.count) * (row - self.mean)
        deviation = row - self.mean
        self.rise = settings.alpha * self.rise + deviation - settings.delta
        self.fall = settings.alpha * self.fall + deviation + settings.delta
        np.minimum(self.lowest, self.rise, out=self.lowest)
        np.maximum(self.highest, self.fall, out=self.highest)
        enough = self.count >= settings.min_instances
        if settings.side is Side.DOWN:
            self.upward[:] = False
        else:
            self.upward = (self.rise - self.lowest > settings.threshold) & enough
        self.alarmed = self.upward.copy()
        if settings.side is not Side.UP:
            self.alarmed |= (self.highest - self.fall > settings.threshold) & enough


@dataclass(frozen=True, slots=True)
class ResidualBaseline:
    """What a model's errors look like when all is well, out-of-fold: mean and std in the label's unit."""

    mean: float
    std: float
    settings: PageHinkleySettings
    rows: int

    def standardise(self, errors: ArrayLike) -> NDArray[np.float64]:
        """Errors (label minus prediction) in standard deviations from the out-of-fold mean, same shape."""
        return (np.asarray(errors, dtype=np.float64) - self.mean) / self.std


def residual_baseline(
    errors: ArrayLike, *, delta: float = 0.5, margin: float = 1.2, min_instances: int = 30, side: Side = Side.BOTH
) -> ResidualBaseline:
    """Baseline and Page-Hinkley settings from out-of-fold errors of shape (rows,), NaN left out.

    A fixed threshold cannot know how long a plant's errors stay on one side, so it is read off: `margin` times the
    greatest excess that the test accumulates over the out-of-fold errors without ever alarming. `delta` is the
    tolerated change in standard deviations. Raises ValueError with fewer than `min_instances` errors, without spread,
    or with a margin below 1.
    """
    values = np.asarray(errors, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.ndim != 1 or values.size < max(2, min_instances):
        raise ValueError(f"at least {max(2, min_instances)} out-of-fold errors needed")
    if margin < 1.0:
        raise ValueError("a margin below 1 would alarm on the out-of-fold errors themselves")
    mean, std = float(values.mean()), float(values.std())
    if std == 0.0:
        raise ValueError("errors without spread give no yardstick")
    open_ended = PageHinkleySettings(min_instances, delta, 1e300, 1.0, side)
    test = PageHinkley(1, open_ended)
    greatest = 0.0
    for i, value in enumerate(((values - mean) / std).tolist(), start=1):
        test.update(np.array([value]))
        if i >= min_instances:
            greatest = max(greatest, float(test.excess()[0]) * open_ended.threshold)
    threshold = max(margin * greatest, 1.0)
    return ResidualBaseline(mean, std, PageHinkleySettings(min_instances, delta, threshold, 1.0, side), values.size)


@dataclass(frozen=True, slots=True)
class ResidualAlarm:
    """A changed mean of the errors: `position` among all labelled rows fed, `upward` if label exceeds prediction."""

    position: int
    upward: bool


class ResidualDetector:
    """Page-Hinkley on the standardised errors of one model, fed as labels arrive; state goes into a JSON column."""

    def __init__(self, baseline: ResidualBaseline) -> None:
        self.baseline = baseline
        self.seen = 0
        self.test = PageHinkley(1, baseline.settings)

    def update(self, errors: ArrayLike) -> list[ResidualAlarm]:
        """Feed errors (label minus prediction), shape (rows,) or one number; the alarms among them, in order.

        NaN and infinite errors are no labelled rows: left out and not counted.
        """
        values = np.atleast_1d(np.asarray(errors, dtype=np.float64))
        if values.ndim != 1:
            raise ValueError("expected errors of shape (rows,)")
        alarms = []
        for value in self.baseline.standardise(values[np.isfinite(values)]).tolist():
            if self.test.update(np.array([value]))[0]:
                alarms.append(ResidualAlarm(self.seen, bool(self.test.upward[0])))
            self.seen += 1
        return alarms

    @property
    def excess(self) -> float:
        """How far the stream is on its way to an alarm: 1 is the threshold."""
        return float(self.test.excess()[0])

    def restart(self, baseline: ResidualBaseline | None = None) -> None:
        """Start anew, after a model was replaced: with its own baseline or the one in force. Positions go on."""
        self.baseline = baseline or self.baseline
        self.test = PageHinkley(1, self.baseline.settings)

    def to_dict(self) -> dict[str, Any]:
        """State as plain values for JSON; `from_dict` continues exactly where this stopped."""
        return {
            "mean": self.baseline.mean,
            "std": self.baseline.std,
            "rows": self.baseline.rows,
            "seen": self.seen,
            "test": self.test.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ResidualDetector:
        """Inverse of `to_dict`."""
        test = PageHinkley.from_dict(state["test"])
        detector = cls(ResidualBaseline(state["mean"], state["std"], test.settings, state["rows"]))
        detector.seen, detector.test = state["seen"], test
        return detector


def adwin_alarms(values: Iterable[float], *, delta: float = 0.002) -> list[int]:
    """Positions at which river's ADWIN (Bifet and Gavalda 2007) sees a change of the mean; NaN is left out.

    ADWIN needs no threshold but assumes independent values: errors of a plant that are correlated from hour to hour
    raise it often. Its state cannot be stored, so this looks at a whole series at once.
    """
    from river.drift import ADWIN

    detector = ADWIN(delta=delta)
    alarms = []
    for position, value in enumerate(values):
        if not math.isfinite(value):
            continue
        detector.update(value)
        if detector.drift_detected:
            alarms.append(position)
    return alarms
