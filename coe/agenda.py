"""Due things by date: certificates, appointments and actions in wall time; reviews in the plant time of their site."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django.db.models import prefetch_related_objects
from django.utils.translation import gettext as _

from coe import selectors
from coe.choices import ActionState, RetrospectiveState
from coe.models import Action, Retrospective, RoiReview
from coe.periods import plus_months

#: Rows of each kind; older drafts of a long history are counted, not listed.
_MOST = 60


def agenda(viewer: Any, now: datetime, site_id: Any = None) -> dict[str, Any]:
    """``days``: wall-time entries by month, the overdue first; ``plant``: reviews that wait, the newest first."""
    names = selectors.may_see_names(viewer)
    certificates = selectors.certificates_in_force(now).select_related("user", "role")
    rows: list[dict[str, Any]] = [
        {
            "on": certificate.valid_until.date(),
            "kind": "certificate",
            "label": _("Certificate as %(role)s expires") % {"role": certificate.role},
            "person": certificate.user,
            "url": certificate.get_absolute_url(),
            "state": selectors.certificate_state(certificate, now),
        }
        for certificate in certificates.order_by("valid_until")[:_MOST]
    ]
    ending = selectors.appointments_in_force(now).filter(valid_until__isnull=False)
    if site_id:
        ending = ending.filter(site_id=site_id)
    for row in ending.select_related("user", "role", "site").order_by("valid_until")[:_MOST]:
        if row.valid_until is None:
            continue
        rows.append(
            {
                "on": row.valid_until.date(),
                "kind": "appointment",
                "label": _("Appointment as %(role)s ends") % {"role": row.role},
                "person": row.user,
                "url": row.get_absolute_url(),
                "state": "watch" if row.interim else "",
            }
        )
    actions = Action.objects.permitted(viewer).filter(state=ActionState.OPEN)
    if site_id:
        actions = actions.filter(site_id=site_id)
    due = actions.select_related("owner", "site").order_by("due_on")
    rows += [
        {
            "on": action.due_on,
            "kind": "action",
            "label": action.text,
            "person": action.owner,
            "url": action.get_absolute_url(),
            "state": "overdue" if action.due_on < now.date() else "",
        }
        for action in due[:_MOST]
    ]
    prefetch_related_objects([r["person"] for r in rows if r["person"] is not None], "groups")
    for entry in rows:
        entry["who"] = selectors.person_label(viewer, entry["person"], names=names)
    return {"months": _by_month(rows), "today": now.date(), **_waiting(viewer, site_id)}


def _by_month(rows: list[dict[str, Any]]) -> list[tuple[date, list[dict[str, Any]]]]:
    months: dict[date, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: (r["on"], r["label"])):
        months.setdefault(row["on"].replace(day=1), []).append(row)
    return list(months.items())


def _waiting(viewer: Any, site_id: Any) -> dict[str, Any]:
    retrospectives = Retrospective.objects.permitted(viewer).filter(state=RetrospectiveState.DRAFT)
    reviews = RoiReview.objects.permitted(viewer).filter(held_at=None)
    if site_id:
        retrospectives, reviews = retrospectives.filter(site_id=site_id), reviews.filter(adoption__site_id=site_id)
    rows: list[dict[str, Any]] = [
        {"due": plus_months(r.month, 1), "kind": "retrospective", "label": str(r), "url": r.get_absolute_url()}
        for r in retrospectives.select_related("site").order_by("-month")[:12]
    ]
    rows += [
        {"due": plus_months(r.quarter, 3), "kind": "roi_review", "label": str(r), "url": r.get_absolute_url()}
        for r in reviews.select_related("adoption__site", "adoption__use_case").order_by("-quarter")[:12]
    ]
    rows.sort(key=lambda r: r["due"], reverse=True)
    return {"waiting": rows}
