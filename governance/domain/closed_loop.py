"""The closed loop replayed over past rows, with training done at once: what the policy would have done live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governance.domain.retraining import (
    ChallengerAccepted,
    Decision,
    RetrainDue,
    RetrainingPolicy,
    recency_weights,
)

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]
Fit = Callable[[Floats, Floats, Floats], Predict]


def train_challenger(
    due: RetrainDue, inputs: Floats, labels: Floats, fit: Fit, memory: float
) -> tuple[Floats, Callable[[], Predict]]:
    """Carry out the training half of `due`: residuals on its held-out rows, and a callable that trains on all its rows.

    `inputs`: shape (rows, channels), `labels`: shape (rows,), indexed by labelled row. `fit(inputs, labels, weights)`
    returns a predictor. The second training is run only for a challenger that won.
    """
    early, late = slice(due.first, due.held_out), slice(due.held_out, due.last + 1)
    whole = slice(due.first, due.last + 1)
    trial = fit(inputs[early], labels[early], recency_weights(due.held_out - due.first, memory))
    weights = recency_weights(due.last + 1 - due.first, memory)
    return labels[late] - trial(inputs[late]), lambda: fit(inputs[whole], labels[whole], weights)


@dataclass(frozen=True, slots=True)
class Replay:
    """A loop replayed over past rows. `predictions`: live ones, shape (rows,), NaN before `start`."""

    predictions: Floats
    decisions: tuple[Decision, ...]
    fits: int


def replay(
    policy: RetrainingPolicy,
    inputs: Floats,
    labels: Floats,
    fit: Fit,
    champion: Predict,
    *,
    label_delay: int = 24,
    rollout_delay: int = 24,
) -> Replay:
    """Run the closed loop over rows in order, as it would have run live: prequential, no row is seen before its time.

    At row n the champion in force predicts row n, then the label of row n - `label_delay` arrives. A challenger
    accepted at row n predicts from row n + 1 + `rollout_delay` on.
    """
    start, rows = policy.next_row, len(labels)
    predictions = np.full(rows, np.nan)
    decisions: list[Decision] = []
    fits = 0
    predictions[start:] = champion(inputs[start:])
    for n in range(start + label_delay, rows):
        row = n - label_delay
        for decision in policy.observe(row, labels[row : row + 1], predictions[row : row + 1]):
            decisions.append(decision)
            if not isinstance(decision, RetrainDue):
                continue
            held = slice(decision.held_out, decision.last + 1)
            residuals, refit = train_challenger(decision, inputs, labels, fit, policy.config.memory)
            verdict = policy.check(residuals, labels[held] - champion(inputs[held]))
            decisions.append(verdict)
            fits += 1
            if isinstance(verdict, ChallengerAccepted):
                champion, fits = refit(), fits + 1
                first = n + 1 + rollout_delay
                policy.deployed(first)
                predictions[first:] = champion(inputs[first:])
    return Replay(predictions, tuple(decisions), fits)
