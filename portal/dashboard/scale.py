"""The scale map: use case by site; the number is the phase, the icon the health."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices.models import Site
from devices.selectors import reach_of
from governance.choices import IncidentState
from governance.models import Incident
from usecases.choices import GateState, Label, Phase, UseCaseState
from usecases.models import Adoption, Gate, UseCase
from usecases.selectors import with_health

HEALTHS = ("breach", "watch", "ok", "unknown")


def health_words() -> dict[str, str]:
    """What each health means, as the legend says it."""
    return {
        "ok": _("Healthy: every passed gate still holds"),
        "watch": _("Watch: a criterion slipped or is waived"),
        "breach": _("Breach: an incident is open or a gate is reopened"),
        "unknown": _("Unknown: no gate is passed yet"),
    }


def with_incidents(health: dict[Any, str], broken: Iterable[Any]) -> dict[Any, str]:
    """Health of the gates and the incidents together: an open incident is a breach, whatever the gates say."""
    return health | dict.fromkeys((pk for pk in broken if pk in health), "breach")


def open_incidents(adoptions: Sequence[Adoption]) -> dict[Any, int]:
    """How many incidents are open, by adoption; one query."""
    found: dict[Any, int] = defaultdict(int)
    rows = Incident.objects.filter(adoption__in=[a.pk for a in adoptions]).exclude(state=IncidentState.RESOLVED)
    for pk in rows.values_list("adoption_id", flat=True):
        found[pk] += 1
    return dict(found)


@dataclass(frozen=True)
class Cell:
    """One use case at one site. Where it is adopted in several scopes there, the phase is the furthest, the health the worst."""

    use_case: UseCase
    site: Site
    adoption: Adoption
    phase: int
    health: str
    incidents: int
    scopes: tuple[str, ...]

    @property
    def phase_label(self) -> str:
        return str(Phase(self.phase).label)

    @property
    def url(self) -> str:
        return self.adoption.get_absolute_url()

    @property
    def title(self) -> str:
        """The cell in words: phase, scope, health."""
        words = {"phase": self.phase, "name": self.phase_label, "scope": ", ".join(self.scopes)}
        text = _("Phase %(phase)s %(name)s (%(scope)s)") % words
        if self.incidents:
            many = ngettext("%d incident open", "%d incidents open", self.incidents) % self.incidents
            return f"{text}. {many}"
        return f"{text}. {health_words()[self.health]}"


@dataclass
class ScaleMap:
    sites: list[Site]
    use_cases: list[UseCase]
    cells: dict[tuple[UUID, UUID], Cell] = field(default_factory=dict)

    def counted(self) -> dict[str, int]:
        """Cells by health."""
        return {key: sum(1 for cell in self.cells.values() if cell.health == key) for key in HEALTHS}

    @property
    def adopted(self) -> list[Cell]:
        """The cells by use case, then site."""
        pairs = ((case.pk, site.pk) for case in self.use_cases for site in self.sites)
        return [self.cells[pair] for pair in pairs if pair in self.cells]

    @property
    def finding(self) -> str:
        """The map in one sentence."""
        if not self.cells:
            return _("No use case is adopted at a site yet.")
        running = sum(1 for cell in self.cells.values() if cell.phase >= Phase.OPERATE)
        many = ngettext("%d adoption", "%d adoptions", len(self.cells)) % len(self.cells)
        bad = self.counted()["breach"]
        words = {"many": many, "run": running, "bad": bad}
        if bad:
            return _("%(many)s, %(run)s in operation or beyond; %(bad)s in breach.") % words
        return _("%(many)s, %(run)s in operation or beyond; none in breach.") % words

    def columns(self) -> list[dict[str, str]]:
        return [{"label": site.name, "url": f"{reverse('dashboard:plant')}?site={site.pk}"} for site in self.sites]

    def rows(self) -> list[dict[str, Any]]:
        """As the component draws them."""
        return [
            {
                "label": case.title,
                "url": case.get_absolute_url(),
                "cells": [self._shown(case, site) for site in self.sites],
            }
            for case in self.use_cases
        ]

    def _shown(self, case: UseCase, site: Site) -> dict[str, Any]:
        cell = self.cells.get((case.pk, site.pk))
        if cell is None:
            return {"site": site.name, "phase": None}
        done = cell.phase == Phase.MONETISE or case.state == UseCaseState.FINISHED
        return {
            "site": site.name,
            "phase": cell.phase,
            "health": cell.health,
            "url": cell.url,
            "title": cell.title,
            "done": done,
        }

    def lines(self) -> Iterator[list[Any]]:
        """One line per adopted cell, for the export."""
        for cell in self.adopted:
            yield [
                cell.use_case.code,
                cell.use_case.title,
                str(Label(cell.use_case.label).label),
                cell.site.code,
                cell.site.name,
                ", ".join(cell.scopes),
                cell.phase,
                cell.phase_label,
                cell.health,
                cell.incidents,
            ]


HEADER = (
    "use_case_code", "use_case", "label", "site_code", "site", "scope", "phase", "phase_name", "health", "open_incidents",
)  # fmt: skip


def scale_map(user: Any, *, site_id: Any = None, label: str = "", text: str = "", health: str = "") -> ScaleMap:
    """Use cases in sight by sites in sight, with filters; what was killed, whole or at a site, is left out. Four queries whatever
    their number."""
    cases = UseCase.objects.permitted(user).exclude(state=UseCaseState.KILLED)
    if label:
        cases = cases.filter(label=label)
    if text:
        cases = cases.filter(title__icontains=text)
    sites = [site for site in reach_of(user).sites if not site_id or str(site.pk) == str(site_id)]
    found = list(cases)
    adoptions: list[Any] = list(
        with_health(Adoption.objects.permitted(user))
        .filter(use_case__in=[case.pk for case in found], site__in=[site.pk for site in sites])
        .exclude(pk__in=Gate.objects.filter(state=GateState.KILLED, adoption__isnull=False).values("adoption"))
        .select_related("use_case", "site")
        .order_by("-phase", "id")
    )
    incidents = open_incidents(adoptions)
    states = with_incidents({a.pk: a.health for a in adoptions}, incidents)
    places: dict[tuple[UUID, UUID], list[Adoption]] = defaultdict(list)
    for adoption in adoptions:
        places[adoption.use_case_id, adoption.site_id].append(adoption)
    made = ScaleMap(sites, found)
    for key, here in places.items():
        worst = min((states[a.pk] for a in here), key=HEALTHS.index)
        if health and worst != health:
            continue
        made.cells[key] = Cell(
            use_case=here[0].use_case,
            site=here[0].site,
            adoption=here[0],
            phase=here[0].phase,
            health=worst,
            incidents=sum(incidents.get(a.pk, 0) for a in here),
            scopes=tuple(dict.fromkeys(str(a.get_scope_display()) for a in here)),
        )
    if health:
        made.use_cases = [case for case in found if any(case.pk == key[0] for key in made.cells)]
    return made
