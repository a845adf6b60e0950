"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.forms import DateTimeInput, HiddenInput
from django.utils.translation import gettext_lazy as _

from marketplace import models


def _of(field: str) -> Any:
    """Rows of one parent, by its id. The page carries it in the address; it is no box to type in."""
    return filters.UUIDFilter(field_name=field, widget=HiddenInput)


def _moment() -> DateTimeInput:
    return DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class ServiceFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Name contains"))
    use_case = _of("use_case_id")

    class Meta:
        model = models.Service
        fields = ["q", "state", "use_case", "code"]


class PlanFilter(filters.FilterSet):
    service = _of("service_id")

    class Meta:
        model = models.Plan
        fields = ["service", "currency"]


class SubscriptionFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="customer", lookup_expr="icontains", label=_("Customer contains"))
    service = _of("service_id")

    class Meta:
        model = models.Subscription
        fields = ["q", "service", "state", "internal"]


class ClientKeyFilter(filters.FilterSet):
    subscription = _of("subscription_id")

    class Meta:
        model = models.ClientKey
        fields = ["subscription"]


class UsageEventFilter(filters.FilterSet):
    subscription = _of("subscription_id")
    time_from = filters.IsoDateTimeFilter(field_name="time", lookup_expr="gte", label=_("From (UTC)"), widget=_moment())
    time_to = filters.IsoDateTimeFilter(field_name="time", lookup_expr="lt", label=_("Before (UTC)"), widget=_moment())

    class Meta:
        model = models.UsageEvent
        fields = ["subscription", "time_from", "time_to"]


class InvoiceFilter(filters.FilterSet):
    subscription = _of("subscription_id")
    period = filters.CharFilter(field_name="period", label=_("Month (2026-05)"))

    class Meta:
        model = models.Invoice
        fields = ["subscription", "period", "state"]
