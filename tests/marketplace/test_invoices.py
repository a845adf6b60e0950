"""Invoices: from metered calls to lines that add up, months in order, late calls, nothing twice."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse

from marketplace import services
from marketplace.models import Allocation, Invoice, InvoiceLine, Subscription, UsageEvent
from marketplace.services.metering import Call, call_score
from marketplace.tasks import invoice_month
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from tests.marketplace.conftest import rows_of

pytestmark = pytest.mark.django_db


def at(month: int, day: int = 10, hour: int = 8) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


NOW = at(7, 2)


@pytest.fixture
def used(shop: Any) -> Any:
    """A subscription since April with calls in May (25 rows) and June (4 and 8 rows)."""
    Subscription.objects.filter(pk=shop.subscription.pk).update(started_at=at(4, 20))
    shop.subscription.refresh_from_db()
    for number, (month, rows) in enumerate([(5, 25), (6, 4), (6, 8)]):
        metered(shop, at(month, 10 + number), rows)
    return shop


def metered(shop: Any, when: datetime, rows: int) -> None:
    shop.key.subscription = Subscription.objects.select_related("plan", "service__model").get(pk=shop.subscription.pk)
    call_score(key=shop.key, call=Call(rows_of(rows), "", "0" * 64, "/x"), now=when)


def draft(shop: Any, period: str, now: datetime = NOW) -> Invoice:
    return services.invoice_draft(actor=shop.lead, subscription=shop.subscription, period=period, now=now)


def issue(shop: Any, period: str, now: datetime = NOW) -> Invoice:
    return services.invoice_issue(actor=shop.lead, subscription=shop.subscription, period=period, now=now)


def lines(invoice: Invoice) -> list[tuple[str, int, int]]:
    return list(invoice.lines.values_list("key", "units", "amount_minor"))


def test_a_month_with_fee_included_and_priced_rows(used: Any) -> None:
    invoice = draft(used, "2026-05")
    assert lines(invoice) == [("fee", 1, 4900), ("rows/included", 10, 0), ("rows/tier-1", 15, 12)]
    assert (invoice.total_minor, invoice.currency, invoice.state) == (4912, "EUR", "draft")
    check = services.invoice_reconcile(invoice)
    assert check.holds, check.differences
    assert (check.events, check.units, check.waiting) == (1, 25, 0)
    assert [(line.units, line.event_units) for line in check.lines[1:]] == [(10, 10), (15, 15)]


def test_months_before_are_drafted_first(used: Any) -> None:
    draft(used, "2026-06")
    assert list(Invoice.objects.order_by("period").values_list("period", "total_minor")) == [
        ("2026-04", 4900),
        ("2026-05", 4912),
        ("2026-06", 4902),
    ]
    assert not InvoiceLine.objects.filter(kind="adjustment").exists()


def test_the_same_month_twice_is_one_invoice(used: Any) -> None:
    assert draft(used, "2026-05").pk == draft(used, "2026-05").pk
    assert Invoice.objects.filter(period="2026-05").count() == 1


def test_a_month_that_runs_or_lies_before_is_refused(used: Any) -> None:
    with pytest.raises(DomainError, match="not over yet"):
        draft(used, "2026-07")
    with pytest.raises(InvalidInput):
        draft(used, "2026-03")
    for text in ("2026-13", "2026", "may", "2026-5", "20265-01"):
        with pytest.raises(InvalidInput):
            draft(used, text)


def test_the_last_month_of_an_ended_subscription_can_be_invoiced_at_once(used: Any) -> None:
    Subscription.objects.update(state="ended", ended_at=at(7, 1))
    assert draft(used, "2026-07").total_minor == 4900
    with pytest.raises(DomainError, match="not over yet"):
        draft(used, "2026-08")


def test_no_fee_for_a_month_after_the_end(used: Any) -> None:
    Subscription.objects.update(state="ended", ended_at=at(5, 20))
    assert lines(draft(used, "2026-06")) == [("rows/included", 10, 0), ("rows/tier-1", 2, 2)]


def test_issue_pay_and_no_step_twice(used: Any) -> None:
    invoice = issue(used, "2026-05")
    assert (invoice.state, invoice.issued_at) == ("issued", NOW)
    with pytest.raises(DomainError, match="issued already"):
        issue(used, "2026-05")
    services.invoice_pay(actor=used.lead, invoice=invoice)
    with pytest.raises(DomainError):
        services.invoice_pay(actor=used.lead, invoice=invoice)
    actions = AuditEntry.objects.filter(object_id=str(invoice.pk)).values_list("action", flat=True)
    assert sorted(actions) == ["invoice.draft", "invoice.issue", "invoice.pay"]
    assert Notification.objects.filter(user=used.partner, kind="invoice").exists()


def test_a_draft_takes_up_what_came_before_it_was_issued(used: Any) -> None:
    draft(used, "2026-05")
    metered(used, at(5, 31), 100)
    assert issue(used, "2026-05").lines.get(key="rows/tier-1").units == 115


def test_a_late_call_stands_on_the_next_invoice_priced_where_its_month_stood(used: Any) -> None:
    april = issue(used, "2026-04")
    metered(used, at(4, 25), 15)
    assert services.invoice_reconcile(april).waiting == 1
    may = issue(used, "2026-05")
    assert lines(may)[3:] == [("adjustment/2026-04/rows/included", 10, 0), ("adjustment/2026-04/rows/tier-1", 5, 4)]
    assert services.invoice_reconcile(may).holds
    metered(used, at(4, 26), 10)
    june = issue(used, "2026-06")
    assert ("adjustment/2026-04/rows/tier-1", 10, 8) in lines(june)
    assert services.invoice_reconcile(june).holds
    assert not UsageEvent.objects.filter(invoice=None).exists()


def test_a_draft_is_not_drawn_again_once_a_later_month_stands(used: Any) -> None:
    draft(used, "2026-06")
    metered(used, at(5, 31), 7)
    may = issue(used, "2026-05")
    assert may.total_minor == 4912
    assert ("adjustment/2026-05/rows/tier-1", 7, 6) in lines(issue(used, "2026-06"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda i: InvoiceLine.objects.filter(invoice=i, key="rows/tier-1").update(units=16),
        lambda i: InvoiceLine.objects.filter(invoice=i, key="rows/tier-1").update(amount_minor=11),
        lambda i: InvoiceLine.objects.filter(invoice=i, key="rows/tier-1").update(unit_price_micro=1),
        lambda i: InvoiceLine.objects.filter(invoice=i, key="fee").update(unit_price_micro=0),
        lambda i: Invoice.objects.filter(pk=i.pk).update(total_minor=1),
        lambda i: UsageEvent.objects.filter(invoice=i).update(units=24),
        lambda i: UsageEvent.objects.filter(invoice=i).update(invoice=None),
        lambda i: UsageEvent.objects.filter(invoice=i).update(time=at(6)),
        lambda i: Allocation.objects.filter(line__invoice=i, line__key="rows/tier-1").delete(),
        lambda i: Allocation.objects.filter(line__invoice=i, line__key="rows/tier-1").update(units=14),
    ],
)
def test_whatever_does_not_add_up_is_found(used: Any, damage: Any) -> None:
    invoice = draft(used, "2026-05")
    damage(invoice)
    invoice.refresh_from_db()
    assert not services.invoice_reconcile(invoice).holds


def test_an_invoice_that_does_not_reconcile_is_not_sent(used: Any) -> None:
    may = draft(used, "2026-05")
    draft(used, "2026-06")
    Invoice.objects.filter(pk=may.pk).update(total_minor=1)
    with pytest.raises(DomainError, match="do not add up"):
        issue(used, "2026-05")
    assert Invoice.objects.get(pk=may.pk).state == "draft"


def test_the_preview_is_what_the_invoice_will_be(used: Any) -> None:
    preview = services.invoice_preview(used.subscription, now=at(5, 20))
    assert (preview.check.holds, preview.invoice.total) == (True, 4912)
    assert not Invoice.objects.exists()
    later = services.invoice_preview(used.subscription, now=at(6, 20))
    assert [line.key for line in later.lines] == [
        "fee",
        "rows/included",
        "rows/tier-1",
        "adjustment/2026-05/rows/included",
        "adjustment/2026-05/rows/tier-1",
    ]


def test_the_task_drafts_once_and_tells_the_seller(used: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.services.invoices.wall_now", lambda: NOW)
    assert invoice_month() == {"drafted": 1, "failed": 0}
    assert invoice_month() == {"drafted": 0, "failed": 0}
    assert Invoice.objects.count() == 3
    assert set(Invoice.objects.values_list("state", flat=True)) == {"draft"}
    assert Notification.objects.filter(user=used.lead, kind="invoice").count() == 1


def test_the_task_leaves_ended_and_internal_ones_alone(used: Any) -> None:
    from marketplace.services.invoices import invoices_draw_up

    Subscription.objects.update(state="ended", ended_at=at(4, 30))
    UsageEvent.objects.all().delete()
    assert invoices_draw_up(now=NOW)["drafted"] == 0
    Subscription.objects.update(state="active", ended_at=None, internal=True)
    assert invoices_draw_up(now=NOW)["drafted"] == 0
    with pytest.raises(DomainError, match="internal test"):
        draft(used, "2026-05")


def test_pages_print_and_csv(used: Any, as_user: Any, django_assert_max_num_queries: Any) -> None:
    invoice = issue(used, "2026-05")
    page = as_user(used.partner)
    page.get(invoice.get_absolute_url())
    with django_assert_max_num_queries(12):
        text = page.get(invoice.get_absolute_url()).content.decode()
    assert "49.12 EUR" in text
    assert "Reconciles" in text
    paper = page.get(reverse("marketplace:invoice-print", args=[invoice.pk])).content.decode()
    assert "Customer Ltd" in paper and "49.12 EUR" in paper
    answer = page.get(reverse("marketplace:invoice-csv", args=[invoice.pk]))
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [row["amount"] for row in rows] == ["49.00", "0.00", "0.12"]
    assert rows[2]["price_per_1000"] == "8.00"
    assert invoice.number in page.get(reverse("marketplace:invoices")).content.decode()
    assert page.post(reverse("marketplace:invoice-pay", args=[invoice.pk])).status_code == 403
    stranger = as_user(used.cast.stranger)
    for name in ("invoice", "invoice-print", "invoice-csv"):
        assert stranger.get(reverse(f"marketplace:{name}", args=[invoice.pk])).status_code == 404


def test_an_invoice_names_its_seller_on_the_page_and_on_paper(used: Any, as_user: Any, settings: Any) -> None:
    invoice = issue(used, "2026-05")
    page = as_user(used.partner)
    pages = (invoice.get_absolute_url(), reverse("marketplace:invoice-print", args=[invoice.pk]))
    assert "PHASEGATE_SELLER_NAME" in page.get(pages[1]).content.decode()
    settings.SELLER_NAME, settings.SELLER_TAX_ID = "Works <& Sons>", "DE000"
    settings.SELLER_ADDRESS = ["Works Road 1", "12345 Town"]
    for url in pages:
        text = page.get(url).content.decode()
        assert "Works &lt;&amp; Sons&gt;" in text
        assert "Works Road 1<br>12345 Town<br>" in text
        assert "DE000" in text


def test_the_seller_draws_up_issues_and_notes_payment_on_the_pages(
    used: Any, as_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.services.invoices.wall_now", lambda: NOW)
    page = as_user(used.lead)
    form = reverse("marketplace:invoice-draft", args=[used.subscription.pk])
    assert page.post(form, {"period": "2026-7"}).status_code == 422
    assert page.post(form, {"period": "2026-07"}).status_code == 409
    assert page.post(form, {"period": "2026-05"}).status_code == 302
    invoice = Invoice.objects.get(period="2026-05")
    assert page.post(reverse("marketplace:invoice-issue", args=[invoice.pk])).status_code == 302
    assert page.post(reverse("marketplace:invoice-pay", args=[invoice.pk])).status_code == 302
    invoice.refresh_from_db()
    assert invoice.state == "paid"


def test_an_invoice_s_pages_need_few_queries(used: Any, as_user: Any, django_assert_max_num_queries: Any) -> None:
    """Twelve, and the session with its person."""
    invoice = issue(used, "2026-05")
    page = as_user(used.lead)
    for name in ("marketplace:invoice", "marketplace:invoice-print"):
        address = reverse(name, args=[invoice.pk])
        assert page.get(address).status_code == 200
        with django_assert_max_num_queries(14):
            page.get(address)
