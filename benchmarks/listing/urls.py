"""The portal's addresses and the peer's."""

from django.urls import path

from benchmarks.listing.plain import PlainDevices
from portal.urls import urlpatterns as portal_addresses

urlpatterns = [path("plain/devices", PlainDevices.as_view()), *portal_addresses]
