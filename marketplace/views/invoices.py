"""Invoices: list, page with lines and the check, print, CSV, what the running month would be."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from marketplace import money, services
from marketplace.choices import InvoiceState
from marketplace.filters import InvoiceFilter
from marketplace.forms import MonthForm
from marketplace.models import Invoice, Service, Subscription
from marketplace.tables import InvoiceTable
from portal.core.access import get_permitted, require
from portal.core.clock import day_text, moment_text, month_text, wall_now
from portal.core.exports import csv_response
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, Page


def _rows() -> Any:
    return Invoice.objects.select_related("subscription__service", "subscription__plan", "subscription__owner")


class InvoicesPage(ListPage):
    title = "Invoices"
    model = Invoice
    table_class = InvoiceTable
    filterset_class = InvoiceFilter
    export_name = "invoices"

    @property
    def empty(self) -> Any:  # type: ignore[override]
        return {
            "title": _("No invoice yet"),
            "text": _(
                "An invoice is drawn up when a month is over. What this month costs so far stands on the usage page."
            ),
            "icon": "invoice",
            "phase": 5,
            "second_url": reverse("marketplace:usage"),
            "second_label": _("Usage"),
        }

    def get_queryset(self) -> Any:
        return _rows()


def _seller() -> dict[str, Any]:
    """Who invoices, from the settings: an invoice without it is not one."""
    return {"name": settings.SELLER_NAME, "address": settings.SELLER_ADDRESS, "tax_id": settings.SELLER_TAX_ID}


class InvoicePage(DetailPage):
    model = Invoice
    template = "marketplace/invoice.html"

    def get_queryset(self) -> Any:
        sells = Service.objects.permitted(self.request.user, "change").filter(pk=OuterRef("subscription__service"))
        return _rows().prefetch_related("lines").annotate(may_change=Exists(sells))

    def facts(self, obj: Invoice) -> list[tuple[str, Any]]:
        seller = _seller()
        lines = [seller["name"], *seller["address"], seller["tax_id"]]
        return [
            (_("Seller"), format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines if line))),
            (_("Month (UTC)"), obj.period),
            (_("Customer"), obj.subscription.customer),
            (_("Service"), obj.subscription.service),
            (_("Plan"), obj.subscription.plan),
            (_("Issued"), f"{moment_text(obj.issued_at)} UTC" if obj.issued_at else ""),
            (_("Paid"), day_text(obj.paid_at) if obj.paid_at else ""),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        def url(name: str) -> str:
            return reverse(f"marketplace:{name}", args=[obj.pk])

        rows: list[dict[str, Any]] = [
            {"label": _("Print"), "url": url("invoice-print"), "icon": "print"},
            {"label": "CSV", "url": url("invoice-csv"), "icon": "csv"},
        ]
        if obj.state != InvoiceState.PAID and obj.may_change:
            draft = obj.state == InvoiceState.DRAFT
            label, name = (_("Issue"), "invoice-issue") if draft else (_("Mark as paid"), "invoice-pay")
            rows.append({"label": label, "url": url(name), "method": "post", "primary": True})
        return rows

    def more(self, obj: Invoice) -> dict[str, Any]:
        check = services.invoice_reconcile(obj)
        return {
            "breadcrumbs": [(_("Invoices"), reverse("marketplace:invoices")), (obj.number, "")],
            "state": {
                "state": "pending" if obj.state == InvoiceState.ISSUED else obj.state,
                "label": obj.get_state_display(),
            },
            "lines": list(obj.lines.all()),
            "check": check,
            "currency": obj.currency,
            "total_minor": obj.total_minor,
        }


class InvoicePrint(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        obj = get_permitted(_rows().prefetch_related("lines"), request.user, pk)
        context = {
            "title": obj.number,
            "object": obj,
            "lines": list(obj.lines.all()),
            "currency": obj.currency,
            "total_minor": obj.total_minor,
            "check": services.invoice_reconcile(obj),
            "printed_at": wall_now(),
            "seller": _seller(),
        }
        return render(request, "marketplace/invoice_print.html", context)


class InvoiceCsv(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        obj = get_permitted(_rows(), request.user, pk)
        header = [
            "invoice",
            "position",
            "kind",
            "month",
            "description",
            "units",
            "price_per_1000",
            "amount",
            "currency",
        ]
        rows = [
            [
                obj.number,
                line.position,
                line.kind,
                line.period,
                line.description,
                line.units,
                money.per_thousand(line.unit_price_micro, obj.currency).split(" ")[0] if line.kind != "fee" else "",
                money.amount(line.amount_minor, obj.currency),
                obj.currency,
            ]
            for line in obj.lines.all()
        ]
        return csv_response(obj.number, header, rows)  # type: ignore[return-value]


class InvoiceIssue(ActionPage):
    model = Invoice
    success = "Issued."

    def act(self, obj: Any) -> None:
        services.invoice_issue(actor=self.request.user, subscription=obj.subscription, period=obj.period)


class InvoicePay(ActionPage):
    model = Invoice
    success = "Noted as paid."

    def act(self, obj: Any) -> None:
        services.invoice_pay(actor=self.request.user, invoice=obj)


class InvoiceDraft(FormPage):
    title = "Draw up an invoice"
    form_class = MonthForm
    submit_label = "Draw up"

    def load(self, **kwargs: Any) -> Any:
        rows = Subscription.objects.select_related("service", "plan")
        found = get_permitted(rows, self.request.user, kwargs["pk"])
        require(found.service, self.request.user, "change")
        return found

    def save(self, obj: Any, form: Any) -> str:
        made = services.invoice_draft(actor=self.request.user, subscription=obj, period=form.cleaned_data["period"])
        return made.get_absolute_url()

    def more(self, obj: Any) -> dict[str, Any]:
        crumbs = [
            (_("Usage"), reverse("marketplace:usage")),
            (str(obj), obj.get_absolute_url()),
            (str(_(self.title)), ""),
        ]
        return {"breadcrumbs": crumbs, "version": None}


class PreviewPage(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        obj = get_permitted(Subscription.objects.select_related("service", "plan", "owner"), request.user, pk)
        preview = services.invoice_preview(obj)
        return self.render(
            "marketplace/preview.html",
            {
                "title": _("Invoice so far, %(month)s") % {"month": month_text(preview.period.start)},
                "breadcrumbs": [
                    (_("Usage"), reverse("marketplace:usage")),
                    (str(obj), obj.get_absolute_url()),
                    (_("Invoice so far"), ""),
                ],
                "object": obj,
                "lines": preview.lines,
                "check": preview.check,
                "currency": preview.invoice.currency,
                "total_minor": preview.invoice.total,
            },
        )
