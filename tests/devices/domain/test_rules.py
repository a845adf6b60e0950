"""Pure rules: connectivity, uptime, twin, sparkline. Run with ``-p no:django``."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.domain.connectivity import connectivity, per_minute, uptime
from devices.domain.sparkline import sparkline
from devices.domain.twin import in_step, twin_lines

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [(None, "never"), (-5, "online"), (25, "online"), (26, "late"), (60, "late"), (61, "offline")],
)
def test_connectivity_follows_the_reporting_period(silent_s, state):
    seen = None if silent_s is None else NOW - timedelta(seconds=silent_s)
    assert connectivity(seen, 10, NOW) == state


def test_uptime_counts_missing_minutes_and_does_not_let_one_minute_pay_for_another():
    minute = NOW.replace(second=0)
    rows = [(minute - timedelta(minutes=3), 6, 6), (minute - timedelta(minutes=1), 60, 3)]
    found = uptime(rows, minute - timedelta(minutes=3), minute, 10)
    assert (found.minutes, found.expected, found.received, found.inferring) == (3, 18, 12, 9)
    assert found.share == pytest.approx(2 / 3)
    assert found.inferring_share == pytest.approx(0.5)


def test_uptime_of_nothing_is_unknown_not_zero():
    assert uptime([], NOW, NOW, 10).share is None
    assert per_minute(86_400) == 1


def test_twin_says_what_differs_what_waits_and_what_nobody_asked_for():
    lines = twin_lines({"a": {"b": 1, "c": True}, "d": [1]}, {"a": {"b": 1.0, "c": 1}, "e": {}})
    assert {(line.path, line.state) for line in lines} == {
        ("a.b", "same"),
        ("a.c", "differs"),
        ("d", "waiting"),
        ("e", "reported"),
    }
    assert not in_step({"d": 1}, {})
    assert in_step({}, {"x": 1})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), _JSON, max_size=4))
def test_a_twin_is_in_step_with_itself(state):
    assert in_step(state, state)


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=300))
def test_a_sparkline_stays_inside_its_box(values):
    path = sparkline(values)
    numbers = [float(n) for n in path.replace("M", " ").replace("L", " ").split()]
    assert all(-0.05 <= n <= 100.05 for n in numbers[::2])
    assert all(-0.05 <= n <= 24.05 for n in numbers[1::2])


def test_a_sparkline_keeps_a_spike_and_shows_a_gap():
    values: list[float | None] = [0.0] * 400
    values[137] = 9.0
    assert " 2.0" in sparkline(values)
    assert sparkline([1.0, 2.0, None, 2.0, 1.0]).count("M") == 2
    assert sparkline([1.0]) == ""
