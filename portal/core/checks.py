"""System checks: each has an id and a hint. ``manage.py check --deploy`` runs the strict ones."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, Warning, register


@register(Tags.security, deploy=True)
def production_settings(app_configs: Any, **_: Any) -> list[Any]:
    found: list[Any] = []
    if settings.DEMO:
        found.append(
            Error(
                "The demo mode is on.", hint="Unset PHASEGATE_DEMO: it lets anybody switch roles.", id="phasegate.E001"
            )
        )
    if not settings.HTTPS:
        found.append(
            Warning("Cookies are sent over plain HTTP.", hint="Set PHASEGATE_HTTPS=1 behind TLS.", id="phasegate.W002")
        )
    if str(settings.DATABASES["default"]["ENGINE"]).endswith("sqlite3"):
        found.append(
            Warning(
                "SQLite serves one machine only.",
                hint="Set DATABASE_URL=postgresql://… to scale out.",
                id="phasegate.W003",
            )
        )
    if not settings.REDIS_URL:
        found.append(
            Error("No broker.", hint="Set REDIS_URL; without it background work does not run.", id="phasegate.E004")
        )
    return found


@register()
def home_is_writable(app_configs: Any, **_: Any) -> list[Any]:
    home = Path(settings.HOME_DIR)
    probe = home if home.exists() else home.parent
    import os

    if not os.access(probe, os.W_OK):
        return [
            Error(
                f"{home} cannot be written.", hint="Set PHASEGATE_HOME to a folder this user owns.", id="phasegate.E005"
            )
        ]
    return []


@register(Tags.staticfiles)
def vendored_assets(app_configs: Any, **_: Any) -> list[Any]:
    if settings.TESTING or (settings.BASE_DIR / "static" / "vendor").exists() or Path(settings.STATIC_ROOT).exists():
        return []
    return [Warning("The browser libraries are not installed.", hint="Run `make assets`.", id="phasegate.W006")]
