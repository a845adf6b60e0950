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
from governance.services import incidents, versions
from governance.services.slos import slo_status
from portal.core.access import require
from portal.core.api.viewsets import CreateMixin, ReadViewSet, UpdateMixin


class ModelViewSet(ReadViewSet):
    queryset = Model.objects.all()
    serializer_class = serializers.ModelSerializer
    filterset_class = filters.ModelFilter
    ordering_fields = ("name", "code", "created_at", "updated_at", "id")


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


class PipelineViewSet(LineageMixin, ReadViewSet):
    queryset = Pipeline.objects.select_related("model")
    serializer_class = serializers.PipelineSerializer
    filterset_class = filters.PipelineFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")

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
