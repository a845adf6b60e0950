"""Reads across devices. Where a person asks, the rows come from ``permitted``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FilteredRelation,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.fields import CharField, DateTimeField, DurationField, IntegerField
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _

from devices.choices import Connectivity, DeviceKind, DeviceState, Protocol, ReplayState, SiteKind
from devices.domain.connectivity import LATE_PERIODS, ONLINE_PERIODS, Uptime, connectivity, uptime
from devices.models import Channel, Device, Enrolment, LinkHistory, Location, Site
from devices.plant_time import replay_finished
from portal.core.access import container_codename, container_permission
from portal.core.clock import wall_now
from portal.core.roles import SITE, VERBS


def device_connectivity(device: Device, now: datetime | None = None) -> Connectivity:
    """Online, late, offline or never seen, by wall time; of a device in service whose replay is over: finished, unless it reports."""
    found = Connectivity(connectivity(device.last_seen_at, device.report_every_s, now or wall_now()))
    if found != Connectivity.ONLINE and device.state == DeviceState.ACTIVE and replay_finished(device.site):
        return Connectivity.FINISHED
    return found


def connectivity_expression(now: Any) -> Case:
    """The same rule in the database; ``now`` is an expression of wall time."""
    # SQLite multiplies durations by plain integers only.
    period = Cast("report_every_s", IntegerField())
    silent_since = {
        state: now - ExpressionWrapper(period * Value(timedelta(seconds=periods)), output_field=DurationField())
        for state, periods in ((Connectivity.ONLINE, ONLINE_PERIODS), (Connectivity.LATE, LATE_PERIODS))
    }
    over = ~Q(site__kind=SiteKind.LIVE) & Q(site__plant_clock__state=ReplayState.FINISHED, state=DeviceState.ACTIVE)
    online, late = (When(last_seen_at__gte=since, then=Value(state.value)) for state, since in silent_since.items())
    return Case(
        online,
        When(over, then=Value(Connectivity.FINISHED.value)),
        When(last_seen_at=None, then=Value(Connectivity.NEVER.value)),
        late,
        default=Value(Connectivity.OFFLINE.value),
        output_field=CharField(),
    )


def with_connectivity(devices: QuerySet[Any], now: datetime | None = None) -> QuerySet[Any]:
    """Annotates ``connectivity`` in the database, equal to ``device_connectivity`` of each row."""
    return devices.annotate(
        connectivity=connectivity_expression(Value(now or wall_now(), output_field=DateTimeField()))
    )


def link_uptime(device: Device, since: datetime, until: datetime | None = None) -> Uptime:
    """Uptime from the minute rows of ``[since, until)`` in wall time, not before the device was first heard."""
    until = until or wall_now()
    rows = list(
        LinkHistory.objects.filter(
            device=device, minute__gte=since - timedelta(minutes=1), minute__lt=until
        ).values_list("minute", "received", "inferring")
    )
    first = LinkHistory.objects.filter(device=device).order_by("minute").values_list("minute", flat=True).first()
    if first is None:
        return Uptime(0, 0, 0, 0)
    return uptime(rows, max(since, first), until, device.report_every_s)


# ---- what a person sees and may do ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reach:
    """The sites a person sees, by name, and the verbs held on each."""

    sites: tuple[Site, ...]
    verbs: dict[Any, frozenset[str]]


def reach_of(user: Any) -> Reach:
    """Sites and verbs of a person, read once per request (kept on the user object): the switcher, the filters and the buttons
    of a page all ask. One query."""
    kept: Reach | None = getattr(user, "_devices_reach", None)
    if kept is None:
        kept = _reach(user)
        user._devices_reach = kept
    return kept


def _reach(user: Any) -> Reach:
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return Reach((), {})
    everywhere = frozenset(verb for verb in VERBS[SITE] if user.has_perm(container_permission(SITE, verb)))
    named = {container_codename(SITE, verb): verb for verb in VERBS[SITE]}
    # A site comes once for each verb that was granted on it, and once without where none was.
    rows = (
        Site.objects.select_related("plant_clock")
        .alias(held=FilteredRelation("siteuserobjectpermission", condition=Q(siteuserobjectpermission__user=user)))
        .annotate(granted=F("held__permission__codename"))
    )
    seen: dict[Any, Site] = {}
    held: dict[Any, set[str]] = {}
    for site in rows if "view" in everywhere else rows.exclude(granted=None):
        verb = named.get(site.granted)
        held.setdefault(site.pk, set()).update({verb} if verb else ())
        if verb == "view" or "view" in everywhere:
            seen.setdefault(site.pk, site)
    sites = sorted(seen.values(), key=lambda site: (site.name, str(site.pk)))
    return Reach(tuple(sites), {site.pk: everywhere | held[site.pk] for site in sites})


def site_verbs(user: Any, site_id: Any) -> frozenset[str]:
    """The verbs a person holds on a site, by grant or by role; none for a site that is not seen."""
    return reach_of(user).verbs.get(site_id, frozenset())


def may_somewhere(user: Any, verb: str) -> bool:
    return any(verb in verbs for verbs in reach_of(user).verbs.values())


def sites_for_switcher(user: Any) -> list[dict[str, str]]:
    return [{"id": str(site.pk), "name": site.name} for site in reach_of(user).sites]


# ---- the tree ---------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A site or location of the tree with what stands there. ``devices`` counts those below it too."""

    obj: Any
    kind: str
    children: list[Place] = field(default_factory=list)
    devices: list[Any] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.devices) + sum(child.count for child in self.children)


def site_tree(sites: Iterable[Site], devices: Iterable[Device]) -> list[Place]:
    """Sites with their ISA-95 places nested and the given devices at their places; one query, for the locations."""
    roots = {site.pk: Place(site, "site") for site in sites}
    places: dict[Any, Place] = {}
    rows = list(Location.objects.filter(site_id__in=roots).order_by("path", "id"))
    for location in rows:
        places[location.pk] = Place(location, "location")
    for location in rows:
        above = places.get(location.parent_id) if location.parent_id else None
        (above or roots[location.site_id]).children.append(places[location.pk])
    for device in devices:
        place = places.get(device.location_id) or roots.get(device.site_id)
        if place is not None:
            place.devices.append(device)
    return list(roots.values())


# ---- facts that evidence reads (given devices or a site, no user: the gate decides who sees it) -------------------------


@dataclass(frozen=True)
class Share:
    """``good`` of ``all`` things, and the names of those that are not good (at most 20)."""

    good: int
    all: int
    missing: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """0..1; None when there is nothing to judge."""
        return self.good / self.all if self.all else None


def _share(rows: Sequence[tuple[str, bool]]) -> Share:
    return Share(sum(ok for _, ok in rows), len(rows), tuple(name for name, ok in rows if not ok)[:20])


def onboarded_share(devices: QuerySet[Any]) -> Share:
    """Devices in scope that are onboarded: active, and known to us by a report of their own (a gateway by a valid credential
    too) or through an active gateway that reads them. Retired ones are out of scope. One query."""
    rows = (
        devices.exclude(state=DeviceState.RETIRED)
        .annotate(valid_credentials=Count("credentials", filter=Q(credentials__state="active"), distinct=True))
        .values_list("name", "state", "device_type__kind", "last_seen_at", "valid_credentials", "gateway__state")
    )
    judged = []
    for name, state, kind, seen, credentials, gateway_state in rows:
        if kind == DeviceKind.GATEWAY:
            ok = seen is not None and credentials > 0
        else:
            ok = seen is not None or gateway_state == DeviceState.ACTIVE
        judged.append((name, ok and state == DeviceState.ACTIVE))
    return _share(judged)


def standard_protocol_share(devices: QuerySet[Any]) -> Share:
    """Devices in scope that speak a standard protocol: their type says so and names one. One query."""
    rows = devices.exclude(state=DeviceState.RETIRED).values_list(
        "name", "device_type__standard", "device_type__protocol"
    )
    return _share([(name, standard and protocol != Protocol.OTHER) for name, standard, protocol in rows])


def signal_coverage(scope: Site | QuerySet[Any], required: Sequence[str]) -> Share:
    """Which of the required channel codes exist on an active device of the site (or of the devices given), with unit and range
    where they are signals. One query."""
    channels = Channel.objects.exclude(device__state=DeviceState.RETIRED).exclude(unit="")
    if isinstance(scope, Site):
        channels = channels.filter(device__site=scope)
    else:
        channels = channels.filter(device__in=scope)
    ranged = Q(role="label") | Q(range_low__isnull=False, range_high__isnull=False)
    found = set(channels.filter(ranged, code__in=list(required)).values_list("code", flat=True))
    return _share([(code, code in found) for code in dict.fromkeys(required)])


def connected_share(devices: QuerySet[Any], now: datetime | None = None) -> Share:
    """Gateways in scope that are online or late now (wall time). One query."""
    rows = with_connectivity(
        devices.filter(state=DeviceState.ACTIVE, device_type__kind=DeviceKind.GATEWAY), now
    ).values_list("name", "connectivity")
    return _share([(name, state in (Connectivity.ONLINE, Connectivity.LATE)) for name, state in rows])


# ---- onboarding ---------------------------------------------------------------------------------------------------------

NEXT_STEPS = {
    "claim": _("Create a claim code"),
    "run": _("Run the agent with its claim code"),
    "expired": _("Its claim code expired: create another"),
    "wire": _("Wire it up and put it into service"),
    "silent": _("Enrolled, but it never reported"),
}


def onboarding_queue(now: datetime) -> QuerySet[Any]:
    """Devices that are not in service yet, annotated with ``next_key``; each row's ``next_step`` says it in words."""
    codes = Enrolment.objects.filter(device=OuterRef("pk"), used_at=None)
    planned = Q(state=DeviceState.PLANNED)
    silent = Q(state=DeviceState.ACTIVE, device_type__kind=DeviceKind.GATEWAY, last_seen_at=None)
    return (
        Device.objects.filter(planned | silent)
        .select_related("site", "location", "device_type")
        .annotate(
            next_key=Case(
                When(silent, then=Value("silent")),
                When(~Q(device_type__kind=DeviceKind.GATEWAY), then=Value("wire")),
                When(Exists(codes.filter(expires_at__gt=now)), then=Value("run")),
                When(Exists(codes), then=Value("expired")),
                default=Value("claim"),
                output_field=CharField(),
            )
        )
    )
