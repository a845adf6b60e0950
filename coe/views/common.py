"""What the pages of the CoE share."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from coe import selectors
from portal.core.access import who_may


def tabs(active: str) -> list[dict[str, Any]]:
    labels = {
        "overview": _("Overview"),
        "skills": _("Skills matrix"),
        "actions": _("Actions"),
        "calendar": _("Calendar"),
        "deputies": _("Deputies"),
    }
    return [{"label": label, "url": reverse(f"coe:{key}"), "active": key == active} for key, label in labels.items()]


def coe_crumb() -> tuple[str, str]:
    return (_("CoE"), reverse("coe:overview"))


def button(
    label: Any, url: str, *, allowed: bool = True, model: Any = None, verb: str = "", **extra: Any
) -> dict[str, Any]:
    """An action of a detail page; where it is not allowed the button says who may."""
    if allowed:
        return {"label": label, "url": url, **extra}
    who = who_may(model, verb) if model is not None else [_("CoE lead")]
    return {"label": label, "refused": _("%(who)s may do this.") % {"who": " or ".join(who)}}


def unnamed(viewer: Any) -> dict[str, Any]:
    """The history of a record names people: it is left out for whoever sees them by role only."""
    return {} if selectors.may_see_names(viewer) else {"history": None}
