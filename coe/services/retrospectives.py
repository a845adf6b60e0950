"""A site's month: filled in from its records, edited while it is a draft, held once people have met over it."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import DateField
from django.db.models.functions import TruncMonth

from coe.choices import RetrospectiveState
from coe.models import Retrospective
from coe.month import month_summary
from coe.periods import each, month_of, plus_months, span
from devices.models import Site
from devices.plant_time import plant_clock, plant_now
from governance.models import Batch, Incident
from governance.selectors.models import in_service
from portal.core import audit
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state, entity_update, versioned_update
from usecases.services import gates_remeasure

log = structlog.get_logger(__name__)
MAX_TEXT = 20_000


def months_due(site: Site, *, until: date) -> list[date]:
    """First days of the months before ``until`` that people have to meet over: a model was live at the site, or an incident was open.

    Where plant time is nominal a month without any row is a gap in the numbering, not in the plant: it does not count.
    """
    service = in_service(site)
    incidents = list(Incident.objects.filter(adoption__site=site).values_list("detected_plant_at", "resolved_plant_at"))
    begins = [detected for detected, _resolved in incidents] + ([service.since] if service else [])
    if not begins:
        return []
    clock = plant_clock(site, fresh=True)
    with_rows = None
    if clock is not None and clock.nominal:
        rows = Batch.objects.filter(pipeline__adoption__site=site).annotate(
            month=TruncMonth("plant_to", output_field=DateField(), tzinfo=UTC)
        )
        with_rows = set(rows.order_by().values_list("month", flat=True).distinct())
    due = []
    for month in each(month_of(min(begins)), month_of(until), 1):
        begin, end = span(month, 1)
        served = service is not None and service.since < end and (service.until is None or service.until >= begin)
        open_in_it = any(detected < end and (resolved is None or resolved >= begin) for detected, resolved in incidents)
        if (served or open_in_it) and (with_rows is None or month in with_rows):
            due.append(month)
    return due


@transaction.atomic
def retrospective_prepare(*, site: Site, month: date, actor: Any = None) -> Retrospective:
    """Fill in the month from its records. Safe to call again: a draft follows its records, a held one is left as it is.

    A sentence that somebody has edited stays as edited. The running month can be prepared (and says so), a future one not.
    """
    now = plant_now(site, fresh=True)
    month = month_of(month)
    if month > now.date():
        raise InvalidInput({"month": f"Plant time at {site} is {day_text(now)}: this month has not begun."})
    found = Retrospective.objects.filter(site=site, month=month).first()
    if found is not None and found.state == RetrospectiveState.HELD:
        return found
    summary, incidents = month_summary(site, month, now)
    suggested = summary["suggested"]
    if found is None:
        made = Retrospective(site=site, month=month, summary=summary, **suggested)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError:
            return Retrospective.objects.get(site=site, month=month)
        made.incidents.set(incidents)
        audit.record(actor=actor, action="retrospective.prepare", obj=made, changes={"month": month.isoformat()})
        return made
    if found.summary == summary:
        return found
    before = found.summary.get("suggested", {})
    values: dict[str, Any] = {"summary": summary}
    values |= {name: text for name, text in suggested.items() if getattr(found, name) == before.get(name, "")}
    versioned_update(found, where={"state": RetrospectiveState.DRAFT}, **values)
    found.incidents.set(incidents)
    audit.record(actor=actor, action="retrospective.refresh", obj=found, changes={"month": month.isoformat()})
    return found


def retrospectives_prepare_all(*, site: Site, until: date | None = None, refresh: bool = True) -> int:
    """Prepare every month that is due (``months_due``) and over, up to the month before ``until`` (default: plant time now).

    Gives the number of months looked at; ``refresh=False`` leaves months alone that have a retrospective already, except the last.
    """
    end = month_of(until or plant_now(site, fresh=True).date())
    last = plus_months(end, -1)
    known = set() if refresh else set(Retrospective.objects.filter(site=site).values_list("month", flat=True))
    months = [month for month in months_due(site, until=end) if month not in known or month == last]
    for month in months:
        retrospective_prepare(site=site, month=month)
    return len(months)


def retrospective_announce(retrospective: Retrospective) -> None:
    """Tell those who may hold it that the month is over and waits for them, once."""
    notify(
        user_ids=people_who_may(retrospective.site, "review"),
        kind="retrospective",
        text=f"The retrospective of {retrospective} is filled in and waits to be held.",
        url=retrospective.get_absolute_url(),
        dedupe_key=f"retrospective:{retrospective.pk}",
    )


def _texts(data: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {name: str(data[name]).strip() for name in ("went_well", "to_improve") if name in data}
    wrong = {name: f"At most {MAX_TEXT:,} characters." for name, text in values.items() if len(text) > MAX_TEXT}
    if wrong:
        raise InvalidInput(wrong)
    return values


def retrospective_update(
    *, actor: Any, retrospective: Retrospective, data: dict[str, Any], expected_version: int | None = None
) -> Retrospective:
    """Edit what went well and what to improve. A held retrospective no longer changes."""
    if expected_version is not None and retrospective.version != expected_version:
        raise StaleWrite
    if retrospective.state == RetrospectiveState.HELD:
        raise DomainError("wrong_state", "This retrospective has been held; what was written then stays.")
    return entity_update(
        actor=actor, obj=retrospective, data=_texts(data), expected_version=expected_version or retrospective.version
    )


@transaction.atomic
def retrospective_hold(
    *,
    actor: Any,
    retrospective: Retrospective,
    data: dict[str, Any] | None = None,
    expected_version: int | None = None,
) -> Retrospective:
    """People have met over it: the texts (``data`` may bring their last form) and the figures are kept as they are."""
    if expected_version is not None and retrospective.version != expected_version:
        raise StaleWrite
    site = retrospective.site
    over = plus_months(retrospective.month, 1)
    if plant_now(site, fresh=True).date() < over:
        raise DomainError(
            "month_not_over",
            f"The month is over on {day_text(over)} (plant time); until then it can only be looked at.",
        )
    values = _texts(data or {})
    texts = {"went_well": retrospective.went_well, "to_improve": retrospective.to_improve} | values
    wrong = {name: "Write at least one sentence." for name, text in texts.items() if not text.strip()}
    if wrong:
        raise InvalidInput(wrong)
    change_state(
        retrospective,
        old=RetrospectiveState.DRAFT,
        new=RetrospectiveState.HELD,
        expected_version=expected_version,
        held_at=wall_now(),
        held_by=actor,
        **values,
    )
    audit.record(
        actor=actor,
        action="retrospective.hold",
        obj=retrospective,
        changes={"state": [RetrospectiveState.DRAFT, RetrospectiveState.HELD], **values},
    )
    gates_remeasure(site=site)
    return retrospective
