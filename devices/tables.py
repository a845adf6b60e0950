"""Tables of the pages and of their exports."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from devices.choices import Connectivity
from devices.models import Device, DeviceType
from devices.selectors import NEXT_STEPS
from portal.core.clock import rfc3339

STATUS = '{% include "components/status.html" with state=value label=label only %}'
TIME = '{% include "components/time.html" with at=value clock="" exact=False only %}'


class StatusColumn(tables.TemplateColumn):
    """Icon, word and colour; the export has the word."""

    def __init__(self, source: Any = None, **kwargs: Any) -> None:
        super().__init__(template_code=STATUS, **kwargs)
        self._choices = dict(source.choices) if source is not None else {}

    def render(self, record: Any, table: Any, value: Any, bound_column: Any, **kwargs: Any) -> Any:
        self.extra_context = {"label": self._choices.get(value, value)}
        return super().render(record, table, value, bound_column, **kwargs)

    def value(self, **kwargs: Any) -> Any:
        return str(self._choices.get(kwargs["value"], kwargs["value"]))


class TimeColumn(tables.TemplateColumn):
    """An age with the exact time on hover; the export has the exact time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(template_code=TIME, **kwargs)

    def value(self, **kwargs: Any) -> Any:
        return rfc3339(kwargs["value"]) if kwargs["value"] else ""


class DeviceTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Device"))
    kind = tables.Column(accessor="device_type__kind", verbose_name=_("Kind"), order_by=("device_type__kind", "name"))
    site = tables.Column(accessor="site__name", verbose_name=_("Site"))
    location = tables.Column(accessor="location__path", verbose_name=_("Place"), default="")
    state = tables.Column(verbose_name=_("State"))
    connectivity = StatusColumn(Connectivity, verbose_name=_("Connection"))
    last_seen_at = TimeColumn(verbose_name=_("Last seen"))

    class Meta:
        model = Device
        fields = ("name", "code", "kind", "site", "location", "state", "connectivity", "last_seen_at")
        order_by = "name"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def render_kind(self, record: Any) -> str:
        return record.device_type.get_kind_display()

    def value_kind(self, value: Any) -> Any:
        return value


class DeviceTypeTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Device type"))
    memory_kb = tables.Column(verbose_name=_("Model memory (KiB)"), attrs={"td": {"class": "pg-num"}})
    latency_budget_us = tables.Column(verbose_name=_("Latency budget (µs)"), attrs={"td": {"class": "pg-num"}})
    devices_count = tables.Column(verbose_name=_("Devices"), attrs={"td": {"class": "pg-num"}})

    class Meta:
        model = DeviceType
        fields = (
            "name",
            "manufacturer",
            "kind",
            "protocol",
            "standard",
            "memory_kb",
            "latency_budget_us",
            "devices_count",
        )
        order_by = "name"


class OnboardingTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Device"))
    kind = tables.Column(accessor="device_type__get_kind_display", verbose_name=_("Kind"), orderable=False)
    site = tables.Column(accessor="site__name", verbose_name=_("Site"))
    location = tables.Column(accessor="location__path", verbose_name=_("Place"), default="")
    step = tables.Column(verbose_name=_("What is missing"), empty_values=(), orderable=False)
    action = tables.TemplateColumn(
        # By code, not by template_name: that would run the shell's context processors for every row.
        '{% include "devices/_onboarding_action.html" %}',
        verbose_name="",
        orderable=False,
        exclude_from_export=True,
    )

    class Meta:
        model = Device
        fields = ("name", "code", "kind", "site", "location", "step", "action")
        order_by = "name"

    def render_step(self, record: Any) -> str:
        return str(NEXT_STEPS[record.next_key])
