"""SLOs over records: uptime from the gateways' minutes, alert-to-retrain from alerts and what became of them. All in wall time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Case, F, Min, Q, Sum, When
from django.db.models.functions import TruncHour

from devices.choices import DeviceKind
from devices.models import Device, LinkHistory
from governance.choices import SloKind
from governance.domain.ledger import EventLedger, Ledger, response_events
from governance.domain.slo import (
    BurnTable,
    ErrorBudget,
    Guard,
    Objective,
    Severity,
    Unit,
    budget_left,
    burn_table,
    derive_tiers,
    error_budget,
    fit_tiers,
)
from governance.models import Incident, Slo, SloEvent
from portal.core.clock import wall_now

# A minute that no gateway has spoken for may still be in its store; it counts as down only after this long.
SILENT_AFTER = timedelta(minutes=10)
# The longest short window of the burn-rate tiers is six hours.
FINE_FOR = timedelta(hours=7)
_DAY = 86_400.0


@dataclass(frozen=True)
class SloStatus:
    """How an SLO stands now. ``pending`` and ``overdue`` are answers still open, within and past their limit."""

    slo: Slo
    budget: ErrorBudget
    table: BurnTable
    severity: Severity | None
    held_back: bool
    events: float
    enough: bool
    pending: int
    overdue: int
    refused: tuple[str, ...]
    measured_at: datetime

    @property
    def healthy(self) -> bool | None:
        """None while too little was measured to say."""
        if self.events <= 0 or not self.enough:
            return None
        return not self.budget.exhausted and self.severity is None


def gateways_of(slo: Slo) -> list[Device]:
    """The gateways of the adoption's devices, themselves or in front of them."""
    mine = slo.adoption.devices.all()
    return list(
        Device.objects.filter(Q(pk__in=mine) | Q(behind__in=mine), device_type__kind=DeviceKind.GATEWAY)
        .distinct()
        .order_by("code")
    )


@transaction.atomic
def uptime_events(*, slo: Slo, now: datetime) -> int:
    """Turn gateway minutes that are over into events, each minute of each gateway once: seconds inferring and seconds not."""
    written = 0
    for device in gateways_of(slo):
        newest = (
            SloEvent.objects.filter(slo=slo, source__startswith=f"{device.pk}:")
            .order_by("-at")
            .values_list("at", flat=True)
            .first()
        )
        first = LinkHistory.objects.filter(device=device).aggregate(first=Min("minute"))["first"]
        if first is None:
            continue
        start = (
            max(first, slo.created_at.replace(second=0, microsecond=0))
            if newest is None
            else newest + timedelta(minutes=1)
        )
        known = {row.minute: row for row in LinkHistory.objects.filter(device=device, minute__gte=start)}
        events = []
        minute = start
        while minute <= now - timedelta(minutes=2):
            row = known.get(minute)
            if row is None and minute > now - SILENT_AFTER:
                break
            share = min(1.0, row.inferring / row.expected) if row is not None and row.expected else 0.0
            good = round(60 * share)
            events.append(
                SloEvent(slo=slo, at=minute, good=good, bad=60 - good, source=f"{device.pk}:{minute:%Y%m%d%H%M}")
            )
            minute += timedelta(minutes=1)
        SloEvent.objects.bulk_create(events, ignore_conflicts=True, batch_size=500)
        written += len(events)
    return written


def record_all() -> None:
    now = wall_now()
    for slo in Slo.objects.filter(kind=SloKind.UPTIME).select_related("adoption"):
        uptime_events(slo=slo, now=now)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _responses(slo: Slo, now: datetime) -> Any:
    rows: list[Any] = list(
        Incident.objects.filter(adoption=slo.adoption, fast_forwarded=False, alerts__kind__in=["concept", "residual"])
        .distinct()
        .values_list("opened_at", "live_at", "resolved_at")
    )
    opened = np.array([_seconds(row[0]) for row in rows], dtype=np.float64)
    ended = np.array([_seconds(row[1] or row[2]) if row[1] or row[2] else np.nan for row in rows], dtype=np.float64)
    return response_events(opened, ended, slo.limit_seconds or 7200.0, _seconds(now))


def ledger_of(slo: Slo, now: datetime) -> tuple[Ledger, int, int]:
    """The ledger and how many answers are pending and overdue."""
    if slo.kind == SloKind.ALERT_TO_RETRAIN:
        responses = _responses(slo, now)
        return responses.ledger(), responses.pending, responses.overdue
    sources = max(1, len(gateways_of(slo)))
    rows = np.array(_uptime_rows(slo, now), dtype=np.float64).reshape(-1, 3)
    return EventLedger.from_counts(rows[:, 0], rows[:, 1] / sources, rows[:, 2] / sources), 0, 0


def _uptime_rows(slo: Slo, now: datetime) -> list[tuple[float, float, float]]:
    """(moment, good seconds, bad seconds): by the minute for the last hours, which the short burn windows need, by the hour before."""
    recent = (now - FINE_FOR).replace(minute=0, second=0, microsecond=0)
    rows = (
        SloEvent.objects.filter(slo=slo, at__gte=now - timedelta(days=slo.window_days))
        .annotate(bucket=Case(When(at__lt=recent, then=TruncHour("at")), default=F("at")))
        .values("bucket")
        .annotate(all_good=Sum("good"), all_bad=Sum("bad"))
        .order_by("bucket")
        .values_list("bucket", "all_good", "all_bad")
    )
    return [(_seconds(at), float(good), float(bad)) for at, good, bad in rows]


def objective_of(slo: Slo) -> Objective:
    unit = Unit.TIME if slo.kind == SloKind.UPTIME else Unit.EVENTS
    return Objective(slo.target, slo.window_days * _DAY, unit)


def slo_status(slo: Slo, now: datetime | None = None) -> SloStatus:
    """Budget, burn and severity of one SLO at a moment of wall time."""
    moment = now or wall_now()
    return status_from(slo, *ledger_of(slo, moment), moment)


def status_from(slo: Slo, ledger: Ledger, pending: int, overdue: int, moment: datetime) -> SloStatus:
    """The status that a ledger says; for those who read the ledgers of many SLOs at once."""
    objective = objective_of(slo)
    tiers, refused = fit_tiers(objective, derive_tiers(objective.period))
    rare = slo.kind == SloKind.ALERT_TO_RETRAIN
    guard = Guard(min_events=slo.minimum_events, min_bad=2, carry_last=True) if rare else None
    table = burn_table(objective, ledger, tiers, np.array([_seconds(moment)]), guard)
    budget = error_budget(objective, ledger, _seconds(moment))
    severity = table.severity()[0] if tiers else None
    return SloStatus(
        slo=slo,
        budget=budget,
        table=table,
        severity=severity,
        held_back=bool(table.held_back.any()),
        events=budget.total,
        enough=budget.total >= slo.minimum_events,
        pending=pending,
        overdue=overdue,
        refused=tuple(item.reason for item in refused),
        measured_at=moment,
    )


def burn_down(slo: Slo, now: datetime | None = None, points: int = 96) -> dict[str, list[Any]]:
    """Share of the budget left over the window, for the chart."""
    moment = now or wall_now()
    ledger, _, _ = ledger_of(slo, moment)
    end = _seconds(moment)
    start = end - slo.window_days * _DAY
    moments = np.linspace(start, end, points)
    left = budget_left(objective_of(slo), ledger, moments)
    return {
        "at": [datetime.fromtimestamp(m, tz=UTC).isoformat() for m in moments.tolist()],
        "left": [None if np.isnan(v) else float(v) for v in left.tolist()],
    }
