"""The resources of devices as JSON. Related rows must be visible to the asking person (``EntitySerializer``)."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from devices import choices
from devices.models import (
    Asset,
    Channel,
    Credential,
    Device,
    DeviceType,
    Enrolment,
    Location,
    MachineStop,
    PlantClock,
    Site,
)
from devices.plant_time import MAX_PACE
from devices.selectors import connectivity_expression, device_connectivity
from portal.core.api.renderers import dumps
from portal.core.api.viewsets import EntitySerializer

COMMON = ["external_source", "external_id", "created_at", "updated_at", "version"]
READ_ONLY = ["id", "created_at", "updated_at", "version"]
MAX_OBJECT_BYTES = 20_000


class ObjectField(serializers.DictField):
    """A small JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        text = dumps(value)
        if len(text) > MAX_OBJECT_BYTES:
            raise serializers.ValidationError(f"At most {MAX_OBJECT_BYTES} bytes.")
        if b"\\u0000" in text:
            raise serializers.ValidationError("Null characters are not allowed.")
        return value


class SiteSerializer(EntitySerializer):
    class Meta:
        model = Site
        fields = ["id", "code", "name", "kind", "description", "data_notice", "time_zone", "currency", *COMMON]
        read_only_fields = READ_ONLY
        validators: list[Any] = []


class LocationSerializer(EntitySerializer):
    class Meta:
        model = Location
        fields = ["id", "site", "parent", "level", "code", "name", "path", *COMMON]
        read_only_fields = [*READ_ONLY, "path"]
        validators: list[Any] = []


class AssetSerializer(EntitySerializer):
    class Meta:
        model = Asset
        fields = ["id", "location", "code", "name", "kind", "manufacturer", "serial", *COMMON]
        read_only_fields = READ_ONLY
        validators: list[Any] = []


class DeviceTypeSerializer(EntitySerializer):
    class Meta:
        model = DeviceType
        fields = [
            "id",
            "name",
            "manufacturer",
            "kind",
            "protocol",
            "memory_kb",
            "latency_budget_us",
            "standard",
            *COMMON,
        ]
        read_only_fields = READ_ONLY
        validators: list[Any] = []


class DeviceSerializer(EntitySerializer):
    address = ObjectField(required=False)
    wanted = serializers.DictField(read_only=True)
    actual = serializers.DictField(read_only=True)
    connectivity = serializers.SerializerMethodField()

    class Meta:
        model = Device
        fields = [
            "id",
            "site",
            "location",
            "asset",
            "device_type",
            "gateway",
            "code",
            "name",
            "serial",
            "state",
            "connectivity",
            "address",
            "fallback",
            "report_every_s",
            "wanted",
            "wanted_version",
            "actual",
            "actual_version",
            "actual_at",
            "last_seen_at",
            *COMMON,
        ]
        read_only_fields = [*READ_ONLY, "state", "wanted_version", "actual_version", "actual_at", "last_seen_at"]
        validators: list[Any] = []
        row_expressions = {"connectivity": connectivity_expression(Now())}

    @extend_schema_field(serializers.ChoiceField(choices=choices.Connectivity.choices))
    def get_connectivity(self, device: Device) -> str:
        return device_connectivity(device).value


class ChannelSerializer(EntitySerializer):
    source: Any = ObjectField(required=False)

    class Meta:
        model = Channel
        fields = [
            "id",
            "device",
            "code",
            "name",
            "role",
            "unit",
            "range_low",
            "range_high",
            "period_s",
            "source",
            *COMMON,
        ]
        read_only_fields = READ_ONLY
        validators: list[Any] = []


class EnrolmentSerializer(EntitySerializer):
    class Meta:
        model = Enrolment
        fields = ["id", "device", "code_hint", "expires_at", "used_at", "created_at", "updated_at", "version"]
        read_only_fields = fields


class NewEnrolmentSerializer(EnrolmentSerializer):
    """The answer to creating one: the only time the code is shown."""

    claim_code = serializers.CharField(read_only=True)

    class Meta(EnrolmentSerializer.Meta):
        fields = [*EnrolmentSerializer.Meta.fields, "claim_code"]
        read_only_fields = fields


class TtlSerializer(serializers.Serializer[Any]):
    ttl_s = serializers.IntegerField(
        required=False, min_value=60, max_value=30 * 86_400, default=86_400, help_text="How long the code is good."
    )


class EnrolmentCreateSerializer(TtlSerializer):
    device = serializers.PrimaryKeyRelatedField(queryset=Device.objects.none())

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        request = self.context.get("request")
        if request is not None:
            fields["device"].queryset = Device.objects.permitted(request.user)  # type: ignore[attr-defined]
        return fields


class CredentialSerializer(EntitySerializer):
    class Meta:
        model = Credential
        fields = [
            "id",
            "device",
            "enrolment",
            "prefix",
            "state",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = fields


class MachineStopAskSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300)
    fallback = serializers.ChoiceField(
        choices=choices.Fallback.choices, required=False, help_text="What goes on; the device's own when left out."
    )


class MachineStopSerializer(EntitySerializer):
    class Meta:
        model = MachineStop
        fields = [
            "id",
            "device",
            "fallback",
            "reason",
            "local",
            "stopped_by",
            "stopped_at",
            "confirmed_at",
            "released_at",
            "released_by",
            "version",
        ]
        read_only_fields = fields


class WantedSerializer(serializers.Serializer[Any]):
    wanted = ObjectField()


class PlantClockSerializer(serializers.ModelSerializer[PlantClock]):
    class Meta:
        model = PlantClock
        fields = [
            "site",
            "state",
            "plant_now",
            "wall_at",
            "rows_per_second",
            "rows_done",
            "rows_total",
            "nominal",
            "wanted",
        ]
        read_only_fields = fields


class ReplayRequestSerializer(serializers.Serializer[Any]):
    rows_per_second = serializers.FloatField(required=False, min_value=0, max_value=MAX_PACE)
    jump_row = serializers.IntegerField(required=False, min_value=0, max_value=2**53)
    paused = serializers.BooleanField(required=False)


class SignalSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    name = serializers.CharField()
    unit = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    plant_at = serializers.DateTimeField(allow_null=True, help_text="Plant time of the value.")
    age_s = serializers.FloatField(allow_null=True, help_text="Age in plant time.")
    state = serializers.ChoiceField(choices=["ok", "low", "high", "missing", "stale", "none", "undescribed"])
    range_low = serializers.FloatField(allow_null=True)
    range_high = serializers.FloatField(allow_null=True)


class SignalsSerializer(serializers.Serializer[Any]):
    device = serializers.UUIDField()
    source: Any = serializers.UUIDField(allow_null=True, help_text="The gateway the rows came from.")
    received_at = serializers.DateTimeField(allow_null=True, help_text="Wall time.")
    plant_at = serializers.DateTimeField(allow_null=True, help_text="Plant time of the newest row.")
    age_s = serializers.FloatField(allow_null=True)
    signals = SignalSerializer(many=True)
    columns = serializers.ListField(child=serializers.CharField())
    plant_ms = serializers.ListField(child=serializers.IntegerField())
    rows = serializers.ListField(child=serializers.ListField(child=serializers.FloatField(allow_null=True)))
    predictions = serializers.DictField(child=serializers.ListField(child=serializers.FloatField(allow_null=True)))
