"""The whole history of one gate in one timeline: states, reviews, signatures, decisions, waivers, conditions, comments.

One union finds the moments of a page; each kind is then read once. So ten thousand rows cost what ten do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import CharField, F, QuerySet, Value
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.utils.timezone import make_aware
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.clock import day_text, wall_now
from portal.core.models import AuditEntry
from usecases import evidence as registry
from usecases.choices import ReviewState
from usecases.models import Evidence, Gate, GateComment, GateCondition, GateReview, Signature, Waiver
from usecases.services.reviews import signed_by

#: Moves of the gate itself that no other row tells.
MOVES = ("gate.open", "gate.reopen", "gate.resume", "gate.conditions_met", "gate.not_pursue")
#: Ends of a waiver and a review whose hand only the audit trail keeps.
ENDS = ("waiver.revoke", "review.withdraw")

KINDS: dict[str, Any] = {
    "state": gettext_lazy("States of criteria"),
    "gate": gettext_lazy("Moves of the gate"),
    "review": gettext_lazy("Reviews and decisions"),
    "signature": gettext_lazy("Signatures"),
    "waiver": gettext_lazy("Waivers"),
    "condition": gettext_lazy("Conditions and what to redo"),
    "comment": gettext_lazy("Comments"),
}


@dataclass(frozen=True)
class Moment:
    """One line of the timeline. ``state``: what the status component draws, where there is one."""

    at: datetime
    kind: str
    who: str
    what: str
    text: str = ""
    state: str = ""
    state_label: str = ""
    url: str = ""
    key: str = ""

    @property
    def kind_label(self) -> str:
        return str(KINDS[self.kind])


@dataclass(frozen=True)
class Asked:
    """What of the history is wanted."""

    kinds: tuple[str, ...] = ()
    key: str = ""
    since: datetime | None = None
    until: datetime | None = None


def asked_of(query: Any) -> tuple[Asked, dict[str, str]]:
    """What an address asks for; a day that is no day is passed over and the field shows what counts. For page and API."""
    kinds = tuple(kind for kind in query.getlist("kind") if kind in KINDS)
    key = query.get("key", "")
    key = key if registry.spec(key) is not None else ""
    since, until = _day(query.get("since")), _day(query.get("until"))
    shown = {
        "key": key,
        "since": since.strftime("%Y-%m-%d") if since else "",
        "until": until.strftime("%Y-%m-%d") if until else "",
    }
    return Asked(kinds, key, since, until + timedelta(days=1) if until else None), shown


def _day(text: str | None) -> datetime | None:
    """Midnight UTC of the day; None for what is no day."""
    try:
        day = parse_date(text or "")
    except ValueError:
        return None
    return make_aware(datetime.combine(day, time.min)) if day is not None and 1970 <= day.year <= 9000 else None


def _label(key: str) -> str:
    return str(spec.label) if (spec := registry.spec(key)) else key


def _person(user: Any) -> str:
    return str(user) if user is not None else _("the portal")


def _hand(row: Waiver | GateReview) -> str:
    """Who ended it, as ``lines`` has read it from the audit trail."""
    return str(getattr(row, "ended_by", ""))


# ---- the branches of the union: (what it is, its moments) --------------------------------------------------------------


def _branches(gate: Gate, key: str) -> Iterator[tuple[str, str, QuerySet[Any], str]]:
    """Name, kind, rows and the field of the moment. A criterion narrows to what speaks of it."""
    now = wall_now()
    about = {"key": key} if key else {}
    evidence = Evidence.objects.filter(gate=gate, **about)
    waivers = Waiver.objects.filter(gate=gate, **about)
    terms = GateCondition.objects.filter(review__gate=gate, **about)
    comments = GateComment.objects.filter(gate=gate, **about)
    yield "state", "state", evidence, "since"
    yield "waiver", "waiver", waivers, "created_at"
    yield "revoked", "waiver", waivers.filter(revoked_at__isnull=False), "revoked_at"
    yield "expired", "waiver", waivers.filter(revoked_at=None, expires_at__lte=now), "expires_at"
    yield "condition", "condition", terms, "created_at"
    yield "met", "condition", terms.filter(met_at__isnull=False), "met_at"
    yield "comment", "comment", comments, "created_at"
    if key:
        return
    reviews = GateReview.objects.filter(gate=gate)
    yield "opened", "review", reviews, "created_at"
    yield "decided", "review", reviews.filter(state=ReviewState.DECIDED), "decided_at"
    yield "withdrawn", "review", reviews.filter(state=ReviewState.WITHDRAWN), "updated_at"
    yield "signature", "signature", Signature.objects.filter(review__gate=gate), "signed_at"
    yield (
        "gate",
        "gate",
        AuditEntry.objects.filter(object_type="usecases.Gate", object_id=str(gate.pk), action__in=MOVES),
        "at",
    )


def moments(gate: Gate, asked: Asked) -> QuerySet[Any]:
    """(moment, branch, row id) of everything that was asked for, the newest first."""
    parts = []
    for name, kind, rows, field in _branches(gate, asked.key):
        if asked.kinds and kind not in asked.kinds:
            continue
        if asked.since is not None:
            rows = rows.filter(**{f"{field}__gte": asked.since})
        if asked.until is not None:
            rows = rows.filter(**{f"{field}__lt": asked.until})
        parts.append(
            rows.order_by()
            .annotate(moment=F(field), branch=Value(name, CharField()), row=F("pk"))
            .values_list("moment", "branch", "row")
        )
    if not parts:
        return Evidence.objects.none().values_list("since", "key", "pk")
    first, *others = parts
    return first.union(*others, all=True).order_by("-moment", "branch", "row")


# ---- in words ----------------------------------------------------------------------------------------------------------


def _state(row: Evidence, at: datetime) -> Moment:
    words = {"what": _label(row.key), "state": row.get_state_display()}
    return Moment(
        at, "state", _("measured"), _("%(what)s: %(state)s") % words, row.text, row.state, row.get_state_display(),
        row.link, row.key,
    )  # fmt: skip


def _waiver(row: Waiver, at: datetime) -> Moment:
    what = _("Waived until %(day)s: %(what)s") % {"day": day_text(row.expires_at.date()), "what": _label(row.key)}
    return Moment(at, "waiver", str(row.granted_by), what, row.reason, "waived", _("Waived"), "", row.key)


def _revoked(row: Waiver, at: datetime) -> Moment:
    what = _("Waiver taken back: %s") % _label(row.key)
    return Moment(at, "waiver", _hand(row), what, row.reason, key=row.key)


def _expired(row: Waiver, at: datetime) -> Moment:
    return Moment(
        at, "waiver", _("the portal"), _("Waiver expired: %s") % _label(row.key), row.reason, "expired", _("Expired"), "",
        row.key,
    )  # fmt: skip


def _opened(row: GateReview, at: datetime) -> Moment:
    text = _("SHA-256 %s") % row.snapshot_sha256
    return Moment(
        at, "review", str(row.opened_by), _("Evidence frozen, review opened"), text, url=row.get_absolute_url()
    )


def _decided(row: GateReview, at: datetime) -> Moment:
    text = " ".join(part for part in (row.note, row.conditions) if part)
    return Moment(
        at, "review", _person(row.decided_by), _("Decided: %s") % row.get_decision_display(), text, row.decision,
        row.get_decision_display(), row.get_absolute_url(),
    )  # fmt: skip


def _withdrawn(row: GateReview, at: datetime) -> Moment:
    return Moment(at, "review", _hand(row), _("Review withdrawn"), row.note, url=row.get_absolute_url())


def _signature(row: Signature, at: datetime) -> Moment:
    what = _("Signed for it, as %s") if row.approves else _("Signed against it, as %s")
    tone, label = ("signed", _("Approves")) if row.approves else ("refused", _("Does not approve"))
    return Moment(
        at,
        "signature",
        signed_by(row),
        what % row.role,
        row.statement,
        tone,
        label,
        reverse("usecases:review", args=[row.review_id]),
    )


def _condition(row: GateCondition, at: datetime) -> Moment:
    what = f"{row.get_kind_display()}: {_label(row.key) if row.key else row.text}"
    return Moment(at, "condition", str(row.owner), what, url=row.get_absolute_url(), key=row.key)


def _met(row: GateCondition, at: datetime) -> Moment:
    what = _("Met: %s") % (_label(row.key) if row.key else row.text)
    who = _person(row.met_by) if row.met_by_id else _("its evidence")
    return Moment(at, "condition", who, what, row.met_note, "met", _("Met"), row.get_absolute_url(), row.key)


def _comment(row: GateComment, at: datetime) -> Moment:
    about = _("Comment on %s") % _label(row.key) if row.key else _("Comment")
    text = _("(withdrawn)") if row.withdrawn_at else row.text
    return Moment(at, "comment", str(row.author), about, text, url=row.get_absolute_url(), key=row.key)


def _move(row: AuditEntry, at: datetime) -> Moment:
    what, tone = {
        "gate.open": (_("Opened: the gate before it is passed"), "running"),
        "gate.not_pursue": (_("Not pursued"), "not_pursued"),
        "gate.reopen": (_("Reopened"), "reopened"),
        "gate.resume": (_("Resumed"), "running"),
        "gate.conditions_met": (_("All conditions met: passed"), "passed"),
    }[row.action]
    text = str(row.changes.get("reason") or row.changes.get("note") or "")
    who = row.actor_label if row.actor_id else _("the portal")
    return Moment(at, "gate", who, what, text, tone, what)


_READ: dict[str, tuple[Callable[[], QuerySet[Any]], Callable[[Any, datetime], Moment]]] = {
    "state": (lambda: Evidence.objects.all(), _state),
    "waiver": (lambda: Waiver.objects.select_related("granted_by"), _waiver),
    "revoked": (lambda: Waiver.objects.select_related("granted_by"), _revoked),
    "expired": (lambda: Waiver.objects.select_related("granted_by"), _expired),
    "opened": (lambda: GateReview.objects.select_related("opened_by", "decided_by"), _opened),
    "decided": (lambda: GateReview.objects.select_related("opened_by", "decided_by"), _decided),
    "withdrawn": (lambda: GateReview.objects.select_related("opened_by", "decided_by"), _withdrawn),
    "signature": (lambda: Signature.objects.select_related("user", "on_behalf_of"), _signature),
    "condition": (lambda: GateCondition.objects.select_related("owner", "met_by"), _condition),
    "met": (lambda: GateCondition.objects.select_related("owner", "met_by"), _met),
    "comment": (lambda: GateComment.objects.select_related("author"), _comment),
    "gate": (lambda: AuditEntry.objects.all(), _move),
}
_ONE_READ = {"revoked": "waiver", "expired": "waiver", "decided": "opened", "withdrawn": "opened", "met": "condition"}


def lines(found: Iterable[tuple[datetime, str, UUID]]) -> list[Moment]:
    """The moments in words, in their order; each table is read once."""
    page = list(found)
    wanted: dict[str, set[Any]] = {}
    for _at, branch, pk in page:
        wanted.setdefault(_ONE_READ.get(branch, branch), set()).add(pk)
    rows: dict[str, dict[Any, Any]] = {}
    for branch, ids in wanted.items():
        rows[branch] = {row.pk: row for row in _READ[branch][0]().filter(pk__in=ids)}
    ended = {str(pk) for _at, branch, pk in page if branch in {"revoked", "withdrawn"}}
    hands = AuditEntry.objects.filter(object_id__in=ended, action__in=ENDS) if ended else AuditEntry.objects.none()
    by = dict(hands.values_list("object_id", "actor_label"))
    for branch in ("opened", "waiver"):
        for pk, row in rows.get(branch, {}).items():
            row.ended_by = by.get(str(pk), "")
    out = []
    for at, branch, pk in page:
        row = rows[_ONE_READ.get(branch, branch)].get(pk)
        if row is not None:
            out.append(_READ[branch][1](row, at))
    return out


HEADER = ("at", "kind", "who", "what", "text", "state", "criterion", "link")


def export_rows(found: QuerySet[Any], size: int = 500) -> Iterator[list[Any]]:
    """Everything that was asked for, in pages, for CSV and XLSX."""
    at = 0
    while page := list(found[at : at + size]):
        for moment in lines(page):
            yield [
                moment.at, moment.kind, moment.who, moment.what, moment.text, moment.state, moment.key, moment.url,
            ]  # fmt: skip
        at += size
