"""SLOs for pages: how several stand at once, and what the burn table says in rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Count, DateTimeField, FloatField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices.choices import DeviceKind
from devices.models import Device
from governance.choices import SloKind
from governance.domain.ledger import EventLedger, Ledger, response_events
from governance.domain.slo import Unit, budget_left
from governance.models import Incident, Slo, SloEvent
from governance.selectors.series import iso
from governance.services.slos import SloStatus, ledger_of, objective_of, status_from
from governance.words import budget_sentence, slo_state, slo_state_words
from portal.core import plots
from portal.core.clock import wall_now
from portal.core.templatetags.phasegate import duration

BURN_POINTS = 96


def slo_cards(slos: Sequence[Slo]) -> list[dict[str, Any]]:
    """``{slo, status, sentence, state, state_label}`` of each, measured at one moment; two queries however many there are."""
    now = wall_now()
    ledgers = _ledgers(slos, now)
    return [card(status_from(slo, *ledgers[slo.pk], now)) for slo in slos]


def _gateways(slos: Sequence[UUID]) -> QuerySet[Any, Any]:
    """How many gateways report for each SLO, in columns that unite with its events: no moment, the number, nothing."""
    scope = Device.objects.filter(adoptions=OuterRef(OuterRef("adoption"))).order_by()
    reporting = (
        Device.objects.filter(device_type__kind=DeviceKind.GATEWAY)
        .filter(Q(pk__in=scope.values("pk")) | Q(pk__in=scope.filter(gateway__isnull=False).values("gateway")))
        .order_by()
        .values("device_type__kind")
        .annotate(n=Count("pk"))
        .values("n")
    )
    return (
        Slo.objects.filter(pk__in=slos)
        .order_by()
        .values_list(
            "pk",
            Cast(Value(None, output_field=DateTimeField()), DateTimeField()),
            Cast(Coalesce(Subquery(reporting), 0), FloatField()),
            Value(0.0, output_field=FloatField()),
        )
    )


def _ledgers(slos: Sequence[Slo], now: datetime) -> dict[UUID, tuple[Ledger, int, int]]:
    """What ``services.slos.ledger_of`` says of each SLO, read together."""
    uptime = [slo for slo in slos if slo.kind == SloKind.UPTIME]
    answers = [slo for slo in slos if slo.kind == SloKind.ALERT_TO_RETRAIN]
    found: dict[UUID, tuple[Ledger, int, int]] = {}
    if uptime:
        since = now - timedelta(days=max(slo.window_days for slo in uptime))
        rows: dict[UUID, list[tuple[float, float, float]]] = defaultdict(list)
        shares: dict[UUID, float] = {}
        events = SloEvent.objects.filter(slo__in=uptime, at__gte=since).order_by()
        for slo_id, at, good, bad in events.values_list("slo_id", "at", "good", "bad").union(
            _gateways([slo.pk for slo in uptime]), all=True
        ):
            if at is None:
                shares[slo_id] = good
            else:
                rows[slo_id].append((at.timestamp(), good, bad))
        for slo in uptime:
            table = np.array(sorted(rows[slo.pk]), dtype=np.float64).reshape(-1, 3)
            share = max(1.0, shares.get(slo.pk, 0.0))
            found[slo.pk] = (EventLedger.from_counts(table[:, 0], table[:, 1] / share, table[:, 2] / share), 0, 0)
    if answers:
        moments: dict[UUID, dict[UUID, tuple[float, float]]] = defaultdict(dict)
        for pk, adoption_id, opened, live, resolved in Incident.objects.filter(
            adoption__in=[slo.adoption_id for slo in answers],
            fast_forwarded=False,
            alerts__kind__in=["concept", "residual"],
        ).values_list("pk", "adoption_id", "opened_at", "live_at", "resolved_at"):
            end = live or resolved
            moments[adoption_id][pk] = (opened.timestamp(), end.timestamp() if end else np.nan)
        for slo in answers:
            table = np.array(list(moments[slo.adoption_id].values()), dtype=np.float64).reshape(-1, 2)
            said = response_events(table[:, 0], table[:, 1], slo.limit_seconds or 7200.0, now.timestamp())
            found[slo.pk] = (said.ledger(), said.pending, said.overdue)
    return found


def card(status: SloStatus) -> dict[str, Any]:
    """``left_share`` is None while nothing was measured: an untouched budget and an unwatched one are not the same."""
    unknown = status.events <= 0 or np.isnan(status.budget.left_share)
    return {
        "slo": status.slo,
        "status": status,
        "sentence": budget_sentence(status),
        "state": slo_state(status),
        "state_label": slo_state_words(status),
        "left_share": None if unknown else status.budget.left_share,
    }


def burn_rows(status: SloStatus) -> list[dict[str, Any]]:
    """One row per tier ``{severity, windows, limit, long, short, bad, total, state, state_label, why}``."""
    table = status.table
    unit = objective_of(status.slo).unit
    rows = []
    for i, tier in enumerate(table.tiers):
        firing, held = bool(table.firing[i, 0]), bool(table.held_back[i, 0])
        counted = table.total[i, 0]
        rows.append(
            {
                "severity": _("Call somebody now") if tier.severity == "page" else _("Ticket for the working day"),
                "windows": f"{duration(tier.long)} / {duration(tier.short)}",
                "limit": tier.burn,
                "long": _finite(table.long_burn[i, 0]),
                "short": _finite(table.short_burn[i, 0]),
                "bad": duration(table.bad[i, 0]) if unit is Unit.TIME else f"{table.bad[i, 0]:.0f}",
                "total": duration(counted) if unit is Unit.TIME else f"{counted:.0f}",
                "state": "breach" if firing else "watch" if held else "ok" if counted > 0 else "not_measured",
                "state_label": _("Firing")
                if firing
                else _("Held back: too few")
                if held
                else _("Quiet")
                if counted > 0
                else _("Nothing counted"),
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def status_and_figure(slo: Slo) -> tuple[SloStatus, dict[str, Any]]:
    """The status and the burn-down chart, from one reading of the ledger."""
    now = wall_now()
    ledger, pending, overdue = ledger_of(slo, now)
    return status_from(slo, ledger, pending, overdue, now), burn_figure(slo, ledger, now)


def burn_figure(slo: Slo, ledger: Ledger, now: datetime) -> dict[str, Any]:
    """Budget left over the window of wall time, in per cent."""
    end = now.timestamp()
    moments = np.linspace(end - slo.window_days * 86_400.0, end, BURN_POINTS)
    left = budget_left(objective_of(slo), ledger, moments)
    if not np.isfinite(left).any():
        return {"data": [], "reason": _("Nothing has been counted yet.")}
    x = iso(np.round(moments * 1000).astype(np.int64))
    shown = [None if np.isnan(value) else round(100 * value, 3) for value in left.tolist()]
    # A single measured moment is no line.
    mode = "lines" if np.isfinite(left).sum() > 2 else "lines+markers"
    traces = [
        plots.line(x, shown, _("Budget left"), role="measured", mode=mode),
        plots.line([x[0], x[-1]], [0, 0], _("Spent"), role="limit", dash="dash"),
    ]
    return plots.figure(
        traces, x_title=_("Wall time (UTC)"), y_title=_("Budget left (%)"), x_type="date", yaxis={"ticksuffix": " %"}
    )


def guard_sentence(slo: Slo) -> str:
    """Why a single bad answer calls nobody."""
    if objective_of(slo).unit is Unit.TIME:
        return _("Time is counted second by second, so no least number of events is needed.")
    return ngettext(
        "An alarm needs at least %(events)s answer in its long window, and two bad ones: "
        "one late repair in a quiet hour is bad luck, two are a pattern.",
        "An alarm needs at least %(events)s answers in its long window, and two bad ones among them: "
        "one late repair in a quiet hour is bad luck, two are a pattern.",
        slo.minimum_events,
    ) % {"events": slo.minimum_events}
