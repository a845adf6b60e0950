"""Tables of the pages and of their exports."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from coe import selectors
from coe.models import Action, Certificate, Retrospective, RoiReview
from coe.periods import quarter_name
from portal.core.clock import month_text, wall_now
from portal.core.templatetags.phasegate import money

STATUS = '{% include "components/status.html" with state=shown label=label only %}'
_NUMBER = {"td": {"class": "pg-num"}, "th": {"class": "pg-num"}}


# The interval below its estimate: a column of its own would push the last one off a 1280 px page.
_MEASURED = (
    "{% load phasegate %}<span>{{ record.measured|money:record.currency }}{% if record.measured_low is not None %}"
    '<span class="d-block pg-quiet pg-small">{{ record.measured_low|floatformat:"0g" }} … {{ record.measured_high|money:record.currency }}</span>{% endif %}</span>'
)


class StatusColumn(tables.TemplateColumn):
    """Icon, word and colour; the export has the word. ``show(record)`` gives the state of the component and the word."""

    def __init__(self, show: Any, **kwargs: Any) -> None:
        super().__init__(template_code=STATUS, **kwargs)
        self._show = show

    def render(self, record: Any, table: Any, value: Any, bound_column: Any, **kwargs: Any) -> Any:
        shown, label = self._show(record)
        self.extra_context = {"shown": shown, "label": label}
        return super().render(record, table, value, bound_column, **kwargs)

    def value(self, record: Any, **kwargs: Any) -> Any:
        return str(self._show(record)[1])


class PersonColumn(tables.Column):
    """A person as the viewer may see them: by name or by role. Accessor: the user."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("orderable", False)
        kwargs.setdefault("empty_values", ())
        super().__init__(**kwargs)

    def render(self, value: Any, table: Any) -> Any:
        if not hasattr(table, "_names"):
            table._names = selectors.may_see_names(table.request.user)
        return selectors.person_label(table.request.user, value, names=table._names)


def retrospective_state(record: Retrospective) -> tuple[str, Any]:
    if record.state == "held":
        return "done", record.get_state_display()
    return "draft", record.get_state_display() if record.summary.get("complete", True) else _("Month still running")


def action_state(record: Action) -> tuple[str, Any]:
    if record.state == "open" and record.due_on < wall_now().date():
        return "overdue", _("Overdue")
    return {"open": ("pending", _("Open")), "done": ("done", _("Done"))}.get(
        record.state, ("not_applicable", record.get_state_display())
    )


VERDICT_TONES = {
    "open": "not_measured",
    "on_plan": "ok",
    "above": "ok",
    "below": "breach",
    "not_provable": "watch",
}


def review_state(record: RoiReview) -> tuple[str, Any]:
    return VERDICT_TONES[record.verdict], record.get_verdict_display()


def held_state(record: Any) -> tuple[str, Any]:
    return ("done", _("Held")) if record.held_at else ("draft", _("Waits to be held"))


class RetrospectiveTable(tables.Table):
    month = tables.Column(linkify=True, verbose_name=_("Month (plant time)"))
    site = tables.Column(accessor="site__name", verbose_name=_("Site"))
    incidents = tables.Column(
        accessor="summary__incidents", verbose_name=_("Incidents"), orderable=False, attrs=_NUMBER
    )
    state = StatusColumn(retrospective_state, verbose_name=_("State"))
    held_by = PersonColumn(verbose_name=_("Held by"))

    class Meta:
        model = Retrospective
        fields = ("month", "site", "incidents", "state", "held_by")
        order_by = "-month"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def render_month(self, value: Any) -> str:
        return month_text(value)

    def value_month(self, value: Any) -> str:
        return f"{value:%Y-%m}"

    def render_incidents(self, value: Any) -> int:
        return len(value)


class ActionTable(tables.Table):
    text = tables.Column(linkify=True, verbose_name=_("What"))
    site = tables.Column(accessor="site__name", verbose_name=_("Site"))
    owner = PersonColumn(verbose_name=_("Owner"))
    due_on = tables.DateColumn(verbose_name=_("Due (wall time)"))
    state = StatusColumn(action_state, verbose_name=_("State"))

    class Meta:
        model = Action
        fields = ("text", "site", "owner", "due_on", "state")
        order_by = "due_on"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}


def _amount(record: RoiReview, value: Any) -> str:
    return money(value, record.currency)


class RoiReviewTable(tables.Table):
    quarter = tables.Column(linkify=True, verbose_name=_("Quarter (plant time)"))
    use_case = tables.Column(accessor="adoption__use_case__title", verbose_name=_("Use case"))
    site = tables.Column(accessor="adoption__site__name", verbose_name=_("Site"))
    planned = tables.Column(verbose_name=_("Planned"), attrs=_NUMBER)
    measured = tables.TemplateColumn(_MEASURED, verbose_name=_("Measured"), attrs=_NUMBER)
    measured_low = tables.Column(verbose_name=_("Measured, from"), visible=False)
    measured_high = tables.Column(verbose_name=_("Measured, to"), visible=False)
    verdict = StatusColumn(review_state, verbose_name=_("Verdict"))
    held_at = StatusColumn(held_state, verbose_name=_("State"), empty_values=())

    class Meta:
        model = RoiReview
        fields = (
            "quarter",
            "use_case",
            "site",
            "planned",
            "measured",
            "measured_low",
            "measured_high",
            "verdict",
            "held_at",
        )
        order_by = "-quarter"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def render_quarter(self, value: Any) -> str:
        return quarter_name(value)

    def render_planned(self, record: RoiReview, value: Any) -> str:
        return _amount(record, value)

    def value_planned(self, value: Any) -> Any:
        return value

    def value_measured(self, value: Any) -> Any:
        return value


def certificate_words(record: Certificate) -> tuple[str, Any]:
    state = selectors.certificate_state(record, wall_now())
    return state, {
        "valid": _("Valid"),
        "expiring": _("Expires soon"),
        "expired": _("Expired"),
        "revoked": _("Revoked"),
    }[state]
