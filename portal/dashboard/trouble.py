"""What is broken, over every kind of record: incidents, budgets, gates, machines, checks, gateways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from devices.choices import Connectivity, DeviceKind, DeviceState
from devices.models import Device, MachineStop
from devices.selectors import with_connectivity
from governance.choices import CheckState, IncidentState
from governance.models import Check, Incident, Slo
from governance.selectors.slos import slo_cards
from governance.selectors.trust import with_state
from portal.dashboard.rows import Row, branch, gather
from usecases.choices import GateState
from usecases.models import Gate

#: Kinds in the order of what they cost while they last.
ORDER = ("stop", "incident", "slo", "gate", "gateway", "check")


@dataclass(frozen=True)
class Trouble:
    """One thing that is broken. ``state``: breach or watch; ``since`` is wall time, of a check plant time (``clock``)."""

    kind: str
    pk: UUID
    icon: str
    label: str
    state: str
    state_label: str
    url: str
    place: str
    site: UUID | None
    adoption: UUID | None
    since: datetime | None
    clock: str
    note: str

    @property
    def rank(self) -> tuple[Any, ...]:
        """The worst first, then by kind, the newest first."""
        age = -(self.since or datetime.min.replace(tzinfo=UTC)).timestamp()
        return (self.state != "breach", ORDER.index(self.kind), age, str(self.pk))


_AT_ADOPTION = {"site": "adoption__site_id", "site_name": "adoption__site__name", "adoption": "adoption_id"}
_AT_SITE = {"site": "site_id", "site_name": "site__name"}


def records(user: Any, site_id: Any = None) -> list[Trouble]:
    """Everything that a record calls broken, of one site or of all; one query, unordered. Budgets come from ``budgets``."""
    adoption = {"adoption__site": site_id} if site_id else {}
    at_site = {"site": site_id} if site_id else {}
    of_device = {"device__site": site_id} if site_id else {}
    of_check = {"stage__pipeline__adoption__site": site_id} if site_id else {}
    open_ones = Incident.objects.permitted(user).filter(**adoption).exclude(state=IncidentState.RESOLVED)
    reopened = Gate.objects.permitted(user).filter(**adoption, state=GateState.REOPENED)
    stops = MachineStop.objects.permitted(user).filter(**of_device, released_at=None)
    checks = with_state(Check.objects.permitted(user).filter(**of_check, enabled=True)).filter(state=CheckState.FAILED)
    gateways = Device.objects.permitted(user).filter(
        **at_site, state=DeviceState.ACTIVE, device_type__kind=DeviceKind.GATEWAY
    )
    silent = with_connectivity(gateways).filter(connectivity=Connectivity.OFFLINE)
    rows = gather(
        (
            branch(
                stops,
                "stop",
                pk="device_id",
                title="device__name",
                text="reason",
                since="stopped_at",
                site="device__site_id",
                site_name="device__site__name",
            ),
            branch(
                open_ones, "incident", title="title", text="state", since="opened_at", **_AT_ADOPTION
            ),
            branch(
                reopened,
                "gate",
                title="use_case__title",
                text="reopened_reason",
                since="reopened_at",
                number="number",
                **_AT_ADOPTION,
            ),
            branch(silent, "gateway", title="name", since="last_seen_at", **_AT_SITE),
            branch(
                checks,
                "check",
                title="name",
                text="state_text",
                since="state_at",
                **{name: f"stage__pipeline__{path}" for name, path in _AT_ADOPTION.items()},
            ),
        )
    )  # fmt: skip
    return [_trouble(row) for row in rows]


def budgets(user: Any, site_id: Any = None) -> list[dict[str, Any]]:
    """The cards of every SLO in sight (``governance.selectors.slos.slo_cards``), each with its adoption and site loaded."""
    slos = Slo.objects.permitted(user).select_related("adoption__site", "adoption__use_case")
    return slo_cards(list(slos.filter(adoption__site=site_id) if site_id else slos))


def spent(cards: Iterable[dict[str, Any]]) -> list[Trouble]:
    """The budgets among them that are spent or burn fast."""
    return [
        Trouble(
            kind="slo",
            pk=card["slo"].pk,
            icon="slo",
            label=card["slo"].name,
            state=card["state"],
            state_label=str(card["state_label"]),
            url=card["slo"].get_absolute_url(),
            place=str(card["slo"].adoption.site),
            site=card["slo"].adoption.site_id,
            adoption=card["slo"].adoption_id,
            since=None,
            clock="wall",
            note=card["sentence"],
        )
        for card in cards
        if card["state"] in {"breach", "watch"}
    ]


def ranked(found: Iterable[Trouble]) -> list[Trouble]:
    return sorted(found, key=lambda one: one.rank)


def counts(found: Sequence[Trouble]) -> dict[str, int]:
    """How many of each kind, every kind named."""
    return {kind: sum(1 for one in found if one.kind == kind) for kind in ORDER}


def _trouble(row: Row) -> Trouble:
    label, note, state, words = row.title, row.text or "", "breach", ""
    clock = "wall"
    if row.kind == "stop":
        label, words = _("Models stopped on %(what)s") % {"what": row.title}, _("Stopped")
        url = reverse("devices:device", args=[row.pk])
    elif row.kind == "incident":
        words, note = str(IncidentState(note).label), ""
        url = reverse("governance:incident", args=[row.pk])
    elif row.kind == "gate":
        label, words = _("Gate %(n)s reopened: %(what)s") % {"n": row.number, "what": row.title}, _("Reopened")
        url = reverse("usecases:gate", args=[row.pk])
    elif row.kind == "gateway":
        label, words = _("%(what)s is silent") % {"what": row.title}, _("Offline")
        url = reverse("devices:device", args=[row.pk])
    else:
        state, words, clock = "watch", _("Failing"), "plant"
        url = reverse("governance:check", args=[row.pk])
    return Trouble(
        kind=row.kind,
        pk=row.pk,
        icon=row.kind,
        label=label,
        state=state,
        state_label=words,
        url=url,
        place=row.site_name or "",
        site=row.site,
        adoption=row.adoption,
        since=row.since,
        clock=clock,
        note=note,
    )
