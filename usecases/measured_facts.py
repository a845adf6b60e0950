"""Facts of devices that measure a sub-criterion: are the signals there, does the link hold. Each answers for many use cases at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import Exists, F, Min, OuterRef, Q, Sum
from django.db.models.functions import Least
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from devices.choices import DeviceKind, DeviceState
from devices.domain.connectivity import per_minute
from devices.models import Channel, Device, LinkHistory
from portal.core.clock import moment_text
from usecases.domain import measured
from usecases.evidence import Measurement
from usecases.facts import Fact, once, register
from usecases.models import Adoption, UseCase

#: How far back the link is looked at, and the least time that says anything about it (wall time).
WINDOW = timedelta(days=30)
LEAST = timedelta(hours=1)
#: A link is looked at anew every so many minutes: a month of a gateway is some 43,000 rows, and workshops ask every second.
STEP = 10
_NAMED = 6


@dataclass
class Scope:
    """Where a use case is: the sites of its adoptions (id -> name) and their devices in scope.

    Before the first adoption it is the one site that has most of its signals; ``idea`` says so, and its name is nobody's business.
    """

    sites: dict[Any, str] = field(default_factory=dict)
    devices: dict[Any, set[Any]] = field(default_factory=lambda: defaultdict(set))
    idea: bool = False


def scopes(use_cases: Sequence[UseCase]) -> tuple[dict[Any, Scope], dict[Any, set[str]]]:
    """Scope of each use case, and which of all required signals have a channel at each site. Two queries."""
    found = {case.pk: Scope() for case in use_cases}
    rows = Adoption.objects.filter(use_case__in=found).order_by("site__name", "pk")
    for key, site, name, device in rows.values_list("use_case_id", "site_id", "site__name", "devices"):
        found[key].sites[site] = name
        if device is not None:
            found[key].devices[site].add(device)
    present = _present({code for case in use_cases for code in case.required_signals})
    for case in use_cases:
        if not found[case.pk].sites:
            found[case.pk].idea = True
            found[case.pk].sites = _best(set(case.required_signals), present)
    return found, {site: codes for (site, _name), codes in present.items()}


def _present(codes: set[str]) -> dict[tuple[Any, str], set[str]]:
    """(site, name) -> which of the codes have a channel there, on a device that is not retired."""
    found: dict[tuple[Any, str], set[str]] = defaultdict(set)
    if codes:
        rows = Channel.objects.filter(code__in=codes).exclude(device__state=DeviceState.RETIRED).order_by()
        for site, name, code in rows.values_list("device__site_id", "device__site__name", "code").distinct():
            found[site, name].add(code)
    return found


def _best(wanted: set[str], present: dict[tuple[Any, str], set[str]]) -> dict[Any, str]:
    ranked = sorted(present.items(), key=lambda item: (-len(item[1] & wanted), item[0][1], str(item[0][0])))
    return {site: name for (site, name), codes in ranked[:1] if codes & wanted}


def _page(case: UseCase) -> str:
    return reverse("usecases:use-case", args=[case.pk])


# ---- sensor coverage ----------------------------------------------------------------------------------------------------


def sensor_coverage(use_cases: Sequence[UseCase], now: datetime) -> dict[Any, Measurement]:
    """Share of the required signals that have a registered channel at the sites of the use case, in percent."""
    where, present = once("devices.scopes", lambda: scopes(use_cases))
    return {case.pk: _coverage(case, where[case.pk], present, now) for case in use_cases}


def _coverage(case: UseCase, scope: Scope, present: dict[Any, set[str]], now: datetime) -> Measurement:
    asked = case.required_signals
    if not asked:
        return Measurement.missing(_("The use case does not say which signals its model needs."), _page(case))
    if not scope.sites:
        text = ngettext(
            "The one signal it needs has no channel at any site.",
            "None of its {n} required signals has a channel at any site.",
            len(set(asked)),
        ).format(n=len(set(asked)))
        return Measurement.of(0.0, text, measured_at=now, link=_page(case))
    names = {site: str(number) if scope.idea else name for number, (site, name) in enumerate(scope.sites.items())}
    got = measured.coverage(asked, {names[s]: present.get(s, set()) for s in scope.sites})
    words = {"n": got.found, "all": got.wanted}
    if got.wanted == 1 and got.found and not scope.idea:
        text = _("The one signal it needs has a channel at {site}.").format(site=next(iter(names.values())))
    elif scope.idea:
        text = _("{n} of {all} required signals have a channel at the site that has most of them.").format(**words)
    elif len(scope.sites) == 1:
        text = _("{n} of {all} required signals have a channel at {site}.").format(
            **words, site=next(iter(names.values()))
        )
    else:
        text = _("{n} of {all} required signals have a channel, counted at each of {sites} sites.").format(
            **words, sites=len(scope.sites)
        )
    lacking = list(dict.fromkeys(code for codes in got.lacking.values() for code in codes))
    if lacking:
        text += " " + _("Missing: {codes}.").format(codes=_list(lacking))
    return Measurement.of(round(got.percent, 1), text, measured_at=now, link=_page(case))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


# ---- network readiness --------------------------------------------------------------------------------------------------


def network_readiness(use_cases: Sequence[UseCase], now: datetime) -> dict[Any, Measurement]:
    """Share of the last 30 days (wall time) in which the gateways in scope were connected, in percent."""
    where, _present_codes = once("devices.scopes", lambda: scopes(use_cases))
    gateways = _gateways(where.values())
    until = now.replace(minute=now.minute - now.minute % STEP, second=0, microsecond=0)
    links = _links({g.pk for rows in gateways.values() for g in rows}, until)
    return {case.pk: _readiness(case, where[case.pk], gateways, links, until) for case in use_cases}


def _gateways(where: Iterable[Scope]) -> dict[Any, list[Device]]:
    """The gateways in service of every site in question, with the devices behind them as ``behind_them``."""
    sites = {site for scope in where for site in scope.sites}
    rows = Device.objects.filter(site__in=sites, state=DeviceState.ACTIVE)
    rows = rows.filter(Q(device_type__kind=DeviceKind.GATEWAY)).order_by("code").prefetch_related("behind")
    found: dict[Any, list[Device]] = defaultdict(list)
    for gateway in rows:
        found[gateway.site_id].append(gateway)
    return found


def _links(gateways: set[Any], until: datetime) -> dict[Any, tuple[datetime, int]]:
    """``_count_reports``, kept until the next look; a gateway that was not heard of is asked about again."""
    keys = {f"usecases.link:{pk}:{until:%Y%m%d%H%M}": pk for pk in gateways}
    found = {keys[key]: value for key, value in cache.get_many(keys).items()}
    fresh = _count_reports(gateways - set(found), until)
    cache.set_many({key: fresh[pk] for key, pk in keys.items() if pk in fresh}, 60 * STEP)
    return found | fresh


def _count_reports(gateways: set[Any], until: datetime) -> dict[Any, tuple[datetime, int]]:
    """Gateway -> the first minute of the window since when it is known, and the reports that came in the window. Two queries.

    More reports than were due in a minute do not make up for another minute.
    """
    if not gateways:
        return {}
    since = until - WINDOW
    mine = LinkHistory.objects.filter(device__in=gateways).order_by()
    told = mine.filter(minute__gte=since, minute__lt=until).values("device")
    came = told.annotate(first=Min("minute"), came=Sum(Least("received", F("expected"))))
    found = {row["device"]: (row["first"], row["came"] or 0) for row in came}
    earlier = LinkHistory.objects.filter(device=OuterRef("pk"), minute__lt=since)
    for device in Device.objects.filter(Exists(earlier), pk__in=gateways).order_by().values_list("pk", flat=True):
        found[device] = (since, found.get(device, (since, 0))[1])
    return found


def _readiness(
    case: UseCase,
    scope: Scope,
    gateways: dict[Any, list[Device]],
    links: dict[Any, tuple[datetime, int]],
    until: datetime,
) -> Measurement:
    if not scope.sites:
        return Measurement.missing(
            _("It is adopted nowhere, and no site has a signal it needs: there is no link to look at."), _page(case)
        )
    mine = [g for site in scope.sites for g in _of_scope(gateways.get(site, []), scope.devices.get(site, set()))]
    if not mine:
        return Measurement.missing(_("No gateway in service belongs to it."), _page(case))
    heard = [links[g.pk][0] for g in mine if g.pk in links]
    if not heard:
        return Measurement.missing(_("None of its gateways has been heard from yet."), _page(case))
    since = max(until - WINDOW, min(heard))
    if until - since < LEAST:
        minutes = int((until - since).total_seconds() // 60)
        return Measurement.missing(
            ngettext(
                "Its gateways have been heard from for {n} minute; after an hour the link is measured.",
                "Its gateways have been heard from for {n} minutes; after an hour the link is measured.",
                minutes,
            ).format(n=minutes),
            _page(case),
        )
    percents = [_of_link(g, links.get(g.pk), until) for g in mine]
    value = sum(percents) / len(percents)
    text = ngettext(
        "Its gateway was connected {p} % of the time since {since} (wall time).",
        "Its {n} gateways were connected {p} % of the time since {since} (wall time).",
        len(mine),
    ).format(n=len(mine), p=f"{value:.1f}", since=moment_text(since))
    return Measurement.of(
        round(value, 2), text, measured_at=until, link=_page(case) if scope.idea else mine[0].get_absolute_url()
    )


def _of_scope(gateways: list[Device], devices: set[Any]) -> list[Device]:
    """The gateways among the devices in scope or in front of them; all of the site where no device is named."""
    if not devices:
        return gateways
    return [g for g in gateways if g.pk in devices or any(d.pk in devices for d in g.behind.all())]


def _of_link(gateway: Device, link: tuple[datetime, int] | None, until: datetime) -> float:
    if link is None:
        return 0.0
    first, came = link
    minutes = int((until - max(until - WINDOW, first)) / timedelta(minutes=1))
    return measured.link_percent(came, minutes, per_minute(gateway.report_every_s)) if minutes else 0.0


def register_all() -> None:
    register(
        Fact(
            "devices.sensor_coverage",
            gettext_lazy("Sensor coverage"),
            gettext_lazy("How many of the signals its model needs have a registered channel?"),
            "%",
            0.0,
            100.0,
            sensor_coverage,
            order=10,
        ),
        Fact(
            "devices.network_readiness",
            gettext_lazy("Network readiness"),
            gettext_lazy("How much of the last 30 days were its gateways connected?"),
            "%",
            90.0,
            100.0,
            network_readiness,
            order=20,
        ),
    )
