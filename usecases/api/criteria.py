"""/api/v1/criteria-sets, /criteria and /use-cases/{id}/measured: the same verbs and refusals as the pages."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.people import StrictSerializer
from portal.core.api.viewsets import (
    BaseViewSet,
    CreateMixin,
    DestroyMixin,
    EntitySerializer,
    EntityViewSet,
)
from portal.core.clock import wall_now
from portal.core.errors import InvalidInput
from usecases import elicitation, filters, measured, models, selectors_criteria, services
from usecases.choices import WeightMethod
from usecases.domain.weights import STRONGEST

_TIMES = ("created_at", "updated_at", "id")
_ENTITY = ["created_at", "updated_at", "version"]


class CriteriaSetSerializer(EntitySerializer):
    weighting = serializers.JSONField(
        read_only=True,
        help_text="Key of the top criterion (empty for the top) -> method, answers, weights, consistency.",
    )

    class Meta:
        model = models.CriteriaSet
        fields = ["id", "name", "number", "state", "published_at", "weighting", *_ENTITY]
        read_only_fields = ["number", "state", "published_at"]


class NewCriteriaSetSerializer(StrictSerializer):
    name = serializers.CharField(max_length=80)
    standard = serializers.BooleanField(default=False, help_text="With the criteria to begin with; else empty.")


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
            "fact",
            "position",
            *_ENTITY,
        ]
        extra_kwargs: ClassVar[dict[str, Any]] = {"weight": {"required": False}, "key": {"required": False}}
        validators: ClassVar[list[Any]] = []


class PublishSerializer(StrictSerializer):
    accept_inconsistent = serializers.BooleanField(
        default=False, help_text="Publish although answers in pairs contradict each other."
    )
    reason = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="Why they are accepted.")


class WeightsSerializer(StrictSerializer):
    """``answers`` by key of the criterion: percents, points (100 for the most important swing) or places. For pairs by
    "first:second": how many times as important the first is, 1/9 to 9."""

    parent = serializers.CharField(  # type: ignore[assignment]
        max_length=40,
        allow_blank=True,
        default="",
        help_text="Key of a top criterion; empty to weigh the top criteria.",
    )
    method = serializers.ChoiceField(choices=WeightMethod.choices)
    answers = serializers.DictField(child=serializers.FloatField(max_value=100), allow_empty=False)
    dry_run = serializers.BooleanField(default=False, help_text="Compute and keep nothing.")


class RevisitSerializer(serializers.Serializer[Any]):
    first = serializers.CharField()
    second = serializers.CharField()
    given = serializers.FloatField()
    agreeing = serializers.FloatField(help_text="What the other answers say about this pair.")
    step = serializers.FloatField(help_text=f"The nearest step of the scale 1/{STRONGEST:g} to {STRONGEST:g}.")
    ratio_after = serializers.FloatField(help_text="The consistency ratio with that step.")


class WeightConsistencySerializer(serializers.Serializer[Any]):
    ratio = serializers.FloatField()
    limit = serializers.FloatField()
    consistent = serializers.BooleanField()
    lambda_max = serializers.FloatField()
    index = serializers.FloatField()
    random_index = serializers.CharField()
    random_index_value = serializers.FloatField(allow_null=True)
    revisit = RevisitSerializer(allow_null=True)


class ElicitedSerializer(serializers.Serializer[Any]):
    method = serializers.CharField()
    answers = serializers.DictField(child=serializers.FloatField())
    weights = serializers.DictField(child=serializers.FloatField())
    consistency = WeightConsistencySerializer(allow_null=True)


class MovedSerializer(StrictSerializer):
    by = serializers.ChoiceField(choices=[(-1, "up"), (1, "down")])


class MeasuredScoreSerializer(serializers.Serializer[Any]):
    criterion = serializers.CharField(help_text="Key of the sub-criterion in the newest published criteria.")
    name = serializers.CharField()
    source = serializers.CharField(help_text="measured or derived.")  # type: ignore[assignment]
    fact = serializers.CharField(allow_blank=True)
    rating = serializers.FloatField(allow_null=True, help_text="0 to 5; null where nothing is measured.")
    value = serializers.FloatField(allow_null=True)
    unit = serializers.CharField(allow_blank=True)
    anchors = serializers.ListField(child=serializers.FloatField())
    text = serializers.CharField(allow_blank=True)
    measured_at = serializers.DateTimeField(allow_null=True, help_text="Wall time.")
    plant_at = serializers.DateTimeField(allow_null=True, help_text="Plant time.")
    link = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True, help_text="Why there is no rating.")


def _pointer(field: str) -> str:
    return field if field in {"parent", "method", elicitation.WHOLE} else f"{elicitation.WHOLE}.{field}"


class CriteriaSetViewSet(CreateMixin, DestroyMixin, BaseViewSet):
    queryset = models.CriteriaSet.objects.all()
    serializer_class = CriteriaSetSerializer
    filterset_class = filters.CriteriaSetFilter
    ordering_fields = ("name", "number", *_TIMES)
    create_permission = "usecases.add_usecase"
    http_method_names = ["get", "post", "delete", "head", "options"]

    @extend_schema(request=NewCriteriaSetSerializer, responses={201: CriteriaSetSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A draft: the next version of that name."""
        asked = NewCriteriaSetSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.check_create(asked.validated_data)
        return self.created(services.criteria_set_create(actor=request.user, **asked.validated_data))

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.criteria_set_create(actor=self.request.user, name=data["name"])

    def perform_delete(self, obj: Any) -> None:
        services.criteria_set_delete(actor=self.request.user, criteria_set=obj)

    @extend_schema(request=PublishSerializer, responses=CriteriaSetSerializer)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, pk: str) -> Response:
        """From now on this version never changes. Contradicting comparisons need ``accept_inconsistent`` and a reason."""
        obj = self.get_object_for("change")
        asked = PublishSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.criteria_set_publish(actor=request.user, criteria_set=obj, **asked.validated_data)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(request=None, responses={201: CriteriaSetSerializer})
    @action(detail=True, methods=["post"], url_path="next-version")
    def next_version(self, request: Request, pk: str) -> Response:
        """A draft of the next version with the same criteria and weights."""
        obj = self.get_object_for("change")
        made = services.criteria_set_next(actor=request.user, criteria_set=obj)
        return Response(self.get_serializer(made).data, status=201, headers={"ETag": made.etag})

    @extend_schema(request=WeightsSerializer, responses=ElicitedSerializer)
    @action(detail=True, methods=["post"])
    def weights(self, request: Request, pk: str) -> Response:
        """Weigh the top criteria, or the sub-criteria of one, from answers by one of four methods."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        asked = WeightsSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        parent = self._parent(obj, said["parent"])
        try:
            if said["dry_run"]:
                found: Any = elicitation.elicit(elicitation.level(obj, parent), said["method"], said["answers"])
            else:
                found = services.criteria_weights_set(
                    actor=request.user,
                    criteria_set=obj,
                    parent=parent,
                    method=said["method"],
                    answers=said["answers"],
                    expected_version=expected,
                )
        except InvalidInput as error:
            error.errors = [row | {"field": _pointer(str(row["field"]))} for row in error.errors]
            raise
        return Response(ElicitedSerializer(found).data, headers={"ETag": obj.etag})

    @staticmethod
    def _parent(criteria_set: models.CriteriaSet, key: str) -> models.Criterion | None:
        if not key:
            return None
        found = criteria_set.criteria.filter(key=key, parent=None).first()
        if found is None:
            raise InvalidInput({"parent": "There is no such top criterion in this version."})
        return found


class CriterionViewSet(EntityViewSet):
    queryset = models.Criterion.objects.select_related("criteria_set", "parent")
    serializer_class = CriterionSerializer
    filterset_class = filters.CriterionFilter
    ordering_fields = ("position", "key", *_TIMES)
    create_permission = "usecases.add_usecase"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.criterion_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.criterion_update(
            actor=self.request.user, criterion=obj, data=data, expected_version=expected_version
        )

    def perform_delete(self, obj: Any) -> None:
        services.criterion_delete(actor=self.request.user, criterion=obj)

    @extend_schema(request=MovedSerializer, responses=CriterionSerializer)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, pk: str) -> Response:
        """One place up (-1) or down (1) among its sisters."""
        obj = self.get_object_for("change")
        asked = MovedSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        moved = services.criterion_move(actor=request.user, criterion=obj, by=int(asked.validated_data["by"]))
        return Response(self.get_serializer(moved).data, headers={"ETag": moved.etag})


class MeasuredMixin:
    """``GET /use-cases/{id}/measured``."""

    @extend_schema(responses=MeasuredScoreSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def measured(self, request: Request, pk: str) -> Response:
        """What is measured of the use case for the newest published criteria: number, age, link, and why there is none."""
        use_case = self.get_object_for("view")  # type: ignore[attr-defined]
        leaves = selectors_criteria.measured_leaves()
        found = measured.measured_scores([use_case], leaves, wall_now())
        rows = [
            {
                "criterion": leaf.key,
                "name": leaf.name,
                "source": leaf.source,
                "fact": leaf.fact,
                "anchors": [leaf.anchor_low, leaf.anchor_high],
                **vars(found[use_case.pk, leaf.key]),
            }
            for leaf in leaves
        ]
        return Response(MeasuredScoreSerializer(rows, many=True).data)
