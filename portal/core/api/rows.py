"""Lists without serializer cost: a serializer's read fields as one ``.values()`` query, row by row equal to the serializer's output.

A field is taken straight from its column; a serializer whose field is computed either names the database expression in
``Meta.row_expressions`` or makes its view use the serializer (a test compares both ways for every list).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from portal.core.clock import rfc3339


@dataclass(frozen=True)
class RowPlan:
    columns: tuple[tuple[str, str], ...]
    expressions: tuple[tuple[str, Any], ...]
    times: tuple[str, ...]
    decimals: tuple[tuple[str, int], ...]

    def rows(self, queryset: QuerySet[Any], wanted: set[str] | None = None) -> list[dict[str, Any]]:
        return self.shape(list(self.select(queryset)), wanted)

    def select(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        lookups = dict.fromkeys(lookup for _, lookup in self.columns)
        return queryset.values("pk", *lookups, **{f"_x_{name}": expression for name, expression in self.expressions})

    def shape(self, raw: list[dict[str, Any]], wanted: set[str] | None = None) -> list[dict[str, Any]]:
        pairs = [*self.columns, *((name, f"_x_{name}") for name, _ in self.expressions)]
        if wanted:
            pairs = [pair for pair in pairs if pair[0] in wanted]
        names = {name for name, _ in pairs}
        times = [name for name in self.times if name in names]
        decimals = [(name, places) for name, places in self.decimals if name in names]
        out = []
        for row in raw:
            shaped = {name: row[lookup] for name, lookup in pairs}
            for name in times:
                if shaped[name] is not None:
                    shaped[name] = rfc3339(shaped[name])
            for name, places in decimals:
                if shaped[name] is not None:
                    shaped[name] = f"{shaped[name]:.{places}f}"
            out.append(shaped)
        return out


def plan_for(serializer_class: type[serializers.BaseSerializer[Any]]) -> RowPlan | None:
    """The plan, or None when a field needs Python."""
    serializer = serializer_class()
    expressions: dict[str, Any] = dict(getattr(getattr(serializer_class, "Meta", None), "row_expressions", {}))
    columns, times, decimals = [], [], []
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
        if isinstance(field, serializers.DateTimeField):
            times.append(name)
        if isinstance(field, serializers.DecimalField):
            decimals.append((name, field.decimal_places or 0))
    return RowPlan(tuple(columns), tuple(expressions.items()), tuple(times), tuple(decimals))


__all__ = ["RowPlan", "plan_for"]
