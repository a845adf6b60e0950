"""Freezing what was known when a decision was taken, so that anybody can check later that nothing was changed.

The document is written as canonical JSON in the manner of RFC 8785 and hashed with SHA-256. It survives a round trip
through any JSON store, because numbers and times have exactly one spelling. See docs/algorithms/gates.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from usecases.domain.errors import InvalidInput


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-11-22T10:00:00.000Z. A time without a zone is refused."""
    if moment.tzinfo is None:
        raise InvalidInput("time_without_zone", "A time needs its zone.", field="time")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: Any, path: str = "$") -> Any:
    """The value as JSON knows it: strings, whole and finite numbers, true, false, null, lists, objects.

    Times become UTC text, decimals and UUIDs text, enums their value, whole floats whole numbers (1.0 is 1).
    """
    if isinstance(value, Enum):
        return plain(value.value, path)
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput("number_not_finite", "Only finite numbers can be frozen.", field=path)
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidInput("number_not_finite", "Only finite numbers can be frozen.", field=path)
        return format(value, "f")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise InvalidInput("key_not_text", "Every key must be text.", field=path)
        return {str(key): plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise InvalidInput("not_freezable", f"{type(value).__name__} has no place in a frozen document.", field=path)


def canonical_json(value: Any) -> str:
    """One spelling per document: keys sorted by UTF-16 code unit, no spaces, shortest floats, text unescaped."""
    return _spell(plain(value))


def _spell(value: Any) -> str:
    if isinstance(value, dict):
        # UTF-16 order differs from code-point order above the basic plane, and RFC 8785 asks for the former.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_spell(key)}:{_spell(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spell(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    try:
        return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()
    except UnicodeEncodeError as error:
        raise InvalidInput("text_not_unicode", "A text holds half a character.", field="$") from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen document (JSON types only, ready to store) and the hash that proves it."""

    document: Mapping[str, Any]
    sha256: str


def freeze(document: Mapping[str, Any]) -> Snapshot:
    ready = plain(document)
    return Snapshot(ready, digest(ready))


def verify(document: Any, sha256: str) -> bool:
    """Whether the stored document is still the one that was hashed. A document that cannot be hashed is not."""
    try:
        found = digest(document)
    except InvalidInput:
        return False
    return hmac.compare_digest(found.encode(), sha256.strip().lower().encode("utf-8", "replace"))
