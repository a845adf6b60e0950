"""Concept drift on windows of prediction errors: the limit is set out-of-fold, the alarm opens and closes.

Terms and worked tables: docs/algorithms/drift.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW_ROWS = 600
STEP_ROWS = 300


class Measure(StrEnum):
    """How the errors (label minus prediction, in the label's unit) of a window become one figure, never negative."""

    MAE = "mae"
    RMSE = "rmse"
    BIAS = "bias"


def windowed_errors(
    errors: ArrayLike, *, measure: Measure = Measure.MAE, size: int = WINDOW_ROWS, step: int = STEP_ROWS
) -> NDArray[np.float64]:
    """The measure of every full window of `size` labelled rows, one every `step` rows; shape (windows,).

    `errors`: shape (rows,), label minus prediction; NaN (no label yet) and infinite ones are left out beforehand.
    """
    _check_windows(size, step)
    values = _labelled(errors)
    if values.size < size:
        return np.empty(0)
    views = np.lib.stride_tricks.sliding_window_view(values, size)[::step]
    return _measured(views, measure)


@dataclass(frozen=True, slots=True)
class ConceptLimit:
    """When a window's error is an alarm and when the alarm is over, in the label's unit.

    `open_above` = mean + k sigma and `close_below` = mean + k_close sigma of the windowed errors of `windows`
    out-of-fold windows.
    """

    measure: Measure
    open_above: float
    close_below: float
    mean: float
    sigma: float
    windows: int

    def __post_init__(self) -> None:
        if not self.close_below <= self.open_above:
            raise ValueError("an alarm closes at or below the level at which it opens")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"measure": self.measure.value}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ConceptLimit:
        """Inverse of `to_dict`."""
        return cls(**(state | {"measure": Measure(state["measure"])}))


def concept_limit(
    errors: ArrayLike,
    *,
    k: float = 3.0,
    k_close: float | None = None,
    measure: Measure = Measure.MAE,
    size: int = WINDOW_ROWS,
    step: int = STEP_ROWS,
) -> ConceptLimit:
    """Limit from out-of-fold errors (trained on earlier years, scored on a later one): mean + k sigma of its windows.

    `k_close` (default k / 2) sets where the alarm closes. Sigma has divisor windows - 1. Raises ValueError with
    fewer than two windows: one figure has no spread.
    """
    if k_close is None:
        k_close = k / 2.0
    if k_close > k:
        raise ValueError("k_close is at most k")
    levels = windowed_errors(errors, measure=measure, size=size, step=step)
    if levels.size < 2:
        raise ValueError(f"{levels.size} out-of-fold windows of {size} rows, at least 2 needed")
    mean, sigma = float(levels.mean()), float(levels.std(ddof=1))
    return ConceptLimit(measure, mean + k * sigma, mean + k_close * sigma, mean, sigma, int(levels.size))


@dataclass(frozen=True, slots=True)
class ConceptWindow:
    """One judged window. `first` and `last`: positions of its rows among all labelled rows fed (last included).

    `alarm`: whether the alarm is open after this window; `opened` / `closed`: whether this window changed it.
    """

    first: int
    last: int
    level: float
    alarm: bool
    opened: bool
    closed: bool


@dataclass(slots=True)
class ConceptWindows:
    """Judges sliding windows of errors as they arrive; keeps at most `size - 1 + step` errors.

    The alarm opens with the first window above `limit.open_above` and closes after `close_after` windows in a row
    below `limit.close_below`. After a model has been replaced call `restart`: old errors are not the new model's.
    """

    limit: ConceptLimit
    size: int = WINDOW_ROWS
    step: int = STEP_ROWS
    close_after: int = 1
    alarm: bool = False
    calm: int = 0
    seen: int = 0
    pending: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        _check_windows(self.size, self.step)
        if self.close_after < 1:
            raise ValueError("an alarm closes after at least one window")

    def update(self, errors: ArrayLike) -> list[ConceptWindow]:
        """Feed errors, shape (rows,) or one number; the windows they completed, in order. NaN rows are left out."""
        fresh = _labelled(errors)
        buffer = np.concatenate([self.pending, fresh])
        start_of_buffer = self.seen - self.pending.size
        self.seen += fresh.size
        done: list[ConceptWindow] = []
        start = 0
        while start + self.size <= buffer.size:
            level = float(_measured(buffer[start : start + self.size], self.limit.measure))
            first = start_of_buffer + start
            done.append(self._judge(first, first + self.size - 1, level))
            start += self.step
        self.pending = buffer[start:].copy()
        return done

    def restart(self, *, alarm: bool | None = None) -> None:
        """Forget the errors kept; the alarm stays as it is unless `alarm` says otherwise."""
        self.pending = np.empty(0)
        self.calm = 0
        if alarm is not None:
            self.alarm = alarm

    def to_dict(self) -> dict[str, Any]:
        """State as plain values for JSON; `from_dict` continues exactly where this stopped."""
        return {
            "limit": self.limit.to_dict(),
            "size": self.size,
            "step": self.step,
            "close_after": self.close_after,
            "alarm": self.alarm,
            "calm": self.calm,
            "seen": self.seen,
            "pending": self.pending.tolist(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ConceptWindows:
        """Inverse of `to_dict`."""
        pending = np.asarray(state["pending"], dtype=np.float64)
        return cls(**(state | {"limit": ConceptLimit.from_dict(state["limit"]), "pending": pending}))

    def _judge(self, first: int, last: int, level: float) -> ConceptWindow:
        before = self.alarm
        if not self.alarm:
            self.alarm = level > self.limit.open_above
            self.calm = 0
        else:
            self.calm = self.calm + 1 if level < self.limit.close_below else 0
            if self.calm >= self.close_after:
                self.alarm, self.calm = False, 0
        return ConceptWindow(
            first, last, level, self.alarm, opened=self.alarm and not before, closed=before and not self.alarm
        )


def _check_windows(size: int, step: int) -> None:
    if size < 1 or not 1 <= step <= size:
        raise ValueError("a window has at least one row and moves by 1 to size rows")


def _labelled(errors: ArrayLike) -> NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(errors, dtype=np.float64))
    if values.ndim != 1:
        raise ValueError("expected errors of shape (rows,)")
    return values[np.isfinite(values)]


def _measured(errors: NDArray[np.float64], measure: Measure) -> NDArray[np.float64]:
    if measure is Measure.MAE:
        return np.abs(errors).mean(axis=-1)
    if measure is Measure.RMSE:
        return np.sqrt(np.square(errors).mean(axis=-1))
    return np.abs(errors.mean(axis=-1))
