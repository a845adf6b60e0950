"""System checks of the thresholds that the verdict on a ranking is made of."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import Error, register

#: With fewer draws "87 of 100" means nothing; with more a page waits for what nobody can see.
DRAWS = (100, 1_000_000)


@register()
def robustness_settings(app_configs: Any, **_: Any) -> list[Any]:
    found: list[Any] = []
    if not 0 < settings.ROBUSTNESS_CLOSE <= settings.ROBUSTNESS_CLEAR <= 1:
        found.append(
            Error(
                f"A clear winner is first in {settings.ROBUSTNESS_CLEAR:g} of the weightings, a close call in"
                f" {settings.ROBUSTNESS_CLOSE:g}: these are not two shares in order.",
                hint="Keep 0 < PHASEGATE_ROBUSTNESS_CLOSE <= PHASEGATE_ROBUSTNESS_CLEAR <= 1, for instance 0.5 and 0.8.",
                id="usecases.E001",
            )
        )
    if not 0 <= settings.ROBUSTNESS_MARGIN < 1:
        found.append(
            Error(
                f"No weight can move by {settings.ROBUSTNESS_MARGIN:g}.",
                hint="PHASEGATE_ROBUSTNESS_MARGIN is a share of the whole weight: 0.05 is 5 points.",
                id="usecases.E002",
            )
        )
    if settings.ROBUSTNESS_KAPPA <= 0:
        found.append(
            Error(
                "The concentration of the drawn weights must be above zero.",
                hint="PHASEGATE_ROBUSTNESS_KAPPA=30 lets a weight of 50 % stray by 9 points.",
                id="usecases.E003",
            )
        )
    if not DRAWS[0] <= settings.SMAA_DRAWS <= DRAWS[1]:
        found.append(
            Error(
                f"{settings.SMAA_DRAWS:,} weightings cannot be drawn.",
                hint=f"PHASEGATE_SMAA_DRAWS lies between {DRAWS[0]} and {DRAWS[1]:,}; 10,000 is enough for whole per cents.",
                id="usecases.E004",
            )
        )
    return found
