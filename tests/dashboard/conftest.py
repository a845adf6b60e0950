"""A programme with something of everything: two adoptions at home, one elsewhere, money, trouble and work."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache

from portal.core.clock import wall_now
from tests.factories import make_adoption, make_device, make_model, make_version
from tests.objects import World


@pytest.fixture(autouse=True)
def _no_counts_kept() -> None:
    cache.clear()


@pytest.fixture
def plant(cast: Any) -> SimpleNamespace:
    """Home: a use case in operation with a live model, a gateway online and one silent, and their PLC."""
    from governance.models import Pipeline
    from usecases.services import gates_create

    now = wall_now()
    adoption = make_adoption(cast.ours, cast.home, phase=3)
    gates_create(use_case=cast.ours, adoption=adoption)
    gates_create(use_case=cast.ours)
    model = make_model(cast.ours, name="NOx soft sensor", error_limit=6.0)
    version = make_version(model, 4, state="live", metrics={"mae": 4.2})
    pipeline = Pipeline.objects.create(adoption=adoption, model=model, name="nox", stream="turbine")
    online = make_device(cast.home, name="GW-A", last_seen_at=now)
    silent = make_device(cast.home, name="GW-B", last_seen_at=now - timedelta(hours=2))
    plc = make_device(cast.home, "plc", name="PLC 1", gateway=online)
    return SimpleNamespace(
        adoption=adoption, model=model, version=version, pipeline=pipeline, online=online, silent=silent, plc=plc
    )


@pytest.fixture
def away(cast: Any) -> Any:
    """The same on the stranger's side: nobody at home may see it."""
    from usecases.services import gates_create

    adoption = make_adoption(cast.theirs, cast.away)
    gates_create(use_case=cast.theirs, adoption=adoption)
    return adoption


@pytest.fixture
def world(cast: Any, plant: SimpleNamespace) -> World:
    made = World(cast.home, cast.ours, cast.ot_engineer)
    made.rows["usecases.Adoption"] = plant.adoption
    return made


@pytest.fixture
def incident(plant: SimpleNamespace) -> Any:
    return make_incident(plant.adoption, title="NOx soft sensor: error is rising")


def make_incident(adoption: Any, **extra: Any) -> Any:
    from governance.models import Incident

    now = wall_now()
    return Incident.objects.create(
        adoption=adoption,
        title=extra.pop("title", "Something broke"),
        began_plant_at=now,
        detected_plant_at=now,
        opened_at=extra.pop("opened_at", now),
        **extra,
    )


def make_review(adoption: Any, quarter: date, verdict: str = "open", **extra: Any) -> Any:
    from coe.models import RoiReview

    money = {name: Decimal(value) for name, value in extra.items() if name in {"planned", "measured"}}
    for name in ("measured_low", "measured_high"):
        if name in extra:
            money[name] = Decimal(extra[name])
    rest = {name: value for name, value in extra.items() if name not in money}
    return RoiReview.objects.create(adoption=adoption, quarter=quarter, verdict=verdict, **money, **rest)


def make_readings(use_case: Any, site: Any, values: list[float], **outcome: Any) -> Any:
    """An outcome with a reading a month from January 2013, each over 100 units of exposure."""
    from usecases.models import KpiReading, Outcome

    made = Outcome.objects.create(
        use_case=use_case, kpi=outcome.pop("kpi", "Hours above the limit"), unit="h", direction="down", **outcome
    )
    for at, value in enumerate(values):
        first = datetime(2013 + at // 12, at % 12 + 1, 1, tzinfo=UTC)
        KpiReading.objects.create(
            outcome=made,
            site=site,
            period_from=first,
            period_to=first + timedelta(days=28),
            value=value,
            exposure=100.0,
        )
    return made
