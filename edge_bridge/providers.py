"""Facts that edge_bridge measures for gate 2: does the version fit the machines, and does it run on them, signed."""

from __future__ import annotations

from django.urls import reverse

from edge_bridge.choices import InstallationState
from edge_bridge.models import Installation
from edge_bridge.rollouts import decide
from edge_bridge.selectors import gateways_for, live_version
from governance.models import Model, ModelVersion, Pipeline
from usecases.choices import Comparator
from usecases.evidence import CriterionSpec, Measurement, Subject, register
from usecases.models import Adoption


def _models(adoption: Adoption) -> list[Model]:
    pipelines = Pipeline.objects.filter(adoption=adoption).select_related("model")
    return list({p.model_id: p.model for p in pipelines}.values())


def _version(adoption: Adoption, model: Model) -> ModelVersion | None:
    """The version in force there, else the newest signed one."""
    found = live_version(adoption, model)
    if found is None:
        found = model.versions.exclude(signature="").exclude(state__in=["refused", "withdrawn"]).first()
    return found


def inside_budget(subject: Subject) -> Measurement:
    """Share of (version, gateway) pairs in which the version fits the gateway's memory and latency budget."""
    adoption = subject.adoption
    if adoption is None:
        return Measurement.missing("A budget belongs to the devices of an adoption.")
    pairs, wrong, unknown = 0, [], []
    for model in _models(adoption):
        version = _version(adoption, model)
        gateways = gateways_for(adoption, model)
        if version is None or not gateways:
            unknown.append(f"{model}: {'no signed version' if version is None else 'no gateway reads it'}")
            continue
        for device, verdict in zip(gateways, decide(gateways, version), strict=True):
            if verdict["memory_budget_kb"] is None or verdict["latency_budget_us"] is None:
                unknown.append(f"{device.device_type}: no budget declared")
                continue
            pairs += 1
            over = [r for r in verdict["reasons"] if "stopped" not in r]
            if over:
                wrong.append(f"{version} on {device}: {', '.join(over)}")
    if unknown or not pairs:
        return Measurement.missing(
            "; ".join(dict.fromkeys(unknown))[:300] or "No pipeline is set up for this adoption."
        )
    share = 1 - len(wrong) / pairs
    text = "; ".join(wrong) or f"{pairs} of {pairs} installations fit memory and latency"
    return Measurement.of(share, text[:300], measured_at=subject.now, link=adoption.get_absolute_url(), over=wrong)


def installed(subject: Subject) -> Measurement:
    """Share of the adoption's (model, gateway) pairs on which a signed version is active."""
    adoption = subject.adoption
    if adoption is None:
        return Measurement.missing("Installations belong to an adoption.")
    wanted = [(model, device) for model in _models(adoption) for device in gateways_for(adoption, model)]
    if not wanted:
        return Measurement.missing("No gateway reads a source of this adoption's pipelines.")
    rows = (
        Installation.objects.filter(adoption=adoption, state=InstallationState.ACTIVE, shadow=False)
        .exclude(version_of_model__signature="")
        .values_list("version_of_model__model_id", "device_id", "active_at")
    )
    active = {(model, device): at for model, device, at in rows}
    good = [pair for pair in wanted if (pair[0].pk, pair[1].pk) in active]
    missing = [f"{model} on {device}" for model, device in wanted if (model.pk, device.pk) not in active]
    text = f"Not yet: {', '.join(missing)}" if missing else f"Signed and active on all {len(wanted)}"
    return Measurement.of(
        len(good) / len(wanted), text[:300], measured_at=subject.now, link=reverse("edge_bridge:installations")
    )


def register_all() -> None:
    whole = {"unit": "share", "comparator": Comparator.AT_LEAST, "threshold": 1.0}
    register(
        CriterionSpec(
            "architect.budget",
            2,
            "Inside the device's budget",
            "Does the version fit memory and latency of every gateway?",
            provider=inside_budget,
            owner="Edge Integration Architect",
            order=70,
            **whole,  # type: ignore[arg-type]
        ),
        CriterionSpec(
            "architect.installed",
            2,
            "Signed and installed",
            "Does a signed version run on every gateway of the adoption?",
            provider=installed,
            owner="Edge Integration Architect",
            order=80,
            **whole,  # type: ignore[arg-type]
        ),
    )
