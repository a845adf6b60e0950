"""Pages: who sees them, forms that keep what was typed, polled parts, and query counts."""

from datetime import timedelta

import pytest
from django.urls import reverse

from portal.core.clock import wall_now
from tests.usecases.conftest import LINES
from usecases import services
from usecases.models import BusinessCase, CriteriaSet, Gate, GateReview, Rating, ScoringRound, UseCase

pytestmark = pytest.mark.django_db


def url(name, *args):
    return reverse(f"usecases:{name}", args=args)


@pytest.fixture
def world(cast, outcome, rated, business, adopted, signing_rule):
    gate = Gate.objects.get(use_case=cast.ours, number=1)
    cast.review = services.review_open(actor=cast.plant_manager, gate=gate)
    cast.gate, cast.round, cast.adoption, cast.outcome = gate, rated, adopted, outcome
    return cast


def pages(world):
    case = world.ours.pk
    return {
        "use-case": url("use-case", case),
        "business-case": url("business-case", case),
        "adoption": url("adoption", world.adoption.pk),
        "gate": url("gate", world.gate.pk),
        "evidence": url("gate-evidence", world.gate.pk),
        "review": url("review", world.review.pk),
        "verify": url("review-verify", world.review.pk),
        "print": url("review-print", world.review.pk),
        "edit": url("use-case-edit", case),
        "case-edit": url("business-case-edit", case),
        "outcome": url("outcome-create", case),
        "outcome-edit": url("outcome-edit", world.outcome.pk),
        "reading": url("reading-create", world.outcome.pk),
        "baseline": url("outcome-baseline", world.outcome.pk),
        "adopt": url("adoption-create", case),
        "adoption-edit": url("adoption-edit", world.adoption.pk),
        "waive": url("waiver-create", world.gate.pk),
        "not-pursue": url("use-case-not-pursue", case),
    }


def test_every_page_opens_and_is_hidden_from_strangers(world, as_user):
    client = as_user(world.coe_lead)
    for name, address in pages(world).items():
        answer = client.get(address)
        assert answer.status_code == 200, (name, answer.content[:300])
    client = as_user(world.stranger)
    for name, address in pages(world).items():
        assert client.get(address).status_code == 404, name


def test_lists_and_views(world, as_user):
    services.round_close(actor=world.coe_lead, meeting=world.round)
    client = as_user(world.coe_lead)
    made = CriteriaSet.objects.get()
    for address in (
        url("use-cases"),
        url("use-cases") + "?view=board",
        url("use-cases") + "?view=bubble",
        url("use-cases") + "?q=ours&phase=1",
        url("rounds"),
        url("round-create"),
        url("round", world.round.pk),
        url("criteria-sets"),
        url("criteria-set", made.pk),
        url("adoptions"),
        url("portfolio"),
        url("use-case-create"),
    ):
        answer = client.get(address)
        assert answer.status_code == 200, address
    assert client.get(url("use-cases") + "?export=csv").status_code == 200
    assert client.get(url("use-cases") + "?export=xlsx").status_code == 200
    assert "budget" in client.get(url("portfolio")).content.decode()


@pytest.mark.parametrize("name", ["use-case", "business-case", "adoption", "gate", "review"])
def test_pages_need_few_queries(world, as_user, name, django_assert_max_num_queries):
    client = as_user(world.plant_manager)
    address = pages(world)[name]
    client.get(address)
    with django_assert_max_num_queries(14):
        client.get(address)


def test_evidence_part_is_304_until_something_flips(world, as_user):
    client = as_user(world.plant_manager)
    address = url("gate-evidence", world.gate.pk)
    first = client.get(address)
    assert client.get(address, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    services.use_case_update(actor=world.coe_lead, use_case=world.ours, data={"label": "foundation"})
    services.gate_measure(gate=Gate.objects.get(pk=world.gate.pk))
    second = client.get(address, HTTP_IF_NONE_MATCH=first["ETag"])
    assert second.status_code == 200
    assert "Foundation" in second.content.decode()


def test_use_case_form(cast, as_user):
    client = as_user(cast.coe_lead)
    wrong = client.post(url("use-case-create"), {"title": "Kept title", "code": "Bad code"})
    assert wrong.status_code == 422
    assert "Kept title" in wrong.content.decode()
    good = client.post(
        url("use-case-create"),
        {"title": "Leaks", "code": "leaks", "label": "unlabelled", "required_signals": "P1, P2 P3"},
    )
    made = UseCase.objects.get(code="leaks")
    assert good.url == made.get_absolute_url()
    assert made.required_signals == ["P1", "P2", "P3"]
    assert made.gates.count() == 2
    assert as_user(cast.plant_manager).get(url("use-case-create")).status_code == 403


def test_rating_on_the_page(world, as_user):
    client = as_user(world.plant_manager)
    leaf = world.round.criteria_set.criteria.get(key="data")
    other = world.round.criteria_set.criteria.get(key="network")
    address = url("round-rate", world.round.pk)
    good = client.post(address, {"use_case": str(world.ours.pk), f"value-{leaf.pk}": "5", f"value-{other.pk}": "none"})
    assert good.status_code == 302
    assert Rating.objects.get(rater=world.plant_manager, use_case=world.ours, criterion=leaf).value == 5.0
    assert Rating.objects.get(rater=world.plant_manager, use_case=world.ours, criterion=other).value is None
    wrong = client.post(
        address,
        {"use_case": str(world.ours.pk), f"value-{leaf.pk}": "17", f"comment-{leaf.pk}": "typed with care"},
    )
    assert wrong.status_code == 422
    assert "typed with care" in wrong.content.decode()


def test_progress_of_others_arrives(world, as_user):
    client = as_user(world.coe_lead)
    address = url("round-progress", world.round.pk)
    first = client.get(address)
    assert client.get(address, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    services.seat_add(actor=world.coe_lead, meeting=world.round, person=world.data_steward)
    second = client.get(address, HTTP_IF_NONE_MATCH=first["ETag"])
    assert second.status_code == 200
    assert "Not started" in second.content.decode()


def test_sliders_answer_json_and_a_page_without_scripts(world, as_user):
    services.round_reveal(actor=world.coe_lead, meeting=world.round)
    client = as_user(world.executive)
    address = url("round-what-if", world.round.pk)
    weights = {"roi": "10", "feasibility": "10", "data": "80"}
    scripted = client.post(address, weights, HTTP_HX_REQUEST="true", HTTP_ACCEPT="application/json, text/html")
    assert scripted.json()["rows"][0]["rank"] == 1
    assert "first in" in scripted.json()["verdict"]
    plain = client.post(address, weights, HTTP_ACCEPT="text/html")
    assert "Ranking under other weights" in plain.content.decode()
    assert client.post(address, {"roi": "x"}).status_code == 400
    assert client.post(address, dict.fromkeys(weights, "0")).status_code == 400


def lines_form(lines):
    data = {"lines-TOTAL_FORMS": str(len(lines)), "lines-INITIAL_FORMS": "0"}
    defaults = {"first_quarter": 0, "last_quarter": 0, "ramp_quarters": 0, "attribution": 1}
    for at, line in enumerate(lines):
        data |= {f"lines-{at}-{k}": str(v) for k, v in (defaults | line).items()}
    return data


def test_business_case_two_people(world, as_user):
    case = BusinessCase.objects.get()
    head = {"currency": "EUR", "discount_rate": "0.08", "quarters": "12", "start": "2026-01-01", "assumption": "Mine"}
    address = url("business-case-edit", world.ours.pk)
    seen = case.version
    services.business_case_update(actor=world.coe_lead, case=case, data={"assumption": "Theirs"})
    client = as_user(world.data_scientist)
    stale = client.post(address, head | lines_form([LINES[0] | {"name": "typed line"}]) | {"version": str(seen)})
    text = stale.content.decode()
    assert stale.status_code == 412
    assert "Theirs" in text
    assert "Mine" in text
    assert "typed line" in text
    assert BusinessCase.objects.get().assumption == "Theirs"
    fresh = BusinessCase.objects.get().version
    saved = client.post(address, head | lines_form(LINES[:2]) | {"version": str(fresh)})
    assert saved.status_code == 302
    assert BusinessCase.objects.get().lines.count() == 2


def test_a_wrong_line_is_marked_at_its_field(world, as_user):
    case = BusinessCase.objects.get()
    head = {"currency": "EUR", "discount_rate": "0.08", "quarters": "12", "start": "2026-01-01", "assumption": "Mine"}
    wrong = as_user(world.data_scientist).post(
        url("business-case-edit", world.ours.pk),
        head | lines_form([LINES[0] | {"kind": "benefit"}]) | {"version": str(case.version)},
    )
    assert wrong.status_code == 400
    assert "Benefits start in quarter 1" in wrong.content.decode()


def test_review_pages_sign_decide(world, as_user):
    review = world.review
    client = as_user(world.plant_manager)
    signed = client.post(url("review-sign", review.pk), {"approves": "yes", "version": str(review.version)})
    assert signed.status_code == 302
    early = client.post(url("review-decide", review.pk), {"decision": "go", "version": "2", "note": "typed reason"})
    assert early.status_code == 409
    assert "typed reason" in early.content.decode()
    assert "not possible" in early.content.decode()
    stale = client.post(url("review-decide", review.pk), {"decision": "hold", "version": "1", "note": "typed again"})
    assert stale.status_code == 412
    assert "typed again" in stale.content.decode()
    held = client.post(url("review-decide", review.pk), {"decision": "hold", "version": "2", "note": "Not yet"})
    assert held.status_code == 302
    assert GateReview.objects.get(pk=review.pk).decision == "hold"
    assert as_user(world.ot_engineer).post(url("review-sign", review.pk), {"approves": "yes"}).status_code == 403


def test_waive_measure_and_open_on_the_page(world, as_user):
    client = as_user(world.plant_manager)
    until = f"{wall_now() + timedelta(days=5):%Y-%m-%dT%H:%M}"
    gone = client.post(
        url("waiver-create", world.gate.pk), {"key": "align.sponsor", "reason": "In May", "expires_at": until}
    )
    assert gone.status_code == 302
    assert client.post(url("gate-measure", world.gate.pk)).status_code == 302
    page = client.get(url("gate", world.gate.pk)).content.decode()
    assert "In May" in page
    bad = client.post(url("waiver-create", world.gate.pk), {"key": "align.sponsor", "reason": "kept", "expires_at": ""})
    assert bad.status_code == 422
    assert "kept" in bad.content.decode()
    assert client.post(url("review-withdraw", world.review.pk), {"reason": "x"}).status_code == 302
    assert client.post(url("review-open", world.gate.pk)).status_code == 302
    assert GateReview.objects.filter(state="open").count() == 1


def test_rounds_open_and_close_on_the_page(cast, criteria, as_user):
    client = as_user(cast.coe_lead)
    body = {
        "title": "R",
        "criteria_set": str(criteria.pk),
        "use_cases": [str(cast.ours.pk)],
        "seats": [f"plant_manager:{cast.plant_manager.pk}"],
        "weighting": "criteria",
    }
    assert client.post(url("round-create"), body).status_code == 302
    meeting = ScoringRound.objects.get()
    assert client.post(url("round-close", meeting.pk)).status_code == 302
    meeting.refresh_from_db()
    assert meeting.state == "open", "nothing was rated"
    assert client.post(url("criteria-set-next", criteria.pk)).status_code == 302
    draft = CriteriaSet.objects.get(state="draft")
    assert client.post(url("criteria-set-publish", draft.pk)).status_code == 302
    assert as_user(cast.plant_manager).get(url("round-create")).status_code == 403


def test_adoption_form_names_the_missing_proof(cast, as_user):
    services.gates_create(use_case=cast.ours)
    answer = as_user(cast.coe_lead).post(
        url("adoption-create", cast.ours.pk), {"site": str(cast.home.pk), "scope": "plant"}
    )
    assert answer.status_code == 400
    assert "First prove it on a line" in answer.content.decode()
