"""The marketplace's pages: who sees what, forms that keep what was typed, the key that is shown once."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from marketplace import services
from marketplace.models import ClientKey, Plan, Service, Subscription
from portal.core.models import AuditEntry, User
from tests.marketplace.conftest import pass_gate_5, rows_of

pytestmark = pytest.mark.django_db


def address(name: str, *args: Any) -> str:
    return reverse(f"marketplace:{name}", args=args)


def test_pages_of_the_customer(shop: Any, call: Any, as_user: Any) -> None:
    call(shop.secret, [*rows_of(25), *rows_of(2, AT=99)])
    page = as_user(shop.partner)
    for name, args, text in [
        ("catalogue", (), "NOx soft sensor"),
        ("service", (shop.service.pk,), "99.5 % of calls"),
        ("subscription", (shop.subscription.pk,), "plant system"),
        ("usage", (), "25"),
        ("preview", (shop.subscription.pk,), "Reconciles"),
        ("subscribe", (shop.service.pk,), "49.00 EUR a month"),
        ("key-create", (shop.subscription.pk,), "What will use this key?"),
        ("key-revoke", (shop.key.pk,), "refused from now on"),
        ("subscription-end", (shop.subscription.pk,), "keys stop working"),
        ("invoices", (), "No invoice yet"),
    ]:
        answer = page.get(address(name, *args))
        assert answer.status_code == 200, name
        assert text in answer.content.decode(), name


def test_pages_of_the_seller(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    for name, args in [
        ("catalogue", ()),
        ("service", (shop.service.pk,)),
        ("service-create", ()),
        ("service-edit", (shop.service.pk,)),
        ("service-retire", (shop.service.pk,)),
        ("service-admit", (shop.service.pk,)),
        ("plan-create", (shop.service.pk,)),
        ("plan-edit", (shop.plan.pk,)),
        ("subscription", (shop.subscription.pk,)),
        ("invoice-draft", (shop.subscription.pk,)),
        ("usage", ()),
    ]:
        assert page.get(address(name, *args)).status_code == 200, name
    assert "Services" in page.get(reverse("usecases:use-case-panels", args=[shop.cast.ours.pk])).content.decode()


def test_a_stranger_finds_nothing(shop: Any, as_user: Any) -> None:
    page = as_user(shop.cast.stranger)
    for name, pk in [
        ("service", shop.service.pk),
        ("service-edit", shop.service.pk),
        ("subscribe", shop.service.pk),
        ("subscription", shop.subscription.pk),
        ("preview", shop.subscription.pk),
        ("key-create", shop.subscription.pk),
        ("key-revoke", shop.key.pk),
        ("plan-edit", shop.plan.pk),
    ]:
        assert page.get(address(name, pk)).status_code == 404, name
    assert "NOx soft sensor" not in page.get(address("catalogue")).content.decode()


def test_who_may_look_but_not_act_is_told_who_may(shop: Any, as_user: Any) -> None:
    page = as_user(shop.partner)
    for name in ("service-edit", "service-retire", "plan-create", "service-admit"):
        assert page.get(address(name, shop.service.pk)).status_code == 403, name
    for name in ("service-publish", "service-package"):
        assert page.post(address(name, shop.service.pk)).status_code == 403, name
    assert page.get(address("service-create")).status_code == 403
    assert page.post(address("subscription-suspend", shop.subscription.pk)).status_code == 403
    assert page.get(address("invoice-draft", shop.subscription.pk)).status_code == 403
    engineer = as_user(shop.cast.ot_engineer)
    assert engineer.get(address("service", shop.service.pk)).status_code == 200
    assert engineer.get(address("subscribe", shop.service.pk)).status_code == 403
    assert engineer.get(address("subscription", shop.subscription.pk)).status_code == 404


def test_the_partner_does_not_see_drafts(shop: Any, as_user: Any) -> None:
    Service.objects.update(state="draft")
    page = as_user(shop.partner)
    assert "NOx soft sensor" not in page.get(address("catalogue")).content.decode()
    assert page.get(address("service", shop.service.pk)).status_code == 404
    seller = as_user(shop.lead)
    assert seller.get(address("service", shop.service.pk)).status_code == 200


def test_watch_stands_on_the_page_with_its_reason(shop: Any, as_user: Any) -> None:
    gate = pass_gate_5(shop.cast.ours, "reopened")
    gate.reopened_reason = "No longer met: Metering reconciles."
    gate.save()
    page = as_user(shop.partner)
    assert "No longer met: Metering reconciles." in page.get(address("service", shop.service.pk)).content.decode()
    assert "Published, watch" in page.get(address("catalogue")).content.decode()


def test_subscribe_make_a_key_revoke_it(shop: Any, as_user: Any, call: Any) -> None:
    page = as_user(shop.partner)
    form = {"plan": shop.plan.pk, "customer": "Customer Ltd, plant 2"}
    answer = page.post(address("subscribe", shop.service.pk), form)
    made = Subscription.objects.get(customer="Customer Ltd, plant 2")
    assert (answer.status_code, answer["Location"]) == (302, made.get_absolute_url())
    assert not made.internal
    shown = page.post(address("key-create", made.pk), {"name": "historian"})
    assert (shown.status_code, shown["Cache-Control"]) == (201, "no-store")
    secret = shown.context["secret"]
    assert secret in shown.content.decode()
    assert call(secret, rows_of(1)).status_code == 200
    key = ClientKey.objects.get(subscription=made)
    assert secret not in str(vars(key)) + str(list(AuditEntry.objects.values()))
    assert secret not in page.get(made.get_absolute_url()).content.decode()
    assert page.post(address("key-revoke", key.pk)).status_code == 302
    assert call(secret, rows_of(1)).status_code == 401


def test_a_wrong_form_keeps_what_was_typed(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    form = {
        "name": "Large",
        "currency": "EUR",
        "monthly_fee": "12.345",
        "included_units": "5",
        "price_per_thousand": "8",
        "monthly_quota": "0",
        "rate_per_minute": "10",
    }
    answer = page.post(address("plan-create", shop.service.pk), form)
    assert answer.status_code == 422
    assert {"monthly_fee", "monthly_quota"} <= set(answer.context["form"].errors)
    assert 'value="Large"' in answer.content.decode()
    good = form | {"monthly_fee": "12.34", "monthly_quota": "100", "price_per_thousand": "0.015"}
    assert page.post(address("plan-create", shop.service.pk), good).status_code == 302
    plan = Plan.objects.get(name="Large")
    assert (plan.monthly_fee_minor, plan.unit_price_micro) == (1234, 1500)


def test_an_agreed_price_does_not_change(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    form = {
        "name": "Standard",
        "currency": "EUR",
        "monthly_fee": "99",
        "included_units": "10",
        "price_per_thousand": "8",
        "monthly_quota": "2000",
        "rate_per_minute": "50",
    }
    answer = page.post(address("plan-edit", shop.plan.pk), form)
    assert answer.status_code == 400
    assert "Make a new plan instead" in answer.content.decode()
    assert page.post(address("plan-edit", shop.plan.pk), form | {"monthly_fee": "49.00"}).status_code == 302
    shop.plan.refresh_from_db()
    assert (shop.plan.monthly_fee_minor, shop.plan.monthly_quota) == (4900, 2000)


def test_retiring_asks_for_the_name(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    answer = page.post(address("service-retire", shop.service.pk), {"confirm_name": "NOx"})
    assert answer.status_code == 422
    shop.service.refresh_from_db()
    assert shop.service.state == "published"
    assert page.post(address("service-retire", shop.service.pk), {"confirm_name": "NOx soft sensor"}).status_code == 302
    shop.subscription.refresh_from_db()
    assert (shop.subscription.state, shop.subscription.ended_at is None) == ("ended", False)


def test_a_new_service_from_the_form(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    form = {
        "use_case": shop.cast.ours.pk,
        "model": shop.model.pk,
        "code": "nox-2",
        "name": "NOx again",
        "summary": "",
        "sla_text": "",
    }
    assert page.post(address("service-create"), form | {"code": "Not good"}).status_code == 422
    answer = page.post(address("service-create"), form)
    made = Service.objects.get(code="nox-2")
    assert (answer.status_code, made.state) == (302, "draft")
    assert made.openapi["components"]["schemas"]["Row"]["required"] == ["AT", "AP"]
    text = page.get(made.get_absolute_url()).content.decode()
    assert "It says nothing about its service level." in text
    refused = page.post(address("service-publish", made.pk))
    assert refused.status_code == 409


def test_admitting_a_partner_by_address(shop: Any, as_user: Any) -> None:
    page = as_user(shop.lead)
    answer = page.post(address("service-admit", shop.service.pk), {"email": "nobody@nowhere.example"})
    assert answer.status_code == 400
    assert "Nobody with this address" in answer.content.decode()
    person = User.objects.create(email="second@customer.example")
    assert page.post(address("service-admit", shop.service.pk), {"email": person.email}).status_code == 302
    assert as_user(person).get(address("service", shop.service.pk)).status_code == 200


@pytest.mark.parametrize("name", ["catalogue", "usage", "invoices"])
@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_lists_export(shop: Any, call: Any, as_user: Any, name: str, form: str) -> None:
    call(shop.secret, rows_of(1))
    answer = as_user(shop.partner).get(address(name), {"export": form})
    assert answer.status_code == 200
    assert form in answer["Content-Disposition"]


def test_pages_need_few_queries(shop: Any, call: Any, as_user: Any) -> None:
    """At most four of a page's own; the frame around every page is counted with the page that has nothing else."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for _ in range(3):
        call(shop.secret, rows_of(20))
    services.client_key_create(actor=shop.partner, subscription=shop.subscription, name="b")
    for person in (shop.partner, shop.lead):
        page = as_user(person)
        with CaptureQueriesContext(connection) as frame:
            page.get(reverse("core:settings"))
        for name, args in [
            ("catalogue", ()),
            ("service", (shop.service.pk,)),
            ("subscription", (shop.subscription.pk,)),
            ("usage", ()),
            ("preview", (shop.subscription.pk,)),
            ("invoices", ()),
        ]:
            with CaptureQueriesContext(connection) as found:
                assert page.get(address(name, *args)).status_code == 200
            assert len(found) <= len(frame) + 4, (name, [q["sql"][:90] for q in found])
