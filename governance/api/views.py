"""Resources of governance. Verbs call services; reads are permitted rows."""

from __future__ import annotations

import math
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance import filters
from governance.api import serializers
from governance.api import setup as shapes
from governance.models import (
    Alert,
    Batch,
    Check,
    CheckResult,
    Dataset,
    DriftReport,
    Incident,
    Model,
    ModelVersion,
    Pipeline,
    Retraining,
    Slo,
)
from governance.selectors import pipelines as pipeline_reads
from governance.selectors import slos as slo_reads
from governance.services import commissioning, incidents, retraining, setup, versions
from governance.services.slos import slo_status
from portal.core.access import require
from portal.core.api.viewsets import CreateMixin, ReadViewSet, UpdateMixin
from portal.core.errors import InvalidInput


class ModelViewSet(CreateMixin, UpdateMixin, ReadViewSet):
    queryset = Model.objects.all()
    serializer_class = serializers.ModelSerializer
    filterset_class = filters.ModelFilter
    ordering_fields = ("name", "code", "created_at", "updated_at", "id")
    container_field = "use_case"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return setup.model_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return setup.model_update(actor=self.request.user, model=obj, data=data, expected_version=expected_version)

    @extend_schema(request=shapes.RetrainSerializer, responses={202: shapes.StartedSerializer}, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def retrain(self, request: Request, pk: str) -> Response:
        """A rehearsal by hand, with a reason: the same check, signature and rollout as after an alert; 409 while one is under way."""
        model = self.get_object_for("view")
        self.expected_version(request, model)
        asked = shapes.RetrainSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        pipeline = asked.validated_data.get("pipeline") or _only_pipeline(model, request.user)
        if pipeline.model_id != model.pk:
            raise InvalidInput({"pipeline": "This pipeline feeds another model."})
        require(pipeline, request.user, "retrain")
        made, job = retraining.retraining_rehearse(
            actor=request.user, pipeline=pipeline, reason=asked.validated_data["reason"]
        )
        return started(job, made)


def _only_pipeline(model: Model, user: Any) -> Pipeline:
    rows = list(Pipeline.objects.permitted(user).filter(model=model)[:2])
    if len(rows) != 1:
        raise InvalidInput({"pipeline": "Say which pipeline." if rows else "This model has no pipeline yet."})
    return rows[0]


def started(job: Any, made: Retraining | None = None) -> Response:
    """202 with the job's address."""
    body = {
        "job": str(job.pk),
        "state": job.state,
        "retraining": str(made.pk) if made else None,
        "retraining_state": made.state if made else None,
    }
    return Response(body, status=202, headers={"Location": f"/api/v1/jobs/{job.pk}"})


class ModelVersionViewSet(ReadViewSet):
    queryset = ModelVersion.objects.all()
    serializer_class = serializers.ModelVersionSerializer
    filterset_class = filters.ModelVersionFilter
    ordering_fields = ("number", "trained_at", "created_at", "updated_at", "id")

    def get_queryset(self) -> Any:
        return super().get_queryset().distinct()

    @extend_schema(request=None, responses=serializers.ModelVersionSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def sign(self, request: Request, pk: str) -> Response:
        """Sign a candidate; whoever has no valid appointment and certificate gets 403 with the reason."""
        version = self.get_object_for("view")
        self.expected_version(request, version)
        versions.version_sign(actor=request.user, version=version)
        return Response(self.get_serializer(version).data, headers={"ETag": version.etag})

    @extend_schema(request=serializers.WithdrawSerializer, responses=serializers.ModelVersionSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def withdraw(self, request: Request, pk: str) -> Response:
        """Take a version out of use; machines that run it are told."""
        version = self.get_object_for("view")
        self.expected_version(request, version)
        asked = serializers.WithdrawSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        versions.version_withdraw(actor=request.user, version=version, reason=asked.validated_data["reason"])
        return Response(self.get_serializer(version).data, headers={"ETag": version.etag})


class LineageMixin:
    """``GET /{noun}/{id}/lineage``."""

    def lineage_of(self, obj: Any) -> dict[str, Any]:
        raise NotImplementedError

    @extend_schema(request=None, responses=serializers.LineageSerializer, filters=False)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def lineage(self: Any, request: Request, pk: str) -> Response:
        """Nodes and edges, from the channel to what was made of it."""
        return self.with_etag(request, self.lineage_of(self.get_object_for("view")))


class PipelineViewSet(LineageMixin, UpdateMixin, ReadViewSet):
    queryset = Pipeline.objects.select_related("model")
    serializer_class = serializers.PipelineSerializer
    filterset_class = filters.PipelineFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")

    @extend_schema(
        request=shapes.PipelineCreateSerializer, responses={201: serializers.PipelineSerializer}, filters=False
    )
    def create(self, request: Request) -> Response:
        """A pipeline with its stages and their checks."""
        asked = shapes.PipelineCreateSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        require(asked.validated_data["adoption"].site, request.user, "change")
        made = setup.pipeline_create(actor=request.user, **asked.validated_data)
        headers = {"Location": f"/api/v1/pipelines/{made.pk}", "ETag": made.etag}
        return Response(self.get_serializer(made).data, status=201, headers=headers)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return setup.pipeline_update(
            actor=self.request.user, pipeline=obj, data=data, expected_version=expected_version
        )

    @extend_schema(request=None, responses=shapes.PipelineSettingsSerializer, filters=False)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def policy(self, request: Request, pk: str) -> Response:
        """Drift limits and retraining policy (or alarm rule) in force."""
        return self.with_etag(request, shapes.settings_of(self.get_object_for("view")))

    @extend_schema(
        request=shapes.PipelineSettingsSerializer, responses=shapes.PipelineSettingsSerializer, filters=False
    )
    @policy.mapping.patch
    def policy_change(self, request: Request, pk: str) -> Response:
        """Change them; what is not sent stays. ``If-Match`` takes the pipeline's own ETag."""
        pipeline = self.get_object_for("change")
        expected = self.expected_version(request, pipeline)
        asked = shapes.PipelineSettingsSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        changed = setup.pipeline_update(
            actor=request.user, pipeline=pipeline, data={}, expected_version=expected, **asked.validated_data
        )
        return Response(shapes.settings_of(changed), headers={"ETag": changed.etag})

    @extend_schema(request=shapes.CommissionSerializer, responses={202: shapes.StartedSerializer}, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def commission(self, request: Request, pk: str) -> Response:
        """Train the first version on the rows on record, or bring one; asked twice it is the same job."""
        pipeline = self.get_object_for("commission")
        self.expected_version(request, pipeline)
        asked = shapes.CommissionSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        return started(commissioning.commission_start(actor=request.user, pipeline=pipeline, **asked.validated_data))

    def lineage_of(self, obj: Any) -> dict[str, Any]:
        strip = pipeline_reads.stage_strip(obj)
        graph = pipeline_reads.pipeline_graph(obj, strip, pipeline_reads.live_version(obj.model_id))
        return graph | {"complete": any(node["kind"] == "channel" for node in graph["nodes"])}


class DatasetViewSet(ReadViewSet):
    queryset = Dataset.objects.select_related("stage")
    serializer_class = serializers.DatasetSerializer
    filterset_class = filters.DatasetFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")


class BatchViewSet(LineageMixin, ReadViewSet):
    queryset = Batch.objects.select_related("stage", "model_version__model")
    serializer_class = serializers.BatchSerializer
    filterset_class = filters.BatchFilter
    ordering_fields = ("plant_to", "plant_from", "received_at", "created_at", "id")

    def lineage_of(self, obj: Any) -> dict[str, Any]:
        graph = pipeline_reads.batch_graph(obj)
        return graph | {"complete": pipeline_reads.complete(obj, graph)}


class CheckViewSet(UpdateMixin, ReadViewSet):
    queryset = Check.objects.select_related("stage__pipeline__adoption")
    serializer_class = serializers.CheckSerializer
    filterset_class = filters.CheckFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")


class CheckResultViewSet(ReadViewSet):
    queryset = CheckResult.objects.all()
    serializer_class = serializers.CheckResultSerializer
    filterset_class = filters.CheckResultFilter
    ordering_fields = ("plant_at", "created_at", "id")


class DriftReportViewSet(ReadViewSet):
    queryset = DriftReport.objects.all()
    serializer_class = serializers.DriftReportSerializer
    filterset_class = filters.DriftReportFilter
    ordering_fields = ("plant_to", "created_at", "id")


class SloViewSet(CreateMixin, UpdateMixin, ReadViewSet):
    queryset = Slo.objects.select_related("adoption")
    serializer_class = serializers.SloSerializer
    filterset_class = filters.SloFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")

    def check_create(self, data: dict[str, Any]) -> None:
        require(data["adoption"].site, self.request.user, "operate")

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        if "adoption" in data:
            require(data["adoption"].site, self.request.user, "operate")
        return super().perform_update(obj, data, expected_version)

    @extend_schema(request=None, responses=serializers.SloStatusSerializer, filters=False)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def status(self, request: Request, pk: str) -> Response:
        """Budget, burn and open answers now."""
        found = slo_status(self.get_object_for("view"))
        card, budget = slo_reads.card(found), found.budget
        return Response(
            {
                "slo": str(found.slo.pk),
                "state": card["state"],
                "sentence": card["sentence"],
                "healthy": found.healthy,
                "good_share": None if math.isnan(budget.sli) else budget.sli,
                "counted": budget.total,
                "allowed": budget.allowed,
                "used": budget.used,
                "left": budget.left,
                "left_share": card["left_share"],
                "enough": found.enough,
                "pending": found.pending,
                "overdue": found.overdue,
                "severity": found.severity.value if found.severity else None,
                "held_back": found.held_back,
                "refused_tiers": list(found.refused),
                "measured_at": found.measured_at,
            }
        )


class AlertViewSet(ReadViewSet):
    queryset = Alert.objects.all()
    serializer_class = serializers.AlertSerializer
    filterset_class = filters.AlertFilter
    ordering_fields = ("opened_at", "opened_plant_at", "created_at", "id")


class IncidentViewSet(ReadViewSet):
    queryset = Incident.objects.all()
    serializer_class = serializers.IncidentSerializer
    filterset_class = filters.IncidentFilter
    ordering_fields = ("opened_at", "began_plant_at", "created_at", "id")

    @extend_schema(request=None, responses=serializers.IncidentSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def acknowledge(self, request: Request, pk: str) -> Response:
        """ "I have it": once, with who and when; 409 when somebody was first or it is over."""
        incident = self.get_object_for("acknowledge")
        self.expected_version(request, incident)
        incidents.incident_acknowledge(actor=request.user, incident=incident)
        return Response(self.get_serializer(incident).data, headers={"ETag": incident.etag})

    @extend_schema(request=None, responses=serializers.IncidentStepsSerializer, filters=False)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def steps(self, request: Request, pk: str) -> Response:
        """The timeline, oldest first, both clocks."""
        rows = self.get_object_for("view").steps.all()
        return self.with_etag(request, {"results": serializers.IncidentStepSerializer(rows, many=True).data})


class RetrainingViewSet(ReadViewSet):
    queryset = Retraining.objects.all()
    serializer_class = serializers.RetrainingSerializer
    filterset_class = filters.RetrainingFilter
    ordering_fields = ("created_at", "due_row", "id")
