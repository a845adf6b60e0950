"""Statements of queries that run with every request: compiled once, run with other values.

The text of such a query depends on its shape alone; building it costs the portal several times what the database needs to answer it.
Only queries whose values are all markers or constants belong here: a moment read while the query is built would stay in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

# Stand for a value while a statement is compiled; drawn at random, so nothing else in a query is equal to them.
USER = UUID("8b1f3a56-6d3e-4c0b-9d6c-0d6a6a7f42e1")
TEXT = "marker-5f0c7d1e9a"
MOST = 500


@dataclass(frozen=True)
class Statement:
    """``slots``: position among ``params`` and the marker that stood there."""

    sql: str
    params: tuple[Any, ...]
    slots: tuple[tuple[int, Hashable], ...]
    converters: Mapping[int, tuple[Any, Any]]

    def run(self, values: Mapping[Any, Any], *, as_text: bool = False) -> list[Any]:
        """Rows as tuples, in the types the models give them. ``as_text``: ids and times of a PostgreSQL as the API writes them."""
        params = list(self.params)
        for at, marker in self.slots:
            value = values[marker]
            params[at] = value.hex if isinstance(value, UUID) and isinstance(params[at], str) else value
        with connection.cursor() as cursor:
            if as_text:
                _read_as_text(cursor)
            cursor.execute(self.sql, params)
            rows = cursor.fetchall()
        if not self.converters:
            return rows
        return [self._converted(row) for row in rows]

    def _converted(self, row: Sequence[Any]) -> tuple[Any, ...]:
        # With the connection of this thread: the one a statement was compiled with belongs to another.
        values = list(row)
        for at, (converters, expression) in self.converters.items():
            for convert in converters:
                values[at] = convert(values[at], expression, connection)
        return tuple(values)


def compiled(queryset: QuerySet[Any]) -> Statement | None:
    """The statement of a queryset of values; None if it cannot have a row."""
    compiler = queryset.query.get_compiler(connection=connection)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return None
    slots = [(at, marker) for at, value in enumerate(params) for marker in (USER, TEXT) if _is(value, marker)]
    columns = [expression for expression, _, _ in compiler.select]
    return Statement(sql, tuple(params), tuple(slots), compiler.get_converters(columns))


_known: dict[Hashable, Statement | None] = {}


def statement(key: Hashable, build: Callable[[], QuerySet[Any]]) -> Statement | None:
    """The statement kept under this key for the database in use, compiled from ``build()`` where there is none yet."""
    full = (connection.vendor, key)
    if full not in _known:
        if len(_known) >= MOST:
            _known.clear()
        _known[full] = compiled(build())
    return _known[full]


def _is(value: Any, marker: Any) -> bool:
    return value == marker or (isinstance(marker, UUID) and value == marker.hex)


def _read_as_text(cursor: Any) -> None:
    if connection.vendor != "postgresql":
        return
    from psycopg.types.string import TextLoader

    from portal.core.postgres import Rfc3339Loader

    adapters = cursor.cursor.adapters
    adapters.register_loader("uuid", TextLoader)
    adapters.register_loader("timestamptz", Rfc3339Loader)
