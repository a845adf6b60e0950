"""Statements compiled once: other values give other rows, and what changes in the database is seen at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from portal.core import prepared
from portal.core.access import grant_role
from portal.core.api.throttling import PerClientThrottle
from portal.core.models import User
from tests.factories import make_device, make_site, make_user

pytestmark = pytest.mark.django_db


def codes(client: Any) -> list[str]:
    return [row["code"] for row in client.get("/api/v1/devices").json()["results"]]


def test_people_with_the_same_permissions_get_their_own_rows_by_the_same_statement(api: Any):
    sites = [make_site("first"), make_site("second")]
    for site in sites:
        make_device(site, code=f"{site.code}-gateway")
    people = [make_user(), make_user()]
    for person, site in zip(people, sites, strict=True):
        grant_role(person, "ot_engineer", site)
    assert codes(api(people[0])) == ["first-gateway"]
    before = len(prepared._known)
    assert codes(api(people[1])) == ["second-gateway"]
    assert len(prepared._known) == before


def test_a_grant_and_its_end_are_seen_by_the_next_request(api: Any):
    site = make_site()
    make_device(site, code="gateway")
    person = make_user()
    assert codes(api(person)) == []
    grant_role(person, "ot_engineer", site)
    assert codes(api(User.objects.get(pk=person.pk))) == ["gateway"]
    from devices.models import SiteUserObjectPermission

    SiteUserObjectPermission.objects.filter(user=person).delete()
    assert codes(api(User.objects.get(pk=person.pk))) == []


def test_a_query_without_a_possible_row_has_no_statement():
    assert prepared.compiled(User.objects.none().values_list("id")) is None


def test_the_first_page_and_the_filtered_one_show_the_same_device(api: Any, cast: Any):
    make_device(cast.home, code="seen", wanted={"a": [1, 2.5, None]}, last_seen_at="2026-01-02T03:04:05.678901Z")
    client = api(cast.ot_engineer)
    plain = client.get("/api/v1/devices").json()["results"]
    filtered = client.get("/api/v1/devices", {"updated_since": "2000-01-01T00:00:00Z"}).json()["results"]
    assert plain == filtered
    assert [(row["wanted"], row["last_seen_at"]) for row in plain if row["code"] == "seen"] == [
        ({"a": [1, 2.5, None]}, "2026-01-02T03:04:05.678Z")
    ]


def test_the_rate_limit_lets_a_burst_pass_then_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    cache.clear()
    clock = [1000.0]
    monkeypatch.setattr(PerClientThrottle, "rate", "60/min", raising=False)
    monkeypatch.setattr(PerClientThrottle, "timer", lambda self: clock[0])
    monkeypatch.setattr(PerClientThrottle, "get_cache_key", lambda self, request, view: "throttle:test")

    def asked() -> tuple[bool, float]:
        throttle = PerClientThrottle()
        return throttle.allow_request(None, None), throttle.wait()  # type: ignore[arg-type]

    assert [asked()[0] for _ in range(60)] == [True] * 60
    refused, wait = asked()
    assert not refused
    assert wait == pytest.approx(1.0)
    clock[0] += 1.0
    assert asked() == (True, 0.0)
    assert not asked()[0]
    clock[0] += 60.0
    assert [asked()[0] for _ in range(60)] == [True] * 60
    cache.clear()


def test_values_come_in_the_types_of_the_model():
    made = prepared.compiled(User.objects.filter(pk=prepared.USER).values_list("id", "email"))
    assert made is not None
    person = make_user("asked@test.example")
    assert made.run({prepared.USER: person.pk}) == [(person.pk, "asked@test.example")]
