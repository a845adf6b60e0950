"""A worked table that no test reads may say anything; so every table of these pages has a name, and a test reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.usecases.domain.tables import DOCS, read_table
from usecases.domain.gates import CriterionState

PAGES = ("scoring", "robustness", "second-opinions", "business-case", "portfolio", "gates")
NAME = re.compile(r"<!-- table: (\S+) -->")
TESTS_DIR = Path(__file__).resolve().parents[2]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in TESTS_DIR.rglob("test_*.py"))


def tables_of(page: str) -> list[tuple[int, str]]:
    """(line, name) of every table of a page; the name is empty where the line before it gives none."""
    lines = (DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines()
    starts = [at for at, text in enumerate(lines) if text.startswith("|") and not lines[at - 1].startswith("|")]
    return [(at + 1, found[1] if (found := NAME.fullmatch(lines[at - 2])) else "") for at in starts]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_has_a_name_and_a_test_that_reads_it(page: str) -> None:
    tables = tables_of(page)
    assert tables
    assert [line for line, name in tables if not name] == []
    assert [name for _, name in tables if f'"{name}"' not in TESTS] == []
    assert len({name for _, name in tables}) == len(tables)


def test_the_states_are_those_of_the_page() -> None:
    told = [row["state"].replace(" ", "_") for row in read_table("gates", "gates-state-words")]
    assert told == [str(state) for state in CriterionState]
