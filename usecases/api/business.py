"""Business cases in the API: two people meet here, so a write names the version it read (``If-Match``)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.access import require
from portal.core.api.viewsets import (
    BaseViewSet,
    CreateMixin,
    DestroyMixin,
    EntitySerializer,
    EntityViewSet,
    UpdateMixin,
)
from usecases import filters, models, services

#: Parts of a result that only a page draws; ``worth`` has them.
_LONG = ("histogram", "curve")


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
            "delay_low",
            "delay_likely",
            "delay_high",
            "attribution",
            "note",
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
            "seed",
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
        shown["result"] = {k: v for k, v in instance.result.items() if k not in _LONG} if instance.result else {}
        return shown


class WorthSerializer(serializers.Serializer[Any]):
    """The whole result, histogram and NPV curve included, in the currency asked for."""

    currency = serializers.CharField()
    rate = serializers.FloatField(help_text="What one unit of the case's own currency buys.")
    rate_on = serializers.DateField(allow_null=True, help_text="Day of the rate; null where nothing was converted.")
    rate_via = serializers.CharField(allow_blank=True, help_text="Third currency, where no direct rate is known.")
    result = serializers.DictField()


class WorthQuerySerializer(serializers.Serializer[Any]):
    currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)


class ExchangeRateSerializer(EntitySerializer):
    class Meta:
        model = models.ExchangeRate
        fields = ["id", "base", "quote", "rate", "on", "source", "created_at", "updated_at", "version"]
        validators: ClassVar[list[Any]] = []


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

    @extend_schema(
        parameters=[WorthQuerySerializer],
        responses={200: WorthSerializer, (409, "application/problem+json"): OpenApiTypes.OBJECT},
        filters=False,
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def worth(self, request: Request, pk: str) -> Response:
        """What the case is worth, in its own currency or, by the newest rate on or before today, in another."""
        obj = self.get_object_for("view")
        asked = WorthQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        rate, result = services.business_case_in(case=obj, currency=asked.validated_data.get("currency", obj.currency))
        told = {"currency": rate.quote, "rate": rate.rate, "rate_on": rate.on, "rate_via": rate.via, "result": result}
        return self.with_etag(request, WorthSerializer(told).data)


class ExchangeRateViewSet(EntityViewSet):
    queryset = models.ExchangeRate.objects.all()
    serializer_class = ExchangeRateSerializer
    filterset_class = filters.ExchangeRateFilter
    ordering_fields = ("on", "base", "quote", "created_at", "updated_at", "id")
    create_permission = "usecases.add_usecase"
