"""Wall time. Plant time belongs to a site's data and is read from ``devices.plant_time``; the two never mix."""

from datetime import UTC, date, datetime

from django.core.exceptions import ValidationError
from django.utils.formats import date_format
from django.utils.translation import gettext as _


def wall_now() -> datetime:
    return datetime.now(tz=UTC)


def in_calendar(moment: datetime) -> bool:
    """Whether a moment has a day in UTC: with an offset the first and last hours of the calendar have none, and no database keeps them."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def check_calendar(moment: datetime) -> None:
    """The same as a validator of form fields."""
    if not in_calendar(moment):
        raise ValidationError(_("The calendar ends before this moment or begins after it."))


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as the API writes every time."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def day_text(value: date | None) -> str:
    """The day as every page writes it: "22 Nov 2026" (``portal/formats``); a dash where there is none."""
    return "–" if value is None else date_format(value, "DATE_FORMAT")


def moment_text(value: datetime, *, seconds: bool = False) -> str:
    """The moment as every page writes it: "22 Nov 2026, 17:30", UTC or plant time as it is given."""
    return date_format(value, "DATETIME_FORMAT") + (f":{value:%S}" if seconds else "")


def month_text(value: date) -> str:
    """The month as every page writes it: "November 2026"."""
    return date_format(value, "YEAR_MONTH_FORMAT")
