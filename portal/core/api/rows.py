"""Lists without serializer cost: a serializer's read fields as one query of plain tuples, row by row equal to the serializer's output.

A field is taken straight from its column; a serializer whose field is computed either names the database expression in
``Meta.row_expressions`` or makes its view use the serializer (a test compares both ways for every list). A JSON column comes as
the text the database holds and goes into the answer as it is, read by nobody in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db.models import F, JSONField, Model, QuerySet, TextField
from django.db.models.functions import Cast
from rest_framework import serializers

from portal.core.clock import rfc3339


@dataclass(frozen=True)
class RowPlan:
    """``columns``: field name and lookup; the other tuples name the fields whose value is written differently than it is stored."""

    columns: tuple[tuple[str, str], ...]
    expressions: tuple[tuple[str, Any], ...]
    times: tuple[str, ...]
    decimals: tuple[tuple[str, int], ...]
    documents: frozenset[str]

    def names(self, wanted: set[str] | None = None) -> list[str]:
        known = [name for name, _ in (*self.columns, *self.expressions)]
        return [name for name in known if name in wanted] if wanted else known

    def select(
        self, queryset: QuerySet[Any], wanted: set[str] | None = None, also: Sequence[str] = ()
    ) -> QuerySet[Any]:
        """Tuples of the fields in the order of ``names``, followed by the columns named in ``also``."""
        chosen = set(self.names(wanted))
        taken: list[str] = []
        made: dict[str, Any] = {}
        for name, lookup in self.columns:
            if name not in chosen:
                continue
            if name in self.documents:
                made[f"_x_{name}"] = Cast(F(lookup), TextField())
            elif lookup in taken:
                made[f"_x_{name}"] = F(lookup)
            taken.append(f"_x_{name}" if f"_x_{name}" in made else lookup)
        for name, expression in self.expressions:
            if name in chosen:
                made[f"_x_{name}"] = expression
                taken.append(f"_x_{name}")
        return queryset.annotate(**made).values_list(*taken, *also)

    def shape(
        self, raw: Iterable[tuple[Any, ...]], wanted: set[str] | None = None, *, as_text: bool = True
    ) -> list[dict[str, Any]]:
        """Rows as the API writes them. JSON columns stay text that orjson copies (``as_text``), or are read."""
        names = self.names(wanted)
        present = set(names)
        times = [name for name in self.times if name in present]
        decimals = [(name, places) for name, places in self.decimals if name in present]
        documents = [name for name in names if name in self.documents]
        read: Any = orjson.Fragment if as_text else orjson.loads
        out = []
        for values in raw:
            row = dict(zip(names, values, strict=False))
            for name in times:
                # Some databases can write the time themselves (portal.core.prepared).
                if (moment := row[name]) is not None and type(moment) is not str:
                    row[name] = rfc3339(moment)
            for name in documents:
                if (text := row[name]) is not None:
                    row[name] = read(text)
            for name, places in decimals:
                if row[name] is not None:
                    row[name] = f"{row[name]:.{places}f}"
            out.append(row)
        return out

    def rows(self, queryset: QuerySet[Any], wanted: set[str] | None = None) -> list[dict[str, Any]]:
        return self.shape(self.select(queryset, wanted), wanted)


def plan_for(serializer_class: type[serializers.BaseSerializer[Any]]) -> RowPlan | None:
    """The plan, or None when a field needs Python."""
    serializer = serializer_class()
    meta = getattr(serializer_class, "Meta", None)
    expressions: dict[str, Any] = dict(getattr(meta, "row_expressions", {}))
    columns, times, decimals, documents = [], [], [], []
    for name, field in getattr(serializer, "fields", {}).items():
        if field.write_only:
            continue
        if name in expressions:
            continue
        if isinstance(field, serializers.PrimaryKeyRelatedField):
            columns.append((name, f"{field.source}_id".replace(".", "__")))
        elif isinstance(
            field, (serializers.ManyRelatedField, serializers.SerializerMethodField, serializers.BaseSerializer)
        ):
            return None
        else:
            columns.append((name, field.source.replace(".", "__")))
            if _is_document(getattr(meta, "model", None), columns[-1][1]):
                documents.append(name)
        if isinstance(field, serializers.DateTimeField):
            times.append(name)
        if isinstance(field, serializers.DecimalField):
            decimals.append((name, field.decimal_places or 0))
    return RowPlan(tuple(columns), tuple(expressions.items()), tuple(times), tuple(decimals), frozenset(documents))


def _is_document(model: type[Model] | None, lookup: str) -> bool:
    field: Any = None
    for step in lookup.split("__") if model is not None else ():
        if model is None:
            return False
        field = next((known for known in model._meta.get_fields() if known.name == step), None)
        model = getattr(field, "related_model", None)
    return isinstance(field, JSONField)


__all__ = ["RowPlan", "plan_for"]
