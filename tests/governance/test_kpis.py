"""A KPI that the plant's own records contain: counted here by hand, month by month of plant time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from governance.services import kpis

LIMIT, WARNING = 90.0, 86.0
#: Laboratory value, prediction in force, and whether it counts: above the limit, and nobody could be told before.
KINDS = (
    (80.0, 80.0, False),
    (95.0, 87.0, False),
    (95.0, 86.0, True),
    (95.0, 50.0, True),
    (95.0, float("nan"), True),
    (90.0, 50.0, False),
)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``records(first, kinds)``: one labelled row an hour from ``first`` on, of these kinds, between rows without a label."""

    def lay(first: datetime, kinds: list[int]) -> Any:
        rows = np.repeat(np.arange(len(kinds)), 2)
        labelled = np.arange(0, rows.size, 2)
        times = np.array([(first + timedelta(hours=int(at))).timestamp() * 1000 for at in rows])
        label = np.array([KINDS[kinds[at]][0] for at in rows])
        predicted = np.array([KINDS[kinds[at]][1] for at in rows])
        frame = SimpleNamespace(plant_ms=times, label=label, labelled=lambda: labelled)
        monkeypatch.setattr(kpis, "frame_of", lambda _pipeline: frame)
        monkeypatch.setattr(kpis.loop.LoopState, "of", lambda _pipeline: None)
        monkeypatch.setattr(kpis.loop, "live_predictions", lambda _frame, _state: predicted)
        return SimpleNamespace(expected_period_s=3600.0)

    return lay


def counted(pipeline: Any, **more: Any) -> list[tuple[datetime, datetime, int, float]]:
    found = kpis.exceedances_missed(pipeline, limit=LIMIT, warning=WARNING, **more)
    return [(month.start, month.end, month.value, month.exposure) for month in found]


def test_hours_above_the_limit_that_nobody_was_told_of_are_counted_by_whole_month(records: Any) -> None:
    # 4 March, 00:00 to the first hours of 1 May: March begins late, May is not over.
    hours = (28 + 30) * 24 + 5
    kinds = [at % len(KINDS) for at in range(hours)]
    march, april, may = (datetime(2012, month, 1, tzinfo=UTC) for month in (3, 4, 5))
    found = counted(records(datetime(2012, 3, 4, tzinfo=UTC), kinds))
    per_month = [sum(KINDS[kind][2] for kind in part) for part in (kinds[: 28 * 24], kinds[28 * 24 : 58 * 24])]
    assert found == [(march, april, per_month[0], 28 * 24.0), (april, may, per_month[1], 30 * 24.0)]
    assert per_month == [28 * 24 // 2, 30 * 24 // 2]


def test_from_a_month_on_only_that_month_and_later_ones_are_counted(records: Any) -> None:
    pipeline = records(datetime(2012, 3, 1, tzinfo=UTC), [2] * (31 + 30 + 1) * 24)
    april = datetime(2012, 4, 1, tzinfo=UTC)
    assert [row[0] for row in counted(pipeline, since=april)] == [april]
    assert counted(pipeline, since=datetime(2013, 1, 1, tzinfo=UTC)) == []


def test_a_year_turns_over(records: Any) -> None:
    found = counted(records(datetime(2012, 12, 1, tzinfo=UTC), [2] * 32 * 24))
    assert found == [(datetime(2012, 12, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC), 31 * 24, 31 * 24.0)]
