"""Readings and predictions: time ranges in plant time, taken together to as many points as asked for."""

from __future__ import annotations

from typing import Any

from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from devices.models import Channel
from governance.api.serializers import SeriesSerializer
from governance.models import Pipeline
from governance.selectors import series
from portal.core.access import get_permitted
from portal.core.api.viewsets import EtagMixin

DEFAULT_POINTS = 500
MAX_POINTS = 5000

PARAMETERS = [
    OpenApiParameter("pipeline", OpenApiTypes.UUID, required=True),
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="Plant time of the first row."),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="Plant time of the last row."),
    OpenApiParameter("points", OpenApiTypes.INT, description=f"1 to {MAX_POINTS}; {DEFAULT_POINTS} without."),
]


class SeriesViewSet(EtagMixin, viewsets.GenericViewSet):
    queryset = Pipeline.objects.select_related("model", "adoption__site")
    serializer_class = SeriesSerializer
    pagination_class = None
    filter_backends = []
    http_method_names = ["get", "head", "options"]

    def asked(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        pk = query.get("pipeline")
        if not pk:
            raise ValidationError({"pipeline": "Name the pipeline."})
        raw = query.get("points", str(DEFAULT_POINTS))
        if not raw.isascii() or not raw.isdigit() or len(raw) > 6 or not 1 <= int(raw) <= MAX_POINTS:
            raise ValidationError({"points": f"A whole number from 1 to {MAX_POINTS}."})
        since, until = (_moment(query.get(name), name) for name in ("from", "to"))
        if since is not None and until is not None and until < since:
            raise ValidationError({"to": "The end is before the beginning."})
        pipeline = get_permitted(self.queryset, request.user, pk)
        return {"pipeline": pipeline, "since": since, "until": until, "points": int(raw)}


def _moment(text: str | None, name: str) -> Any:
    if text is None:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1900 <= found.year <= 2200:
        raise ValidationError({name: "A time such as 2014-01-31T12:00:00Z."})
    return found


class ReadingsViewSet(SeriesViewSet):
    @extend_schema(parameters=PARAMETERS, responses=SeriesSerializer(many=False), filters=False)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Inputs and label of a pipeline."""
        asked = self.asked(request)
        pipeline = asked.pop("pipeline")
        names = [*pipeline.model.features, pipeline.model.target]
        units = dict(
            Channel.objects.filter(device__site_id=pipeline.adoption.site_id, code__in=names).values_list(
                "code", "unit"
            )
        )
        return self.with_etag(request, series.readings(pipeline, units=units, **asked))


class PredictionsViewSet(SeriesViewSet):
    @extend_schema(parameters=PARAMETERS, responses=SeriesSerializer(many=False), filters=False)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What the plant saw (``live``), and what each version predicted."""
        asked = self.asked(request)
        return self.with_etag(request, series.predictions(asked.pop("pipeline"), **asked))
