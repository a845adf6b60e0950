"""People and their roles as services: who is let in, what is taken back, and who may never be the last one."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client

from devices.models import Site
from portal.core import audit, jobs, people, tokens
from portal.core.access import _record_grants, grant_role
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import ApiToken, AuditEntry, Job, JobState, Notification, RoleGrant, User
from portal.core.people import RoleOn
from tests.factories import make_site, make_user
from usecases.models import UseCase

pytestmark = pytest.mark.django_db


@pytest.fixture
def carla():
    person = make_user("carla@test.example", name="Carla")
    grant_role(person, "coe_lead")
    return person


def actions(person) -> list[str]:
    return [entry.action for entry in audit.history(person)][::-1]


def invite(actor, *roles: RoleOn, email: str = "Ada@Test.Example"):
    return people.person_invite(actor=actor, email=email, name="Ada", roles=roles)


def test_an_invitation_makes_an_account_that_only_its_link_opens(carla):
    site = make_site("hall")
    made = invite(carla, RoleOn("ot_engineer", (site,)))
    ada = made.person
    assert (ada.email, ada.state) == ("ada@test.example", "invited")
    assert Site.objects.permitted(ada, "stop").get() == site
    assert actions(ada) == ["user.create", "user.grant", "user.invite"]
    assert made.url.split("/")[-2] not in str(list(AuditEntry.objects.values()))
    client = Client()
    path = made.url.split("8000", 1)[1]
    form = client.get(path, follow=True)
    assert form.status_code == 200
    words = {"password1": "a long enough phrase", "password2": "a long enough phrase"}
    assert client.post(form.redirect_chain[-1][0], words).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password("a long enough phrase")
    assert ada.state == "active"
    assert b"no longer works" in Client().get(path, follow=True).content


def test_a_second_link_ends_the_first_and_a_password(carla):
    first = invite(carla)
    people.person_relink(actor=carla, person=first.person)
    assert b"no longer works" in Client().get(first.url.split("8000", 1)[1], follow=True).content
    omar = make_user("omar@test.example")
    omar.set_password("a long enough phrase")
    omar.save()
    signed_in(omar)
    people.person_relink(actor=carla, person=omar)
    omar.refresh_from_db()
    assert not omar.has_usable_password()
    assert not Session.objects.exists()
    assert "Carla" in Notification.objects.get(user=omar).text
    with pytest.raises(DomainError, match="your own account"):
        people.person_relink(actor=carla, person=carla)


def test_the_link_goes_out_by_mail_where_mail_is_configured(carla, settings, django_capture_on_commit_callbacks):
    settings.EMAIL_HOST = "mail.test.example"
    with django_capture_on_commit_callbacks(execute=True):
        ada = invite(carla).person
    assert [message.to for message in mail.outbox] == [[ada.email]]
    assert "/account/password/reset/key/" in mail.outbox[0].body
    assert "Carla has made an account" in mail.outbox[0].body
    assert Job.objects.get(kind="invitation").state == JobState.SUCCEEDED
    assert "user.invite_sent" in actions(ada)


def test_a_mail_server_that_is_away_is_tried_again(carla, settings, monkeypatch, django_capture_on_commit_callbacks):
    settings.EMAIL_HOST = "mail.test.example"

    def away(*_args, **_kwargs):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr("portal.core.tasks.send_mail", away)
    with django_capture_on_commit_callbacks(execute=True):
        invite(carla)
    job = Job.objects.get(kind="invitation")
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "nobody listens" in job.step
    monkeypatch.setattr("portal.core.tasks.send_mail", mail.send_mail)
    Job.objects.update(created_at="2020-01-01T00:00:00Z")
    jobs.sweep()
    assert len(mail.outbox) == 1


def test_a_taken_address_or_an_unknown_role_makes_no_account(carla):
    invite(carla)
    with pytest.raises(InvalidInput) as refusal:
        invite(carla, email="ADA@test.example")
    assert refusal.value.errors[0]["field"] == "email"
    for wrong in (RoleOn("emperor"), RoleOn("external_partner", (make_site("hall"),))):
        with pytest.raises(InvalidInput) as refusal:
            invite(carla, RoleOn("data_scientist"), wrong, email="new@test.example")
        assert refusal.value.errors[0]["field"].startswith("roles[1].")
    assert not User.objects.filter(email="new@test.example").exists()


def test_a_role_taken_back_leaves_what_another_role_gives(carla):
    hall, works = make_site("hall"), make_site("works")
    omar = make_user("omar@test.example")
    grant_role(omar, "ot_engineer", hall, works)
    grant_role(omar, "safety_officer", hall)
    people.person_revoke(actor=carla, person=omar, role="ot_engineer", containers=[hall])
    assert set(Site.objects.permitted(omar, "stop")) == {hall, works}
    assert set(Site.objects.permitted(omar, "enrol")) == {works}
    assert set(Site.objects.permitted(omar, "sign")) == {hall}
    people.person_revoke(actor=carla, person=omar, role="safety_officer")
    assert set(Site.objects.permitted(omar)) == {works}
    assert User.objects.get(pk=omar.pk).role_keys == ["ot_engineer"]
    for role, places in (("safety_officer", ()), ("ot_engineer", [hall])):
        with pytest.raises(DomainError) as refusal:
            people.person_revoke(actor=carla, person=omar, role=role, containers=places)
        assert refusal.value.code == "not_held"


def test_granting_what_is_held_says_so_and_writes_nothing(carla):
    hall = make_site("hall")
    omar = make_user("omar@test.example")
    people.person_grant(actor=carla, person=omar, role="ot_engineer", containers=[hall])
    with pytest.raises(DomainError) as refusal:
        people.person_grant(actor=carla, person=omar, role="ot_engineer", containers=[hall])
    assert refusal.value.code == "nothing_to_do"
    assert actions(omar) == ["user.grant"]


def signed_in(person) -> Client:
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_deactivating_ends_sessions_and_tokens_for_good(carla):
    omar, other = make_user("omar@test.example"), signed_in(carla)
    browser = signed_in(omar)
    kept, _secret = tokens.token_create(actor=omar, name="etl", scopes=["read"])
    assert browser.get("/settings/").status_code == 200
    people.person_deactivate(actor=carla, person=omar)
    assert browser.get("/settings/").status_code == 302
    assert other.get("/settings/").status_code == 200
    assert ApiToken.objects.get(pk=kept.pk).revoked_at is not None
    people.person_activate(actor=carla, person=omar)
    assert browser.get("/settings/").status_code == 302
    last = audit.history(omar)[1]
    assert (last.changes["tokens_revoked"], last.changes["sessions_ended"]) == (1, 1)


def test_an_inactive_person_is_out_even_while_a_session_row_remains(carla):
    browser = signed_in(carla)
    User.objects.filter(pk=carla.pk).update(is_active=False)
    assert SessionStore(browser.session.session_key).load()
    assert browser.get("/settings/").status_code == 302


def test_nobody_removes_the_last_who_manages_people(carla):
    with pytest.raises(DomainError, match="You are the last person") as refusal:
        people.person_revoke(actor=carla, person=carla, role="coe_lead")
    assert refusal.value.code == "last_manager"
    assert carla.groups.filter(name="coe_lead").exists()
    # Somebody who has not set a password yet cannot stand in.
    invited = invite(carla, RoleOn("coe_lead")).person
    with pytest.raises(DomainError):
        people.person_revoke(actor=carla, person=carla, role="coe_lead")
    invited.set_password("a long enough phrase")
    invited.save()
    people.person_revoke(actor=carla, person=carla, role="coe_lead")
    with pytest.raises(DomainError) as refusal:
        people.person_deactivate(actor=None, person=invited)
    assert refusal.value.code == "last_manager"
    assert User.objects.get(pk=invited.pk).is_active


def test_nobody_deactivates_themselves_and_only_a_superuser_touches_one(carla):
    root = make_user("root@test.example", is_superuser=True)
    with pytest.raises(DomainError, match="your own account"):
        people.person_deactivate(actor=carla, person=carla)
    for service in (people.person_deactivate, people.person_relink):
        with pytest.raises(DomainError) as refusal:
            service(actor=carla, person=root)
        assert refusal.value.code == "superuser"
    with pytest.raises(DomainError):
        people.person_update(actor=carla, person=root, data={"email": "mine@test.example"})
    people.person_update(actor=root, person=root, data={"name": "Root"})


def test_a_changed_address_ends_the_link_and_the_way_back_by_the_old_one(carla):
    from allauth.account.models import EmailAddress

    made = invite(carla)
    assert EmailAddress.objects.filter(user=made.person, email="ada@test.example").exists()
    people.person_update(actor=carla, person=made.person, data={"email": "ada@other.example"})
    assert not EmailAddress.objects.filter(user=made.person, email="ada@test.example").exists()
    assert b"no longer works" in Client().get(made.url.split("8000", 1)[1], follow=True).content


def test_a_stale_version_is_refused_whatever_has_changed(carla):
    omar = make_user("omar@test.example", name="Omar")
    seen = omar.version
    people.person_grant(actor=carla, person=omar, role="ot_engineer", containers=[make_site("hall")])
    for call in (
        lambda: people.person_update(actor=carla, person=omar, data={"name": "O."}, expected_version=seen),
        lambda: people.person_deactivate(actor=carla, person=omar, expected_version=seen),
        lambda: people.person_revoke(actor=carla, person=omar, role="ot_engineer", expected_version=seen),
    ):
        with pytest.raises(StaleWrite):
            call()


def test_grants_of_before_the_record_are_adopted():
    hall, case = make_site("hall"), UseCase.objects.create(code="nox", title="NOx")
    omar = make_user("omar@test.example")
    grant_role(omar, "plant_manager", hall, case)
    grant_role(omar, "ot_engineer")
    RoleGrant.objects.all().delete()
    _record_grants()
    assert set(RoleGrant.objects.values_list("role", "container_id")) == {
        ("plant_manager", hall.pk),
        ("plant_manager", case.pk),
        # The verbs on the use case cover both roles that the person holds.
        ("ot_engineer", case.pk),
    }


def test_a_deleted_site_takes_its_grants_along(carla):
    from portal.core.records import entity_delete

    hall = make_site("hall")
    grant_role(make_user("omar@test.example"), "ot_engineer", hall)
    entity_delete(actor=carla, obj=hall)
    assert not RoleGrant.objects.exists()
