"""From usage events to an invoice that reconciles to the last unit.

Quantities are whole units, prices exact decimals in minor units (cents), and each line is rounded once, half up, to a
whole minor unit. Binary floats appear nowhere. See docs/algorithms/metering.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from enum import StrEnum
from typing import Final

from usecases.domain.errors import InvalidInput

#: Enough digits that no product of a quantity and a price is ever rounded before its line is.
_PRECISION: Final = 60
_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """From ``start`` up to but not including ``end``, both with a zone."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise InvalidInput("time_without_zone", "A time needs its zone.", field="period")
        if self.end <= self.start:
            raise InvalidInput("period_empty", "A period must end after it starts.", field="period")

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def key(self) -> str:
        return self.start.astimezone(UTC).strftime("%Y-%m")

    @classmethod
    def month_of(cls, moment: datetime) -> Period:
        """The calendar month in UTC that a moment falls in."""
        if moment.tzinfo is None:
            raise InvalidInput("time_without_zone", "A time needs its zone.", field="time")
        utc = moment.astimezone(UTC)
        start = datetime(utc.year, utc.month, 1, tzinfo=UTC)
        after = divmod(utc.month, 12)
        return cls(start, datetime(utc.year + after[0], after[1] + 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One use of a service. ``source`` and ``id`` together name the logical event, however often it is sent."""

    source: str
    id: str
    meter: str
    quantity: int
    time: datetime

    def __post_init__(self) -> None:
        if not self.source or not self.id:
            raise InvalidInput("event_without_id", "An event needs its source and its id.", field="id")
        if isinstance(self.quantity, bool) or not isinstance(self.quantity, int) or self.quantity < 0:
            raise InvalidInput("quantity_not_whole", "A quantity is a whole number from zero up.", field=self.id)
        if self.time.tzinfo is None:
            raise InvalidInput("time_without_zone", "A time needs its zone.", field=self.id)

    @property
    def identity(self) -> tuple[str, str]:
        return (self.source, self.id)


@dataclass(frozen=True, slots=True)
class Tier:
    """Price per unit, in minor units and possibly a fraction of one, up to so many paid units (None: no end)."""

    unit_price: Decimal
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class MeterPrice:
    """What one meter costs: ``included`` units a period for nothing, then tier after tier (graduated, not volume)."""

    meter: str
    tiers: tuple[Tier, ...]
    included: int = 0

    def __post_init__(self) -> None:
        if self.included < 0:
            raise InvalidInput("included_negative", "The included quota cannot be negative.", field=self.meter)
        if not self.tiers or self.tiers[-1].up_to is not None:
            raise InvalidInput("tiers_end", "The last tier must be without an end.", field=self.meter)
        for tier in self.tiers:
            if not isinstance(tier.unit_price, Decimal) or not tier.unit_price.is_finite() or tier.unit_price < 0:
                raise InvalidInput("price_not_decimal", "A price is a decimal from zero up.", field=self.meter)
        reached = 0
        for tier in self.tiers[:-1]:
            if tier.up_to is None or tier.up_to <= reached:
                raise InvalidInput("tiers_order", "Each tier must end after the one before.", field=self.meter)
            reached = tier.up_to

    def bands(self) -> list[tuple[str, int, int | None, Decimal]]:
        """(name, first unit, end or None, unit price) over the period's units in order; the included ones come first."""
        result: list[tuple[str, int, int | None, Decimal]] = []
        if self.included:
            result.append(("included", 0, self.included, Decimal(0)))
        start = self.included
        for number, tier in enumerate(self.tiers, start=1):
            end = None if tier.up_to is None else self.included + tier.up_to
            result.append((f"tier-{number}", start, end, tier.unit_price))
            start = end or start
        return result


@dataclass(frozen=True, slots=True)
class PricePlan:
    """A plan as it was agreed: a monthly fee in whole minor units and a price for each meter."""

    currency: str
    monthly_fee: int
    meters: tuple[MeterPrice, ...]

    def __post_init__(self) -> None:
        if isinstance(self.monthly_fee, bool) or not isinstance(self.monthly_fee, int) or self.monthly_fee < 0:
            raise InvalidInput("fee_not_whole", "A fee is a whole number of minor units.", field="monthly_fee")
        if len(self.currency) != 3 or not self.currency.isalpha() or not self.currency.isupper():
            raise InvalidInput("currency_unknown", "A currency has three capital letters.", field="currency")
        names = [m.meter for m in self.meters]
        if len(set(names)) != len(names):
            raise InvalidInput("meter_twice", "A meter has one price.", field="meters")

    def price(self, meter: str) -> MeterPrice:
        for price in self.meters:
            if price.meter == meter:
                return price
        raise InvalidInput("meter_without_price", "This plan has no price for the meter.", field=meter)


class LineKind(StrEnum):
    FEE = "fee"
    INCLUDED = "included"
    USAGE = "usage"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """``amount`` is ``exact`` = quantity x unit price, rounded half up once, both in minor units."""

    key: str
    kind: LineKind
    meter: str
    period: Period
    quantity: int
    unit_price: Decimal
    exact: Decimal
    amount: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """How much of one event stands on one line."""

    source: str
    event_id: str
    line: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """Lines in the order they are printed, and where every event went. ``later`` events wait for their own period."""

    period: Period
    currency: str
    lines: tuple[InvoiceLine, ...]
    allocations: tuple[Allocation, ...]
    later: tuple[UsageEvent, ...]

    @property
    def total(self) -> int:
        """Sum of the lines in minor units, not rounded again."""
        return sum(line.amount for line in self.lines)


def rounded(exact: Decimal) -> int:
    """Whole minor units, half up: 0.5 cents are a cent."""
    return int(exact.quantize(_ONE, rounding=ROUND_HALF_UP))


def unique_events(events: Iterable[UsageEvent]) -> list[UsageEvent]:
    """Each logical event once, in order of time. Sent twice is once; one id with two contents is refused."""
    seen: dict[tuple[str, str], UsageEvent] = {}
    for event in events:
        known = seen.setdefault(event.identity, event)
        if known != event:
            raise InvalidInput("event_conflict", "One id was sent with two different contents.", field=event.id)
    return sorted(seen.values(), key=lambda e: (e.time, e.source, e.id))


def draw_up(
    plan: PricePlan,
    period: Period,
    events: Iterable[UsageEvent],
    *,
    already_billed: Mapping[tuple[str, Period], int] | None = None,
    earlier_plans: Mapping[Period, PricePlan] | None = None,
) -> Invoice:
    """The invoice of one subscription for one period, from the events that no invoice holds yet.

    An event from before the period is late: it is priced where its own month stood (``already_billed`` units per meter and
    month, at the plan of that month if ``earlier_plans`` names one) and stands on an adjustment line of this invoice.
    An event from after the period is left for its own invoice.
    """
    billed = already_billed or {}
    lines: dict[str, InvoiceLine] = {}
    allocations: list[Allocation] = []
    later: list[UsageEvent] = []
    groups: dict[tuple[Period, str], list[UsageEvent]] = defaultdict(list)
    for event in unique_events(events):
        if event.time >= period.end:
            later.append(event)
        else:
            groups[period if event.time in period else Period.month_of(event.time), event.meter].append(event)
    with localcontext(prec=_PRECISION):
        if plan.monthly_fee:
            fee = Decimal(plan.monthly_fee)
            lines["fee"] = InvoiceLine("fee", LineKind.FEE, "", period, 1, fee, fee, plan.monthly_fee)
        # This period first, then late months from the oldest on: the order of the printed lines.
        for own, meter in sorted(groups, key=lambda g: (g[0] != period, g[0], g[1])):
            is_late = own != period
            at = (earlier_plans or {}).get(own, plan) if is_late else plan
            if at.currency != plan.currency:
                raise InvalidInput("currencies_differ", "One invoice has one currency.", field=meter)
            start = billed.get((meter, own), 0)
            quantities = _spread(at.price(meter), start, groups[own, meter], own if is_late else None, allocations)
            for band, price, quantity in quantities:
                line = _line(meter, own, band, price, quantity, is_late=is_late)
                lines[line.key] = line
    return Invoice(period, plan.currency, tuple(lines.values()), tuple(allocations), tuple(later))


def _line_key(meter: str, band: str, late: Period | None) -> str:
    return f"{meter}/{band}" if late is None else f"adjustment/{late.key}/{meter}/{band}"


def _line(meter: str, own: Period, band: str, price: Decimal, quantity: int, *, is_late: bool) -> InvoiceLine:
    if is_late:
        kind = LineKind.ADJUSTMENT
    else:
        kind = LineKind.INCLUDED if band == "included" else LineKind.USAGE
    exact = quantity * price
    return InvoiceLine(
        _line_key(meter, band, own if is_late else None), kind, meter, own, quantity, price, exact, rounded(exact)
    )


def _spread(
    price: MeterPrice, position: int, events: list[UsageEvent], late: Period | None, allocations: list[Allocation]
) -> list[tuple[str, Decimal, int]]:
    """Pour events, in order of time, into the bands from ``position`` on; an event may straddle two or more."""
    bands = price.bands()
    totals = [0] * len(bands)
    touched = set()
    index = 0
    for event in events:
        left = event.quantity
        while True:
            name, _, end, _ = bands[index]
            if end is not None and position >= end:
                index += 1
                continue
            part = left if end is None else min(left, end - position)
            # An event of quantity zero lands here too: it has to be found on the invoice.
            allocations.append(Allocation(event.source, event.id, _line_key(price.meter, name, late), part))
            totals[index] += part
            touched.add(index)
            position += part
            left -= part
            if left == 0:
                break
    return [(bands[i][0], bands[i][3], totals[i]) for i in sorted(touched)]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not add up: ``what`` is a stable code, ``key`` the line or event."""

    what: str
    key: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    events: int
    quantity: int
    total: int
    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        return not self.differences


def reconcile(invoice: Invoice, events: Iterable[UsageEvent]) -> Reconciliation:
    """Check an invoice against the events it claims to hold, without trusting how it was drawn up.

    Every event stands on lines of its meter with exactly its quantity; every line's quantity is the sum of its events;
    every amount is quantity x price, rounded once.
    """
    known = {e.identity: e for e in unique_events(events)}
    waiting = {e.identity for e in invoice.later}
    lines = {line.key: line for line in invoice.lines}
    by_event: dict[tuple[str, str], int] = defaultdict(int)
    by_line: dict[str, int] = defaultdict(int)
    found: list[Difference] = []
    for part in invoice.allocations:
        identity = (part.source, part.event_id)
        by_event[identity] += part.quantity
        by_line[part.line] += part.quantity
        event, line = known.get(identity), lines.get(part.line)
        if event is None:
            found.append(Difference("event_unknown", part.event_id, "an event", "none"))
        if line is None:
            found.append(Difference("line_unknown", part.line, "a line", "none"))
        if event is not None and line is not None:
            if event.meter != line.meter:
                found.append(Difference("meter_differs", part.event_id, event.meter, line.meter))
            if event.time not in line.period:
                found.append(Difference("period_differs", part.event_id, event.time.isoformat(), line.period.key))
    for identity, event in known.items():
        if identity in waiting:
            continue
        if identity not in by_event:
            found.append(Difference("event_not_billed", event.id, str(event.quantity), "nothing"))
        elif by_event[identity] != event.quantity:
            found.append(Difference("event_quantity", event.id, str(event.quantity), str(by_event[identity])))
    with localcontext(prec=_PRECISION):
        for key, line in lines.items():
            if line.kind is not LineKind.FEE and by_line.get(key, 0) != line.quantity:
                found.append(Difference("line_quantity", key, str(by_line.get(key, 0)), str(line.quantity)))
            if line.quantity * line.unit_price != line.exact:
                found.append(Difference("line_exact", key, str(line.quantity * line.unit_price), str(line.exact)))
            if rounded(line.exact) != line.amount:
                found.append(Difference("line_amount", key, str(rounded(line.exact)), str(line.amount)))
    if len(lines) != len(invoice.lines):
        found.append(Difference("line_twice", "", str(len(lines)), str(len(invoice.lines))))
    billed = [e for identity, e in known.items() if identity not in waiting]
    return Reconciliation(len(billed), sum(e.quantity for e in billed), invoice.total, tuple(found))


def decimal_text(amount: int, *, digits: int = 2) -> str:
    """Minor units as a decimal string of the major unit: 1234 is "12.34"; yen have no digits."""
    return format(Decimal(amount).scaleb(-digits), f".{digits}f")
