"""The door of paying clients, end to end with a real model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import jsonschema
import numpy as np
import pytest
from django.test import Client

from governance.models import ModelVersion
from marketplace import scoring, services
from marketplace.models import ClientKey, Subscription, UsageEvent
from marketplace.services.metering import Call, call_score
from tests.factories import make_model, make_user
from tests.marketplace.conftest import make_live, pass_gate_5, rows_of

pytestmark = pytest.mark.django_db
MAY = datetime(2026, 5, 31, 23, 59, 30, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, 0, 0, 5, tzinfo=UTC)


def used(shop: Any) -> int:
    return Subscription.objects.get(pk=shop.subscription.pk).used_in_period


def test_it_predicts_what_the_trained_model_predicts(shop: Any, call: Any, trained: Any) -> None:
    inputs = np.random.default_rng(9).normal([15, 1013], [5, 5], (300, 2)).round(3)
    answer = call(shop.secret, [{"AT": a, "AP": p} for a, p in inputs])
    assert answer.status_code == 200, answer.content
    body = answer.json()
    found = np.array([p["value"] for p in body["predictions"]])
    assert np.abs(found - trained.predict(inputs.astype(np.float32))).max() < 1e-3
    assert (body["output"], body["unit"], body["model_version"]) == ("NOX", "mg/m3", 1)
    assert body["rows_scored"] == 300
    event = UsageEvent.objects.get()
    assert (event.units, event.key_id, event.model_version_ref) == (300, shop.key.pk, shop.version.pk)
    assert used(shop) == 300
    assert ClientKey.objects.get().last_used_at is not None


def test_the_answer_and_the_request_fit_the_published_document(shop: Any, call: Any, client: Any) -> None:
    document = client.get("/services/nox/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    row = schemas["Row"]["properties"]["AT"]
    assert (row["x-unit"], row["x-valid-range"]) == ("Cel", [-20.0, 50.0])
    assert "Ambient temperature" in row["description"]

    def fits(value: Any, name: str) -> None:
        jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": document["components"]})

    rows = [*rows_of(1), {"AT": 99.0, "AP": 1013.0}]
    fits({"rows": rows}, "Rows")
    fits(call(shop.secret, rows).json(), "Scores")
    fits(call(shop.secret, []).json(), "Problem")
    fits(client.get("/services/nox/v1/health").json(), "Health")


def test_a_row_outside_a_valid_range_is_answered_with_null_and_not_billed(shop: Any, call: Any) -> None:
    rows = [*rows_of(2), {"AT": 80, "AP": 1013}, {"AT": 10, "AP": None}]
    body = call(shop.secret, rows).json()
    assert [p["value"] is None for p in body["predictions"]] == [False, False, True, True]
    assert body["predictions"][2]["reason"] == "AT is 80; the model is valid from -20 to 50."
    assert body["predictions"][3]["reason"] == "AP has no value."
    event = UsageEvent.objects.get()
    assert (event.units, event.rows_refused, used(shop)) == (2, 2, 2)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"[1]", 400, "rows"),
        (b'{"rows": []}', 400, "rows"),
        (b'{"rows": [1]}', 400, "rows[0]"),
        (b'{"rows": [{"AT": 1}]}', 400, "rows[0].AP"),
        (b'{"rows": [{"AT": "1", "AP": 1}]}', 400, "rows[0].AT"),
        (b'{"rows": [{"AT": true, "AP": 1}]}', 400, "rows[0].AT"),
        (b'{"rows": [{"AT": 1e39, "AP": 1}]}', 400, "rows[0].AT"),
        (b'{"rows": [{"AT": 1, "AP": 1, "X": 1}]}', 400, "rows[0].X"),
        (b'{"rows": [{"AT": 1, "AP": 1}], "n": 1}', 400, "n"),
    ],
)
def test_bad_input_names_the_place_and_costs_nothing(
    shop: Any, call: Any, body: bytes, status: int, field: str | None
) -> None:
    answer = call(shop.secret, None, body=body)
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    if field is not None:
        assert field in [e["field"] for e in answer.json()["errors"]]
    assert not UsageEvent.objects.exists()
    assert used(shop) == 0


def test_too_much_and_the_wrong_kind(shop: Any, call: Any) -> None:
    assert call(shop.secret, rows_of(1001)).status_code == 413
    assert call(shop.secret, None, body=b" " * (10 * 1024 * 1024)).status_code == 413
    assert call(shop.secret, rows_of(1), content_type="text/csv").status_code == 415
    answer = call(shop.secret, rows_of(1), HTTP_IDEMPOTENCY_KEY="x" * 201)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key")


def test_wrong_methods_are_refused_as_problems(shop: Any, client: Any) -> None:
    answer = client.get("/services/nox/v1/score")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert answer.json()["code"] == "method_not_allowed"
    assert client.delete("/services/nox/v1/health").status_code == 405


def test_a_stranger_cannot_tell_whether_a_service_exists(shop: Any, call: Any, client: Any) -> None:
    for secret in (None, "", "pgc_wrong", shop.secret + "x"):
        known, unknown = call(secret, rows_of(1)), call(secret, rows_of(1), code="nothing")
        assert known.status_code == unknown.status_code == 401
        assert known.json() == unknown.json()
        assert known["WWW-Authenticate"].startswith("Bearer")
    other = call(shop.secret, rows_of(1), code="nothing")
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    assert client.get("/services/nothing/v1/openapi.json").status_code == 404
    assert client.get("/services/nothing/v1/health").status_code == 404


def test_a_key_of_one_service_opens_no_other(shop: Any, call: Any, trained: Any) -> None:
    cast = shop.cast
    model = make_model(cast.theirs, features=["AT", "AP"])
    make_live(model, trained)
    other = services.service_create(actor=shop.lead, use_case=cast.theirs, model=model, code="other", name="Other")
    services.plan_create(actor=shop.lead, service=other, name="P", monthly_quota=10)
    here, nowhere = call(shop.secret, rows_of(1), code="other"), call(shop.secret, rows_of(1), code="nowhere")
    assert here.status_code == 404
    assert here.json() == nowhere.json()


def test_a_draft_answers_its_internal_test_only(shop: Any, call: Any, client: Any, trained: Any) -> None:
    cast = shop.cast
    model = make_model(cast.theirs, features=["AT", "AP"])
    make_live(model, trained)
    draft = services.service_create(actor=shop.lead, use_case=cast.theirs, model=model, code="draft", name="Draft")
    plan = services.plan_create(actor=shop.lead, service=draft, name="P", monthly_quota=10)
    test = services.subscription_create(actor=shop.lead, service=draft, plan=plan, customer="Ourselves")
    assert test.internal
    _key, secret = services.client_key_create(actor=shop.lead, subscription=test, name="k")
    assert call(secret, rows_of(1), code="draft").status_code == 200
    assert client.get("/services/draft/v1/openapi.json").status_code == 404
    mine = client.get("/services/draft/v1/openapi.json", HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert mine.status_code == 200
    strange = client.get("/services/draft/v1/openapi.json", HTTP_AUTHORIZATION=f"Bearer {shop.secret}")
    assert strange.status_code == 404


def test_revoked_suspended_ended_retired(shop: Any, call: Any) -> None:
    subscription = shop.subscription
    services.subscription_suspend(actor=shop.lead, subscription=subscription)
    assert call(shop.secret, rows_of(1)).json()["code"] == "subscription_suspended"
    services.subscription_resume(actor=shop.lead, subscription=subscription)
    assert call(shop.secret, rows_of(1)).status_code == 200
    services.client_key_revoke(actor=shop.partner, key=shop.key)
    assert call(shop.secret, rows_of(1)).status_code == 401
    _key, second = services.client_key_create(actor=shop.partner, subscription=subscription, name="second")
    services.service_retire(actor=shop.lead, service=shop.service)
    assert call(second, rows_of(1)).status_code == 410
    shop.partner.is_active = False
    shop.partner.save()
    assert call(second, rows_of(1)).status_code == 401


def test_the_same_idempotency_key_gives_the_same_answer_and_is_billed_once(shop: Any, call: Any) -> None:
    first = call(shop.secret, rows_of(3), HTTP_IDEMPOTENCY_KEY="one")
    again = call(shop.secret, rows_of(3), HTTP_IDEMPOTENCY_KEY="one")
    assert first.content == again.content
    assert again["Idempotent-Replay"] == "true"
    assert UsageEvent.objects.count() == 1
    assert used(shop) == 3
    other = call(shop.secret, rows_of(4), HTTP_IDEMPOTENCY_KEY="one")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert call(shop.secret, rows_of(3)).status_code == 200
    assert call(shop.secret, rows_of(3)).status_code == 200
    assert UsageEvent.objects.count() == 3


def test_a_repeat_after_the_kept_answer_expired_is_answered_but_not_billed_again(shop: Any, call: Any) -> None:
    from portal.core.models import IdempotencyRecord

    call(shop.secret, rows_of(3), HTTP_IDEMPOTENCY_KEY="one")
    IdempotencyRecord.objects.all().delete()
    assert call(shop.secret, rows_of(3), HTTP_IDEMPOTENCY_KEY="one").status_code == 200
    assert UsageEvent.objects.count() == 1
    assert used(shop) == 3


def test_two_customers_may_use_the_same_idempotency_key(shop: Any, call: Any) -> None:
    person = make_user()
    services.partner_admit(actor=shop.lead, service=shop.service, email=person.email)
    second = services.subscription_create(actor=person, service=shop.service, plan=shop.plan, customer="Second")
    _key, secret = services.client_key_create(actor=person, subscription=second, name="k")
    call(shop.secret, rows_of(1), HTTP_IDEMPOTENCY_KEY="one")
    mine = call(secret, rows_of(2), HTTP_IDEMPOTENCY_KEY="one")
    assert (mine.status_code, mine.json()["rows_scored"]) == (200, 2)
    assert UsageEvent.objects.filter(subscription=second).count() == 1


def test_the_quota_is_decided_before_anything_is_served(shop: Any, call: Any) -> None:
    assert call(shop.secret, rows_of(998)).status_code == 200
    over = call(shop.secret, rows_of(3))
    assert over.status_code == 429
    body = over.json()
    assert (body["code"], body["violated-policies"]) == ("quota_exceeded", ["month"])
    assert int(over["Retry-After"]) > 0
    assert "r=2" in over["RateLimit"]
    assert '"month";q=1000' in over["RateLimit-Policy"]
    last = call(shop.secret, rows_of(2))
    assert (last.status_code, used(shop)) == (200, 1000)
    assert '"month";r=0' in last["RateLimit"]
    assert UsageEvent.objects.count() == 2


def test_calls_a_minute_are_limited(shop: Any, call: Any) -> None:
    services.plan_update(actor=shop.lead, plan=shop.plan, data={"rate_per_minute": 2})
    with mock.patch("marketplace.services.metering.wall_now", return_value=MAY):
        codes = [call(shop.secret, rows_of(1)).status_code for _ in range(3)]
        over = call(shop.secret, rows_of(1))
    assert codes == [200, 200, 429]
    assert (over.json()["code"], over["Retry-After"]) == ("rate_exceeded", "30")
    with mock.patch("marketplace.services.metering.wall_now", return_value=JUNE):
        assert call(shop.secret, rows_of(1)).status_code == 200


def test_a_new_month_starts_afresh(shop: Any) -> None:
    key = ClientKey.objects.select_related("subscription__plan", "subscription__service__model").get()
    body = Call(rows_of(1000), "", "0" * 64, "/x")
    call_score(key=key, call=body, now=MAY)
    assert (key.subscription.period, key.subscription.used_in_period) == ("2026-05", 1000)
    call_score(key=key, call=Call(rows_of(7), "", "0" * 64, "/x"), now=JUNE)
    assert (key.subscription.period, key.subscription.used_in_period) == ("2026-06", 7)


def test_a_call_that_lost_the_race_leaves_nothing_behind(shop: Any) -> None:
    """Between the look at the row and the conditional update somebody else took the rest of the quota."""
    key = ClientKey.objects.select_related("subscription__plan", "subscription__service__model").get()
    month = MAY.strftime("%Y-%m")
    Subscription.objects.update(period=month, used_in_period=999)
    key.subscription.period, key.subscription.used_in_period = month, 0
    with pytest.raises(services.metering.LimitReached):
        call_score(key=key, call=Call(rows_of(2), "once", "0" * 64, "/x"), now=MAY)
    assert not UsageEvent.objects.exists()
    assert used(shop) == 999
    assert Subscription.objects.get().rate_used == 0


def test_a_new_live_version_answers_from_the_next_call_on(shop: Any, call: Any, trained: Any) -> None:
    assert call(shop.secret, rows_of(1)).json()["model_version"] == 1
    ModelVersion.objects.update(state="superseded")
    make_live(shop.model, trained, number=2)
    assert call(shop.secret, rows_of(1)).json()["model_version"] == 2


def unbilled(shop: Any, answer: Any) -> bool:
    return answer.status_code == 503 and not UsageEvent.objects.exists() and used(shop) == 0


def test_no_live_version_no_bill(shop: Any, call: Any, client: Any) -> None:
    ModelVersion.objects.update(state="withdrawn")
    answer = call(shop.secret, rows_of(1))
    assert unbilled(shop, answer)
    assert answer["Retry-After"] == "60"
    health = client.get("/services/nox/v1/health")
    assert (health.status_code, health.json()["status"]) == (503, "fail")


@pytest.mark.parametrize("broken", ["signature", "manifest", "sha256", "file"])
def test_a_version_that_is_not_what_was_signed_is_not_run(shop: Any, call: Any, broken: str) -> None:
    from governance import artefacts

    scoring.forget()
    version = shop.version
    if broken == "signature":
        version.signature = "A" * 88
    elif broken == "manifest":
        version.manifest = version.manifest.replace("1070.0", "1090.0")
    elif broken == "sha256":
        version.sha256 = artefacts.store(b"another file")
    else:
        manifest = json.loads(version.manifest)
        ModelVersion.objects.filter(pk=version.pk).delete()
        sha256 = artefacts.store(b"no model at all")
        changed = make_live(shop.model, trained_like(manifest), sha256=sha256)
        changed.sha256 = sha256
        version = changed
    version.save()
    assert unbilled(shop, call(shop.secret, rows_of(1)))


def trained_like(manifest: dict[str, Any]) -> Any:
    from types import SimpleNamespace

    def same(*, model: str, model_version: str) -> dict[str, Any]:
        return manifest | {"model": model, "model_version": model_version}

    return SimpleNamespace(package=SimpleNamespace(onnx=b"no model at all", size=15, manifest=same))


def test_the_mark_before_a_manifest_is_the_one_it_was_signed_with() -> None:
    from governance.modelling import package

    assert package.MANIFEST_MARK == scoring.MANIFEST_MARK


def test_a_reopened_gate_shows_watch_and_keeps_serving(shop: Any, call: Any, client: Any) -> None:
    assert client.get("/services/nox/v1/health").json()["status"] == "pass"
    pass_gate_5(shop.cast.ours, "reopened")
    assert call(shop.secret, rows_of(1)).status_code == 200
    health = client.get("/services/nox/v1/health")
    assert (health.status_code, health.json()["status"]) == (200, "warn")


def test_the_document_is_cached_by_its_etag(shop: Any) -> None:
    client = Client()
    first = client.get("/services/nox/v1/openapi.json")
    assert client.get("/services/nox/v1/openapi.json", HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304


def test_a_call_needs_few_queries(shop: Any, call: Any, django_assert_max_num_queries: Any) -> None:
    call(shop.secret, rows_of(1))
    with django_assert_max_num_queries(11):
        call(shop.secret, rows_of(1))
