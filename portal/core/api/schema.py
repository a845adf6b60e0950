"""What drf-spectacular cannot see by itself: problems, ETags, idempotency, cursor parameters."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema

PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "additionalProperties": True,
            },
        },
    },
    "additionalProperties": True,
}

_READ = {
    "401": "Not signed in",
    "403": "Not allowed",
    "404": "Not found, or not to be seen",
    "429": "Too many requests",
}
_WRITE = {
    "400": "Input is not valid",
    "409": "A rule refuses this",
    "412": "Changed by somebody else meanwhile",
    "413": "Too large",
    "415": "Not JSON",
    "422": "Same idempotency key, other body",
    "428": "If-Match is needed here",
}


class PhasegateSchema(AutoSchema):
    def get_operation_id(self) -> str:
        parts = [p for p in self._tokenize_path() if p]
        action = getattr(self.view, "action", None) or self.method.lower()
        return "_".join([*parts, action]).replace("-", "_")

    def get_tags(self) -> list[str]:
        tokens = self._tokenize_path()
        return [tokens[0]] if tokens else ["api"]

    def get_override_parameters(self) -> list[Any]:
        return []


def add_conventions(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Adds to every operation the problem answers and the headers that api.md promises."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    _any_value(components["schemas"])
    for methods in result.get("paths", {}).values():
        for method, operation in methods.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            answers = dict(_READ)
            parameters = operation.setdefault("parameters", [])
            answers["400"] = "Input is not valid"
            if method == "get":
                answers["406"] = "No such format"
            else:
                answers |= _WRITE
            if method == "post":
                parameters.append(
                    _header("Idempotency-Key", "Repeat safely: the first answer is kept for 24 hours.", 200)
                )
            if method in {"put", "patch", "delete"}:
                parameters.append(_header("If-Match", "The ETag you read; 412 when it is out of date.", 200))
            for status, text in answers.items():
                operation["responses"].setdefault(
                    status,
                    {
                        "description": text,
                        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    },
                )
            if any(parameter.get("name") == "format" for parameter in parameters):
                whole = operation["responses"].get("200", {}).setdefault("content", {})
                whole.setdefault("text/csv", {"schema": {"type": "string", "description": "All rows, with a header."}})
            if method == "get" and "200" in operation["responses"]:
                operation["responses"].setdefault("304", {"description": "Not modified since the given ETag"})
    return result


def _any_value(node: Any) -> None:
    """A JSON column that may be null is any value: ``oneOf`` of "anything" and null would refuse null itself."""
    if isinstance(node, dict):
        if {} in node.get("oneOf", ()):
            del node["oneOf"]
        for child in node.values():
            _any_value(child)
    elif isinstance(node, list):
        for child in node:
            _any_value(child)


def _header(name: str, text: str, longest: int) -> dict[str, Any]:
    return {
        "in": "header",
        "name": name,
        "required": False,
        "description": text,
        "schema": {"type": "string", "minLength": 1, "maxLength": longest},
    }
