"""What governance shows on the pages of adoptions, use cases and devices."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from governance.choices import CheckState, IncidentState
from governance.models import Batch, CheckResult, Incident, Slo
from governance.selectors import models as model_reads
from governance.selectors import setup as setup_reads
from governance.selectors import slos as slo_reads
from governance.selectors import trust
from portal.core.access import may
from portal.core.panels import Panel, register


def adoption_panel(user: Any, obj: Any) -> dict[str, Any] | None:
    """Pipelines with freshness, SLOs in words, open incidents of one adoption."""
    pipelines = list(trust.pipelines_for(user).filter(adoption=obj))
    slos = list(Slo.objects.permitted(user).filter(adoption=obj).select_related("adoption"))
    if not pipelines and not slos:
        return None
    return {
        "pipelines": [{"pipeline": p, "freshness": trust.freshness(p)} for p in pipelines],
        "slos": slo_reads.slo_cards(slos),
        "incidents": list(
            Incident.objects.permitted(user)
            .filter(adoption=obj)
            .exclude(state=IncidentState.RESOLVED)
            .order_by("-opened_at")
        ),
    }


def use_case_panel(user: Any, obj: Any) -> dict[str, Any] | None:
    """Models of a use case with the live version and how good it is; without one, the steps to the first."""
    models = list(model_reads.models_for(user).filter(use_case=obj))
    if not models:
        return {"steps": setup_reads.first_steps(user, obj)}
    create = f"{reverse('governance:model-create')}?use_case={obj.pk}" if may(obj, user, "change") else ""
    rows = [{"model": m, "quality": model_reads.quality(m.live_metrics, m.unit)} for m in models]
    return {"models": rows, "create_url": create}


def device_panel(user: Any, obj: Any) -> dict[str, Any] | None:
    """The newest batches that came through a gateway, and whether their checks passed."""
    failed = CheckResult.objects.filter(batch=OuterRef("pk"), state=CheckState.FAILED)
    checked = CheckResult.objects.filter(batch=OuterRef("pk"))
    batches = list(
        Batch.objects.permitted(user)
        .filter(gateway=obj)
        .select_related("stage", "pipeline")
        .defer("pipeline__policy_state")
        .annotate(failed=Subquery(failed.values("pk")[:1]), checked=Subquery(checked.values("pk")[:1]))
        .order_by("-received_at", "-plant_to", "id")[:8]
    )
    return {"batches": batches} if batches else None


def register_all() -> None:
    register(Panel("usecases.Adoption", "trust", "Trust", "governance/_panel_adoption.html", adoption_panel, 30))
    register(Panel("usecases.UseCase", "models", "Models", "governance/_panel_use_case.html", use_case_panel, 40))
    register(Panel("devices.Device", "batches", "Newest batches", "governance/_panel_device.html", device_panel, 50))
