"""The scoring model: drafts, weights by four methods, what a version changes, its pages and API."""

from typing import Any

import pytest
from django.test import Client

from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import AuditEntry
from tests.factories import make_adoption, make_channel, make_device
from usecases import elicitation, facts, ranking, services
from usecases import selectors_criteria as reads
from usecases.criteria_forms import ratio_words, step_text
from usecases.models import CriteriaSet, Criterion
from usecases.standard_criteria import STANDARD

pytestmark = pytest.mark.django_db

AGREE = {"roi:feasibility": 3, "roi:maturity": 5, "feasibility:maturity": 2}
CONTRADICT = {"roi:feasibility": 3, "roi:maturity": 5, "feasibility:maturity": 0.25}


@pytest.fixture
def draft(cast: Any) -> CriteriaSet:
    return services.criteria_set_create(actor=cast.coe_lead, name="Ours", standard=True)


def weigh(
    cast: Any, criteria_set: CriteriaSet, method: str, answers: dict[str, Any], parent: str = "", **more: Any
) -> Any:
    top = criteria_set.criteria.get(key=parent) if parent else None
    return services.criteria_weights_set(
        actor=cast.coe_lead, criteria_set=criteria_set, parent=top, method=method, answers=answers, **more
    )


def weights(criteria_set: CriteriaSet, parent: str = "") -> dict[str, float]:
    top = criteria_set.criteria.get(key=parent) if parent else None
    return {c.key: pytest.approx(c.weight, abs=5e-5) for c in elicitation.level(criteria_set, top)}


# ---- the standard to begin with -------------------------------------------------------------------------------------------


def test_the_standard_can_be_published_as_it_is(cast, draft):
    model = ranking.model_of(draft)
    assert [top.key for top in model.tops] == ["roi", "feasibility", "maturity"]
    assert all(len(leaf.rubric) == 6 for leaf in model.leaves)
    measured = {leaf.key: leaf.fact for leaf in model.leaves if leaf.source == "measured"}
    assert set(measured) == {"coverage", "network", "availability", "quality", "governance"}
    assert all(facts.get(key) is not None for key in measured.values())
    assert sum(top.weight for top in STANDARD) == pytest.approx(1)
    assert all(sum(sub.weight for sub in top.subs) == pytest.approx(1) for top in STANDARD)
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    assert draft.state == "published"


def test_a_measured_criterion_freezes_the_anchors_of_its_fact_and_is_rated_on_the_rubric(draft):
    network = draft.criteria.get(key="network")
    assert (network.anchor_low, network.anchor_high) == (90.0, 100.0)
    assert network.scale == (0.0, 5.0)
    at = [leaf.key for leaf in ranking.model_of(draft).leaves].index("network")
    tree = ranking.model_of(draft).tree
    assert (tree.x0[at], tree.x1[at]) == (0.0, 5.0)


# ---- weights ----------------------------------------------------------------------------------------------------------------


def test_percents_points_and_places(cast, draft):
    weigh(cast, draft, "direct", {"roi": 50, "feasibility": 30, "maturity": 20})
    assert weights(draft) == {"roi": 0.5, "feasibility": 0.3, "maturity": 0.2}
    weigh(cast, draft, "swing", {"coverage": 100, "network": 60, "change": 40}, "feasibility")
    assert weights(draft, "feasibility") == {"coverage": 0.5, "network": 0.3, "change": 0.2}
    weigh(cast, draft, "rank_order", {"availability": 1, "quality": 2, "governance": 3}, "maturity")
    assert weights(draft, "maturity") == {"availability": 0.6111, "quality": 0.2778, "governance": 0.1111}
    draft.refresh_from_db()
    assert {key: kept["method"] for key, kept in draft.weighting.items()} == {
        "": "direct",
        "feasibility": "swing",
        "maturity": "rank_order",
    }
    kept = draft.weighting["feasibility"]
    assert kept["answers"] == {"coverage": 100, "network": 60, "change": 40}
    assert (kept["by"], kept["consistency"]) == (str(cast.coe_lead.pk), None)
    assert AuditEntry.objects.filter(action="criteriaset.weights").count() == 3


def test_pairs_that_agree(cast, draft):
    kept = weigh(cast, draft, "ahp", AGREE)
    assert weights(draft) == {"roi": 0.6483, "feasibility": 0.2297, "maturity": 0.1220}
    told = kept["consistency"]
    assert (round(told["lambda_max"], 4), round(told["ratio"], 4), told["consistent"]) == (3.0037, 0.0032, True)
    assert (told["random_index"], told["random_index_value"], told["limit"]) == ("saaty-1980", 0.58, 0.10)


def test_either_direction_of_a_pair_is_one_answer(cast, draft):
    turned = {"feasibility:roi": 1 / 3, "maturity:roi": 1 / 5, "maturity:feasibility": 1 / 2}
    kept = weigh(cast, draft, "ahp", turned)
    assert kept["answers"] == pytest.approx(AGREE)
    with pytest.raises(InvalidInput) as refused:
        weigh(cast, draft, "ahp", AGREE | {"feasibility:roi": 1 / 3})
    assert refused.value.errors[0]["field"] == "feasibility:roi"


def test_pairs_that_contradict_are_kept_and_name_one_judgement(cast, draft):
    again = weigh(cast, draft, "ahp", CONTRADICT)["consistency"]["revisit"]
    assert (again["first"], again["second"], again["given"]) == ("roi", "maturity", 5)
    assert again["agreeing"] == pytest.approx(0.75)
    assert again["step"] == 1
    repaired = weigh(cast, draft, "ahp", CONTRADICT | {"roi:maturity": again["step"]})
    assert repaired["consistency"]["ratio"] == pytest.approx(again["ratio_after"])
    assert repaired["consistency"]["consistent"]


@pytest.mark.parametrize(
    ("method", "answers", "field"),
    [
        ("direct", {"roi": 50, "feasibility": 30, "maturity": 30}, "answers"),
        ("direct", {"roi": 50, "feasibility": 50}, "maturity"),
        ("direct", {"roi": 120, "feasibility": -10, "maturity": -10}, "roi"),
        ("direct", {"roi": 50, "feasibility": float("nan"), "maturity": 20}, "feasibility"),
        ("direct", {"roi": "half", "feasibility": 30, "maturity": 20}, "roi"),
        ("direct", {"roi": True, "feasibility": 30, "maturity": 20}, "roi"),
        ("direct", {"roi": 50, "feasibility": 30, "maturity": 20, "x": 0}, "x"),
        ("swing", {"roi": 80, "feasibility": 30, "maturity": 20}, "answers"),
        ("swing", {"roi": 0, "feasibility": 0, "maturity": 0}, "answers"),
        ("swing", {"roi": 100, "feasibility": float("inf"), "maturity": 0}, "feasibility"),
        ("rank_order", {"roi": 0, "feasibility": 1, "maturity": 2}, "roi"),
        ("rank_order", {"roi": 1, "feasibility": 2, "maturity": 4}, "maturity"),
        ("ahp", {"roi:feasibility": 3, "roi:maturity": 5}, "feasibility:maturity"),
        ("ahp", AGREE | {"roi:maturity": 0}, "roi:maturity"),
        ("ahp", AGREE | {"roi:maturity": -2}, "roi:maturity"),
        ("ahp", AGREE | {"roi:maturity": 10}, "roi:maturity"),
        ("ahp", AGREE | {"roi:maturity": float("nan")}, "roi:maturity"),
        ("ahp", AGREE | {"roi:roi": 1}, "roi:roi"),
        ("ahp", AGREE | {"nonsense": 1}, "nonsense"),
        ("guess", {"roi": 1}, "method"),
    ],
)
def test_what_cannot_be_used_is_refused_at_its_place_and_nothing_is_written(cast, draft, method, answers, field):
    before = weights(draft)
    with pytest.raises(InvalidInput) as refused:
        weigh(cast, draft, method, answers)
    assert field in {row["field"] for row in refused.value.errors}
    draft.refresh_from_db()
    assert draft.weighting == {}
    assert weights(draft) == before


def test_a_sum_that_is_off_says_what_it_is_and_offers_the_same_proportions(cast, draft):
    with pytest.raises(InvalidInput) as refused:
        weigh(cast, draft, "direct", {"roi": 45, "feasibility": 40, "maturity": 25})
    assert refused.value.errors[0]["message"] == (
        "These sum to 110 %, not to 100 %. In the same proportions: "
        "Measurable ROI 41 %, Operational feasibility 36 %, Data maturity 23 %."
    )
    assert refused.value.extra["offered"] == {"roi": 41, "feasibility": 36, "maturity": 23}


def test_weights_of_a_published_version_or_of_another_versions_criterion(cast, draft, criteria):
    with pytest.raises(DomainError) as refused:
        weigh(cast, criteria, "direct", {"roi": 50, "feasibility": 30, "data": 20})
    assert refused.value.code == "published"
    foreign = criteria.criteria.get(key="feasibility")
    for parent in (foreign, draft.criteria.get(key="coverage")):
        with pytest.raises(InvalidInput):
            services.criteria_weights_set(
                actor=cast.coe_lead, criteria_set=draft, parent=parent, method="swing", answers={"coverage": 100}
            )


def test_of_two_people_who_weigh_at_once_one_is_told(cast, draft):
    version = draft.version
    weigh(cast, draft, "direct", {"roi": 50, "feasibility": 30, "maturity": 20}, expected_version=version)
    with pytest.raises(StaleWrite):
        weigh(cast, draft, "direct", {"roi": 20, "feasibility": 30, "maturity": 50}, expected_version=version)
    assert weights(draft)["roi"] == 0.5


def test_another_weight_or_sister_makes_the_kept_answers_void(cast, draft):
    weigh(cast, draft, "swing", {"coverage": 100, "network": 60, "change": 40}, "feasibility")
    weigh(cast, draft, "ahp", AGREE)
    made = services.criterion_create(
        actor=cast.coe_lead, criteria_set=draft, parent=draft.criteria.get(key="feasibility"), name="Space on site"
    )
    draft.refresh_from_db()
    assert set(draft.weighting) == {""}
    assert (made.key, made.weight) == ("space_on_site", pytest.approx(1 / 3))
    services.criterion_update(actor=cast.coe_lead, criterion=draft.criteria.get(key="roi"), data={"key": "worth"})
    draft.refresh_from_db()
    assert draft.weighting == {}


# ---- drafts and versions ------------------------------------------------------------------------------------------------------


def test_publishing_contradictions_needs_a_reason_that_is_kept(cast, draft):
    weigh(cast, draft, "ahp", CONTRADICT)
    with pytest.raises(DomainError) as refused:
        services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    assert (refused.value.code, refused.value.extra["levels"]) == ("inconsistent_weights", [""])
    with pytest.raises(InvalidInput) as unsaid:
        services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft, accept_inconsistent=True, reason=" ")
    assert unsaid.value.errors[0]["field"] == "reason"
    services.criteria_set_publish(
        actor=cast.coe_lead, criteria_set=draft, accept_inconsistent=True, reason="The board decided so."
    )
    draft.refresh_from_db()
    assert draft.weighting[""]["accepted"]["reason"] == "The board decided so."
    entry = AuditEntry.objects.get(action="criteriaset.publish")
    assert entry.changes == {"accepted_inconsistent": "The board decided so."}


def test_the_next_version_takes_weights_facts_and_anchors_over_but_not_the_acceptance(cast, draft):
    weigh(cast, draft, "ahp", CONTRADICT)
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft, accept_inconsistent=True, reason="So.")
    following = services.criteria_set_next(actor=cast.coe_lead, criteria_set=draft)
    copy = following.criteria.get(key="network")
    assert (copy.fact, copy.anchor_low, copy.source) == ("devices.network_readiness", 90.0, "measured")
    assert following.weighting[""]["answers"] == CONTRADICT
    assert "accepted" not in following.weighting[""]
    with pytest.raises(DomainError):
        services.criteria_set_publish(actor=cast.coe_lead, criteria_set=following)


def test_a_measured_criterion_without_a_fact_is_not_published(cast, draft):
    Criterion.objects.filter(criteria_set=draft, key="quality").update(fact="")
    with pytest.raises(InvalidInput) as refused:
        services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    assert refused.value.errors == [{"field": "quality", "message": "Choose the fact that measures it."}]


def test_a_criterion_moves_among_its_sisters(cast, draft):
    quality = draft.criteria.get(key="quality")
    services.criterion_move(actor=cast.coe_lead, criterion=quality, by=-1)
    order = [c.key for c in elicitation.level(draft, draft.criteria.get(key="maturity"))]
    assert order == ["quality", "availability", "governance"]
    services.criterion_move(actor=cast.coe_lead, criterion=quality, by=-1)
    assert [c.key for c in elicitation.level(draft, quality.parent)] == order
    with pytest.raises(InvalidInput):
        services.criterion_move(actor=cast.coe_lead, criterion=quality, by=2)


def test_turning_a_judged_criterion_into_a_measured_one_takes_the_facts_anchors(cast, draft):
    change = draft.criteria.get(key="change")
    done = services.criterion_update(
        actor=cast.coe_lead, criterion=change, data={"source": "measured", "fact": "devices.network_readiness"}
    )
    assert (done.anchor_low, done.anchor_high) == (90.0, 100.0)
    back = services.criterion_update(actor=cast.coe_lead, criterion=done, data={"source": "judged"})
    assert (back.anchor_low, back.anchor_high, back.fact) == (0.0, 5.0, "")
    with pytest.raises(InvalidInput) as refused:
        services.criterion_update(actor=cast.coe_lead, criterion=back, data={"source": "measured", "fact": "no.such"})
    assert refused.value.errors[0]["field"] == "fact"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_anchors_are_numbers(cast, draft, value):
    row = draft.criteria.get(key="change")
    with pytest.raises(InvalidInput) as refused:
        services.criterion_update(actor=cast.coe_lead, criterion=row, data={"anchor_high": value})
    assert refused.value.errors[0]["field"] == "anchor_high"


def test_only_drafts_are_thrown_away(cast, draft, criteria):
    services.criteria_set_delete(actor=cast.coe_lead, criteria_set=draft)
    assert not CriteriaSet.objects.filter(pk=draft.pk).exists()
    with pytest.raises(DomainError):
        services.criteria_set_delete(actor=cast.coe_lead, criteria_set=criteria)


def test_what_a_version_changed(cast, draft):
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    following = services.criteria_set_next(actor=cast.coe_lead, criteria_set=draft)
    weigh(cast, following, "direct", {"roi": 50, "feasibility": 25, "maturity": 25})
    change = following.criteria.get(key="change")
    services.criterion_update(
        actor=cast.coe_lead,
        criterion=change,
        data={"anchor_low": 1.0, "rubric": [*change.rubric[:5], "They act on it"], "name": "Fit"},
    )
    services.criterion_delete(actor=cast.coe_lead, criterion=following.criteria.get(key="network"))
    services.criterion_create(
        actor=cast.coe_lead, criteria_set=following, parent=following.criteria.get(key="roi"), name="Fame"
    )
    found = {c.name: c for c in reads.changes(list(draft.criteria.all()), list(following.criteria.all()))}
    assert (found["Fame"].kind, found["Network readiness"].kind) == ("added", "removed")
    assert ("Weight", "40 %", "50 %") in found["Measurable ROI"].rows
    assert ("Anchors", "0 – 5", "1 – 5") in found["Fit"].rows
    assert ("What 5 means", "They act on it today", "They act on it") in found["Fit"].rows
    assert "Quality" not in found


# ---- pages ---------------------------------------------------------------------------------------------------------------------


def test_the_page_of_a_version_shows_weights_rubrics_changes_and_who_published(cast, as_user, draft):
    weigh(cast, draft, "ahp", AGREE)
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    page = as_user(cast.plant_manager).get(f"/criteria/{draft.pk}/").content.decode()
    for text in ("65 %", "All, by registered channels", "90 – 100", "The answers agree with each other.", "published"):
        assert text in page
    assert f"by {cast.coe_lead}" in page
    assert "Set the weights" not in page
    assert "saaty-1980" in page


def test_edit_makes_the_next_draft_and_lands_in_it_again(cast, as_user, draft):
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    client = as_user(cast.coe_lead)
    first = client.post(f"/criteria/{draft.pk}/next/")
    made = CriteriaSet.objects.get(name="Ours", number=2)
    assert first["Location"] == f"/criteria/{made.pk}/"
    assert client.post(f"/criteria/{draft.pk}/next/")["Location"] == first["Location"]
    assert CriteriaSet.objects.filter(name="Ours").count() == 2


def pairs(one: str, two: str, three: str) -> dict[str, str]:
    return {"pair_0": one, "pair_1": two, "pair_2": three}


def test_weights_are_set_on_their_page_without_scripts(cast, as_user, draft):
    client = as_user(cast.coe_lead)
    address = f"/criteria/{draft.pk}/weights/?parent=&method=ahp"
    assert "3 answers are missing" in client.get(address).content.decode()
    seen = client.post(address, pairs("3", "5", "1/4") | {"preview": "1"})
    text = seen.content.decode()
    assert seen.status_code == 200
    assert "Measurable ROI is 5 times as important as Data maturity" in text
    assert "The other answers say: Measurable ROI and Data maturity are equally important" in text
    assert 'value="pair_1=1"' in text
    draft.refresh_from_db()
    assert draft.weighting == {}
    taken = client.post(address, pairs("3", "5", "1/4") | {"take": "pair_1=1"}).content.decode()
    assert "These answers agree with each other" in taken
    done = client.post(address, pairs("3", "1", "1/4") | {"version": draft.version})
    assert done["Location"] == f"/criteria/{draft.pk}/#weights"
    draft.refresh_from_db()
    assert draft.weighting[""]["answers"] == {"roi:feasibility": 3, "roi:maturity": 1, "feasibility:maturity": 0.25}


def test_a_wrong_sum_stands_at_the_form_and_the_offer_can_be_taken(cast, as_user, draft):
    client = as_user(cast.coe_lead)
    address = f"/criteria/{draft.pk}/weights/?parent=&method=direct"
    typed = {"answer_0": "45", "answer_1": "40", "answer_2": "25"}
    refused = client.post(address, typed)
    text = refused.content.decode()
    assert refused.status_code == 400
    assert "These sum to 110 %, not to 100 %" in text
    assert 'value="45"' in text
    assert 'name="normalise"' in text
    assert client.post(address, typed | {"normalise": "1"}).status_code == 302
    assert weights(draft) == {"roi": 0.41, "feasibility": 0.36, "maturity": 0.23}


def test_the_preview_answers_each_change_and_writes_nothing(cast, as_user, draft, htmx):
    client = as_user(cast.coe_lead)
    address = f"/criteria/{draft.pk}/weights/preview/?parent=&method=swing"
    good = client.post(address, {"answer_0": "100", "answer_1": "60", "answer_2": "40"}, **htmx)
    assert "50 %" in good.content.decode()
    some = client.post(address, {"answer_0": "100"}, **htmx)
    assert (some.status_code, "2 answers are missing" in some.content.decode()) == (200, True)
    bad = client.post(address, {"answer_0": "100", "answer_1": "nan", "answer_2": "1e400"}, **htmx)
    assert bad.status_code == 422
    draft.refresh_from_db()
    assert draft.weighting == {}


def test_a_stale_weights_form_shows_both(cast, as_user, draft):
    old = draft.version
    weigh(cast, draft, "direct", {"roi": 50, "feasibility": 30, "maturity": 20})
    client = as_user(cast.coe_lead)
    typed = {"answer_0": "10", "answer_1": "40", "answer_2": "50", "version": str(old)}
    answer = client.post(f"/criteria/{draft.pk}/weights/?parent=&method=direct", typed)
    text = answer.content.decode()
    assert answer.status_code == 412
    assert "50 %" in text
    assert 'value="10"' in text


def test_publishing_contradictions_on_the_page(cast, as_user, draft):
    weigh(cast, draft, "ahp", CONTRADICT)
    client = as_user(cast.coe_lead)
    address = f"/criteria/{draft.pk}/publish/"
    assert client.post(address, {}).status_code == 422
    assert client.post(address, {"accept_inconsistent": "on"}).status_code == 422
    assert client.post(address, {"accept_inconsistent": "on", "reason": "Agreed."}).status_code == 302
    assert "Published with them because: Agreed." in client.get(f"/criteria/{draft.pk}/").content.decode()


def test_an_unfinished_version_says_what_is_missing_by_name(cast, as_user, draft):
    Criterion.objects.filter(criteria_set=draft, key="quality").update(rubric=["one"])
    answer = as_user(cast.coe_lead).post(f"/criteria/{draft.pk}/publish/", {})
    assert answer.status_code == 400
    assert "Quality: Write out 6 levels" in answer.content.decode()


def test_the_form_of_a_criterion_keeps_its_rubric_line_by_line(cast, as_user, draft):
    client = as_user(cast.coe_lead)
    row = draft.criteria.get(key="change")
    page = client.get(f"/criterion/{row.pk}/change/").content.decode()
    assert 'value="They asked for it"' in page
    body = {"parent": row.parent_id, "name": row.name, "key": "", "version": row.version}
    body |= {"source": "measured", "fact": "devices.sensor_coverage", "anchor_low": "0", "anchor_high": "5"}
    body |= {f"rubric_{n}": f"Now {n}" for n in range(6)}
    assert client.post(f"/criterion/{row.pk}/change/", body).status_code == 302
    row.refresh_from_db()
    assert (row.key, row.rubric[3], row.anchor_high) == ("change", "Now 3", 100.0)


def test_measured_scores_of_a_use_case_on_its_page(cast, as_user, draft):
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    cast.ours.required_signals = ["AT", "AP"]
    cast.ours.save()
    make_channel(make_device(cast.home, "plc"), "AT")
    make_adoption(cast.ours, cast.home)
    client = as_user(cast.data_scientist)
    assert f"/use-cases/{cast.ours.pk}/measured/" in client.get(f"/use-cases/{cast.ours.pk}/").content.decode()
    page = client.get(f"/use-cases/{cast.ours.pk}/measured/").content.decode()
    assert "1 of 2 required signals have a channel" in page
    assert "No pipeline carries its data yet." in page
    assert "There is no business case with lines yet." in page


# ---- API -------------------------------------------------------------------------------------------------------------------------


def test_the_api_weighs_previews_and_refuses_with_a_pointer(cast, api, draft):
    client = api(cast.coe_lead)
    address = f"/api/v1/criteria-sets/{draft.pk}/weights"
    body = {"method": "ahp", "answers": CONTRADICT, "dry_run": True}
    told = client.post(address, body, format="json").json()
    assert told["consistency"]["revisit"]["step"] == 1
    assert CriteriaSet.objects.get(pk=draft.pk).weighting == {}
    body = {"parent": "feasibility", "method": "swing", "answers": {"coverage": 100, "network": 50, "change": 50}}
    assert client.post(address, body, format="json").json()["weights"]["coverage"] == 0.5
    assert client.get(f"/api/v1/criteria-sets/{draft.pk}").json()["weighting"]["feasibility"]["method"] == "swing"
    off = client.post(
        address, {"method": "direct", "answers": {"roi": 45, "feasibility": 40, "maturity": 25}}, format="json"
    )
    assert (off.status_code, off.json()["errors"][0]["field"]) == (400, "answers")
    assert off.json()["offered"] == {"roi": 41, "feasibility": 36, "maturity": 23}
    missing = client.post(address, {"method": "direct", "answers": {"roi": 100}}, format="json")
    assert {row["field"] for row in missing.json()["errors"]} == {"answers.feasibility", "answers.maturity"}
    nowhere = client.post(address, {"parent": "x", "method": "direct", "answers": {"roi": 100}}, format="json")
    assert nowhere.json()["errors"][0]["field"] == "parent"


def test_the_api_publishes_moves_throws_away_and_begins_with_the_standard(cast, api):
    client = api(cast.coe_lead)
    made = client.post("/api/v1/criteria-sets", {"name": "Board", "standard": True}, format="json").json()
    rows = client.get(f"/api/v1/criteria?criteria_set={made['id']}&page_size=50").json()["results"]
    assert len(rows) == 11
    roi = next(row for row in rows if row["key"] == "roi")
    assert client.post(f"/api/v1/criteria/{roi['id']}/move", {"by": 1}, format="json").status_code == 200
    weighed = f"/api/v1/criteria-sets/{made['id']}"
    client.post(f"{weighed}/weights", {"method": "ahp", "answers": CONTRADICT}, format="json")
    assert client.post(f"{weighed}/publish", {}, format="json").json()["code"] == "inconsistent_weights"
    taken = client.post(f"{weighed}/publish", {"accept_inconsistent": True, "reason": "So."}, format="json")
    assert taken.json()["state"] == "published"
    assert client.delete(weighed).status_code == 409
    draft = client.post(f"{weighed}/next-version").json()
    assert client.delete(f"/api/v1/criteria-sets/{draft['id']}").status_code == 204


def test_the_api_says_what_is_measured(cast, api, draft, business):
    services.criteria_set_publish(actor=cast.coe_lead, criteria_set=draft)
    rows = api(cast.data_scientist).get(f"/api/v1/use-cases/{cast.ours.pk}/measured").json()
    told = {row["criterion"]: row for row in rows}
    assert set(told) == {"roi_value", "coverage", "network", "availability", "quality", "governance"}
    assert told["roi_value"]["rating"] == pytest.approx(business.result["rating"])
    assert told["coverage"]["rating"] is None
    assert told["coverage"]["reason"] == "The use case does not say which signals its model needs."
    assert told["network"]["anchors"] == [90.0, 100.0]
    assert api(cast.stranger).get(f"/api/v1/use-cases/{cast.ours.pk}/measured").status_code == 404


@pytest.mark.parametrize(
    ("value", "words", "step"),
    [
        (3.0, "A is 3 times as important as B", "3"),
        (1 / 3, "B is 3 times as important as A", "1/3"),
        (1.0, "A and B are equally important", "1"),
        (2.5, "A is 2.5 times as important as B", "2.5"),
    ],
)
def test_a_comparison_in_words(value, words, step):
    assert ratio_words("A", "B", value) == words
    assert step_text(value) == step


def test_a_criterion_is_moved_by_a_browser(cast, draft):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.coe_lead, backend="django.contrib.auth.backends.ModelBackend")
    page = browser.get(f"/criteria/{draft.pk}/").content.decode()
    address = f"/criterion/{draft.criteria.get(key='quality').pk}/move/"
    token = page.split(address)[1].split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert browser.post(address, {"by": "-1", "csrfmiddlewaretoken": token}).status_code == 302
