"""Tables of the portfolio."""

from __future__ import annotations

import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from usecases.models import Scenario


class ScenarioTable(tables.Table):
    name = tables.Column(linkify=True)
    of_record = tables.BooleanColumn(verbose_name=_("Plan of record"), yesno=(_("yes"), ""))

    class Meta:
        model = Scenario
        fields = ("name", "of_record", "start", "quarters", "currency", "owner", "updated_at")

    def value_of_record(self, record: Scenario) -> bool:
        return record.of_record
