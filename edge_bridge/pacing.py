"""A replay slows down while a repair runs, so that people can watch it; afterwards it goes on as before. Live plants are never touched."""

from __future__ import annotations

from django.db import transaction

from devices.choices import ReplayState
from devices.models import PlantClock
from devices.plant_time import replay_want
from governance.choices import RetrainingState
from governance.models import Retraining

#: Rows per wall second while a repair runs, at most.
WATCHING_PACE = 2.0
UNDER_WAY = (
    RetrainingState.QUEUED,
    RetrainingState.TRAINING,
    RetrainingState.CHECKING,
    RetrainingState.REGISTERING,
    RetrainingState.RELEASING,
)


def follow() -> int:
    """Slow replaying sites with a repair under way, and let the others go on. Returns how many were changed; safe to repeat."""
    changed = 0
    clocks = PlantClock.objects.filter(state=ReplayState.RUNNING).select_related("site")
    busy = set(
        Retraining.objects.filter(state__in=UNDER_WAY, fast_forwarded=False).values_list(
            "pipeline__adoption__site_id", flat=True
        )
    )
    for clock in clocks:
        before = clock.wanted.get("pace_before_repair")
        repairing = clock.site_id in busy
        if repairing and before is None and clock.rows_per_second > WATCHING_PACE:
            changed += _set(clock, WATCHING_PACE, clock.rows_per_second)
        elif not repairing and before is not None:
            # Somebody who chose another pace meanwhile keeps it.
            pace = before if clock.rows_per_second == WATCHING_PACE else clock.rows_per_second
            changed += _set(clock, float(pace), None)
    return changed


@transaction.atomic
def _set(clock: PlantClock, pace: float, remember: float | None) -> int:
    locked = PlantClock.objects.select_for_update().get(pk=clock.pk)
    wanted = {key: value for key, value in locked.wanted.items() if key != "pace_before_repair"}
    if remember is not None:
        wanted["pace_before_repair"] = remember
    PlantClock.objects.filter(pk=clock.pk).update(wanted=wanted)
    replay_want(actor=None, site=clock.site, rows_per_second=pace)
    return 1
