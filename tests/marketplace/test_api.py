"""The marketplace over /api/v1."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from marketplace.models import ClientKey, Invoice, Plan, Service, Subscription, UsageEvent
from portal.core.models import AuditEntry, IdempotencyRecord
from tests.factories import make_model, make_user
from tests.marketplace.conftest import make_live, pass_gate_5, rows_of

pytestmark = pytest.mark.django_db
NOUNS = ("services", "plans", "subscriptions", "client-keys", "usage-events", "invoices")


def url(noun: str, pk: Any = None, verb: str = "") -> str:
    return f"/api/v1/{noun}" + (f"/{pk}" if pk else "") + (f"/{verb}" if verb else "")


def test_the_whole_way_of_a_service(shop: Any, api: Any, call: Any, trained: Any) -> None:
    cast, lead = shop.cast, api(shop.lead)
    model = make_model(cast.theirs, features=["AT", "AP"])
    make_live(model, trained)
    body = {"use_case": cast.theirs.pk, "model": model.pk, "code": "second", "name": "Second"}
    made = lead.post(url("services"), body)
    assert made.status_code == 201, made.content
    pk = made.json()["id"]
    assert made.json()["openapi"]["openapi"] == "3.1.0"
    plan = lead.post(url("plans"), {"service": pk, "name": "P", "monthly_fee_minor": 1250, "monthly_quota": 100})
    assert plan.status_code == 201, plan.content
    assert plan.json()["monthly_fee"] == {"amount": "12.50", "currency": "EUR"}
    refused = lead.post(url("services", pk, "publish"))
    assert (refused.status_code, refused.json()["code"]) == (409, "gate_not_passed")
    pass_gate_5(cast.theirs)
    assert lead.post(url("services", pk, "publish")).json()["code"] == "not_packaged"
    assert lead.patch(url("services", pk), {"sla_text": "Best effort."}).status_code == 200
    assert lead.post(url("services", pk, "publish")).json()["state"] == "published"
    person = make_user()
    assert api(person).get(url("services", pk)).status_code == 404
    assert lead.post(url("services", pk, "admit"), {"email": person.email}).status_code == 200
    customer = api(person)
    assert customer.get(url("services", pk)).json()["watch"] == []
    subscribed = customer.post(url("subscriptions"), {"service": pk, "plan": plan.json()["id"], "customer": "C"})
    assert subscribed.status_code == 201, subscribed.content
    assert subscribed.json()["internal"] is False
    key = customer.post(url("subscriptions", subscribed.json()["id"], "keys"), {"name": "k"})
    assert key.status_code == 201, key.content
    secret = key.json()["secret"]
    assert call(secret, rows_of(4), code="second").status_code == 200
    assert customer.get(url("usage-events")).json()["results"][0]["units"] == 4
    preview = customer.get(url("subscriptions", subscribed.json()["id"], "preview")).json()
    assert (preview["holds"], preview["units"], preview["total"]["amount"]) == (True, 4, "12.50")
    assert customer.post(url("client-keys", key.json()["id"], "revoke")).status_code == 200
    assert call(secret, rows_of(4), code="second").status_code == 401
    assert lead.post(url("services", pk, "retire")).json()["state"] == "retired"
    assert customer.get(url("subscriptions", subscribed.json()["id"])).json()["state"] == "ended"


def test_invoices_by_api(shop: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.marketplace.test_invoices import metered

    now = datetime(2026, 7, 2, tzinfo=UTC)
    monkeypatch.setattr("marketplace.services.invoices.wall_now", lambda: now)
    Subscription.objects.update(started_at=datetime(2026, 5, 2, tzinfo=UTC))
    metered(shop, datetime(2026, 5, 5, tzinfo=UTC), 25)
    lead, customer = api(shop.lead), api(shop.partner)
    body = {"subscription": shop.subscription.pk, "period": "2026-05"}
    assert customer.post(url("invoices"), body).status_code == 403
    assert lead.post(url("invoices"), body | {"period": "2026-7"}).status_code == 400
    assert lead.post(url("invoices"), body | {"period": "2026-07"}).json()["code"] == "month_running"
    made = lead.post(url("invoices"), body)
    assert (made.status_code, made.json()["total"]) == (201, {"amount": "49.12", "currency": "EUR"})
    assert lead.post(url("invoices"), body).json()["id"] == made.json()["id"]
    pk = made.json()["id"]
    check = customer.get(url("invoices", pk, "reconcile")).json()
    assert check["holds"] is True
    assert [(row["units"], row["event_units"]) for row in check["lines"][1:]] == [(10, 10), (15, 15)]
    assert customer.post(url("invoices", pk, "issue")).status_code == 403
    assert lead.post(url("invoices", pk, "issue")).json()["state"] == "issued"
    assert lead.post(url("invoices", pk, "issue")).status_code == 409
    assert lead.post(url("invoices", pk, "pay")).json()["state"] == "paid"
    assert [line["amount"]["amount"] for line in customer.get(url("invoices", pk)).json()["lines"]] == [
        "49.00",
        "0.00",
        "0.12",
    ]


def test_a_stranger_sees_nothing_and_changes_nothing(shop: Any, api: Any, call: Any) -> None:
    call(shop.secret, rows_of(1))
    stranger = api(shop.cast.stranger)
    for noun in NOUNS:
        assert stranger.get(url(noun)).json()["results"] == [], noun
    for noun, obj, verbs in [
        ("services", shop.service, ("publish", "retire", "package", "admit")),
        ("subscriptions", shop.subscription, ("end", "suspend", "resume", "keys")),
        ("client-keys", shop.key, ("revoke",)),
    ]:
        assert stranger.get(url(noun, obj.pk)).status_code == 404
        for verb in verbs:
            assert stranger.post(url(noun, obj.pk, verb), {}).status_code == 404, verb
    assert stranger.get(url("usage-events", UsageEvent.objects.get().pk)).status_code == 404
    body = {"service": shop.service.pk, "plan": shop.plan.pk, "customer": "x"}
    assert stranger.post(url("subscriptions"), body).status_code == 400
    assert api().get(url("services")).status_code == 401


def test_who_may_look_but_not_act(shop: Any, api: Any) -> None:
    partner, engineer = api(shop.partner), api(shop.cast.ot_engineer)
    assert partner.post(url("services", shop.service.pk, "publish")).status_code == 403
    assert partner.patch(url("services", shop.service.pk), {"name": "x"}).status_code == 403
    assert partner.patch(url("plans", shop.plan.pk), {"name": "x"}).status_code == 403
    assert partner.post(url("subscriptions", shop.subscription.pk, "suspend")).status_code == 403
    body = {"use_case": shop.cast.ours.pk, "model": shop.model.pk, "code": "x", "name": "x"}
    assert partner.post(url("services"), body).status_code in {400, 403}
    refused = engineer.post(url("subscriptions"), {"service": shop.service.pk, "plan": shop.plan.pk, "customer": "x"})
    assert refused.status_code == 403
    assert "External partner" in refused.json()["detail"]
    assert engineer.get(url("subscriptions", shop.subscription.pk)).status_code == 404


def test_bad_input_names_the_fields(shop: Any, api: Any) -> None:
    lead = api(shop.lead)
    other = make_model(shop.cast.theirs)
    for body, field in [
        ({}, "use_case"),
        ({"use_case": shop.cast.ours.pk, "model": other.pk, "code": "x", "name": "x"}, "model"),
        ({"use_case": shop.cast.ours.pk, "model": shop.model.pk, "code": "NOX", "name": "x"}, "code"),
        ({"use_case": shop.cast.ours.pk, "model": shop.model.pk, "code": "nox", "name": "x"}, "code"),
        ({"use_case": shop.cast.ours.pk, "model": shop.model.pk, "code": "x", "name": "x" * 141}, "name"),
    ]:
        answer = lead.post(url("services"), body)
        assert answer.status_code == 400
        assert field in [e["field"] for e in answer.json()["errors"]], field
    for body, field in [
        ({"service": shop.service.pk, "name": "x", "monthly_quota": 0}, "monthly_quota"),
        ({"service": shop.service.pk, "name": "x", "monthly_quota": 5, "currency": "XXX"}, "currency"),
        ({"service": shop.service.pk, "name": "x", "monthly_quota": 5, "unit_price_micro": -1}, "unit_price_micro"),
        ({"service": shop.service.pk, "name": "x", "monthly_quota": 10**30}, "monthly_quota"),
    ]:
        answer = lead.post(url("plans"), body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    answer = lead.patch(url("plans", shop.plan.pk), {"monthly_fee_minor": 1})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "monthly_fee_minor")
    answer = lead.patch(url("services", shop.service.pk), {"code": "other"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "code")
    twice = lead.post(url("plans"), {"service": shop.service.pk, "name": "Standard", "monthly_quota": 5})
    assert twice.status_code in {400, 409}


def test_a_stale_write_is_refused(shop: Any, api: Any) -> None:
    lead = api(shop.lead)
    first = lead.get(url("services", shop.service.pk))["ETag"]
    assert lead.patch(url("services", shop.service.pk), {"summary": "a"}, HTTP_IF_MATCH=first).status_code == 200
    stale = lead.patch(url("services", shop.service.pk), {"summary": "b"}, HTTP_IF_MATCH=first)
    assert (stale.status_code, stale.json()["current"]["summary"]) == (412, "a")
    tag = lead.get(url("plans", shop.plan.pk))["ETag"]
    Plan.objects.update(version=9)
    assert lead.patch(url("plans", shop.plan.pk), {"name": "b"}, HTTP_IF_MATCH=tag).status_code == 412


def test_a_repeated_key_request_never_keeps_the_secret(shop: Any, api: Any) -> None:
    customer = api(shop.partner)
    path = url("subscriptions", shop.subscription.pk, "keys")
    first = customer.post(path, {"name": "k"}, HTTP_IDEMPOTENCY_KEY="make-one")
    again = customer.post(path, {"name": "k"}, HTTP_IDEMPOTENCY_KEY="make-one")
    assert first.json()["secret"].startswith("pgc_")
    assert first["Cache-Control"] == "no-store"
    assert again.status_code == 201
    assert again.json() == {k: v for k, v in first.json().items() if k != "secret"}
    assert ClientKey.objects.filter(name="k").count() == 1
    assert first.json()["secret"].encode() not in bytes(IdempotencyRecord.objects.get().body)


def test_every_write_is_audited(shop: Any) -> None:
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {
        "service.create",
        "service.package",
        "plan.create",
        "service.publish",
        "service.admit",
        "subscription.create",
        "client_key.create",
    } <= actions
    assert AuditEntry.objects.filter(service_ref=shop.service.pk).exists()


def test_lists_need_few_queries_and_equal_their_rows(
    shop: Any, api: Any, call: Any, django_assert_max_num_queries: Any
) -> None:
    call(shop.secret, rows_of(2))
    invoice = Invoice.objects.create(
        subscription=shop.subscription, number="PG-1", period="2026-05", currency="EUR", total_minor=4900
    )
    lead = api(shop.lead)
    for noun in NOUNS:
        with django_assert_max_num_queries(6):
            listed = lead.get(url(noun)).json()["results"][0]
        one = lead.get(url(noun, listed["id"])).json()
        assert {k: one[k] for k in listed} == listed, noun
        assert lead.get(url(noun), {"format": "csv"}).status_code == 200
    assert lead.get(url("invoices"), {"subscription": invoice.subscription_id}).json()["results"]
    assert lead.get(url("invoices"), {"subscription": shop.key.pk}).json()["results"] == []
    assert lead.get(url("usage-events"), {"subscription": "x"}).status_code == 400


def test_drafts_are_not_in_a_customers_list(shop: Any, api: Any) -> None:
    Service.objects.update(state="draft")
    assert api(shop.partner).get(url("services")).json()["results"] == []
    assert api(shop.partner).get(url("services", shop.service.pk)).status_code == 404
    assert len(api(shop.lead).get(url("services")).json()["results"]) == 1


def test_a_customer_reads_no_trail_of_another(shop: Any, api: Any, as_user: Any) -> None:
    from marketplace import services

    person = make_user("second@customer.example")
    services.partner_admit(actor=shop.lead, service=shop.service, email=person.email)
    assert api(person).get("/api/v1/audit-entries").json()["results"] == []
    assert "History" not in as_user(person).get(shop.service.get_absolute_url()).content.decode()
    mine = {row["action"] for row in api(shop.partner).get("/api/v1/audit-entries").json()["results"]}
    assert mine == {"subscription.create", "client_key.create"}
    assert len(api(shop.lead).get("/api/v1/audit-entries").json()["results"]) > 4
