"""Many rows at once: binary COPY on PostgreSQL, multi-row INSERT on SQLite. For append-only facts, not for records with rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django.db import connection, models
from django.db.backends.utils import CursorWrapper

_SQLITE_VARIABLES = 30_000


def bulk_write(
    model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]], *, ignore_conflicts: bool = False
) -> int:
    """Insert rows of Python values in the order of ``columns`` (field names). Returns how many were written.

    Values must already be of the columns' types (datetime aware, UUID, float, str, bytes, dict for JSON). With
    ``ignore_conflicts`` a row that breaks a unique constraint is left out, on both databases.
    """
    fields: list[Any] = [model._meta.get_field(name) for name in columns]
    names = [connection.ops.quote_name(field.column) for field in fields]
    table = connection.ops.quote_name(model._meta.db_table)
    iterator = iter(rows)
    if connection.vendor == "postgresql" and not ignore_conflicts:
        return _copy(table, names, fields, iterator)
    written = 0
    size = max(1, min(200, _SQLITE_VARIABLES // len(fields)))
    tail = " ON CONFLICT DO NOTHING" if ignore_conflicts else ""
    one = "(" + ",".join(["%s"] * len(fields)) + ")"
    with connection.cursor() as cursor:
        while chunk := list(islice(iterator, size)):
            flat = [
                field.get_db_prep_save(value, connection)
                for row in chunk
                for field, value in zip(fields, row, strict=True)
            ]
            sql = f"INSERT INTO {table} ({','.join(names)}) VALUES {','.join([one] * len(chunk))}{tail}"  # noqa: S608
            cursor.execute(sql, flat)
            written += cursor.rowcount
    return written


def _copy(table: str, names: list[str], fields: list[Any], rows: Iterable[Sequence[Any]]) -> int:
    oids = {
        "UUIDField": "uuid",
        "FloatField": "float8",
        "BigIntegerField": "int8",
        "IntegerField": "int4",
        "PositiveIntegerField": "int4",
        "PositiveBigIntegerField": "int8",
        "SmallIntegerField": "int2",
        "PositiveSmallIntegerField": "int2",
        "DateTimeField": "timestamptz",
        "CharField": "text",
        "TextField": "text",
        "BooleanField": "bool",
        "BinaryField": "bytea",
        "JSONField": "jsonb",
        "DateField": "date",
    }
    types = []
    for field in fields:
        target = field.target_field if field.is_relation else field
        kind = target.get_internal_type()
        types.append("varchar" if kind == "CharField" else oids[kind])
    json_at = [i for i, kind in enumerate(types) if kind == "jsonb"]
    written = 0
    with connection.cursor() as cursor:
        raw = cursor.cursor if isinstance(cursor, CursorWrapper) else cursor
        from psycopg.types.json import Jsonb

        with raw.copy(f"COPY {table} ({','.join(names)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                values = list(row)
                for at in json_at:
                    values[at] = None if values[at] is None else Jsonb(values[at])
                copy.write_row(values)
                written += 1
    return written
