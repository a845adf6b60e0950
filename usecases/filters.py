"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

import django_filters as filters

from usecases import models


class UseCaseFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="title", lookup_expr="icontains", label="Title contains")

    class Meta:
        model = models.UseCase
        fields = ["q", "phase", "label", "state", "code"]


class OutcomeFilter(filters.FilterSet):
    class Meta:
        model = models.Outcome
        fields = ["use_case", "direction"]


class KpiReadingFilter(filters.FilterSet):
    period_from = filters.IsoDateTimeFilter(field_name="period_from", lookup_expr="gte", label="From")
    period_to = filters.IsoDateTimeFilter(field_name="period_to", lookup_expr="lte", label="To")

    class Meta:
        model = models.KpiReading
        fields = ["outcome", "site", "source", "period_from", "period_to"]


class CriteriaSetFilter(filters.FilterSet):
    class Meta:
        model = models.CriteriaSet
        fields = ["name", "state"]


class CriterionFilter(filters.FilterSet):
    class Meta:
        model = models.Criterion
        fields = ["criteria_set", "key", "source"]


class ScoringRoundFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="title", lookup_expr="icontains", label="Title contains")

    class Meta:
        model = models.ScoringRound
        fields = ["q", "state", "criteria_set"]


class RatingFilter(filters.FilterSet):
    class Meta:
        model = models.Rating
        fields = ["round", "use_case", "criterion", "rater"]


class BusinessCaseFilter(filters.FilterSet):
    class Meta:
        model = models.BusinessCase
        fields = ["use_case", "currency"]


class AdoptionFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="use_case__title", lookup_expr="icontains", label="Use case contains")

    class Meta:
        model = models.Adoption
        fields = ["q", "use_case", "site", "scope", "phase"]


class GateFilter(filters.FilterSet):
    class Meta:
        model = models.Gate
        fields = ["use_case", "adoption", "number", "state"]


class EvidenceFilter(filters.FilterSet):
    class Meta:
        model = models.Evidence
        fields = ["gate", "key", "state", "current"]


class WaiverFilter(filters.FilterSet):
    class Meta:
        model = models.Waiver
        fields = ["gate", "key"]


class GateReviewFilter(filters.FilterSet):
    class Meta:
        model = models.GateReview
        fields = ["gate", "state", "decision"]


class SignatureFilter(filters.FilterSet):
    class Meta:
        model = models.Signature
        fields = ["review", "approves"]
