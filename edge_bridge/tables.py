"""Tables of the pages and of their exports."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from devices.tables import StatusColumn, TimeColumn
from edge_bridge import choices
from edge_bridge.models import Installation, Rollout


class ToneColumn(StatusColumn):
    """A state in the look that ``choices.tone`` gives it."""

    def __init__(self, source: Any = None, **kwargs: Any) -> None:
        super().__init__(source, **kwargs)
        self.template_code = '{% include "components/status.html" with state=tone label=label only %}'

    def render(self, record: Any, table: Any, value: Any, bound_column: Any, **kwargs: Any) -> Any:
        # ``value`` of a field with choices is its label already.
        self.extra_context = {"label": value, "tone": choices.tone(getattr(record, bound_column.name))}
        return tables.TemplateColumn.render(self, record, table, value, bound_column, **kwargs)


class RolloutTable(tables.Table):
    version_of_model = tables.Column(
        linkify=lambda record: record.get_absolute_url(),
        verbose_name=_("Version"),
        order_by=("version_of_model__model__name", "version_of_model__number"),
    )
    adoption = tables.Column(verbose_name=_("Adoption"), order_by=("adoption__use_case__title",))
    state = ToneColumn(choices.RolloutState, verbose_name=_("State"))
    previous = tables.Column(
        accessor="previous__number", verbose_name=_("Instead of"), default="–", attrs={"td": {"class": "pg-num"}}
    )
    started_at = TimeColumn(verbose_name=_("Started"))
    finished_at = TimeColumn(verbose_name=_("Ended"))
    reason = tables.Column(verbose_name=_("Reason"), default="")

    class Meta:
        model = Rollout
        fields = ("version_of_model", "adoption", "state", "previous", "started_at", "finished_at", "reason")
        order_by = "-started_at"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def render_previous(self, value: Any) -> str:
        return f"v{value}"


class InstallationTable(tables.Table):
    version_of_model = tables.Column(
        linkify=lambda record: record.get_absolute_url(),
        verbose_name=_("Version"),
        order_by=("version_of_model__model__name", "version_of_model__number"),
    )
    device = tables.Column(verbose_name=_("Gateway"), order_by=("device__name",))
    site = tables.Column(accessor="device__site__name", verbose_name=_("Site"))
    state = ToneColumn(choices.InstallationState, verbose_name=_("State"))
    fallback = tables.Column(verbose_name=_("When stopped"))
    wanted_at = TimeColumn(verbose_name=_("Wanted"))
    active_at = TimeColumn(verbose_name=_("Active since"))
    reason = tables.Column(verbose_name=_("Reason"), default="")

    class Meta:
        model = Installation
        fields = ("version_of_model", "device", "site", "state", "fallback", "wanted_at", "active_at", "reason")
        order_by = "-wanted_at"

    def render_fallback(self, record: Any) -> str:
        return record.get_fallback_display()
