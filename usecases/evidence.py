"""The registry of measured facts. Gate criteria, measured scores and KPI values all read it.

An app registers, in ``AppConfig.ready``, one ``CriterionSpec`` per fact with a provider: a function of a ``Subject`` that answers with a
``Measurement``. A provider reads only; it never raises for missing data but says *not measured* with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from usecases.choices import Comparator
from usecases.models import Adoption, UseCase


@dataclass(frozen=True)
class Subject:
    """What a fact is asked about. ``adoption`` is None for gates 1 and 5; ``now`` is wall time."""

    use_case: UseCase
    adoption: Adoption | None
    now: datetime

    @property
    def site(self) -> Any:
        return self.adoption.site if self.adoption else None


@dataclass(frozen=True)
class Measurement:
    """``status``: measured, not_measured, not_applicable or not_yet_due (the last three need ``text`` as the reason).

    ``unit`` in ``detail`` takes the place of the criterion's own where it was measured in another, as money is.
    """

    status: str
    value: Any = None
    text: str = ""
    measured_at: datetime | None = None
    plant_at: datetime | None = None
    link: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None

    @classmethod
    def of(
        cls,
        value: Any,
        text: str,
        *,
        measured_at: datetime,
        link: str = "",
        plant_at: datetime | None = None,
        **detail: Any,
    ) -> Measurement:
        return cls("measured", value, text, measured_at, plant_at, link, detail)

    @classmethod
    def missing(cls, reason: str, link: str = "") -> Measurement:
        return cls("not_measured", text=reason, link=link)

    @classmethod
    def not_applicable(cls, reason: str) -> Measurement:
        return cls("not_applicable", text=reason)

    @classmethod
    def not_yet_due(cls, reason: str, due_at: datetime | None = None) -> Measurement:
        """``due_at``: from then on the criterion counts as not measured; without it the provider keeps saying when it is due."""
        return cls("not_yet_due", text=reason, due_at=due_at)


@dataclass(frozen=True)
class CriterionSpec:
    """One criterion of one gate: a number with a threshold, an age limit and a link.

    ``owner``: label of the role that answers for it. ``safety``: only an AI Safety Officer may waive it.
    ``required``: False for places that later work fills (they show "not measured" and block nothing).
    ``grace``: how long a criterion that was met may slip before it counts as open; a safety criterion has none.
    ``essential``: a conditional go cannot leave it open, because later decisions are measured against it.
    """

    key: str
    gate: int
    label: str
    question: str
    unit: str
    comparator: Comparator
    threshold: Any
    provider: Callable[[Subject], Measurement]
    owner: str
    max_age: timedelta | None = None
    safety: bool = False
    required: bool = True
    order: int = 100
    grace: timedelta = timedelta(hours=24)
    essential: bool = False


_specs: dict[str, CriterionSpec] = {}


def register(*specs: CriterionSpec) -> None:
    for spec in specs:
        known = _specs.get(spec.key)
        if known is not None and known.provider is not spec.provider:
            raise ValueError(f"Two providers for the criterion {spec.key!r}.")
        _specs[spec.key] = spec


def spec(key: str) -> CriterionSpec | None:
    return _specs.get(key)


def specs_for(gate: int) -> list[CriterionSpec]:
    return sorted((s for s in _specs.values() if s.gate == gate), key=lambda s: (s.order, s.key))
