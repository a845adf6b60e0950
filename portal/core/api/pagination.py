"""Cursor pagination whose every ordering ends in the id; ``?page_size=`` up to 1000, ``?ordering=`` from the view's list."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValue
from django.db import DataError
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from portal.core.pages import whole_number


class Cursor(CursorPagination):
    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"
    page_size_query_description = "Rows per page, 1 to 1000."
    ordering = ("id",)
    offset_cutoff = 10_000

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        allowed = getattr(view, "ordering_fields", ())
        asked = [name.strip() for name in request.query_params.get("ordering", "").split(",") if name.strip()]
        for name in asked:
            if name.lstrip("-") not in allowed:
                raise ValidationError({"ordering": f"Order by one of: {', '.join(allowed) or 'nothing here'}."})
        chosen = asked or list(getattr(view, "default_ordering", ("id",)))
        return tuple([name for name in chosen if name.lstrip("-") != "id"] + ["id"])

    def get_page_size(self, request: Request) -> int | None:
        raw = request.query_params.get("page_size")
        if raw is None:
            return self.page_size
        size = whole_number(raw)
        if size is None or not 1 <= size <= self.max_page_size:
            raise ValidationError({"page_size": f"A whole number from 1 to {self.max_page_size}."})
        return size

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """One page; a cursor that somebody made up is 400 like any other wrong parameter."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (BadValue, DataError, ValueError, OverflowError) as error:
            raise ValidationError({"cursor": "This is not a cursor of this list."}) from error

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound as error:
            raise ValidationError({"cursor": "This is not a cursor of this list."}) from error

    def _get_position_from_instance(self, instance: Any, ordering: Any) -> str:
        # Rows of a list come as tuples that end in the column they are ordered by (portal.core.api.rows).
        value = instance[-1] if isinstance(instance, tuple) else getattr(instance, ordering[0].lstrip("-"))
        return str(value)
