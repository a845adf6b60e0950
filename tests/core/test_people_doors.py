"""People at the doors: the pages under Settings, /api/v1/people and the command line."""

from __future__ import annotations

import csv
import io

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from devices.models import Site
from portal.core import people
from portal.core.access import grant_role
from portal.core.models import RoleGrant, User
from portal.env import email_from_url
from tests.factories import make_user

pytestmark = pytest.mark.django_db
URL = "/api/v1/people"


@pytest.fixture
def omar(cast):
    person = make_user("omar@test.example", name="Omar", organisation="Works")
    grant_role(person, "ot_engineer", cast.home)
    return person


# ---- the API ----------------------------------------------------------------------------------------------------------


def test_inviting_through_the_api(cast, api):
    client = api(cast.coe_lead)
    roles = [{"role": "plant_manager", "sites": [str(cast.home.pk)], "use_cases": [str(cast.ours.pk)]}]
    answer = client.post(URL, {"email": "ada@test.example", "name": "Ada", "roles": roles})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert body["state"] == "invited"
    assert body["roles"] == [
        {"role": "plant_manager", "sites": [str(cast.home.pk)], "use_cases": [str(cast.ours.pk)], "services": []}
    ]
    assert "/account/password/reset/key/" in body["set_password_url"]
    again = client.get(answer["Location"])
    assert "set_password_url" not in again.json()
    assert again["ETag"] == answer["ETag"]


def test_only_those_who_manage_people_find_them(cast, api, omar):
    assert api(cast.plant_manager).get(URL).json()["results"] == []
    assert api(cast.plant_manager).get(f"{URL}/{omar.pk}").status_code == 404
    refused = api(cast.plant_manager).post(URL, {"email": "ada@test.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert "CoE lead" in refused.json()["detail"]
    assert not User.objects.filter(email="ada@test.example").exists()


def test_a_form_or_a_body_may_still_name_anybody(cast, api, omar):
    """Accounts are hidden, people are not: an owner is chosen by somebody who does not manage people."""
    from portal.core.access import offered

    assert omar in offered(User.objects.all(), cast.plant_manager)
    assert cast.away not in offered(Site.objects.all(), cast.plant_manager)


def test_roles_and_places_by_the_api_with_versions(cast, api, omar):
    client = api(cast.coe_lead)
    read = client.get(f"{URL}/{omar.pk}")
    body = {"role": "ot_engineer", "sites": [str(cast.away.pk)]}
    given = client.post(f"{URL}/{omar.pk}/grant", body, HTTP_IF_MATCH=read["ETag"])
    assert given.status_code == 200, given.content
    assert given.json()["roles"][0]["sites"] == sorted([str(cast.home.pk), str(cast.away.pk)])
    stale = client.post(f"{URL}/{omar.pk}/revoke", body, HTTP_IF_MATCH=read["ETag"])
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_write")
    taken = client.post(f"{URL}/{omar.pk}/revoke", body, HTTP_IF_MATCH=given["ETag"])
    assert taken.json()["roles"][0]["sites"] == [str(cast.home.pk)]
    assert client.post(f"{URL}/{omar.pk}/revoke", {"role": "ot_engineer"}).json()["roles"] == []
    assert not Site.objects.permitted(omar).exists()
    missing = client.post(f"{URL}/{omar.pk}/grant", {"role": "ot_engineer", "sites": [str(omar.pk)]})
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (400, "sites")
    partner = client.post(f"{URL}/{omar.pk}/grant", {"role": "external_partner", "sites": [str(cast.home.pk)]})
    assert (partner.status_code, partner.json()["errors"][0]["field"]) == (400, "sites")


def test_changing_and_leaving_through_the_api(cast, api, omar):
    client = api(cast.coe_lead)
    changed = client.patch(f"{URL}/{omar.pk}", {"organisation": "Foundry"})
    assert (changed.status_code, changed.json()["organisation"]) == (200, "Foundry")
    taken = client.patch(f"{URL}/{omar.pk}", {"email": cast.coe_lead.email.upper()})
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (400, "email")
    assert client.post(f"{URL}/{omar.pk}/deactivate").json()["state"] == "deactivated"
    assert client.post(f"{URL}/{omar.pk}/deactivate").status_code == 409
    assert client.post(f"{URL}/{omar.pk}/link").json()["code"] == "inactive"
    assert client.post(f"{URL}/{omar.pk}/activate").json()["is_active"] is True
    assert "set_password_url" in client.post(f"{URL}/{omar.pk}/link").json()
    assert client.delete(f"{URL}/{omar.pk}").status_code == 405


def test_filters_of_page_and_api_are_one(cast, api, as_user, omar):
    User.objects.filter(pk=cast.stranger.pk).update(is_active=False)
    invited = User.objects.create_user("ada@test.example", None, name="Ada")
    client, page = api(cast.coe_lead), as_user(cast.coe_lead)
    for query, found in (
        ("q=works", [omar.email]),
        ("role=executive", [cast.executive.email]),
        ("state=deactivated", [cast.stranger.email]),
        ("state=invited", [invited.email]),
    ):
        assert [row["email"] for row in client.get(f"{URL}?{query}").json()["results"]] == found
        text = b"".join(page.get(f"/settings/people/?{query}&export=csv").streaming_content).decode()
        assert [row["E-mail address"] for row in csv.DictReader(io.StringIO(text))] == found


# ---- the pages --------------------------------------------------------------------------------------------------------


def test_the_list_and_its_export_say_where_roles_hold(cast, as_user, omar):
    grant_role(omar, "data_scientist")
    client = as_user(cast.coe_lead)
    text = client.get("/settings/people/?q=omar").content.decode()
    assert cast.home.name in text
    assert "nowhere yet" in text
    lines = b"".join(client.get("/settings/people/?q=omar&export=csv").streaming_content).decode()
    assert f"OT engineer: {cast.home}; Data scientist: nowhere yet" in lines
    refused = as_user(cast.plant_manager).get("/settings/people/")
    assert refused.status_code == 403
    assert b"CoE lead may: ask one of them" in refused.content


def test_inviting_on_the_page_shows_the_link_once(cast, as_user):
    client = as_user(cast.coe_lead)
    first = {"email": "ada@test.example", "name": "Ada", "role_0": "ot_engineer", "where_0": f"sites:{cast.home.pk}"}
    more = client.post("/settings/people/invite/", first | {"count": "1", "more": "1"})
    assert more.status_code == 200
    assert b'name="role_1"' in more.content
    assert b'value="ada@test.example"' in more.content
    assert not User.objects.filter(email="ada@test.example").exists()
    wrong = first | {"count": "2", "role_1": "external_partner", "where_1": f"sites:{cast.home.pk}"}
    refused = client.post("/settings/people/invite/", wrong)
    assert refused.status_code == 422
    assert b'id="id_where_1_error"' in refused.content
    done = client.post("/settings/people/invite/", wrong | {"role_1": "data_scientist"})
    assert done.status_code == 302, done.content
    page = client.get(done["Location"])
    assert b"/account/password/reset/key/" in page.content
    assert page["Cache-Control"] == "no-store"
    assert b"/account/password/reset/key/" not in client.get(done["Location"]).content
    ada = User.objects.get(email="ada@test.example")
    assert ada.role_keys == ["data_scientist", "ot_engineer"]


def test_the_page_of_a_person_takes_and_gives(cast, as_user, omar):
    client = as_user(cast.coe_lead)
    base = f"/settings/people/{omar.pk}/"
    assert client.post(f"{base}revoke/", {"role": "ot_engineer"}).status_code == 400
    assert client.post(f"{base}revoke/", {"role": "ot_engineer", "place": "sites:x"}).status_code == 404
    assert RoleGrant.objects.filter(user=omar).exists()
    gone = client.post(f"{base}revoke/", {"role": "ot_engineer", "place": f"sites:{cast.home.pk}"}, follow=True)
    assert b"no longer OT engineer on" in gone.content
    assert b"sees nothing" in gone.content
    client.post(f"{base}grant/", {"role": "plant_manager", "where": [f"sites:{cast.away.pk}"]})
    assert Site.objects.permitted(omar, "sign").get() == cast.away
    client.post(f"{base}revoke/", {"role": "plant_manager", "whole": "1"})
    assert User.objects.get(pk=omar.pk).role_keys == ["ot_engineer"]


def test_a_refusal_comes_back_to_the_page(cast, as_user):
    client = as_user(cast.coe_lead)
    own = f"/settings/people/{cast.coe_lead.pk}/"
    assert b"person-deactivate" not in client.get(own).content
    refused = client.post(f"{own}revoke/", {"role": "coe_lead", "whole": "1"})
    assert refused.status_code == 409
    assert b"You are the last person who can manage people" in refused.content
    root = make_user("root@test.example", name="Root", is_superuser=True)
    page = client.get(f"/settings/people/{root.pk}/")
    assert b"Deactivate" not in page.content
    assert client.post(f"/settings/people/{root.pk}/edit/", {"email": "a@b.example", "name": "x"}).status_code == 403


def test_places_that_the_viewer_may_not_see_are_counted_not_named(cast, as_user, omar):
    from django.contrib.auth.models import Permission

    people.person_grant(actor=cast.coe_lead, person=omar, role="ot_engineer", containers=[cast.away])
    clerk = make_user("clerk@test.example", name="Clerk")
    clerk.user_permissions.add(Permission.objects.get(codename="manage_users"))
    text = as_user(clerk).get(f"/settings/people/{omar.pk}/").content.decode()
    assert str(cast.home) not in text
    assert str(cast.away) not in text
    assert "gave OT engineer" in text
    assert "And 2 places that you may not see" in text
    assert str(cast.away) in as_user(cast.coe_lead).get(f"/settings/people/{omar.pk}/").content.decode()
    assert as_user(clerk).get("/settings/people/").status_code == 200


# ---- the command line and the mail server -----------------------------------------------------------------------------


def test_the_command_gives_a_link_or_more_roles(cast):
    out = io.StringIO()
    call_command("person_add", "ada@test.example", "--invite", "--role", "ot_engineer", "--site", "home", stdout=out)
    assert "/account/password/reset/key/" in out.getvalue()
    call_command("person_add", "ada@test.example", "--role", "ot_engineer", "--site", "away", stdout=out)
    call_command("person_add", "ada@test.example", "--role", "ot_engineer", "--site", "away", stdout=out)
    assert "there already" in out.getvalue()
    ada = User.objects.get(email="ada@test.example")
    assert Site.objects.permitted(ada).count() == 2
    with pytest.raises(CommandError, match="address"):
        call_command("person_add", "nonsense", "--invite", stdout=out)


def test_the_mail_server_from_its_address():
    assert email_from_url("").host == ""
    server = email_from_url("smtp+starttls://mail:p%40ss@mail.example.com")
    assert (server.host, server.port, server.user, server.password) == ("mail.example.com", 587, "mail", "p@ss")
    assert (server.starttls, server.tls) == (True, False)
    assert email_from_url("smtps://mail.example.com:2465").port == 2465
    for wrong in ("http://mail.example.com", "smtp://", "mail.example.com"):
        with pytest.raises(ImproperlyConfigured, match="PHASEGATE_EMAIL_URL"):
            email_from_url(wrong)


def test_the_reset_page_says_when_no_mail_is_sent(client, settings):
    settings.EMAIL_HOST = ""
    assert b"sends no e-mail" in client.get("/account/password/reset/").content
    settings.EMAIL_HOST = "mail.test.example"
    assert b"Send the link" in client.get("/account/password/reset/").content
