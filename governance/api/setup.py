"""What the set-up takes and gives as JSON: a pipeline's settings, a first version, a rehearsal, and the work that was started."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from rest_framework import serializers

from devices.models import Device
from governance.choices import RetrainingState
from governance.models import Model, Pipeline
from governance.services import commissioning, setup
from portal.core.models import User
from usecases.models import Adoption


class StrictSerializer(serializers.Serializer[Any]):
    """Unknown fields are refused; related rows must be visible to the asking person."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        user = getattr(self.context.get("request"), "user", None)
        field: Any
        for field in fields.values():
            queryset = getattr(field, "queryset", None)
            if queryset is not None and hasattr(queryset, "permitted") and user is not None:
                field.queryset = queryset.permitted(user, "view")
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = set(data) - set(self.fields)
            if unknown:
                raise serializers.ValidationError(dict.fromkeys(sorted(unknown), "There is no such field."))
        return super().to_internal_value(data)


class DriftLimitsSerializer(StrictSerializer):
    """``effect``: least distance in standard deviations; ``share``: of the inputs that must drift; see docs/algorithms/drift.md."""

    alpha = serializers.FloatField(required=False)
    effect = serializers.FloatField(required=False)
    missing = serializers.FloatField(required=False)
    share = serializers.FloatField(required=False)


class DriftSettingsSerializer(StrictSerializer):
    mode = serializers.ChoiceField(choices=["seasonal", "fixed"], required=False)
    window = serializers.IntegerField(required=False)
    step = serializers.IntegerField(required=False)
    first = serializers.IntegerField(required=False)
    limits = DriftLimitsSerializer(required=False)


class RetrainingSettingsSerializer(StrictSerializer):
    """Lengths in labelled rows; see docs/algorithms/retraining.md. What the limits were measured with is fixed by commissioning."""

    proportional = serializers.BooleanField(required=False)
    window = serializers.IntegerField(required=False)
    stride = serializers.IntegerField(required=False)
    sigmas = serializers.FloatField(required=False)
    allowance = serializers.FloatField(required=False)
    cap = serializers.FloatField(required=False)
    headroom = serializers.FloatField(required=False)
    train_rows = serializers.IntegerField(required=False)
    memory = serializers.FloatField(required=False)
    min_gap = serializers.IntegerField(required=False)
    holdout = serializers.IntegerField(required=False)
    min_gain = serializers.FloatField(required=False)
    evidence = serializers.IntegerField(required=False)
    backoff_limit = serializers.IntegerField(required=False)


class AlarmRuleSerializer(StrictSerializer):
    window = serializers.IntegerField(required=False)
    open_share = serializers.FloatField(required=False)
    close_share = serializers.FloatField(required=False)


class PipelineSettingsSerializer(StrictSerializer):
    """``retraining`` of a model that learns from labels, ``rule`` of a detector; the other one is null."""

    drift = DriftSettingsSerializer(required=False)
    retraining = RetrainingSettingsSerializer(required=False, allow_null=True)
    rule = AlarmRuleSerializer(required=False, allow_null=True)
    commissioned = serializers.BooleanField(read_only=True)


class PipelineCreateSerializer(StrictSerializer):
    """``source``: the device whose channels are the model's inputs."""

    model = serializers.PrimaryKeyRelatedField(queryset=Model.objects.all())
    adoption = serializers.PrimaryKeyRelatedField(queryset=Adoption.objects.all())
    source: Any = serializers.PrimaryKeyRelatedField(queryset=Device.objects.all())
    name = serializers.CharField(max_length=140, required=False)
    expected_period_s = serializers.FloatField(required=False)
    owner = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), required=False, allow_null=True)
    drift = DriftSettingsSerializer(required=False)
    retraining = RetrainingSettingsSerializer(required=False)
    rule = AlarmRuleSerializer(required=False)


class OnnxField(serializers.CharField):
    """An ONNX file in base64."""

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise serializers.ValidationError("The file in base64.") from error


class CommissionSerializer(StrictSerializer):
    """Moments are plant time. ``onnx`` (base64) with ``file``, ``registry_version`` with ``registry``; both need ``trained_until``
    where the model learns from labels."""

    method = serializers.ChoiceField(choices=list(commissioning.METHODS), default="train")
    split_at = serializers.DateTimeField(required=False, allow_null=True)
    until = serializers.DateTimeField(required=False, allow_null=True)
    trained_until = serializers.DateTimeField(required=False, allow_null=True)
    onnx = OnnxField(required=False, max_length=7_000_000)
    registry_version = serializers.CharField(required=False, max_length=20)


class RetrainSerializer(StrictSerializer):
    """``pipeline`` may be left out where the model has one."""

    pipeline = serializers.PrimaryKeyRelatedField(queryset=Pipeline.objects.all(), required=False)
    reason = serializers.CharField(max_length=300)


class StartedSerializer(serializers.Serializer[Any]):
    """Work that goes on in the background: ask ``/api/v1/jobs/{job}``."""

    job = serializers.UUIDField()
    state = serializers.CharField()
    retraining = serializers.UUIDField(allow_null=True)
    retraining_state = serializers.ChoiceField(choices=RetrainingState.choices, allow_null=True)


def settings_of(pipeline: Pipeline) -> dict[str, Any]:
    """The settings in force as ``PipelineSettingsSerializer`` shows them."""
    labelled = bool(pipeline.model.target)
    return {
        "drift": setup.drift_of(pipeline),
        "retraining": setup.retraining_of(pipeline) if labelled else None,
        "rule": None if labelled else setup.rule_of(pipeline),
        "commissioned": commissioning.commissioned(pipeline),
    }
