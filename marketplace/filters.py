"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_filters as filters
from django.utils.translation import gettext_lazy as _

from marketplace import models
from usecases.models import UseCase


def _seen(model: Any, **extra: Any) -> Any:
    """A choice among the related rows this person may see."""

    def rows(request: Any) -> Any:
        return model.objects.permitted(request.user) if request is not None else model.objects.none()

    choose: Callable[[Any], Any] = rows
    return filters.ModelChoiceFilter(queryset=choose, **extra)


class ServiceFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Name contains"))
    use_case = _seen(UseCase, label=_("Use case"))

    class Meta:
        model = models.Service
        fields = ["q", "state", "use_case", "code"]


class PlanFilter(filters.FilterSet):
    service = _seen(models.Service)

    class Meta:
        model = models.Plan
        fields = ["service", "currency"]


class SubscriptionFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="customer", lookup_expr="icontains", label=_("Customer contains"))
    service = _seen(models.Service)

    class Meta:
        model = models.Subscription
        fields = ["q", "service", "state", "internal"]


class ClientKeyFilter(filters.FilterSet):
    subscription = _seen(models.Subscription)

    class Meta:
        model = models.ClientKey
        fields = ["subscription"]


class UsageEventFilter(filters.FilterSet):
    subscription = _seen(models.Subscription, label=_("Subscription"))
    time_from = filters.IsoDateTimeFilter(field_name="time", lookup_expr="gte", label=_("From (UTC)"))
    time_to = filters.IsoDateTimeFilter(field_name="time", lookup_expr="lt", label=_("Before (UTC)"))

    class Meta:
        model = models.UsageEvent
        fields = ["subscription", "time_from", "time_to"]


class InvoiceFilter(filters.FilterSet):
    subscription = _seen(models.Subscription, label=_("Subscription"))
    period = filters.CharFilter(field_name="period", label=_("Month (2026-05)"))

    class Meta:
        model = models.Invoice
        fields = ["subscription", "period", "state"]
