"""Reads of people and their certificates: who holds a role where, what is valid, what is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from coe.catalogue import REMIND_BEFORE
from coe.choices import ActionState, RetrospectiveState
from coe.models import Action, Appointment, Certificate, CoeRole, QuizAttempt, Retrospective, RoiReview, Track
from devices.models import Site
from portal.core.models import User
from portal.core.roles import ROLES

EXPIRING = max(REMIND_BEFORE)


def appointment_end_of(appointment: Appointment) -> datetime | None:
    """When it ends or ended: the earlier of its term and of an early end; None for an open one."""
    ends = [end for end in (appointment.valid_until, appointment.ended_at) if end is not None]
    return min(ends) if ends else None


def appointment_valid(appointment: Appointment, now: datetime) -> bool:
    end = appointment_end_of(appointment)
    return appointment.valid_from <= now and (end is None or end > now)


def certificate_valid(certificate: Certificate, now: datetime) -> bool:
    revoked = certificate.revoked_at is not None and certificate.revoked_at <= now
    return certificate.issued_at <= now < certificate.valid_until and not revoked


def certificate_state(certificate: Certificate, now: datetime) -> str:
    """valid, expiring (within 30 days), expired or revoked."""
    if certificate.revoked_at is not None and certificate.revoked_at <= now:
        return "revoked"
    if certificate.valid_until <= now:
        return "expired"
    return "expiring" if certificate.valid_until - now <= EXPIRING else "valid"


def appointments_in_force(now: datetime) -> QuerySet[Appointment]:
    return Appointment.objects.filter(
        Q(valid_until=None) | Q(valid_until__gt=now), Q(ended_at=None) | Q(ended_at__gt=now), valid_from__lte=now
    )


def certificates_in_force(now: datetime) -> QuerySet[Certificate]:
    return Certificate.objects.filter(
        Q(revoked_at=None) | Q(revoked_at__gt=now), issued_at__lte=now, valid_until__gt=now
    )


def track_for(role: CoeRole) -> Track | None:
    return Track.objects.filter(role=role).order_by("title").first()


@dataclass(frozen=True)
class RoleFilling:
    """One role at one site. ``holders`` are appointed there (or company-wide) today, ``certified`` those of them who may sign."""

    role: CoeRole
    holders: tuple[Appointment, ...]
    certified: tuple[Appointment, ...]

    @property
    def filled(self) -> bool:
        return bool(self.certified)

    @property
    def state(self) -> str:
        return "ok" if self.filled else "watch" if self.holders else "breach"

    @property
    def words(self) -> str:
        if self.filled:
            return _("Filled and certified")
        if any(a.interim for a in self.holders):
            return _("Interim, without a certificate")
        return _("Appointed, without a valid certificate") if self.holders else _("Nobody appointed")


def roles_by_site(sites: Iterable[Any], now: datetime) -> dict[Any, list[RoleFilling]]:
    """For each site the roles it needs and who fills them (three queries, whatever the number of sites)."""
    roles = list(CoeRole.objects.filter(required_at_site=True))
    appointments = list(
        appointments_in_force(now)
        .filter(user__is_active=True)
        .select_related("user", "role", "site")
        .order_by("interim", "-valid_from")
    )
    certified = set(certificates_in_force(now).values_list("user_id", "role_id"))
    found: dict[Any, list[RoleFilling]] = {}
    for site in sites:
        rows = []
        for role in roles:
            holders = tuple(a for a in appointments if a.role_id == role.pk and a.site_id in {None, site.pk})
            good = tuple(a for a in holders if (a.user_id, a.role_id) in certified)
            rows.append(RoleFilling(role, holders, good))
        found[site.pk] = rows
    return found


def _many(rows: QuerySet[Any], by: str) -> Coalesce:
    """How many of these rows belong to the site of the outer query."""
    counted = rows.filter(**{by: OuterRef("pk")}).order_by().values(by).annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


def sites_with_what_waits(viewer: Any, now: datetime, site_id: Any = None) -> list[Any]:
    """The sites a person may see, each with ``drafts``, ``open_reviews``, ``open_actions`` and ``late_actions`` (one query)."""
    opened = Action.objects.filter(state=ActionState.OPEN)
    rows = Site.objects.permitted(viewer).annotate(
        drafts=_many(Retrospective.objects.filter(state=RetrospectiveState.DRAFT), "site"),
        open_reviews=_many(RoiReview.objects.filter(held_at=None), "adoption__site"),
        open_actions=_many(opened, "site"),
        late_actions=_many(opened.filter(due_on__lt=now.date()), "site"),
    )
    rows = rows.order_by("name", "pk")
    return list(rows.filter(pk=site_id) if site_id else rows)


def may_see_names(viewer: Any) -> bool:
    return bool(viewer.has_perm("coe.manage_people"))


def person_label(viewer: Any, person: User | None, *, names: bool | None = None) -> str:
    """The name for whoever manages people and for the person; for everybody else the role. Prefetch ``groups`` for lists."""
    if person is None:
        return _("nobody yet")
    if person.pk == viewer.pk or (may_see_names(viewer) if names is None else names):
        return str(person)
    labels = [ROLES[g.name].label for g in person.groups.all() if g.name in ROLES]
    return ", ".join(labels) if labels else _("a colleague")


@dataclass(frozen=True)
class SkillCell:
    role: CoeRole
    state: str
    words: str
    until: datetime | None = None
    appointed: bool = False
    certificate: Certificate | None = None


def skills_matrix(viewer: Any, now: datetime) -> dict[str, Any]:
    """People x roles with the state of their certificates: everybody with an appointment, certificate or attempt (six queries)."""
    roles = list(CoeRole.objects.all())
    names = may_see_names(viewer)
    people = list(
        User.objects.filter(is_active=True)
        .filter(
            Q(pk__in=Appointment.objects.values("user"))
            | Q(pk__in=Certificate.objects.values("user"))
            | Q(pk__in=QuizAttempt.objects.values("user"))
        )
        .prefetch_related("groups")
        .order_by("name", "email")
    )
    appointed: dict[Any, list[Appointment]] = defaultdict(list)
    for row in appointments_in_force(now).select_related("site"):
        appointed[row.user_id, row.role_id].append(row)
    newest: dict[Any, Certificate] = {}
    for certificate in Certificate.objects.order_by("valid_until"):
        key = (certificate.user_id, certificate.role_id)
        known = newest.get(key)
        if known is None or certificate_valid(certificate, now) or not certificate_valid(known, now):
            newest[key] = certificate
    rows = [
        {
            "person": person_label(viewer, person, names=names),
            "is_me": person.pk == viewer.pk,
            "cells": [
                _cell(role, appointed.get((person.pk, role.pk), []), newest.get((person.pk, role.pk)), now)
                for role in roles
            ],
        }
        for person in people
    ]
    if not names:
        rows.sort(key=lambda row: (not row["is_me"], row["person"]))
    return {"roles": roles, "rows": rows, "names": names}


def _cell(role: CoeRole, appointments: list[Appointment], certificate: Certificate | None, now: datetime) -> SkillCell:
    if certificate is not None:
        state = certificate_state(certificate, now)
        words = {
            "valid": _("Certified"),
            "expiring": _("Certificate expires soon"),
            "expired": _("Certificate expired"),
            "revoked": _("Certificate revoked"),
        }[state]
        return SkillCell(role, state, words, certificate.valid_until, bool(appointments), certificate)
    interim = next((a for a in appointments if a.interim), None)
    if interim is not None:
        return SkillCell(role, "watch", _("Interim, no certificate"), interim.valid_until, True)
    if appointments:
        return SkillCell(role, "not_met", _("Appointed, no certificate"), None, True)
    return SkillCell(role, "", "")


def certificates_due(now: datetime, within: timedelta = EXPIRING) -> list[Certificate]:
    """Certificates in force that end within the span and that no newer one of the same person and role outlives."""
    rows = list(
        certificates_in_force(now)
        .filter(valid_until__lte=now + within, user__is_active=True)
        .select_related("user", "role", "track")
        .order_by("valid_until")
    )
    renewed = {
        (user, role)
        for user, role in certificates_in_force(now)
        .filter(valid_until__gt=now + within)
        .values_list("user_id", "role_id")
    }
    return [c for c in rows if (c.user_id, c.role_id) not in renewed]
