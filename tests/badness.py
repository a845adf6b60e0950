"""Wrong values for fields of every kind, made from a right one; and a fingerprint of all tables that shows any write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django import forms
from django.apps import apps
from django.db import connection
from rest_framework import serializers

from portal.core.access import may
from tests.objects import World

LONG = "x" * 100_000
NOBODY = "00000000-0000-7000-8000-000000000000"
# Tables that a refused request may write: who signed in, what was refused, which answer was given.
TRACES = {"core_auditentry", "core_idempotencyrecord", "django_session"}


def written_tables() -> tuple[tuple[str, int, int], ...]:
    """Rows and summed versions of every table: equal before and after means that nothing was written or changed."""
    parts = []
    for model in apps.get_models():
        table = model._meta.db_table
        if table in TRACES or not model._meta.managed or table.startswith("axes_"):
            continue
        versions = "COALESCE(SUM(version), 0)" if any(f.column == "version" for f in model._meta.fields) else "0"
        quoted = connection.ops.quote_name(table)
        parts.append(f"SELECT '{table}', COUNT(*), {versions} FROM {quoted}")  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        return tuple(sorted(cursor.fetchall()))


def is_id(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def strangers_id(value: Any, ours: World, theirs: World, person: Any) -> str | None:
    """The id of the row of the other side that stands where ``value`` stands on ours; None where the person may see it."""
    for label, row in ours.rows.items():
        if str(row.pk) == value and hasattr(row, "access"):
            other = theirs.one(label)
            return None if may(other, person, "view") or may(other, person, "name") else str(other.pk)
    return None


def wrong_json(field: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """``(what is wrong, value)`` for one field of a JSON body; ``field``: its serializer field where that is known."""
    if isinstance(field, serializers.ChoiceField):
        yield "an unknown choice", "no-such-choice"
        yield "an object", {"x": 1}
    elif is_id(value):
        yield "no id", "not-an-id"
        yield "a number for an id", 17
        yield "nobody's id", NOBODY
    elif isinstance(value, bool):
        yield "a word", "perhaps"
        yield "an object", {"x": 1}
    elif isinstance(value, (int, float)):
        yield "a word", "many"
        yield "an object", {"x": 1}
        yield "a list", [1]
    elif isinstance(value, str):
        yield "an object", {"x": 1}
        yield "a list", ["x"]
        yield "too long", LONG
        yield "a null character", "a\u0000b"
    elif isinstance(value, list):
        yield "a word", "text"
        yield "an object", {"x": 1}
        yield "a list of wrong things", [{"no-such-field": 1}]
    elif isinstance(value, dict):
        yield "a word", "text"
        yield "a list", [1]


def wrong_typed(field: Any, value: Any) -> Iterator[tuple[str, str]]:
    """The same for a field of a page's form: everything a browser sends is text."""
    if isinstance(field, (forms.ModelMultipleChoiceField, forms.ModelChoiceField, forms.ChoiceField)):
        yield "an unknown choice", "no-such-choice"
        yield "nobody's id", NOBODY
    elif isinstance(field, (forms.IntegerField, forms.FloatField, forms.DecimalField)):
        yield "a word", "many"
        yield "not a number", "nan"
        yield "endless", "1e999"
    elif isinstance(field, (forms.DateField, forms.DateTimeField)):
        yield "a word for a day", "yesterday"
        yield "a day that is not", "2013-02-31"
    elif isinstance(field, (forms.BooleanField, forms.FileField)):
        return
    else:
        yield "too long", LONG
        yield "a null character", "a\u0000b"
