"""The first people of an installation come from the command line."""

import io

import pytest
from django.core.management import CommandError, call_command

from portal.core.models import AuditEntry, User
from tests.factories import make_site

pytestmark = pytest.mark.django_db


def test_makes_an_account_with_a_role_on_a_site(monkeypatch):
    site = make_site("hall-1")
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough pass phrase\n"))
    call_command("person_add", "ada@example.com", "--role", "ot_engineer", "--site", "hall-1", stdout=io.StringIO())
    user = User.objects.get(email="ada@example.com")
    assert user.check_password("a long enough pass phrase")
    assert type(site).objects.permitted(user, "stop").get() == site
    assert set(AuditEntry.objects.filter(object_id=str(user.pk)).values_list("action", flat=True)) == {
        "user.create",
        "user.grant",
    }


def test_a_weak_password_or_an_unknown_site_is_refused(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(CommandError):
        call_command("person_add", "ada@example.com", stdout=io.StringIO())
    with pytest.raises(CommandError, match="no site"):
        call_command("person_add", "ada@example.com", "--site", "nowhere", stdout=io.StringIO())
    assert not User.objects.filter(email="ada@example.com").exists()
