"""What nobody needs to judge: sub-criteria that a registered fact measures, and those that follow from the business case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from usecases import facts
from usecases.choices import CriterionSource
from usecases.domain.measured import measured_rating
from usecases.evidence import Measurement
from usecases.models import BusinessCase, Criterion, UseCase


@dataclass(frozen=True)
class MeasuredScore:
    """``rating`` on the scale 0 to 5; None: nothing was measured, ``reason`` says why and the criterion falls back to judgement.

    ``value`` in ``unit`` is the number itself, ``text`` says it in words. ``measured_at`` is wall time, ``plant_at`` the plant's.
    """

    rating: float | None
    value: Any = None
    unit: str = ""
    text: str = ""
    measured_at: datetime | None = None
    link: str = ""
    reason: str = ""
    plant_at: datetime | None = None


def measured_scores(
    use_cases: Iterable[UseCase], leaves: Iterable[Criterion], now: datetime
) -> dict[tuple[Any, str], MeasuredScore]:
    """(use case, criterion key) -> its score, for each measured and derived criterion among ``leaves``.

    Each fact is asked once for all use cases, so the number of queries does not grow with them.
    """
    cases, asked = list(use_cases), list(leaves)
    found: dict[tuple[Any, str], MeasuredScore] = {}
    measured = [leaf for leaf in asked if leaf.source == CriterionSource.MEASURED]
    answers = _answers({leaf.fact for leaf in measured}, cases, now)
    for leaf in measured:
        for case in cases:
            answer = answers.get(leaf.fact, {}).get(case.pk)
            found[case.pk, leaf.key] = _of_fact(leaf, facts.get(leaf.fact), answer)
    derived = [leaf for leaf in asked if leaf.source == CriterionSource.DERIVED]
    worth = business_cases(cases) if derived else {}
    for leaf in derived:
        found |= {(case.pk, leaf.key): _of_business_case(case, worth.get(case.pk)) for case in cases}
    return found


def _answers(keys: set[str], cases: list[UseCase], now: datetime) -> dict[str, dict[Any, Measurement]]:
    known = [fact for fact in facts.every() if fact.key in keys]
    with facts.one_reading():
        return {fact.key: fact.provider(cases, now) for fact in known} if cases else {}


def _of_fact(leaf: Criterion, fact: facts.Fact | None, answer: Measurement | None) -> MeasuredScore:
    if fact is None:
        return MeasuredScore(None, reason=_("Nothing here measures “{fact}”.").format(fact=leaf.fact or leaf.name))
    if answer is None:
        return MeasuredScore(None, unit=fact.unit, reason=_("It has not been measured yet."))
    if answer.status != "measured" or answer.value is None:
        return MeasuredScore(None, unit=fact.unit, link=answer.link, reason=answer.text)
    return MeasuredScore(
        measured_rating(float(answer.value), leaf.anchor_low, leaf.anchor_high),
        answer.value,
        fact.unit,
        answer.text,
        answer.measured_at,
        answer.link,
        plant_at=answer.plant_at,
    )


def business_cases(use_cases: Sequence[UseCase]) -> dict[Any, BusinessCase | None]:
    """The business case of each; those that were read with their use case are not read again."""
    loaded = {
        c.pk: c._state.fields_cache["business_case"] for c in use_cases if "business_case" in c._state.fields_cache
    }
    wanted = [case.pk for case in use_cases if case.pk not in loaded]
    if wanted:
        loaded |= {row.use_case_id: row for row in BusinessCase.objects.filter(use_case__in=wanted)}
    return loaded


def _of_business_case(use_case: UseCase, case: BusinessCase | None) -> MeasuredScore:
    link = reverse("usecases:business-case", args=[use_case.pk])
    rating = case.result.get("rating") if case is not None and case.result else None
    if case is None or rating is None:
        return MeasuredScore(None, link=link, reason=_("There is no business case with lines yet."))
    worth = case.result.get("p50", 0)
    return MeasuredScore(
        float(rating),
        worth,
        case.currency,
        _("From the business case: expected net present value {worth} {currency}.").format(
            worth=f"{worth:,.0f}", currency=case.currency
        ),
        case.computed_at,
        link,
    )
