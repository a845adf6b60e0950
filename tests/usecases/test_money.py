"""Exchange rates: the newest on or before the day, either way round, over one third currency, or a refusal."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from portal.core.errors import DomainError
from usecases.models import ExchangeRate
from usecases.money import Rates, in_currency, rate_between

pytestmark = pytest.mark.django_db
DAY = date(2026, 6, 1)


def given(base: str, quote: str, rate: str, on: date = DAY) -> None:
    ExchangeRate.objects.create(base=base, quote=quote, rate=Decimal(rate), on=on, source="treasury")


def test_the_same_currency_needs_no_rate() -> None:
    assert rate_between("EUR", "EUR", DAY) == 1
    assert in_currency(12.5, "EUR", "EUR", DAY) == 12.5


def test_the_newest_rate_on_or_before_the_day() -> None:
    given("EUR", "USD", "1.05", date(2026, 1, 1))
    given("EUR", "USD", "1.10", date(2026, 5, 1))
    given("EUR", "USD", "1.90", date(2026, 7, 1))
    assert rate_between("EUR", "USD", DAY) == Decimal("1.10")
    assert rate_between("EUR", "USD", date(2026, 4, 30)) == Decimal("1.05")


def test_a_rate_works_both_ways_and_the_newer_direction_wins() -> None:
    given("EUR", "USD", "1.25")
    assert rate_between("USD", "EUR", DAY) == Decimal("0.8")
    given("USD", "EUR", "0.5", date(2026, 6, 2))
    assert rate_between("EUR", "USD", date(2026, 6, 2)) == 2


def test_over_one_third_currency_but_no_further() -> None:
    given("EUR", "USD", "2")
    given("GBP", "USD", "4", date(2026, 5, 1))
    given("CHF", "GBP", "3")
    found = Rates(DAY).between("EUR", "GBP")
    assert (found.rate, found.via, found.on) == (Decimal("0.5"), "USD", date(2026, 5, 1))
    with pytest.raises(DomainError, match="No exchange rate from EUR to CHF"):
        rate_between("EUR", "CHF", DAY)
    assert Rates(DAY).currencies("EUR") == ["EUR", "GBP", "USD"]


def test_no_rate_is_a_refusal_and_never_one_to_one() -> None:
    with pytest.raises(DomainError) as refused:
        in_currency(Decimal(10), "EUR", "USD", DAY)
    assert refused.value.code == "no_exchange_rate"


def test_amounts_keep_their_type() -> None:
    given("EUR", "USD", "1.5")
    assert in_currency(Decimal("10.00"), "EUR", "USD", DAY) == Decimal("15")
    assert in_currency(10.0, "EUR", "USD", DAY) == 15.0
