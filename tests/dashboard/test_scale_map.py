"""The scale map: phases, health, filters, export."""

from __future__ import annotations

import csv

from portal.dashboard.scale import HEADER, scale_map, with_incidents
from tests.factories import make_adoption, make_site, make_use_case


def test_an_incident_is_a_breach_whatever_the_gates_say():
    assert with_incidents({1: "ok", 2: "unknown", 3: "watch"}, [1, 2, 9]) == {1: "breach", 2: "breach", 3: "watch"}


def test_cells_hold_the_furthest_phase_and_the_worst_health(cast, plant, incident):
    wider = make_adoption(cast.ours, cast.home, scope="line", phase=4)
    found = scale_map(cast.plant_manager)
    cell = found.cells[cast.ours.pk, cast.home.pk]
    assert (cell.phase, cell.health, cell.incidents) == (4, "breach", 1)
    assert cell.adoption == wider
    assert "1 incident open" in cell.title
    assert found.finding == "1 adoption, 1 in operation or beyond; 1 in breach."


def test_health_follows_the_gates(cast, plant):
    from usecases.models import Gate

    def health() -> str:
        return scale_map(cast.plant_manager).cells[cast.ours.pk, cast.home.pk].health

    assert health() == "unknown"
    Gate.objects.filter(adoption=plant.adoption, number=2).update(state="passed")
    assert health() == "ok"
    Gate.objects.filter(adoption=plant.adoption, number=2).update(state="reopened")
    assert health() == "breach"


def test_only_what_one_may_see(cast, plant, away):
    found = scale_map(cast.stranger)
    assert [s.pk for s in found.sites] == [cast.away.pk]
    assert [c.pk for c in found.use_cases] == [cast.theirs.pk]
    assert list(found.cells) == [(cast.theirs.pk, cast.away.pk)]


def test_filters(cast, plant, incident):
    make_use_case("second", title="Second", label="quick_win")
    make_site("third")
    make_use_case("gone", state="killed")
    everything = scale_map(cast.coe_lead)
    assert {c.title for c in everything.use_cases} == {"Ours", "Theirs", "Second"}
    assert [c.title for c in scale_map(cast.coe_lead, label="quick_win").use_cases] == ["Second"]
    assert [c.title for c in scale_map(cast.coe_lead, text="our").use_cases] == ["Ours"]
    assert [s.pk for s in scale_map(cast.coe_lead, site_id=cast.away.pk).sites] == [cast.away.pk]
    assert [c.title for c in scale_map(cast.coe_lead, health="breach").use_cases] == ["Ours"]
    assert scale_map(cast.coe_lead, health="ok").use_cases == []


def test_five_queries_however_large(cast, plant, incident, django_assert_max_num_queries):
    sites = [make_site() for _ in range(6)]
    for _ in range(12):
        case = make_use_case()
        for site in sites:
            make_adoption(case, site)
    person = type(cast.coe_lead).objects.get(pk=cast.coe_lead.pk)
    assert person.has_perm("devices.view_site")
    with django_assert_max_num_queries(7):
        found = scale_map(person)
        found.rows()
    assert len(found.cells) == 73


def test_page_links_cells_and_has_table_semantics(cast, plant, as_user):
    answer = as_user(cast.executive).get("/scale-map/")
    html = answer.content.decode()
    assert answer.status_code == 200
    assert f'href="{plant.adoption.get_absolute_url()}"' in html
    assert '<th scope="row">' in html
    assert '<th scope="col">' in html
    assert "not adopted" in html


def test_partial_for_the_filter(cast, plant, as_user, htmx):
    answer = as_user(cast.executive).get("/scale-map/?q=nothing-like-it", **htmx)
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert b"Nothing matches" in answer.content


def test_a_nonsense_filter_shows_everything(cast, plant, as_user):
    answer = as_user(cast.executive).get("/scale-map/?site=zz&health=purple")
    assert answer.status_code == 200
    assert str(cast.ours) in answer.content.decode()


def test_export(cast, plant, incident, as_user):
    answer = as_user(cast.executive).get("/scale-map/?export=csv")
    assert answer["Content-Type"].startswith("text/csv")
    lines = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))
    assert lines[0] == list(HEADER)
    assert lines[1][0] == cast.ours.code
    assert lines[1][-4:] == ["3", "Operate", "breach", "1"]
