"""When signers and owners are told: the tables of docs/algorithms/gates.md, and that nobody is told more often than agreed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import read_table
from usecases.domain.reminders import Rhythm, due, step

OPENED = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RHYTHM = Rhythm(48 * HOUR, 72 * HOUR, 24 * HOUR)
STEPS = (14 * DAY, 3 * DAY)


def at(cell):
    return None if cell == "-" else OPENED + float(cell) * HOUR


@pytest.mark.parametrize("row", read_table("gates", "gates-reminders"), ids=lambda r: "-".join(r.values()))
def test_reminders_are_those_of_the_page(row):
    why = due(
        opened=OPENED, reminded=at(row["reminded"]), wanted_by=at(row["wanted by"]), now=at(row["now"]), rhythm=RHYTHM
    )
    assert (str(why) if why else "-") == row["reminds"]


@pytest.mark.parametrize("row", read_table("gates", "gates-endings"), ids=lambda r: "-".join(r.values()))
def test_endings_are_those_of_the_page(row):
    ends = OPENED + float(row["lasts"]) * DAY
    found = step(began=OPENED, ends=ends, now=ends - float(row["left"]) * DAY, steps=STEPS)
    assert (str(found.days) if found else "-") == row["told"]


@given(st.lists(st.integers(1, 40), max_size=60), st.none() | st.integers(1, 700))
def test_however_often_it_is_asked_the_rhythm_holds_but_for_the_date(gaps, wanted):
    """Between two reminders lie three days, but for the two that the date asks for."""
    wanted_by = None if wanted is None else OPENED + wanted * HOUR
    now, reminded, sent = OPENED, None, []
    for gap in gaps:
        now += gap * HOUR
        if due(opened=OPENED, reminded=reminded, wanted_by=wanted_by, now=now, rhythm=RHYTHM):
            reminded = now
            sent.append(now)
    early = [b for a, b in zip([OPENED, *sent], sent, strict=False) if b - a < (72 if a != OPENED else 48) * HOUR]
    assert len(early) <= (2 if wanted else 0)
    if now - OPENED >= 48 * HOUR and gaps:
        assert sent, "the last question came after the first reminder was due"


@given(st.integers(1, 4000), st.lists(st.integers(0, 4000), max_size=80))
def test_each_step_is_announced_in_its_own_time(lasts, hours):
    ends = OPENED + lasts * HOUR
    for hour in hours:
        found = step(began=OPENED, ends=ends, now=OPENED + hour * HOUR, steps=STEPS)
        if found is not None:
            assert timedelta(0) < ends - (OPENED + hour * HOUR) <= found < ends - OPENED
