"""Shapes of the API's resources of use cases."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from portal.core.api.viewsets import EntitySerializer
from usecases import models
from usecases.choices import Decision

_ENTITY = ["id", "created_at", "updated_at", "version"]
_EXTERNAL = ["external_source", "external_id"]


class UseCaseSerializer(EntitySerializer):
    required_signals = serializers.ListField(child=serializers.CharField(max_length=40), required=False, max_length=500)

    class Meta:
        model = models.UseCase
        fields = [
            "id",
            "code",
            "title",
            "summary",
            "label",
            "state",
            "phase",
            "sponsor",
            "owner",
            "pursue_monetisation",
            "depends_on",
            "required_signals",
            *_EXTERNAL,
            *_ENTITY[1:],
        ]
        read_only_fields = ["state", "phase", "pursue_monetisation"]
        extra_kwargs: ClassVar[dict[str, Any]] = {"depends_on": {"required": False}}


class CriteriaSetSerializer(EntitySerializer):
    class Meta:
        model = models.CriteriaSet
        fields = ["id", "name", "number", "state", "published_at", *_ENTITY[1:]]
        read_only_fields = ["number", "state", "published_at"]


class CriterionSerializer(EntitySerializer):
    rubric = serializers.ListField(child=serializers.CharField(max_length=300), required=False, max_length=6)

    class Meta:
        model = models.Criterion
        fields = [
            "id",
            "criteria_set",
            "parent",
            "key",
            "name",
            "description",
            "weight",
            "anchor_low",
            "anchor_high",
            "rubric",
            "source",
            "position",
            *_ENTITY[1:],
        ]
        validators: ClassVar[list[Any]] = []


class WhatIfSerializer(serializers.Serializer[Any]):
    weights = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=1_000_000),
        help_text="Top criterion key to relative weight; all of them.",
    )


class RankedSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    rank = serializers.IntegerField()
    score = serializers.FloatField(help_text="0 to 1.")
    known = serializers.FloatField(help_text="Share of the weight that is known, 0 to 1.")
    low = serializers.FloatField()
    high = serializers.FloatField()
    by_top = serializers.DictField(child=serializers.FloatField(allow_null=True))
    first = serializers.FloatField(help_text="Share of plausible weightings in which it is first.")
    keeps_place = serializers.FloatField(
        help_text="Share of plausible weightings in which it keeps its place or better."
    )
    acceptability = serializers.ListField(child=serializers.FloatField())


class RankingSerializer(serializers.Serializer[Any]):
    rows = RankedSerializer(many=True)
    verdict = serializers.CharField(allow_blank=True)
    winner = serializers.CharField(required=False)
    sentence = serializers.CharField(allow_blank=True)
    flip = serializers.CharField(allow_blank=True)
    smallest_change = serializers.FloatField(required=False, allow_null=True)
    weights = serializers.DictField(child=serializers.FloatField())
    unrated = serializers.ListField(child=serializers.CharField())
    draws = serializers.IntegerField()
    kappa = serializers.FloatField()


class AdoptionSerializer(EntitySerializer):
    class Meta:
        model = models.Adoption
        fields = [
            "id",
            "use_case",
            "site",
            "location",
            "scope",
            "proven_by",
            "phase",
            "devices",
            "started_on",
            *_EXTERNAL,
            *_ENTITY[1:],
        ]
        read_only_fields = ["phase"]
        extra_kwargs: ClassVar[dict[str, Any]] = {"devices": {"required": False}}
        validators: ClassVar[list[Any]] = []


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
            *_ENTITY[1:],
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
            *_ENTITY[1:],
        ]
        read_only_fields = fields


class WaiverSerializer(EntitySerializer):
    class Meta:
        model = models.Waiver
        fields = ["id", "gate", "key", "reason", "granted_by", "expires_at", "revoked_at", *_ENTITY[1:]]
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
            "decision",
            "conditions",
            "conditions_due",
            "note",
            "decided_at",
            "decided_by",
            *_ENTITY[1:],
        ]
        read_only_fields = [name for name in fields if name != "gate"]


class SignatureSerializer(EntitySerializer):
    basis = serializers.JSONField(read_only=True)

    class Meta:
        model = models.Signature
        fields = [
            "id",
            "review",
            "user",
            "role",
            "approves",
            "statement",
            "snapshot_sha256",
            "basis",
            "signed_at",
            *_ENTITY[1:],
        ]
        read_only_fields = fields


class SignSerializer(serializers.Serializer[Any]):
    approves = serializers.BooleanField(default=True)
    statement = serializers.CharField(max_length=500, allow_blank=True, default="")


class DecideSerializer(serializers.Serializer[Any]):
    decision = serializers.ChoiceField(choices=Decision.choices)
    note = serializers.CharField(max_length=5000, allow_blank=True, default="")
    conditions = serializers.CharField(max_length=5000, allow_blank=True, default="")
    conditions_due = serializers.DateTimeField(required=False, allow_null=True, default=None)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, allow_blank=True, default="")


class GivenReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300)


class VerifiedSignatureSerializer(serializers.Serializer[Any]):
    user = serializers.CharField()
    role = serializers.CharField()
    approves = serializers.BooleanField()
    same_hash = serializers.BooleanField()


class VerifySerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    stored = serializers.CharField()
    computed = serializers.CharField()
    text_matches = serializers.BooleanField()
    signatures = VerifiedSignatureSerializer(many=True)
