"""Tables of the list pages."""

from __future__ import annotations

import django_tables2 as tables
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from usecases.models import Adoption, CriteriaSet, ScoringRound, UseCase
from usecases.planning import visible_ids
from usecases.wording import sentence_for

_PHASE = '{% include "components/phase_chip.html" with phase=record.phase label="" short=False only %}'
_STATE = '{% include "components/status.html" with state=record.state label=record.get_state_display soft=True only %}'
_NUM = {"td": {"class": "pg-num"}, "th": {"class": "pg-num"}}


class UseCaseTable(tables.Table):
    title = tables.Column(linkify=True)
    phase = tables.TemplateColumn(_PHASE, verbose_name=_("Phase"))
    label = tables.Column(verbose_name=_("Label"))
    state = tables.TemplateColumn(_STATE, verbose_name=_("State"))
    npv = tables.TemplateColumn(
        "{% load phasegate %}{% if record.business_case.result %}{{ record.business_case.result.p50|money:record.business_case.currency }}{% else %}–{% endif %}",
        verbose_name=_("Expected NPV (assumption)"),
        accessor="business_case__result",
        orderable=False,
        attrs=_NUM,
    )
    sponsor = tables.Column(verbose_name=_("Sponsor"), accessor="sponsor", order_by=("sponsor__name",), default="–")

    class Meta:
        model = UseCase
        fields = ("title", "phase", "label", "state", "npv", "sponsor", "updated_at")

    def value_npv(self, record: UseCase) -> object:
        case = getattr(record, "business_case", None)
        return case.result.get("p50") if case is not None and case.result else None

    def value_phase(self, record: UseCase) -> str:
        return f"{record.phase} {record.get_phase_display()}"

    def value_state(self, record: UseCase) -> str:
        return str(record.get_state_display())


class RoundTable(tables.Table):
    title = tables.Column(linkify=True)
    state = tables.TemplateColumn(_STATE, verbose_name=_("State"))
    verdict = tables.Column(accessor="result__sentence", verbose_name=_("Result"), orderable=False, default="–")

    class Meta:
        model = ScoringRound
        fields = ("title", "state", "verdict", "criteria_set", "facilitator", "created_at")

    def value_state(self, record: ScoringRound) -> str:
        return str(record.get_state_display())

    @cached_property
    def visible(self) -> set[str]:
        return visible_ids(self.request.user)

    def render_verdict(self, record: ScoringRound) -> str:
        return sentence_for(record.result, self.visible)

    value_verdict = render_verdict


class CriteriaSetTable(tables.Table):
    name = tables.Column(linkify=("usecases:criteria-set", [tables.A("pk")]))
    state = tables.TemplateColumn(_STATE, verbose_name=_("State"))

    class Meta:
        model = CriteriaSet
        fields = ("name", "number", "state", "published_at")


class AdoptionTable(tables.Table):
    use_case = tables.Column(linkify=lambda record: record.get_absolute_url(), order_by=("use_case__title",))
    phase = tables.TemplateColumn(_PHASE, verbose_name=_("Phase"))

    class Meta:
        model = Adoption
        fields = ("use_case", "site", "scope", "location", "phase", "started_on")

    def value_phase(self, record: Adoption) -> str:
        return f"{record.phase} {record.get_phase_display()}"
