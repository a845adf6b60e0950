"""GET /api/v1/cockpit, /my-work, /scale-map: the same readings as the pages, of what the person may see."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devices.selectors import reach_of
from portal.core.api.viewsets import EtagMixin
from portal.dashboard.api import serializers
from portal.dashboard.cockpit import cockpit
from portal.dashboard.scale import scale_map
from portal.dashboard.work import at_site, waiting_for


class DashboardViewSet(EtagMixin, GenericViewSet[Any]):
    """Readings over every app; nothing is written here and no row has an address of its own."""

    filter_backends = ()
    pagination_class = None
    serializer_class = serializers.ScopeSerializer

    def _query(self, request: Request, kind: type[serializers.ScopeSerializer]) -> dict[str, Any]:
        """The parameters, checked; a site that the person does not see is as unknown as one that is not there."""
        asked = kind(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        found: dict[str, Any] = asked.validated_data
        if "site" in found and found["site"] not in {site.pk for site in reach_of(request.user).sites}:
            raise ValidationError({"site": _("There is no such site.")})
        return found

    @extend_schema(
        parameters=[serializers.ScopeSerializer], responses=serializers.CockpitSerializer, operation_id="cockpit_read"
    )
    @action(detail=False, methods=["get"], url_path="cockpit", url_name="cockpit")
    def cockpit(self, request: Request) -> Response:
        """What runs, what it earned, what is broken, and the most urgent thing that waits for you."""
        site = self._query(request, serializers.ScopeSerializer).get("site")
        found = cockpit(request.user, site, work=at_site(waiting_for(request.user), site))
        return self.with_etag(request, serializers.CockpitSerializer(found).data)

    @extend_schema(
        parameters=[serializers.ScopeSerializer], responses=serializers.WorkSerializer, operation_id="my_work_read"
    )
    @action(detail=False, methods=["get"], url_path="my-work", url_name="my-work")
    def my_work(self, request: Request) -> Response:
        """Everything that waits for you, the most urgent first."""
        site = self._query(request, serializers.ScopeSerializer).get("site")
        items = at_site(waiting_for(request.user), site)
        return self.with_etag(request, serializers.WorkSerializer({"count": len(items), "results": items}).data)

    @extend_schema(
        parameters=[serializers.ScaleMapQuerySerializer],
        responses=serializers.ScaleMapSerializer,
        operation_id="scale_map_read",
    )
    @action(detail=False, methods=["get"], url_path="scale-map", url_name="scale-map")
    def scale_map(self, request: Request) -> Response:
        """Use case by site with phase and health; pairs that are not adopted have no cell."""
        asked = self._query(request, serializers.ScaleMapQuerySerializer)
        found = scale_map(
            request.user,
            site_id=asked.get("site"),
            label=asked.get("label", ""),
            text=asked.get("q", ""),
            health=asked.get("health", ""),
        )
        return self.with_etag(request, serializers.ScaleMapSerializer(found).data)
