"""Business cases: delays, seed, spread, the curve, another currency, two people, paper, exchange rates."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from tests.usecases.conftest import LINES
from usecases import business_conflict as conflict
from usecases import selectors, services
from usecases.models import BusinessCase, ExchangeRate, Gate

pytestmark = pytest.mark.django_db
HEAD = {"currency": "EUR", "discount_rate": "0.08", "quarters": "12", "start": "2026-01-01", "seed": "20260"}


def address(name: str, pk: Any) -> str:
    return reverse(f"usecases:{name}", args=[pk])


def lines_form(lines: list[dict[str, Any]]) -> dict[str, str]:
    frame = {"TOTAL_FORMS": str(len(lines)), "INITIAL_FORMS": "0", "MIN_NUM_FORMS": "0", "MAX_NUM_FORMS": "100"}
    plain = {"first_quarter": 0, "last_quarter": 0, "ramp_quarters": 0, "attribution": 1}
    return {f"lines-{name}": value for name, value in frame.items()} | {
        f"lines-{at}-{name}": str(value) for at, line in enumerate(lines) for name, value in (plain | line).items()
    }


def rate(base: str = "EUR", quote: str = "USD", value: str = "1.25") -> ExchangeRate:
    return ExchangeRate.objects.create(
        base=base, quote=quote, rate=Decimal(value), on=date(2020, 1, 1), source="Assumption of a test"
    )


def test_a_delay_costs_money_and_is_drawn(cast: Any, business: BusinessCase) -> None:
    before = business.result
    late = [LINES[0], LINES[1], LINES[2] | {"delay_low": 0.0, "delay_likely": 1.0, "delay_high": 3.0, "note": "Agreed"}]
    after = services.business_case_update(actor=cast.data_scientist, case=business, data={}, lines=late).result
    assert after["npv"] < before["npv"]
    assert after["p10"] < before["p10"]
    assert business.lines.last().note == "Agreed"


def test_the_seed_is_stored_and_gives_the_same_figures_again(cast: Any, business: BusinessCase) -> None:
    first = dict(business.result)
    other = services.business_case_update(actor=cast.data_scientist, case=business, data={"seed": 7}).result
    assert other["seed"] == 7
    assert other["p50"] != first["p50"]
    assert other["npv"] == first["npv"]
    again = services.business_case_update(actor=cast.data_scientist, case=business, data={"seed": first["seed"]}).result
    assert again == first


def test_delays_out_of_order_and_a_delayed_investment_are_refused_at_their_line(
    cast: Any, business: BusinessCase
) -> None:
    for wrong, field in (
        ([LINES[2] | {"delay_low": 2.0, "delay_likely": 1.0, "delay_high": 3.0}], ""),
        ([LINES[0] | {"delay_high": 1.0}], "lines[0].delay_likely"),
    ):
        with pytest.raises(InvalidInput) as refused:
            services.business_case_update(actor=cast.data_scientist, case=business, data={}, lines=wrong)
        assert refused.value.errors[0]["field"].startswith(field or "lines[0]")


def test_more_than_one_rate_draws_the_curve_and_says_why(cast: Any, business: BusinessCase, as_user: Any) -> None:
    lines = [
        {"kind": "capex", "name": "first", "low": 100, "likely": 100, "high": 100},
        {
            "kind": "benefit",
            "name": "gain",
            "low": 240,
            "likely": 240,
            "high": 240,
            "first_quarter": 4,
            "last_quarter": 4,
        },
        {
            "kind": "opex",
            "name": "clean up",
            "low": 143,
            "likely": 143,
            "high": 143,
            "first_quarter": 8,
            "last_quarter": 8,
        },
    ]
    made = services.business_case_update(actor=cast.data_scientist, case=business, data={}, lines=lines).result
    assert (made["irr"], made["irr_status"]) == (None, "several")
    assert made["curve"]["zeros"] == pytest.approx([0.1, 0.3], abs=1e-4)
    # 100 + 143 / 1.08^2 paid, 240 x 1.08 had after two years; the four empty quarters after them change nothing.
    assert made["modified"] == pytest.approx((240 * 1.08 / (100 + 143 / 1.08**2)) ** 0.5 - 1, abs=1e-4)
    page = as_user(cast.data_scientist).get(address("business-case", cast.ours.pk))
    assert "More than one rate fits: look at the curve" in page.content.decode()
    assert f"{100 * made['modified']:.1f} %" in page.content.decode()
    assert "10 % and 30 % a year" in page.context["curve_title"]
    assert page.context["curve"]["data"][0]["y"]
    printed = as_user(cast.data_scientist).get(address("business-case-print", cast.ours.pk)).content.decode()
    assert printed.count("<svg") == 3
    assert f"{100 * made['modified']:.1f} %" in printed


def test_a_single_rate_needs_no_curve(cast: Any, business: BusinessCase, as_user: Any) -> None:
    page = as_user(cast.data_scientist).get(address("business-case", cast.ours.pk))
    assert business.result["irr"] is not None
    assert "curve" not in page.context
    assert sum(page.context["spread"]["data"][0]["y"]) == business.result["draws"]


# ---- currencies ---------------------------------------------------------------------------------------------------------


def test_another_currency_scales_money_and_nothing_else(cast: Any, business: BusinessCase) -> None:
    rate()
    found, result = services.business_case_in(case=business, currency="USD")
    own = business.result
    assert found.rate == Decimal("1.25")
    for name in ("npv", "p10", "p50", "p90", "investment"):
        assert result[name] == pytest.approx(1.25 * own[name], abs=0.01)
    for name in ("irr", "payback", "profitability", "chance_of_gain"):
        assert result[name] == pytest.approx(own[name], abs=1e-3)
    assert BusinessCase.objects.get().result["currency"] == "EUR"


def test_without_a_rate_the_page_stays_in_its_own_and_says_so(cast: Any, business: BusinessCase, as_user: Any) -> None:
    with pytest.raises(DomainError, match="No exchange rate"):
        services.business_case_in(case=business, currency="USD")
    page = as_user(cast.data_scientist).get(address("business-case", cast.ours.pk), {"currency": "USD"})
    assert page.status_code == 200
    assert "No exchange rate from EUR to USD is known" in page.content.decode()
    assert page.context["currency"] == "EUR"
    rate()
    page = as_user(cast.data_scientist).get(address("business-case", cast.ours.pk), {"currency": "USD"})
    assert page.context["currency"] == "USD"
    assert "Assumption of a test" in page.content.decode()


def test_worth_in_the_api(cast: Any, business: BusinessCase, api: Any) -> None:
    client = api(cast.data_scientist)
    where = f"/api/v1/business-cases/{business.pk}/worth"
    own = client.get(where).json()
    assert (own["currency"], own["rate"], own["rate_on"]) == ("EUR", 1.0, None)
    assert sum(own["result"]["histogram"]["counts"]) == own["result"]["draws"]
    assert client.get(f"{where}?currency=USD").status_code == 409
    assert client.get(f"{where}?currency=dollars").status_code == 400
    rate()
    assert client.get(f"{where}?currency=USD").json()["result"]["currency"] == "USD"


def test_rates_are_listed_added_and_changed_by_whoever_may_make_use_cases(cast: Any, as_user: Any) -> None:
    lead = as_user(cast.coe_lead)
    body = {"base": "EUR", "quote": "USD", "rate": "1.1", "on": "2026-01-01", "source": "Treasury"}
    assert lead.post(reverse("usecases:exchange-rate-create"), body).status_code == 302
    page = lead.get(reverse("usecases:exchange-rates")).content.decode()
    assert "Treasury" in page
    assert "1.1" in page
    for wrong, words in (
        ({"rate": "0"}, "above zero"),
        ({"rate": "-1"}, "above zero"),
        ({"rate": "nan"}, "number"),
        ({"quote": "EUR"}, "different"),
        ({"quote": "usd"}, "capital"),
        ({}, "already"),
    ):
        refused = lead.post(reverse("usecases:exchange-rate-create"), body | wrong)
        assert refused.status_code == 422
        assert words in refused.content.decode(), wrong
    assert as_user(cast.data_scientist).post(reverse("usecases:exchange-rate-create"), body).status_code == 403


def test_a_wrong_rate_is_deleted_after_a_question(cast: Any, as_user: Any) -> None:
    wrong = rate(value="11")
    listed, where = reverse("usecases:exchange-rates"), address("exchange-rate-delete", wrong.pk)
    other = as_user(cast.data_scientist)
    assert where not in other.get(listed).content.decode()
    assert other.post(where).status_code == 403
    assert ExchangeRate.objects.count() == 1
    lead = as_user(cast.coe_lead)
    assert where in lead.get(listed).content.decode()
    assert "1 EUR = 11 USD from 1 Jan 2020, Assumption of a test" in lead.get(where).content.decode()
    assert ExchangeRate.objects.count() == 1
    assert lead.post(where).status_code == 302
    assert ExchangeRate.objects.count() == 0
    assert AuditEntry.objects.filter(action="exchangerate.delete").count() == 1


# ---- two people on one case -------------------------------------------------------------------------------------------


def base_of(page: Any) -> str:
    found: str = page.context["base"]
    return found


def test_two_people_meet_field_by_field_and_line_by_line(cast: Any, business: BusinessCase, as_user: Any) -> None:
    where = address("business-case-edit", cast.ours.pk)
    second = as_user(cast.data_scientist)
    opened = second.get(where)
    # Meanwhile the first person changes the rate, one line, takes one out and adds one.
    theirs = [LINES[0], LINES[2] | {"high": 55_000}, LINES[1] | {"name": "insurance"}]
    services.business_case_update(actor=cast.coe_lead, case=business, data={"discount_rate": 0.1}, lines=theirs)
    typed = HEAD | {"assumption": "Mine, typed for long."}
    mine = [LINES[0] | {"high": 90_000}, LINES[1], LINES[2], LINES[1] | {"name": "training"}]
    stale = second.post(
        where, typed | lines_form(mine) | {"version": opened.context["version"], "base": base_of(opened)}
    )
    text = stale.content.decode()
    assert stale.status_code == 412
    # Nothing typed is lost.
    for words in ("Mine, typed for long.", 'value="training"', 'value="90000"', "10 %", "8 %"):
        assert words in text, words
    rows = {row["label"]: row for row in stale.context["conflict"]["rows"]}
    picks = {label: (row["pick"], row["who"]) for label, row in rows.items()}
    assert picks["Assumptions"] == ("mine", "you changed it")
    assert picks["Discount rate per year"] == ("theirs", "they changed it")
    assert picks["Line “sensors”"] == ("mine", "you changed it")
    assert picks["Line “fuel”"] == ("theirs", "they changed it")
    assert picks["Line “running”"] == ("theirs", "they changed it")
    assert picks["Line “training”"] == ("mine", "you changed it")
    assert picks["Line “insurance”"] == ("theirs", "they changed it")
    assert rows["Line “running”"]["theirs"] == "not there"
    assert BusinessCase.objects.get().discount_rate == 0.1
    # The choices as they are offered, except that the second person keeps the running cost.
    chosen = {row["name"]: row["pick"] for row in rows.values()} | {rows["Line “running”"]["name"]: "mine"}
    again = {"version": stale.context["version"], "base": base_of(stale), "resolve": "1"}
    saved = second.post(where, typed | lines_form(mine) | again | chosen)
    assert saved.status_code == 302
    case = BusinessCase.objects.get()
    assert (case.assumption, case.discount_rate) == ("Mine, typed for long.", 0.1)
    assert [(line.name, int(line.high)) for line in case.lines.all()] == [
        ("sensors", 90_000),
        ("running", 7_000),
        ("fuel", 55_000),
        ("training", 7_000),
        ("insurance", 7_000),
    ]


def test_a_third_change_meanwhile_is_met_again(cast: Any, business: BusinessCase, as_user: Any) -> None:
    where, client = address("business-case-edit", cast.ours.pk), as_user(cast.data_scientist)
    seen = business.version
    services.business_case_update(actor=cast.coe_lead, case=business, data={"assumption": "Second"})
    body = HEAD | {"assumption": "Mine"} | lines_form(LINES)
    stale = client.post(where, body | {"version": str(seen)})
    assert stale.status_code == 412
    services.business_case_update(actor=cast.coe_lead, case=BusinessCase.objects.get(), data={"assumption": "Third"})
    again = client.post(where, body | {"version": stale.context["version"], "base": base_of(stale), "resolve": "1"})
    assert again.status_code == 412
    assert "Third" in again.content.decode()
    assert BusinessCase.objects.get().assumption == "Third"


def test_both_changed_the_same_field_and_mine_is_offered(cast: Any, business: BusinessCase) -> None:
    opened = conflict.Version.of_case(business)
    mine = conflict.Version({**opened.fields, "currency": "USD"}, opened.lines)
    theirs = conflict.Version({**opened.fields, "currency": "CHF"}, opened.lines)
    (row,) = conflict.differences(opened, mine, theirs, {"currency": "Currency"})
    assert (row["pick"], row["who"]) == ("mine", "you both changed it")
    assert conflict.Version.loaded(opened.dumped()) == opened
    for junk in ("", "[]", "{", '{"fields": 3, "lines": {}}', '{"fields": {}, "lines": {"a": 3}}'):
        assert conflict.Version.loaded(junk) is None


def test_the_api_asks_for_the_version(cast: Any, business: BusinessCase, api: Any) -> None:
    client = api(cast.data_scientist)
    where = f"/api/v1/business-cases/{business.pk}"
    assert client.patch(where, {"seed": 3}, format="json").status_code == 428
    tag = client.get(where)["ETag"]
    assert client.patch(where, {"seed": 3}, format="json", HTTP_IF_MATCH=tag).json()["result"]["seed"] == 3
    stale = client.patch(where, {"seed": 4}, format="json", HTTP_IF_MATCH=tag)
    assert stale.status_code == 412
    assert stale.json()["current"]["seed"] == 3


# ---- paper ----------------------------------------------------------------------------------------------------------------


def test_paper_needs_no_script_and_says_how_to_get_the_numbers_again(
    cast: Any, business: BusinessCase, outcome: Any, as_user: Any
) -> None:
    text = as_user(cast.data_scientist).get(address("business-case-print", cast.ours.pk)).content.decode()
    assert "<script" not in text
    assert " style=" not in text
    assert text.count("<svg") == 2
    for words in (
        "seed 20260",
        "10,000",
        "Demo figures, agreed with nobody.",
        "sensors",
        "NOx emitted",
        "Quarter by quarter",
    ):
        assert words in text, words
    assert not re.search(r"\bnan\b|None", text)
    assert as_user(cast.stranger).get(address("business-case-print", cast.ours.pk)).status_code == 404
    assert as_user(cast.coe_lead).get(address("business-case-print", cast.theirs.pk)).status_code == 404


def test_the_gate_says_the_worth_in_the_currency_of_the_case_also_when_frozen(
    cast: Any, business: BusinessCase
) -> None:
    services.business_case_update(actor=cast.data_scientist, case=business, data={"currency": "USD"})
    gate = Gate.objects.create(use_case=cast.ours, number=1, state="open")
    services.gate_measure(gate=gate)
    row = next(row for row in selectors.evidence_rows(gate) if row["key"] == "align.npv")
    assert (row["unit"], row["threshold_text"]) == ("USD", "above 0 USD")
    assert "USD" in row["bar_text"]
    assert next(row for row in selectors.criteria_of(gate) if row["key"] == "align.npv")["unit"] == "USD"
    review = services.review_open(actor=cast.plant_manager, gate=gate)
    frozen = next(row for row in review.snapshot["criteria"] if row["key"] == "align.npv")
    assert (frozen["unit"], frozen["value"]) == ("USD", business.result["p50"])
