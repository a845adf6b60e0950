"""What is wanted of a device, what it reports, and the link history behind its uptime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, DateTimeField, F, Q, Value, When

from devices.domain.connectivity import per_minute
from devices.models import Device, LinkHistory
from portal.core import audit
from portal.core.records import versioned_update


@dataclass(frozen=True)
class Report:
    """One life sign of a device at ``at`` (wall time).

    ``actual``: what it says of itself, None when this sign says nothing new; ``actual_version``: the wanted version it follows.
    ``inferring``: inference was running. ``counts``: how many expected reports it stands for in the link history (0: none, for
    a device whose heartbeats are counted by themselves).
    """

    device_id: UUID
    at: datetime
    actual: dict[str, Any] | None = None
    actual_version: int | None = None
    inferring: bool = False
    counts: int = 1


@transaction.atomic
def device_want(*, actor: Any, device: Device, wanted: dict[str, Any], expected_version: int | None = None) -> Device:
    """Replace what is wanted of a device and raise ``wanted_version``, which its gateway follows. The same again changes nothing."""
    if device.wanted == wanted:
        return device
    before = device.wanted
    versioned_update(device, expected_version=expected_version, wanted=wanted, wanted_version=F("wanted_version") + 1)
    audit.record(actor=actor, action="device.want", obj=device, changes={"wanted": [before, wanted]})
    return device


def wanted_version_raise(*device_ids: UUID) -> None:
    """Tell gateways that something in their desired state changed, without changing ``Device.wanted``."""
    Device.objects.filter(pk__in=device_ids).update(wanted_version=F("wanted_version") + 1)


def device_report(
    device: Device,
    actual: dict[str, Any] | None,
    at: datetime,
    *,
    actual_version: int | None = None,
    inferring: bool = False,
    counts: int = 1,
) -> None:
    """One report; see ``device_reports``."""
    device_reports([Report(device.pk, at, actual, actual_version, inferring, counts)])


@transaction.atomic
def device_reports(reports: Sequence[Report]) -> None:
    """Take many reports in any order: ``last_seen_at`` never goes back, an older ``actual`` never replaces a newer one.

    One query for all, one per device that reports its state, and one per minute of link history. No audit: a machine
    speaking of itself is telemetry.
    """
    by_device: dict[UUID, list[Report]] = defaultdict(list)
    for report in reports:
        by_device[report.device_id].append(report)
    newest: dict[UUID, datetime] = {}
    for device_id, rows in by_device.items():
        rows.sort(key=lambda r: r.at)
        newest[device_id] = rows[-1].at
        spoken = [r for r in rows if r.actual is not None]
        if spoken:
            values: dict[str, Any] = {"actual": spoken[-1].actual, "actual_at": spoken[-1].at}
            if spoken[-1].actual_version is not None:
                values["actual_version"] = spoken[-1].actual_version
            mine = Device.objects.filter(pk=device_id)
            mine.filter(Q(actual_at=None) | Q(actual_at__lte=spoken[-1].at)).update(**values)
    seen = Case(
        *(When(pk=pk, then=Value(at, output_field=DateTimeField())) for pk, at in newest.items()),
        output_field=DateTimeField(),
    )
    if newest:
        older = Q(last_seen_at=None) | Q(last_seen_at__lt=seen)
        Device.objects.filter(older, pk__in=newest).update(last_seen_at=seen)
    link_record((r.device_id, r.at, r.counts, r.counts if r.inferring else 0) for r in reports if r.counts)


@transaction.atomic
def link_record(rows: Iterable[tuple[UUID, datetime, int, int]]) -> None:
    """Add ``(device id, wall time, received, inferring)`` to the minute rows, late ones too: uptime while the portal was away
    counts when the stored heartbeats arrive."""
    minutes: dict[tuple[UUID, datetime], list[int]] = defaultdict(lambda: [0, 0])
    for device_id, at, received, inferring in rows:
        cell = minutes[(device_id, at.replace(second=0, microsecond=0))]
        cell[0] += received
        cell[1] += inferring
    # In one order everywhere, so that two ingest workers cannot wait for each other.
    ordered = sorted(minutes.items(), key=lambda item: (item[0][0].hex, item[0][1]))
    unknown = [(key, counts) for key, counts in ordered if not _count(key, counts)]
    if not unknown:
        return
    periods = dict(Device.objects.filter(pk__in={key[0] for key, _ in unknown}).values_list("pk", "report_every_s"))
    LinkHistory.objects.bulk_create(
        [
            LinkHistory(device_id=device_id, minute=minute, expected=per_minute(periods[device_id]))
            for (device_id, minute), _ in unknown
            if device_id in periods
        ],
        ignore_conflicts=True,
    )
    for key, counts in unknown:
        _count(key, counts)


def _count(key: tuple[UUID, datetime], counts: list[int]) -> int:
    return LinkHistory.objects.filter(device_id=key[0], minute=key[1]).update(
        received=F("received") + counts[0], inferring=F("inferring") + counts[1]
    )
