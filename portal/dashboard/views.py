"""The pages: cockpit, my work, my plant, scale map. Each is a reading of many apps; nothing is written here."""

from __future__ import annotations

import hashlib
from itertools import groupby
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from devices import live
from devices.models import Device
from devices.selectors import reach_of
from portal.core import exports
from portal.core.access import get_permitted
from portal.core.models import Notification
from portal.core.pages import Page
from portal.dashboard.cockpit import LINES, READING, cockpit
from portal.dashboard.filters import ScaleMapForm
from portal.dashboard.plant import choose_site, devices_of, main_plc, plant, shown_signals
from portal.dashboard.scale import HEADER, HEALTHS, health_words, scale_map
from portal.dashboard.work import Item, at_site, work_of
from usecases.choices import Phase

#: Unread messages on my work; the inbox has them all.
MESSAGES = 8


def answer(request: HttpRequest, html: str) -> HttpResponse:
    """A polled part: 304 while it says the same."""
    etag = etag_of(html)
    asked = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    response = HttpResponse(status=304) if etag in asked else HttpResponse(html)
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    response["Vary"] = "HX-Request, Cookie"
    return response


def etag_of(html: str) -> str:
    return f'"{hashlib.blake2b(html.encode(), digest_size=12).hexdigest()}"'


class LivePage(Page):
    """A page whose body is polled at its own address: htmx gets the body alone."""

    template: ClassVar[str]
    body: ClassVar[str]

    def context(self) -> dict[str, Any]:
        raise NotImplementedError

    def more(self, context: dict[str, Any]) -> dict[str, Any]:
        """What the page shows around the polled body."""
        return {}

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        context = self.context()
        html = render_to_string(self.body, context)
        if self.partial:
            return answer(request, html)
        shown = {"body": html, "etag": etag_of(html), "live_url": request.get_full_path()}
        return self.render(self.template, context | shown | self.more(context))


class CockpitPage(LivePage):
    title = _("Cockpit")
    template = "dashboard/cockpit.html"
    body = "dashboard/_cockpit.html"

    def context(self) -> dict[str, Any]:
        found = cockpit(self.request.user, self.site_id)
        return {
            "cockpit": found,
            "subtitle": found.finding,
            "more": max(0, len(found.work) - 1),
            "lines": LINES,
            **{f"{part}_shown": f":{LINES}" for part in READING["executive"]},
            "broken_more": len(found.broken) - LINES,
            "catalogue_url": reverse("marketplace:catalogue"),
            "scale_map_url": reverse("dashboard:scale-map"),
        }


class WorkPage(Page):
    title = _("My work")

    def get(self, request: HttpRequest) -> HttpResponse:
        items = at_site(work_of(request.user), self.site_id)
        unread = Notification.objects.permitted(request.user).filter(read_at=None)[:MESSAGES]
        return self.render(
            "dashboard/work.html",
            {"items": items, "groups": grouped(items), "count": len(items), "unread": list(unread)},
        )


_GROUPS = {
    "now": _("Now: overdue, or others wait for it"),
    "dated": _("With a date"),
    "open": _("When you find the time"),
}
_NOW = {"incident", "version", "review", "decision"}


def grouped(items: list[Item]) -> list[dict[str, Any]]:
    """What is overdue or blocks others, what has a date (the next first), what has none; ``items`` come by urgency."""

    def group(item: Item) -> str:
        return "now" if item.overdue or item.kind in _NOW else "dated" if item.due else "open"

    def order(item: Item) -> tuple[Any, ...]:
        place = list(_GROUPS).index(group(item))
        # Two clocks do not compare: what is due in wall time stands before what is due in plant time.
        dated = (item.clock != "wall", item.due) if group(item) == "dated" else ()
        return (place, *dated, item.rank)

    ordered = sorted(items, key=order)
    return [{"key": key, "label": _GROUPS[key], "items": list(rows)} for key, rows in groupby(ordered, key=group)]


class PlantPage(LivePage):
    title = _("My plant")
    template = "dashboard/plant.html"
    body = "dashboard/_plant.html"

    site: Any = None

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.site = choose_site(request.user, request.GET.get("site"), self.site_id)
        if self.site is None:
            return self.render("dashboard/no_plant.html", {})
        return super().get(request, **kwargs)

    def context(self) -> dict[str, Any]:
        devices = devices_of(self.request.user, self.site)
        return {"site": self.site, "devices": devices, "plant": plant(self.request.user, self.site, devices)}

    def more(self, context: dict[str, Any]) -> dict[str, Any]:
        site, devices = context["site"], context["devices"]
        plc = main_plc(devices, self.request.GET.get("plc", ""))
        here = reverse("dashboard:plant")
        sites = reach_of(self.request.user).sites
        tabs = [
            {"label": s.name, "url": f"{here}?site={s.pk}", "active": s.pk == site.pk, "count": None} for s in sites
        ]
        plcs = [d for d in devices if d.device_type.kind == "plc"]
        more = {
            "title": site.name,
            "subtitle": ". ".join(filter(None, (context["plant"].replay, site.data_notice.rstrip(".")))),
            "tabs": tabs if len(tabs) > 1 else [],
            "plc": plc,
            "plcs": [{"device": d, "url": f"{here}?site={site.pk}&plc={d.pk}"} for d in plcs] if len(plcs) > 1 else [],
        }
        if plc is None:
            return more
        html = signals_html(plc)
        url = reverse("dashboard:plant-signals", args=[plc.pk])
        return more | {"signals": html, "signals_etag": etag_of(html), "signals_url": url}


def signals_html(device: Any) -> str:
    view = live.live_view(device, points=40)
    signals = shown_signals(view)
    more = len(view.signals) - len(signals)
    return render_to_string(
        "dashboard/_signals.html", {"view": view, "signals": signals, "more": more, "device": device}
    )


class PlantSignals(Page):
    """The newest values of one PLC, polled."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        loaded = Device.objects.select_related("site__plant_clock", "device_type", "gateway")
        return answer(request, signals_html(get_permitted(loaded, request.user, pk)))


class ScaleMapPage(Page):
    title = _("Scale map")

    def get(self, request: HttpRequest) -> HttpResponseBase:
        query = request.GET.copy()
        form = ScaleMapForm(query, user=request.user)
        found = scale_map(request.user, **form.wanted(self.site_id))
        if request.GET.get("export") == "csv":
            return exports.csv_response("scale-map", HEADER, found.lines())
        query["export"] = "csv"
        words = health_words()
        context = {
            "map": found,
            "columns": found.columns(),
            "rows": found.rows(),
            "subtitle": found.finding,
            "filter": {"form": form},
            "legend": [
                {"state": key, "label": words[key], "n": n} for key, n in found.counted().items() if key in HEALTHS
            ],
            "phases": Phase.values,
            "export_formats": [("CSV", f"?{query.urlencode()}")],
        }
        return self.render("dashboard/_scale_map.html" if self.partial else "dashboard/scale_map.html", context)
