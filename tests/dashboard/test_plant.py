"""My plant: one screen of one site; and the line over every page while data is replayed."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

from devices.models import Device, PlantClock, Site
from portal.core.clock import wall_now
from portal.dashboard.banner import replay_banner
from portal.dashboard.plant import choose_site, main_plc, plant, reviews_ahead, shown_signals
from tests.factories import make_channel, make_device, make_site


def test_the_screen_of_a_site(cast, plant, incident, as_user):
    html = as_user(cast.ot_engineer).get("/my-plant/").content.decode()
    for text in ("GW-A", "GW-B is silent", "PLC 1", "NOx soft sensor v4", "error is rising", "Next reviews"):
        assert text in html


def test_devices_models_and_trouble_of_the_site_only(cast, away, incident):
    make_device(cast.away, name="Not here")
    found = plant(cast.coe_lead, cast.home)
    assert {d.name for d in found.devices} == {"GW-A", "GW-B", "PLC 1"}
    assert [d.name for d in found.gateways] == ["GW-A", "GW-B"]
    assert (found.online, found.gateways_state, found.incidents) == (1, "watch", 1)
    assert [m.live.name for m in found.models if m.live] == ["NOx soft sensor v4"]
    assert {one.kind for one in plant(cast.coe_lead, cast.away).broken} == set()


def test_a_site_out_of_sight_is_never_chosen(cast, as_user):
    assert choose_site(cast.ot_engineer, str(cast.away.pk)) == cast.home
    answer = as_user(cast.ot_engineer).get(f"/my-plant/?site={cast.away.pk}")
    assert cast.away.name not in answer.content.decode()


def test_a_site_whose_data_moves_is_chosen_before_a_finished_replay(cast):
    first = make_site("aaa", name="AAA", kind="replay")
    PlantClock.objects.create(site=first, plant_now=wall_now(), wall_at=wall_now(), state="finished")
    chosen = choose_site(cast.coe_lead)
    assert chosen is not None
    assert chosen.pk != first.pk
    assert choose_site(cast.coe_lead, first.pk) == first


def test_a_finished_replay_is_calm_and_not_offline(cast, plant, as_user):
    Site.objects.filter(pk=cast.home.pk).update(kind="replay")
    PlantClock.objects.create(site=cast.home, plant_now=wall_now(), wall_at=wall_now(), state="finished")
    Device.objects.filter(site=cast.home).update(last_seen_at=wall_now() - timedelta(days=3))
    client = as_user(cast.ot_engineer)
    for url in (f"/my-plant/?site={cast.home.pk}", "/devices/", plant.online.get_absolute_url()):
        answer = client.get(url)
        assert answer.status_code == 200
        text = re.sub(r"<(select|option)\b.*?</\1>", "", answer.content.decode(), flags=re.DOTALL)
        assert "Replay finished" in text, url
        assert ">Offline<" not in text, url


def test_a_budget_nobody_measured_is_unknown_and_not_full(cast, plant, as_user):
    from governance.models import Slo, SloEvent

    slo = Slo.objects.create(adoption=plant.adoption, kind="uptime", name="Edge uptime", target=0.995)
    client = as_user(cast.ot_engineer)
    html = client.get("/my-plant/").content.decode()
    assert "not measured yet" in html
    assert "100 %" not in html
    SloEvent.objects.create(slo=slo, at=wall_now() - timedelta(minutes=5), good=3600, bad=0, source="a")
    html = client.get("/my-plant/").content.decode()
    assert "100 %" in html
    assert "not measured yet" not in html


def test_without_a_plant_the_page_says_what_to_do(db, as_user):
    from tests.factories import make_user

    assert "You see no plant" in as_user(make_user()).get("/my-plant/").content.decode()


def test_the_main_plc_is_one_that_a_gateway_reads(cast, plant):
    alone = make_device(cast.home, "plc", name="AAA alone")
    devices = [alone, plant.plc, plant.online]
    assert main_plc(devices) == plant.plc
    assert main_plc(devices, str(alone.pk)) == alone
    assert main_plc([plant.online]) is None


def test_signals_out_of_range_come_first_and_codes_count(cast):
    signals = [SimpleNamespace(code=code, state=state) for code, state in
               (("X_10", "ok"), ("X_2", "ok"), ("B", "high"), ("X_1", "missing"))]  # fmt: skip
    shown = shown_signals(SimpleNamespace(signals=signals), 3)
    assert [s.code for s in shown] == ["B", "X_1", "X_2"]


def test_signals_are_polled_and_hidden_from_strangers(cast, plant, as_user):
    make_channel(plant.plc, "AT")
    client = as_user(cast.ot_engineer)
    address = f"/my-plant/signals/{plant.plc.pk}"
    answer = client.get(address)
    assert answer.status_code == 200
    assert client.get(address, HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 304
    assert as_user(cast.stranger).get(address).status_code == 404


def test_the_body_is_polled_at_the_address_of_the_site(cast, plant, as_user, htmx):
    client = as_user(cast.coe_lead)
    address = f"/my-plant/?site={cast.home.pk}"
    assert f'data-poll="{address}"' in client.get(address).content.decode()
    part = client.get(address, **htmx)
    assert b"<html" not in part.content
    assert client.get(address, HTTP_IF_NONE_MATCH=part["ETag"], **htmx).status_code == 304


def test_reviews_ahead(cast, plant, world):
    from datetime import date

    from coe.models import Retrospective
    from tests.dashboard.conftest import make_review

    Retrospective.objects.create(site=cast.home, month=date(2014, 1, 1))
    Retrospective.objects.create(site=cast.home, month=date(2013, 12, 1), state="held")
    make_review(plant.adoption, date(2013, 10, 1))
    assert [one.label for one in reviews_ahead(cast.ot_engineer, cast.home)] == [
        "Retrospective of January 2014",
        "ROI review of Q4 2013: Ours",
    ]
    assert reviews_ahead(cast.stranger, cast.home) == []


def test_banner_of_one_site_and_of_all(cast):
    assert replay_banner(cast.ot_engineer, None) is None
    Site.objects.filter(pk=cast.home.pk).update(kind="replay", name="Turbine hall 1")
    PlantClock.objects.create(site=cast.home, plant_now=wall_now(), wall_at=wall_now(), state="paused")
    person = type(cast.ot_engineer).objects.get(pk=cast.ot_engineer.pk)
    assert replay_banner(person, None) == "Replay of real data: Turbine hall 1"
    assert "paused at plant time" in (replay_banner(person, str(cast.home.pk)) or "")
    assert replay_banner(person, str(cast.away.pk)) is None
    for number in range(5):
        make_site(kind="simulated", name=f"S{number}")
    assert replay_banner(cast.coe_lead, None) == (
        "Replay of real data: Turbine hall 1. Simulated data: S0, S1, S2 and 2 more"
    )


def test_banner_is_on_every_page_without_a_query(cast, as_user):
    Site.objects.filter(pk=cast.home.pk).update(kind="simulated")
    assert b"Simulated data: Home" in as_user(cast.ot_engineer).get("/search/").content


def test_menu(cast, as_user):
    html = as_user(cast.ot_engineer).get("/scale-map/").content.decode()
    for address in ("/", "/my-work/", "/my-plant/", "/scale-map/"):
        assert f'class="pg-nav-item" href="{address}"' in html


def test_the_first_poll_finds_nothing_new(cast, plant, as_user, htmx):
    """The page carries the ETag of what it shows."""
    import html as escaped
    import re

    client = as_user(cast.ot_engineer)
    page = client.get("/my-plant/").content.decode()
    found = re.findall(r'data-poll="([^"]+)"[^>]*data-poll-etag="([^"]+)"', page)
    assert len(found) == 2
    for address, etag in found:
        answer = client.get(address, HTTP_IF_NONE_MATCH=escaped.unescape(etag), **htmx)
        assert answer.status_code == 304, address
