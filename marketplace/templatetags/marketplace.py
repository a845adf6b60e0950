"""Money in templates: whole minor units and prices per row."""

from django import template

from marketplace import money

register = template.Library()


@register.filter
def minor(value: int | None, currency: str) -> str:
    """1234 with EUR is "12.34 EUR"."""
    return "–" if value is None else money.with_currency(value, currency)


@register.filter
def per_thousand(micro: int, currency: str) -> str:
    """The price of 1,000 rows."""
    return money.per_thousand(micro, currency)
