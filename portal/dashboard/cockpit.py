"""The first screen: what runs, what it earned, what is broken, your one action."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices.choices import Connectivity, DeviceKind, DeviceState
from devices.models import Device
from devices.selectors import with_connectivity
from governance.choices import DriftKind, VersionState
from governance.models import DriftReport, ModelVersion, Pipeline
from governance.selectors.models import quality
from portal.core.templatetags.phasegate import quantity
from portal.dashboard import money, trouble
from portal.dashboard.money import Money, Trend
from portal.dashboard.scale import HEALTHS, with_incidents
from portal.dashboard.trouble import Trouble
from portal.dashboard.work import Item, at_site, work_of
from usecases.models import Adoption
from usecases.selectors import with_health

#: The three answers in the order in which each role asks; a person with several roles reads the first that is listed.
READING: dict[str, tuple[str, str, str]] = {
    "executive": ("earned", "runs", "broken"),
    "coe_lead": ("earned", "runs", "broken"),
    "plant_manager": ("runs", "earned", "broken"),
    "ot_engineer": ("broken", "runs", "earned"),
    "data_scientist": ("broken", "runs", "earned"),
    "edge_architect": ("broken", "runs", "earned"),
    "data_steward": ("broken", "runs", "earned"),
    "safety_officer": ("broken", "runs", "earned"),
}
_USUAL = ("runs", "earned", "broken")
#: Lines of each answer on the first screen; the rest is one click away.
LINES = 5


@dataclass(frozen=True)
class LiveModel:
    """A pipeline whose model has a live version. ``error`` is the mean of the newest window with labels."""

    pipeline: Any
    number: int
    error: float | None

    @property
    def name(self) -> str:
        return f"{self.pipeline.model} v{self.number}"

    @property
    def state(self) -> str:
        limit = self.pipeline.model.error_limit
        if self.error is None or limit is None:
            return "unknown"
        return "ok" if self.error <= limit else "breach"

    @property
    def says(self) -> str:
        """How good it is, newest first: the error in operation, else what was found when it was trained."""
        model = self.pipeline.model
        if self.error is not None:
            text = _("typically off by %(error)s %(unit)s") % {"error": quantity(self.error), "unit": model.unit}
            if model.error_limit is None:
                return text
            return text + _("; the limit is %(limit)s") % {"limit": quantity(model.error_limit)}
        told = quality(self.pipeline.live_metrics, model.unit)
        return _("%(said)s (when trained)") % {"said": told} if told else ""


@dataclass(frozen=True)
class Running:
    """One use case at one site."""

    adoption: Adoption
    health: str
    models: tuple[LiveModel, ...]

    @property
    def rank(self) -> tuple[Any, ...]:
        return (HEALTHS.index(self.health), -self.adoption.phase, str(self.adoption))


@dataclass(frozen=True)
class Cockpit:
    running: list[Running]
    gateways: dict[str, int]
    money: Money
    trends: list[Trend]
    broken: list[Trouble]
    work: list[Item]
    order: tuple[str, str, str]

    @property
    def models(self) -> int:
        return len({one.pipeline.model_id for row in self.running for one in row.models})

    @property
    def sites(self) -> int:
        return len({row.adoption.site_id for row in self.running})

    @property
    def online(self) -> int:
        return self.gateways.get(Connectivity.ONLINE, 0)

    @property
    def gateways_all(self) -> int:
        return sum(self.gateways.values()) - self.finished

    @property
    def finished(self) -> int:
        """Gateways that fell silent because their site's replay is over: nobody waits for them."""
        return self.gateways.get(Connectivity.FINISHED, 0)

    @property
    def counted(self) -> dict[str, int]:
        return trouble.counts(self.broken)

    @property
    def spent(self) -> bool:
        """A budget is spent, not only burning."""
        return any(one.kind == "slo" and one.state == "breach" for one in self.broken)

    @property
    def action(self) -> Item | None:
        return self.work[0] if self.work else None

    @property
    def empty(self) -> bool:
        """Nothing at all to tell this person."""
        return not (self.running or self.gateways or self.money.earned or self.trends or self.broken)

    @property
    def finding(self) -> str:
        """The whole screen in one sentence."""
        if self.empty:
            return ""
        words = {
            "cases": ngettext("%d use case", "%d use cases", len(self.running)) % len(self.running),
            "sites": ngettext("%d site", "%d sites", self.sites) % self.sites,
        }
        runs = _("%(cases)s at %(sites)s") % words
        bad = [one for one in self.broken if one.state == "breach"]
        if not bad:
            return _("%(runs)s; nothing is broken.") % {"runs": runs}
        many = ngettext("%d thing is broken", "%d things are broken", len(bad)) % len(bad)
        return f"{runs}; {many}."


def reading_order(user: Any) -> tuple[str, str, str]:
    held = set(user.role_keys)
    return next((order for key, order in READING.items() if key in held), _USUAL)


def live_pipelines(user: Any, site_id: Any = None) -> QuerySet[Any]:
    """Pipelines in sight with their model's live version and newest error window; without the policy's state."""
    live = ModelVersion.objects.filter(model=OuterRef("model"), state=VersionState.LIVE).order_by("-number")
    error = DriftReport.objects.filter(pipeline=OuterRef("pk"), kind=DriftKind.CONCEPT, measured=True)
    rows = Pipeline.objects.permitted(user)
    if site_id:
        rows = rows.filter(adoption__site=site_id)
    return (
        rows.select_related("model", "adoption")
        .defer("policy_state", "reference")
        .annotate(
            live_id=Subquery(live.values("pk")[:1]),
            live_number=Subquery(live.values("number")[:1]),
            live_metrics=Subquery(live.values("metrics")[:1]),
            error_rows=Subquery(error.order_by("-plant_to").values("features")[:1]),
        )
    )


def live_models(pipelines: Any) -> list[LiveModel]:
    return [LiveModel(p, p.live_number, mean_error(p.error_rows)) for p in pipelines if p.live_number is not None]


def mean_error(features: Any) -> float | None:
    """The mean error of a concept report's rows, in the unit of the model's output."""
    return next((row["value"] for row in features or () if row.get("name") == "mean error"), None)


def gateways_online(user: Any, site_id: Any = None) -> dict[str, int]:
    """Active gateways in sight by connectivity; one query."""
    rows = Device.objects.permitted(user).filter(state=DeviceState.ACTIVE, device_type__kind=DeviceKind.GATEWAY)
    if site_id:
        rows = rows.filter(site=site_id)
    counted = with_connectivity(rows).order_by().values_list("connectivity").annotate(n=Count("pk"))
    return dict(counted)


def running_of(adoptions: list[Any], models: list[LiveModel], broken: list[Trouble]) -> list[Running]:
    """Each adoption (read ``with_health``) with live models, the ones in trouble first."""
    incidents = Counter(one.adoption for one in broken if one.kind == "incident")
    health = with_incidents({a.pk: a.health for a in adoptions}, incidents)
    by: dict[Any, list[LiveModel]] = {}
    for one in models:
        by.setdefault(one.pipeline.adoption_id, []).append(one)
    rows = [Running(a, health[a.pk], tuple(by.get(a.pk, ()))) for a in adoptions]
    return sorted(rows, key=lambda row: row.rank)


def cockpit(user: Any, site_id: Any = None, *, work: list[Item] | None = None) -> Cockpit:
    """The four answers for one person, of one site or of all; nine queries and one for the work that waits."""
    adoptions = with_health(Adoption.objects.permitted(user).select_related("use_case", "site"))
    if site_id:
        adoptions = adoptions.filter(site=site_id)
    broken = trouble.records(user, site_id)
    models = live_models(live_pipelines(user, site_id))
    return Cockpit(
        running=running_of(list(adoptions), models, broken),
        gateways=gateways_online(user, site_id),
        money=money.newest_reviews(user, site_id),
        trends=money.trends(user, site_id),
        broken=trouble.ranked([*broken, *trouble.spent(trouble.budgets(user, site_id))]),
        work=at_site(work_of(user), site_id) if work is None else work,
        order=reading_order(user),
    )
