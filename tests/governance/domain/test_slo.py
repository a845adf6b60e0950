"""Error budgets, burn-rate tiers and ledgers: the worked tables, and what must hold for any ledger."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.domain.ledger import EventLedger, SumLedger, TimeLedger, response_events
from governance.domain.slo import (
    DAY,
    HOUR,
    MINUTE,
    Guard,
    Objective,
    Severity,
    Tier,
    Unit,
    budget_left,
    burn_rate,
    burn_table,
    derive_tiers,
    error_budget,
    events_that_absorb_one,
    fit_tiers,
    time_to_exhaustion,
)
from tests.usecases.domain.tables import number, numbers, read_table

MONTH = 30 * DAY


def figures(cell: str) -> list[float]:
    return [] if cell in {"", "none"} else numbers(cell)


@pytest.mark.parametrize("row", read_table("slo", "slo-budget"))
def test_worked_budgets(row):
    total, bad, days = float(row["total"]), float(row["bad"]), float(row["days"])
    now = 1e9
    if row["unit"] == "events":
        objective = Objective(float(row["target"]), days * DAY, Unit.EVENTS)
        ledger = EventLedger.from_counts([now - 5.0, now - 2.0], [total - bad, 0.0], [0.0, bad])
        unit = 1.0
    else:
        objective = Objective(float(row["target"]), days * DAY, Unit.TIME)
        start = now - total * MINUTE
        ledger = TimeLedger.from_intervals([[start + 60.0, start + 60.0 + bad * MINUTE]], start, now)
        unit = MINUTE
    budget = error_budget(objective, ledger, now)
    assert budget.total / unit == pytest.approx(total)
    assert budget.used / unit == pytest.approx(bad)
    assert budget.allowed / unit == pytest.approx(float(row["allowed"]))
    assert budget.left / unit == pytest.approx(float(row["left"]), abs=1e-9)
    assert budget.used_share == pytest.approx(number(row["used share"]), abs=6e-5, nan_ok=True)
    assert budget.provable == (row["provable"] == "yes")
    assert budget.exhausted == (bad > float(row["allowed"]) + 1e-9)
    assert budget_left(objective, ledger, [now])[0] == pytest.approx(budget.left_share, nan_ok=True)
    if unit == MINUTE:
        assert budget.left_minutes == pytest.approx(float(row["left"]))


def test_the_thirty_day_tiers_are_the_workbooks():
    for tier, row in zip(derive_tiers(MONTH), read_table("slo", "slo-tiers-30"), strict=True):
        assert tier.severity == row["severity"]
        assert tier.long / HOUR == pytest.approx(float(row["long window (h)"]))
        assert tier.short / MINUTE == pytest.approx(float(row["short window (min)"]))
        assert tier.burn == pytest.approx(float(row["burn rate"]))
        assert tier.share == pytest.approx(float(row["budget gone by then"]))


@pytest.mark.parametrize("row", read_table("slo", "slo-tiers-any"))
def test_tiers_for_any_period(row):
    period = float(row["days"]) * DAY
    tiers = derive_tiers(period, scale_windows=row["windows scaled"] == "yes")
    assert [tier.long / HOUR for tier in tiers] == pytest.approx(numbers(row["long windows (h)"]), rel=1e-4)
    assert [tier.short / MINUTE for tier in tiers] == pytest.approx(numbers(row["short windows (min)"]), rel=1e-4)
    assert [tier.burn for tier in tiers] == pytest.approx(numbers(row["burn rates"]), rel=1e-4)
    for tier in tiers:
        assert tier.burn * tier.long / period == pytest.approx(tier.share)


@pytest.mark.parametrize("row", read_table("slo", "slo-fit"))
def test_tiers_that_cannot_fire_are_refused(row):
    objective = Objective(float(row["target"]), MONTH, Unit.TIME)
    kept, refused = fit_tiers(objective, derive_tiers(MONTH))
    assert objective.greatest_burn == pytest.approx(number(row["greatest burn"]))
    assert [tier.burn for tier in kept] == pytest.approx(figures(row["burn rates kept"]))
    assert [tier.burn * objective.bad_share for tier in kept] == pytest.approx(figures(row["bad shares that fire"]))
    assert [one.tier.burn for one in refused] == pytest.approx(figures(row["refused"]))
    assert all("can never fire" in one.reason for one in refused)
    outage = TimeLedger.from_intervals([[0.0, MONTH]], 0.0, MONTH)
    assert burn_table(objective, outage, kept, MONTH).firing.all()
    assert not burn_table(objective, outage, [one.tier for one in refused], MONTH).firing.any()


def test_a_target_at_the_edge_can_not_fire():
    kept, refused = fit_tiers(Objective(0.9, MONTH, Unit.TIME), [Tier(Severity.PAGE, HOUR, 300.0, 10.0, 0.1)])
    assert kept == ()
    assert refused[0].reason == "can never fire: burn 10 needs a target above 90.00%, this one is 90.00%"


def test_windows_longer_than_the_period_are_refused():
    kept, refused = fit_tiers(Objective(0.995, DAY, Unit.TIME), derive_tiers(DAY))
    assert [tier.long for tier in kept] == [HOUR, 6 * HOUR]
    assert [one.reason for one in refused] == ["its long window is longer than the period"]
    zero = Tier(Severity.PAGE, HOUR, 300.0, 0.0, 0.0)
    assert fit_tiers(Objective(0.995, DAY, Unit.TIME), [zero])[1][0].reason.startswith("a burn rate of 0")


@pytest.mark.parametrize("row", read_table("slo", "slo-absorb"))
def test_events_that_absorb_one_bad_one(row):
    objective = Objective(float(row["target"]), MONTH, Unit.EVENTS)
    for burn in (14.4, 6.0, 1.0):
        events = int(row[f"at {burn:g}"])
        assert events_that_absorb_one(objective, burn) == events
        assert burn_rate(1, events, objective.target) <= burn * (1 + 1e-9)
        assert burn_rate(1, events - 1, objective.target) > burn


@pytest.mark.parametrize("row", read_table("slo", "slo-guard"))
def test_worked_guards(row):
    good, bad = figures(row["good at"]), figures(row["bad at"])
    times = np.array(good + bad) * HOUR
    ledger = EventLedger.from_events(times, [True] * len(good) + [False] * len(bad))
    guard = Guard(min_bad=int(row["min_bad"]), carry_last=row["carry_last"] == "yes")
    objective = Objective(0.95, MONTH, Unit.EVENTS)
    table = burn_table(objective, ledger, derive_tiers(MONTH), 100 * HOUR, guard)
    burns = np.array([tier.burn for tier in table.tiers])
    assert burns[table.firing[:, 0]].tolist() == pytest.approx(figures(row["firing (burn)"]))
    assert burns[table.held_back[:, 0]].tolist() == pytest.approx(figures(row["held back (burn)"]))


def test_worked_responses():
    rows = read_table("slo", "slo-response")
    opened = [number(row["opened (h)"]) * HOUR for row in rows]
    closed = [number(row["closed (h)"]) * HOUR for row in rows]
    found = response_events(opened, closed, 2 * HOUR, 10 * HOUR)
    expected = sorted(
        (number(row["at (h)"]), row["counts as"] == "good") for row in rows if row["counts as"] in {"good", "bad"}
    )
    assert sorted(zip((found.times / HOUR).tolist(), found.good.tolist(), strict=True)) == expected
    assert (np.diff(found.times) >= 0).all()
    assert found.pending == sum(row["counts as"] == "pending" for row in rows)
    assert found.overdue == sum(row["counts as"] == "bad" and row["closed (h)"] == "-" for row in rows)
    bad, total = found.ledger().counts(0.0, 10 * HOUR)
    assert (bad, total) == (4, 5)


def intervals(cell: str) -> list[tuple[float, float]]:
    if cell in {"", "none"}:
        return []
    return [tuple(float(edge) * MINUTE for edge in part.split("-")) for part in cell.split(",")]


@pytest.mark.parametrize("row", read_table("slo", "slo-uptime"))
def test_worked_uptime(row):
    beats, now = np.array(figures(row["heartbeats"])) * MINUTE, float(row["now"]) * MINUTE
    ledger = TimeLedger.from_heartbeats(beats, 0.0, now, 2 * MINUTE, intervals(row["planned"]))
    down, measured = ledger.counts(0.0, now)
    assert down / MINUTE == pytest.approx(float(row["down"]))
    assert measured / MINUTE == pytest.approx(float(row["measured"]))
    assert [tuple(pair) for pair in ledger.down.tolist()] == intervals(row["down intervals"])


moments = st.lists(st.integers(0, 400), min_size=0, max_size=60)


@given(moments, st.integers(0, 400), st.integers(0, 400), st.randoms())
@settings(max_examples=80, deadline=None)
def test_event_counts_equal_a_plain_loop(times, since, until, random):
    good = [random.random() < 0.6 for _ in times]
    since, until = min(since, until), max(since, until)
    ledger = EventLedger.from_events(times, good)
    bad, total = ledger.counts(since, until)
    inside = [fine for time, fine in zip(times, good, strict=True) if since < time <= until]
    assert (bad, total) == (inside.count(False), len(inside))
    last = max((time for time in times if time <= until), default=-math.inf)
    assert ledger.last_before(until) == last


pairs = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted), max_size=8)


@given(pairs, pairs, st.integers(0, 120), st.integers(0, 120))
@settings(max_examples=80, deadline=None)
def test_down_time_equals_a_plain_count_of_seconds(down, planned, since, until):
    since, until = min(since, until), max(since, until)
    ledger = TimeLedger.from_intervals([list(map(float, pair)) for pair in down], 10.0, 100.0, planned)
    found_down, found_measured = ledger.counts(float(since), float(until))
    seconds = range(max(10, since), min(100, until))
    stopped = [any(a <= second < b for a, b in planned) for second in seconds]
    broken = [any(a <= second < b for a, b in down) for second in seconds]
    assert found_measured == pytest.approx(stopped.count(False))
    assert found_down == pytest.approx(sum(bad and not planned for bad, planned in zip(broken, stopped, strict=True)))
    assert (ledger.down[:, 1] - ledger.down[:, 0]).sum() == pytest.approx(float(ledger.counts(0.0, 200.0)[0]))
    assert (ledger.down[1:, 0] > ledger.down[:-1, 1]).all()


@given(moments, st.lists(st.integers(0, 500), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_many_moments_at_once_equal_one_by_one(times, asked):
    ledger = EventLedger.from_events(times, [time % 3 > 0 for time in times])
    objective = Objective(0.8, 400.0, Unit.EVENTS)
    tiers = [Tier(Severity.PAGE, 60.0, 5.0, 2.0, 0.1), Tier(Severity.TICKET, 240.0, 20.0, 1.0, 0.1)]
    guard = Guard(min_events=2, min_bad=1, carry_last=True)
    together = burn_table(objective, ledger, tiers, asked, guard)
    for i, moment in enumerate(asked):
        alone = burn_table(objective, ledger, tiers, moment, guard)
        assert (together.firing[:, i] == alone.firing[:, 0]).all()
        assert together.long_burn[:, i] == pytest.approx(alone.long_burn[:, 0], nan_ok=True)
        assert together.severity()[i] == alone.severity()[0]
        left = error_budget(objective, ledger, moment).left_share
        assert budget_left(objective, ledger, asked)[i] == pytest.approx(left, nan_ok=True)


def test_severity_is_the_highest_that_fires():
    objective = Objective(0.995, MONTH, Unit.TIME)
    ledger = TimeLedger.from_intervals([[10 * DAY, 10 * DAY + 2 * HOUR]], 0.0, MONTH)
    during, long_after, before = 10 * DAY + HOUR, 15 * DAY, 9 * DAY
    table = burn_table(objective, ledger, derive_tiers(MONTH), [during, during + 4 * HOUR, long_after, before])
    assert table.severity() == [Severity.PAGE, Severity.TICKET, None, None]


def test_an_alert_ends_with_the_short_window():
    objective = Objective(0.995, MONTH, Unit.TIME)
    ledger = TimeLedger.from_intervals([[DAY, DAY + 30 * MINUTE]], 0.0, 2 * DAY)
    (hour, *_), end = derive_tiers(MONTH), DAY + 30 * MINUTE
    firing = burn_table(objective, ledger, [hour], [end, end + 4 * MINUTE, end + 6 * MINUTE]).firing[0]
    assert firing.tolist() == [True, True, False]


def test_a_gap_in_traffic_fires_nothing_and_says_nan():
    objective = Objective(0.99, MONTH, Unit.EVENTS)
    table = burn_table(objective, EventLedger.from_events([], []), derive_tiers(MONTH), [0.0, DAY])
    assert np.isnan(table.long_burn).all()
    assert not table.firing.any() and not table.held_back.any()
    budget = error_budget(objective, EventLedger.from_events([], []), DAY)
    assert math.isnan(budget.sli) and math.isnan(budget.used_share)
    assert not budget.exhausted
    assert time_to_exhaustion(budget, 3.0) == math.inf


def test_time_to_exhaustion():
    objective = Objective(0.99, MONTH, Unit.EVENTS)
    half = error_budget(objective, EventLedger.from_counts([5.0], [995.0], [5.0]), 10.0)
    assert time_to_exhaustion(half, 2.0) == pytest.approx(7.5 * DAY)
    assert time_to_exhaustion(half, 0.0) == math.inf
    gone = error_budget(objective, EventLedger.from_counts([5.0], [980.0], [20.0]), 10.0)
    assert time_to_exhaustion(gone, 1.0) == 0.0


def test_several_sources_add_up():
    calm = TimeLedger.from_intervals([], 0.0, DAY)
    stopped = TimeLedger.from_intervals([[0.0, HOUR]], 0.0, DAY)
    both = SumLedger((calm, stopped))
    down, measured = both.counts(0.0, DAY)
    assert (down, measured) == (HOUR, 2 * DAY)
    assert both.last_before(np.array([-1.0, 5.0, 2 * DAY])).tolist() == [-math.inf, 5.0, DAY]
    assert both.counts(np.array([0.0, HOUR]), np.array([HOUR, DAY]))[0].tolist() == [HOUR, 0.0]


def test_the_order_of_entries_does_not_matter_and_empty_entries_vanish():
    ledger = EventLedger.from_counts([30.0, 10.0, 20.0], [1, 2, 0], [1, 0, 0])
    assert ledger.counts(0.0, 15.0) == (0, 2)
    assert ledger.counts(0.0, 30.0) == (1, 4)
    assert ledger.last_before(25.0) == 10.0


def test_bad_input_is_refused():
    for wrong in (0.0, 1.0, -0.5, 99.5):
        with pytest.raises(ValueError, match="target"):
            Objective(wrong, MONTH, Unit.TIME)
        with pytest.raises(ValueError, match="target"):
            burn_rate(1, 2, wrong)
    for call in (
        lambda: Objective(0.99, 0.0, Unit.TIME),
        lambda: derive_tiers(0.0),
        lambda: Guard(min_bad=-1),
        lambda: EventLedger.from_counts([1.0], [1.0, 2.0], [0.0]),
        lambda: EventLedger.from_counts([1.0], [-1.0], [0.0]),
        lambda: EventLedger.from_counts([math.nan], [1.0], [0.0]),
        lambda: response_events([1.0], [0.5], 60.0, 10.0),
        lambda: response_events([1.0], [2.0], 0.0, 10.0),
        lambda: response_events([1.0, 2.0], [2.0], 60.0, 10.0),
        lambda: TimeLedger.from_heartbeats([1.0], 0.0, 10.0, 0.0),
        lambda: TimeLedger.from_intervals([[5.0, 4.0]], 0.0, 10.0),
        lambda: TimeLedger.from_intervals([], 10.0, 0.0),
    ):
        with pytest.raises(ValueError):
            call()


def test_a_month_of_minutes_for_many_moments_is_fast():
    beats = np.arange(0.0, MONTH, 60.0)
    beats = beats[(beats % 7919.0) > 300.0]
    ledger = TimeLedger.from_heartbeats(beats, 0.0, MONTH, 150.0)
    table = burn_table(Objective(0.995, MONTH, Unit.TIME), ledger, derive_tiers(MONTH), np.linspace(0, MONTH, 5000))
    assert table.firing.shape == (3, 5000)
    assert 0 < ledger.counts(0.0, MONTH)[0] < MONTH
