"""Schema, range and staleness: the worked tables, and what must hold for any batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.checks import Finding, range_finding, schema_finding, staleness_finding
from tests.usecases.domain.tables import number, numbers, read_table

LIMITS = {"TIT": (1000.0, 1110.0), "AFDP": (0.0, None)}
MINUTE = 60.0


def columns(row: dict[str, str], *names: str) -> dict[str, np.ndarray]:
    return {name: np.array(numbers(row[name])) for name in names if row[name] != "missing"}


def times(cell: str) -> np.ndarray:
    return np.array([1000 * second for second in numbers(cell)], dtype=np.int64)


@pytest.mark.parametrize("row", read_table("checks", "checks-passed"))
def test_a_finding_passes_up_to_the_tolerated_share(row: dict[str, str]) -> None:
    finding = Finding(int(row["rows"]), int(row["failed"]))
    assert finding.passed(number(row["tolerated share"])) is (row["passed"] == "yes")


@pytest.mark.parametrize("row", read_table("checks", "checks-schema"))
def test_schema(row: dict[str, str]) -> None:
    finding = schema_finding(columns(row, "TIT", "TAT"), ["TIT", "TAT"])
    assert (finding.rows, finding.failed, finding.text) == (int(row["rows"]), int(row["failed"]), row["says"])


def test_schema_counts_empty_values_by_column_and_ignores_the_unexpected() -> None:
    nan = np.nan
    finding = schema_finding(
        {"TIT": np.array([1.0, nan]), "TAT": np.array([nan, nan]), "other": np.array([nan, nan])}, ["TIT", "TAT"]
    )
    assert finding.failed == 2
    assert finding.detail == {"empty": {"TIT": 1, "TAT": 2}}


@pytest.mark.parametrize("row", read_table("checks", "checks-range"))
def test_range(row: dict[str, str]) -> None:
    finding = range_finding(columns(row, "TIT", "AFDP"), LIMITS)
    assert (finding.rows, finding.failed, finding.text) == (3, int(row["failed"]), row["says"])


def test_range_keeps_the_first_value_outside_of_each_column_and_skips_the_absent() -> None:
    finding = range_finding({"TIT": np.array([999.0, 1200.0])}, LIMITS)
    assert finding.detail == {"TIT": {"rows": 2, "first": 999.0, "low": 1000.0, "high": 1110.0}}
    assert range_finding({}, LIMITS) == Finding(0, 0)


@pytest.mark.parametrize("row", read_table("checks", "checks-staleness"))
def test_staleness(row: dict[str, str]) -> None:
    before = None if row["before"] == "none" else int(1000 * number(row["before"]))
    finding = staleness_finding(times(row["times"]), before, MINUTE)
    assert (finding.failed, finding.text) == (int(row["failed"]), row["says"])
    assert finding.rows == len(times(row["times"]))
    assert finding.detail == {
        "back": int(row["back"]),
        "twice": int(row["twice"]),
        "gaps": int(row["gaps"]),
        "largest_gap_s": number(row["largest gap"]),
    }


def test_a_gap_that_is_allowed_is_none() -> None:
    third, fourth = read_table("checks", "checks-staleness")[2:4]
    assert staleness_finding(times(third["times"]), None, MINUTE, allowed_gap_s=300).failed == 0
    assert staleness_finding(times(fourth["times"]), 0, MINUTE, allowed_gap_s=300).failed == 0


def test_an_empty_batch_and_a_first_row_are_never_stale() -> None:
    assert staleness_finding(np.array([], dtype=np.int64), 5, MINUTE) == Finding(0, 0)
    assert staleness_finding(times("7"), None, MINUTE).failed == 0


values = st.lists(st.one_of(st.floats(-2000, 2000), st.just(float("nan")), st.just(float("inf"))), min_size=1)


@given(values, st.integers(1, 40))
def test_schema_and_range_judge_rows_one_by_one(given_values: list[float], at: int) -> None:
    whole = np.array(given_values)
    parts = [part for part in (whole[:at], whole[at:]) if len(part)]
    for judge in (
        lambda rows: schema_finding({"TIT": rows}, ["TIT"]).failed,
        lambda rows: range_finding({"TIT": rows}, LIMITS).failed,
    ):
        assert judge(whole) == sum(judge(part) for part in parts)
        assert judge(whole) <= len(whole)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 40))
def test_staleness_does_not_depend_on_where_batches_are_cut(stamps: list[int], at: int) -> None:
    whole = np.array(stamps, dtype=np.int64) * 1000
    first, second = whole[:at], whole[at:]
    cut = staleness_finding(first, None, MINUTE).failed
    cut += staleness_finding(second, int(first[-1]), MINUTE).failed
    assert cut == staleness_finding(whole, None, MINUTE).failed
