"""What only a PostgreSQL has."""

from __future__ import annotations

from typing import Any

from psycopg.adapt import Loader


class Rfc3339Loader(Loader):
    """A ``timestamptz`` of a connection in UTC as the API writes it, milliseconds and ``Z``, without a datetime in between."""

    def load(self, data: Any) -> str:
        text = str(data, "ascii")
        if not text.endswith("+00"):
            raise ValueError(f"the connection's time zone is not UTC: {text}")
        return f"{text[:10]}T{text[11:19]}.{text[20:-3][:3]:0<3}Z"
