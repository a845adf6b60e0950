"""The peer: a list view as the framework's tutorial writes it, over the same model, fields and rows.

ModelSerializer, page numbers of 100, the framework's own JSON renderer. It looks the token up as we do, and
needs no join, for relations are written as keys; it filters nothing by permission, keeps no rate limit, and has no ETag, which is in its
favour.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import generics, pagination, permissions, renderers, serializers

from devices.api.serializers import DeviceSerializer
from devices.models import Device
from devices.selectors import device_connectivity
from portal.core.api.authentication import BearerAuthentication

OWN_FIELDS = [name for name in DeviceSerializer.Meta.fields if name in {f.name for f in Device._meta.get_fields()}]


class PlainSerializer(serializers.ModelSerializer[Device]):
    connectivity = serializers.SerializerMethodField()

    class Meta:
        model = Device
        fields: ClassVar[list[str]] = [*OWN_FIELDS, "connectivity"]

    def get_connectivity(self, device: Device) -> str:
        return device_connectivity(device).value


class Hundred(pagination.PageNumberPagination):
    page_size = 100


class PlainDevices(generics.ListAPIView[Device]):
    queryset = Device.objects.order_by("id")
    serializer_class = PlainSerializer
    pagination_class = Hundred
    renderer_classes = (renderers.JSONRenderer,)
    authentication_classes = (BearerAuthentication,)
    permission_classes = (permissions.IsAuthenticated,)
    throttle_classes: Any = ()
    filter_backends: Any = ()
