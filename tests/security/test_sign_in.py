"""Signing in: limits that hold for the guesser and spare the others, sessions that end, no way out to other hosts."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from portal.core.models import User

pytestmark = pytest.mark.django_db
PASSWORD = "Correct-horse-9"


@pytest.fixture
def person() -> User:
    cache.clear()
    return User.objects.create_user("ann@test.example", PASSWORD)


def sign_in(client: Client, email: str, password: str, ip: str = "10.0.0.1", **extra: Any) -> Any:
    headers = {"X-Forwarded-For": f"6.6.6.6, {ip}"}
    return client.post("/account/login/", {"login": email, "password": password, **extra}, headers=headers)


def signed_in(client: Client) -> bool:
    return client.get("/settings/").status_code == 200


def test_behind_a_proxy_the_guesses_of_one_do_not_lock_out_all(person: User, settings: Any) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for n in range(12):
        sign_in(Client(), f"nobody{n}@test.example", "wrong", ip="10.0.0.66")
    guesser, honest = Client(), Client()
    sign_in(guesser, person.email, PASSWORD, ip="10.0.0.66")
    sign_in(honest, person.email, PASSWORD, ip="10.0.0.7")
    assert not signed_in(guesser)
    assert signed_in(honest)


@pytest.mark.parametrize(("behind", "count"), [("1", 1), ("0", 0)])
def test_the_setting_follows_the_proxy(monkeypatch: pytest.MonkeyPatch, behind: str, count: int) -> None:
    monkeypatch.setenv("PHASEGATE_BEHIND_PROXY", behind)
    made = runpy.run_path(str(Path(__file__).parents[2] / "portal" / "settings.py"))
    assert made["ALLAUTH_TRUSTED_PROXY_COUNT"] == count


def test_one_account_is_not_guessed_from_many_addresses(person: User, settings: Any) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for n in range(6):
        sign_in(Client(), person.email, "wrong", ip=f"10.0.1.{n}")
    client = Client()
    sign_in(client, person.email, PASSWORD, ip="10.0.1.99")
    assert not signed_in(client)


def test_a_changed_password_ends_the_other_sessions_and_signing_out_ends_this_one(person: User) -> None:
    mine, stolen = Client(), Client()
    for client in (mine, stolen):
        sign_in(client, person.email, PASSWORD)
        assert signed_in(client)
    new = {"oldpassword": PASSWORD, "password1": "Another-horse-77", "password2": "Another-horse-77"}
    mine.post("/account/password/change/", new)
    assert signed_in(mine)
    assert not signed_in(stolen)
    key = mine.cookies["sessionid"].value
    mine.post("/account/logout/")
    later = Client()
    later.cookies["sessionid"] = key
    assert not signed_in(later)


def test_the_session_of_before_is_not_the_one_of_after(person: User) -> None:
    fixed = Client()
    fixed.cookies["sessionid"] = "a" * 32
    sign_in(fixed, person.email, PASSWORD)
    assert fixed.cookies["sessionid"].value != "a" * 32


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(person: User, target: str) -> None:
    answer = sign_in(Client(), person.email, PASSWORD, next=target)
    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_whether_an_account_exists_is_not_told(person: User) -> None:
    texts = [
        sign_in(Client(), email, "wrong").content.decode().replace(email, "")
        for email in ("ann@test.example", "bob@test.example")
    ]
    known, unknown = (
        [line for line in text.splitlines() if "csrf" not in line and "wall-now" not in line] for text in texts
    )
    assert known == unknown
    resets = [Client().post("/account/password/reset/", {"email": e}) for e in ("ann@test.example", "bob@test.example")]
    assert {(r.status_code, r["Location"]) for r in resets} == {(302, "/account/password/reset/done/")}


@pytest.mark.parametrize("htmx", [{}, {"HTTP_HX_REQUEST": "true"}])
def test_a_form_of_another_site_writes_nothing(person: User, htmx: dict[str, str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    assert client.post("/switch/site/", {"site": ""}, **htmx).status_code == 403
    body = {"name": "x", "scopes": ["write"]}
    assert client.post("/api/v1/tokens", body, content_type="application/json").status_code in {401, 403}
