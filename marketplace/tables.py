"""Tables of the pages and of their exports."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from marketplace import money
from marketplace.choices import ServiceState
from marketplace.models import Invoice, Service, UsageEvent
from portal.core.clock import rfc3339

_STATE = '{% include "components/status.html" with state=record.state label=record.get_state_display soft=True only %}'
_INVOICE_STATE = (
    '{% if record.state == "issued" %}'
    + _STATE.replace("record.state ", '"pending" ')
    + "{% else %}"
    + _STATE
    + "{% endif %}"
)
_SERVICE_STATE = (
    '{% load i18n %}{% if record.state == "published" and record.on_watch %}{% translate "Published, watch" as word %}'
    '{% include "components/status.html" with state="watch" label=word soft=True only %}'
    "{% else %}" + _STATE + "{% endif %}"
)
_TIME = '{% include "components/time.html" with at=value clock="" exact=False only %}'
_NUM = {"td": {"class": "pg-num"}, "th": {"class": "pg-num"}}


class ServiceTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Service"))
    state = tables.TemplateColumn(_SERVICE_STATE, verbose_name=_("State"))
    use_case = tables.Column(verbose_name=_("Made of"), order_by=("use_case__title",))
    answers = tables.Column(accessor="model__unit", verbose_name=_("Answers"), orderable=False)
    fee = tables.Column(empty_values=(), verbose_name=_("Fee a month, from"), orderable=False, attrs=_NUM)
    rows = tables.Column(empty_values=(), verbose_name=_("1,000 rows, from"), orderable=False, attrs=_NUM)

    published_at = tables.TemplateColumn(_TIME, verbose_name=_("Published"), default="–")

    class Meta:
        model = Service
        fields = ("name", "state", "answers", "fee", "rows", "use_case", "published_at")
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def _cheapest(self, record: Service) -> Any:
        return min(record.plans.all(), key=lambda plan: plan.monthly_fee_minor, default=None)

    def render_answers(self, record: Service) -> str:
        return f"{record.model.target or record.model.name}{f' ({record.model.unit})' if record.model.unit else ''}"

    def render_fee(self, record: Service) -> str:
        plan = self._cheapest(record)
        return money.with_currency(plan.monthly_fee_minor, plan.currency) if plan else "–"

    def render_rows(self, record: Service) -> str:
        plan = self._cheapest(record)
        return money.per_thousand(plan.unit_price_micro, plan.currency) if plan else "–"

    def value_published_at(self, value: Any) -> str:
        return rfc3339(value) if value else ""

    def value_state(self, record: Any) -> str:
        watched = record.state == ServiceState.PUBLISHED and record.on_watch
        return f"{record.get_state_display()}{', watch' if watched else ''}"


class UsageEventTable(tables.Table):
    time = tables.TemplateColumn(_TIME, verbose_name=_("Call"))
    units = tables.Column(verbose_name=_("Rows scored"), attrs=_NUM)
    rows_refused = tables.Column(verbose_name=_("Rows refused"), attrs=_NUM)
    key = tables.Column(verbose_name=_("Key"), accessor="key__name", default="–", orderable=False)
    invoice = tables.Column(
        linkify=lambda record: record.invoice.get_absolute_url() if record.invoice_id else None,
        verbose_name=_("Invoice"),
        default=_("not invoiced yet"),
        orderable=False,
    )
    event_id = tables.Column(verbose_name=_("Event"), orderable=False, attrs={"td": {"class": "pg-hash"}})

    class Meta:
        model = UsageEvent
        fields = ("time", "units", "rows_refused", "key", "invoice", "event_id")
        order_by = "-time"

    def render_event_id(self, value: str) -> str:
        return f"{value[:12]}…"

    def value_event_id(self, value: str) -> str:
        return value

    def value_time(self, value: Any) -> str:
        return rfc3339(value)


class InvoiceTable(tables.Table):
    number = tables.Column(linkify=True, verbose_name=_("Invoice"))
    state = tables.TemplateColumn(_INVOICE_STATE, verbose_name=_("State"))
    customer = tables.Column(accessor="subscription__customer", verbose_name=_("Customer"))
    service = tables.Column(accessor="subscription__service__name", verbose_name=_("Service"))
    issued_at = tables.TemplateColumn(_TIME, verbose_name=_("Issued"), default="–")
    total_minor = tables.Column(verbose_name=_("Total"), attrs=_NUM)

    class Meta:
        model = Invoice
        fields = ("number", "period", "state", "customer", "service", "total_minor", "issued_at")
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def render_total_minor(self, record: Invoice) -> str:
        return money.with_currency(record.total_minor, record.currency)

    def value_total_minor(self, record: Invoice) -> str:
        return money.amount(record.total_minor, record.currency)

    def value_issued_at(self, value: Any) -> str:
        return rfc3339(value) if value else ""

    def value_state(self, record: Invoice) -> str:
        return str(record.get_state_display())
