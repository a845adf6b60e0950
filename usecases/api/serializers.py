"""Shapes of the API's resources of use cases."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from portal.core.api.viewsets import EntitySerializer
from usecases import models

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


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, allow_blank=True, default="")


class GivenReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300)
