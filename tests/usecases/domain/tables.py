"""Reads the worked tables out of docs/algorithms, so that what the prose shows is what the code does."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs" / "algorithms"


def read_table(page: str, name: str) -> list[dict[str, str]]:
    """Rows of the markdown table that follows ``<!-- table: name -->`` on docs/algorithms/<page>.md."""
    lines = iter((DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.strip() == f"<!-- table: {name} -->":
            break
    else:
        raise LookupError(f"no table {name!r} in {page}.md")
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            break
    header, _, *body = rows
    return [dict(zip(header, row, strict=True)) for row in body]


def numbers(cell: str) -> list[float]:
    """Numbers of a cell, split at commas; 1/3 is a third and a dash is NaN."""
    return [number(part) for part in cell.split(",")]


def number(cell: str) -> float:
    cell = cell.strip().replace(" ", "").removesuffix("%")
    if cell in {"-", "don'tknow", "none"}:
        return float("nan")
    top, _, bottom = cell.partition("/")
    return float(top) / float(bottom) if bottom else float(top)
