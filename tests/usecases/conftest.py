"""A signing rule that follows the roles of the cast, and a use case that is ready for gate 1."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest


@pytest.fixture
def signing_rule(monkeypatch: Any) -> dict[str, Any]:
    """Everybody with a signing role may sign; ``rule["refuse"]`` holds user ids or kinds that may not."""
    from portal.core import signing

    rule: dict[str, Any] = {"refuse": set()}

    def may(*, user: Any, kind: str, site: Any = None, now: Any = None) -> signing.SigningVerdict:
        role = (user.role_keys or [""])[0]
        if user.pk in rule["refuse"] or kind in rule["refuse"]:
            return signing.SigningVerdict(False, "The certificate has expired.", role)
        if kind == "safety_waiver" and role != "safety_officer":
            return signing.SigningVerdict(False, "Only the AI Safety Officer may waive a safety criterion.", role)
        return signing.SigningVerdict(True, "Valid certificate.", role, {"certificate": f"cert-{role}"})

    monkeypatch.setattr(signing, "_rule", may)
    return rule


@pytest.fixture
def facts(monkeypatch: Any) -> Any:
    """An evidence registry of its own: ``facts["a"] = 95`` is what the provider of criterion "a" measures."""
    from datetime import timedelta

    from portal.core.clock import wall_now
    from usecases import evidence
    from usecases.choices import Comparator

    class Facts(dict):
        def add(self, key: str, gate: int, value: Any, **extra: Any) -> None:
            self[key] = value
            evidence.register(
                evidence.CriterionSpec(
                    key,
                    gate,
                    f"Criterion {key}",
                    f"Is {key} enough?",
                    extra.pop("unit", "%"),
                    extra.pop("comparator", Comparator.AT_LEAST),
                    extra.pop("threshold", 90),
                    lambda subject, key=key: (
                        self[key]
                        if isinstance(self[key], evidence.Measurement)
                        else evidence.Measurement.of(self[key], f"{key} is {self[key]}", measured_at=wall_now())
                    ),
                    "OT engineer",
                    grace=extra.pop("grace", timedelta(0)),
                    **extra,
                )
            )

    monkeypatch.setattr(evidence, "_specs", {})
    return Facts()


@pytest.fixture
def adopted(cast: Any) -> Any:
    from usecases import services

    services.gates_create(use_case=cast.ours)
    return services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.home)


@pytest.fixture
def criteria(db: Any) -> Any:
    """A published set: ROI (derived), feasibility with two sub-criteria, data maturity."""
    from usecases.models import CriteriaSet, Criterion

    made = CriteriaSet.objects.create(name="Standard", number=1, state="published")
    rubric = [f"Level {n}" for n in range(6)]

    def add(key: str, weight: float, parent: Any = None, source: str = "judged", position: int = 0) -> Any:
        return Criterion.objects.create(
            criteria_set=made,
            parent=parent,
            key=key,
            name=key.title(),
            weight=weight,
            rubric=rubric,
            source=source,
            position=position,
        )

    add("roi", 50, source="derived", position=0)
    top = add("feasibility", 30, position=1)
    add("coverage", 1, parent=top, position=2)
    add("network", 1, parent=top, position=3)
    add("data", 20, position=4)
    return made


@pytest.fixture
def meeting(cast: Any, criteria: Any) -> Any:
    from usecases import services

    return services.round_open(
        actor=cast.coe_lead,
        title="Spring round",
        criteria_set=criteria,
        use_cases=[cast.ours, cast.theirs],
        raters=[cast.plant_manager, cast.ot_engineer, cast.data_scientist],
    )


def rate(person: Any, meeting: Any, case: Any, values: dict[str, float | None]) -> None:
    from usecases import services
    from usecases.models import Criterion

    leaves = {c.key: c for c in Criterion.objects.filter(criteria_set=meeting.criteria_set)}
    services.ratings_put(
        actor=person,
        meeting=meeting,
        rows=[{"use_case": case, "criterion": leaves[key], "value": value} for key, value in values.items()],
    )


HIGH = {"roi": 4.0, "coverage": 5.0, "network": 4.0, "data": 4.0}
LOW = {"roi": 2.0, "coverage": 2.0, "network": 3.0, "data": 2.0}


@pytest.fixture
def rated(cast: Any, meeting: Any) -> Any:
    for person in (cast.plant_manager, cast.ot_engineer, cast.data_scientist):
        rate(person, meeting, cast.ours, HIGH)
        rate(person, meeting, cast.theirs, LOW)
    return meeting


LINES = [
    {"kind": "capex", "name": "sensors", "low": 50_000, "likely": 60_000, "high": 80_000},
    {
        "kind": "opex",
        "name": "running",
        "low": 4_000,
        "likely": 5_000,
        "high": 7_000,
        "first_quarter": 1,
        "last_quarter": 12,
    },
    {
        "kind": "benefit",
        "name": "fuel",
        "low": 25_000,
        "likely": 40_000,
        "high": 50_000,
        "first_quarter": 1,
        "last_quarter": 12,
        "ramp_quarters": 2.0,
        "attribution": 0.8,
    },
]


@pytest.fixture
def business(cast: Any) -> Any:
    from usecases import services

    return services.business_case_create(
        actor=cast.data_scientist,
        use_case=cast.ours,
        start=date(2026, 1, 1),
        assumption="Demo figures, agreed with nobody.",
        lines=LINES,
    )


@pytest.fixture
def outcome(cast: Any) -> Any:
    from usecases import services

    made = services.outcome_create(
        actor=cast.data_scientist,
        use_case=cast.ours,
        kpi="NOx emitted",
        unit="kg",
        direction="down",
        baseline_from=date(2011, 1, 1),
        baseline_to=date(2011, 12, 31),
    )
    for month in (1, 2, 3):
        services.reading_create(
            actor=cast.data_scientist,
            outcome=made,
            site=cast.home,
            period_from=datetime(2011, month, 1, tzinfo=UTC),
            period_to=datetime(2011, month, 28, tzinfo=UTC),
            value=600.0,
            exposure=100.0 * month,
        )
    made.refresh_from_db()
    return made
