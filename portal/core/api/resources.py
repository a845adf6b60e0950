"""The core's own resources: jobs, audit entries, notifications, tokens, the signed-in user."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core import jobs, tokens
from portal.core.api.viewsets import BaseViewSet, DestroyMixin, EntitySerializer, ReadViewSet
from portal.core.models import ApiToken, AuditEntry, Job, Notification


class JobSerializer(EntitySerializer):
    class Meta:
        model = Job
        fields = [
            "id",
            "kind",
            "title",
            "state",
            "progress",
            "step",
            "result",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields


class JobViewSet(ReadViewSet):
    queryset = Job.objects.all()
    serializer_class = JobSerializer
    filterset_fields = ["kind", "state"]
    default_ordering = ("-created_at",)

    @extend_schema(request=None, responses=JobSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        job = self.get_object_for("cancel")
        jobs.job_cancel(actor=request.user, job=job)
        job.refresh_from_db()
        return Response(self.get_serializer(job).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.with_etag(request, self.get_serializer(self.get_object_for("view")).data)


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "actor_label",
            "via",
            "action",
            "object_type",
            "object_id",
            "object_label",
            "changes",
            "request_id",
        ]
        read_only_fields = fields


class AuditEntryViewSet(ReadViewSet):
    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    filterset_fields = ["action", "object_type", "object_id", "via"]
    ordering_fields = ("at", "id")
    default_ordering = ("-at",)


class NotificationSerializer(EntitySerializer):
    class Meta:
        model = Notification
        fields = ["id", "kind", "text", "url", "read_at", "created_at"]
        read_only_fields = fields


class NotificationViewSet(ReadViewSet):
    queryset = Notification.objects.all()
    serializer_class = NotificationSerializer
    filterset_fields = ["kind"]
    default_ordering = ("-created_at",)


class TokenSerializer(EntitySerializer):
    class Meta:
        model = ApiToken
        fields = ["id", "name", "prefix", "scopes", "expires_at", "last_used_at", "revoked_at", "created_at"]
        read_only_fields = ["id", "prefix", "last_used_at", "revoked_at", "created_at"]

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        fields["scopes"] = serializers.ListField(
            child=serializers.CharField(max_length=40), min_length=1, max_length=20
        )
        return fields


class NewTokenSerializer(TokenSerializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return super().get_fields() | {"secret": serializers.CharField(read_only=True)}


class TokenViewSet(DestroyMixin, BaseViewSet):
    queryset = ApiToken.objects.all()
    serializer_class = TokenSerializer
    filterset_fields = ["name"]
    default_ordering = ("-created_at",)

    @extend_schema(request=TokenSerializer, responses={201: NewTokenSerializer})
    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        token, secret = tokens.token_create(actor=request.user, via_token=request.auth, **serializer.validated_data)
        return Response(
            self.get_serializer(token).data | {"secret": secret},
            status=201,
            headers={"Location": f"{request.path}/{token.pk}"},
        )

    def perform_delete(self, obj: Any) -> None:
        tokens.token_revoke(actor=self.request.user, token=obj)
