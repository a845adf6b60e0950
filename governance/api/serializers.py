"""The resources of governance as JSON. Related rows must be visible to the asking person (``EntitySerializer``)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from governance.choices import CheckKind, SloKind
from governance.models import (
    Alert,
    Batch,
    Check,
    CheckResult,
    Dataset,
    DriftReport,
    Incident,
    IncidentStep,
    Model,
    ModelVersion,
    Pipeline,
    Retraining,
    Slo,
)
from portal.core.api.viewsets import EntitySerializer

TIMES = ["created_at", "updated_at", "version"]
EXTERNAL = ["external_source", "external_id"]


class ModelSerializer(EntitySerializer):
    features: Any = serializers.ListField(child=serializers.CharField(max_length=40), max_length=200, allow_empty=False)

    class Meta:
        model = Model
        fields = [
            "id",
            "use_case",
            "code",
            "name",
            "kind",
            "features",
            "target",
            "unit",
            "error_limit",
            "recipe",
            "registry_name",
            "standing_approval_by",
            "standing_approval_until",
            *EXTERNAL,
            *TIMES,
        ]
        read_only_fields = ["id", "standing_approval_by", "standing_approval_until", *EXTERNAL, *TIMES]


class ModelVersionSerializer(EntitySerializer):
    class Meta:
        model = ModelVersion
        fields = [
            "id",
            "model",
            "number",
            "state",
            "registry_version",
            "registry_run_id",
            "quantisation",
            "quantisation_report",
            "sha256",
            "size_bytes",
            "manifest",
            "signature",
            "signed_by",
            "signed_at",
            "metrics",
            "memory_kb",
            "latency_us",
            "trained_from",
            "trained_to",
            "training_rows",
            "training_fingerprint",
            "trained_at",
            "predecessor",
            "refusal",
            *TIMES,
        ]
        read_only_fields = fields


class WithdrawSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300)


class PipelineSerializer(EntitySerializer):
    class Meta:
        model = Pipeline
        fields = ["id", "adoption", "model", "name", "stream", "expected_period_s", "owner", *EXTERNAL, *TIMES]
        read_only_fields = ["id", "adoption", "model", "stream", *EXTERNAL, *TIMES]


class DatasetSerializer(EntitySerializer):
    pipeline: Any = serializers.PrimaryKeyRelatedField(source="stage.pipeline", read_only=True)

    class Meta:
        model = Dataset
        fields = ["id", "stage", "pipeline", "name", "columns", "uri", "delta_version", "rows", *TIMES]
        read_only_fields = fields


class BatchSerializer(EntitySerializer):
    kind = serializers.CharField(source="stage.kind", read_only=True)

    class Meta:
        model = Batch
        fields = [
            "id",
            "pipeline",
            "stage",
            "kind",
            "gateway",
            "sequence",
            "rows",
            "rows_refused",
            "plant_from",
            "plant_to",
            "received_at",
            "sha256",
            "model_version",
            *TIMES,
        ]
        read_only_fields = fields


class LineageNodeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    label: Any = serializers.CharField()
    kind = serializers.CharField()
    group = serializers.CharField(required=False)
    state = serializers.CharField(required=False)
    url = serializers.CharField(required=False, allow_blank=True)
    phase = serializers.IntegerField(required=False)


class LineageEdgeSerializer(serializers.Serializer[Any]):
    source: Any = serializers.CharField()
    target = serializers.CharField()
    label: Any = serializers.CharField(required=False)


class LineageSerializer(serializers.Serializer[Any]):
    complete = serializers.BooleanField()
    nodes = LineageNodeSerializer(many=True)
    edges = LineageEdgeSerializer(many=True)


class ConfigField(serializers.DictField):
    """A check's rule; which keys it has depends on the kind."""

    _KEYS = frozenset({"columns", "period_s", "allowed_gap_s", "limits"})

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value: dict[str, Any] = super().to_internal_value(data)
        unknown = sorted(set(value) - self._KEYS)
        if unknown:
            raise serializers.ValidationError(f"There is no such setting: {', '.join(unknown)}.")
        columns = value.get("columns", [])
        if not isinstance(columns, list) or not all(isinstance(c, str) and 0 < len(c) <= 60 for c in columns):
            raise serializers.ValidationError("columns is a list of names.")
        for name in ("period_s", "allowed_gap_s"):
            if name in value and not (_number(value[name]) and 0 < value[name] <= 31_536_000):
                raise serializers.ValidationError(f"{name} is a number of seconds above 0.")
        limits = value.get("limits", {})
        if not isinstance(limits, dict) or not all(
            isinstance(p, list) and len(p) == 2 and _number(p[0]) and _number(p[1]) and p[0] < p[1]
            for p in limits.values()
        ):
            raise serializers.ValidationError("limits is an object of name: [lowest, highest].")
        if any("\x00" in text for text in [*columns, *limits]):
            raise serializers.ValidationError("Null characters are not allowed.")
        return value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


@extend_schema_serializer(component_name="DataCheck")
class CheckSerializer(EntitySerializer):
    config = ConfigField(required=False)
    kind = serializers.ChoiceField(choices=CheckKind.choices, read_only=True)

    class Meta:
        model = Check
        fields = ["id", "stage", "kind", "name", "config", "max_failed_share", "enabled", *TIMES]
        read_only_fields = ["id", "stage", "kind", *TIMES]


class CheckResultSerializer(EntitySerializer):
    check: Any = serializers.PrimaryKeyRelatedField(source="stage_check", read_only=True)

    class Meta:
        model = CheckResult
        fields = ["id", "check", "batch", "state", "failed_rows", "text", "detail", "plant_at", *TIMES]
        read_only_fields = fields


class DriftReportSerializer(EntitySerializer):
    class Meta:
        model = DriftReport
        fields = [
            "id",
            "pipeline",
            "stage",
            "kind",
            "batch",
            "rows",
            "plant_from",
            "plant_to",
            "value",
            "limit",
            "drifted",
            "measured",
            "reason",
            "features",
            *TIMES,
        ]
        read_only_fields = fields


class SloSerializer(EntitySerializer):
    class Meta:
        model = Slo
        fields = [
            "id",
            "adoption",
            "kind",
            "name",
            "target",
            "limit_seconds",
            "window_days",
            "minimum_events",
            "ot_owner",
            "ds_owner",
            *EXTERNAL,
            *TIMES,
        ]
        read_only_fields = ["id", *EXTERNAL, *TIMES]
        validators: list[Any] = []

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        def value(name: str) -> Any:
            return attrs.get(name, getattr(self.instance, name, None))

        limit = value("limit_seconds")
        if limit is not None and not 0 < limit <= 31_536_000:
            raise serializers.ValidationError({"limit_seconds": "More than 0 seconds, at most a year."})
        if value("kind") == SloKind.ALERT_TO_RETRAIN and limit is None:
            raise serializers.ValidationError({"limit_seconds": "Say within how many seconds a repair is good."})
        if value("ot_owner") is not None and value("ot_owner") == value("ds_owner"):
            raise serializers.ValidationError({"ds_owner": "Two owners are two people: choose another person."})
        return attrs


class SloStatusSerializer(serializers.Serializer[Any]):
    """Amounts are seconds of wall time for uptime, answers otherwise; null where nothing was measured."""

    slo = serializers.UUIDField()
    state = serializers.ChoiceField(choices=["ok", "watch", "breach", "not_measured"])
    sentence = serializers.CharField()
    healthy = serializers.BooleanField(allow_null=True)
    good_share = serializers.FloatField(allow_null=True)
    counted = serializers.FloatField()
    allowed = serializers.FloatField()
    used = serializers.FloatField()
    left = serializers.FloatField()
    left_share = serializers.FloatField(allow_null=True)
    enough = serializers.BooleanField()
    pending = serializers.IntegerField()
    overdue = serializers.IntegerField()
    severity = serializers.CharField(allow_null=True)
    held_back = serializers.BooleanField()
    refused_tiers = serializers.ListField(child=serializers.CharField())
    measured_at = serializers.DateTimeField()


class AlertSerializer(EntitySerializer):
    class Meta:
        model = Alert
        fields = [
            "id",
            "pipeline",
            "incident",
            "kind",
            "state",
            "report",
            "value",
            "limit",
            "opened_at",
            "opened_plant_at",
            "closed_at",
            "closed_plant_at",
            *TIMES,
        ]
        read_only_fields = fields


class IncidentSerializer(EntitySerializer):
    class Meta:
        model = Incident
        fields = [
            "id",
            "adoption",
            "pipeline",
            "title",
            "cause",
            "state",
            "began_plant_at",
            "detected_plant_at",
            "opened_at",
            "live_at",
            "resolved_at",
            "resolved_plant_at",
            "fast_forwarded",
            "acknowledged_by",
            "acknowledged_at",
            *TIMES,
        ]
        read_only_fields = fields


class IncidentStepSerializer(serializers.ModelSerializer[Any]):
    detail = serializers.SerializerMethodField()

    class Meta:
        model = IncidentStep
        fields = ["key", "text", "wall_at", "plant_at", "link", "detail"]
        read_only_fields = fields

    @extend_schema_field(serializers.DictField())
    def get_detail(self, step: IncidentStep) -> dict[str, Any]:
        return dict(step.detail)


class IncidentStepsSerializer(serializers.Serializer[Any]):
    results = IncidentStepSerializer(many=True)


class RetrainingSerializer(EntitySerializer):
    class Meta:
        model = Retraining
        fields = [
            "id",
            "pipeline",
            "incident",
            "alert",
            "trigger",
            "reason",
            "requested_by",
            "state",
            "due_row",
            "train_from",
            "train_to",
            "train_rows",
            "incumbent",
            "challenger",
            "comparison",
            "steps",
            "started_at",
            "finished_at",
            "error",
            "fast_forwarded",
            *TIMES,
        ]
        read_only_fields = fields


class ColumnSerializer(serializers.Serializer[Any]):
    """One column, an entry per point; null where the point had no value. ``version`` names the model version of a prediction."""

    name = serializers.CharField()
    unit = serializers.CharField(allow_blank=True)
    version = serializers.UUIDField(allow_null=True)
    mean = serializers.ListField(child=serializers.FloatField(allow_null=True))
    low = serializers.ListField(child=serializers.FloatField(allow_null=True))
    high = serializers.ListField(child=serializers.FloatField(allow_null=True))


class SeriesSerializer(serializers.Serializer[Any]):
    """Rows of a stretch of plant time; more rows than points are taken together, ``plant_at`` is the last row of each."""

    pipeline = serializers.UUIDField()
    rows = serializers.IntegerField()
    points = serializers.IntegerField()
    downsampled = serializers.BooleanField()
    plant_at = serializers.ListField(child=serializers.DateTimeField())
    columns = ColumnSerializer(many=True)
