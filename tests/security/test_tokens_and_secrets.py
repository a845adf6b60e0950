"""A stolen token gains nothing by making others, and what is shown once is kept nowhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from portal.core import tokens
from portal.core.clock import rfc3339, wall_now
from portal.core.models import ApiToken, IdempotencyRecord
from tests.factories import make_device

pytestmark = pytest.mark.django_db


def bearer(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.mark.parametrize("asked", [{}, {"expires_at": rfc3339(wall_now() + timedelta(days=3650))}])
def test_a_token_that_ends_makes_none_that_lasts(cast: Any, asked: dict[str, str]) -> None:
    end = wall_now() + timedelta(hours=1)
    _, secret = tokens.token_create(actor=cast.ot_engineer, name="short", scopes=["core:write"], expires_at=end)
    answer = bearer(secret).post(
        "/api/v1/tokens", {"name": "for good", "scopes": ["core:write"]} | asked, format="json"
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope")
    assert ApiToken.objects.count() == 1
    within = {"name": "shorter", "scopes": ["core:write"], "expires_at": rfc3339(end - timedelta(minutes=1))}
    assert bearer(secret).post("/api/v1/tokens", within, format="json").status_code == 201


def test_the_text_of_a_token_is_not_kept_with_the_answer_to_an_idempotency_key(cast: Any, api: Any) -> None:
    client, body = api(cast.ot_engineer), {"name": "etl", "scopes": ["read"]}
    first = client.post("/api/v1/tokens", body, format="json", HTTP_IDEMPOTENCY_KEY="one")
    again = client.post("/api/v1/tokens", body, format="json", HTTP_IDEMPOTENCY_KEY="one")
    assert first.json()["secret"].encode() not in bytes(IdempotencyRecord.objects.get().body or b"")
    assert again["Idempotent-Replay"] == "true"
    assert again.json() == {name: value for name, value in first.json().items() if name != "secret"}


def test_a_claim_code_is_not_kept_either(cast: Any, api: Any) -> None:
    device = make_device(cast.home)
    for path, body in ((f"/api/v1/devices/{device.pk}/enrolments", {}), ("/api/v1/enrolments", {"device": device.pk})):
        answer = api(cast.ot_engineer).post(path, body, format="json", HTTP_IDEMPOTENCY_KEY=path)
        assert answer.status_code == 201
        kept = bytes(IdempotencyRecord.objects.get(key=path).body or b"")
        assert answer.json()["claim_code"].encode() not in kept
        assert answer.json()["code_hint"].encode() in kept


def test_a_link_that_sets_a_password_is_not_kept_either(cast: Any, api: Any) -> None:
    body = {"email": "new@test.example"}
    answer = api(cast.coe_lead).post("/api/v1/people", body, format="json", HTTP_IDEMPOTENCY_KEY="p")
    assert answer.status_code == 201
    kept = bytes(IdempotencyRecord.objects.get().body or b"")
    assert answer.json()["set_password_url"].encode() not in kept
    assert b"new@test.example" in kept


def test_the_scope_of_one_app_does_not_make_people_who_may_everything(cast: Any) -> None:
    _, narrow = tokens.token_create(actor=cast.coe_lead, name="mirror", scopes=["core:write"])
    invited = {"email": "mine@test.example", "roles": [{"role": "coe_lead"}]}
    assert bearer(narrow).get("/api/v1/people").status_code == 200
    person = f"/api/v1/people/{cast.safety_officer.pk}"
    for path, body in (("/api/v1/people", invited), (f"{person}/link", {}), (f"{person}/grant", {"role": "coe_lead"})):
        answer = bearer(narrow).post(path, body, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope")
    assert bearer(narrow).patch(person, {"email": "mine@test.example"}, format="json").status_code == 403
    _, whole = tokens.token_create(actor=cast.coe_lead, name="directory", scopes=["write"])
    assert bearer(whole).post("/api/v1/people", invited, format="json").status_code == 201
