"""Bodies that a route takes: made from the serializer's or form's own fields, with rows of one side of the fence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from django import forms
from rest_framework import serializers

from portal.core.clock import rfc3339, wall_now
from tests.objects import World

_number = count(1)


def _later() -> str:
    return rfc3339(wall_now() + timedelta(days=30))


# (resource, action) -> body, where fields alone cannot tell what a service takes.
GIVEN: dict[tuple[str, str], Callable[[World], dict[str, Any]]] = {
    ("token", "create"): lambda w: {"name": "probe", "scopes": ["read"]},
    ("site", "replay"): lambda w: {"rows_per_second": 4},
    ("outcome", "baseline"): lambda w: {"baseline_from": "2013-01-01", "baseline_to": "2013-02-01"},
    ("gate-review", "sign"): lambda w: {"approves": True},
    ("gate-review", "decide"): lambda w: {"decision": "go", "note": "because"},
}


def api_body(view: Any, action: str, world: World, basename: str) -> dict[str, Any]:
    """A body for a resource's action: given, or from the serializer the schema names, or empty."""
    if (basename, action) in GIVEN:
        return GIVEN[basename, action](world)
    if action == "partial_update":
        return {}
    if action in {"create", "by_external_id"}:
        return serializer_body(view.serializer_class, world)
    if action == "bulk":
        return {"rows": [serializer_body(view.serializer_class, world)]}
    made = _documented(view, action)
    return serializer_body(made, world) if made is not None else {}


def _documented(view: Any, action: str) -> Any:
    """The request serializer that ``extend_schema`` names for an action."""
    schema = getattr(getattr(view, action), "kwargs", {}).get("schema")
    if schema is None:
        return None
    try:
        found = schema(view=None).get_request_serializer() if isinstance(schema, type) else None
    except (AttributeError, TypeError):
        return None
    found = type(found) if isinstance(found, serializers.BaseSerializer) else found
    return found if isinstance(found, type) and issubclass(found, serializers.BaseSerializer) else None


def serializer_body(serializer_class: Any, world: World) -> dict[str, Any]:
    """Values for the required writable fields; where the serializer has a model, its factory's values."""
    serializer = serializer_class(context={})
    model = getattr(getattr(serializer_class, "Meta", None), "model", None)
    known = world.values(model) if model is not None else {}
    body: dict[str, Any] = {}
    for name, field in getattr(serializer, "fields", {}).items():
        if field.read_only or isinstance(field, serializers.HiddenField):
            continue
        if name in known:
            body[name] = plain(known[name])
        elif field.required:
            body[name] = value_for(field, world)
    return body


def plain(value: Any) -> Any:
    if hasattr(value, "pk"):
        return str(value.pk)
    if hasattr(value, "isoformat"):
        return rfc3339(value) if hasattr(value, "hour") else value.isoformat()
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)


def value_for(field: Any, world: World) -> Any:
    number = next(_number)
    if isinstance(field, serializers.ManyRelatedField):
        return [str(world.one(field.child_relation.queryset.model).pk)]
    if isinstance(field, serializers.RelatedField):
        return str(world.one(field.queryset.model).pk)
    if isinstance(field, (serializers.ListSerializer, serializers.ListField)):
        child = field.child
        if isinstance(child, serializers.Serializer):
            return [serializer_body(type(child), world)]
        return [value_for(child, world)]
    if isinstance(field, serializers.Serializer):
        return serializer_body(type(field), world)
    if isinstance(field, serializers.ChoiceField):
        return next(iter(field.choices))
    if isinstance(field, serializers.BooleanField):
        return True
    if isinstance(field, serializers.DateTimeField):
        return _later()
    if isinstance(field, serializers.DateField):
        return _later()[:10]
    if isinstance(field, serializers.UUIDField):
        return str(world.site.pk)
    if isinstance(field, (serializers.IntegerField, serializers.FloatField, serializers.DecimalField)):
        low = field.min_value if field.min_value is not None else 1
        return max(1, low) if field.max_value is None else min(max(1, low), field.max_value)
    if isinstance(field, (serializers.JSONField, serializers.DictField)):
        return {}
    return f"text-{number}"


def form_body(form_class: Any, world: World) -> dict[str, Any]:
    """What a browser would send for a form whose required fields are filled in."""
    body: dict[str, Any] = {}
    model = getattr(getattr(form_class, "_meta", None), "model", None)
    known = (_defaults(model) | world.values(model)) if model is not None else {}
    for name, field in form_class.base_fields.items():
        if name in known and not isinstance(field, forms.JSONField):
            value = plain(known[name])
        elif not field.required or isinstance(field, forms.FileField):
            continue
        elif isinstance(field, forms.ModelMultipleChoiceField):
            value = [str(world.one(field.queryset.model).pk)]
        elif isinstance(field, forms.ModelChoiceField):
            value = str(world.one(field.queryset.model).pk)
        elif isinstance(field, forms.ChoiceField):
            value = next((key for key, _label in field.choices if key), "")
        elif isinstance(field, forms.DateTimeField):
            value = (wall_now() + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M")
        elif isinstance(field, forms.DateField):
            value = (wall_now() + timedelta(days=30)).strftime("%Y-%m-%d")
        elif isinstance(field, (forms.IntegerField, forms.FloatField, forms.DecimalField)):
            value = str(max(1, field.min_value or 1))
        elif isinstance(field, forms.JSONField):
            value = "{}"
        else:
            value = f"text-{next(_number)}"
        if value is not None:
            body[name] = "" if value is False else value
    return body


def _defaults(model: Any) -> dict[str, Any]:
    """What a new record's form shows: the plain defaults of its fields."""
    fields = model._meta.concrete_fields if model is not None else ()
    found = {field.name: field.default for field in fields if field.has_default() and not callable(field.default)}
    return {name: value for name, value in found.items() if isinstance(value, (bool, int, float, str))}
