"""Facts that governance measures for the gates: model (gate 2) and trust (gate 3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.urls import reverse

from governance.choices import (
    AlertState,
    CheckState,
    IncidentState,
    Quantisation,
    RetrainingState,
    RetrainingTrigger,
    SloKind,
    StageKind,
    VersionState,
)
from governance.models import Alert, Batch, Check, CheckResult, Incident, ModelVersion, Pipeline, Retraining, Slo
from governance.services.slos import slo_status
from portal.core.clock import day_text
from usecases.choices import Comparator
from usecases.evidence import CriterionSpec, Measurement, Subject, register


def _pipelines(subject: Subject) -> list[Pipeline]:
    return list(Pipeline.objects.filter(adoption=subject.adoption).select_related("model")) if subject.adoption else []


def _link(pipelines: list[Pipeline]) -> str:
    return pipelines[0].get_absolute_url() if pipelines else ""


def model_versioned(subject: Subject) -> Measurement:
    """Share of the use case's models that have a signed version in the registry."""
    models = list(subject.use_case.models.all())
    if not models:
        return Measurement.missing("No model is registered for this use case.")
    signed = ModelVersion.objects.filter(model__in=models).exclude(signature="").exclude(registry_version="")
    share = signed.values("model").distinct().count() / len(models)
    newest = signed.order_by("-signed_at").first()
    return Measurement.of(
        share,
        f"Models with a signed version: {round(share * len(models))} of {len(models)}",
        measured_at=subject.now,
        link=models[0].get_absolute_url(),
        newest=str(newest) if newest else "",
    )


def model_quantised(subject: Subject) -> Measurement:
    """Share of the live versions that are INT8 or for which quantisation does not apply; it applies to none: the reason."""
    live = list(
        ModelVersion.objects.filter(model__use_case=subject.use_case, state=VersionState.LIVE).select_related("model")
    )
    if not live:
        return Measurement.missing("No version is live yet.")
    good = [v for v in live if v.quantisation in {Quantisation.INT8, Quantisation.NOT_APPLICABLE}]
    link = live[0].get_absolute_url()
    if all(v.quantisation == Quantisation.NOT_APPLICABLE for v in live):
        why = "; ".join(f"{v.model.name}: {_why_not_quantised(v)}" for v in live)
        return Measurement.not_applicable(why[:300])
    words = "; ".join(f"{v.model.name}: {v.get_quantisation_display()}" for v in live)
    return Measurement.of(len(good) / len(live), words[:300], measured_at=subject.now, link=link)


def _why_not_quantised(version: ModelVersion) -> str:
    return str((version.quantisation_report or {}).get("reason") or version.get_quantisation_display())


def lineage_complete(subject: Subject) -> Measurement:
    """Share of the newest prediction batches that can be followed back to a batch of channels."""
    pipelines = _pipelines(subject)
    if not pipelines:
        return Measurement.missing("No pipeline is set up for this adoption.")
    newest = list(
        Batch.objects.filter(pipeline__in=pipelines, stage__kind=StageKind.PREDICTION).order_by("-plant_to")[:50]
    )
    if not newest:
        return Measurement.missing("No prediction has been recorded yet.", _link(pipelines))
    complete = (
        Batch.objects.filter(pk__in=[b.pk for b in newest], inputs__inputs__inputs__stage__kind=StageKind.SOURCE)
        .distinct()
        .count()
    )
    return Measurement.of(
        complete / len(newest),
        f"{complete} of the newest {len(newest)} prediction batches lead back to their channels",
        measured_at=max(b.received_at for b in newest),
        plant_at=newest[0].plant_to,
        link=newest[0].get_absolute_url(),
    )


def checks_green(subject: Subject) -> Measurement:
    """Share of checks whose newest result passed; every stage must have a check."""
    pipelines = _pipelines(subject)
    checks = list(Check.objects.filter(stage__pipeline__in=pipelines, enabled=True).select_related("stage"))
    if not checks:
        return Measurement.missing("No stage has a check.", _link(pipelines))
    green, newest_at, worst = 0, None, ""
    link = _link(pipelines)
    for check in checks:
        result = (
            CheckResult.objects.filter(stage_check=check)
            .select_related("batch")
            .order_by("-plant_at", "-created_at")
            .first()
        )
        if result is None:
            worst = worst or f"{check} has no result yet"
            continue
        newest_at = max(newest_at, result.created_at) if newest_at else result.created_at
        if result.state == CheckState.FAILED:
            worst, link = f"{check}: {result.text}", result.batch.get_absolute_url()
        else:
            green += 1
    if newest_at is None:
        return Measurement.missing("No check has run yet.", link)
    return Measurement.of(
        green / len(checks),
        worst or f"All {len(checks)} checks pass",
        measured_at=newest_at,
        link=link,
        green=green,
        checks=len(checks),
    )


def drift_handled(subject: Subject) -> Measurement:
    """Open drift alerts whose newest retraining is not live on the machines (or that have none). Zero is the aim."""
    pipelines = _pipelines(subject)
    if not pipelines:
        return Measurement.missing("No pipeline is set up for this adoption.")
    alerts = list(
        Alert.objects.filter(pipeline__in=pipelines, state=AlertState.OPEN)
        .select_related("incident", "pipeline")
        .order_by("opened_at")
    )
    newest: dict[Any, str] = dict(
        Retraining.objects.filter(incident__in=[a.incident_id for a in alerts])
        .order_by("created_at")
        .values_list("incident_id", "state")
    )
    unhandled = [a for a in alerts if newest.get(a.incident_id) != RetrainingState.LIVE]
    first = unhandled[0] if unhandled else None
    text = (
        f"{first} since {day_text(first.opened_plant_at)} (plant time)"
        if first
        else "No drift alert waits for a repair"
    )
    link = first.incident.get_absolute_url() if first and first.incident else reverse("governance:drift")
    return Measurement.of(
        len(unhandled),
        text,
        measured_at=subject.now,
        plant_at=first.opened_plant_at if first else None,
        link=link,
    )


def slos_owned(subject: Subject) -> Measurement:
    """Share of SLOs with an OT engineer and a data scientist as owners."""
    slos = list(Slo.objects.filter(adoption=subject.adoption))
    if not slos:
        return Measurement.missing("No SLO is set for this adoption.")
    owned = [s for s in slos if s.ot_owner_id and s.ds_owner_id and s.ot_owner_id != s.ds_owner_id]
    return Measurement.of(
        len(owned) / len(slos),
        f"{len(owned)} of {len(slos)} SLOs have an OT engineer and a data scientist as owners",
        measured_at=subject.now,
        link=slos[0].get_absolute_url(),
    )


def budget_left(subject: Subject) -> Measurement:
    """Least share of an error budget that is left."""
    slo = Slo.objects.filter(adoption=subject.adoption, kind=SloKind.UPTIME).select_related("adoption").first()
    if slo is None:
        return Measurement.missing("No uptime SLO is set.")
    status = slo_status(slo, subject.now)
    if status.events <= 0:
        return Measurement.missing("No minute of uptime has been measured yet.", slo.get_absolute_url())
    left = status.budget.left_share
    minutes = status.budget.left_minutes
    return Measurement.of(
        left,
        f"{minutes:.0f} of {status.budget.allowed / 60:.0f} allowed minutes are left",
        measured_at=status.measured_at,
        link=slo.get_absolute_url(),
    )


def alert_to_retrain(subject: Subject) -> Measurement:
    """Seconds (wall time) from the newest answered drift alert, or rehearsal by hand, to its version live; not fast-forwarded history."""
    incident = (
        Incident.objects.filter(adoption=subject.adoption, live_at__isnull=False, fast_forwarded=False)
        .order_by("-opened_at")
        .first()
    )
    rehearsal = (
        Retraining.objects.filter(
            pipeline__adoption=subject.adoption, trigger=RetrainingTrigger.REHEARSAL, state=RetrainingState.LIVE
        )
        .order_by("-finished_at")
        .first()
    )
    answered = incident.live_at if incident is not None else None
    if rehearsal is not None and rehearsal.finished_at and (answered is None or rehearsal.finished_at > answered):
        seconds = (rehearsal.finished_at - rehearsal.created_at).total_seconds()
        return Measurement.of(
            seconds,
            f"{seconds / 60:.1f} minutes from asking for a rehearsal to the new version live",
            measured_at=rehearsal.finished_at,
            link=rehearsal.get_absolute_url(),
        )
    if incident is None or incident.live_at is None:
        open_one = (
            Incident.objects.filter(adoption=subject.adoption, fast_forwarded=False)
            .exclude(state=IncidentState.RESOLVED)
            .first()
        )
        return Measurement.missing(
            "A repair is under way." if open_one else "No alert has been answered live yet: rehearse one.",
            open_one.get_absolute_url() if open_one else "",
        )
    seconds = (incident.live_at - incident.opened_at).total_seconds()
    return Measurement.of(
        seconds,
        f"{seconds / 60:.1f} minutes from alert to the new version live",
        measured_at=incident.live_at,
        link=incident.get_absolute_url(),
    )


def register_all() -> None:
    register(
        CriterionSpec(
            "model.versioned",
            2,
            "Models versioned and signed",
            "Is every model's version in the registry, signed?",
            "share",
            Comparator.AT_LEAST,
            1.0,
            model_versioned,
            "Data scientist",
            safety=True,
            order=50,
        ),
        CriterionSpec(
            "model.quantised",
            2,
            "Quantised where the type allows",
            "Are live versions quantised, or is it shown why not?",
            "share",
            Comparator.AT_LEAST,
            1.0,
            model_quantised,
            "Data scientist",
            order=60,
        ),
        CriterionSpec(
            "trust.lineage",
            3,
            "Lineage complete",
            "Does every prediction lead back to its channels?",
            "share",
            Comparator.AT_LEAST,
            1.0,
            lineage_complete,
            "Industrial Data Steward",
            max_age=timedelta(days=7),
            order=10,
        ),
        CriterionSpec(
            "trust.checks",
            3,
            "Checks at every stage, green",
            "Did every check pass on the newest batch?",
            "share",
            Comparator.AT_LEAST,
            1.0,
            checks_green,
            "Industrial Data Steward",
            max_age=timedelta(days=7),
            order=20,
        ),
        CriterionSpec(
            "trust.drift",
            3,
            "No unhandled drift",
            "How many drift alerts wait for a repair?",
            "alerts",
            Comparator.AT_MOST,
            0,
            drift_handled,
            "Data scientist",
            safety=True,
            order=30,
        ),
        CriterionSpec(
            "trust.slo_owners",
            3,
            "SLOs with two owners",
            "Does each SLO have an OT engineer and a data scientist?",
            "share",
            Comparator.AT_LEAST,
            1.0,
            slos_owned,
            "OT engineer",
            order=40,
        ),
        CriterionSpec(
            "trust.budget",
            3,
            "Error budget left",
            "How much of the uptime budget is left?",
            "share",
            Comparator.AT_LEAST,
            0.0,
            budget_left,
            "OT engineer",
            max_age=timedelta(days=1),
            order=50,
        ),
        CriterionSpec(
            "trust.alert_to_retrain",
            3,
            "Alert to retrain under two hours",
            "How long did the newest repair take?",
            "s",
            Comparator.AT_MOST,
            7200,
            alert_to_retrain,
            "Data scientist",
            max_age=timedelta(days=180),
            order=60,
        ),
    )
