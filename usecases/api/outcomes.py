"""Outcomes and KPI readings in the API: their shapes, and the writes through the services."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.access import require
from portal.core.api.viewsets import BaseViewSet, DestroyMixin, EntitySerializer, EntityViewSet, ExternalMixin
from usecases import filters, models, services
from usecases.api.serializers import ReasonSerializer
from usecases.choices import KpiSource
from usecases.proof import proofs


class OutcomeSerializer(EntitySerializer):
    reason = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=300, help_text="Needed when re-baselining."
    )

    class Meta:
        model = models.Outcome
        fields = [
            "id",
            "use_case",
            "kpi",
            "owner",
            "source",
            "unit",
            "counts_events",
            "direction",
            "exposure_unit",
            "baseline_from",
            "baseline_to",
            "baseline_frozen_at",
            "baseline_value",
            "baseline_exposure",
            "target_value",
            "target_by",
            "value_per_unit",
            "currency",
            "assumption",
            "provider_key",
            "reason",
            "external_source",
            "external_id",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = ["baseline_frozen_at"]


class KpiReadingSerializer(EntitySerializer):
    reason = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=300, help_text="Needed inside a frozen baseline."
    )

    class Meta:
        model = models.KpiReading
        fields = [
            "id",
            "outcome",
            "site",
            "period_from",
            "period_to",
            "value",
            "exposure",
            "source",
            "note",
            "reason",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = ["source"]
        validators: ClassVar[list[Any]] = []


class ProvabilitySerializer(serializers.Serializer[Any]):
    """Counts fill the first group of numbers, quantities the second; the other is null, as all are where ``reason`` says why."""

    outcome = serializers.CharField()
    method = serializers.ChoiceField(choices=["counts", "spread", ""])
    provable = serializers.BooleanField(allow_null=True)
    sentence = serializers.CharField(allow_blank=True)
    since = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    baseline_events = serializers.IntegerField(allow_null=True, default=None)
    reduction = serializers.FloatField(allow_null=True, default=None)
    events_needed = serializers.IntegerField(allow_null=True, default=None)
    power = serializers.FloatField(allow_null=True, default=None, help_text="With as long after as before, 0 to 1.")
    plants_to_pool = serializers.IntegerField(allow_null=True, default=None)
    exposure_ratio = serializers.FloatField(allow_null=True, default=None, help_text="Null: no waiting is enough.")
    days_at_present_pace = serializers.IntegerField(allow_null=True, default=None)
    baseline_readings = serializers.IntegerField(allow_null=True, default=None)
    gain = serializers.FloatField(allow_null=True, default=None)
    variation = serializers.FloatField(allow_null=True, default=None)
    readings_needed = serializers.IntegerField(allow_null=True, default=None)


class OutcomeViewSet(ExternalMixin, DestroyMixin, BaseViewSet):
    queryset = models.Outcome.objects.all()
    serializer_class = OutcomeSerializer
    filterset_class = filters.OutcomeFilter
    ordering_fields = ("kpi", "created_at", "updated_at", "id")
    container_field = "use_case"

    def perform_create(self, data: dict[str, Any]) -> Any:
        data.pop("reason", None)
        return services.outcome_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        reason = data.pop("reason", "")
        if "use_case" in data:
            require(data["use_case"], self.request.user, "change")
        return services.outcome_update(
            actor=self.request.user, outcome=obj, data=data, expected_version=expected_version, reason=reason
        )

    @extend_schema(request=ReasonSerializer, responses=OutcomeSerializer)
    @action(detail=True, methods=["post"])
    def baseline(self, request: Request, pk: str) -> Response:
        """Compute the baseline from the readings in its window; after a gate has used it a reason is needed."""
        obj = self.get_object_for("change")
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        obj = services.baseline_compute(actor=request.user, outcome=obj, reason=asked.validated_data["reason"])
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(responses=ProvabilitySerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def provability(self, request: Request, pk: str) -> Response:
        """Whether the target can be proved, and what it would take; from the readings there are now."""
        obj = self.get_object_for("view")
        return self.with_etag(request, ProvabilitySerializer(proofs([obj])[0].as_data()).data)


class KpiReadingViewSet(EntityViewSet):
    queryset = models.KpiReading.objects.select_related("outcome")
    serializer_class = KpiReadingSerializer
    filterset_class = filters.KpiReadingFilter
    ordering_fields = ("period_from", "created_at", "updated_at", "id")
    container_field = "outcome__use_case"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.reading_create(actor=self.request.user, source=KpiSource.API, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        if "outcome" in data:
            require(data["outcome"], self.request.user, "change")
        reason = data.pop("reason", "")
        return services.reading_update(
            actor=self.request.user, reading=obj, data=data, expected_version=expected_version, reason=reason
        )

    @extend_schema(
        responses={204: None},
        parameters=[OpenApiParameter("reason", str, description="Needed inside a frozen baseline.")],
    )
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().destroy(request, *args, **kwargs)

    def perform_delete(self, obj: Any) -> None:
        reason = self.request.query_params.get("reason", "")[:300]
        services.reading_delete(actor=self.request.user, reading=obj, reason=reason)
