"""The line over every page while data is replayed or simulated."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from devices.choices import SiteKind
from devices.models import Site
from devices.plant_time import replay_text
from devices.selectors import reach_of

_NAMED = 3


def replay_banner(user: Any, site_id: str | None) -> str | None:
    """Of the chosen site what its replay does; without a choice which sites are not live. No query beside the site list."""
    sites = reach_of(user).sites
    if site_id:
        chosen = next((site for site in sites if str(site.pk) == str(site_id)), None)
        if chosen is None or chosen.kind == SiteKind.LIVE:
            return None
        return f"{chosen}: {replay_text(chosen)}"
    parts = [
        text % {"sites": _names([site for site in sites if site.kind == kind])}
        for kind, text in (
            (SiteKind.REPLAY, _("Replay of real data: %(sites)s")),
            (SiteKind.SIMULATED, _("Simulated data: %(sites)s")),
        )
        if any(site.kind == kind for site in sites)
    ]
    return ". ".join(parts) or None


def _names(sites: list[Site]) -> str:
    names = ", ".join(str(site) for site in sites[:_NAMED])
    more = len(sites) - _NAMED
    return _("%(names)s and %(n)s more") % {"names": names, "n": more} if more > 0 else names
