"""Makers of the records that the CoE's tests start from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from portal.core.clock import wall_now


def role(key: str = "safety_officer") -> Any:
    from coe.models import CoeRole

    return CoeRole.objects.get(key=key)


def appoint(user: Any, key: str = "safety_officer", site: Any = None, **extra: Any) -> Any:
    from coe.models import Appointment

    extra.setdefault("valid_from", wall_now() - timedelta(days=30))
    return Appointment.objects.create(user=user, role=role(key), site=site, **extra)


def certify(user: Any, key: str = "safety_officer", *, days: float = 100, **extra: Any) -> Any:
    """A certificate that ends in ``days`` (negative: it has expired)."""
    from coe.models import Certificate, Track

    now = wall_now()
    held = role(key)
    extra.setdefault("issued_at", now - timedelta(days=200))
    return Certificate.objects.create(
        user=user,
        role=held,
        track=Track.objects.filter(role=held).first(),
        valid_until=now + timedelta(days=days),
        **extra,
    )


def right_answers(track: Any, wrong: int = 0) -> dict[str, int]:
    """Answers to all questions, the first ``wrong`` of them wrong."""
    answers = {}
    for at, question in enumerate(track.questions.all()):
        answers[str(question.pk)] = (question.right + 1) % len(question.choices) if at < wrong else question.right
    return answers


def replay(site: Any, now: Any) -> Any:
    """Plant time of a replayed site stands at ``now``."""
    from devices.models import PlantClock

    site.kind = "replay"
    site.save(update_fields=["kind"])
    return PlantClock.objects.create(site=site, state="running", plant_now=now, wall_at=wall_now())


def pipeline(site: Any, use_case: Any, **extra: Any) -> Any:
    from governance.models import Pipeline, Stage
    from tests.factories import make_adoption, make_model

    adoption = extra.pop("adoption", None) or make_adoption(use_case, site)
    made = Pipeline.objects.create(adoption=adoption, model=make_model(use_case), name="NOx", stream="turbine")
    for position, kind in enumerate(("source", "features"), 1):
        Stage.objects.create(pipeline=made, position=position, kind=kind, name=kind.title())
    return made


def batch(line: Any, plant_from: Any, *, hours: int = 24, **extra: Any) -> Any:
    from governance.models import Batch

    stage = line.stages.get(kind="source")
    return Batch.objects.create(
        pipeline=line,
        stage=stage,
        sequence=extra.pop("sequence", Batch.objects.count() + 1),
        rows=hours,
        plant_from=plant_from,
        plant_to=plant_from + timedelta(hours=hours - 1),
        received_at=extra.pop("received_at", wall_now()),
        sha256="0" * 64,
        **extra,
    )


def incident(line: Any, began: Any, *, detected_after: Any, recovered_after: Any = None, **extra: Any) -> Any:
    """``detected_after`` from the first signs and ``recovered_after`` from the detection, both in plant time."""
    from governance.models import Incident

    detected = began + detected_after
    now = wall_now()
    repaired = recovered_after is not None
    return Incident.objects.create(
        adoption=line.adoption,
        pipeline=line,
        title=extra.pop("title", "NOx: error above its limit"),
        cause=extra.pop("cause", "AFDP moved"),
        state="resolved" if repaired else "open",
        began_plant_at=began,
        detected_plant_at=detected,
        opened_at=now - timedelta(minutes=50),
        live_at=now - timedelta(minutes=20) if repaired else None,
        resolved_at=now if repaired else None,
        resolved_plant_at=detected + recovered_after if repaired else None,
        **extra,
    )


def weekly(outcome: Any, site: Any, first: Any, values: list[float], exposure: float = 120.0) -> None:
    """KPI readings of consecutive weeks from ``first`` on."""
    from usecases.models import KpiReading

    KpiReading.objects.bulk_create(
        KpiReading(
            outcome=outcome,
            site=site,
            period_from=first + timedelta(weeks=week),
            period_to=first + timedelta(weeks=week + 1),
            value=value,
            exposure=exposure,
            source="computed",
        )
        for week, value in enumerate(values)
    )


def install(line: Any, site: Any, version: Any = None) -> Any:
    """A version of the pipeline's model at work on a gateway of the site."""
    from edge_bridge.models import Installation
    from tests.factories import make_device, make_version

    return Installation.objects.create(
        device=make_device(site, "gateway"),
        adoption=line.adoption,
        version_of_model=version or make_version(line.model, number=9),
        state="active",
        wanted_at=wall_now(),
        active_at=wall_now(),
    )
