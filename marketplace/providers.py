"""Facts of gate 5: the package, the separation of tenants, the metering. A draft with an internal test is enough to measure them."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from marketplace.choices import ServiceState
from marketplace.models import Invoice, Service, Subscription, UsageEvent
from marketplace.selectors import crossings
from marketplace.services.invoices import invoice_preview, invoice_reconcile
from usecases.choices import Comparator
from usecases.evidence import CriterionSpec, Measurement, Subject, register


def _service(subject: Subject) -> Service | None:
    """The use case's newest service that is not retired; a published one before a draft."""
    rows = Service.objects.filter(use_case=subject.use_case).exclude(state=ServiceState.RETIRED)
    return rows.order_by("-state", "-created_at").first()


def _no_service() -> Measurement:
    return Measurement.missing("No service is made of this use case yet.", reverse("marketplace:catalogue"))


def packaged(subject: Subject) -> Measurement:
    """True when the service has a document with its inputs, a service level and a plan with a price."""
    service = _service(subject)
    if service is None:
        return _no_service()
    inputs = service.openapi.get("components", {}).get("schemas", {}).get("Row", {}).get("properties", {})
    plans = service.plans.count()
    lacking = [
        word
        for word, there in (
            ("an OpenAPI document", inputs),
            ("a service level", service.sla_text.strip()),
            ("a price", plans),
        )
        if not there
    ]
    text = (
        f"{service} lacks {' and '.join(lacking)}."
        if lacking
        else f"{service}: OpenAPI document with {len(inputs)} inputs, service level, {plans} plan{'s' if plans > 1 else ''}."
    )
    return Measurement.of(not lacking, text, measured_at=subject.now, link=service.get_absolute_url())


def isolated(subject: Subject) -> Measurement:
    """How many records reach from one subscription into another; zero is the aim."""
    service = _service(subject)
    if service is None:
        return _no_service()
    subscriptions = Subscription.objects.filter(service__use_case=subject.use_case).count()
    if not subscriptions:
        return Measurement.missing(
            "Nobody has subscribed: an internal test subscription is enough to check it.", service.get_absolute_url()
        )
    found = crossings(subject.use_case)
    total = sum(found.values())
    worst = ", ".join(f"{count} {what}" for what, count in found.items() if count)
    text = (
        worst
        or f"{subscriptions} subscription{'s' if subscriptions > 1 else ''} checked: nothing reaches from one into another."
    )
    return Measurement.of(total, text, measured_at=subject.now, link=service.get_absolute_url(), counts=found)


def reconciled(subject: Subject) -> Measurement:
    """Whether the newest invoice, or where there is none the running month, adds up to its usage events line by line."""
    service = _service(subject)
    if service is None:
        return _no_service()
    newest = UsageEvent.objects.filter(subscription__service__use_case=subject.use_case).order_by("-time").first()
    if newest is None:
        return Measurement.missing("No call has been metered yet.", service.get_absolute_url())
    invoice = (
        Invoice.objects.filter(subscription__service__use_case=subject.use_case)
        .select_related("subscription__plan", "subscription__service")
        .order_by("-period", "-created_at")
        .first()
    )
    if invoice is not None:
        check, what, link = invoice_reconcile(invoice), f"Invoice {invoice}", invoice.get_absolute_url()
    else:
        subscription = Subscription.objects.select_related("plan", "service").get(pk=newest.subscription_id)
        check, what = invoice_preview(subscription, now=subject.now).check, f"The month so far of {subscription}"
        link = reverse("marketplace:preview", args=[subscription.pk])
    text = (
        f"{what}: {check.events} calls with {check.units:,} rows stand on {len(check.lines)} lines, to the last row."
        if check.holds
        else f"{what}: {len(check.differences)} things do not add up ({check.differences[0].what})."
    )
    return Measurement.of(check.holds, text, measured_at=subject.now, link=link, events=check.events, units=check.units)


def descriptors(subject: Subject) -> Measurement:
    return Measurement.missing("Data-space offers are not set up here yet.")


def _specs() -> list[CriterionSpec]:
    yes: dict[str, Any] = {"unit": "", "comparator": Comparator.TRUE, "threshold": True}
    return [
        CriterionSpec("monetise.packaged", 5, "Service packaged", "Has the service an OpenAPI document, a service level and a price?",
                      provider=packaged, owner="CoE lead", order=10, **yes),
        CriterionSpec("monetise.isolated", 5, "Tenants isolated", "Does any record reach from one customer into another?",
                      "records", Comparator.AT_MOST, 0, isolated, "CoE lead", order=20),
        CriterionSpec("monetise.reconciled", 5, "Metering reconciles", "Does the invoice add up to the metered calls, line by line?",
                      provider=reconciled, owner="CoE lead", order=30, **yes),
        CriterionSpec("monetise.dataspace", 5, "Data-space descriptors conform", "Do the offers conform to the data space?",
                      provider=descriptors, owner="CoE lead", required=False, order=40, **yes),
    ]  # fmt: skip


def register_all() -> None:
    register(*_specs())
