"""Alerts and incidents: opened by a rule, each step written down with both clocks, resolved when the measure is back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from governance import signals
from governance.choices import AlertKind, AlertState, IncidentState
from governance.models import Alert, DriftReport, Incident, IncidentStep, Pipeline
from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state
from usecases.services.gates import gates_remeasure


def step_add(
    incident: Incident, key: str, text: str, *, plant_at: datetime | None = None, link: str = "", **detail: Any
) -> IncidentStep:
    return IncidentStep.objects.create(
        incident=incident, key=key, text=text[:300], wall_at=wall_now(), plant_at=plant_at, link=link, detail=detail
    )


_TITLES = {
    AlertKind.CONCEPT: "{model}: error above its limit",
    AlertKind.RESIDUAL: "{model}: error is rising",
    AlertKind.ANOMALY: "{model}: the machine behaves unlike its healthy self",
    AlertKind.CHECK: "{model}: checks fail",
}


@transaction.atomic
def alert_open(
    *,
    pipeline: Pipeline,
    kind: str,
    value: float,
    limit: float,
    plant_at: datetime,
    began_plant_at: datetime | None = None,
    report: DriftReport | None = None,
    cause: str = "",
    fast_forwarded: bool = False,
) -> Alert | None:
    """Open an alert, and an incident unless one is under way. None when this kind of alert is open already."""
    now = wall_now()
    try:
        with transaction.atomic():
            alert = Alert.objects.create(
                pipeline=pipeline,
                kind=kind,
                value=value,
                limit=limit,
                report=report,
                opened_at=now,
                opened_plant_at=plant_at,
            )
    except IntegrityError:
        return None
    incident = (
        Incident.objects.filter(pipeline=pipeline).exclude(state=IncidentState.RESOLVED).order_by("-opened_at").first()
    )
    if incident is None:
        incident = Incident.objects.create(
            adoption=pipeline.adoption,
            pipeline=pipeline,
            title=_TITLES[AlertKind(kind)].format(model=pipeline.model),
            cause=cause,
            began_plant_at=began_plant_at or plant_at,
            detected_plant_at=plant_at,
            opened_at=now,
            fast_forwarded=fast_forwarded,
        )
        step_add(
            incident,
            "began",
            "The error began to rise" if kind in {AlertKind.CONCEPT, AlertKind.RESIDUAL} else "First signs",
            plant_at=incident.began_plant_at,
        )
        step_add(
            incident,
            "detected",
            f"{alert.get_kind_display()}: {value:.3g} against a limit of {limit:.3g}",
            plant_at=plant_at,
            link=report.get_absolute_url() if report else "",
            value=value,
            limit=limit,
            kind=kind,
        )
        audit.record(actor=None, action="incident.open", obj=incident, changes={"cause": cause, "alert": kind})
        signals.incident_opened.send(Incident, incident=incident)
        if not fast_forwarded:
            notify(
                user_ids=people_who_may(pipeline.adoption.site, "operate"),
                kind="incident",
                text=incident.title,
                url=incident.get_absolute_url(),
                dedupe_key=f"incident:{incident.pk}",
            )
    alert.incident = incident
    alert.save(update_fields=["incident"])
    step_add(
        incident,
        "alerted",
        f"Alert: {alert.get_kind_display().lower()}",
        plant_at=plant_at,
        link=incident.get_absolute_url(),
        kind=kind,
    )
    audit.record(actor=None, action="alert.open", obj=alert, changes={"kind": kind, "value": value, "limit": limit})
    if not fast_forwarded:
        gates_remeasure(adoption=pipeline.adoption_id)
    return alert


@transaction.atomic
def alert_renew(
    *,
    pipeline: Pipeline,
    kind: str,
    value: float,
    limit: float,
    plant_at: datetime,
    cause: str = "",
    fast_forwarded: bool = False,
) -> None:
    """The version that was to repair it left its limit as well: the open incident goes on, with a line that says so."""
    incident = (
        Incident.objects.filter(pipeline=pipeline).exclude(state=IncidentState.RESOLVED).order_by("-opened_at").first()
    )
    if incident is None:
        alert_open(
            pipeline=pipeline,
            kind=kind,
            value=value,
            limit=limit,
            plant_at=plant_at,
            cause=cause,
            fast_forwarded=fast_forwarded,
        )
        return
    step_add(
        incident,
        "renewed",
        f"The version in force left its limit too: {value:.3g} against {limit:.3g}",
        plant_at=plant_at,
        value=value,
        limit=limit,
        kind=kind,
    )
    audit.record(
        actor=None, action="incident.renew", obj=incident, changes={"kind": kind, "value": value, "cause": cause}
    )
    if not fast_forwarded:
        notify(
            user_ids=people_who_may(pipeline.adoption.site, "operate"),
            kind="incident",
            text=f"{incident.title}: the repair did not hold",
            url=incident.get_absolute_url(),
            dedupe_key=f"incident:{incident.pk}:{plant_at:%Y%m%d%H}",
        )
        gates_remeasure(adoption=pipeline.adoption_id)


@transaction.atomic
def alert_close(*, pipeline: Pipeline, kinds: tuple[str, ...], plant_at: datetime, text: str = "") -> None:
    """Close the open alerts of these kinds; the last one closed resolves the incident."""
    now = wall_now()
    incidents = set()
    for alert in Alert.objects.filter(pipeline=pipeline, kind__in=kinds, state=AlertState.OPEN).select_related(
        "incident"
    ):
        change_state(alert, old=AlertState.OPEN, new=AlertState.CLOSED, closed_at=now, closed_plant_at=plant_at)
        audit.record(actor=None, action="alert.close", obj=alert)
        if alert.incident is not None:
            incidents.add(alert.incident)
    for incident in incidents:
        if not incident.alerts.filter(state=AlertState.OPEN).exists():
            incident_resolve(actor=None, incident=incident, plant_at=plant_at, text=text or "Back within its limit")


@transaction.atomic
def incident_resolve(*, actor: Any, incident: Incident, plant_at: datetime | None, text: str) -> None:
    change_state(
        incident,
        old=(IncidentState.OPEN, IncidentState.MITIGATING),
        new=IncidentState.RESOLVED,
        resolved_at=wall_now(),
        resolved_plant_at=plant_at,
    )
    step_add(incident, "recovered", text, plant_at=plant_at)
    audit.record(actor=actor, action="incident.resolve", obj=incident, changes={"text": text})
    signals.incident_resolved.send(Incident, incident=incident)
    if not incident.fast_forwarded:
        gates_remeasure(adoption=incident.adoption_id)


@transaction.atomic
def incident_acknowledge(*, actor: Any, incident: Incident) -> None:
    """Say "I have it": recorded once, with who and when."""
    now = wall_now()
    changed = (
        Incident.objects.filter(pk=incident.pk, acknowledged_at=None)
        .exclude(state=IncidentState.RESOLVED)
        .update(acknowledged_at=now, acknowledged_by=actor, version=F("version") + 1)
    )
    if changed != 1:
        raise DomainError("acknowledged", "Somebody has this already, or it is over.")
    incident.refresh_from_db()
    step_add(incident, "acknowledged", f"{actor} took it")
    audit.record(actor=actor, action="incident.acknowledge", obj=incident)


def incident_mitigating(incident: Incident | None) -> None:
    if incident is not None:
        Incident.objects.filter(pk=incident.pk, state=IncidentState.OPEN).update(
            state=IncidentState.MITIGATING, version=F("version") + 1, updated_at=wall_now()
        )
