"""Use cases, outcomes, criteria, a scoring round by five people, business cases. Money is an assumption and says so."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from portal.core.access import grant_role
from portal.core.records import entity_create
from usecases.choices import Direction, Label, LineKind, WeightMethod
from usecases.models import BusinessCase, CriteriaSet, Criterion, ExchangeRate, Outcome, UseCase
from usecases.services import (
    criteria_set_create,
    criteria_set_publish,
    criteria_weights_set,
    ratings_put,
    round_close,
    round_open,
    round_reveal,
)
from usecases.services.business import business_case_create
from usecases.services.outcomes import outcome_create
from usecases.services.use_cases import use_case_create
from usecases.votes import numbers, scores

NO_OFFER = "Assumption: nobody has made an offer"
NO_BOOKS = "Assumption: not from anybody's books"
ASSUMPTION = "Assumption of the demo, not from any data: chosen so that the arithmetic can be followed."

USE_CASES: tuple[dict[str, Any], ...] = (
    {
        "code": "nox-soft-sensor",
        "title": "NOx soft sensor",
        "label": Label.QUICK_WIN,
        "summary": "Predict nitrogen oxides from the turbine's other sensors, so that an hour above the limit is known at once and not a day later from the laboratory.",
    },
    {
        "code": "gas-path-anomaly",
        "title": "Gas path anomaly detection",
        "label": Label.UNLABELLED,
        "summary": "Notice when the turbine's nine gas-path sensors stop fitting together: fouling, a drifting sensor, a leak.",
    },
    {
        "code": "machine-early-warning",
        "title": "Machine temperature early warning",
        "label": Label.FOUNDATION,
        "summary": "Hear of a failing machine from its temperature hours before it stops.",
    },
    {
        "code": "process-fault-detection",
        "title": "Process fault detection",
        "label": Label.UNLABELLED,
        "summary": "Tell a process fault from noise across 52 signals of the reactor unit (simulated plant).",
    },
    {
        "code": "vibration-health",
        "title": "Vibration health scoring",
        "label": Label.UNLABELLED,
        "summary": "Score bearings from vibration. An idea: no vibration sensor is installed and no data exists yet.",
        "required_signals": ["VIBRATION"],
    },
    {
        "code": "energy-per-part",
        "title": "Energy per part",
        "label": Label.UNLABELLED,
        "summary": "Attribute energy to parts to find the costly ones. An idea: meters are read monthly only.",
        "required_signals": ["ACTIVE_POWER"],
    },
)

#: How the demo's lead weighed each level: the top in pairs, the rest by the three simpler ways. Opinions, labelled as such.
WEIGHTS: tuple[tuple[str, WeightMethod, dict[str, float]], ...] = (
    ("", WeightMethod.AHP, {"roi:feasibility": 1, "roi:maturity": 2, "feasibility:maturity": 2}),
    ("roi", WeightMethod.DIRECT, {"roi_value": 60, "roi_proof": 40}),
    ("feasibility", WeightMethod.SWING, {"coverage": 100, "network": 60, "change": 90}),
    ("maturity", WeightMethod.RANK_ORDER, {"availability": 1, "quality": 1, "governance": 3}),
)

#: Ratings of the demo's workshop: by use case, in the order of the sub-criteria; each rater shifts a little. Opinions, labelled as such.
OPINIONS: dict[str, tuple[float | None, ...]] = {
    "nox-soft-sensor": (4, 5, 5, 4, 4, 5, 4, 4),
    "gas-path-anomaly": (3, 2, 5, 4, 3, 5, 4, 4),
    "machine-early-warning": (4, 2, 4, 3, 4, 3, 3, 3),
    "process-fault-detection": (3, 3, 5, 4, 3, 4, 4, 3),
    "vibration-health": (4, 2, 0, 2, 3, 0, None, 1),
    "energy-per-part": (2, 3, 1, 2, 2, 2, 2, 2),
}
RATERS = ("plant_manager", "ot_engineer", "data_scientist", "edge_architect", "data_steward")
_SHIFT = {
    "plant_manager": (0.5, 0, 0, 0, 0.5, 0, 0, 0),
    "ot_engineer": (-0.5, 0, 0, 0, -1, 0, -0.5, 0),
    "data_scientist": (0, -0.5, 0, 0, 0, 0, 0.5, 0),
    "edge_architect": (0, 0, -0.5, -0.5, 0, 0, 0, 0),
    "data_steward": (0, 0, 0, 0, 0, 0, -0.5, -0.5),
}


def make_use_cases(people: dict[str, Any]) -> dict[str, UseCase]:
    lead = people["coe_lead"]
    made: dict[str, UseCase] = {}
    for row in USE_CASES:
        sponsor = (
            people["executive"]
            if row["code"] in {"nox-soft-sensor", "gas-path-anomaly", "machine-early-warning"}
            else None
        )
        made[row["code"]] = use_case_create(actor=lead, owner=people["data_scientist"], sponsor=sponsor, **row)
    made["vibration-health"].depends_on.add(made["machine-early-warning"])
    for use_case in made.values():
        grant_role(people["plant_manager"], "plant_manager", use_case)
    return made


def make_outcomes(people: dict[str, Any], use_cases: dict[str, UseCase]) -> Outcome:
    lead = people["coe_lead"]
    outcome_create(
        actor=lead,
        use_case=use_cases["machine-early-warning"],
        kpi="Unplanned stops of machine 7",
        owner=people["plant_manager"],
        source="Shift log of workshop 7 (nobody has typed it in yet)",
        unit="stops",
        counts_events=True,
        direction=Direction.DOWN,
        exposure_unit="operating days",
        assumption=ASSUMPTION,
    )
    return outcome_create(
        actor=lead,
        use_case=use_cases["nox-soft-sensor"],
        kpi="Hours above 90 mg/m3 NOx noticed only by the laboratory",
        owner=people["plant_manager"],
        source="Laboratory values against the predictions in force, counted month by month",
        unit="h",
        direction=Direction.DOWN,
        exposure_unit="operating hours",
        baseline_from=date(2011, 1, 1),
        baseline_to=date(2012, 12, 31),
        value_per_unit="900.00",
        currency="EUR",
        assumption=f"900 EUR for each hour above the limit that is noticed a day late. {ASSUMPTION}",
        provider_key="governance.exceedances_missed:90:86",
    )


def make_criteria(people: dict[str, Any]) -> CriteriaSet:
    """The standard criteria, five of them measured, weighed by the CoE lead and published."""
    lead = people["coe_lead"]
    criteria = criteria_set_create(actor=lead, name="Phasegate criteria", standard=True)
    tops = {row.key: row for row in criteria.criteria.filter(parent=None)}
    for key, method, answers in WEIGHTS:
        criteria_weights_set(actor=lead, criteria_set=criteria, parent=tops.get(key), method=method, answers=answers)
    return criteria_set_publish(actor=lead, criteria_set=criteria)


def hold_round(people: dict[str, Any], use_cases: dict[str, UseCase], criteria: CriteriaSet) -> Any:
    """The workshop: five people rate in their roles, the answers are revealed, the round is closed.

    A second round stays open for the newcomer to try.
    """
    lead = people["coe_lead"]
    seats = [(people[role], role) for role in RATERS]
    leaves = list(Criterion.objects.filter(criteria_set=criteria).exclude(parent=None).order_by("position"))
    meeting = round_open(
        actor=lead,
        title="Portfolio workshop",
        criteria_set=criteria,
        use_cases=list(use_cases.values()),
        seats=seats,
        facilitator=lead,
    )
    measured = numbers(scores(meeting, list(use_cases.values()), leaves))
    for role in RATERS:
        rows = []
        for code, values in OPINIONS.items():
            for at, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
                if (use_cases[code].pk, leaf.key) in measured:
                    continue  # nobody is asked for what is measured
                shifted = None if value is None else min(5.0, max(0.0, value + _SHIFT[role][at]))
                rows.append({"use_case": use_cases[code], "criterion": leaf, "value": shifted, "comment": ""})
        ratings_put(actor=people[role], meeting=meeting, rows=rows)
    round_reveal(actor=lead, meeting=meeting)
    round_close(actor=lead, meeting=meeting)
    ideas = [use_cases["vibration-health"], use_cases["energy-per-part"], use_cases["process-fault-detection"]]
    round_open(
        actor=lead,
        title="Ideas of this quarter",
        criteria_set=criteria,
        use_cases=ideas,
        seats=seats,
        facilitator=lead,
    )
    return meeting


def _line(
    kind: str, name: str, low: int, likely: int, high: int, first: int, last: int, **extra: float | str
) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "low": low,
        "likely": likely,
        "high": high,
        "first_quarter": first,
        "last_quarter": last,
    } | extra


def make_business_cases(people: dict[str, Any], use_cases: dict[str, UseCase]) -> dict[str, BusinessCase]:
    lead = people["coe_lead"]
    cases = {
        "nox-soft-sensor": [
            _line(LineKind.CAPEX, "Gateways and installation", 18_000, 22_000, 30_000, 0, 0, note=NO_OFFER),
            _line(LineKind.CAPEX, "Model and pipeline", 25_000, 30_000, 40_000, 0, 1, note=NO_OFFER),
            _line(LineKind.OPEX, "Operation and retraining", 3_000, 4_000, 6_000, 1, 11, note=NO_BOOKS),
            _line(
                LineKind.BENEFIT,
                "Hours above the limit noticed in time",
                15_000,
                28_000,
                40_000,
                1,
                11,
                ramp_quarters=1.0,
                delay_likely=0.5,
                delay_high=2.0,
                attribution=0.8,
                note="Assumption: 900 EUR for each hour noticed a day late; the hours are measured, the money is not",
            ),
        ],
        "gas-path-anomaly": [
            _line(LineKind.CAPEX, "Detector and validation", 20_000, 25_000, 35_000, 0, 1, note=NO_OFFER),
            _line(LineKind.OPEX, "Operation", 2_000, 3_000, 5_000, 1, 11, note=NO_BOOKS),
            _line(
                LineKind.BENEFIT,
                "Washing at the right time",
                4_000,
                9_000,
                16_000,
                2,
                11,
                ramp_quarters=2.0,
                delay_likely=1.0,
                delay_high=3.0,
                attribution=0.6,
                note="Assumption: no data set holds the cost of a compressor wash",
            ),
        ],
        "machine-early-warning": [
            _line(LineKind.CAPEX, "Gateway and detector", 9_000, 12_000, 18_000, 0, 0, note=NO_OFFER),
            _line(LineKind.OPEX, "Operation", 1_000, 1_500, 2_500, 1, 11, note=NO_BOOKS),
            _line(
                LineKind.BENEFIT,
                "Stops avoided",
                2_000,
                6_000,
                12_000,
                1,
                11,
                ramp_quarters=1.5,
                delay_likely=0.5,
                delay_high=2.0,
                attribution=0.7,
                note="Assumption: the data hold a few failures of one machine and no money",
            ),
        ],
        "vibration-health": [
            _line(LineKind.CAPEX, "Sensors and recipe", 14_000, 18_000, 26_000, 0, 0, note=NO_OFFER),
            _line(LineKind.OPEX, "Operation", 1_000, 1_500, 3_000, 1, 11, note=NO_BOOKS),
            _line(
                LineKind.BENEFIT,
                "Bearings changed in time",
                2_000,
                13_000,
                21_000,
                2,
                11,
                ramp_quarters=2.0,
                attribution=0.6,
                note="Assumption: no failure of a bearing is in the data yet",
            ),
        ],
        "energy-per-part": [
            _line(LineKind.CAPEX, "Meters", 15_000, 20_000, 30_000, 0, 0, note=NO_OFFER),
            _line(LineKind.OPEX, "Operation", 800, 1_200, 2_000, 1, 11, note=NO_BOOKS),
            _line(
                LineKind.BENEFIT,
                "Energy saved",
                1_500,
                8_500,
                14_000,
                1,
                11,
                ramp_quarters=2.0,
                attribution=0.7,
                note="Assumption: no meter reading exists yet",
            ),
        ],
    }
    # So that a case can be looked at in a second currency; no market said so.
    entity_create(
        actor=lead,
        model=ExchangeRate,
        data={
            "base": "EUR",
            "quote": "USD",
            "rate": Decimal("1.10"),
            "on": date(2013, 1, 1),
            "source": "Assumption of the demo, not a market rate",
        },
    )
    return {
        code: business_case_create(
            actor=lead,
            use_case=use_cases[code],
            currency="EUR",
            discount_rate=0.08,
            quarters=12,
            start=date(2013, 1, 1),
            assumption=ASSUMPTION,
            lines=lines,
        )
        for code, lines in cases.items()
    }


def set_target(people: dict[str, Any], outcome: Outcome) -> None:
    """Target: a third fewer than the measured baseline."""
    from usecases.services.outcomes import baseline_compute, outcome_update

    outcome = baseline_compute(actor=people["coe_lead"], outcome=outcome)
    if outcome.baseline_value:
        outcome_update(
            actor=people["coe_lead"],
            outcome=outcome,
            data={"target_value": round(outcome.baseline_value * 2 / 3, 5), "target_by": date(2014, 12, 31)},
        )
