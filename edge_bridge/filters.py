"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

import django_filters
from django.utils.translation import gettext_lazy as _

from devices.choices import Connectivity
from devices.filters import DeviceFilter, contains, permitted_choices
from devices.models import Device, Site
from edge_bridge import choices
from edge_bridge.models import Connection, Installation, Rollout, Wave, WaveTarget
from governance.models import Model, ModelVersion, Retraining
from usecases.models import Adoption


class RolloutFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Model, site or use case"), max_length=120)
    state = django_filters.ChoiceFilter(choices=choices.RolloutState.choices, label=_("State"))
    model = django_filters.ModelChoiceFilter(
        field_name="version_of_model__model", queryset=permitted_choices(Model), label=_("Model")
    )
    search = contains("version_of_model__model__name", "adoption__site__name", "adoption__use_case__title")

    class Meta:
        model = Rollout
        fields = ("q", "state", "model")


class RolloutApiFilter(RolloutFilter):
    """The page's filters and the ones a program needs."""

    site = django_filters.ModelChoiceFilter(field_name="adoption__site", queryset=permitted_choices(Site))
    adoption = django_filters.ModelChoiceFilter(queryset=permitted_choices(Adoption))
    version_of_model = django_filters.ModelChoiceFilter(queryset=permitted_choices(ModelVersion))
    retraining = django_filters.ModelChoiceFilter(queryset=permitted_choices(Retraining))


class InstallationFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Model or gateway"), max_length=120)
    state = django_filters.ChoiceFilter(choices=choices.InstallationState.choices, label=_("State"))
    model = django_filters.ModelChoiceFilter(
        field_name="version_of_model__model", queryset=permitted_choices(Model), label=_("Model")
    )
    search = contains("version_of_model__model__name", "device__name", "device__code")

    class Meta:
        model = Installation
        fields = ("q", "state", "model")


class InstallationApiFilter(InstallationFilter):
    site = django_filters.ModelChoiceFilter(field_name="device__site", queryset=permitted_choices(Site))
    device = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device))
    adoption = django_filters.ModelChoiceFilter(queryset=permitted_choices(Adoption))
    rollout = django_filters.ModelChoiceFilter(queryset=permitted_choices(Rollout))
    version_of_model = django_filters.ModelChoiceFilter(queryset=permitted_choices(ModelVersion))


class WaveFilter(django_filters.FilterSet):
    rollout = django_filters.ModelChoiceFilter(queryset=permitted_choices(Rollout))
    state = django_filters.ChoiceFilter(choices=choices.WaveState.choices)

    class Meta:
        model = Wave
        fields = ("rollout", "state")


class WaveTargetFilter(django_filters.FilterSet):
    wave = django_filters.ModelChoiceFilter(queryset=permitted_choices(Wave))
    device = django_filters.ModelChoiceFilter(queryset=permitted_choices(Device))
    state = django_filters.ChoiceFilter(choices=choices.TargetState.choices)

    class Meta:
        model = WaveTarget
        fields = ("wave", "device", "state")


class ConnectionFilter(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=choices.ConnectionKind.choices, label=_("Kind"))
    ok = django_filters.BooleanFilter(label=_("Answers"))

    class Meta:
        model = Connection
        fields = ("kind", "ok")


class GatewayFilter(DeviceFilter):
    """A gateway is a device; ``kind`` is fixed."""

    kind = None
    connectivity = django_filters.ChoiceFilter(
        method="by_connectivity", choices=Connectivity.choices, label=_("Connection")
    )

    class Meta:
        model = Device
        fields = ("q", "site", "state", "connectivity")
