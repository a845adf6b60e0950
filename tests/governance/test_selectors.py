"""Series and figures: what is thinned stays true, and one SLO says the same alone and among many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.models import Incident, SloEvent
from governance.selectors import incidents, series, slos
from governance.services.slos import slo_status
from portal.core.clock import wall_now


@given(rows=st.integers(0, 5000), points=st.integers(1, 500))
def test_thinning_keeps_the_ends(rows: int, points: int) -> None:
    places = series.thin(rows, points)
    assert len(places) <= max(points, 0) or rows <= points
    assert (np.diff(places) > 0).all()
    if rows > 0 and points > 1:
        assert places[0] == 0
        assert places[-1] == rows - 1


@given(
    values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=200),
    points=st.integers(1, 50),
)
def test_buckets_lose_no_extreme(values: list[float], points: int) -> None:
    array = np.array(values)
    grouped = series.buckets(np.arange(len(array)), points)
    assert grouped is not None
    assert len(grouped.starts) <= points
    said = grouped.of(array)
    finite = array[np.isfinite(array)]
    if finite.size:
        assert max(v for v in said["high"] if v is not None) == finite.max()
        assert min(v for v in said["low"] if v is not None) == finite.min()
    else:
        assert all(v is None for v in said["mean"])
    assert grouped.plant_ms[-1] == len(array) - 1


def test_rolling_mean_of_what_there_is() -> None:
    assert series.rolling_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert series.rolling_mean(np.array([]), 2).tolist() == []


@pytest.mark.django_db
def test_the_error_figure_is_small_and_marked(plant: Any) -> None:
    incident = Incident.objects.select_related("pipeline__model", "pipeline__adoption__site").get(
        pipeline=plant.scene.pipeline
    )
    figure = incidents.error_figure(incident, [str(version.pk) for version in plant.scene.live])
    error, limit = figure["data"]
    assert 0 < len(error["x"]) <= series.MAX_POINTS
    assert max(error["y"]) > limit["y"][0] > min(error["y"])
    words = " ".join(note["text"] for note in figure["layout"]["annotations"])
    assert all(word in words for word in ("began", "detected", "live", "recovered"))


@pytest.mark.django_db
def test_an_slo_among_many_says_what_it_says_alone(plant: Any, django_assert_max_num_queries: Any) -> None:
    uptime = plant.scene.slos["uptime"]
    now = wall_now()
    for minute in range(120):
        at = now - timedelta(minutes=200 - minute)
        SloEvent.objects.create(slo=uptime, at=at, good=60 - minute % 3, bad=minute % 3, source=f"x:{minute}")
    with django_assert_max_num_queries(2):
        together = slos.slo_cards(list(plant.scene.slos.values()))
    for card in together:
        alone = slo_status(card["slo"], card["status"].measured_at)
        assert card["status"].budget == alone.budget
        assert card["status"].severity == alone.severity
        assert (card["status"].pending, card["status"].overdue) == (alone.pending, alone.overdue)
    assert together[0]["sentence"] == "2 of 216 allowed minutes used"
