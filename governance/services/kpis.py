"""KPI values that plant records contain, written as readings of an outcome month by month (plant time).

``Outcome.provider_key`` names the computation: ``governance.exceedances_missed:<limit>:<warning>`` counts the hours whose label was above ``limit`` while the
prediction in force stood at or below ``warning`` or there was none, so that nobody could be told before the laboratory was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from governance.frame import frame_of
from governance.lake import moment
from governance.models import Pipeline
from governance.services import loop
from portal.core.errors import InvalidInput
from usecases.models import KpiReading, Outcome
from usecases.services.outcomes import overlapping, reading_upsert

EXCEEDANCES_MISSED = "governance.exceedances_missed"


@dataclass(frozen=True)
class Month:
    """``value`` events in ``exposure`` hours of a calendar month of plant time."""

    start: datetime
    end: datetime
    value: int
    exposure: float


def _next_month(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


def exceedances_missed(
    pipeline: Pipeline, *, limit: float, warning: float, since: datetime | None = None
) -> list[Month]:
    """Per whole month of labelled rows: hours above ``limit`` that the sensor in force did not announce, and the hours watched."""
    frame = frame_of(pipeline)
    state = loop.LoopState.of(pipeline)
    places = frame.labelled()
    if since is not None:
        places = places[frame.plant_ms[places] >= since.timestamp() * 1000]
    if len(places) == 0:
        return []
    times = frame.plant_ms[places]
    above = frame.label[places] > limit
    told = loop.live_predictions(frame, state)[places] > warning
    hours = pipeline.expected_period_s / 3600.0
    months: list[Month] = []
    first = moment(int(times[0]))
    start = datetime(first.year, first.month, 1, tzinfo=UTC)
    newest = moment(int(times[-1]))
    while start <= newest:
        end = _next_month(start)
        if end > newest:
            break
        here = (times >= start.timestamp() * 1000) & (times < end.timestamp() * 1000)
        if here.any():
            months.append(Month(start, end, int((above & ~told)[here].sum()), float(np.count_nonzero(here)) * hours))
        start = end
    return months


def outcome_refresh(outcome: Outcome) -> int:
    """Bring the readings of a computed outcome up to date; returns how many months were written."""
    name, _, arguments = outcome.provider_key.partition(":")
    if name != EXCEEDANCES_MISSED:
        raise InvalidInput({"provider_key": f"There is no computation {name!r}."})
    try:
        limit, warning = (float(part) for part in arguments.split(":"))
    except ValueError as error:
        raise InvalidInput({"provider_key": "Write limit and warning as two numbers: name:90:86."}) from error
    written = 0
    pipelines = Pipeline.objects.filter(adoption__use_case_id=outcome.use_case_id).exclude(model__target="")
    for pipeline in pipelines.select_related("model", "adoption__site", "adoption__use_case"):
        site: Any = pipeline.adoption.site
        known = (
            KpiReading.objects.filter(outcome=outcome, site=site)
            .order_by("-period_from")
            .values_list("period_from", flat=True)
            .first()
        )
        for month in exceedances_missed(pipeline, limit=limit, warning=warning, since=known):
            others = overlapping(outcome, site.pk, month.start, month.end).exclude(site=site, period_from=month.start)
            if others.exists():
                continue  # what somebody wrote down for a stretch of time stands
            reading_upsert(
                outcome=outcome,
                site=site,
                period_from=month.start,
                period_to=month.end,
                value=float(month.value),
                exposure=month.exposure,
                note=f"Hours above {limit:g} that the sensor did not announce (warning from {warning:g})",
            )
            written += 1
    return written


def refresh_all() -> int:
    return sum(
        outcome_refresh(outcome) for outcome in Outcome.objects.filter(provider_key__startswith=EXCEEDANCES_MISSED)
    )
