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
    ReadViewSet,
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


class GateViewSet(ReadViewSet):
    queryset = models.Gate.objects.select_related("use_case", "adoption__site", "adoption__location")
    serializer_class = shapes.GateSerializer
    filterset_class = filters.GateFilter
    ordering_fields = ("number", *_TIMES)

    @extend_schema(request=None, responses=shapes.EvidenceSerializer(many=True), filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def measure(self, request: Request, pk: str) -> Response:
        """Measure all criteria of the gate now; the answer is its present evidence."""
        gate = self.get_object_for("view")
        services.gate_measure(gate=gate, actor=request.user)
        rows = models.Evidence.objects.filter(gate=gate, current=True).order_by("key")
        return Response(shapes.EvidenceSerializer(rows, many=True, context=self.get_serializer_context()).data)


class EvidenceViewSet(ReadViewSet):
    queryset = models.Evidence.objects.all()
    serializer_class = shapes.EvidenceSerializer
    filterset_class = filters.EvidenceFilter
    ordering_fields = ("since", "key", *_TIMES)


class WaiverViewSet(CreateMixin, BaseViewSet):
    queryset = models.Waiver.objects.select_related("gate__use_case", "gate__adoption__site")
    serializer_class = shapes.WaiverSerializer
    filterset_class = filters.WaiverFilter
    ordering_fields = ("expires_at", *_TIMES)
    container_field = "gate"
    create_verb = "sign"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.waiver_grant(actor=self.request.user, **data)

    @extend_schema(request=None, responses=shapes.WaiverSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Take the waiver back before it expires."""
        obj = self.get_object_for("change")
        services.waiver_revoke(actor=request.user, waiver=obj)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})


class GateReviewViewSet(CreateMixin, BaseViewSet):
    queryset = models.GateReview.objects.select_related(
        "gate__use_case", "gate__adoption__site", "gate__adoption__location", "gate__adoption__use_case"
    )
    serializer_class = shapes.GateReviewSerializer
    filterset_class = filters.GateReviewFilter
    ordering_fields = ("decided_at", *_TIMES)
    container_field = "gate"
    create_verb = "sign"
    if_match_required = True

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.review_open(actor=self.request.user, gate=data["gate"])

    def _answer(self, obj: Any) -> Response:
        obj.refresh_from_db()
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(request=shapes.SignSerializer, responses={201: shapes.SignatureSerializer})
    @action(detail=True, methods=["post"])
    def sign(self, request: Request, pk: str) -> Response:
        """Sign the frozen evidence, for or against. Needs a valid appointment and certificate, and If-Match."""
        obj = self.get_object_for("sign")
        expected = self.expected_version(request, obj)
        asked = shapes.SignSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        made = services.review_sign(actor=request.user, review=obj, expected_version=expected, **asked.validated_data)
        body = shapes.SignatureSerializer(made, context=self.get_serializer_context()).data
        return Response(body, status=201, headers={"ETag": obj.etag})

    @extend_schema(request=shapes.DecideSerializer, responses=shapes.GateReviewSerializer)
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        """Go, conditional go, hold, recycle or kill. Needs If-Match."""
        obj = self.get_object_for("decide")
        expected = self.expected_version(request, obj)
        asked = shapes.DecideSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.review_decide(actor=request.user, review=obj, expected_version=expected, **asked.validated_data)
        return self._answer(obj)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.GateReviewSerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """Close the review without a decision. Needs If-Match."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        asked = shapes.ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.review_withdraw(
            actor=request.user, review=obj, reason=asked.validated_data["reason"], expected_version=expected
        )
        return self._answer(obj)

    @extend_schema(responses=shapes.VerifySerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def verify(self, request: Request, pk: str) -> Response:
        """Hash the stored evidence again and compare."""
        return Response(services.review_verify(self.get_object_for("view")))


class SignatureViewSet(ReadViewSet):
    queryset = models.Signature.objects.all()
    serializer_class = shapes.SignatureSerializer
    filterset_class = filters.SignatureFilter
    ordering_fields = ("signed_at", *_TIMES)
