"""/api/v1/scoring-rounds, /ratings and /judgements: the same verbs and refusals as the pages."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.access import require
from portal.core.api.people import ROLE_CHOICES, StrictSerializer
from portal.core.api.viewsets import BaseViewSet, CreateMixin, DestroyMixin, EntitySerializer, ReadViewSet, UpdateMixin
from portal.core.errors import InvalidInput
from portal.core.models import User
from usecases import filters, models, ranking, services, standing
from usecases.api.ranking import RankingSerializer, WhatIfSerializer
from usecases.choices import RoundState

_TIMES = ("created_at", "updated_at", "id")
_ENTITY = ["created_at", "updated_at", "version"]


def _vote() -> serializers.IntegerField:
    told = "The vote the answers are meant for; refused in another."
    return serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2, help_text=told)


def _person() -> serializers.PrimaryKeyRelatedField[User]:
    return serializers.PrimaryKeyRelatedField(queryset=User.objects.filter(is_active=True))


class SeatSerializer(StrictSerializer):
    """One invited person and the role they rate in; without a role it is the one gate 1 asks for."""

    person = _person()
    role = serializers.ChoiceField(choices=ROLE_CHOICES, required=False, allow_blank=True)


class UnseatSerializer(StrictSerializer):
    person = _person()


class ScoringRoundSerializer(EntitySerializer):
    raters = serializers.PrimaryKeyRelatedField(many=True, queryset=User.objects.filter(is_active=True), required=False)
    seats = SeatSerializer(many=True, required=False)
    role_weights = serializers.DictField(
        child=serializers.FloatField(), required=False, help_text="Role -> relative weight; 1 where none is given."
    )

    class Meta:
        model = models.ScoringRound
        fields = [
            "id",
            "title",
            "criteria_set",
            "use_cases",
            "raters",
            "seats",
            "facilitator",
            "state",
            "weighting",
            "role_weights",
            "due_at",
            "revealed_at",
            "closed_at",
            *_ENTITY,
        ]
        read_only_fields = ["facilitator", "state", "revealed_at", "closed_at"]


class RatingSerializer(EntitySerializer):
    class Meta:
        model = models.Rating
        fields = [
            "id",
            "round",
            "use_case",
            "criterion",
            "rater",
            "rater_role",
            "vote",
            "value",
            "comment",
            "measured",
            "reason",
            *_ENTITY,
        ]
        read_only_fields = ["rater", "rater_role", "vote", "measured"]
        validators: ClassVar[list[Any]] = []


class OwnRatingSerializer(EntitySerializer):
    """One's own answer; ``value`` null is "I don't know". ``reason`` where it replaces a measured value."""

    class Meta:
        model = models.Rating
        fields = ["use_case", "criterion", "value", "comment", "reason"]


class RatingsSerializer(StrictSerializer):
    ratings = OwnRatingSerializer(many=True, allow_empty=False)
    vote = _vote()


class JudgementSerializer(EntitySerializer):
    class Meta:
        model = models.Judgement
        fields = ["id", "round", "rater", "vote", "first", "second", "value", *_ENTITY]
        read_only_fields = fields


class OwnJudgementSerializer(EntitySerializer):
    """``first`` is ``value`` times as important as ``second``, 1/9 to 9."""

    value = serializers.FloatField()

    class Meta:
        model = models.Judgement
        fields = ["first", "second", "value"]


class JudgementsSerializer(StrictSerializer):
    judgements = OwnJudgementSerializer(many=True, allow_empty=False)
    vote = _vote()


class ConsistencySerializer(serializers.Serializer[Any]):
    answered = serializers.IntegerField()
    asked = serializers.IntegerField()
    weights = serializers.DictField(child=serializers.FloatField())
    ratio = serializers.FloatField(allow_null=True)
    consistent = serializers.BooleanField(allow_null=True)
    random_index = serializers.CharField(allow_blank=True)
    revisit = serializers.DictField(allow_null=True, help_text="The one comparison to look at again.")


class KeptSerializer(serializers.Serializer[Any]):
    kept = serializers.IntegerField()


class ProgressSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    role = serializers.CharField(allow_blank=True)
    given = serializers.IntegerField()
    asked = serializers.IntegerField()
    done = serializers.BooleanField()


class ResultsSerializer(RankingSerializer):
    state = serializers.CharField()
    private = serializers.BooleanField(help_text="True until the reveal: then nothing else is told.")
    agreement = serializers.ListField(child=serializers.DictField())
    changes = serializers.ListField(child=serializers.DictField(), help_text="What the second vote moved.")
    pairwise = serializers.DictField(allow_null=True)


class ScoringRoundViewSet(CreateMixin, UpdateMixin, DestroyMixin, BaseViewSet):
    queryset = models.ScoringRound.objects.select_related("criteria_set").prefetch_related(
        "use_cases", "raters", "seats"
    )
    serializer_class = ScoringRoundSerializer
    filterset_class = filters.ScoringRoundFilter
    ordering_fields = ("title", "due_at", *_TIMES)
    # Who leads a round is told by ``require_lead``, not by a verb.
    update_verb = delete_verb = "view"
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]

    def check_create(self, data: dict[str, Any]) -> None:
        for use_case in data["use_cases"]:
            require(use_case, self.request.user, "change")

    def perform_create(self, data: dict[str, Any]) -> Any:
        seats = data.pop("seats", None)
        if seats is not None and "raters" in data:
            raise InvalidInput({"raters": "Name the people in seats or in raters, not in both."})
        if seats is not None:
            data["seats"] = [(row["person"], row.get("role") or services.rater_role(row["person"])) for row in seats]
        return services.round_open(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        services.require_lead(obj, self.request.user, "change")
        fixed = {name: "This stays as the round was opened." for name in data if name not in _CHANGEABLE}
        if fixed:
            raise InvalidInput(fixed)
        return services.round_update(actor=self.request.user, meeting=obj, data=data, expected_version=expected_version)

    def perform_delete(self, obj: Any) -> None:
        services.require_lead(obj, self.request.user, "withdraw")
        services.round_withdraw(actor=self.request.user, meeting=obj)

    def _led(self, verb: str) -> Any:
        obj = self.get_object_for("view")
        services.require_lead(obj, self.request.user, verb)
        return obj

    def _round(self, pk: Any, status: int = 200) -> Response:
        obj = self.queryset.get(pk=pk)
        return Response(self.get_serializer(obj).data, status=status, headers={"ETag": obj.etag})

    @extend_schema(request=SeatSerializer, responses={201: ScoringRoundSerializer}, filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def seats(self, request: Request, pk: str) -> Response:
        """Invite one more person while the first vote runs."""
        obj = self._led("invite to")
        asked = SeatSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        services.seat_add(actor=request.user, meeting=obj, **asked.validated_data)
        return self._round(obj.pk, 201)

    @extend_schema(request=UnseatSerializer, responses=ScoringRoundSerializer, filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def unseat(self, request: Request, pk: str) -> Response:
        """Take a rater out while the first vote runs; their answers go with them, unread."""
        obj = self._led("take people out of")
        asked = UnseatSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        services.seat_remove(actor=request.user, meeting=obj, **asked.validated_data)
        return self._round(obj.pk)

    @extend_schema(request=RatingsSerializer, responses=RatingSerializer(many=True), filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def ratings(self, request: Request, pk: str) -> Response:
        """Write one's own ratings; given again in the same vote they replace the earlier ones. All or nothing."""
        obj = self.get_object_for("rate")
        asked = RatingsSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        rows = services.ratings_put(actor=request.user, meeting=obj, rows=said["ratings"], vote=said.get("vote"))
        return Response(RatingSerializer(rows, many=True, context=self.get_serializer_context()).data)

    @extend_schema(request=JudgementsSerializer, responses=ConsistencySerializer, filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def judgements(self, request: Request, pk: str) -> Response:
        """Write one's own comparisons of the top criteria; the answer says whether they agree with each other."""
        obj = self.get_object_for("rate")
        asked = JudgementsSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        services.judgements_put(actor=request.user, meeting=obj, rows=said["judgements"], vote=said.get("vote"))
        return Response(ranking.consistency(obj, request.user))

    @extend_schema(request=None, responses=KeptSerializer, filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def keep(self, request: Request, pk: str) -> Response:
        """In the second vote: give one's first answers again wherever none was given yet."""
        obj = self.get_object_for("rate")
        return Response({"kept": services.votes_keep(actor=request.user, meeting=obj)})

    @extend_schema(request=None, responses=ScoringRoundSerializer)
    @action(detail=True, methods=["post"])
    def reveal(self, request: Request, pk: str) -> Response:
        """End the first vote: from now on everybody sees what was answered."""
        obj = self._led("reveal")
        services.round_reveal(actor=request.user, meeting=obj)
        return self._round(obj.pk)

    @extend_schema(request=None, responses=ScoringRoundSerializer)
    @action(detail=True, methods=["post"], url_path="second-vote")
    def second_vote(self, request: Request, pk: str) -> Response:
        """Ask everybody once more, privately."""
        obj = self._led("start the second vote of")
        services.round_second_vote(actor=request.user, meeting=obj)
        return self._round(obj.pk)

    @extend_schema(request=None, responses=ScoringRoundSerializer)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str) -> Response:
        """Freeze the result."""
        obj = self._led("close")
        services.round_close(actor=request.user, meeting=obj)
        return self._round(obj.pk)

    @extend_schema(responses=ProgressSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def progress(self, request: Request, pk: str) -> Response:
        """How many answers each rater has given in the vote that runs. Counts only."""
        return self.with_etag(request, ranking.progress(self.get_object_for("view")))

    @extend_schema(responses=ResultsSerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def results(self, request: Request, pk: str) -> Response:
        """The frozen result of a closed round, or that of the first vote once it is revealed; before, nothing."""
        obj = self.get_object_for("view")
        return self.with_etag(request, results_of(obj, request.user) | {"state": obj.state})

    @extend_schema(request=WhatIfSerializer, responses=RankingSerializer, filters=False)
    @action(detail=True, methods=["post"], url_path="what-if", pagination_class=None)
    def what_if(self, request: Request, pk: str) -> Response:
        """The ranking under other weights, with the sentence that says why it flipped. Writes nothing."""
        obj = self.get_object_for("view")
        asked = WhatIfSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        return Response(
            ranking.rank(standing.of_round(request.user, obj), said.get("weights"), said.get("sub_weights"))
        )


_CHANGEABLE = {"title", "due_at", "role_weights"}
_NOTHING: dict[str, Any] = {
    "rows": [],
    "verdict": "",
    "sentence": "",
    "flip": "",
    "weights": {},
    "unrated": [],
    "draws": 0,
    "kappa": 0,
    "agreement": [],
    "changes": [],
    "pairwise": None,
    "private": True,
}


def results_of(meeting: models.ScoringRound, user: Any) -> dict[str, Any]:
    """What this person may know of a round's result now: of the use cases they may see, and nothing before the reveal."""
    if meeting.state == RoundState.OPEN:
        return dict(_NOTHING)
    table = standing.of_round(user, meeting)
    seen = {str(case.pk) for case in table.cases}
    found = ranking.told(meeting, table)
    if meeting.state == RoundState.CLOSED:
        more: dict[str, Any] = {name: meeting.result.get(name, []) for name in ("agreement", "changes")}
        more["pairwise"] = meeting.result.get("pairwise")
    else:
        loaded = ranking.shown(meeting)
        more = {"agreement": ranking.agreement(loaded), "changes": [], "pairwise": ranking.comparison(loaded)}
    for name in ("agreement", "changes"):
        more[name] = [row for row in more[name] if row["use_case"] in seen]
    return found | more | {"private": False}


class RatingViewSet(ReadViewSet):
    queryset = models.Rating.objects.all()
    serializer_class = RatingSerializer
    filterset_class = filters.RatingFilter
    ordering_fields = _TIMES


class JudgementViewSet(ReadViewSet):
    queryset = models.Judgement.objects.all()
    serializer_class = JudgementSerializer
    filterset_class = filters.JudgementFilter
    ordering_fields = _TIMES
