"""Money in several currencies: the rate that holds on a day, and a refusal where nobody has entered one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

from django.utils.translation import gettext as _

from portal.core.clock import day_text
from portal.core.errors import DomainError
from usecases.models import ExchangeRate

Amount = TypeVar("Amount", float, Decimal)
ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit of ``base`` buys of ``quote``. ``on`` is the day of the oldest rate it was made of, None for one currency."""

    base: str
    quote: str
    rate: Decimal
    on: date | None = None
    sources: tuple[str, ...] = ()
    via: str = ""

    def turned(self) -> Rate:
        return Rate(self.quote, self.base, ONE / self.rate, self.on, self.sources, self.via)


class Rates:
    """The newest rate of every pair on or before a day, read by one query: for sums over many amounts."""

    def __init__(self, on: date) -> None:
        self.on = on
        self._known: dict[tuple[str, str], Rate] = {}
        rows = ExchangeRate.objects.filter(on__lte=on).order_by("on", "id")
        for base, quote, rate, day, source in rows.values_list("base", "quote", "rate", "on", "source"):
            found = Rate(base, quote, rate, day, (source,))
            # Ascending days: the newest wins, whichever way round it was written.
            self._known[base, quote], self._known[quote, base] = found, found.turned()

    def currencies(self, base: str) -> list[str]:
        """What ``base`` can be shown in, itself included."""
        names = {quote for _base, quote in self._known}
        return sorted({base} | {name for name in names if self.find(base, name) is not None})

    def find(self, base: str, quote: str) -> Rate | None:
        """A rate entered for the pair (either way round), else over one third currency, the freshest of those; else None."""
        if base == quote:
            return Rate(base, quote, ONE)
        if (known := self._known.get((base, quote))) is not None:
            return known
        crossed = [
            _cross(first, second)
            for (one, middle), first in sorted(self._known.items())
            if one == base and (second := self._known.get((middle, quote))) is not None
        ]
        return max(crossed, key=lambda r: r.on or date.min, default=None)

    def between(self, base: str, quote: str) -> Rate:
        found = self.find(base, quote)
        if found is None:
            raise DomainError(
                "no_exchange_rate",
                _(
                    "No exchange rate from {base} to {quote} is known on {on}. Add one, or keep the amounts in {base}."
                ).format(base=base, quote=quote, on=day_text(self.on)),
                {"base": base, "quote": quote, "on": self.on.isoformat()},
            )
        return found


def _cross(first: Rate, second: Rate) -> Rate:
    days = [day for day in (first.on, second.on) if day is not None]
    sources = tuple(dict.fromkeys(first.sources + second.sources))
    return Rate(first.base, second.quote, first.rate * second.rate, min(days, default=None), sources, first.quote)


def rate_between(base: str, quote: str, on: date) -> Decimal:
    """What one unit of ``base`` buys of ``quote`` on a day; ``DomainError("no_exchange_rate")`` where no rate is known."""
    return Rates(on).between(base, quote).rate


def in_currency(amount: Amount, from_: str, to: str, on: date) -> Amount:
    """An amount in another currency on a day."""
    if from_ == to:
        return amount
    rate = rate_between(from_, to, on)
    return amount * rate if isinstance(amount, Decimal) else type(amount)(float(amount) * float(rate))
