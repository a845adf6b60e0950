"""GET /api/v1/ranking: every use case where it stands now. The shapes of rankings, which the results of rounds share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.people import StrictSerializer
from portal.core.api.viewsets import EtagMixin
from portal.core.errors import InvalidInput
from usecases import ranking, standing
from usecases.models import UseCase


def _weights(about: str) -> serializers.DictField:
    return serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=1_000_000), required=False, help_text=about
    )


class WhatIfSerializer(StrictSerializer):
    """At least one of the two; weights that are not named stay as agreed."""

    weights = _weights("Top criterion key to relative weight; all of them.")
    sub_weights = _weights("Sub-criterion key to its weight among its sisters.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if not data:
            raise serializers.ValidationError({"weights": "Name the weights to try."})
        return data


class OpinionSerializer(serializers.Serializer[Any]):
    rank = serializers.IntegerField()
    value = serializers.FloatField()


class SecondSerializer(serializers.Serializer[Any]):
    topsis = OpinionSerializer(help_text="Closeness to the ideal, 0 to 1.")
    promethee = OpinionSerializer(help_text="Net flow, -1 to 1.")


class RankedSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    rank = serializers.IntegerField()
    score = serializers.FloatField(help_text="0 to 1.")
    known = serializers.FloatField(help_text="Share of the weight that is known, 0 to 1.")
    low = serializers.FloatField()
    high = serializers.FloatField()
    by_top = serializers.DictField(child=serializers.FloatField(allow_null=True))
    values = serializers.DictField(
        child=serializers.FloatField(allow_null=True), help_text="The group's rating by sub-criterion; null: not known."
    )
    first = serializers.FloatField(help_text="Share of plausible weightings in which it is first.")
    keeps_place = serializers.FloatField(
        help_text="Share of plausible weightings in which it keeps its place or better."
    )
    acceptability = serializers.ListField(child=serializers.FloatField(), help_text="Share of weightings by rank.")
    second = SecondSerializer(help_text="Its places by the second opinions.")
    central = serializers.DictField(
        child=serializers.FloatField(), allow_null=True, help_text="Mean weights where it wins; null: it never does."
    )
    confidence = serializers.FloatField(allow_null=True, help_text="How often it wins under these weights.")


class SwingSerializer(serializers.Serializer[Any]):
    criterion = serializers.CharField()
    weight = serializers.FloatField()
    falls = serializers.DictField(allow_null=True, help_text="at: the weight, rival: who leads then; null: nobody.")
    rises = serializers.DictField(allow_null=True)
    change = serializers.FloatField(allow_null=True, help_text="The smaller of the two moves; null: never.")


class MethodsSerializer(serializers.Serializer[Any]):
    agree = serializers.IntegerField(help_text="How many of the three methods share a first place.")
    first = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    sentence = serializers.CharField(allow_blank=True)


class ThresholdsSerializer(serializers.Serializer[Any]):
    clear = serializers.FloatField()
    close = serializers.FloatField()
    margin = serializers.FloatField()


class RankingSerializer(serializers.Serializer[Any]):
    rows = RankedSerializer(many=True)
    verdict = serializers.CharField(allow_blank=True)
    winner = serializers.CharField(required=False)
    runner_up = serializers.CharField(required=False, allow_null=True)
    sentence = serializers.CharField(allow_blank=True)
    flip = serializers.CharField(allow_blank=True)
    smallest_change = serializers.FloatField(required=False, allow_null=True)
    methods = MethodsSerializer(required=False)
    tornado = SwingSerializer(many=True, required=False)
    sub_tornado = SwingSerializer(many=True, required=False)
    weights = serializers.DictField(child=serializers.FloatField())
    sub_weights = serializers.DictField(child=serializers.FloatField(), required=False)
    thresholds = ThresholdsSerializer(required=False)
    unrated = serializers.ListField(child=serializers.CharField())
    draws = serializers.IntegerField()
    kappa = serializers.FloatField()


class StandingSerializer(RankingSerializer):
    criteria_set = serializers.UUIDField(allow_null=True)
    rounds = serializers.DictField(
        child=serializers.UUIDField(), help_text="Use case to the round its values are from."
    )
    apart = serializers.ListField(child=serializers.DictField(), help_text="Use cases rated on other questions.")


class RankingViewSet(EtagMixin, viewsets.GenericViewSet):
    """Every use case you may see, with the values of its newest closed round, on the newest published criteria."""

    queryset = UseCase.objects.all()
    serializer_class = StandingSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(responses=forced_singular_serializer(StandingSerializer), operation_id="ranking")
    def list(self, request: Request) -> Response:
        """The present ranking with its verdict. Criterion keys as parameters (`?roi=60&data=20`) ask for other weights."""
        table = standing.of_programme(request.user)
        asked = {key: str(value) for key, value in request.query_params.items() if key != "format"}
        if table is None:
            return self.with_etag(request, _NOTHING)
        unknown = set(asked) - {*table.model.tree.top_keys, *table.model.tree.keys}
        if unknown:
            raise InvalidInput(dict.fromkeys(sorted(unknown), "There is no such criterion."))
        found = ranking.rank(table, *standing.asked_weights(table.model, asked))
        return self.with_etag(
            request,
            found
            | {
                "criteria_set": str(table.model.tops[0].criteria_set_id),
                "rounds": {str(pk): str(meeting.pk) for pk, meeting in table.origins.items()},
                "apart": [{"id": str(case.pk), "title": case.title, "reason": why} for case, why in table.apart],
            },
        )


_NOTHING: dict[str, Any] = {
    "rows": [],
    "verdict": "",
    "sentence": "",
    "flip": "",
    "weights": {},
    "unrated": [],
    "draws": 0,
    "kappa": 0,
    "criteria_set": None,
    "rounds": {},
    "apart": [],
}
