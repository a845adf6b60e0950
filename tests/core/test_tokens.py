"""Personal access tokens: scopes, expiry, revoking, never more than their owner."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from portal.core import tokens
from portal.core.clock import rfc3339, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import ApiToken, AuditEntry
from tests.factories import make_device, make_location

pytestmark = pytest.mark.django_db


def bearer(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def token(user, *scopes, **extra):
    return tokens.token_create(actor=user, name="t", scopes=list(scopes), **extra)


def test_only_the_hash_is_kept_and_the_text_is_shown_once(cast, api):
    answer = api(cast.ot_engineer).post("/api/v1/tokens", {"name": "etl", "scopes": ["read"]})
    assert answer.status_code == 201
    secret = answer.json()["secret"]
    kept = ApiToken.objects.get()
    assert kept.token_hash == ApiToken.digest(secret)
    assert secret not in str(ApiToken.objects.values())
    assert secret not in str(list(AuditEntry.objects.values()))
    assert kept.token_hash not in str(list(AuditEntry.objects.values()))
    assert "secret" not in api(cast.ot_engineer).get(f"/api/v1/tokens/{kept.pk}").json()
    assert bearer(secret).get("/api/v1/devices").status_code == 200


def test_a_read_token_does_not_write(cast):
    _, secret = token(cast.ot_engineer, "read")
    answer = bearer(secret).post(
        "/api/v1/locations", {"site": str(cast.home.pk), "level": "area", "code": "a", "name": "A"}
    )
    assert answer.status_code == 403
    assert answer.json()["code"] == "scope"


def test_an_app_scope_opens_that_app_only(cast):
    _, secret = token(cast.ot_engineer, "devices:read")
    assert bearer(secret).get("/api/v1/devices").status_code == 200
    assert bearer(secret).get("/api/v1/use-cases").status_code == 403
    _, secret = token(cast.ot_engineer, "devices:write")
    assert bearer(secret).get("/api/v1/devices").status_code == 200
    spot = make_location(cast.home)
    assert bearer(secret).patch(f"/api/v1/locations/{spot.pk}", {"name": "B"}, format="json").status_code == 200


def test_a_token_never_exceeds_its_owner(cast):
    device = make_device(cast.home)
    _, secret = token(cast.plant_manager, "write")
    assert bearer(secret).patch(f"/api/v1/devices/{device.pk}", {"name": "B"}).status_code == 403
    _, secret = token(cast.stranger, "write")
    assert bearer(secret).get(f"/api/v1/devices/{device.pk}").status_code == 404


def test_expired_revoked_unknown_and_inactive_are_401(cast):
    kept, secret = token(cast.ot_engineer, "read", expires_at=wall_now() + timedelta(hours=1))
    assert bearer(secret).get("/api/v1/devices").status_code == 200
    ApiToken.objects.update(expires_at=wall_now() - timedelta(seconds=1))
    assert bearer(secret).get("/api/v1/devices").status_code == 401
    other, secret = token(cast.ot_engineer, "read")
    tokens.token_revoke(actor=cast.ot_engineer, token=other)
    answer = bearer(secret).get("/api/v1/devices")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    with pytest.raises(DomainError):
        tokens.token_revoke(actor=cast.ot_engineer, token=other)
    assert bearer("pgt_unknown").get("/api/v1/devices").status_code == 401
    _, secret = token(cast.ot_engineer, "read")
    cast.ot_engineer.is_active = False
    cast.ot_engineer.save()
    assert bearer(secret).get("/api/v1/devices").status_code == 401
    assert kept.prefix.startswith("pgt_")


def test_scopes_and_expiry_are_checked_when_it_is_made(cast, api):
    for wrong in (["everything"], []):
        with pytest.raises(InvalidInput):
            token(cast.ot_engineer, *wrong)
    with pytest.raises(InvalidInput):
        token(cast.ot_engineer, "read", expires_at=wall_now() - timedelta(days=1))
    late = {"name": "x", "scopes": ["read"], "expires_at": rfc3339(wall_now() - timedelta(days=1))}
    answer = api(cast.ot_engineer).post("/api/v1/tokens", late)
    assert answer.json()["errors"][0]["field"] == "expires_at"


def test_a_token_makes_no_token_with_more_scopes_than_its_own(cast):
    _, secret = token(cast.ot_engineer, "core:write", "devices:read")
    assert bearer(secret).post("/api/v1/tokens", {"name": "x", "scopes": ["write"]}, format="json").status_code == 403
    made = bearer(secret).post("/api/v1/tokens", {"name": "x", "scopes": ["devices:read"]}, format="json")
    assert made.status_code == 201


def test_revoking_through_the_api_and_the_page(cast, api, as_user):
    kept, secret = token(cast.ot_engineer, "read")
    assert api(cast.stranger).delete(f"/api/v1/tokens/{kept.pk}").status_code == 404
    assert api(cast.ot_engineer).delete(f"/api/v1/tokens/{kept.pk}").status_code == 204
    assert bearer(secret).get("/api/v1/devices").status_code == 401
    page = as_user(cast.ot_engineer)
    assert page.post("/settings/tokens/", {"name": "page", "scopes": ["read"]}).status_code == 302
    assert b"pgt_" in page.get("/settings/tokens/").content
    fresh = ApiToken.objects.get(name="page")
    assert page.post(f"/settings/tokens/{fresh.pk}/revoke/").status_code == 302
    fresh.refresh_from_db()
    assert fresh.revoked_at is not None
