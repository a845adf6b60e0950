"""My work: everything that waits for one person, most urgent first, from one query over all kinds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db.models import Case, Count, Exists, F, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.fields import DateField, DateTimeField, IntegerField
from django.db.models.functions import Coalesce, TruncMonth, TruncQuarter
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from coe.choices import ActionState, RetrospectiveState
from coe.models import Action, Appointment, Retrospective, RoiReview
from coe.periods import plus_months, quarter_name
from coe.selectors import EXPIRING, appointments_in_force, certificates_in_force
from coe.services.deputies import in_force as deputies_in_force
from devices.models import Site
from devices.plant_time import plant_now
from devices.selectors import onboarding_queue, reach_of
from governance.choices import IncidentState, VersionState
from governance.models import Incident, ModelVersion
from portal.core.clock import month_text, wall_now
from portal.dashboard.rows import Row, branch, count, gather
from usecases import evidence
from usecases.choices import CriterionSource, RoundState
from usecases.gate_rules import SIGNERS, SignerSlot
from usecases.models import Criterion, GateReview, Rating, ScoringRound, Signature
from usecases.selectors import reviews_waiting_for, terms_open

#: How old the menu's count may be.
COUNT_SECONDS = 30
#: Kinds in the order of their urgency.
ORDER = (
    "incident",
    "version",
    "review",
    "decision",
    "condition",
    "action",
    "appointment",
    "certificate",
    "retrospective",
    "roi_review",
    "round",
    "enrolment",
)
#: While these wait a machine runs badly or a repair stands still: as urgent as what is overdue.
STOPPING = frozenset({"incident", "version"})


@dataclass(frozen=True)
class Item:
    """One thing to do. ``due`` is a moment of wall time, or of plant time where ``clock`` says so; None: no date."""

    kind: str
    pk: UUID
    icon: str
    label: str
    act: str
    url: str
    place: str
    site: UUID | None
    since: datetime | None
    due: datetime | None
    clock: str
    overdue: bool
    note: str

    @property
    def state(self) -> str:
        return "overdue" if self.overdue else "pending"

    @property
    def rank(self) -> tuple[Any, ...]:
        """What stops a machine or a repair and what is overdue first, then by kind, then by date, the oldest first."""
        far = datetime.max.replace(tzinfo=UTC)
        return (
            not (self.overdue or self.kind in STOPPING),
            ORDER.index(self.kind),
            self.due or far,
            self.since or far,
            str(self.pk),
        )


# ---- what waits, by kind -------------------------------------------------------------------------------------------------


def _answered(slot: SignerSlot, **more: Any) -> Exists:
    """A deputy's signature fills the place of the person stood in for."""
    roles = sorted(slot.roles)
    fits = Q(on_behalf_of=None, user__groups__name__in=roles) | Q(on_behalf_of__groups__name__in=roles)
    if slot.sponsor:
        sponsor = F("review__gate__use_case__sponsor")
        fits |= Q(on_behalf_of=None, user=sponsor) | Q(on_behalf_of=sponsor)
    return Exists(Signature.objects.filter(fits, review=OuterRef("pk"), **more))


def _mine(slot: SignerSlot, user: Any) -> Q | None:
    """The reviews of a gate in which this person can fill the slot; None: in no one."""
    if slot.roles & set(user.role_keys):
        return Q()
    return Q(gate__use_case__sponsor=user) if slot.sponsor else None


def _stood_in_for(slot: SignerSlot, user: Any, now: datetime) -> Exists:
    """Somebody who fills the slot has named this person as deputy, for the review's site or for all, and has not signed."""
    fits = Q(person__groups__name__in=sorted(slot.roles))
    if slot.sponsor:
        fits |= Q(person=OuterRef("gate__use_case__sponsor"))
    here = Q(site=None) | Q(site=OuterRef("gate__adoption__site"))
    return Exists(deputies_in_force(now).filter(fits, here, deputy=user).order_by())


def reviews(user: Any) -> QuerySet[Any]:
    """Open reviews in which a signature is missing that this person can give: by their roles, as sponsor, or as a deputy."""
    now = wall_now()
    wanted: Any = Q(pk__in=[])
    by_slot: dict[str, tuple[SignerSlot, list[int]]] = {}
    for number, slots in SIGNERS.items():
        for slot in slots:
            by_slot.setdefault(slot.key, (slot, []))[1].append(number)
    for slot, numbers in by_slot.values():
        mine = _mine(slot, user)
        can = Q(_stood_in_for(slot, user, now)) if mine is None else mine
        if mine is not None and mine != Q():
            can |= Q(_stood_in_for(slot, user, now))
        wanted |= can & Q(gate__number__in=numbers) & ~_answered(slot, approves=True)
    return reviews_waiting_for(user).filter(wanted).select_related(None)


def decisions(user: Any) -> QuerySet[Any]:
    """Open reviews that everybody asked has signed, for or against, and that this signer may decide."""
    wanted = Q(pk__in=[])
    for number, slots in SIGNERS.items():
        answered = Q(gate__number=number)
        for slot in slots:
            answered &= Q(_answered(slot))
        for mine in (_mine(slot, user) for slot in slots):
            if mine is not None:
                wanted |= mine & answered
    return GateReview.objects.permitted(user, "decide").filter(wanted, state="open")


def conditions(user: Any) -> QuerySet[Any]:
    """What decisions on gates ask of this person; a criterion among it is named by its key."""
    what = Case(When(key="", then=F("text")), default=F("key"))
    rows: QuerySet[Any] = terms_open().permitted(user).filter(owner=user)
    return rows.annotate(what=what)


def versions(user: Any) -> QuerySet[Any]:
    """Candidates that wait for the hand of somebody appointed to sign model versions."""
    rows = ModelVersion.objects.permitted(user).filter(state=VersionState.CANDIDATE, signed_at=None)
    return rows if "safety_officer" in user.role_keys else rows.none()


def rounds(user: Any) -> QuerySet[Any]:
    """Rounds in which this rater has not answered everything that somebody has to judge ("I don't know" is an answer).

    In a second vote the answers of that vote count.
    """
    asking = Q(state=RoundState.OPEN) | Q(state=RoundState.SECOND)
    vote = Q(round__state=RoundState.OPEN, vote=1) | Q(round__state=RoundState.SECOND, vote=2)
    judged = CriterionSource.JUDGED
    given = Rating.objects.filter(vote, round=OuterRef("pk"), rater=user, criterion__source=judged).order_by()
    leaves = Criterion.objects.filter(criteria_set=OuterRef("criteria_set"), children=None, source=judged).order_by()
    cases: QuerySet[Any] = ScoringRound.use_cases.through.objects.filter(scoringround=OuterRef("pk")).values(
        "scoringround"
    )
    return (
        ScoringRound.objects.filter(asking, raters=user)
        .annotate(
            given=_count(given.values("round").annotate(n=Count("pk")).values("n")),
            asked=_count(leaves.values("criteria_set").annotate(n=Count("pk")).values("n"))
            * _count(cases.annotate(n=Count("pk")).values("n")),
        )
        .filter(given__lt=F("asked"))
    )


def _count(rows: QuerySet[Any]) -> Coalesce:
    return Coalesce(Subquery(rows, output_field=IntegerField()), Value(0))


def incidents(user: Any) -> QuerySet[Any]:
    return (
        Incident.objects.permitted(user, "acknowledge")
        .exclude(state=IncidentState.RESOLVED)
        .filter(acknowledged_at=None)
    )


def _plant_time(path: str, now: datetime) -> Coalesce:
    return Coalesce(F(f"{path}__plant_clock__plant_now"), Value(now, output_field=DateTimeField()))


def retrospectives(user: Any, now: datetime) -> QuerySet[Any]:
    """Of each site the newest draft whose month is over; ``older`` counts those before it."""
    over = Retrospective.objects.filter(state=RetrospectiveState.DRAFT).annotate(
        running=TruncMonth(_plant_time("site", now), output_field=DateField(), tzinfo=UTC)
    )
    same = over.filter(site=OuterRef("site"), month__lt=F("running")).order_by()
    return (
        over.permitted(user, "hold")
        .filter(month__lt=F("running"))
        .annotate(
            newer=Exists(same.filter(month__gt=OuterRef("month"))),
            older=_count(same.filter(month__lt=OuterRef("month")).values("site").annotate(n=Count("pk")).values("n")),
        )
        .filter(newer=False)
    )


def roi_reviews(user: Any, now: datetime) -> QuerySet[Any]:
    """Of each adoption the newest review not held whose quarter is over; ``older`` counts those before it."""
    over = RoiReview.objects.filter(held_at=None).annotate(
        running=TruncQuarter(_plant_time("adoption__site", now), output_field=DateField(), tzinfo=UTC)
    )
    same = over.filter(adoption=OuterRef("adoption"), quarter__lt=F("running")).order_by()
    counted = same.filter(quarter__lt=OuterRef("quarter")).values("adoption").annotate(n=Count("pk")).values("n")
    return (
        over.permitted(user, "hold")
        .filter(quarter__lt=F("running"))
        .annotate(newer=Exists(same.filter(quarter__gt=OuterRef("quarter"))), older=_count(counted))
        .filter(newer=False)
    )


def certificates(user: Any, now: datetime) -> QuerySet[Any]:
    """The person's own certificates that end soon and that no newer one outlives."""
    renewed = certificates_in_force(now).filter(
        user=OuterRef("user"), role=OuterRef("role"), valid_until__gt=now + EXPIRING
    )
    return certificates_in_force(now).filter(~Exists(renewed), user=user, valid_until__lte=now + EXPIRING)


def appointments(user: Any, now: datetime) -> QuerySet[Any]:
    """The person's own appointments without a certificate: what they stand in for has to be earned before they end."""
    certified = certificates_in_force(now).filter(user=OuterRef("user"), role=OuterRef("role"))
    rows: QuerySet[Appointment] = appointments_in_force(now)
    return rows.filter(~Exists(certified), user=user, valid_until__isnull=False)


def sites_to_onboard(user: Any, now: datetime) -> QuerySet[Any]:
    """Sites where this person may enrol devices, with how many wait."""
    waiting = onboarding_queue(now).filter(site=OuterRef("pk")).order_by().values("site")
    first = waiting.annotate(first=Min("created_at")).values("first")
    return (
        Site.objects.permitted(user, "enrol")
        .annotate(
            waiting=_count(waiting.annotate(n=Count("pk")).values("n")),
            first_at=Subquery(first, output_field=DateTimeField()),
        )
        .filter(waiting__gt=0)
    )


_AT_ADOPTION = {"site": "adoption__site_id", "site_name": "adoption__site__name", "adoption": "adoption_id"}
_AT_GATE = {name: f"gate__{path}" for name, path in _AT_ADOPTION.items()}
_AT_SITE = {"site": "site_id", "site_name": "site__name"}
_REVIEW = {"title": "gate__use_case__title", "since": "created_at", "number": "gate__number", **_AT_GATE}
_COLUMNS: dict[str, dict[str, Any]] = {
    "incident": {"title": "title", "text": "cause", "since": "opened_at", **_AT_ADOPTION},
    "version": {"title": "model__name", "since": "trained_at", "number": "number"},
    "review": _REVIEW,
    "decision": _REVIEW,
    "condition": {
        "pk": "review__gate_id",
        "title": "review__gate__use_case__title",
        "text": "what",
        "since": "created_at",
        "due_at": "due_at",
        "number": "review__gate__number",
        **{name: f"review__gate__{path}" for name, path in _AT_ADOPTION.items()},
    },
    "action": {"title": "text", "since": "created_at", "due_on": "due_on", **_AT_SITE},
    "appointment": {
        "pk": "role_id",
        "title": "role__name",
        "since": "valid_from",
        "due_at": "valid_until",
        **_AT_SITE,
    },
    "certificate": {"pk": "role_id", "title": "role__name", "since": "issued_at", "due_at": "valid_until"},
    "retrospective": {
        "title": "site__name",
        "since": "created_at",
        "due_on": "month",
        "number": "older",
        **_AT_SITE,
    },
    "roi_review": {
        "title": "adoption__use_case__title",
        "since": "created_at",
        "due_on": "quarter",
        "number": "older",
        **_AT_ADOPTION,
    },
    "round": {"title": "title", "since": "created_at", "number": "given", "of": "asked"},
    "enrolment": {"title": "name", "site": "pk", "site_name": "name", "number": "waiting", "since": "first_at"},
}


def _waiting(user: Any, now: datetime) -> dict[str, QuerySet[Any]]:
    """The rows of each kind, as querysets."""
    return {
        "incident": incidents(user),
        "version": versions(user),
        "review": reviews(user),
        "decision": decisions(user),
        "condition": conditions(user),
        "action": Action.objects.permitted(user).filter(state=ActionState.OPEN, owner=user),
        "appointment": appointments(user, now),
        "certificate": certificates(user, now),
        "retrospective": retrospectives(user, now),
        "roi_review": roi_reviews(user, now),
        "round": rounds(user),
        "enrolment": sites_to_onboard(user, now),
    }


def waiting_for(user: Any) -> list[Item]:
    """Everything that waits for this person, the most urgent first. One query, and those of the person's roles."""
    if not getattr(user, "is_authenticated", False):
        return []
    now = wall_now()
    clocks = {site.pk: plant_now(site) for site in reach_of(user).sites}
    rows = gather(branch(found, kind, **_COLUMNS[kind]) for kind, found in _waiting(user, now).items())
    return sorted((_item(row, now, clocks) for row in rows), key=lambda item: item.rank)


def work_of(user: Any) -> list[Item]:
    """``waiting_for``, read once per request: the menu counts what a page has read already."""
    kept: list[Item] | None = getattr(user, "_dashboard_work", None)
    if kept is None:
        kept = waiting_for(user)
        user._dashboard_work = kept
    return kept


def work_count(user: Any) -> int:
    """How much waits now; one narrow query."""
    return count(_waiting(user, wall_now()).values())


def menu_count(user: Any) -> int:
    """How much waits, for the menu of every page: half a minute of age does it no harm. A page that has read the work
    counts anew."""
    key = f"work-count:{user.pk}"
    kept: list[Item] | None = getattr(user, "_dashboard_work", None)
    if kept is not None:
        cache.set(key, len(kept), COUNT_SECONDS)
        return len(kept)
    known: int | None = cache.get(key)
    if known is None:
        known = work_count(user)
        cache.set(key, known, COUNT_SECONDS)
    return known


def at_site(items: Iterable[Item], site_id: Any) -> list[Item]:
    """Those of one site, and those of no site in particular."""
    return [item for item in items if not site_id or item.site is None or str(item.site) == str(site_id)]


# ---- in words ------------------------------------------------------------------------------------------------------------

_ADDRESS = {
    "incident": "governance:incident",
    "version": "governance:model-version",
    "review": "usecases:review",
    "decision": "usecases:review",
    "condition": "usecases:gate",
    "action": "coe:action",
    "appointment": "coe:role",
    "certificate": "coe:role",
    "retrospective": "coe:retrospective",
    "roi_review": "coe:roi-review",
    "round": "usecases:round",
}
#: Where on its page the thing stands.
_ANCHOR = {"condition": "#terms"}
_ICON = {
    "version": "model_version",
    "review": "gate_review",
    "decision": "gate_review",
    "condition": "gate_review",
    "round": "scoring",
}


def _item(row: Row, now: datetime, clocks: dict[Any, datetime]) -> Item:
    due, clock, overdue = _due(row, now, clocks)
    label, act, note = _words(row)
    url = (
        f"{reverse('devices:onboarding')}?site={row.pk}"
        if row.kind == "enrolment"
        else reverse(_ADDRESS[row.kind], args=[row.pk]) + _ANCHOR.get(row.kind, "")
    )
    return Item(
        kind=row.kind,
        pk=row.pk,
        icon=_ICON.get(row.kind, row.kind),
        label=label,
        act=act,
        url=url,
        place=row.site_name or "",
        site=row.site,
        since=row.since,
        due=due,
        clock=clock,
        overdue=overdue,
        note=note,
    )


def _due(row: Row, now: datetime, clocks: dict[Any, datetime]) -> tuple[datetime | None, str, bool]:
    """When it is due, by which clock, and whether that is over. A review is due by the end of the month or quarter after."""
    if row.kind in {"retrospective", "roi_review"} and row.due_on is not None:
        months = 1 if row.kind == "retrospective" else 3
        due = _midnight(plus_months(row.due_on, 2 * months))
        return due, "plant", due <= clocks.get(row.site, now)
    if row.due_on is not None:
        due = _midnight(row.due_on)
        return due, "wall", row.due_on < now.date()
    return row.due_at, "wall", row.due_at is not None and row.due_at <= now


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def _words(row: Row) -> tuple[str, str, str]:
    """What to do, what the button says, and a remark."""
    words: dict[str, Any] = {"what": row.title, "n": row.number or 0, "of": row.of or 0}
    older = ""
    if row.kind in {"retrospective", "roi_review"} and row.number:
        older = ngettext("%d older one waits too", "%d older ones wait too", row.number) % row.number
    if row.kind == "incident":
        return _("Take the incident: %(what)s") % words, _("Open the incident"), row.text or ""
    if row.kind == "version":
        return _("Sign %(what)s v%(n)s") % words, _("Open the version"), _("It cannot be rolled out unsigned")
    if row.kind == "review":
        return _("Sign the review of gate %(n)s: %(what)s") % words, _("Read and sign"), ""
    if row.kind == "decision":
        text = _("Decide gate %(n)s: %(what)s") % words
        return text, _("Open the review"), _("Everybody asked has signed")
    if row.kind == "condition":
        key = row.text or ""
        words["said"] = spec.label if (spec := evidence.spec(key)) else key
        return _("See to it: %(said)s") % words, _("Open the gate"), _("Asked at gate %(n)s: %(what)s") % words
    if row.kind == "action":
        return row.title, _("Open the action"), ""
    if row.kind == "appointment":
        text = _("Earn your certificate as %(what)s") % words
        return text, _("See the role"), _("Your appointment stands without one until it ends")
    if row.kind == "certificate":
        text = _("Renew your certificate as %(what)s") % words
        return text, _("See the role"), _("Without it you can no longer sign")
    if row.kind == "retrospective" and row.due_on is not None:
        words["month"] = month_text(row.due_on)
        return _("Hold the retrospective of %(month)s") % words, _("Open it, it is filled in"), older
    if row.kind == "roi_review" and row.due_on is not None:
        words["quarter"] = quarter_name(row.due_on)
        return _("Hold the ROI review of %(quarter)s: %(what)s") % words, _("Open it, it is computed"), older
    if row.kind == "round":
        note = _("%(n)s of %(of)s answers given") % words
        return _("Rate in the round: %(what)s") % words, _("Rate now"), note
    text = ngettext("Onboard %d device", "Onboard %d devices", words["n"]) % words["n"]
    return text, _("Open onboarding"), ""
