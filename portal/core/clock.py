"""Wall time. Plant time belongs to a site's data and is read from ``devices.plant_time``; the two never mix."""

from datetime import UTC, datetime


def wall_now() -> datetime:
    return datetime.now(tz=UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as the API writes every time."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
