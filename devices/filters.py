"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from devices import choices
from devices.models import Asset, Channel, Credential, Device, DeviceType, Enrolment, Location, Site
from devices.selectors import sites_for_switcher, with_connectivity


def permitted_choices(model: Any) -> Any:
    """Related rows that the asking person may see."""

    def queryset(request: Any) -> QuerySet[Any]:
        user = getattr(request, "user", None)
        return model.objects.permitted(user) if user is not None else model.objects.none()

    return queryset


def contains(*fields: str) -> Any:
    def search(self: Any, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        wanted = Q()
        for field in fields:
            wanted |= Q(**{f"{field}__icontains": value})
        return queryset.filter(wanted)

    return search


class BySite(django_filters.FilterSet):
    """The site's choices of a page come from what was read for the page anyway."""

    @property
    def form(self) -> Any:
        form = super().form
        field = form.fields.get("site")
        if field is not None and isinstance(self.request, HttpRequest):
            sites = sites_for_switcher(self.request.user)
            field.widget.choices = [("", _("All sites")), *((site["id"], site["name"]) for site in sites)]
        return form


class SiteFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or code"), max_length=120)
    kind = django_filters.ChoiceFilter(choices=choices.SiteKind.choices, label=_("Kind"), empty_label=_("All"))
    code = django_filters.CharFilter(label=_("Code"), max_length=39)
    search = contains("name", "code")

    class Meta:
        model = Site
        fields = ("q", "kind", "code")


class LocationFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or path"), max_length=120)
    site = django_filters.ModelChoiceFilter(queryset=permitted_choices(Site), label=_("Site"))
    level = django_filters.ChoiceFilter(choices=choices.LocationLevel.choices, label=_("Level"), empty_label=_("All"))
    parent = django_filters.ModelChoiceFilter(queryset=permitted_choices(Location), label=_("Inside"))
    search = contains("name", "path")

    class Meta:
        model = Location
        fields = ("q", "site", "level", "parent")


class AssetFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name, code or serial number"), max_length=120)
    site = django_filters.ModelChoiceFilter(
        field_name="location__site", queryset=permitted_choices(Site), label=_("Site")
    )
    location = django_filters.ModelChoiceFilter(queryset=permitted_choices(Location), label=_("Location"))
    search = contains("name", "code", "serial")

    class Meta:
        model = Asset
        fields = ("q", "site", "location")


class DeviceTypeFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or manufacturer"), max_length=120)
    kind = django_filters.ChoiceFilter(choices=choices.DeviceKind.choices, label=_("Kind"), empty_label=_("All"))
    protocol = django_filters.ChoiceFilter(choices=choices.Protocol.choices, label=_("Protocol"), empty_label=_("All"))
    search = contains("name", "manufacturer")

    class Meta:
        model = DeviceType
        fields = ("q", "kind", "protocol")


class DeviceFilter(BySite):
    q = django_filters.CharFilter(method="search", label=_("Name, code or serial number"), max_length=120)
    site = django_filters.ModelChoiceFilter(queryset=permitted_choices(Site), label=_("Site"))
    kind = django_filters.ChoiceFilter(
        field_name="device_type__kind", choices=choices.DeviceKind.choices, label=_("Kind")
    )
    state = django_filters.ChoiceFilter(choices=choices.DeviceState.choices, label=_("State"), empty_label=_("All"))
    connectivity = django_filters.ChoiceFilter(
        method="by_connectivity", choices=choices.Connectivity.choices, label=_("Connection")
    )
    search = contains("name", "code", "serial")

    class Meta:
        model = Device
        fields = ("q", "site", "kind", "state", "connectivity")

    def by_connectivity(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        if "connectivity" not in queryset.query.annotations:
            queryset = with_connectivity(queryset)
        return queryset.filter(connectivity=value)


class DeviceApiFilter(DeviceFilter):
    """The page's filters and the ones a program needs."""

    location = django_filters.ModelChoiceFilter(queryset=permitted_choices(Location))
    asset = django_filters.ModelChoiceFilter(queryset=permitted_choices(Asset))
    gateway = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device))
    device_type = django_filters.ModelChoiceFilter(queryset=permitted_choices(DeviceType))
    code = django_filters.CharFilter(max_length=39)


class ChannelFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or code"), max_length=120)
    device = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device), label=_("Device"))
    site = django_filters.ModelChoiceFilter(
        field_name="device__site", queryset=permitted_choices(Site), label=_("Site")
    )
    role = django_filters.ChoiceFilter(choices=choices.ChannelRole.choices, label=_("Role"), empty_label=_("All"))
    code = django_filters.CharFilter(label=_("Code"), max_length=40)
    search = contains("name", "code")

    class Meta:
        model = Channel
        fields = ("q", "device", "site", "role", "code")


class EnrolmentFilter(django_filters.FilterSet):
    device = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device), label=_("Device"))
    used = django_filters.BooleanFilter(field_name="used_at", lookup_expr="isnull", exclude=True, label=_("Used"))

    class Meta:
        model = Enrolment
        fields = ("device", "used")


class CredentialFilter(django_filters.FilterSet):
    device = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device), label=_("Device"))
    state = django_filters.ChoiceFilter(choices=choices.CredentialState.choices, label=_("State"), empty_label=_("All"))

    class Meta:
        model = Credential
        fields = ("device", "state")
