"""Health for operators: ``/healthz`` the process is alive, ``/readyz`` each thing it needs, named."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from portal.core.clock import wall_now
from portal.core.models import Job


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok", "version": settings.APP_VERSION})


def readyz(request: HttpRequest) -> JsonResponse:
    results = {"database": _database(), "broker": _broker(), "storage": _storage()}
    if results["database"]["ok"]:
        results["workers"] = _workers()
    ready = all(row["ok"] for name, row in results.items() if name != "workers")
    return JsonResponse({"status": "ready" if ready else "not ready", "checks": results}, status=200 if ready else 503)


def _database() -> dict[str, Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return {"ok": False, "detail": type(error).__name__}
    return {"ok": True, "detail": connection.vendor}


def _broker() -> dict[str, Any]:
    if not settings.REDIS_URL:
        return {"ok": settings.TESTING, "detail": "REDIS_URL is not set"}
    import redis

    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2).ping()
    except redis.RedisError as error:
        return {"ok": False, "detail": type(error).__name__}
    return {"ok": True, "detail": "answers"}


def _storage() -> dict[str, Any]:
    try:
        stat = os.statvfs(settings.HOME_DIR)
    except OSError as error:
        return {"ok": False, "detail": error.strerror}
    free = stat.f_bavail * stat.f_frsize // 2**20
    return {"ok": free > 100, "detail": f"{free} MiB free"}


def _workers() -> dict[str, Any]:
    waiting = Job.objects.filter(state="queued", created_at__lt=wall_now() - timedelta(minutes=2)).count()
    return {"ok": waiting == 0, "detail": f"{waiting} jobs wait longer than two minutes"}
