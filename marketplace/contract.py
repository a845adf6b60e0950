"""What a service promises: inputs with units and ranges, the output, limits and errors, as an OpenAPI 3.1 document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from devices.models import Channel
from governance.choices import VersionState
from governance.models import Model, ModelVersion
from portal.core.api.schema import PROBLEM_SCHEMA
from portal.core.errors import DomainError

MAX_ROWS: Final = 1_000
API_VERSION: Final = "1.0.0"
#: A manifest writes an open side of a range as the largest number there is.
OPEN: Final = 1e300


@dataclass(frozen=True)
class Input:
    """One feature: name, unit (UCUM), the range outside which a row is refused (None: open), and what it is."""

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    about: str = ""

    @property
    def range_text(self) -> str:
        if self.low is None and self.high is None:
            return "any value"
        if self.low is None:
            return f"up to {self.high:g}"
        return f"from {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Contract:
    inputs: tuple[Input, ...]
    output: str
    unit: str
    version: int | None


def live_version(model: Model) -> ModelVersion | None:
    return ModelVersion.objects.filter(model_id=model.pk, state=VersionState.LIVE).order_by("-number").first()


def limits_of(manifest: dict[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    """Feature -> (lowest, highest); None on an open side."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for name, (low, high) in dict(manifest.get("limits") or {}).items():
        found[name] = (None if low <= -OPEN else float(low), None if high >= OPEN else float(high))
    return found


def contract_of(model: Model) -> Contract:
    """Ranges come from the live version's signed manifest, units and names from the plant's channels."""
    version = live_version(model)
    manifest: dict[str, Any] = json.loads(version.manifest) if version is not None else {}
    if int(manifest.get("window", 1) or 1) != 1:
        raise DomainError(
            "window_model",
            "This model reads a window of rows; only a model that scores each row by itself can be sold.",
        )
    limits = limits_of(manifest)
    channels: dict[str, Channel] = {}
    rows = Channel.objects.filter(code__in=model.features, device__site__adoptions__use_case_id=model.use_case_id)
    for channel in rows.order_by("created_at"):
        channels.setdefault(channel.code, channel)
    inputs = []
    for name in manifest.get("features") or model.features:
        known = channels.get(name)
        declared = (known.range_low, known.range_high) if known is not None else (None, None)
        low, high = limits.get(name, declared if version is None else (None, None))
        inputs.append(Input(name, known.unit if known else "", low, high, known.name if known else ""))
    if not inputs:
        raise DomainError("no_inputs", "The model does not say which inputs it reads.")
    return Contract(
        tuple(inputs),
        manifest.get("output") or model.target or "prediction",
        manifest.get("unit") or model.unit,
        version.number if version else None,
    )


def openapi(service: Any, contract: Contract) -> dict[str, Any]:
    """The document of one service. Ranges are ``x-valid-range``: a row outside is answered, with null and the reason."""
    headers = {
        "RateLimit-Policy": _header(
            'Limits of the subscription, for example `"minute";q=600;w=60, "month";q=100000;w=2592000;qu="rows"`: '
            "calls a minute and rows a calendar month (UTC)."
        ),
        "RateLimit": _header("What is left, and in how many seconds it starts afresh."),
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals = {
        "400": "The rows are not valid; `errors[].field` says where, for example `rows[3].AT`",
        "401": "The key is missing, unknown or revoked",
        "404": "There is no such service for this key",
        "413": f"More than {MAX_ROWS} rows, or too large a body",
        "415": "Not JSON",
        "422": "This Idempotency-Key was used for another request",
        "503": "No version of the model can be run now; nothing is billed",
    }
    responses: dict[str, Any] = {
        code: {"description": text, "content": problem} for code, text in refusals.items()
    }  # fmt: skip
    responses["429"] = {
        "description": "Too many calls this minute, or the rows of the month are used up; nothing is billed",
        "headers": headers | {"Retry-After": _header("Seconds until it can succeed.", "integer")},
        "content": problem,
    }
    responses["200"] = {
        "description": "One prediction for each row, in order",
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Scores"}}},
    }
    unit = contract.unit or "1"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "version": API_VERSION,
            "description": service.summary
            or f"{contract.output} in {unit}, predicted from {len(contract.inputs)} inputs.",
            "x-service-level": service.sla_text,
        },
        "servers": [{"url": f"{settings.PUBLIC_URL.rstrip('/')}/services/{service.code}/v1"}],
        "security": [{"clientKey": []}],
        "paths": {
            "/score": {
                "post": {
                    "operationId": "score",
                    "summary": f"Predict {contract.output} ({unit}) for up to {MAX_ROWS} rows",
                    "description": "Each row is scored by itself. A row outside the valid range of an input is not scored and "
                    "not billed: its value is null and the reason is given. Send an Idempotency-Key to repeat a call safely: "
                    "the same key gives the same answer and is billed once.",
                    "parameters": [
                        {
                            "in": "header",
                            "name": "Idempotency-Key",
                            "required": False,
                            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Rows"}}},
                    },
                    "responses": dict(sorted(responses.items())),
                }
            },
            "/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the service can answer now",
                    "security": [],
                    "responses": {
                        code: {
                            "description": text,
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
                        }
                        for code, text in (("200", "It answers"), ("503", "It does not"))
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {
                "clientKey": {"type": "http", "scheme": "bearer", "description": "A client key, `pgc_…`."}
            },
            "schemas": {
                "Row": {
                    "type": "object",
                    "required": [item.name for item in contract.inputs],
                    "additionalProperties": False,
                    "properties": {item.name: _property(item) for item in contract.inputs},
                },
                "Rows": {
                    "type": "object",
                    "required": ["rows"],
                    "additionalProperties": False,
                    "properties": {
                        "rows": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_ROWS,
                            "items": {"$ref": "#/components/schemas/Row"},
                        }
                    },
                },
                "Scores": _scores(contract, unit),
                "Health": {
                    "type": "object",
                    "required": ["status", "service"],
                    "properties": {
                        "status": {"enum": ["pass", "warn", "fail"]},
                        "service": {"type": "string"},
                        "model_version": {"type": ["integer", "null"]},
                        "output": {"type": "string", "description": "Why it is not `pass`."},
                    },
                },
                "Problem": PROBLEM_SCHEMA,
            },
        },
    }


def _header(text: str, kind: str = "string") -> dict[str, Any]:
    return {"description": text, "schema": {"type": kind}}


def _property(item: Input) -> dict[str, Any]:
    about = f"{item.about or item.name}, {item.unit or 'no unit'}; valid: {item.range_text}."
    return {
        "type": ["number", "null"],
        "description": about,
        "x-unit": item.unit,
        "x-valid-range": [item.low, item.high],
    }


def _scores(contract: Contract, unit: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["service", "model_version", "output", "unit", "predictions", "rows_scored", "rows_refused"],
        "properties": {
            "service": {"type": "string"},
            "model_version": {"type": "integer", "description": "Number of the signed version that answered."},
            "output": {"const": contract.output},
            "unit": {"const": unit},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["value"],
                    "properties": {
                        "value": {"type": ["number", "null"], "x-unit": unit},
                        "reason": {"type": "string", "description": "Why the value is null."},
                    },
                },
            },
            "rows_scored": {"type": "integer", "description": "Rows that are billed."},
            "rows_refused": {"type": "integer", "description": "Rows outside a valid range; not billed."},
        },
    }
