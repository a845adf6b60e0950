"""Business cases in the API: two people meet here, so a write names the version it read (``If-Match``)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from portal.core.access import require
from portal.core.api.viewsets import BaseViewSet, CreateMixin, DestroyMixin, EntitySerializer, UpdateMixin
from usecases import filters, models, services


class BusinessLineSerializer(serializers.ModelSerializer[models.BusinessLine]):
    class Meta:
        model = models.BusinessLine
        fields = [
            "kind",
            "name",
            "low",
            "likely",
            "high",
            "first_quarter",
            "last_quarter",
            "ramp_quarters",
            "attribution",
        ]


class BusinessCaseSerializer(EntitySerializer):
    lines = BusinessLineSerializer(many=True, required=False)
    result = serializers.DictField(read_only=True)

    class Meta:
        model = models.BusinessCase
        fields = [
            "id",
            "use_case",
            "currency",
            "discount_rate",
            "quarters",
            "start",
            "assumption",
            "lines",
            "result",
            "computed_at",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = ["computed_at"]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["result"] = {k: v for k, v in instance.result.items() if k != "histogram"} if instance.result else {}
        return shown


class BusinessCaseViewSet(CreateMixin, UpdateMixin, DestroyMixin, BaseViewSet):
    queryset = models.BusinessCase.objects.prefetch_related("lines")
    serializer_class = BusinessCaseSerializer
    filterset_class = filters.BusinessCaseFilter
    ordering_fields = ("created_at", "updated_at", "id")
    container_field = "use_case"
    if_match_required = True

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.business_case_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        lines = data.pop("lines", None)
        if "use_case" in data:
            require(data["use_case"], self.request.user, "change")
        obj = services.business_case_update(
            actor=self.request.user, case=obj, data=data, lines=lines, expected_version=expected_version
        )
        return self.queryset.get(pk=obj.pk)
