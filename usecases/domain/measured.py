"""A measured number as a rating on the rubric's scale; see docs/algorithms/scoring.md, "Measured instead of judged"."""

from __future__ import annotations

import math
from typing import Final

from usecases.domain.errors import InvalidInput

BEST_RATING: Final = 5.0


def measured_rating(value: float, x0: float, x1: float) -> float:
    """5 x (value - x0) / (x1 - x0), cut off at 0 and 5. Where less is better x1 is below x0."""
    if not math.isfinite(value):
        raise InvalidInput("value_not_a_number", "A measured value must be a number.", field="value")
    if not (math.isfinite(x0) and math.isfinite(x1)) or x0 == x1:
        raise InvalidInput("anchors_equal", "The two anchors must be different numbers.", field="x1")
    return BEST_RATING * min(1.0, max(0.0, (value - x0) / (x1 - x0)))
