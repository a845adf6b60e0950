"""The map of dependencies: use cases a person may see, what stands on each, and what a foundation enables in money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from usecases.domain import dependencies
from usecases.models import PortfolioRun, Scenario, UseCase


@dataclass(frozen=True)
class Enabling:
    """Enabling values of the plan of record in its currency; ``reason`` says why there are none."""

    values: dict[str, float]
    currency: str = ""
    run: PortfolioRun | None = None
    reason: str = ""

    def of(self, use_case: UseCase) -> float | None:
        return self.values.get(str(use_case.pk))

    def why_not(self, use_case: UseCase) -> str:
        """Why a use case has no value here; empty where it has one."""
        if self.reason or str(use_case.pk) in self.values:
            return self.reason
        return _("Not among the candidates of the plan of record.")


def enabling(user: Any) -> Enabling:
    """From the newest finished run of the plan of record that this person may see."""
    if not Scenario.objects.permitted(user).filter(of_record=True).exists():
        return Enabling({}, reason=_("No scenario is the plan of record yet."))
    run = (
        PortfolioRun.objects.permitted(user)
        .filter(scenario__of_record=True, finished_at__isnull=False, result__has_key="enabling")
        .select_related("scenario")
        .order_by("-finished_at", "-id")
        .first()
    )
    if run is None:
        return Enabling({}, reason=_("The plan of record has not been computed yet."))
    values = {str(pk): float(v) for pk, v in run.result["enabling"].items() if v is not None}
    return Enabling(values, run.scenario.currency, run)


@dataclass(frozen=True)
class Place:
    """One use case on the map: what it stands on, and who waits for it directly and through others."""

    case: UseCase
    depends_on: list[UseCase]
    direct: list[UseCase]
    indirect: list[UseCase]


def places(user: Any) -> list[Place]:
    """Every use case this person may see, those that most others wait for first; unseen ones are not counted either."""
    cases = {case.pk: case for case in UseCase.objects.permitted(user).order_by("title", "pk")}
    through = UseCase.depends_on.through.objects
    pairs = [
        (dependent, foundation)
        for dependent, foundation in through.values_list("from_usecase_id", "to_usecase_id")
        if dependent in cases and foundation in cases
    ]
    direct = dependencies.directly(pairs)
    below = dependencies.directly((foundation, dependent) for dependent, foundation in pairs)

    def named(keys: Any) -> list[UseCase]:
        return sorted((cases[pk] for pk in keys), key=lambda case: case.title)

    found = [
        Place(
            case,
            named(below.get(pk, ())),
            named(direct.get(pk, ())),
            named(dependencies.through_others(direct, pk)),
        )
        for pk, case in cases.items()
    ]
    return sorted(found, key=lambda p: (-len(p.direct) - len(p.indirect), -len(p.direct), p.case.title))
