"""Money as text. Amounts are whole minor units; a price per row is a whole number of millionths of one."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from marketplace.domain.billing import decimal_text

#: Currencies a plan may have, and how many digits their minor unit is (ISO 4217).
CURRENCIES: Final[dict[str, int]] = {
    "EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "DKK": 2, "NOK": 2, "SEK": 2, "PLN": 2, "CZK": 2, "HUF": 2, "JPY": 0, "KRW": 0,
}  # fmt: skip
MICRO: Final = 1_000_000


def digits(currency: str) -> int:
    return CURRENCIES.get(currency, 2)


def amount(minor: int, currency: str) -> str:
    """Minor units as a decimal string of the major unit: 1234 EUR cents are "12.34"."""
    return decimal_text(minor, digits=digits(currency))


def with_currency(minor: int, currency: str) -> str:
    """For people: thousands apart, the currency behind."""
    return f"{Decimal(amount(minor, currency)):,} {currency}"


def unit_price(micro: int) -> Decimal:
    """Minor units per row, exact."""
    return Decimal(micro) / MICRO


def per_thousand(micro: int, currency: str) -> str:
    """The price of 1,000 rows in the major unit, exact, at least with the currency's own digits."""
    exact = (Decimal(micro) * 1000 / MICRO).scaleb(-digits(currency)).normalize()
    places = max(digits(currency), -int(exact.as_tuple().exponent))
    return f"{exact:,.{places}f} {currency}"
