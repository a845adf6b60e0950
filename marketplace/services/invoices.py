"""Invoices: drawn up a calendar month (UTC) at a time, reconciled line by line, issued by a person, paid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from marketplace.choices import InvoiceState, LineKind
from marketplace.domain import billing
from marketplace.models import Allocation, Invoice, InvoiceLine, Subscription, UsageEvent
from marketplace.money import MICRO, unit_price
from marketplace.terms import METER, price_plan
from portal.core import audit
from portal.core.clock import day_text, month_text, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state, versioned_update
from usecases.services.gates import gates_remeasure

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LineCheck:
    """One line beside the events that stand on it."""

    key: str
    description: str
    units: int
    event_units: int
    events: int
    amount_minor: int


@dataclass(frozen=True)
class Check:
    """An invoice taken apart again. ``waiting``: events of its month that came later and go on the next invoice."""

    events: int
    units: int
    total_minor: int
    currency: str
    lines: tuple[LineCheck, ...]
    differences: tuple[billing.Difference, ...]
    waiting: int = 0

    @property
    def holds(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Preview:
    """What the running month would be invoiced at if it ended now; nothing is written."""

    period: billing.Period
    invoice: billing.Invoice
    lines: tuple[InvoiceLine, ...]
    check: Check


def period_of(text: str) -> billing.Period:
    """ "2026-05" as a month in UTC; InvalidInput otherwise."""
    try:
        year, month = int(text[:4]), int(text[5:7])
        if len(text) != 7 or text[4] != "-" or not text[:4].isdigit() or not text[5:].isdigit():
            raise ValueError(text)
        return billing.Period.month_of(datetime(year, month, 1, tzinfo=UTC))
    except ValueError as error:
        raise InvalidInput({"period": "A month such as 2026-05."}) from error


def _terms(subscription: Subscription, period: billing.Period) -> billing.PricePlan:
    """The plan as it was agreed; no fee for a month in which the subscription had ended before."""
    active = subscription.started_at < period.end and (
        subscription.ended_at is None or subscription.ended_at > period.start
    )
    return price_plan(subscription.plan, with_fee=active)


def _domain_events(rows: QuerySet[UsageEvent]) -> Iterator[billing.UsageEvent]:
    for source, event_id, units, time in rows.values_list("source", "event_id", "units", "time").iterator(5000):
        yield billing.UsageEvent(source, event_id, METER, units, time)


def _already_billed(subscription: Subscription, besides: Invoice | None) -> dict[tuple[str, billing.Period], int]:
    parts = Allocation.objects.filter(line__invoice__subscription=subscription)
    if besides is not None:
        parts = parts.exclude(line__invoice=besides)
    sums = parts.values("line__period").annotate(units=Sum("units")).order_by("line__period")
    return {(METER, period_of(row["line__period"])): row["units"] for row in sums}


def _line(line: billing.InvoiceLine, position: int, plan_name: str) -> InvoiceLine:
    month = month_text(line.period.start)
    text = {
        billing.LineKind.FEE: f"Monthly fee, plan {plan_name}, {month}",
        billing.LineKind.INCLUDED: f"Rows included in the plan, {month}",
        billing.LineKind.USAGE: f"Rows scored, {month}",
        billing.LineKind.ADJUSTMENT: f"Rows of {month}, metered after its invoice",
    }[line.kind]
    return InvoiceLine(
        position=position,
        key=line.key,
        kind=LineKind(line.kind),
        meter=line.meter,
        period=line.period.key,
        description=text,
        units=line.quantity,
        unit_price_micro=int(line.unit_price * MICRO),
        amount_minor=line.amount,
    )


def _check(
    invoice: billing.Invoice, rows: Iterable[InvoiceLine], events: list[billing.UsageEvent], **more: Any
) -> Check:
    """``more``: ``extra`` differences, ``waiting``."""
    found = billing.reconcile(invoice, events)
    by_line: dict[str, list[int]] = defaultdict(list)
    for part in invoice.allocations:
        by_line[part.line].append(part.quantity)
    lines = tuple(
        LineCheck(row.key, row.description, row.units, sum(by_line[row.key]), len(by_line[row.key]), row.amount_minor)
        for row in rows
    )
    return Check(
        found.events,
        found.quantity,
        found.total,
        invoice.currency,
        lines,
        found.differences + tuple(more.get("extra", ())),
        more.get("waiting", 0),
    )


def invoice_preview(subscription: Subscription, *, now: datetime | None = None) -> Preview:
    """The running month as it stands, with earlier events that no invoice holds yet, and whether it reconciles."""
    now = now or wall_now()
    period = billing.Period.month_of(now)
    rows = UsageEvent.objects.filter(subscription=subscription, invoice=None, time__lt=period.end)
    events = list(_domain_events(rows))
    drawn = billing.draw_up(
        _terms(subscription, period), period, events, already_billed=_already_billed(subscription, None)
    )
    lines = tuple(_line(line, at, subscription.plan.name) for at, line in enumerate(drawn.lines, start=1))
    return Preview(period, drawn, lines, _check(drawn, lines, events))


def invoice_reconcile(invoice: Invoice) -> Check:
    """Take a stored invoice apart: every event on its lines, every line the sum of its events, every price the plan's.

    Two queries: the lines (none when they are prefetched), and the events with where their units stand.
    """
    subscription, period = invoice.subscription, period_of(invoice.period)
    rows = sorted(invoice.lines.all(), key=lambda row: row.position)
    keys = {row.pk: row.key for row in rows}
    events: dict[Any, billing.UsageEvent] = {}
    parts: list[billing.Allocation] = []
    late: set[Any] = set()
    uninvoiced = Q(subscription=subscription, invoice=None, time__gte=period.start, time__lt=period.end)
    found = UsageEvent.objects.filter(Q(invoice=invoice) | uninvoiced).order_by()
    for pk, held, source, name, units, time, line, part in found.values_list(
        "pk", "invoice_id", "source", "event_id", "units", "time", "allocations__line_id", "allocations__units"
    ):
        if held is None and line not in keys:
            late.add(pk)
            continue
        if held is not None:
            events[pk] = billing.UsageEvent(source, name, METER, units, time)
        if line is not None:
            parts.append(billing.Allocation(source, name, keys.get(line, str(line)), part))
    allocations = tuple(parts)
    lines = tuple(
        billing.InvoiceLine(
            row.key,
            billing.LineKind(row.kind),
            row.meter,
            period_of(row.period),
            row.units,
            unit_price(row.unit_price_micro),
            row.units * unit_price(row.unit_price_micro),
            row.amount_minor,
        )
        for row in rows
    )
    drawn = billing.Invoice(period, invoice.currency, lines, allocations, ())
    extra = list(_price_differences(subscription, period, lines))
    if drawn.total != invoice.total_minor:
        extra.append(billing.Difference("invoice_total", invoice.number, str(drawn.total), str(invoice.total_minor)))
    return _check(drawn, rows, list(events.values()), extra=extra, waiting=len(late))


def _price_differences(
    subscription: Subscription, period: billing.Period, lines: Iterable[billing.InvoiceLine]
) -> Iterator[billing.Difference]:
    agreed = unit_price(subscription.plan.unit_price_micro)
    fee = Decimal(_terms(subscription, period).monthly_fee)
    for line in lines:
        wanted = fee if line.kind is billing.LineKind.FEE else Decimal(0) if line.key.endswith("/included") else agreed
        if line.unit_price != wanted:
            yield billing.Difference("line_price", line.key, str(wanted), str(line.unit_price))


def _months(subscription: Subscription, until: billing.Period) -> list[str]:
    """Months from the start up to ``until``, at most the last that has something to bill."""
    found, at = [], billing.Period.month_of(subscription.started_at)
    while at.start <= until.start:
        found.append(at.key)
        at = billing.Period.month_of(at.end)
    return found


@transaction.atomic
def invoice_draft(*, actor: Any, subscription: Subscription, period: str, now: datetime | None = None) -> Invoice:
    """The draft of one month that is over (or of the last month of an ended subscription). A second call gives the same one.

    Months before it that have no invoice yet are drafted first, so that none of their rows count as late.
    """
    now = now or wall_now()
    wanted = period_of(period)
    locked = Subscription.objects.select_for_update().select_related("plan", "service").get(pk=subscription.pk)
    if locked.internal:
        raise DomainError("internal", "An internal test is never invoiced; look at its preview.")
    if wanted.end <= locked.started_at:
        raise InvalidInput({"period": f"The subscription began on {day_text(locked.started_at)}."})
    if now < wanted.end and (locked.ended_at is None or now < wanted.start):
        raise DomainError("month_running", f"{month_text(wanted.start)} is not over yet; look at the preview.")
    known = {invoice.period: invoice for invoice in locked.invoices.all()}
    for month in _months(locked, wanted):
        if month not in known:
            known[month] = _create(actor, locked, period_of(month))
    return known[wanted.key]


def _create(actor: Any, subscription: Subscription, period: billing.Period) -> Invoice:
    invoice = Invoice.objects.create(
        subscription=subscription,
        number=f"PG-{period.key.replace('-', '')}-{subscription.pk.hex[-10:].upper()}",
        period=period.key,
        currency=subscription.plan.currency,
    )
    _draw(invoice)
    audit.record(
        actor=actor,
        action="invoice.draft",
        obj=invoice,
        changes={"period": period.key, "total_minor": invoice.total_minor},
    )
    return invoice


def _draw(invoice: Invoice) -> None:
    """Claim the events that no invoice holds and write the lines; a draft is drawn afresh."""
    subscription, period = invoice.subscription, period_of(invoice.period)
    Allocation.objects.filter(line__invoice=invoice).delete()
    invoice.lines.all().delete()
    UsageEvent.objects.filter(subscription=subscription, invoice=None, time__lt=period.end).update(invoice=invoice)
    events = list(_domain_events(invoice.events.all()))
    drawn = billing.draw_up(
        _terms(subscription, period), period, events, already_billed=_already_billed(subscription, invoice)
    )
    rows = [_line(line, at, subscription.plan.name) for at, line in enumerate(drawn.lines, start=1)]
    for row in rows:
        row.invoice = invoice
    InvoiceLine.objects.bulk_create(rows)
    by_key = {row.key: row for row in rows}
    ids = {(source, name): pk for pk, source, name in invoice.events.values_list("pk", "source", "event_id")}
    Allocation.objects.bulk_create(
        [
            Allocation(line=by_key[part.line], event_id=ids[part.source, part.event_id], units=part.quantity)
            for part in drawn.allocations
        ],
        batch_size=2000,
    )
    versioned_update(invoice, total_minor=drawn.total)


@transaction.atomic
def invoice_issue(*, actor: Any, subscription: Subscription, period: str, now: datetime | None = None) -> Invoice:
    """Send a month's invoice: drafted where needed, brought up to date, refused when it does not reconcile to the last row."""
    now = now or wall_now()
    invoice = invoice_draft(actor=actor, subscription=subscription, period=period, now=now)
    invoice = Invoice.objects.select_related("subscription__plan", "subscription__service").get(pk=invoice.pk)
    if invoice.state != InvoiceState.DRAFT:
        raise DomainError("wrong_state", f"This invoice is {invoice.get_state_display().lower()} already.")
    if not Invoice.objects.filter(subscription=subscription, period__gt=period).exists():
        _draw(invoice)
    check = invoice_reconcile(invoice)
    if not check.holds:
        raise DomainError(
            "does_not_reconcile",
            f"{len(check.differences)} things do not add up; it is not sent.",
            {"differences": [f"{d.what} {d.key}: {d.expected} / {d.found}" for d in check.differences[:20]]},
        )
    change_state(invoice, old=InvoiceState.DRAFT, new=InvoiceState.ISSUED, issued_at=now)
    audit.record(
        actor=actor,
        action="invoice.issue",
        obj=invoice,
        changes={"total_minor": invoice.total_minor, "events": check.events},
    )
    notify(
        user_ids=[invoice.subscription.owner_id],
        kind="invoice",
        text=f"Invoice {invoice} for {invoice.subscription.service} is here.",
        url=invoice.get_absolute_url(),
        dedupe_key=f"invoice:{invoice.pk}",
    )
    gates_remeasure(use_case=invoice.subscription.service.use_case_id)
    return invoice


@transaction.atomic
def invoice_pay(*, actor: Any, invoice: Invoice) -> Invoice:
    """Note that an issued invoice was paid."""
    change_state(invoice, old=InvoiceState.ISSUED, new=InvoiceState.PAID, paid_at=wall_now())
    audit.record(actor=actor, action="invoice.pay", obj=invoice)
    return invoice


def invoices_draw_up(*, now: datetime | None = None) -> dict[str, int]:
    """Draft last month's invoice of every paying subscription that has none. Safe to run at any time, any number of times."""
    now = now or wall_now()
    last = billing.Period.month_of(billing.Period.month_of(now).start - timedelta(days=1))
    rows = Subscription.objects.filter(internal=False, started_at__lt=last.end).exclude(invoices__period=last.key)
    made = failed = 0
    for subscription in rows.select_related("service"):
        ended = subscription.ended_at is not None and subscription.ended_at <= last.start
        if ended and not subscription.usage_events.filter(invoice=None, time__lt=last.end).exists():
            continue
        try:
            invoice = invoice_draft(actor=None, subscription=subscription, period=last.key, now=now)
        except DomainError as error:
            failed += 1
            log.warning("invoices.not_drawn", subscription=str(subscription.pk), code=error.code)
            continue
        made += 1
        notify(
            user_ids=people_who_may(subscription.service, "change"),
            kind="invoice",
            text=f"Invoice {invoice} ({subscription}) is ready to be issued.",
            url=invoice.get_absolute_url(),
            dedupe_key=f"draft:{invoice.pk}",
        )
    return {"drafted": made, "failed": failed}
