"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_filters as filters

from devices.models import Site
from usecases import models


def _seen(model: Any, **extra: Any) -> Any:
    """A choice among the related rows this person may see."""

    def rows(request: Any) -> Any:
        return model.objects.permitted(request.user) if request is not None else model.objects.none()

    choose: Callable[[Any], Any] = rows
    return filters.ModelChoiceFilter(queryset=choose, **extra)


class UseCaseFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="title", lookup_expr="icontains", label="Title contains")

    class Meta:
        model = models.UseCase
        fields = ["q", "phase", "label", "state", "code"]


class OutcomeFilter(filters.FilterSet):
    use_case = _seen(models.UseCase)

    class Meta:
        model = models.Outcome
        fields = ["use_case", "direction"]


class KpiReadingFilter(filters.FilterSet):
    period_from = filters.IsoDateTimeFilter(field_name="period_from", lookup_expr="gte", label="From")
    period_to = filters.IsoDateTimeFilter(field_name="period_to", lookup_expr="lte", label="To")
    outcome = _seen(models.Outcome)
    site = _seen(Site)

    class Meta:
        model = models.KpiReading
        fields = ["outcome", "site", "source", "period_from", "period_to"]


class CriteriaSetFilter(filters.FilterSet):
    class Meta:
        model = models.CriteriaSet
        fields = ["name", "state"]


class CriterionFilter(filters.FilterSet):
    criteria_set = _seen(models.CriteriaSet)

    class Meta:
        model = models.Criterion
        fields = ["criteria_set", "key", "source"]


class ScoringRoundFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="title", lookup_expr="icontains", label="Title contains")

    class Meta:
        model = models.ScoringRound
        fields = ["q", "state", "criteria_set"]


class RatingFilter(filters.FilterSet):
    round = _seen(models.ScoringRound)
    use_case = _seen(models.UseCase)
    criterion = _seen(models.Criterion)
    rater = filters.UUIDFilter(field_name="rater_id")

    class Meta:
        model = models.Rating
        fields = ["round", "use_case", "criterion", "rater", "vote"]


class JudgementFilter(filters.FilterSet):
    round = _seen(models.ScoringRound)

    class Meta:
        model = models.Judgement
        fields = ["round", "vote"]


class BusinessCaseFilter(filters.FilterSet):
    use_case = _seen(models.UseCase)

    class Meta:
        model = models.BusinessCase
        fields = ["use_case", "currency"]


class ExchangeRateFilter(filters.FilterSet):
    class Meta:
        model = models.ExchangeRate
        fields = ["base", "quote", "on"]


class AdoptionFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="use_case__title", lookup_expr="icontains", label="Use case contains")
    use_case = _seen(models.UseCase)
    site = _seen(Site)

    class Meta:
        model = models.Adoption
        fields = ["q", "use_case", "site", "scope", "phase"]


class GateFilter(filters.FilterSet):
    use_case = _seen(models.UseCase)
    adoption = _seen(models.Adoption)

    class Meta:
        model = models.Gate
        fields = ["use_case", "adoption", "number", "state"]


class EvidenceFilter(filters.FilterSet):
    gate = _seen(models.Gate)

    class Meta:
        model = models.Evidence
        fields = ["gate", "key", "state", "current"]


class WaiverFilter(filters.FilterSet):
    gate = _seen(models.Gate)

    class Meta:
        model = models.Waiver
        fields = ["gate", "key"]


class GateReviewFilter(filters.FilterSet):
    gate = _seen(models.Gate)

    class Meta:
        model = models.GateReview
        fields = ["gate", "state", "decision"]


class SignatureFilter(filters.FilterSet):
    review = _seen(models.GateReview)

    class Meta:
        model = models.Signature
        fields = ["review", "approves"]


class ScenarioFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label="Name contains")

    class Meta:
        model = models.Scenario
        fields = ["q", "of_record", "currency"]


class ExclusionFilter(filters.FilterSet):
    scenario = _seen(models.Scenario)

    class Meta:
        model = models.Exclusion
        fields = ["scenario"]


class EffortNeedFilter(filters.FilterSet):
    use_case = _seen(models.UseCase)

    class Meta:
        model = models.EffortNeed
        fields = ["use_case", "role"]


class PortfolioRunFilter(filters.FilterSet):
    scenario = _seen(models.Scenario)

    class Meta:
        model = models.PortfolioRun
        fields = ["scenario", "kind"]
