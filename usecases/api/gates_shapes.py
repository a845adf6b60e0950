"""Shapes of gates, evidence, waivers, reviews, signatures, conditions and comments in the API."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from portal.core.api.viewsets import EntitySerializer
from portal.core.models import User
from usecases import models
from usecases.choices import Decision
from usecases.gate_history import KINDS
from usecases.services.comments import LONGEST

_ENTITY = ["created_at", "updated_at", "version"]


class GateSerializer(EntitySerializer):
    class Meta:
        model = models.Gate
        fields = [
            "id",
            "use_case",
            "adoption",
            "number",
            "state",
            "decided_at",
            "reopened_at",
            "reopened_reason",
            "measured_at",
            *_ENTITY,
        ]
        read_only_fields = fields


class EvidenceSerializer(EntitySerializer):
    value = serializers.JSONField(read_only=True, allow_null=True)

    class Meta:
        model = models.Evidence
        fields = [
            "id",
            "gate",
            "key",
            "state",
            "value",
            "text",
            "measured_at",
            "plant_at",
            "link",
            "since",
            "deadline",
            "current",
            *_ENTITY,
        ]
        read_only_fields = fields


class CriterionOfGateSerializer(serializers.Serializer[Any]):
    """What a gate asks for, and what was measured last."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    question = serializers.CharField()
    owner = serializers.CharField()
    comparator = serializers.CharField()
    threshold = serializers.JSONField()
    unit = serializers.CharField()
    max_age_seconds = serializers.FloatField(allow_null=True)
    grace_seconds = serializers.FloatField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    safety = serializers.BooleanField()
    essential = serializers.BooleanField()
    state = serializers.CharField()
    value = serializers.JSONField(allow_null=True)
    text = serializers.CharField()
    measured_at = serializers.DateTimeField(allow_null=True)
    plant_at = serializers.DateTimeField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True)
    deadline = serializers.DateTimeField(allow_null=True)
    link = serializers.CharField()
    waived_until = serializers.DateTimeField(allow_null=True)


class HistoryMomentSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    kind = serializers.CharField(help_text=f"One of {', '.join(KINDS)}.")
    who = serializers.CharField()
    what = serializers.CharField()
    text = serializers.CharField()
    state = serializers.CharField()
    key = serializers.CharField()
    url = serializers.CharField()


class HistorySerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    page = serializers.IntegerField()
    pages = serializers.IntegerField()
    results = HistoryMomentSerializer(many=True)


class WaiverSerializer(EntitySerializer):
    class Meta:
        model = models.Waiver
        fields = ["id", "gate", "key", "reason", "granted_by", "expires_at", "revoked_at", *_ENTITY]
        read_only_fields = ["granted_by", "revoked_at"]


class GateReviewSerializer(EntitySerializer):
    snapshot = serializers.JSONField(read_only=True)
    decision = serializers.ChoiceField(choices=Decision.choices, allow_blank=True, read_only=True)

    class Meta:
        model = models.GateReview
        fields = [
            "id",
            "gate",
            "state",
            "opened_by",
            "snapshot",
            "snapshot_sha256",
            "signatures_due",
            "decision",
            "conditions",
            "conditions_due",
            "note",
            "decided_at",
            "decided_by",
            *_ENTITY,
        ]
        read_only_fields = [name for name in fields if name not in {"gate", "signatures_due"}]


class SignatureSerializer(EntitySerializer):
    basis = serializers.JSONField(read_only=True)

    class Meta:
        model = models.Signature
        fields = [
            "id",
            "review",
            "user",
            "on_behalf_of",
            "role",
            "approves",
            "statement",
            "snapshot_sha256",
            "basis",
            "signed_at",
            *_ENTITY,
        ]
        read_only_fields = fields


class GateConditionSerializer(EntitySerializer):
    class Meta:
        model = models.GateCondition
        fields = [
            "id",
            "review",
            "kind",
            "key",
            "text",
            "owner",
            "due_at",
            "met_at",
            "met_by",
            "met_note",
            *_ENTITY,
        ]
        read_only_fields = fields


class GateCommentSerializer(EntitySerializer):
    text = serializers.CharField(max_length=LONGEST, help_text="Plain text; @name and @address mention people too.")
    mentions = serializers.PrimaryKeyRelatedField(
        many=True,
        required=False,
        queryset=User.objects.filter(is_active=True),
        help_text="People who may see the gate.",
    )

    class Meta:
        model = models.GateComment
        fields = [
            "id",
            "gate",
            "review",
            "key",
            "author",
            "text",
            "mentions",
            "edited_at",
            "withdrawn_at",
            *_ENTITY,
        ]
        read_only_fields = ["author", "edited_at", "withdrawn_at"]
        extra_kwargs: ClassVar[dict[str, Any]] = {"review": {"required": False}, "key": {"required": False}}


class Plain(serializers.Serializer[Any]):
    """Refuses fields that are not there, as every body does; people are named from all active ones."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), "There is no such field."))
        return super().to_internal_value(data)


def _person(**extra: Any) -> Any:
    return serializers.PrimaryKeyRelatedField(
        queryset=User.objects.filter(is_active=True), required=False, allow_null=True, default=None, **extra
    )


class SignSerializer(Plain):
    approves = serializers.BooleanField(default=True)
    statement = serializers.CharField(max_length=500, allow_blank=True, default="")
    on_behalf_of = _person(help_text="The person for whom you sign as deputy.")


class TermSerializer(Plain):
    """A criterion (key) or a sentence, who sees to it, and by when."""

    key = serializers.CharField(max_length=80, allow_blank=True, default="")
    text = serializers.CharField(max_length=500, allow_blank=True, default="")
    owner = _person(help_text="The use case's owner when left out.")
    due_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class DecideSerializer(Plain):
    decision = serializers.ChoiceField(choices=Decision.choices)
    note = serializers.CharField(max_length=5000, allow_blank=True, default="")
    conditions = serializers.CharField(max_length=5000, allow_blank=True, default="")
    conditions_due = serializers.DateTimeField(required=False, allow_null=True, default=None)
    terms = TermSerializer(  # type: ignore[call-arg]
        many=True,
        required=False,
        max_length=50,
        help_text="Conditions of a conditional go, or what a recycle sends back.",
    )
    confirm = serializers.CharField(
        max_length=300,
        allow_blank=True,
        default="",
        help_text="The name of what a kill ends, because there is no way back.",
    )


class WantBySerializer(Plain):
    signatures_due = serializers.DateTimeField()


class MeetSerializer(Plain):
    note = serializers.CharField(max_length=300)


class ResumeSerializer(Plain):
    note = serializers.CharField(max_length=300, allow_blank=True, default="")


class RemindedSerializer(serializers.Serializer[Any]):
    people = serializers.IntegerField()


class DocumentSerializer(Plain):
    text = serializers.CharField(
        max_length=2_000_000, trim_whitespace=False, help_text="The copy, as the text of its file."
    )


class CheckedSerializer(serializers.Serializer[Any]):
    same_bytes = serializers.BooleanField()
    same_values = serializers.BooleanField()
    sha256 = serializers.CharField()
    differences = serializers.ListField(child=serializers.CharField())


class VerifiedSignatureSerializer(serializers.Serializer[Any]):
    user = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_blank=True)
    role = serializers.CharField()
    approves = serializers.BooleanField()
    same_hash = serializers.BooleanField()


class VerifySerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    stored = serializers.CharField()
    computed = serializers.CharField()
    of_text = serializers.CharField()
    text_matches = serializers.BooleanField()
    differences = serializers.ListField(child=serializers.CharField())
    signatures = VerifiedSignatureSerializer(many=True)
