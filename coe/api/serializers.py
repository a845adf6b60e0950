"""Shapes of the API's resources of the CoE."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from coe import models
from coe.choices import ActionState
from portal.core.api.viewsets import EntitySerializer

_ENTITY = ["created_at", "updated_at", "version"]


class CoeRoleSerializer(EntitySerializer):
    class Meta:
        model = models.CoeRole
        fields = ["id", "key", "name", "description", "signs", "required_at_site", *_ENTITY]
        read_only_fields = fields


class AppointmentSerializer(EntitySerializer):
    class Meta:
        model = models.Appointment
        fields = [
            "id",
            "role",
            "user",
            "site",
            "interim",
            "valid_from",
            "valid_until",
            "ended_at",
            "appointed_by",
            *_ENTITY,
        ]
        read_only_fields = ["ended_at", "appointed_by"]
        extra_kwargs: ClassVar[dict[str, Any]] = {"valid_from": {"required": False}}


class CertificateSerializer(EntitySerializer):
    class Meta:
        model = models.Certificate
        fields = [
            "id",
            "user",
            "role",
            "track",
            "attempt",
            "issued_at",
            "valid_until",
            "revoked_at",
            "revoked_reason",
            *_ENTITY,
        ]
        read_only_fields = fields


class TrackSerializer(EntitySerializer):
    class Meta:
        model = models.Track
        fields = [
            "id",
            "role",
            "code",
            "title",
            "summary",
            "lessons",
            "pass_share",
            "valid_days",
            "retry_after_minutes",
            *_ENTITY,
        ]
        read_only_fields = fields


class QuestionSerializer(serializers.ModelSerializer[Any]):
    """A question as it is asked: without the right answer."""

    choices = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = models.Question
        fields = ["id", "position", "text", "choices"]
        read_only_fields = fields


class AnswersSerializer(serializers.Serializer[Any]):
    answers = serializers.DictField(
        child=serializers.IntegerField(min_value=0, max_value=50),
        help_text="Question id -> index of the chosen answer.",
    )


class AttemptSerializer(EntitySerializer):
    certificate = serializers.SerializerMethodField()

    class Meta:
        model = models.QuizAttempt
        fields = ["id", "track", "share", "passed", "taken_at", "certificate"]
        read_only_fields = fields

    def get_certificate(self, obj: models.QuizAttempt) -> str | None:
        """Id of the certificate that this attempt earned."""
        found = models.Certificate.objects.filter(attempt=obj).values_list("pk", flat=True).first()
        return str(found) if found else None


class OptionalReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class RevokeSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300)


class RetrospectiveSerializer(EntitySerializer):
    class Meta:
        model = models.Retrospective
        fields = [
            "id",
            "site",
            "month",
            "state",
            "summary",
            "went_well",
            "to_improve",
            "held_at",
            "held_by",
            *_ENTITY,
        ]
        read_only_fields = ["state", "summary", "held_at", "held_by"]
        validators: ClassVar[list[Any]] = []


class HoldRetrospectiveSerializer(serializers.Serializer[Any]):
    went_well = serializers.CharField(max_length=20_000, required=False)
    to_improve = serializers.CharField(max_length=20_000, required=False)


class ActionSerializer(EntitySerializer):
    class Meta:
        model = models.Action
        fields = [
            "id",
            "site",
            "retrospective",
            "roi_review",
            "text",
            "amount",
            "currency",
            "owner",
            "due_on",
            "state",
            "closed_at",
            *_ENTITY,
        ]
        read_only_fields = ["amount", "currency", "state", "closed_at"]


class CloseSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=[ActionState.DONE, ActionState.DROPPED], default=ActionState.DONE)


class RoiReviewSerializer(EntitySerializer):
    class Meta:
        model = models.RoiReview
        fields = [
            "id",
            "adoption",
            "quarter",
            "planned",
            "measured",
            "measured_low",
            "measured_high",
            "currency",
            "verdict",
            "provable_from",
            "detail",
            "note",
            "held_at",
            "held_by",
            *_ENTITY,
        ]
        read_only_fields = [f for f in fields if f not in {"adoption", "quarter"}]
        validators: ClassVar[list[Any]] = []


class HoldReviewSerializer(serializers.Serializer[Any]):
    note = serializers.CharField(max_length=5000)


class BudgetSerializer(serializers.Serializer[Any]):
    amount = serializers.DecimalField(
        max_digits=14, decimal_places=2, help_text="In the review's currency; below zero takes budget away."
    )
    reason = serializers.CharField(max_length=160, required=False, allow_blank=True, default="")
