"""The portfolio in the API: scenarios, exclusions, person-days, and runs of the optimiser."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.access import require, require_global
from portal.core.api.viewsets import (
    BaseViewSet,
    CreateMixin,
    DestroyMixin,
    EntitySerializer,
    EntityViewSet,
    ReadViewSet,
    UpdateMixin,
)
from usecases import filters, models, planning, services
from usecases.choices import RunKind
from usecases.planning import visible_ids
from usecases.services.portfolio import PEOPLE

_TIMES = ["id", "created_at", "updated_at", "version"]


def _limits(**extra: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.FloatField(min_value=0, max_value=1e12), max_length=16, **extra)


class PairSerializer(serializers.ModelSerializer[models.Exclusion]):
    class Meta:
        model = models.Exclusion
        fields = ["first", "second", "reason"]


class ScenarioSerializer(EntitySerializer):
    budget = _limits(help_text="Money per quarter.")
    capacity = serializers.DictField(
        child=_limits(),
        required=False,
        help_text="Role -> person-days per quarter.",
    )
    site_shares = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=1),
        required=False,
        help_text="Site -> least share of the spending.",
    )
    exclusions = PairSerializer(many=True, required=False)

    class Meta:
        model = models.Scenario
        fields = [
            "id",
            "name",
            "note",
            "owner",
            "currency",
            "start",
            "quarters",
            "budget",
            "capacity",
            "candidates",
            "must",
            "must_not",
            "exclusions",
            "lag",
            "foundation_share",
            "site_shares",
            "gap",
            "time_limit",
            "seed",
            "of_record",
            "of_record_at",
            *_TIMES[1:],
        ]
        read_only_fields = ["owner", "of_record", "of_record_at"]


class ExclusionSerializer(EntitySerializer):
    class Meta:
        model = models.Exclusion
        fields = ["id", "scenario", "first", "second", "reason", *_TIMES[1:]]


class EffortNeedSerializer(EntitySerializer):
    role = serializers.CharField(max_length=40, help_text=", ".join(PEOPLE))

    def validate_role(self, value: str) -> str:
        if value not in PEOPLE:
            raise serializers.ValidationError("There is no role of this name.")
        return value

    class Meta:
        model = models.EffortNeed
        fields = ["id", "use_case", "role", "quarter", "days", *_TIMES[1:]]


class PortfolioRunSerializer(EntitySerializer):
    job = serializers.UUIDField(source="job_id", read_only=True, allow_null=True)
    result = serializers.DictField(read_only=True)

    class Meta:
        model = models.PortfolioRun
        fields = [
            "id",
            "scenario",
            "kind",
            "job",
            "result",
            "inputs_sha256",
            "finished_at",
            *_TIMES[1:],
        ]
        read_only_fields = ["inputs_sha256", "finished_at"]


class RunInputSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=RunKind.choices, default=RunKind.PLAN)


class CopyInputSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=140, required=False, default="")
    more = serializers.DictField(
        child=serializers.FloatField(min_value=-1e12, max_value=1e12),
        required=False,
        help_text="Quarter (from 0) -> money added to its budget.",
    )
    relief = serializers.BooleanField(
        default=False, help_text="Raise every limit as the newest run says is needed for a plan to exist."
    )

    def validate_more(self, value: dict[str, float]) -> dict[int, float]:
        if not all(key.isascii() and key.isdigit() and len(key) < 3 for key in value):
            raise serializers.ValidationError("The keys are quarters, from 0.")
        return {int(key): amount for key, amount in value.items()}


class ChangedSerializer(serializers.Serializer[Any]):
    changed = serializers.ListField(child=serializers.CharField())


def _pairs(found: Any) -> Any:
    """A change of a scenario is partial, its exclusions are not: each names both."""
    for at, pair in enumerate(found or []):
        for name in ("first", "second"):
            if name not in pair:
                raise serializers.ValidationError({f"exclusions[{at}].{name}": "Name both use cases."})
    return found


#: One query for each list of use cases, without their texts: a page of scenarios can name thousands of them.
_IDS = models.UseCase.objects.only("pk", "title")


class ScenarioViewSet(CreateMixin, UpdateMixin, DestroyMixin, BaseViewSet):
    queryset = models.Scenario.objects.prefetch_related(
        Prefetch("candidates", _IDS), Prefetch("must", _IDS), Prefetch("must_not", _IDS), "exclusions"
    )
    serializer_class = ScenarioSerializer
    filterset_class = filters.ScenarioFilter
    many_fields = ("candidates", "must", "must_not")
    ordering_fields = ("name", "start", "created_at", "updated_at", "id")
    create_permission = "usecases.add_usecase"

    def perform_create(self, data: dict[str, Any]) -> Any:
        plain, many = self.split_many(data)
        exclusions = _pairs(plain.pop("exclusions", None))
        many = {"candidates": [], "must": [], "must_not": []} | many
        return services.scenario_create(actor=self.request.user, many=many, exclusions=exclusions, **plain)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        plain, many = self.split_many(data)
        exclusions = _pairs(plain.pop("exclusions", None))
        return services.scenario_update(
            actor=self.request.user,
            scenario=obj,
            data=plain,
            many=many,
            exclusions=exclusions,
            expected_version=expected_version,
        )

    def perform_delete(self, obj: Any) -> None:
        services.scenario_delete(actor=self.request.user, scenario=obj)

    @extend_schema(request=RunInputSerializer, responses=PortfolioRunSerializer)
    @action(detail=True, methods=["post"])
    def run(self, request: Request, pk: str) -> Response:
        """Freeze the question and hand it to a worker; the answer names the run to watch."""
        obj = self.get_object_for("change")
        asked = RunInputSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        run = services.run_start(actor=request.user, scenario=obj, kind=asked.validated_data["kind"])
        return Response(PortfolioRunSerializer(run, context=self.get_serializer_context()).data, status=202)

    @extend_schema(request=CopyInputSerializer, responses={201: ScenarioSerializer})
    @action(detail=True, methods=["post"])
    def copy(self, request: Request, pk: str) -> Response:
        """The same question once more, with the budget of some quarters moved."""
        obj = self.get_object_for("view")
        require_global(request.user, "usecases.add_usecase", "plan")
        asked = CopyInputSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return self.created(services.scenario_copy(actor=request.user, scenario=obj, **asked.validated_data))

    @extend_schema(request=None, responses=ScenarioSerializer)
    @action(detail=True, methods=["post"])
    def adopt(self, request: Request, pk: str) -> Response:
        """Make it the plan of record."""
        obj = self.get_object_for("change")
        services.scenario_adopt(actor=request.user, scenario=obj)
        fresh = self.queryset.get(pk=obj.pk)
        return Response(self.get_serializer(fresh).data, headers={"ETag": fresh.etag})


class ExclusionViewSet(ReadViewSet):
    queryset = models.Exclusion.objects.all()
    serializer_class = ExclusionSerializer
    filterset_class = filters.ExclusionFilter
    ordering_fields = ("created_at", "updated_at", "id")


class EffortNeedViewSet(EntityViewSet):
    queryset = models.EffortNeed.objects.all()
    serializer_class = EffortNeedSerializer
    filterset_class = filters.EffortNeedFilter
    ordering_fields = ("role", "quarter", "created_at", "updated_at", "id")
    container_field = "use_case"

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        if "use_case" in data:
            require(data["use_case"], self.request.user, "change")
        return super().perform_update(obj, data, expected_version)


class PortfolioRunViewSet(ReadViewSet):
    queryset = models.PortfolioRun.objects.select_related("job")
    serializer_class = PortfolioRunSerializer
    filterset_class = filters.PortfolioRunFilter
    ordering_fields = ("created_at", "updated_at", "id")

    @extend_schema(request=None, responses=PortfolioRunSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop the run; what it has found so far is kept."""
        obj = self.get_object_for("change")
        run = services.run_cancel(actor=request.user, run=obj)
        return Response(self.get_serializer(run).data)

    @extend_schema(responses=ChangedSerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def changed(self, request: Request, pk: str) -> Response:
        """What is different now from what this run was asked; empty while its answer is up to date."""
        obj = self.get_object_for("view")
        return self.with_etag(request, {"changed": planning.changed_since(obj, visible_ids(request.user))})
