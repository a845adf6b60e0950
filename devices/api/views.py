"""Resources: sites, locations, assets, device types, devices, channels, enrolments, credentials."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from devices import filters, live, plant_time, services
from devices.api import serializers
from devices.models import Asset, Channel, Credential, Device, DeviceType, Enrolment, Location, Site
from devices.services.stopping import open_stop
from portal.core.access import require, require_global
from portal.core.api.viewsets import BaseViewSet, DestroyMixin, EntityViewSet, ExternalMixin, ReadViewSet
from portal.core.errors import DomainError
from portal.core.records import entity_delete


class SiteViewSet(ExternalMixin, EntityViewSet):
    queryset = Site.objects.all()
    serializer_class = serializers.SiteSerializer
    filterset_class = filters.SiteFilter
    ordering_fields = ("name", "code", "created_at", "updated_at", "id")
    create_permission = "devices.add_site"

    def perform_delete(self, obj: Any) -> None:
        require_global(self.request.user, "devices.add_site", "delete")
        super().perform_delete(obj)

    @extend_schema(
        methods=["get"],
        responses=serializers.PlantClockSerializer,
        filters=False,
        operation_id="sites_replay_read",
    )
    @extend_schema(
        methods=["post"],
        request=serializers.ReplayRequestSerializer,
        responses=serializers.PlantClockSerializer,
        filters=False,
        operation_id="sites_replay_ask",
    )
    @action(detail=True, methods=["get", "post"], filterset_class=None, pagination_class=None)
    def replay(self, request: Request, pk: str) -> Response:
        """The replay's clock; POST asks for another pace, a jump to a row of the set, a pause or to go on."""
        site = self.get_object_for("view" if request.method == "GET" else "operate")
        if request.method == "POST":
            serializer = serializers.ReplayRequestSerializer(data=request.data)
            serializer.is_valid(raise_exception=True)
            wanted = plant_time.replay_want(actor=request.user, site=site, **serializer.validated_data)
            return Response(serializers.PlantClockSerializer(wanted).data)
        clock = plant_time.plant_clock(site)
        if clock is None:
            raise DomainError("no_plant_clock", "This site has no replay running.", status=404)
        return self.with_etag(request, serializers.PlantClockSerializer(clock).data)


class LocationViewSet(ExternalMixin, EntityViewSet):
    queryset = Location.objects.select_related("site", "parent")
    serializer_class = serializers.LocationSerializer
    filterset_class = filters.LocationFilter
    ordering_fields = ("path", "name", "created_at", "updated_at", "id")
    container_field = "site"

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.location_update(
            actor=self.request.user, location=obj, data=data, expected_version=expected_version
        )


class AssetViewSet(ExternalMixin, EntityViewSet):
    queryset = Asset.objects.select_related("location__site")
    serializer_class = serializers.AssetSerializer
    filterset_class = filters.AssetFilter
    ordering_fields = ("name", "code", "created_at", "updated_at", "id")
    container_field = "location__site"

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        if "location" in data:
            require(data["location"].site, self.request.user, "change")
        return super().perform_update(obj, data, expected_version)


class DeviceTypeViewSet(ExternalMixin, EntityViewSet):
    queryset = DeviceType.objects.all()
    serializer_class = serializers.DeviceTypeSerializer
    filterset_class = filters.DeviceTypeFilter
    ordering_fields = ("name", "created_at", "updated_at", "id")
    create_permission = "devices.add_site"


class DeviceViewSet(ExternalMixin, EntityViewSet):
    queryset = Device.objects.select_related(
        "site__plant_clock", "location", "asset__location", "device_type", "gateway"
    )
    serializer_class = serializers.DeviceSerializer
    filterset_class = filters.DeviceApiFilter
    ordering_fields = ("name", "code", "state", "created_at", "updated_at", "id")
    container_field = "site"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.device_register(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.device_update(actor=self.request.user, device=obj, data=data, expected_version=expected_version)

    def _answer(self, device: Device) -> Response:
        return Response(self.get_serializer(device).data, headers={"ETag": device.etag})

    @extend_schema(request=None, responses=serializers.DeviceSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def activate(self, request: Request, pk: str) -> Response:
        """Say that a device that cannot enrol by itself (a PLC, a sensor) is in service."""
        device = self.get_object_for("change")
        return self._answer(services.device_set_state(actor=request.user, device=device, state="active"))

    @extend_schema(request=None, responses=serializers.DeviceSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def retire(self, request: Request, pk: str) -> Response:
        """Take a device out of service; its credentials end."""
        device = self.get_object_for("change")
        return self._answer(services.device_set_state(actor=request.user, device=device, state="retired"))

    @extend_schema(request=serializers.WantedSerializer, responses=serializers.DeviceSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def want(self, request: Request, pk: str) -> Response:
        """Replace what is wanted of the device; its ``wanted_version`` rises."""
        device = self.get_object_for("operate")
        expected = self.expected_version(request, device)
        serializer = serializers.WantedSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self._answer(
            services.device_want(
                actor=request.user, device=device, wanted=serializer.validated_data["wanted"], expected_version=expected
            )
        )

    @extend_schema(
        request=serializers.MachineStopAskSerializer, responses={201: serializers.MachineStopSerializer}, filters=False
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def stop(self, request: Request, pk: str) -> Response:
        """Stop the models on this gateway; the fallback says what goes on."""
        device = self.get_object_for("stop")
        serializer = serializers.MachineStopAskSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        stop = services.machine_stop(actor=request.user, device=device, **serializer.validated_data)
        return Response(serializers.MachineStopSerializer(stop).data, status=201)

    @extend_schema(request=None, responses=serializers.MachineStopSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def release(self, request: Request, pk: str) -> Response:
        """Lift the stop; one that was pressed on the gateway can be lifted there only."""
        device = self.get_object_for("stop")
        stop = services.machine_release(actor=request.user, device=device)
        return Response(serializers.MachineStopSerializer(stop).data)

    @extend_schema(
        request=None,
        responses={200: serializers.MachineStopSerializer},
        filters=False,
        operation_id="devices_open_stop",
    )
    @action(detail=True, methods=["get"], url_path="open-stop", filterset_class=None, pagination_class=None)
    def open_stop(self, request: Request, pk: str) -> Response:
        """The stop in force, 404 when there is none."""
        stop = open_stop(self.get_object_for("view"))
        if stop is None:
            raise DomainError("not_stopped", "This machine is not stopped.", status=404)
        return self.with_etag(request, serializers.MachineStopSerializer(stop).data)

    @extend_schema(
        responses=serializers.SignalsSerializer,
        filters=False,
        parameters=[
            OpenApiParameter(
                "rows", OpenApiTypes.INT, description="How many of the newest rows come along, 0 to 400 (60)."
            )
        ],
    )
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def signals(self, request: Request, pk: str) -> Response:
        """Newest values with unit, range and age in plant time, and the newest rows."""
        raw = request.query_params.get("rows", "60")
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 3 and int(raw) <= 400):
            raise ValidationError({"rows": "A whole number from 0 to 400."})
        device = self.get_object_for("view")
        return self.with_etag(request, live.signals_json(live.live_view(device), int(raw)))

    @extend_schema(
        request=serializers.TtlSerializer, responses={201: serializers.NewEnrolmentSerializer}, filters=False
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def enrolments(self, request: Request, pk: str) -> Response:
        """A claim code for this device, shown this once."""
        device = self.get_object_for("enrol")
        serializer = serializers.TtlSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return enrolment_answer(request, device, serializer.validated_data["ttl_s"])


def enrolment_answer(request: Request, device: Device, ttl_s: int) -> Response:
    enrolment, code = services.enrolment_create(actor=request.user, device=device, ttl=timedelta(seconds=ttl_s))
    body = serializers.EnrolmentSerializer(enrolment).data | {"claim_code": code}
    return Response(body, status=201, headers={"Location": f"/api/v1/enrolments/{enrolment.pk}"})


class ChannelViewSet(ExternalMixin, EntityViewSet):
    queryset = Channel.objects.select_related("device__site")
    serializer_class = serializers.ChannelSerializer
    filterset_class = filters.ChannelFilter
    ordering_fields = ("code", "created_at", "updated_at", "id")
    container_field = "device__site"

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        if "device" in data:
            require(data["device"].site, self.request.user, "change")
        return super().perform_update(obj, data, expected_version)


class EnrolmentViewSet(DestroyMixin, BaseViewSet):
    queryset = Enrolment.objects.select_related("device__site")
    serializer_class = serializers.EnrolmentSerializer
    filterset_class = filters.EnrolmentFilter
    default_ordering = ("-created_at",)

    @extend_schema(request=serializers.EnrolmentCreateSerializer, responses={201: serializers.NewEnrolmentSerializer})
    def create(self, request: Request) -> Response:
        serializer = serializers.EnrolmentCreateSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        device = serializer.validated_data["device"]
        require(device, request.user, "enrol")
        return enrolment_answer(request, device, serializer.validated_data["ttl_s"])

    def perform_delete(self, obj: Any) -> None:
        if obj.used_at is not None:
            raise DomainError("claim_used", "This code has been used; it is part of the record. Revoke the credential.")
        entity_delete(actor=self.request.user, obj=obj, action="enrolment.withdraw")


class CredentialViewSet(ReadViewSet):
    queryset = Credential.objects.select_related("device__site")
    serializer_class = serializers.CredentialSerializer
    filterset_class = filters.CredentialFilter
    default_ordering = ("-created_at",)

    @extend_schema(request=None, responses=serializers.CredentialSerializer, filters=False)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def revoke(self, request: Request, pk: str) -> Response:
        """The gateway cannot sign in any more."""
        credential = self.get_object_for("revoke")
        credential = services.credential_revoke(actor=request.user, credential=credential)
        return Response(self.get_serializer(credential).data, headers={"ETag": credential.etag})
