"""Resources of use cases. Reads are permitted rows; writes call services."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.viewsets import (
    BaseViewSet,
    ExternalMixin,
)
from usecases import filters, models, services
from usecases.api import serializers as shapes
from usecases.api.criteria import MeasuredMixin

_TIMES = ("created_at", "updated_at", "id")


class UseCaseViewSet(MeasuredMixin, ExternalMixin, BaseViewSet):
    queryset = models.UseCase.objects.prefetch_related("depends_on")
    serializer_class = shapes.UseCaseSerializer
    filterset_class = filters.UseCaseFilter
    ordering_fields = ("title", "code", "phase", *_TIMES)
    create_permission = "usecases.add_usecase"
    many_fields = ("depends_on",)

    def perform_create(self, data: dict[str, Any]) -> Any:
        plain, many = self.split_many(data)
        return services.use_case_create(actor=self.request.user, many=many, **plain)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        plain, many = self.split_many(data)
        return services.use_case_update(
            actor=self.request.user, use_case=obj, data=plain, many=many, expected_version=expected_version
        )

    @extend_schema(request=shapes.GivenReasonSerializer, responses=shapes.UseCaseSerializer)
    @action(detail=True, methods=["post"], url_path="not-pursue")
    def not_pursue(self, request: Request, pk: str) -> Response:
        """Leave phase 5 out: the use case is finished after phase 4."""
        obj = self.get_object_for("change")
        asked = shapes.GivenReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.use_case_not_pursue(actor=request.user, use_case=obj, reason=asked.validated_data["reason"])
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})


class AdoptionViewSet(ExternalMixin, BaseViewSet):
    queryset = models.Adoption.objects.select_related("use_case", "site").prefetch_related("devices")
    serializer_class = shapes.AdoptionSerializer
    filterset_class = filters.AdoptionFilter
    ordering_fields = ("phase", *_TIMES)
    container_field = "use_case"
    many_fields = ("devices",)

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.adoption_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        plain, many = self.split_many(data)
        return services.adoption_update(
            actor=self.request.user, adoption=obj, data=plain, many=many, expected_version=expected_version
        )
