"""Rows of many kinds in one query: each kind is a queryset that fills the same columns, and the database unites them.

A page that tells of ten kinds of things would otherwise need ten queries, on every page that counts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet, Value
from django.db.models.fields import CharField, DateField, DateTimeField, Field, IntegerField, UUIDField
from django.db.models.functions import Cast

#: More rows of one sort than anybody reads; what is cut off is said.
MOST = 500

_FIELDS: dict[str, Field[Any, Any]] = {
    "kind": CharField(max_length=20),
    "pk": UUIDField(),
    "title": CharField(max_length=300),
    "text": CharField(max_length=300),
    "site": UUIDField(),
    "site_name": CharField(max_length=120),
    "adoption": UUIDField(),
    "since": DateTimeField(),
    "due_at": DateTimeField(),
    "due_on": DateField(),
    "number": IntegerField(),
    "of": IntegerField(),
}


@dataclass(frozen=True)
class Row:
    """One thing of one kind. ``since`` and ``due_at`` are moments, ``due_on`` a day; what does not apply is None."""

    kind: str
    pk: UUID
    title: str
    text: str | None
    site: UUID | None
    site_name: str | None
    adoption: UUID | None
    since: datetime | None
    due_at: datetime | None
    due_on: date | None
    number: int | None
    of: int | None


def branch(queryset: QuerySet[Any], kind: str, **columns: Any) -> QuerySet[Any]:
    """The rows of one kind; a column is a lookup path or an expression, the rest are empty."""
    given: dict[str, Any] = {"kind": Value(kind, output_field=_FIELDS["kind"]), "pk": "pk", **columns}
    wanted = {}
    for name, field in _FIELDS.items():
        value = given.get(name)
        if value is None:
            # A bare NULL has no type, which PostgreSQL refuses to unite with a uuid.
            value = Cast(Value(None, output_field=field), field)
        wanted[f"row_{name}"] = F(value) if isinstance(value, str) else value
    return queryset.order_by().annotate(**wanted).values_list(*wanted)


def gather(branches: Iterable[QuerySet[Any]], most: int = MOST) -> list[Row]:
    """All rows of all branches, branch by branch, at most ``most``; one query."""
    first, *others = branches
    return [Row(*values) for values in first.union(*others, all=True)[:most]]


def count(querysets: Iterable[QuerySet[Any]], most: int = MOST) -> int:
    """How many rows all of them have, at most ``most``; one query that reads nothing but a key."""
    first, *others = (rows.order_by().annotate(row_pk=F("pk")).values_list("row_pk") for rows in querysets)
    return len(first.union(*others, all=True)[:most])
