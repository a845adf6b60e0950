"""Filters of a list: only those that were asked for are built, for each costs a form field and its choices a permission query."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django_filters.rest_framework import DjangoFilterBackend, FilterSet


@lru_cache(maxsize=512)
def _with_only(filterset_class: type[FilterSet], names: frozenset[str]) -> type[FilterSet]:
    made: Any = type(filterset_class.__name__, (filterset_class,), {})
    made.base_filters = type(filterset_class.base_filters)(
        (name, known) for name, known in filterset_class.base_filters.items() if name in names
    )
    return made


class AskedFilters(DjangoFilterBackend):
    def get_filterset_class(self, view: Any, queryset: Any = None) -> Any:
        found = super().get_filterset_class(view, queryset)
        request = getattr(view, "request", None)
        if found is None or request is None or getattr(view, "swagger_fake_view", False):
            return found
        asked = request.query_params.keys()
        # A range or a list reads name_after, name_min, ... and belongs to the filter `name`.
        names = frozenset(
            name for name in found.base_filters if any(key == name or key.startswith(f"{name}_") for key in asked)
        )
        return _with_only(found, names)
