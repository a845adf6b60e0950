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
