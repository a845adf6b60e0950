"""The scoring model to begin with: three top criteria, their sub-criteria, what 0 to 5 mean. An organisation edits it as its own."""

from __future__ import annotations

from dataclasses import dataclass

from usecases.choices import CriterionSource

JUDGED, MEASURED, DERIVED = CriterionSource.JUDGED, CriterionSource.MEASURED, CriterionSource.DERIVED


@dataclass(frozen=True)
class Sub:
    key: str
    name: str
    weight: float
    question: str
    rubric: tuple[str, str, str, str, str, str]
    source: CriterionSource = JUDGED
    fact: str = ""


@dataclass(frozen=True)
class Top:
    key: str
    name: str
    weight: float
    question: str
    subs: tuple[Sub, ...]


STANDARD: tuple[Top, ...] = (
    Top(
        "roi",
        "Measurable ROI",
        0.40,
        "Is it worth doing, and could we show that it was?",
        (
            Sub(
                "roi_value",
                "Value at stake",
                0.6,
                "How much is a full year worth, net of cost?",
                (
                    "No value anybody can name",
                    "Some value, cannot be counted",
                    "Countable, does not repay within the horizon",
                    "Repays within three years",
                    "Repays within eighteen months",
                    "Repays within a year, with margin",
                ),
                DERIVED,
            ),
            Sub(
                "roi_proof",
                "Provability",
                0.4,
                "Could we show the effect with the events this plant has?",
                (
                    "No KPI",
                    "A KPI nobody records",
                    "Recorded, too few events",
                    "Provable in over a year",
                    "Provable within a year",
                    "Provable within a quarter",
                ),
            ),
        ),
    ),
    Top(
        "feasibility",
        "Operational feasibility",
        0.35,
        "Could this plant run it?",
        (
            Sub(
                "coverage",
                "Sensor coverage",
                0.4,
                "Are the signals measured where the model needs them?",
                ("None of them", "A few", "Half", "Most, some by hand", "All but one", "All, by registered channels"),
                MEASURED,
                "devices.sensor_coverage",
            ),
            Sub(
                "network",
                "Network readiness",
                0.25,
                "Can the data leave the machine reliably?",
                (
                    "No network",
                    "Portable media",
                    "Unreliable link",
                    "Link with gaps",
                    "Reliable link",
                    "Reliable link with store and forward",
                ),
                MEASURED,
                "devices.network_readiness",
            ),
            Sub(
                "change",
                "Fit with the shift",
                0.35,
                "Will the shift act on it?",
                (
                    "Against how they work",
                    "Nobody asked them",
                    "They would tolerate it",
                    "They see the use",
                    "They asked for it",
                    "They act on it today",
                ),
            ),
        ),
    ),
    Top(
        "maturity",
        "Data maturity",
        0.25,
        "Is the data there, good, and somebody's?",
        (
            Sub(
                "availability",
                "Availability",
                0.35,
                "Do the rows come, and is there history to learn from?",
                ("Nothing recorded", "Days", "Months", "A year", "Two years", "Two years and more, labelled"),
                MEASURED,
                "governance.availability",
            ),
            Sub(
                "quality",
                "Quality",
                0.35,
                "Would the data pass checks today?",
                ("Unknown", "Mostly broken", "Known gaps", "Usable with cleaning", "Few findings", "Checks pass"),
                MEASURED,
                "governance.quality",
            ),
            Sub(
                "governance",
                "Governance",
                0.3,
                "Is somebody accountable for the data from sensor to use?",
                (
                    "Nobody",
                    "Somebody, informally",
                    "Owner, no rules",
                    "Owner and rules",
                    "Owner, rules, lineage in part",
                    "Owner, rules, lineage complete",
                ),
                MEASURED,
                "governance.accountability",
            ),
        ),
    ),
)
