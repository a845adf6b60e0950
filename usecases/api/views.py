"""Resources of use cases. Reads are permitted rows; writes call services."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.viewsets import (
    BaseViewSet,
    CreateMixin,
    EntityViewSet,
    ExternalMixin,
)
from usecases import filters, models, services
from usecases.api import serializers as shapes

_TIMES = ("created_at", "updated_at", "id")


class UseCaseViewSet(ExternalMixin, BaseViewSet):
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


class CriteriaSetViewSet(CreateMixin, BaseViewSet):
    queryset = models.CriteriaSet.objects.all()
    serializer_class = shapes.CriteriaSetSerializer
    filterset_class = filters.CriteriaSetFilter
    ordering_fields = ("name", "number", *_TIMES)
    create_permission = "usecases.add_usecase"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.criteria_set_create(actor=self.request.user, name=data["name"])

    @extend_schema(request=None, responses=shapes.CriteriaSetSerializer)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, pk: str) -> Response:
        """From now on this version never changes."""
        obj = self.get_object_for("change")
        services.criteria_set_publish(actor=request.user, criteria_set=obj)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(request=None, responses={201: shapes.CriteriaSetSerializer})
    @action(detail=True, methods=["post"], url_path="next-version")
    def next_version(self, request: Request, pk: str) -> Response:
        """A draft of the next version with the same criteria."""
        obj = self.get_object_for("change")
        made = services.criteria_set_next(actor=request.user, criteria_set=obj)
        return Response(self.get_serializer(made).data, status=201, headers={"ETag": made.etag})


class CriterionViewSet(EntityViewSet):
    queryset = models.Criterion.objects.select_related("criteria_set")
    serializer_class = shapes.CriterionSerializer
    filterset_class = filters.CriterionFilter
    ordering_fields = ("position", "key", *_TIMES)
    create_permission = "usecases.add_usecase"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.criterion_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.criterion_update(
            actor=self.request.user, criterion=obj, data=data, expected_version=expected_version
        )

    def perform_delete(self, obj: Any) -> None:
        services.criterion_delete(actor=self.request.user, criterion=obj)


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
