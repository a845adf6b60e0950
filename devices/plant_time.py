"""Plant time: what the data's clock says. A live plant has none of its own; there it is wall time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from devices.choices import DeviceKind, DeviceState, ReplayState, SiteKind
from devices.models import Device, PlantClock, Site
from portal.core import audit
from portal.core.clock import moment_text, wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.ids import uuid7

# A replaying PLC keeps its last 4,096 rows, so a gateway may lag so far behind another; a larger step back is a jump.
_LAG_ROWS = 4096
_HEARD_WITHIN = timedelta(seconds=10)
MAX_PACE = 655.0


def plant_clock(site: Site, *, fresh: bool = False) -> PlantClock | None:
    """The replay's clock; None for a live plant, and for a replay of which no row was read yet.

    Taken from the site object where it was loaded with it (``select_related("plant_clock")``); ``fresh`` reads it again, for
    work that holds a site object for long.
    """
    if site.kind == SiteKind.LIVE:
        return None
    if fresh:
        return PlantClock.objects.filter(pk=site.pk).first()
    try:
        return site.plant_clock
    except PlantClock.DoesNotExist:
        return None


def plant_now(site: Site, *, fresh: bool = False) -> datetime:
    """Plant time of a site now: of the newest row read where data is replayed, wall time elsewhere.

    It stands still while a replay is paused or finished, so nothing goes stale then. A replay of which no row was read yet
    has no plant time of its own and no rows that could age: wall time is returned.
    """
    clock = plant_clock(site, fresh=fresh)
    return clock.plant_now if clock is not None else wall_now()


def plant_age(site: Site, moment: datetime | None) -> timedelta | None:
    """How old a reading is in plant time, never below zero; None without a reading."""
    return None if moment is None else max(timedelta(0), plant_now(site) - moment)


def replay_finished(site: Site) -> bool:
    """True when the site's replay is over: then nothing there goes stale."""
    clock = plant_clock(site)
    return clock is not None and clock.state == ReplayState.FINISHED


def replay_text(site: Site) -> str:
    """What every page of the site says about its data, such as "Replay of real data, plant time 2013-12-14 03:00, 4 rows/s"."""
    if site.kind == SiteKind.LIVE:
        return ""
    kind = _("Replay of real data") if site.kind == SiteKind.REPLAY else _("Replay of simulated data")
    clock = plant_clock(site)
    if clock is None:
        return _("%(kind)s, not started yet") % {"kind": kind}
    words = {"kind": kind, "at": moment_text(clock.plant_now), "pace": f"{clock.rows_per_second:g}"}
    if clock.state == ReplayState.FINISHED:
        return _("%(kind)s: replay finished at plant time %(at)s") % words
    if clock.state == ReplayState.PAUSED:
        return _("%(kind)s, paused at plant time %(at)s") % words
    if clock.rows_per_second == 0:
        return _("%(kind)s, plant time %(at)s, as fast as the rows are read") % words
    return _("%(kind)s, plant time %(at)s, %(pace)s rows/s") % words


@transaction.atomic
def plant_clock_update(
    site: Site,
    *,
    state: str,
    plant_now: datetime,
    rows_done: int,
    rows_total: int,
    rows_per_second: float,
    nominal: bool | None = None,
    last_jump: str = "",
    at: datetime | None = None,
) -> PlantClock:
    """Take over what a gateway says of the replaying PLC. ``rows_done`` is the position in the set, ``last_jump`` the id of
    the newest jump that was carried out, ``at`` wall time.

    Of two gateways that read one PLC the one further ahead sets the clock. What was asked for and is reported now leaves
    ``wanted``. Called with every report: two queries.
    """
    if state not in ReplayState.values:
        raise InvalidInput({"state": f"One of: {', '.join(ReplayState.values)}."})
    at = at or wall_now()
    clock = PlantClock.objects.select_for_update().filter(pk=site.pk).first()
    values: dict[str, Any] = {
        "state": state,
        "plant_now": plant_now,
        "wall_at": at,
        "rows_done": max(0, rows_done),
        "rows_total": max(0, rows_total),
        "rows_per_second": rows_per_second,
    }
    if nominal is not None:
        values["nominal"] = nominal
    if clock is None:
        return PlantClock.objects.create(site=site, **values)
    behind = clock.rows_done - rows_done
    if 0 < behind <= _LAG_ROWS and at - clock.wall_at < _HEARD_WITHIN:
        return clock
    values["wanted"] = _still_wanted(clock.wanted, state, rows_per_second, last_jump)
    for name, value in values.items():
        setattr(clock, name, value)
    clock.save(update_fields=[*values])
    return clock


def _still_wanted(wanted: dict[str, Any], state: str, pace: float, last_jump: str) -> dict[str, Any]:
    left = dict(wanted)
    if "rows_per_second" in left and round(left["rows_per_second"] * 100) == round(pace * 100):
        del left["rows_per_second"]
    if "paused" in left and left["paused"] == (state == ReplayState.PAUSED):
        del left["paused"]
    if "jump" in left and left["jump"]["id"] == last_jump:
        del left["jump"]
    return left


@transaction.atomic
def replay_want(
    *,
    actor: Any,
    site: Site,
    rows_per_second: float | None = None,
    jump_row: int | None = None,
    paused: bool | None = None,
) -> PlantClock:
    """Ask the replaying PLC for another pace (rows per wall second, 0 = as fast as they are read), a jump to a row of the set
    (0-based), a pause or to go on. It stands in ``PlantClock.wanted`` as ``{"rows_per_second", "paused", "jump": {"id", "row"}}``
    until the PLC reports it; the site's gateways are told to fetch. Raises ``not_replayed`` for a live plant,
    ``replay_not_started`` before its first row, ``replay_finished`` after its last.
    """
    if site.kind == SiteKind.LIVE:
        raise DomainError("not_replayed", _("This site's data is live; there is nothing to steer."))
    clock = PlantClock.objects.select_for_update().filter(pk=site.pk).first()
    if clock is None:
        raise DomainError("replay_not_started", _("No row of this replay has been read yet."))
    asked: dict[str, Any] = {}
    if rows_per_second is not None:
        if not 0 <= rows_per_second <= MAX_PACE:
            raise InvalidInput({"rows_per_second": _("From 0 (as fast as they are read) to 655 rows per second.")})
        asked["rows_per_second"] = float(rows_per_second)
    if jump_row is not None:
        if not 0 <= jump_row < max(1, clock.rows_total):
            raise InvalidInput({"jump_row": _("The set has rows 0 to %(last)s.") % {"last": clock.rows_total - 1}})
        asked["jump"] = {"id": uuid7().hex, "row": int(jump_row)}
    if paused is not None:
        asked["paused"] = bool(paused)
    if not asked:
        raise InvalidInput({"": _("Say what to change: pace, row or pause.")})
    if clock.state == ReplayState.FINISHED and jump_row is None:
        raise DomainError("replay_finished", _("The replay is finished: jump back to a row to run it again."))
    clock.wanted = clock.wanted | asked
    clock.save(update_fields=["wanted"])
    Device.objects.filter(site=site, device_type__kind=DeviceKind.GATEWAY, state=DeviceState.ACTIVE).update(
        wanted_version=F("wanted_version") + 1
    )
    audit.record(actor=actor, action="replay.want", obj=site, changes=asked)
    return clock
