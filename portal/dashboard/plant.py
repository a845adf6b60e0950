"""My plant: one site across devices, live signals, models, drift, incidents, budgets and the next reviews."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from coe.choices import RetrospectiveState
from coe.models import Retrospective, RoiReview
from coe.periods import month_of, plus_months, quarter_name
from devices.choices import Connectivity, DeviceKind, DeviceState
from devices.live import LiveView, Signal
from devices.models import Device, Site
from devices.plant_time import plant_now, replay_finished, replay_text
from devices.selectors import reach_of, with_connectivity
from governance.selectors.trust import Freshness, drift_lines, freshness, newest_reports, with_newest
from portal.core.clock import month_text
from portal.core.templatetags.phasegate import quantity
from portal.dashboard import trouble
from portal.dashboard.cockpit import LiveModel, live_pipelines, mean_error
from portal.dashboard.rows import Row, branch, gather
from portal.dashboard.trouble import Trouble
from usecases.models import GateReview

#: Devices on the screen; the rest is in the registry.
DEVICES = 40
#: Signals beside it.
SIGNALS = 14
#: Reviews that lie ahead, of each kind together.
REVIEWS = 6


@dataclass(frozen=True)
class PlantModel:
    """A pipeline of the site with its live version, error, freshness and drift."""

    pipeline: Any
    live: LiveModel | None
    fresh: Freshness
    drift: list[dict[str, Any]]

    @property
    def worst(self) -> dict[str, Any] | None:
        """The drift line that says most: one that drifted, else the first that was measured."""
        order = {"breach": 0, "watch": 1, "ok": 2}
        lines = [line for line in self.drift if line["state"] in order]
        return min(lines, key=lambda line: order[line["state"]]) if lines else None


@dataclass(frozen=True)
class Ahead:
    """A review that waits at this site. ``due`` is plant time."""

    kind: str
    label: str
    url: str
    due: datetime | None
    since: datetime | None


@dataclass(frozen=True)
class Plant:
    site: Site
    devices: list[Any]
    models: list[PlantModel]
    budgets: list[dict[str, Any]]
    broken: list[Trouble]
    ahead: list[Ahead]
    next_month: Any

    @property
    def gateways(self) -> list[Any]:
        return [d for d in self.devices if d.device_type.kind == DeviceKind.GATEWAY]

    @property
    def online(self) -> int:
        return sum(1 for d in self.gateways if d.connectivity == Connectivity.ONLINE)

    @property
    def live(self) -> list[LiveModel]:
        return [m.live for m in self.models if m.live is not None]

    @property
    def error(self) -> LiveModel | None:
        """The live model whose error stands nearest to its limit, or above it."""
        known = [m for m in self.live if m.error is not None and m.pipeline.model.error_limit]
        return max(known, key=lambda m: (m.error or 0.0) / m.pipeline.model.error_limit, default=None)

    @property
    def drifting(self) -> int:
        return sum(1 for m in self.models if m.worst and m.worst["state"] in {"breach", "watch"})

    @property
    def incidents(self) -> int:
        return sum(1 for one in self.broken if one.kind == "incident")

    @property
    def tightest(self) -> dict[str, Any] | None:
        """The budget with least left."""
        known = [card for card in self.budgets if card["left_share"] is not None]
        return min(known, key=lambda card: card["left_share"]) if known else None

    @property
    def gateways_text(self) -> str:
        return _("of %(all)s") % {"all": len(self.gateways)}

    @property
    def finished(self) -> bool:
        """The site's replay is over: nothing is sent any more and nothing goes stale."""
        return replay_finished(self.site)

    @property
    def gateways_state(self) -> str:
        return "ok" if self.online == len(self.gateways) else "watch" if self.online else "breach"

    @property
    def gateways_label(self) -> str:
        words = {"ok": _("All online"), "watch": _("Some are silent"), "breach": _("All are silent")}
        return words[self.gateways_state]

    @property
    def error_label(self) -> str:
        """How the worst error stands to its limit, in words."""
        model = self.error
        if model is None:
            return ""
        words = {"limit": quantity(model.pipeline.model.error_limit)}
        text = _("within the limit of %(limit)s") if model.state == "ok" else _("above the limit of %(limit)s")
        return text % words

    @property
    def incidents_state(self) -> str:
        return "breach" if self.incidents else "ok"

    @property
    def incidents_label(self) -> str:
        return _("See what is broken") if self.incidents else _("None open")

    @property
    def replay(self) -> str:
        return replay_text(self.site)


def choose_site(user: Any, *wanted: Any) -> Site | None:
    """The first of the wanted sites that this person sees, else the first by name whose data still moves; None when there is none."""
    sites = {str(site.pk): site for site in sorted(reach_of(user).sites, key=replay_finished)}
    for key in wanted:
        if key and str(key) in sites:
            return sites[str(key)]
    return next(iter(sites.values()), None)


def devices_of(user: Any, site: Site) -> list[Any]:
    """Devices in service at the site, gateways first; one query."""
    rows: QuerySet[Any] = Device.objects.permitted(user).filter(site=site, state=DeviceState.ACTIVE)
    rows = with_connectivity(rows.select_related("device_type", "gateway", "site__plant_clock"))
    order = {DeviceKind.GATEWAY: 0, DeviceKind.PLC: 1}
    return sorted(rows[:DEVICES], key=lambda d: (order.get(d.device_type.kind, 2), d.name))


def main_plc(devices: list[Any], wanted: str = "") -> Any | None:
    """The PLC asked for, else the first that a gateway reads."""
    plcs = [d for d in devices if d.device_type.kind == DeviceKind.PLC]
    named = next((d for d in plcs if str(d.pk) == wanted), None)
    return named or next((d for d in plcs if d.gateway_id), None) or next(iter(plcs), None)


def shown_signals(view: LiveView, most: int = SIGNALS) -> list[Signal]:
    """The signals a small screen has room for: those out of range or missing first, then by code with numbers in order."""
    odd = {"low": 0, "high": 0, "missing": 1, "stale": 1}

    def order(signal: Signal) -> tuple[Any, ...]:
        parts = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", signal.code)]
        return (odd.get(signal.state, 2), parts)

    return sorted(view.signals, key=order)[:most]


def models_of(user: Any, site: Site) -> list[PlantModel]:
    """Pipelines of the site with all that is known of their models; three queries."""
    pipelines = list(with_newest(live_pipelines(user, site.pk)).select_related("model", "adoption__use_case"))
    reports = newest_reports(pipelines) if pipelines else {}
    made = []
    for pipeline in pipelines:
        pipeline.adoption.site = site
        live = None
        if pipeline.live_number is not None:
            live = LiveModel(pipeline, pipeline.live_number, mean_error(pipeline.error_rows))
        drift = drift_lines(pipeline, reports.get(pipeline.pk, {}))
        made.append(PlantModel(pipeline, live, freshness(pipeline), drift))
    return made


def reviews_ahead(user: Any, site: Site) -> list[Ahead]:
    """Reviews of the site that are open: gates by age, retrospectives and ROI reviews from the newest; one query."""
    at_site = {"site": "site_id", "site_name": "site__name"}
    rows = gather(
        (
            branch(
                GateReview.objects.permitted(user).filter(state="open", gate__adoption__site=site),
                "gate_review",
                title="gate__use_case__title",
                since="created_at",
                number="gate__number",
            ),
            branch(
                Retrospective.objects.permitted(user).filter(site=site, state=RetrospectiveState.DRAFT),
                "retrospective",
                title="site__name",
                due_on="month",
                **at_site,
            ),
            branch(
                RoiReview.objects.permitted(user).filter(adoption__site=site, held_at=None),
                "roi_review",
                title="adoption__use_case__title",
                due_on="quarter",
            ),
        )
    )
    dated = sorted((row for row in rows if row.due_on), key=lambda row: (row.due_on or 0, row.title), reverse=True)
    return [_ahead(row) for row in [*(row for row in rows if not row.due_on), *dated]][:REVIEWS]


def _ahead(row: Row) -> Ahead:
    if row.kind == "gate_review":
        label = _("Review of gate %(n)s: %(what)s") % {"n": row.number, "what": row.title}
        return Ahead(row.kind, label, reverse("usecases:review", args=[row.pk]), None, row.since)
    if row.due_on is not None and row.kind == "retrospective":
        label = _("Retrospective of %(month)s") % {"month": month_text(row.due_on)}
        return Ahead(row.kind, label, reverse("coe:retrospective", args=[row.pk]), None, None)
    quarter = quarter_name(row.due_on) if row.due_on else ""
    label = _("ROI review of %(quarter)s: %(what)s") % {"quarter": quarter, "what": row.title}
    return Ahead(row.kind, label, reverse("coe:roi-review", args=[row.pk]), None, None)


def plant(user: Any, site: Site, devices: list[Any] | None = None) -> Plant:
    """The whole screen of one site; ten queries."""
    cards = trouble.budgets(user, site.pk)
    return Plant(
        site=site,
        devices=devices_of(user, site) if devices is None else devices,
        models=models_of(user, site),
        budgets=cards,
        broken=trouble.ranked([*trouble.records(user, site.pk), *trouble.spent(cards)]),
        ahead=reviews_ahead(user, site),
        next_month=plus_months(month_of(plant_now(site)), 1),
    )


__all__ = ["Plant", "choose_site", "devices_of", "main_plc", "plant"]
