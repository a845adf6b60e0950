"""When a stream of anomaly scores is an alarm: k of the last n rows above the threshold, closed when few are (docs/algorithms/anomaly.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class AnomalyRule:
    """``window`` rows are looked at; an alarm opens at ``open_share`` of them above the threshold and closes at ``close_share`` or less."""

    threshold: float
    window: int = 12
    open_share: float = 0.75
    close_share: float = 0.1

    def __post_init__(self) -> None:
        if self.window < 1 or not 0.0 <= self.close_share < self.open_share <= 1.0:
            raise ValueError("window >= 1 and 0 <= close_share < open_share <= 1")


@dataclass(frozen=True, slots=True)
class AnomalyChange:
    """At row ``index`` of the given scores the alarm ``opened`` (or closed); ``share`` of the window was above the threshold."""

    index: int
    opened: bool
    share: float


@dataclass(slots=True)
class AnomalyWatch:
    """Consumes scores in order; ``recent`` is the last window of hits (1 above the threshold, 0 not), so state is small and JSON."""

    rule: AnomalyRule
    recent: list[int] = field(default_factory=list)
    open: bool = False

    def update(self, scores: ArrayLike) -> list[AnomalyChange]:
        """Take scores (rows,) in; NaN (no prediction) leaves the window as it is."""
        changes: list[AnomalyChange] = []
        for index, score in enumerate(np.asarray(scores, dtype=np.float64).tolist()):
            if score != score:
                continue
            self.recent = (
                [*self.recent[-(self.rule.window - 1) :], int(score > self.rule.threshold)]
                if self.rule.window > 1
                else [int(score > self.rule.threshold)]
            )
            share = sum(self.recent) / self.rule.window
            if not self.open and share >= self.rule.open_share:
                self.open = True
                changes.append(AnomalyChange(index, True, share))
            elif self.open and len(self.recent) == self.rule.window and share <= self.rule.close_share:
                self.open = False
                changes.append(AnomalyChange(index, False, share))
        return changes

    def state(self) -> dict[str, Any]:
        return {
            "threshold": self.rule.threshold,
            "window": self.rule.window,
            "open_share": self.rule.open_share,
            "close_share": self.rule.close_share,
            "recent": self.recent,
            "open": self.open,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> AnomalyWatch:
        rule = AnomalyRule(state["threshold"], state["window"], state["open_share"], state["close_share"])
        return cls(rule, list(state["recent"]), bool(state["open"]))
