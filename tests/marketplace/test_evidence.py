"""Gate 5 measured from a draft: package, tenants, metering."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import providers, services
from marketplace.models import ClientKey, Plan, Service, Subscription, UsageEvent
from marketplace.tasks import announce_watch
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.models import Notification
from tests.factories import make_user
from tests.marketplace.conftest import pass_gate_5, rows_of
from usecases import evidence
from usecases.evidence import Subject

pytestmark = pytest.mark.django_db


def subject(use_case: Any) -> Subject:
    return Subject(use_case, None, wall_now())


def test_the_four_criteria_of_gate_5_are_registered() -> None:
    keys = [s.key for s in evidence.specs_for(5)]
    assert keys == ["monetise.packaged", "monetise.isolated", "monetise.reconciled", "monetise.dataspace"]
    assert not evidence.spec("monetise.dataspace").required  # type: ignore[union-attr]


def test_without_a_service_nothing_is_measured(cast: Any) -> None:
    for provider in (providers.packaged, providers.isolated, providers.reconciled, providers.descriptors):
        found = provider(subject(cast.ours))
        assert found.status == "not_measured"
        assert found.text


def test_packaged_needs_document_service_level_and_price(shop: Any) -> None:
    assert providers.packaged(subject(shop.cast.ours)).value is True
    Service.objects.update(sla_text=" ")
    found = providers.packaged(subject(shop.cast.ours))
    assert found.value is False and "a service level" in found.text
    Service.objects.update(state="retired")
    assert providers.packaged(subject(shop.cast.ours)).status == "not_measured"


def test_isolation_counts_what_reaches_across(shop: Any, call: Any) -> None:
    call(shop.secret, rows_of(2))
    assert providers.isolated(subject(shop.cast.ours)).value == 0
    person = make_user()
    services.partner_admit(actor=shop.lead, service=shop.service, email=person.email)
    second = services.subscription_create(actor=person, service=shop.service, plan=shop.plan, customer="Second")
    UsageEvent.objects.update(subscription=second)
    found = providers.isolated(subject(shop.cast.ours))
    assert found.value == 1
    assert "a key of another subscription" in found.text


def test_a_customer_reads_only_what_is_theirs(shop: Any, call: Any) -> None:
    call(shop.secret, rows_of(2))
    person = make_user()
    services.partner_admit(actor=shop.lead, service=shop.service, email=person.email)
    services.subscription_create(actor=person, service=shop.service, plan=shop.plan, customer="Second")
    assert UsageEvent.objects.permitted(shop.partner).count() == 1
    for model in (UsageEvent, ClientKey):
        assert not model.objects.permitted(person).exists()
    assert Subscription.objects.permitted(person).count() == 1
    assert Plan.objects.permitted(person).count() == 1


def test_metering_is_proven_on_a_draft_by_an_internal_test(shop: Any, call: Any) -> None:
    cast = shop.cast
    ClientKey.objects.all().delete()
    Subscription.objects.all().delete()
    Service.objects.update(state="draft")
    pass_gate_5(cast.ours, "open")
    shop.service.refresh_from_db()
    assert providers.reconciled(subject(cast.ours)).status == "not_measured"
    test = services.subscription_create(actor=shop.lead, service=shop.service, plan=shop.plan, customer="Ourselves")
    _key, secret = services.client_key_create(actor=shop.lead, subscription=test, name="test")
    assert call(secret, rows_of(12)).status_code == 200
    found = providers.reconciled(subject(cast.ours))
    assert (found.value, found.detail["units"]) == (True, 12)
    assert "to the last row" in found.text


def test_publishing_needs_gate_5(shop: Any) -> None:
    Service.objects.update(state="draft")
    shop.service.refresh_from_db()
    for state in ("closed", "open", "reopened", "held"):
        pass_gate_5(shop.cast.ours, state)
        with pytest.raises(DomainError, match="Gate 5 of the use case must be passed first"):
            services.service_publish(actor=shop.lead, service=shop.service)
    pass_gate_5(shop.cast.ours, "conditional")
    assert services.service_publish(actor=shop.lead, service=shop.service).state == "published"


def test_a_reopened_gate_is_announced_once(shop: Any, django_capture_on_commit_callbacks: Any) -> None:
    from usecases.services.gates import gate_reopen

    gate = pass_gate_5(shop.cast.ours)
    with django_capture_on_commit_callbacks(execute=True):
        gate_reopen(gate=gate, reason="No longer met: Metering reconciles.")
    lines = Notification.objects.filter(user=shop.lead, kind="service", text__contains="keeps serving")
    assert lines.count() == 1
    announce_watch(str(gate.pk), gate.version, "No longer met: Metering reconciles.")
    assert lines.count() == 1
    shop.service.refresh_from_db()
    assert shop.service.state == "published"
