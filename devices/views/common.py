"""What the pages of devices share: crumbs, buttons that say who may, the origin of a site's data."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.choices import SiteKind
from devices.models import Site
from devices.plant_time import replay_text
from devices.selectors import site_verbs
from portal.core import audit
from portal.core.access import who_may
from portal.core.pages import CreatePage, DetailPage, Page, PanelsPart, UpdatePage

Crumbs = list[tuple[str, str]]


def registry_crumb() -> tuple[str, str]:
    return (_("Sites & devices"), reverse("devices:devices"))


def origin(site: Site) -> dict[str, Any]:
    """Badge and sentence that say what a site's data is; empty for a live plant."""
    if site.kind == SiteKind.LIVE:
        return {"subtitle": site.data_notice}
    text = ". ".join(part for part in (replay_text(site), site.data_notice) if part)
    return {"origin": site.kind, "origin_label": site.get_kind_display(), "subtitle": text}


def button(
    label: str, url: str, *, allowed: bool = True, model: Any = None, verb: str = "", **extra: Any
) -> dict[str, Any]:
    """A button; one that this person may not press says who may."""
    if allowed:
        return {"label": label, "url": url, **extra}
    roles = who_may(model, verb)
    people = _(" or ").join(roles) or _("an administrator")
    return {"label": label, "refused": _("%(who)s may do this. Ask one of them.") % {"who": people}, "icon": "lock"}


def link(obj: Any) -> Any:
    """A record's name as a link to its page; None stays None."""
    return format_html('<a href="{}">{}</a>', obj.get_absolute_url(), obj) if obj is not None else None


class RecordPage(DetailPage):
    """A detail page under the registry. ``site_of`` names the site whose verbs decide the buttons."""

    def site_of(self, obj: Any) -> Site | None:
        return None

    def context(self, obj: Any) -> dict[str, Any]:
        site = self.site_of(obj)
        self.verbs = site_verbs(self.request.user, site.pk) if site else frozenset()
        self.obj = obj
        return {
            "object": obj,
            "title": str(obj),
            "facts": self.facts(obj),
            "actions": self.actions(obj),
            "history": audit.history(obj),
            "panels_url": self.panels_url(obj),
            "verbs": self.verbs,
            "site": site,
            **(origin(site) if site else {}),
            **self.more(obj),
        }

    def trail(self, obj: Any) -> Crumbs:
        return [registry_crumb(), (str(obj), "")]

    def breadcrumbs(self) -> Crumbs:
        obj = getattr(self, "obj", None)
        return self.trail(obj) if obj is not None else []


class RecordPanels(PanelsPart):
    nothing = gettext_lazy("No model or data belongs to this device yet.")

    def trail(self) -> Crumbs:
        return [registry_crumb()]


class _Crumbed(Page):
    def breadcrumbs(self) -> Crumbs:
        return [registry_crumb(), (str(self.title), "")]


class RecordCreate(_Crumbed, CreatePage):
    """A create form; values in the address (``?site=``) are filled in."""

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        form.initial |= {k: v for k, v in self.request.GET.items() if k in form.fields}
        return form

    def cancel_url(self, obj: Any) -> str:
        return reverse("devices:devices")


class RecordUpdate(_Crumbed, UpdatePage):
    def more(self, obj: Any) -> dict[str, Any]:
        return {"title": _("Change %(name)s") % {"name": obj}}
