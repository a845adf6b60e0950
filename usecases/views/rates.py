"""Exchange rates: what the treasury said, from which day on."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django import forms
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.core.access import get_permitted
from portal.core.clock import day_text, wall_now
from portal.core.pages import CreatePage, FormPage, ListPage, UpdatePage
from portal.core.records import entity_delete
from usecases.business_forms import ExchangeRateForm
from usecases.filters import ExchangeRateFilter
from usecases.models import ExchangeRate

_ACTS = (
    '{% load i18n %}<a href="{% url "usecases:exchange-rate-edit" record.pk %}">{% translate "Change" %}'
    '<span class="pg-hidden-text"> {{ record }}</span></a> '
    '<a href="{% url "usecases:exchange-rate-delete" record.pk %}">{% translate "Delete" %}'
    '<span class="pg-hidden-text"> {{ record }}</span></a>'
)


class ExchangeRateTable(tables.Table):
    rate = tables.Column(attrs={"td": {"class": "pg-num"}, "th": {"class": "pg-num"}})
    acts = tables.TemplateColumn(_ACTS, verbose_name="", orderable=False, exclude_from_export=True)

    class Meta:
        model = ExchangeRate
        fields = ("base", "quote", "rate", "on", "source", "acts")

    def __init__(self, *args: Any, request: Any = None, **kwargs: Any) -> None:
        may_change = request is not None and request.user.has_perm("usecases.add_usecase")
        super().__init__(*args, request=request, exclude=() if may_change else ("acts",), **kwargs)

    def render_rate(self, value: Any) -> str:
        return f"{value.normalize():f}"


class ExchangeRatesPage(ListPage):
    title = _("Exchange rates")
    model = ExchangeRate
    table_class = ExchangeRateTable
    filterset_class = ExchangeRateFilter
    create_url_name = "usecases:exchange-rate-create"
    create_label = _("New rate")
    create_permission = "usecases.add_usecase"
    empty = _("No rate yet: business cases in different currencies cannot be added up without one.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(str(_("Use cases")), reverse("usecases:use-cases")), (str(self.title), "")]

    def more(self) -> dict[str, Any]:
        return {"subtitle": _("The newest on or before a day counts, either way round, or over one third currency.")}


class ExchangeRateCreate(CreatePage):
    title = _("New exchange rate")
    model = ExchangeRate
    form_class = ExchangeRateForm
    create_permission = "usecases.add_usecase"

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return ExchangeRateForm(data, initial={"on": wall_now().date()})

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:exchange-rates")


class ExchangeRateEdit(UpdatePage):
    title = _("Change exchange rate")
    model = ExchangeRate
    form_class = ExchangeRateForm

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class ExchangeRateDelete(FormPage):
    title = _("Delete exchange rate")
    form_class = forms.Form
    template = "generic/confirm.html"
    submit_label = _("Delete")
    success = _("Deleted.")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(ExchangeRate.objects.all(), self.request.user, kwargs["pk"], "change")

    def more(self, obj: ExchangeRate) -> dict[str, Any]:
        return {
            "breadcrumbs": [(gettext("Exchange rates"), obj.get_absolute_url()), (str(self.title), "")],
            "subtitle": gettext("{rate} from {day}, {source}").format(
                rate=obj, day=day_text(obj.on), source=obj.source
            ),
            "text": gettext(
                "Amounts in these two currencies are then added up by the next older rate, by one over a third currency, "
                "or not at all. What a gate was decided on stays as it is."
            ),
        }

    def save(self, obj: ExchangeRate, form: Any) -> str:
        entity_delete(actor=self.request.user, obj=obj)
        return obj.get_absolute_url()
