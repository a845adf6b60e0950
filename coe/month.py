"""What a site's month was like, read from its records: incidents, retrainings, checks, drift, SLO budget. Reads only."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Max, Min, Q, Sum

from coe.periods import span
from devices.models import Site
from governance.choices import CheckState, DriftKind, RetrainingState, SloKind
from governance.models import Batch, CheckResult, DriftReport, Incident, Retraining, Slo, SloEvent
from portal.core.clock import rfc3339
from portal.core.templatetags.phasegate import duration

#: Inputs named in the sentence about drift.
_NAMED = 3


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else (end - begin).total_seconds()


def incidents_of(site: Site, month: date) -> list[Incident]:
    """Incidents detected in the month, and older ones that were still open in it (plant time)."""
    begin, end = span(month, 1)
    rows = Incident.objects.filter(adoption__site=site, detected_plant_at__lt=end).filter(
        Q(detected_plant_at__gte=begin) | Q(resolved_plant_at=None) | Q(resolved_plant_at__gte=begin)
    )
    return list(rows.select_related("adoption__use_case").order_by("detected_plant_at", "pk"))


def _incident(row: Incident, begin: datetime, end: datetime) -> dict[str, Any]:
    recovered = row.resolved_plant_at if row.resolved_plant_at is not None and row.resolved_plant_at < end else None
    return {
        "id": str(row.pk),
        "title": row.title,
        "use_case": row.adoption.use_case.title,
        "cause": row.cause,
        "carried_over": row.detected_plant_at < begin,
        "resolved": recovered is not None,
        "began_plant_at": rfc3339(row.began_plant_at),
        "detected_plant_at": rfc3339(row.detected_plant_at),
        "recovered_plant_at": rfc3339(recovered) if recovered else None,
        "plant_s_to_detect": _seconds(row.began_plant_at, row.detected_plant_at),
        "plant_s_to_recover": _seconds(row.detected_plant_at, recovered),
        "wall_s_to_live": _seconds(row.opened_at, row.live_at),
        "wall_s_to_resolve": _seconds(row.opened_at, row.resolved_at) if recovered else None,
        "fast_forwarded": row.fast_forwarded,
    }


def _retrainings(site: Site, begin: datetime, end: datetime) -> dict[str, Any]:
    rows = list(
        Retraining.objects.filter(pipeline__adoption__site=site, train_to__gte=begin, train_to__lt=end).values_list(
            "state", "started_at", "finished_at", "fast_forwarded"
        )
    )
    states = Counter(state for state, *_ in rows)
    took = [seconds for _, started, ended, _ff in rows if (seconds := _seconds(started, ended)) is not None]
    return {
        "total": len(rows),
        "live": states[RetrainingState.LIVE],
        "refused": states[RetrainingState.REFUSED],
        "failed": states[RetrainingState.FAILED],
        "under_way": len(rows)
        - states[RetrainingState.LIVE]
        - states[RetrainingState.REFUSED]
        - states[RetrainingState.FAILED],
        "wall_s_longest": max(took) if took else None,
        "fast_forwarded": bool(rows) and all(ff for *_, ff in rows),
    }


def _checks(site: Site, begin: datetime, end: datetime) -> dict[str, Any]:
    rows = list(
        CheckResult.objects.filter(
            stage_check__stage__pipeline__adoption__site=site, plant_at__gte=begin, plant_at__lt=end
        )
        .exclude(state=CheckState.SKIPPED)
        .order_by()
        .values("stage_check", "stage_check__name", "stage_check__stage__name")
        .annotate(results=Count("pk"), failed=Count("pk", filter=Q(state=CheckState.FAILED)))
    )
    failing = sorted((r for r in rows if r["failed"]), key=lambda r: (-r["failed"], r["stage_check__name"]))
    return {
        "results": sum(r["results"] for r in rows),
        "failed": sum(r["failed"] for r in rows),
        "worst": [
            {
                "id": str(r["stage_check"]),
                "check": r["stage_check__name"],
                "stage": r["stage_check__stage__name"],
                "failed": r["failed"],
                "results": r["results"],
            }
            for r in failing[:5]
        ],
    }


def _drift(site: Site, begin: datetime, end: datetime) -> dict[str, Any]:
    rows = DriftReport.objects.filter(
        pipeline__adoption__site=site, plant_to__gte=begin, plant_to__lt=end, measured=True
    )
    kinds: dict[str, dict[str, int]] = {}
    named: Counter[str] = Counter()
    for kind, drifted, features in rows.order_by("plant_to", "pk").values_list("kind", "drifted", "features"):
        row = kinds.setdefault(kind, {"windows": 0, "drifted": 0})
        row["windows"] += 1
        row["drifted"] += drifted
        if drifted and kind == DriftKind.FEATURE:
            named.update(_names(features))
    return {"kinds": kinds, "features": [{"name": n, "windows": c} for n, c in named.most_common(_NAMED)]}


def _names(features: Any) -> list[str]:
    """The inputs a drift report names as drifted; its list is ordered by how much each is affected."""
    rows = features if isinstance(features, list) else []
    names = [str(r["name"]) for r in rows if r.get("name") and r.get("state", "drifted") == "drifted"]
    return names[:_NAMED]


def _slos(site: Site, begin: datetime, end: datetime, incidents: list[Incident]) -> list[dict[str, Any]]:
    """Budget used. Uptime counts the minutes of wall time in which the month's data came in; the answer time counts its incidents."""
    slos = list(Slo.objects.filter(adoption__site=site).select_related("adoption__use_case").order_by("name", "pk"))
    if not slos:
        return []
    wall = Batch.objects.filter(pipeline__adoption__site=site, plant_to__gte=begin, plant_to__lt=end).aggregate(
        first=Min("received_at"), last=Max("received_at")
    )
    found = []
    for slo in slos:
        row: dict[str, Any] = {
            "id": str(slo.pk),
            "name": slo.name,
            "kind": slo.kind,
            "target": slo.target,
            "used_share": None,
            "text": "",
        }
        if slo.kind == SloKind.ALERT_TO_RETRAIN:
            limit = slo.limit_seconds or 7200.0
            mine = [i for i in incidents if i.adoption_id == slo.adoption_id and not i.fast_forwarded]
            took = [(i.live_at - i.opened_at).total_seconds() for i in mine if i.live_at is not None]
            if took:
                within = sum(seconds <= limit for seconds in took)
                row |= {"good": within, "events": len(took), "wall_s_longest": max(took)}
                row["text"] = (
                    f"{within} of {len(took)} repairs within {duration(limit)}, the longest {duration(max(took))}"
                )
            else:
                row["text"] = "Not measured: no alert of this month was repaired live, at the pace of real time."
        else:
            events = {"good": None, "bad": None}
            if wall["first"] is not None:
                events = SloEvent.objects.filter(slo=slo, at__gte=wall["first"], at__lte=wall["last"]).aggregate(
                    good=Sum("good"), bad=Sum("bad")
                )
            total = (events["good"] or 0) + (events["bad"] or 0)
            if total:
                allowed = (1.0 - slo.target) * total
                row["used_share"] = round((events["bad"] or 0) / allowed, 4) if allowed else None
                row["text"] = f"{duration(events['bad'] or 0)} of {duration(allowed)} allowed were used"
            else:
                row["text"] = "Not measured: no minute of uptime was recorded while this month's data came in."
        found.append(row)
    return found


def month_summary(site: Site, month: date, plant_now: datetime) -> tuple[dict[str, Any], list[Incident]]:
    """The month as plain data, with the suggested sentences, and its incidents. About eight queries."""
    begin, end = span(month, 1)
    incidents = incidents_of(site, month)
    batches = Batch.objects.filter(pipeline__adoption__site=site, plant_to__gte=begin, plant_to__lt=end).aggregate(
        batches=Count("pk"), rows=Sum("rows"), refused=Sum("rows_refused")
    )
    summary: dict[str, Any] = {
        "complete": plant_now >= end,
        "data": {
            "batches": batches["batches"],
            "rows": batches["rows"] or 0,
            "rows_refused": batches["refused"] or 0,
        },
        "incidents": [_incident(row, begin, end) for row in incidents],
        "retrainings": _retrainings(site, begin, end),
        "checks": _checks(site, begin, end),
        "drift": _drift(site, begin, end),
        "slos": _slos(site, begin, end, incidents),
    }
    summary["suggested"] = {
        "went_well": "\n".join(_went_well(summary)),
        "to_improve": "\n".join(_to_improve(summary)),
    }
    return summary, incidents


def _went_well(summary: dict[str, Any]) -> list[str]:
    lines = []
    for row in summary["incidents"]:
        if not row["resolved"]:
            continue
        wall = (
            f", {duration(row['wall_s_to_live'])} (wall time) from alert to the new version live"
            if (row["wall_s_to_live"] is not None and not row["fast_forwarded"])
            else ""
        )
        lines.append(
            f"“{row['title']}” was repaired: recovered after {duration(row['plant_s_to_recover'])} of plant time{wall}."
        )
    runs = summary["retrainings"]
    if runs["live"]:
        lines.append(f"{_many(runs['live'], 'retraining', 'retrainings')} brought a better version into use.")
    if runs["refused"]:
        lines.append(
            f"{_many(runs['refused'], 'challenger was', 'challengers were')} refused for not beating the running version: "
            "the comparison did its work."
        )
    checks = summary["checks"]
    if checks["results"] and not checks["failed"]:
        lines.append(f"All {checks['results']:,} check results passed.")
    if not summary["incidents"] and summary["data"]["batches"]:
        lines.append("No incident.")
    lines += [
        f"{s['name']}: {s['text']}." for s in summary["slos"] if s["used_share"] is not None and s["used_share"] <= 1
    ]
    return lines


def _to_improve(summary: dict[str, Any]) -> list[str]:
    lines = []
    for row in summary["incidents"]:
        if not row["resolved"]:
            lines.append(f"“{row['title']}” was still open at the end of the month.")
        late = row["plant_s_to_detect"]
        if not row["carried_over"] and late is not None and late > 0:
            lines.append(
                f"“{row['title']}”: the first signs were {duration(late)} of plant time older than the detection."
            )
        if row["cause"]:
            lines.append(f"Cause given: {row['cause']}")
    drift = summary["drift"]
    concept = drift["kinds"].get("concept")
    if concept and concept["drifted"]:
        lines.append(
            f"The error was above its limit in {concept['drifted']} of {_many(concept['windows'], 'window', 'windows')}."
        )
    if drift["features"]:
        lines.append(f"Inputs that moved most: {', '.join(f['name'] for f in drift['features'])}.")
    lines += [
        f"{r['check']} ({r['stage']}) failed {r['failed']} of {r['results']} times."
        for r in summary["checks"]["worst"][:3]
    ]
    if summary["retrainings"]["failed"]:
        lines.append(f"{_many(summary['retrainings']['failed'], 'retraining', 'retrainings')} failed with an error.")
    data = summary["data"]
    if data["rows_refused"]:
        lines.append(
            f"{data['rows_refused']:,} of {data['rows'] + data['rows_refused']:,} rows were refused by checks."
        )
    if not data["batches"]:
        lines.append("No data reached the portal in this month.")
    lines += [
        f"{s['name']}: {s['text']}." for s in summary["slos"] if s["used_share"] is not None and s["used_share"] > 1
    ]
    return lines


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
