"""What the shell around every page needs."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from portal.core import navigation
from portal.core.clock import wall_now
from portal.core.roles import ROLES


def shell(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    base: dict[str, Any] = {
        "app_version": settings.APP_VERSION,
        "wall_now": wall_now(),
        "demo": settings.DEMO,
        "sends_mail": bool(settings.EMAIL_HOST),
    }
    if settings.DEMO:
        base |= {"demo_roles": _demo_roles(user), "demo_switch_url": reverse("core:demo-switch")}
    if user is None or not user.is_authenticated or getattr(request, "htmx", False):
        return base
    chosen = request.session.get("site_id")
    sites = [site | {"active": site["id"] == chosen} for site in navigation.sites_of(user)]
    return base | {
        "nav": navigation.menu(request),
        "sites": sites,
        "site_switch_url": reverse("core:site-switch"),
        "search_url": reverse("core:search"),
        "inbox_url": reverse("core:inbox"),
        "inbox_count": user.standing.unread,
        "replay_banner": navigation.banner_of(user, chosen),
    }


def _demo_roles(user: Any) -> list[dict[str, Any]]:
    mine = getattr(user, "email", "").split("@")[0].replace("-", "_")
    return [{"key": role.key, "label": role.label, "current": role.key == mine} for role in ROLES.values()]
