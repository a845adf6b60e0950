from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.domain.billing import (
    Allocation,
    Invoice,
    MeterPrice,
    Period,
    PricePlan,
    Tier,
    UsageEvent,
    decimal_text,
    draw_up,
    reconcile,
    rounded,
    unique_events,
)
from tests.usecases.domain.tables import read_table
from usecases.domain.errors import InvalidInput

MARCH = Period.month_of(datetime(2026, 3, 15, tzinfo=UTC))
FEBRUARY = Period.month_of(datetime(2026, 2, 1, tzinfo=UTC))


def plan_from_docs() -> PricePlan:
    meters: dict[str, MeterPrice] = {}
    rows = read_table("metering", "metering-plan")
    for name in dict.fromkeys(r["meter"] for r in rows):
        own = [r for r in rows if r["meter"] == name]
        tiers = tuple(Tier(Decimal(r["cents per unit"]), None if r["up to"] == "-" else int(r["up to"])) for r in own)
        meters[name] = MeterPrice(name, tiers, included=int(own[0]["included"]))
    return PricePlan("EUR", 4900, tuple(meters.values()))


def events_from_docs() -> list[UsageEvent]:
    return [
        UsageEvent("gateway", r["id"], r["meter"], int(r["quantity"]), datetime.fromisoformat(r["time"]))
        for r in read_table("metering", "metering-events")
    ]


def invoice_from_docs() -> Invoice:
    return draw_up(plan_from_docs(), MARCH, events_from_docs(), already_billed={("calls", FEBRUARY): 990})


def test_the_invoice_is_that_of_the_page():
    invoice = invoice_from_docs()
    rows = read_table("metering", "metering-invoice")
    assert [line.key for line in invoice.lines] == [r["line"] for r in rows]
    for row, line in zip(rows, invoice.lines, strict=True):
        assert (line.kind, line.quantity, line.amount) == (row["kind"], int(row["quantity"]), int(row["amount"]))
        assert (line.unit_price, line.exact) == (Decimal(row["cents per unit"]), Decimal(row["exact"]))
        parts = [f"{a.event_id} {a.quantity}" for a in invoice.allocations if a.line == line.key]
        assert (", ".join(parts) or "-") == row["events"]
    assert decimal_text(invoice.total) == "66.88"
    assert [e.id for e in invoice.later] == ["e"]


def test_it_reconciles():
    result = reconcile(invoice_from_docs(), events_from_docs())
    assert result.holds
    assert (result.events, result.quantity, result.total) == (5, 25 + 900 + 1500 + 1103 + 33333, 6688)


def forged(change) -> set[str]:
    return {d.what for d in reconcile(change(invoice_from_docs()), events_from_docs()).differences}


def with_line(invoice: Invoice, key: str, **changes) -> Invoice:
    return replace(invoice, lines=tuple(replace(x, **changes) if x.key == key else x for x in invoice.lines))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda i: with_line(i, "calls/tier-2", amount=127), {"line_amount"}),
        (lambda i: with_line(i, "calls/tier-2", exact=Decimal("126.25")), {"line_exact"}),
        (lambda i: with_line(i, "calls/tier-2", quantity=505), {"line_quantity", "line_exact"}),
        (lambda i: with_line(i, "rows/tier-1", meter="calls"), {"meter_differs"}),
        (lambda i: with_line(i, "rows/tier-1", period=FEBRUARY), {"period_differs"}),
        (lambda i: replace(i, lines=i.lines + i.lines[-1:]), {"line_twice"}),
        (lambda i: replace(i, lines=i.lines[:-1]), {"line_unknown"}),
        (lambda i: replace(i, allocations=i.allocations[1:]), {"event_quantity", "event_not_billed", "line_quantity"}),
        (
            lambda i: replace(i, allocations=(*i.allocations, Allocation("gateway", "zz", "rows/tier-1", 1))),
            {"event_unknown", "line_quantity"},
        ),
        (lambda i: replace(i, later=()), {"event_not_billed"}),
    ],
)
def test_what_does_not_add_up_is_listed(change, what):
    found = forged(change)
    assert found and found <= what


def test_half_a_cent_is_a_cent():
    assert [rounded(Decimal(x)) for x in ("0.4999", "0.5", "1.5", "2.5")] == [0, 1, 2, 3]
    assert (decimal_text(5), decimal_text(123456), decimal_text(12, digits=0)) == ("0.05", "1234.56", "12")


def test_sent_twice_counts_once_and_two_contents_are_refused():
    first = events_from_docs()[0]
    assert unique_events([first, first]) == [first]
    with pytest.raises(InvalidInput) as refused:
        unique_events([first, replace(first, quantity=26)])
    assert refused.value.code == "event_conflict"


def test_nothing_used_costs_the_fee():
    invoice = draw_up(plan_from_docs(), MARCH, [])
    assert [(x.key, x.amount) for x in invoice.lines] == [("fee", 4900)]
    assert draw_up(replace(plan_from_docs(), monthly_fee=0), MARCH, []).lines == ()


def test_an_event_of_nothing_is_found_on_the_invoice():
    event = UsageEvent("g", "z", "calls", 0, MARCH.start)
    invoice = draw_up(plan_from_docs(), MARCH, [event])
    assert [(a.line, a.quantity) for a in invoice.allocations] == [("calls/included", 0)]
    assert reconcile(invoice, [event]).holds


def test_a_late_event_costs_what_its_own_month_cost():
    dearer = replace(plan_from_docs(), meters=(MeterPrice("calls", (Tier(Decimal(9)),)),))
    late = UsageEvent("g", "f", "calls", 10, FEBRUARY.start)
    old = draw_up(dearer, MARCH, [late], earlier_plans={FEBRUARY: plan_from_docs()})
    assert [(x.key, x.amount) for x in old.lines[1:]] == [("adjustment/2026-02/calls/included", 0)]
    with pytest.raises(InvalidInput) as refused:
        draw_up(dearer, MARCH, [late], earlier_plans={FEBRUARY: replace(plan_from_docs(), currency="USD")})
    assert refused.value.code == "currencies_differ"


def test_months_in_utc():
    december = Period.month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert (december.key, december.end) == ("2026-12", datetime(2027, 1, 1, tzinfo=UTC))
    assert MARCH.start in MARCH and MARCH.end not in MARCH


PRICE = Tier(Decimal(1))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: Period(MARCH.end, MARCH.start), "period_empty"),
        (lambda: Period(datetime(2026, 1, 1), datetime(2026, 2, 1)), "time_without_zone"),  # noqa: DTZ001
        (lambda: Period.month_of(datetime(2026, 1, 1)), "time_without_zone"),  # noqa: DTZ001
        (lambda: UsageEvent("g", "", "calls", 1, MARCH.start), "event_without_id"),
        (lambda: UsageEvent("g", "a", "calls", -1, MARCH.start), "quantity_not_whole"),
        (lambda: UsageEvent("g", "a", "calls", 1.5, MARCH.start), "quantity_not_whole"),
        (lambda: UsageEvent("g", "a", "calls", True, MARCH.start), "quantity_not_whole"),
        (lambda: UsageEvent("g", "a", "calls", 1, datetime(2026, 1, 1)), "time_without_zone"),  # noqa: DTZ001
        (lambda: MeterPrice("m", ()), "tiers_end"),
        (lambda: MeterPrice("m", (Tier(Decimal(1), 5),)), "tiers_end"),
        (lambda: MeterPrice("m", (Tier(Decimal(1), 5), Tier(Decimal(1), 5), PRICE)), "tiers_order"),
        (lambda: MeterPrice("m", (PRICE, PRICE)), "tiers_order"),
        (lambda: MeterPrice("m", (Tier(0.1),)), "price_not_decimal"),
        (lambda: MeterPrice("m", (Tier(Decimal("NaN")),)), "price_not_decimal"),
        (lambda: MeterPrice("m", (PRICE,), included=-1), "included_negative"),
        (lambda: PricePlan("EUR", 1.5, ()), "fee_not_whole"),
        (lambda: PricePlan("eur", 1, ()), "currency_unknown"),
        (lambda: PricePlan("EUR", 1, (MeterPrice("m", (PRICE,)), MeterPrice("m", (PRICE,)))), "meter_twice"),
        (lambda: plan_from_docs().price("minutes"), "meter_without_price"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


@st.composite
def price_plans(draw) -> PricePlan:
    price = st.decimals(0, 50, places=6)
    ends = sorted(draw(st.sets(st.integers(1, 500), max_size=3)))
    tiers = [Tier(draw(price), end) for end in ends] + [Tier(draw(price))]
    return PricePlan(
        "EUR",
        draw(st.integers(0, 10_000)),
        (MeterPrice("calls", tuple(tiers), draw(st.integers(0, 300))), MeterPrice("rows", (Tier(draw(price)),))),
    )


usage = st.lists(
    st.tuples(st.sampled_from(["calls", "rows"]), st.integers(0, 400), st.integers(-40 * 24, 35 * 24)), max_size=25
).map(
    lambda rows: [
        UsageEvent("g", str(i), meter, quantity, MARCH.start + timedelta(hours=hours))
        for i, (meter, quantity, hours) in enumerate(rows)
    ]
)


@given(price_plans(), usage, st.randoms(), st.integers(0, 600))
def test_every_invoice_reconciles_and_does_not_depend_on_the_order_of_arrival(plan, events, random, before):
    billed = {("calls", FEBRUARY): before}
    invoice = draw_up(plan, MARCH, events, already_billed=billed)
    assert reconcile(invoice, events).holds
    shuffled = [*events, *events[:3]]
    random.shuffle(shuffled)
    assert draw_up(plan, MARCH, shuffled, already_billed=billed) == invoice


@given(price_plans(), st.lists(st.integers(0, 400), min_size=1, max_size=12), st.integers(0, 12))
def test_late_and_on_time_cost_the_same_before_rounding(plan, quantities, cut):
    events = [
        UsageEvent("g", f"{i:03}", "calls", quantity, FEBRUARY.start + timedelta(hours=i))
        for i, quantity in enumerate(quantities)
    ]
    plan = replace(plan, monthly_fee=0)
    whole = draw_up(plan, FEBRUARY, events)
    first = draw_up(plan, FEBRUARY, events[:cut])
    rest = draw_up(plan, MARCH, events[cut:], already_billed={("calls", FEBRUARY): sum(quantities[:cut])})
    assert sum(x.exact for x in whole.lines) == sum(x.exact for x in (*first.lines, *rest.lines))
    assert abs(whole.total - first.total - rest.total) <= len(first.lines) + len(rest.lines)
