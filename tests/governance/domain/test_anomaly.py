"""The k-of-n alarm: the worked tables, and what must hold for any stream of scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.anomaly import AnomalyChange, AnomalyRule, AnomalyWatch
from tests.usecases.domain.tables import number, numbers, read_table

RULE = AnomalyRule(threshold=1.0, window=4, open_share=0.75, close_share=0.25)
CLOSES = {1: 0.0, 4: 0.25}


def word(changes: list[AnomalyChange]) -> str:
    return " ".join("opened" if change.opened else "closed" for change in changes)


def test_the_worked_table_row_by_row() -> None:
    watch = AnomalyWatch(RULE)
    for row in read_table("anomaly", "anomaly-watch"):
        changes = watch.update([number(row["score"])])
        assert watch.recent == numbers(row["window"]), row
        assert sum(watch.recent) / RULE.window == number(row["share"]), row
        assert word(changes) == row["decision"], row
        assert all(change.share == number(row["share"]) for change in changes)


def test_the_worked_table_in_one_batch() -> None:
    rows = read_table("anomaly", "anomaly-watch")
    changes = AnomalyWatch(RULE).update([number(row["score"]) for row in rows])
    assert [(change.index, "opened" if change.opened else "closed") for change in changes] == [
        (int(row["row"]), row["decision"]) for row in rows if row["decision"]
    ]


@pytest.mark.parametrize("row", read_table("anomaly", "anomaly-delay"))
def test_how_late_an_alarm_opens_and_closes(row: dict[str, str]) -> None:
    window = int(row["window"])
    rule = AnomalyRule(1.0, window, number(row["opens at"]), CLOSES.get(window, 0.1))
    watch = AnomalyWatch(rule)
    (opened,) = watch.update(np.full(2 * window, 2.0))
    assert opened.index + 1 == int(row["rows until open"])
    (closed,) = watch.update(np.zeros(2 * window))
    assert closed.index + 1 == int(row["rows until closed"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"open_share": 0.5, "close_share": 0.5},
        {"open_share": 1.1},
        {"close_share": -0.1},
        {"open_share": 0.2, "close_share": 0.4},
    ],
)
def test_a_rule_that_would_flap_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="close_share < open_share"):
        AnomalyRule(threshold=1.0, **wrong)  # type: ignore[arg-type]


scores = st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), max_size=120)
rules = st.builds(
    AnomalyRule,
    threshold=st.just(1.0),
    window=st.integers(1, 12),
    open_share=st.floats(0.5, 1.0),
    close_share=st.floats(0.0, 0.4),
)


@given(rules, scores)
def test_opened_and_closed_take_turns(rule: AnomalyRule, given_scores: list[float]) -> None:
    watch = AnomalyWatch(rule)
    changes = watch.update(given_scores)
    assert [change.opened for change in changes] == [at % 2 == 0 for at in range(len(changes))]
    assert watch.open is (len(changes) % 2 == 1)
    assert all(
        change.share >= rule.open_share if change.opened else change.share <= rule.close_share for change in changes
    )


@given(rules, scores, st.integers(0, 120))
def test_a_restart_between_two_rows_changes_nothing(rule: AnomalyRule, given_scores: list[float], at: int) -> None:
    whole = AnomalyWatch(rule)
    expected = whole.update(given_scores)
    first = AnomalyWatch(rule)
    before = first.update(given_scores[:at])
    second = AnomalyWatch.from_state(json.loads(json.dumps(first.state())))
    after = second.update(given_scores[at:])
    done = len(given_scores[:at])
    assert [(c.index, c.opened) for c in before] + [(c.index + done, c.opened) for c in after] == [
        (c.index, c.opened) for c in expected
    ]
    assert second.state() == whole.state()
