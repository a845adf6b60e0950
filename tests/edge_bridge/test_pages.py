"""Pages of rollouts, installations and connections, and the panels on other apps' pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from edge_bridge.models import Rollout
from edge_bridge.reported import reported_take
from edge_bridge.rollouts import rollout_start
from portal.core import signing
from tests.edge_bridge.portal import Plant, make_plant, report, signed_version
from tests.edge_bridge.test_rollouts import Feed, live, step, version_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def ours(cast: Any, plant: Plant) -> Plant:
    return make_plant("home-plant", site=cast.home, use_case=cast.ours)


@pytest.fixture
def soaked(ours: Plant) -> Rollout:
    first, second = ours.gateways
    old, new = live(ours, 40.0), version_of(ours, 49.0)
    feed = Feed(ours)
    feed.rows({first: old, second: old})
    rollout = rollout_start(actor=None, version=new, adoption=ours.adoption)
    reported_take(first, report(ours, first, new))
    step(rollout)
    feed.rows({first: new, second: old})
    step(rollout)
    return rollout


def test_lists_and_connections_open(
    soaked: Rollout, cast: Any, as_user: Any, django_assert_max_num_queries: Any
) -> None:
    client = as_user(cast.ot_engineer)
    client.get(reverse("core:settings"))  # the menu's count is kept for half a minute
    for name in ("rollouts", "installations", "connections"):
        with django_assert_max_num_queries(12):
            answer = client.get(reverse(f"edge_bridge:{name}"))
        assert answer.status_code == 200
        assert cast.home.name in answer.content.decode() or name == "connections"
    assert "pg-status-watch" in client.get(reverse("edge_bridge:rollouts")).content.decode()
    export = client.get(reverse("edge_bridge:rollouts") + "?export=csv")
    assert b"Model" in b"".join(export)


def test_a_rollout_tells_waves_decision_and_comparison(
    soaked: Rollout, cast: Any, as_user: Any, django_assert_max_num_queries: Any
) -> None:
    client = as_user(cast.ot_engineer)
    with django_assert_max_num_queries(20):
        page = client.get(soaked.get_absolute_url())
    text = page.content.decode()
    assert page.status_code == 200
    assert "16 of 24 rows with a label" in text
    assert "65,536" in text
    assert reverse("edge_bridge:rollout-stop", args=[soaked.pk]) in text
    live_url = reverse("edge_bridge:rollout-live", args=[soaked.pk])
    part = client.get(live_url)
    assert client.get(live_url, headers={"If-None-Match": part["ETag"]}).status_code == 304
    as_user(cast.stranger)
    assert client.get(soaked.get_absolute_url()).status_code == 404
    assert client.get(live_url).status_code == 404


def test_stop_by_form(soaked: Rollout, cast: Any, as_user: Any) -> None:
    url = reverse("edge_bridge:rollout-stop", args=[soaked.pk])
    assert as_user(cast.plant_manager).get(url).status_code == 403
    client = as_user(cast.ot_engineer)
    assert client.get(url).status_code == 200
    assert client.post(url, {"reason": ""}).status_code == 422
    assert client.post(url, {"reason": "shift change"}).status_code == 302
    soaked.refresh_from_db()
    assert soaked.state == "stopped"
    assert "shift change" in client.get(soaked.get_absolute_url()).content.decode()


def test_start_by_form(ours: Plant, cast: Any, as_user: Any, monkeypatch: Any) -> None:
    client = as_user(cast.ot_engineer)
    url = reverse("edge_bridge:rollout-new")
    version = signed_version(ours)
    data = {"version": version.pk, "adoption": ours.adoption.pk, "soak_rows": 24, "worst_error_ratio": 1.1}
    assert client.get(url).status_code == 200
    monkeypatch.setattr(signing, "_rule", lambda **_kw: signing.SigningVerdict(False, "Your certificate has expired."))
    refused = client.post(url, data)
    assert refused.status_code == 403
    assert "Your certificate has expired." in refused.content.decode()
    assert f'value="{version.pk}" selected' in refused.content.decode()
    monkeypatch.setattr(signing, "_rule", lambda **_kw: signing.SigningVerdict(True, "", "AI Safety Officer"))
    assert client.post(url, data | {"soak_rows": 0}).status_code == 422
    assert client.post(url, data).status_code == 302
    assert Rollout.objects.get().started_by == cast.ot_engineer


def test_panels_on_device_and_adoption(soaked: Rollout, ours: Plant, cast: Any, as_user: Any) -> None:
    client = as_user(cast.ot_engineer)
    device = client.get(reverse("devices:device-panels", args=[ours.gateways[0].pk])).content.decode()
    assert str(soaked.version_of_model) in device
    adoption = client.get(reverse("usecases:adoption-panels", args=[ours.adoption.pk])).content.decode()
    assert reverse("edge_bridge:rollout", args=[soaked.pk]) in adoption


def test_evidence_for_gate_2(ours: Plant, cast: Any) -> None:
    from edge_bridge.providers import inside_budget, installed
    from portal.core.clock import wall_now
    from usecases.evidence import Subject

    subject = Subject(ours.use_case, ours.adoption, wall_now())
    assert inside_budget(subject).status == "not_measured"
    assert installed(subject).value == 0
    live(ours)
    assert inside_budget(subject).value == 1.0
    assert installed(subject).value == 1.0
    kind = ours.gateways[0].device_type
    kind.latency_budget_us = 10
    kind.save()
    worse = inside_budget(subject)
    assert worse.value == 0.0
    assert "budget is 10" in worse.text
    kind.latency_budget_us = None
    kind.save()
    assert inside_budget(subject).status == "not_measured"
