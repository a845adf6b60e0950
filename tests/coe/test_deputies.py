"""Deputies: who may name one, for how long, and what such a person may sign."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coe import services
from coe.models import Deputy
from portal.core import signing
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry, Notification
from tests.coe.builders import appoint, certify

pytestmark = pytest.mark.django_db


def name(cast: Any, person: Any, deputy: Any, **extra: Any) -> Deputy:
    extra.setdefault("valid_until", wall_now() + timedelta(days=14))
    extra.setdefault("reason", "Holiday.")
    extra.setdefault("actor", person)
    return services.deputy_name(person=person, deputy=deputy, **extra)


def officer(person: Any) -> Any:
    appoint(person)
    certify(person)
    return person


def test_a_deputy_signs_what_both_may_sign_and_the_basis_names_both(cast: Any) -> None:
    officer(cast.safety_officer)
    row = name(cast, cast.safety_officer, cast.plant_manager)
    verdict = signing.may_sign_for(
        deputy=cast.plant_manager, person=cast.safety_officer, kind="gate_3", site=cast.home, now=wall_now()
    )
    assert verdict.allowed, verdict.reason
    assert verdict.role == "AI Safety Officer"
    assert verdict.basis["role_key"] == "plant_manager", "the deputy's own right"
    assert verdict.basis["signed_for"]["person"] == str(cast.safety_officer.pk)
    assert verdict.basis["signed_for"]["basis"]["rests_on"] == "appointment and certificate"
    assert verdict.basis["deputy"]["id"] == str(row.pk)


def test_neither_a_deputy_without_a_right_nor_one_for_somebody_without_it(cast: Any) -> None:
    officer(cast.safety_officer)
    name(cast, cast.safety_officer, cast.ot_engineer)
    verdict = signing.may_sign_for(
        deputy=cast.ot_engineer, person=cast.safety_officer, kind="gate_3", site=cast.home, now=wall_now()
    )
    assert not verdict.allowed
    assert verdict.reason.startswith("A deputy needs the right to sign as well.")
    name(cast, cast.ot_engineer, cast.plant_manager)
    verdict = signing.may_sign_for(
        deputy=cast.plant_manager, person=cast.ot_engineer, kind="gate_3", site=cast.home, now=wall_now()
    )
    assert not verdict.allowed
    assert "could not sign this either" in verdict.reason


@pytest.mark.parametrize("whose", ["deputy", "person"])
def test_a_certificate_that_expires_meanwhile_stops_it_at_once(cast: Any, whose: str) -> None:
    now = wall_now()
    ends = {"deputy": 100.0, "person": 100.0, whose: 3.0}
    for person, key in ((cast.safety_officer, "person"), (cast.data_steward, "deputy")):
        appoint(person)
        certify(person, days=ends[key])
    name(cast, cast.safety_officer, cast.data_steward)
    ask = {"deputy": cast.data_steward, "person": cast.safety_officer, "kind": "gate_3", "site": cast.home}
    assert signing.may_sign_for(**ask, now=now + timedelta(days=2)).allowed
    assert not signing.may_sign_for(**ask, now=now + timedelta(days=4)).allowed


def test_it_holds_for_its_site_and_its_days_only(cast: Any) -> None:
    now = wall_now()
    name(cast, cast.plant_manager, cast.coe_lead, site=cast.home, valid_from=now + timedelta(days=2))
    ask = {"people": [cast.plant_manager.pk], "deputy": cast.coe_lead}
    assert signing.stand_ins(**ask, site=cast.home, now=now) == []
    assert len(signing.stand_ins(**ask, site=cast.home, now=now + timedelta(days=3))) == 1
    assert signing.stand_ins(**ask, site=cast.away, now=now + timedelta(days=3)) == []
    assert signing.stand_ins(**ask, site=None, now=now + timedelta(days=3)) == [], "gate 1 belongs to no site"
    assert signing.stand_ins(**ask, site=cast.home, now=now + timedelta(days=15)) == []


def test_taking_it_back_ends_it_and_is_audited(cast: Any) -> None:
    row = name(cast, cast.plant_manager, cast.coe_lead)
    services.deputy_revoke(actor=cast.plant_manager, deputy=row)
    assert signing.stand_ins(people=[cast.plant_manager.pk], now=wall_now()) == []
    assert [e.action for e in AuditEntry.objects.filter(object_id=str(row.pk)).order_by("at")] == [
        "deputy.create",
        "deputy.revoke",
    ]
    assert Notification.objects.filter(user=cast.coe_lead, kind="deputy").count() == 2
    with pytest.raises(DomainError):
        services.deputy_revoke(actor=cast.plant_manager, deputy=row)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"valid_until": timedelta(days=91)}, "valid_until"),
        ({"valid_until": timedelta(days=-1)}, "valid_until"),
        ({"reason": "  "}, "reason"),
        ({"deputy": "plant_manager"}, "deputy"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(cast: Any, change: dict[str, Any], field: str) -> None:
    given: dict[str, Any] = {"deputy": cast.coe_lead}
    for key, value in change.items():
        given[key] = wall_now() + value if isinstance(value, timedelta) else getattr(cast, value, value)
    with pytest.raises(InvalidInput) as refusal:
        name(cast, cast.plant_manager, **given)
    assert [e["field"] for e in refusal.value.errors] == [field]


def test_who_may_name_one(cast: Any) -> None:
    with pytest.raises(DomainError) as refusal:
        name(cast, cast.safety_officer, cast.data_steward, actor=cast.plant_manager)
    assert int(refusal.value.status) == 403
    with pytest.raises(InvalidInput):
        name(cast, cast.safety_officer, cast.coe_lead, actor=cast.coe_lead)
    assert name(cast, cast.safety_officer, cast.data_steward, actor=cast.coe_lead).person == cast.safety_officer
    with pytest.raises(DomainError) as twice:
        name(cast, cast.safety_officer, cast.data_steward, actor=cast.coe_lead)
    assert twice.value.code == "named_already"


def test_the_page_names_ends_and_exports(cast: Any, as_user: Any) -> None:
    page = as_user(cast.plant_manager)
    until = (wall_now() + timedelta(days=10)).strftime("%Y-%m-%d")
    answer = page.post(
        "/coe/deputies/new", {"deputy": cast.coe_lead.pk, "valid_until": until, "reason": "=Holiday"}, follow=True
    )
    text = answer.content.decode()
    assert "coe_lead" in text
    assert "End now" in text
    exported = b"".join(page.get("/coe/deputies/?export=csv").streaming_content).decode()
    assert "'=Holiday" in exported
    row = Deputy.objects.get()
    assert page.post(f"/coe/deputies/{row.pk}/revoke", follow=True).status_code == 200
    row.refresh_from_db()
    assert row.revoked_by == cast.plant_manager


def test_one_sees_ones_own_and_the_api_answers_the_same(cast: Any, api: Any) -> None:
    row = name(cast, cast.plant_manager, cast.data_steward)
    assert api(cast.data_steward).get("/api/v1/deputies").json()["results"][0]["id"] == str(row.pk)
    assert api(cast.ot_engineer).get("/api/v1/deputies").json()["results"] == []
    assert api(cast.data_steward).post(f"/api/v1/deputies/{row.pk}/revoke").status_code == 403
    assert api(cast.plant_manager).post(f"/api/v1/deputies/{row.pk}/revoke").json()["revoked_by"] == str(
        cast.plant_manager.pk
    )


def test_mail_goes_out_once_where_it_is_set_up(
    cast: Any, settings: Any, django_capture_on_commit_callbacks: Any, mailoutbox: Any
) -> None:
    from portal.core.tasks import mail_lines

    settings.EMAIL_HOST = "mail.test.example"
    with django_capture_on_commit_callbacks(execute=True):
        name(cast, cast.plant_manager, cast.coe_lead, reason="Two\nlines.")
    assert sorted(m.to[0] for m in mailoutbox) == [cast.coe_lead.email, cast.plant_manager.email]
    assert "/coe/deputies/" in mailoutbox[0].body
    assert mail_lines([str(pk) for pk in Notification.objects.values_list("pk", flat=True)]) == 0
    assert len(mailoutbox) == 2
