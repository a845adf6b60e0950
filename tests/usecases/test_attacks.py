"""What somebody with an account may send to break things: numbers that are none, the ends of the calendar, two hands at once."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.urls import reverse

from tests.usecases.conftest import LINES
from usecases import services

pytestmark = pytest.mark.django_db
V1 = "/api/v1"

NO_NUMBERS = ["nan", "Infinity", 1e308, 10**400, 2**63]
FIRST_DAY, LAST_DAY = "0001-01-01", "9999-12-31"
MOMENTS = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]


@pytest.fixture
def ground(cast: Any, criteria: Any, business: Any, outcome: Any, meeting: Any) -> Any:
    cast.business, cast.outcome, cast.meeting, cast.criteria = business, outcome, meeting, criteria
    cast.scenario = services.scenario_create(
        actor=cast.coe_lead,
        many={"candidates": [cast.ours], "must": [], "must_not": []},
        name="Next year",
        start=date(2027, 1, 1),
        quarters=2,
        budget=[100_000.0, 100_000.0],
    )
    return cast


def line(**change: Any) -> dict[str, Any]:
    return LINES[2] | change


def writes(it: Any) -> list[tuple[str, str, dict[str, Any], list[str], list[str], list[str]]]:
    """Verb, address, body, and its fields that hold a number, a day and a moment."""
    pk = it.scenario.pk
    leaf = it.criteria.criteria.get(key="data")
    return [
        ("patch", f"business-cases/{it.business.pk}", {}, ["discount_rate", "quarters", "seed"], ["start"], []),
        ("post", "exchange-rates", {"base": "USD", "quote": "EUR", "rate": "0.9", "on": "2026-01-01", "source": "x"}, ["rate"], ["on"], []),
        ("patch", f"scenarios/{pk}", {}, ["quarters", "lag", "foundation_share", "gap", "time_limit", "seed"], ["start"], []),
        ("post", "effort-needs", {"use_case": str(it.ours.pk), "role": "ot_engineer", "quarter": 0, "days": 1.0}, ["quarter", "days"], [], []),
        ("patch", f"outcomes/{it.outcome.pk}", {"reason": "x"}, ["baseline_value", "baseline_exposure", "target_value", "value_per_unit"], ["baseline_from", "baseline_to", "target_by"], []),
        ("post", "kpi-readings", {"outcome": str(it.outcome.pk), "period_from": "2012-01-01T00:00:00Z", "period_to": "2012-02-01T00:00:00Z", "value": 1.0, "exposure": 1.0}, ["value", "exposure"], [], ["period_from", "period_to"]),
        ("patch", f"scoring-rounds/{it.meeting.pk}", {}, [], [], ["due_at"]),
        ("patch", f"criteria/{leaf.pk}", {}, ["weight", "anchor_low", "anchor_high", "position"], [], []),
    ]  # fmt: skip


def looked_at(it: Any, as_user: Any, api: Any) -> list[str]:
    """What breaks on the pages and answers that show what was written."""
    ours, broken = it.ours.pk, []
    pages = [reverse(f"usecases:{name}") for name in ("portfolio", "exchange-rates", "rounds")]
    pages += [reverse(f"usecases:{name}", args=[ours]) for name in ("use-case", "business-case", "effort")]
    pages += [reverse(f"usecases:{name}", args=[it.scenario.pk]) for name in ("scenario",)]
    pages += [reverse(f"usecases:{name}", args=[it.outcome.pk]) for name in ("outcome",)]
    pages += [reverse(f"usecases:{name}", args=[it.meeting.pk]) for name in ("round",)]
    for address in pages:
        answer = as_user(it.coe_lead).get(address)
        if answer.status_code >= 400:
            broken.append(f"{address}: {answer.status_code}")
    for noun in ("business-cases", "scenarios", "kpi-readings", "effort-needs"):
        answer = api(it.coe_lead).get(f"{V1}/{noun}")
        if answer.status_code >= 400 or any(word in answer.content for word in (b"NaN", b"Infinity")):
            broken.append(f"{noun}: {answer.status_code}")
    answer = api(it.coe_lead).post(f"{V1}/scenarios/{it.scenario.pk}/run", {}, format="json")
    if answer.status_code >= 500:
        broken.append(f"run: {answer.status_code}")
    return broken  # fmt: skip


@pytest.mark.parametrize("at", range(8))
def test_numbers_that_are_none_and_the_ends_of_the_calendar(ground, api, as_user, at):
    from django.db import transaction

    verb, noun, body, numbers, days, moments = writes(ground)[at]
    client = api(ground.coe_lead)
    client.raise_request_exception = False
    pages = as_user(ground.coe_lead)
    pages.raise_request_exception = False
    wrong = []
    cases = [(name, value) for name in numbers for value in NO_NUMBERS]
    cases += [(name, value) for name in days for value in (FIRST_DAY, LAST_DAY)]
    cases += [(name, value) for name in moments for value in MOMENTS]
    for name, value in cases:
        content = json.dumps(body | {name: value})
        with transaction.atomic():
            answer = client.generic(
                verb.upper(), f"{V1}/{noun}", content, content_type="application/json", HTTP_IF_MATCH="*"
            )
            said = f"{verb} {noun} {name}={str(value)[:20]}: {answer.status_code}"
            if answer.status_code >= 500:
                wrong.append(said)
            elif answer.status_code < 300:
                if str(value).lower().strip("-") in {"nan", "infinity"}:
                    wrong.append(f"{said}, taken")
                wrong += [f"{said}, taken; then {what}" for what in looked_at(ground, as_user, api)]
            transaction.set_rollback(True)
    assert not wrong, "\n".join(wrong)


def test_moments_that_no_calendar_has_in_utc(ground, api, as_user):
    """The first and the last hours of the calendar, with an offset: no database keeps them."""
    it, lost = ground, MOMENTS[:2]
    pages, client = as_user(it.coe_lead), api(it.coe_lead)
    for moment in lost:
        reading = {"period_from": moment, "period_to": moment, "value": "1", "exposure": "1"}
        answer = pages.post(reverse("usecases:reading-create", args=[it.outcome.pk]), reading)
        assert (answer.status_code, b"The calendar ends" in answer.content) == (422, True)
        answer = pages.post(reverse("usecases:round-edit", args=[it.meeting.pk]), {"title": "x", "due_at": moment})
        assert answer.status_code == 422
        text = f"use_case,kpi,period_from,period_to,value,exposure\n{it.ours.code},NOx emitted,{moment},{moment},1,1\n"
        answer = pages.post(reverse("usecases:import"), {"kind": "kpi_readings", "text": text})
        assert answer.status_code == 422
        answer = client.post(f"{V1}/imports", {"kind": "kpi_readings", "text": text}, format="json")
        assert answer.status_code == 400
        for query in ("?period_from=", "?updated_since=", "/deleted?since="):
            answer = client.get(f"{V1}/kpi-readings{query}{quote(moment)}")
            assert answer.status_code == 400, (query, answer.status_code)
        cursor = quote(b64encode(urlencode({"p": moment}).encode()))
        assert client.get(f"{V1}/kpi-readings?ordering=period_from&cursor={cursor}").status_code == 400


def test_a_page_size_of_thousands_of_digits_is_refused(cast, api):
    for size in ("9" * 5000, "²", "-1", ""):
        answer = api(cast.coe_lead).get(f"{V1}/gates", {"page_size": size})
        assert answer.status_code == 400, size[:9]
        assert answer.json()["errors"][0]["field"] == "page_size"
