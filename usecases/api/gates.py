"""Gates, evidence, waivers, reviews, signatures, conditions and comments in the API. Reads are permitted rows; writes call services."""

from __future__ import annotations

from typing import Any

import django_filters
from django.core.paginator import Paginator
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.viewsets import BaseViewSet, CreateMixin, ReadViewSet, UpdateMixin
from portal.core.errors import InvalidInput, StaleWrite
from usecases import filters, gate_history, models, selectors, services
from usecases.api import gates_shapes as shapes
from usecases.api.serializers import ReasonSerializer
from usecases.gate_document import document_response
from usecases.services.decisions import Term

_TIMES = ("created_at", "updated_at", "id")
_GATE = ("use_case", "adoption__site", "adoption__location", "adoption__use_case")


def _in_gate(path: str) -> tuple[str, ...]:
    return tuple(f"{path}__{name}" for name in _GATE)


def _seen(model: Any) -> Any:
    return django_filters.ModelChoiceFilter(
        queryset=lambda request: model.objects.permitted(request.user) if request is not None else model.objects.none()
    )


class GateConditionFilter(django_filters.FilterSet):
    review = _seen(models.GateReview)
    owner = django_filters.UUIDFilter(field_name="owner_id")
    met = django_filters.BooleanFilter(field_name="met_at", lookup_expr="isnull", exclude=True, label="Met")

    class Meta:
        model = models.GateCondition
        fields = ["review", "kind", "key", "owner", "met"]


class GateCommentFilter(django_filters.FilterSet):
    gate = _seen(models.Gate)
    review = _seen(models.GateReview)
    author = django_filters.UUIDFilter(field_name="author_id")

    class Meta:
        model = models.GateComment
        fields = ["gate", "review", "key", "author"]


class _Verbs(BaseViewSet):
    """Verbs whose body is checked by a shape of its own, and which answer with the row as it is now."""

    def asked(self, request: Request, shape: Any) -> dict[str, Any]:
        found = shape(data=request.data, context=self.get_serializer_context())
        found.is_valid(raise_exception=True)
        return dict(found.validated_data)

    def answer(self, obj: Any) -> Response:
        obj.refresh_from_db()
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})


class GateViewSet(_Verbs):
    queryset = models.Gate.objects.select_related(*_GATE)
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

    @extend_schema(responses=shapes.CriterionOfGateSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def criteria(self, request: Request, pk: str) -> Response:
        """Every registered criterion of the gate with threshold, age limit and owner, and what was measured last."""
        return self.with_etag(request, selectors.criteria_of(self.get_object_for("view")))

    @extend_schema(
        parameters=[
            OpenApiParameter("kind", str, many=True, enum=list(gate_history.KINDS)),
            OpenApiParameter("key", str, description="Only what speaks of this criterion."),
            OpenApiParameter("since", OpenApiTypes.DATE),
            OpenApiParameter("until", OpenApiTypes.DATE, description="This day included."),
            OpenApiParameter("page", int),
        ],
        responses=shapes.HistorySerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def history(self, request: Request, pk: str) -> Response:
        """Everything that happened at the gate, the newest first, fifty moments a page."""
        gate = self.get_object_for("view")
        asked, _shown = gate_history.asked_of(request.query_params)
        page = Paginator(gate_history.moments(gate, asked), 50).get_page(request.query_params.get("page"))
        rows = shapes.HistoryMomentSerializer(gate_history.lines(page.object_list), many=True).data
        return self.with_etag(
            request,
            {"count": page.paginator.count, "page": page.number, "pages": page.paginator.num_pages, "results": rows},
        )

    @extend_schema(request=shapes.ResumeSerializer, responses=shapes.GateSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """End a hold: the gate is worked on again."""
        obj = self.get_object_for("sign")
        asked = self.asked(request, shapes.ResumeSerializer)
        expected = self.expected_version(request, obj)
        services.gate_resume(actor=request.user, gate=obj, expected_version=expected, **asked)
        return self.answer(obj)


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


class GateReviewViewSet(CreateMixin, _Verbs):
    queryset = models.GateReview.objects.select_related(*_in_gate("gate"), "gate__use_case__owner")
    serializer_class = shapes.GateReviewSerializer
    filterset_class = filters.GateReviewFilter
    ordering_fields = ("decided_at", *_TIMES)
    container_field = "gate"
    create_verb = "sign"
    if_match_required = True

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.review_open(
            actor=self.request.user, gate=data["gate"], signatures_due=data.get("signatures_due")
        )

    @extend_schema(request=shapes.SignSerializer, responses={201: shapes.SignatureSerializer})
    @action(detail=True, methods=["post"])
    def sign(self, request: Request, pk: str) -> Response:
        """Sign the frozen evidence, for or against, for yourself or as a deputy. Needs the right at this moment, and If-Match."""
        obj = self.get_object_for("sign")
        expected = self.expected_version(request, obj)
        asked = self.asked(request, shapes.SignSerializer)
        made = services.review_sign(actor=request.user, review=obj, expected_version=expected, **asked)
        body = shapes.SignatureSerializer(made, context=self.get_serializer_context()).data
        return Response(body, status=201, headers={"ETag": obj.etag})

    @extend_schema(request=shapes.DecideSerializer, responses=shapes.GateReviewSerializer)
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        """Go, conditional go, hold, recycle or kill. Needs If-Match."""
        obj = self.get_object_for("decide")
        expected = self.expected_version(request, obj)
        asked = self.asked(request, shapes.DecideSerializer)
        terms = [Term(**term) for term in asked.pop("terms", [])]
        services.review_decide(actor=request.user, review=obj, expected_version=expected, terms=terms, **asked)
        return self.answer(obj)

    @extend_schema(request=ReasonSerializer, responses=shapes.GateReviewSerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """Close the review without a decision. Needs If-Match."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        asked = self.asked(request, ReasonSerializer)
        services.review_withdraw(actor=request.user, review=obj, reason=asked["reason"], expected_version=expected)
        return self.answer(obj)

    @extend_schema(request=shapes.WantBySerializer, responses=shapes.GateReviewSerializer)
    @action(detail=True, methods=["post"], url_path="want-by")
    def want_by(self, request: Request, pk: str) -> Response:
        """Another date by which signatures are wanted. Needs If-Match."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        asked = self.asked(request, shapes.WantBySerializer)
        services.review_want_by(actor=request.user, review=obj, expected_version=expected, **asked)
        return self.answer(obj)

    @extend_schema(request=None, responses=shapes.RemindedSerializer)
    @action(detail=True, methods=["post"])
    def remind(self, request: Request, pk: str) -> Response:
        """Remind those who have not signed, and their deputies; once an hour at most."""
        obj = self.get_object_for("sign")
        return Response({"people": services.review_remind(actor=request.user, review=obj)})

    @extend_schema(responses=shapes.VerifySerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def verify(self, request: Request, pk: str) -> Response:
        """Hash the stored evidence again and compare."""
        return Response(services.review_verify(self.get_object_for("view")))

    @extend_schema(request=shapes.DocumentSerializer, responses=shapes.CheckedSerializer)
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Hold a copy of the document against what was signed. Nothing is kept."""
        obj = self.get_object_for("view")
        text = self.asked(request, shapes.DocumentSerializer)["text"]
        found = services.document_check(obj, text.encode("utf-8", "replace"))
        if found["problem"]:
            raise InvalidInput({"text": found["problem"]})
        return Response(found)

    @extend_schema(responses={(200, "application/json"): OpenApiTypes.OBJECT}, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def document(self, request: Request, pk: str) -> HttpResponse:
        """The frozen document byte by byte: ``sha256sum`` over it gives the hash that was signed."""
        return document_response(self.get_object_for("view"))


class SignatureViewSet(ReadViewSet):
    queryset = models.Signature.objects.all()
    serializer_class = shapes.SignatureSerializer
    filterset_class = filters.SignatureFilter
    ordering_fields = ("signed_at", *_TIMES)


class GateConditionViewSet(_Verbs):
    queryset = models.GateCondition.objects.select_related(*_in_gate("review__gate"))
    serializer_class = shapes.GateConditionSerializer
    filterset_class = GateConditionFilter
    ordering_fields = ("due_at", *_TIMES)

    @extend_schema(request=shapes.MeetSerializer, responses=shapes.GateConditionSerializer)
    @action(detail=True, methods=["post"])
    def met(self, request: Request, pk: str) -> Response:
        """Confirm a condition that no criterion measures."""
        obj = self.get_object_for("change")
        asked = self.asked(request, shapes.MeetSerializer)
        expected = self.expected_version(request, obj)
        services.condition_meet(actor=request.user, condition=obj, expected_version=expected, **asked)
        return self.answer(obj)


class GateCommentViewSet(CreateMixin, UpdateMixin, _Verbs):
    queryset = models.GateComment.objects.select_related(*_in_gate("gate")).prefetch_related("mentions")
    serializer_class = shapes.GateCommentSerializer
    filterset_class = GateCommentFilter
    ordering_fields = _TIMES
    container_field = "gate"
    create_verb = "view"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.comment_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        moved = {name for name in ("gate", "review", "key") if name in data and data.pop(name) != getattr(obj, name)}
        if moved:
            raise InvalidInput(dict.fromkeys(sorted(moved), "A comment stays where it was written."))
        if not data:
            if expected_version is not None and obj.version != expected_version:
                raise StaleWrite(self.get_serializer(obj).data)
            return obj
        return services.comment_edit(
            actor=self.request.user,
            comment=obj,
            text=data.get("text", obj.text),
            mentions=data.get("mentions"),
            expected_version=expected_version,
        )

    @extend_schema(request=None, responses=shapes.GateCommentSerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """Take one's own words back; the place stays."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        services.comment_withdraw(actor=request.user, comment=obj, expected_version=expected)
        return self.answer(obj)
