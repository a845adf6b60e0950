"""The resources of edge_bridge as JSON. Related rows must be visible to the asking person (``EntitySerializer``)."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from devices.choices import Connectivity
from devices.models import Device
from devices.selectors import connectivity_expression, device_connectivity
from edge_bridge.models import Connection, Installation, Rollout, Wave, WaveTarget
from governance.models import ModelVersion
from portal.core.api.viewsets import EntitySerializer
from usecases.models import Adoption

COMMON = ["created_at", "updated_at", "version"]


class GatewaySerializer(EntitySerializer):
    """A device of kind gateway with the figures of its link, as it last reported them."""

    connectivity = serializers.SerializerMethodField()
    actual = serializers.DictField(read_only=True)

    class Meta:
        model = Device
        fields = [
            "id",
            "site",
            "location",
            "device_type",
            "code",
            "name",
            "state",
            "connectivity",
            "last_seen_at",
            "report_every_s",
            "wanted_version",
            "actual_version",
            "actual_at",
            "actual",
            "fallback",
            *COMMON,
        ]
        read_only_fields = fields
        validators: list[Any] = []
        row_expressions = {"connectivity": connectivity_expression(Now())}

    @extend_schema_field(serializers.ChoiceField(choices=Connectivity.choices))
    def get_connectivity(self, device: Device) -> str:
        return device_connectivity(device).value


class InstallationSerializer(EntitySerializer):
    class Meta:
        model = Installation
        fields = [
            "id",
            "device",
            "adoption",
            "version_of_model",
            "rollout",
            "state",
            "shadow",
            "fallback",
            "reason",
            "wanted_at",
            "active_at",
            "ended_at",
            "predicts_from_plant",
            *COMMON,
        ]
        read_only_fields = fields


class RolloutSerializer(EntitySerializer):
    class Meta:
        model = Rollout
        fields = [
            "id",
            "adoption",
            "version_of_model",
            "previous",
            "incident",
            "retraining",
            "state",
            "soak_rows",
            "worst_error_ratio",
            "started_by",
            "started_at",
            "finished_at",
            "reason",
            *COMMON,
        ]
        read_only_fields = fields


class RolloutRequestSerializer(serializers.Serializer[Any]):
    """What starts a rollout: a signed version and where it goes."""

    version_of_model = serializers.PrimaryKeyRelatedField(queryset=ModelVersion.objects.all())
    adoption = serializers.PrimaryKeyRelatedField(queryset=Adoption.objects.all())
    soak_rows = serializers.IntegerField(min_value=1, max_value=100_000, required=False)
    worst_error_ratio = serializers.FloatField(min_value=0.1, max_value=10, required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        request = self.context.get("request")
        user = getattr(request, "user", None)
        if user is not None:
            for name in ("version_of_model", "adoption"):
                field: Any = fields[name]
                field.queryset = field.queryset.permitted(user, "view")
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = set(data) - set(self.fields)
            if unknown:
                raise serializers.ValidationError(dict.fromkeys(sorted(unknown), "There is no such field."))
        return super().to_internal_value(data)


class StopRequestSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=250)


class WaveSerializer(EntitySerializer):
    gate = serializers.DictField(read_only=True)

    class Meta:
        model = Wave
        fields = ["id", "rollout", "position", "name", "state", "gate", "started_at", "finished_at", *COMMON]
        read_only_fields = fields


class WaveTargetSerializer(EntitySerializer):
    class Meta:
        model = WaveTarget
        fields = ["id", "wave", "device", "state", "reason", *COMMON]
        read_only_fields = fields


class ConnectionSerializer(EntitySerializer):
    class Meta:
        model = Connection
        fields = ["id", "kind", "target", "ok", "detail", "checked_at", "last_ok_at", *COMMON]
        read_only_fields = fields
