"""Wall time. Plant time belongs to a site's data and is read from ``devices.plant_time``; the two never mix."""

from datetime import UTC, datetime


def wall_now() -> datetime:
    return datetime.now(tz=UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as the API writes every time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
