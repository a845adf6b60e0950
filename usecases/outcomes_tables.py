"""The readings of an outcome as a table of its page."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from usecases.models import KpiReading

_NUM = {"td": {"class": "pg-num"}, "th": {"class": "pg-num"}}
_ACTS = (
    '{% load i18n %}<a href="{% url "usecases:reading-edit" record.pk %}">{% translate "Change" %}'
    '<span class="pg-hidden-text"> {{ record.period_from|date:"DATE_FORMAT" }}</span></a> '
    '<a href="{% url "usecases:reading-delete" record.pk %}">{% translate "Delete" %}'
    '<span class="pg-hidden-text"> {{ record.period_from|date:"DATE_FORMAT" }}</span></a>'
)
_PERIOD = '{{ record.period_from|date:"DATE_FORMAT" }} – {{ record.period_to|date:"DATE_FORMAT" }}'
_SOURCE = "{{ record.get_source_display }}{% if record.note %}<br><span class='pg-quiet pg-small'>{{ record.note }}</span>{% endif %}"


class ReadingTable(tables.Table):
    period = tables.TemplateColumn(
        _PERIOD,
        verbose_name=_("Period (plant time)"),
        order_by=("period_from",),
    )
    site = tables.Column(verbose_name=_("Site"), default=_("all"), order_by=("site__name",))
    value = tables.TemplateColumn("{{ record.value|floatformat:'-4g' }}", verbose_name=_("Value"), attrs=_NUM)
    exposure = tables.TemplateColumn("{{ record.exposure|floatformat:'-2g' }}", verbose_name=_("Exposure"), attrs=_NUM)
    rate = tables.TemplateColumn(
        "{% load phasegate %}{{ record.rate|quantity }}", verbose_name=_("Per exposure"), orderable=False, attrs=_NUM
    )
    source = tables.TemplateColumn(_SOURCE, verbose_name=_("Where from"))
    acts = tables.TemplateColumn(_ACTS, verbose_name="", orderable=False, attrs={"td": {"plain": "1"}})

    class Meta:
        model = KpiReading
        fields = ("period", "site", "value", "exposure", "rate", "source", "acts")
        order_by = ("-period",)

    def __init__(self, *args: Any, may_change: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, exclude=() if may_change else ("acts",), **kwargs)
