"""Interfaces like views: they take ids, fetch, call a service."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from edge_bridge import connections, desired, pacing, progress, rollouts
from governance.models import ModelVersion


@shared_task(name="edge_bridge.rollouts_advance", time_limit=120, expires=60)
def rollouts_advance() -> dict[str, str]:
    pacing.follow()
    return progress.rollouts_advance()


@shared_task(name="edge_bridge.refresh_desired", time_limit=120, expires=60)
def refresh_desired() -> int:
    return desired.refresh()


@shared_task(name="edge_bridge.check_connections", time_limit=60, expires=60)
def check_connections() -> dict[str, Any]:
    return connections.check_all()


@shared_task(name="edge_bridge.version_take_back", time_limit=120)
def version_take_back(version_id: str) -> int:
    return rollouts.version_take_back(ModelVersion.objects.select_related("model").get(pk=version_id))
