"""Resources: gateways, installations, rollouts, waves, wave targets, connections."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.choices import DeviceKind
from devices.models import Device
from edge_bridge import filters, services
from edge_bridge.api import serializers
from edge_bridge.models import Connection, Installation, Rollout, Wave, WaveTarget
from portal.core.access import require
from portal.core.api.viewsets import ReadViewSet


class GatewayViewSet(ReadViewSet):
    """Gateways with the figures of their link. They are devices: change them there."""

    queryset = Device.objects.filter(device_type__kind=DeviceKind.GATEWAY).select_related(
        "site__plant_clock", "device_type"
    )
    serializer_class = serializers.GatewaySerializer
    filterset_class = filters.GatewayFilter
    ordering_fields = ("name", "code", "last_seen_at", "created_at", "updated_at", "id")


class InstallationViewSet(ReadViewSet):
    queryset = Installation.objects.select_related("device", "adoption", "version_of_model", "rollout")
    serializer_class = serializers.InstallationSerializer
    filterset_class = filters.InstallationApiFilter
    ordering_fields = ("wanted_at", "created_at", "updated_at", "id")


class RolloutViewSet(ReadViewSet):
    queryset = Rollout.objects.select_related("adoption__site", "version_of_model__model", "previous")
    serializer_class = serializers.RolloutSerializer
    filterset_class = filters.RolloutApiFilter
    ordering_fields = ("started_at", "created_at", "updated_at", "id")
    http_method_names = ["get", "post", "head", "options"]

    @extend_schema(request=serializers.RolloutRequestSerializer, responses={201: serializers.RolloutSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start bringing a signed version to the gateways of an adoption: the canary first."""
        asked = serializers.RolloutRequestSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        data = dict(asked.validated_data)
        require(data["adoption"], request.user, "operate")
        rollout = services.rollout_start(actor=request.user, version=data.pop("version_of_model"), **data)
        return Response(
            self.get_serializer(rollout).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"{request.path.rstrip('/')}/{rollout.pk}", "ETag": rollout.etag},
        )

    @extend_schema(
        request=serializers.StopRequestSerializer, responses={200: serializers.RolloutSerializer}, filters=False
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def stop(self, request: Request, pk: str) -> Response:
        """End a rollout under way; every gateway goes back to the version before."""
        rollout = self.get_object_for("stop")
        self.expected_version(request, rollout)
        asked = serializers.StopRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.rollout_stop(actor=request.user, rollout=rollout, reason=asked.validated_data["reason"])
        rollout.refresh_from_db()
        return Response(self.get_serializer(rollout).data, headers={"ETag": rollout.etag})


class WaveViewSet(ReadViewSet):
    queryset = Wave.objects.select_related("rollout")
    serializer_class = serializers.WaveSerializer
    filterset_class = filters.WaveFilter
    ordering_fields = ("position", "created_at", "updated_at", "id")


class WaveTargetViewSet(ReadViewSet):
    queryset = WaveTarget.objects.select_related("wave", "device")
    serializer_class = serializers.WaveTargetSerializer
    filterset_class = filters.WaveTargetFilter
    ordering_fields = ("created_at", "updated_at", "id")


class ConnectionViewSet(ReadViewSet):
    queryset = Connection.objects.all()
    serializer_class = serializers.ConnectionSerializer
    filterset_class = filters.ConnectionFilter
    ordering_fields = ("kind", "checked_at", "created_at", "updated_at", "id")
