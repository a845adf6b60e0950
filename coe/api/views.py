"""Resources of the CoE. Reads are permitted rows; writes call services."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from coe import filters, models, services
from coe.api import serializers as shapes
from portal.core.access import require
from portal.core.api.viewsets import BaseViewSet, CreateMixin, DestroyMixin, ReadViewSet, UpdateMixin
from portal.core.errors import DomainError, StaleWrite

_TIMES = ("created_at", "updated_at", "id")


class CoeRoleViewSet(ReadViewSet):
    queryset = models.CoeRole.objects.all()
    serializer_class = shapes.CoeRoleSerializer
    filterset_class = filters.CoeRoleFilter
    ordering_fields = ("name", "key", *_TIMES)


class _Verbs(BaseViewSet):
    """Verbs that change a state: conditional on If-Match, answering with the row."""

    def _done(self, obj: Any) -> Response:
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    def _asked(self, request: Request, shape: Any) -> dict[str, Any]:
        asked = shape(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        return dict(asked.validated_data)

    def _conditional(self, obj: Any, verb: Any, **data: Any) -> Response:
        try:
            return self._done(verb(actor=self.request.user, **data))
        except StaleWrite as error:
            obj.refresh_from_db()
            raise StaleWrite(self.get_serializer(obj).data) from error


class AppointmentViewSet(CreateMixin, _Verbs):
    queryset = models.Appointment.objects.all()
    serializer_class = shapes.AppointmentSerializer
    filterset_class = filters.AppointmentFilter
    ordering_fields = ("valid_from", "valid_until", *_TIMES)
    create_permission = "coe.manage_people"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.appointment_create(actor=self.request.user, **data)

    @extend_schema(request=shapes.OptionalReasonSerializer, responses=shapes.AppointmentSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """End the appointment now. What was signed under it stays signed."""
        obj = self.get_object_for("change")
        data = self._asked(request, shapes.OptionalReasonSerializer)
        expected = self.expected_version(request, obj)
        return self._conditional(
            obj, services.appointment_end, appointment=obj, reason=data["reason"], expected_version=expected
        )


class CertificateViewSet(_Verbs):
    queryset = models.Certificate.objects.all()
    serializer_class = shapes.CertificateSerializer
    filterset_class = filters.CertificateFilter
    ordering_fields = ("issued_at", "valid_until", *_TIMES)

    @extend_schema(request=shapes.RevokeSerializer, responses=shapes.CertificateSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """From now on it signs nothing. What was signed before stays signed."""
        obj = self.get_object_for("change")
        data = self._asked(request, shapes.RevokeSerializer)
        expected = self.expected_version(request, obj)
        return self._conditional(
            obj, services.certificate_revoke, certificate=obj, reason=data["reason"], expected_version=expected
        )


class TrackViewSet(ReadViewSet):
    queryset = models.Track.objects.all()
    serializer_class = shapes.TrackSerializer
    filterset_class = filters.TrackFilter
    ordering_fields = ("title", "code", *_TIMES)

    @extend_schema(responses=shapes.QuestionSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def questions(self, request: Request, pk: str) -> Response:
        """The quiz, without the right answers."""
        obj = self.get_object_for("view")
        return self.with_etag(request, shapes.QuestionSerializer(obj.questions.all(), many=True).data)

    @extend_schema(request=shapes.AnswersSerializer, responses={201: shapes.AttemptSerializer})
    @action(detail=True, methods=["post"])
    def attempt(self, request: Request, pk: str) -> Response:
        """Hand in the quiz. Passing it issues the certificate; the next attempt has to wait a while."""
        obj = self.get_object_for("view")
        asked = shapes.AnswersSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        made = services.attempt_record(actor=request.user, track=obj, answers=asked.validated_data["answers"])
        return Response(shapes.AttemptSerializer(made, context=self.get_serializer_context()).data, status=201)


class RetrospectiveViewSet(CreateMixin, UpdateMixin, _Verbs):
    queryset = models.Retrospective.objects.select_related("site")
    serializer_class = shapes.RetrospectiveSerializer
    filterset_class = filters.RetrospectiveFilter
    ordering_fields = ("month", *_TIMES)
    container_field = "site"
    create_verb = "review"
    if_match_required = True

    def perform_create(self, data: dict[str, Any]) -> Any:
        """Fills the month in from its records; a month that has its retrospective already is refused."""
        site, month = data["site"], data["month"].replace(day=1)
        if models.Retrospective.objects.filter(site=site, month=month).exists():
            raise DomainError("conflict", "This month has its retrospective.")
        made = services.retrospective_prepare(actor=self.request.user, site=site, month=month)
        texts = {name: data[name] for name in ("went_well", "to_improve") if data.get(name)}
        if texts:
            services.retrospective_update(actor=self.request.user, retrospective=made, data=texts)
        return made

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        for name in ("site", "month"):
            if name in data and data.pop(name) != getattr(obj, name):
                raise DomainError(
                    "invalid",
                    "Some values are not valid.",
                    errors=[{"field": name, "message": "Site and month of a retrospective stay."}],
                    status=400,
                )
        return services.retrospective_update(
            actor=self.request.user, retrospective=obj, data=data, expected_version=expected_version
        )

    @extend_schema(request=shapes.HoldRetrospectiveSerializer, responses=shapes.RetrospectiveSerializer)
    @action(detail=True, methods=["post"])
    def hold(self, request: Request, pk: str) -> Response:
        """People have talked it over: text and figures are kept as they are. Needs If-Match."""
        obj = self.get_object_for("hold")
        expected = self.expected_version(request, obj)
        data = self._asked(request, shapes.HoldRetrospectiveSerializer)
        return self._conditional(
            obj, services.retrospective_hold, retrospective=obj, data=data, expected_version=expected
        )


class ActionViewSet(CreateMixin, UpdateMixin, DestroyMixin, _Verbs):
    queryset = models.Action.objects.select_related("site")
    serializer_class = shapes.ActionSerializer
    filterset_class = filters.ActionFilter
    ordering_fields = ("due_on", *_TIMES)
    container_field = "site"
    create_verb = "review"
    delete_verb = "delete"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.action_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.action_update(actor=self.request.user, action=obj, data=data, expected_version=expected_version)

    def perform_delete(self, obj: Any) -> None:
        services.action_delete(actor=self.request.user, action=obj)

    @extend_schema(request=shapes.CloseSerializer, responses=shapes.ActionSerializer)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str) -> Response:
        """Done, or dropped."""
        obj = self.get_object_for("change")
        data = self._asked(request, shapes.CloseSerializer)
        self.expected_version(request, obj)
        return self._done(services.action_close(actor=request.user, action=obj, state=data["state"]))

    @extend_schema(request=None, responses=shapes.ActionSerializer)
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str) -> Response:
        obj = self.get_object_for("change")
        self.expected_version(request, obj)
        return self._done(services.action_reopen(actor=request.user, action=obj))


class RoiReviewViewSet(CreateMixin, _Verbs):
    queryset = models.RoiReview.objects.select_related("adoption__site", "adoption__use_case")
    serializer_class = shapes.RoiReviewSerializer
    filterset_class = filters.RoiReviewFilter
    ordering_fields = ("quarter", *_TIMES)
    if_match_required = True

    def check_create(self, data: dict[str, Any]) -> None:
        require(data["adoption"].site, self.request.user, "review")

    def perform_create(self, data: dict[str, Any]) -> Any:
        """Computes the review of a quarter that is over; an open one is computed again."""
        return services.roi_review_prepare(actor=self.request.user, adoption=data["adoption"], quarter=data["quarter"])

    @extend_schema(request=shapes.HoldReviewSerializer, responses=shapes.RoiReviewSerializer)
    @action(detail=True, methods=["post"])
    def hold(self, request: Request, pk: str) -> Response:
        """People have judged the quarter: figures and conclusion are kept as they are. Needs If-Match."""
        obj = self.get_object_for("hold")
        expected = self.expected_version(request, obj)
        data = self._asked(request, shapes.HoldReviewSerializer)
        return self._conditional(
            obj, services.roi_review_hold, review=obj, note=data["note"], expected_version=expected
        )

    @extend_schema(request=shapes.BudgetSerializer, responses={201: shapes.ActionSerializer})
    @action(detail=True, methods=["post"], url_path="move-budget")
    def move_budget(self, request: Request, pk: str) -> Response:
        """Propose more or less for the next budget: an action for the portfolio's owner, linked to this review."""
        obj = self.get_object_for("hold")
        data = self._asked(request, shapes.BudgetSerializer)
        made = services.roi_move_budget(actor=request.user, review=obj, **data)
        body = shapes.ActionSerializer(made, context=self.get_serializer_context()).data
        return Response(body, status=201, headers={"ETag": made.etag})
