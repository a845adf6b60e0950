"""The menu shows what a person's roles can use."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portal.core.access import grant_role
from portal.core.navigation import is_inside
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def entries(client: Any, page: str = "/settings/") -> list[str]:
    html = client.get(page).content.decode()
    nav = re.search(r'<nav[^>]*class="pg-nav.*?</nav>', html, re.DOTALL)
    assert nav
    return re.findall(r'<a [^>]*href="([^"]+)"', nav.group())


def test_an_external_partner_is_led_to_the_catalogue_and_nowhere_else(cast: Any, as_user: Any) -> None:
    partner = make_user("partner@example.org")
    grant_role(partner, "external_partner")
    assert not is_inside(partner)
    shown = set(entries(as_user(partner)))
    assert {"/catalogue/", "/usage/", "/invoices/", "/settings/"} <= shown
    assert shown.isdisjoint(
        {"/use-cases/", "/devices/", "/pipelines/", "/coe/", "/my-plant/", "/scale-map/", "/trust/"}
    )


def test_a_partner_with_a_second_role_sees_its_pages_too(cast: Any, as_user: Any) -> None:
    partner = make_user("partner@example.org")
    grant_role(partner, "external_partner")
    grant_role(partner, "ot_engineer", cast.home)
    assert {"/devices/", "/catalogue/"} <= set(entries(as_user(partner)))


def test_everybody_else_sees_every_section(cast: Any, as_user: Any) -> None:
    for person in (cast.plant_manager, cast.executive, cast.integrator, cast.stranger):
        assert {"/", "/use-cases/", "/devices/", "/trust/", "/coe/", "/catalogue/"} <= set(entries(as_user(person)))
