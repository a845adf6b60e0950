"""Form, filter and table of deputies, for page and API alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_filters as filters
import django_tables2 as tables
from django import forms
from django.utils.translation import gettext_lazy as _

from coe.models import Deputy
from coe.services.deputies import in_force
from coe.tables import StatusColumn
from devices.models import Site
from portal.core.clock import wall_now
from portal.core.models import User


def deputy_state(record: Deputy, now: datetime | None = None) -> tuple[str, Any]:
    now = now or wall_now()
    if record.revoked_at is not None:
        return "not_applicable", _("Taken back")
    if record.valid_until <= now:
        return "not_applicable", _("Ended")
    return ("pending", _("Not begun")) if record.valid_from > now else ("valid", _("In force"))


class DeputyForm(forms.Form):
    fields: dict[str, Any]
    person = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("name", "email"), required=False, label=_("Who is away")
    )
    deputy = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("name", "email"),
        label=_("Deputy"),
        help_text=_("Signs in that place only what both may sign: with a certificate that is valid at that moment."),
    )
    site = forms.ModelChoiceField(
        queryset=Site.objects.order_by("name"),
        required=False,
        label=_("Site"),
        help_text=_("Empty: all sites, and the gates that belong to a use case."),
    )
    valid_from = forms.DateTimeField(
        required=False,
        label=_("From"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("Empty: from now on. UTC."),
    )
    valid_until = forms.DateTimeField(
        label=_("Until"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("The first day on which you sign yourself again; 90 days at most."),
    )
    reason = forms.CharField(max_length=300, label=_("Reason"))


class DeputyFilter(filters.FilterSet):
    current = filters.BooleanFilter(method="now_in_force", label=_("In force now"))

    class Meta:
        model = Deputy
        fields = ["site", "current"]

    site = filters.ModelChoiceFilter(
        queryset=lambda request: Site.objects.permitted(request.user) if request is not None else Site.objects.none(),
        label=_("Site"),
    )

    def now_in_force(self, queryset: Any, name: str, value: bool) -> Any:
        rows = in_force(wall_now()).values("pk")
        return queryset.filter(pk__in=rows) if value else queryset.exclude(pk__in=rows)


_REVOKE = (
    "{% load i18n %}{% if may_end %}"
    '<form method="post" action="{% url "coe:deputy-revoke" record.pk %}">{% csrf_token %}'
    '<button class="btn btn-sm btn-danger-quiet" type="submit">{% translate "End now" %}'
    '<span class="pg-hidden-text"> {{ record }}</span></button></form>{% endif %}'
)


class _EndColumn(tables.TemplateColumn):
    def render(self, record: Any, table: Any, value: Any, bound_column: Any, **kwargs: Any) -> Any:
        user = table.request.user
        open_still = record.revoked_at is None and record.valid_until > wall_now()
        allowed = user.pk == record.person_id or user.has_perm("coe.manage_people")
        self.extra_context = {"may_end": open_still and allowed}
        return super().render(record, table, value, bound_column, **kwargs)


class DeputyTable(tables.Table):
    person = tables.Column(verbose_name=_("Who is away"), order_by=("person__name", "person__email"))
    deputy = tables.Column(verbose_name=_("Signs in that place"), order_by=("deputy__name", "deputy__email"))
    site = tables.Column(accessor="site__name", verbose_name=_("Site"), empty_values=())
    valid_from = tables.DateTimeColumn(format="DATE_FORMAT", verbose_name=_("From"))
    valid_until = tables.DateTimeColumn(format="DATE_FORMAT", verbose_name=_("Until"))
    reason = tables.Column(verbose_name=_("Reason"), orderable=False)
    state = StatusColumn(deputy_state, verbose_name=_("State"), orderable=False, empty_values=())
    end = _EndColumn(_REVOKE, verbose_name="", orderable=False, exclude_from_export=True, empty_values=())

    class Meta:
        model = Deputy
        fields = ("person", "deputy", "site", "valid_from", "valid_until", "reason", "state", "end")
        order_by = "-valid_from"

    def render_site(self, value: Any, record: Deputy) -> Any:
        return record.site.name if record.site is not None else _("All sites")
