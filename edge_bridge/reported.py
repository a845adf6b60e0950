"""What a gateway says of itself: twin, installations, the replay's clock, stops. Said twice, it changes nothing twice."""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import Any

import structlog
from django.db import transaction

from devices.choices import SiteKind
from devices.models import Device
from devices.plant_time import plant_clock_update
from devices.services import (
    Report,
    device_report,
    device_reports,
    machine_released_locally,
    machine_stop_confirm,
    machine_stopped_locally,
)
from devices.services.live import plant_moment
from devices.services.stopping import open_stop
from edge_bridge import wire
from edge_bridge.choices import InstallationState, RolloutState
from edge_bridge.desired import gateway_changed
from edge_bridge.ingest import is_moment
from edge_bridge.models import Installation, Rollout
from edge_bridge.selectors import IN_FORCE, Place, places_of, sources_of
from edge_bridge.touch import touch
from governance.models import ModelVersion
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.notifications import notify, people_who_may

log = structlog.get_logger(__name__)
# The agent tries these again by itself; a version that waits for the portal's own file store is not refused.
_TEMPORARY = {"artefact_unavailable"}
_NOT_TIMES = (None, 0)


@transaction.atomic
def reported_take(gateway: Device, report: wire.ReportedState) -> None:
    """Take over a gateway's reported state. ``gateway`` with ``site`` loaded."""
    now = wall_now()
    sources = sources_of(gateway)
    rows = list(
        Installation.objects.filter(device=gateway, state__in=IN_FORCE).select_related(
            "version_of_model__model", "adoption__site", "rollout"
        )
    )
    places = places_of(rows, sources)
    device_report(
        gateway,
        actual(report, {place.version_id: place for place in places}),
        now,
        actual_version=report.desired_version,
        counts=0,
    )
    heard = {source.name for source in report.sources if source.connected}
    device_reports([Report(s.plc.pk, now, counts=0) for s in sources if s.name in heard])
    _stops(gateway, report, now)
    by_key = {r.id: r for r in report.installations}
    for row in rows:
        mine = [place for place in places if place.installation is row]
        _installation(gateway, row, [(place, by_key.get(place.key)) for place in mine], now)
    if gateway.site.kind != SiteKind.LIVE:
        for source in report.sources:
            _clock(gateway, source, now)


def actual(report: wire.ReportedState, places: dict[str, Place]) -> dict[str, Any]:
    """The report as the twin keeps it; ``models`` has the keys of what is wanted, so the two can be compared."""
    names = {pk: f"v{place.installation.version_of_model.number}" for pk, place in places.items()}
    return {
        "agent": report.agent_version,
        "transport": report.transport,
        "models": {r.id: names.get(r.running, r.running[:8] or "none") for r in report.installations},
        "installations": {
            r.id: {
                "state": r.state,
                "running": r.running,
                "wanted": r.wanted,
                "rows": r.rows,
                "refused": r.refused,
                "stopped_by": r.stopped_by,
                "error": f"{r.error.code}: {r.error.detail[:200]}" if r.error else "",
            }
            for r in report.installations
        },
        "sources": {
            s.name: {
                "connected": s.connected,
                "row": s.row,
                "rows_per_s": s.rows_per_s,
                "replay": s.replay,
                "run": s.run,
            }
            for s in report.sources
        },
        "backlog_messages": report.backlog_messages,
        "backlog_bytes": report.backlog_bytes,
        "refused_messages": report.refused_messages,
        "disk_free_bytes": report.disk_free_bytes,
        "memory_bytes": report.memory_bytes,
        "cpu_seconds": report.cpu_seconds,
        "clock_offset_ms": report.clock_offset_ms,
        "started_ms": report.started_ms,
        "errors": [{"code": e.code, "detail": e.detail[:200]} for e in report.errors[:20]],
    }


def _stops(gateway: Device, report: wire.ReportedState, now: datetime) -> None:
    stop = open_stop(gateway)
    if report.stopped_locally:
        if stop is None or not stop.local:
            machine_stopped_locally(gateway, report.stop_reason, now)
        return
    if stop is not None and stop.local:
        machine_released_locally(gateway, now)
    elif (
        stop is not None
        and stop.confirmed_at is None
        and report.desired_version >= gateway.wanted_version
        and all(r.stopped_by for r in report.installations)
    ):
        # It follows the document that holds the stop, and nothing computes against it.
        machine_stop_confirm(gateway, now)


def _installation(
    gateway: Device, row: Installation, said: list[tuple[Place, wire.InstallationReport | None]], now: datetime
) -> None:
    """An installation stands at one source or more: it is active when it is so at each, refused when one refuses."""
    reports = [r for _place, r in said if r is not None]
    if not reports or len(reports) < len(said):
        return
    wanted = str(row.version_of_model_id)
    if all(r.running == wanted and r.state == "active" for r in reports):
        if row.state == InstallationState.WANTED:
            installation_active(gateway, row, now)
        return
    for r in reports:
        if r.wanted != wanted or r.stopped_by or r.running == wanted:
            continue
        if r.state in {"fallback", "bypassed"}:
            reason = r.error.detail if r.error else "the gateway went back to the version before"
            installation_ended(gateway, row, InstallationState.ROLLED_BACK, f"Failed at work: {reason}", now)
            return
        if r.error is not None and r.error.code not in _TEMPORARY:
            installation_ended(gateway, row, InstallationState.REFUSED, f"{r.error.code}: {r.error.detail}", now)
            return


def installation_active(gateway: Device, row: Installation, now: datetime) -> None:
    """The gateway runs it: the one before it is replaced."""
    changed = Installation.objects.filter(pk=row.pk, state=InstallationState.WANTED).update(
        state=InstallationState.ACTIVE, active_at=now, **touch(now), reason=""
    )
    if not changed:
        return
    row.state, row.active_at = InstallationState.ACTIVE, now
    if not row.shadow:
        Installation.objects.filter(
            device=gateway,
            adoption=row.adoption_id,
            version_of_model__model=row.version_of_model.model_id,
            state__in=IN_FORCE,
            wanted_at__lte=row.wanted_at,
        ).exclude(pk=row.pk).update(state=InstallationState.REPLACED, ended_at=now, **touch(now))
    audit.record(
        actor=None, action="installation.active", obj=row, changes={"version": row.version_of_model, "device": gateway}
    )


def installation_ended(gateway: Device, row: Installation, state: str, reason: str, now: datetime) -> None:
    """The gateway refused it, or took it out of work by itself. Outside a rollout the version before is wanted again."""
    changed = Installation.objects.filter(pk=row.pk, state__in=IN_FORCE).update(
        state=state, reason=reason[:300], ended_at=now, **touch(now)
    )
    if not changed:
        return
    row.state, row.reason = state, reason[:300]
    audit.record(actor=None, action=f"installation.{state}", obj=row, changes={"reason": reason, "device": gateway})
    in_rollout = (
        row.rollout is not None
        and Rollout.objects.filter(pk=row.rollout.pk, state__in=[RolloutState.RUNNING, RolloutState.SOAKING]).exists()
    )
    if not in_rollout:
        previous_wanted(gateway, row, now)
        notify(
            user_ids=people_who_may(gateway.site, "operate"),
            kind="installation",
            text=f"{row}: {reason}"[:200],
            url=gateway.get_absolute_url(),
            dedupe_key=f"installation:{row.pk}:{state}",
        )


def previous_wanted(
    gateway: Device, row: Installation, now: datetime, version: ModelVersion | None = None
) -> Installation | None:
    """Want the version again that was in force before ``row`` (or ``version``), unless one is in force still. None without any."""
    same = Installation.objects.filter(
        device=gateway, adoption=row.adoption_id, version_of_model__model=row.version_of_model.model_id, shadow=False
    ).exclude(pk=row.pk)
    found = same.filter(state__in=IN_FORCE).order_by("-wanted_at").first()
    if found is None:
        before = same.filter(state=InstallationState.REPLACED, active_at__isnull=False)
        if version is not None:
            before = before.filter(version_of_model=version)
        found = before.exclude(version_of_model__state="withdrawn").order_by("-ended_at").first()
        if found is not None:
            Installation.objects.filter(pk=found.pk).update(
                state=InstallationState.WANTED, wanted_at=now, ended_at=None, **touch(now)
            )
    gateway_changed(gateway)
    return found


def _clock(gateway: Device, source: wire.SourceReport, now: datetime) -> None:
    """A replaying PLC tells the plant's time; of two gateways the one further ahead sets it."""
    if not source.replay or source.plant_ms in _NOT_TIMES or source.plant_ms is None:
        return
    if not is_moment(source.plant_ms) or not isfinite(source.pace):
        log.warning("reported.no_time", gateway=gateway.code, plant_ms=source.plant_ms, pace=str(source.pace))
        return
    plant_clock_update(
        gateway.site,
        state=source.replay,
        plant_now=plant_moment(source.plant_ms),
        rows_done=source.position,
        rows_total=source.position + source.remaining,
        rows_per_second=source.pace,
        last_jump=source.last_jump,
        at=now,
    )
