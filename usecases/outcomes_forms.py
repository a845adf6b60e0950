"""Forms of outcomes and their readings; the rules live in the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from usecases.forms import _Date, _Moment
from usecases.models import KpiReading, Outcome


class OutcomeForm(forms.ModelForm):
    fields: dict[str, Any]
    reason = forms.CharField(
        required=False,
        max_length=300,
        label=_("Reason for re-baselining"),
        help_text=_("Needed only when a gate has used this baseline already."),
    )

    class Meta:
        model = Outcome
        fields = (
            "kpi",
            "owner",
            "source",
            "unit",
            "counts_events",
            "direction",
            "exposure_unit",
            "baseline_from",
            "baseline_to",
            "baseline_value",
            "baseline_exposure",
            "target_value",
            "target_by",
            "value_per_unit",
            "currency",
            "assumption",
        )
        widgets = {"baseline_from": _Date(), "baseline_to": _Date(), "target_by": _Date()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = User.objects.filter(is_active=True).order_by("name", "email")
        self.fields["owner"].help_text = _("Who answers for this KPI.")
        self.fields["unit"].help_text = _("What the KPI is counted in: h, kWh, stops.")
        self.fields["exposure_unit"].help_text = _(
            "What it is measured over: operating hours, pieces. Never calendar time."
        )
        self.fields["baseline_value"].help_text = _("Leave it empty: readings inside the window give it.")
        if self.instance.baseline_frozen_at is None:
            del self.fields["reason"]


class _FrozenForm:
    """A form that asks for a reason only where a gate has used the baseline."""

    fields: dict[str, Any]

    def ask_reason(self, outcome: Outcome) -> None:
        if outcome.baseline_frozen_at is None:
            del self.fields["reason"]


def _reason() -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=300,
        label=_("Reason for re-baselining"),
        help_text=_("Needed when the period lies in the baseline: a gate has used it already."),
    )


class ReadingForm(_FrozenForm, forms.ModelForm):
    reason = _reason()

    class Meta:
        model = KpiReading
        fields = ("site", "period_from", "period_to", "value", "exposure", "note")
        widgets = {"period_from": _Moment(), "period_to": _Moment()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outcome = self.instance.outcome
        self.fields["value"].widget.attrs["data-unit"] = outcome.unit
        self.fields["exposure"].widget.attrs["data-unit"] = outcome.exposure_unit
        self.fields["site"].help_text = _("Empty: the KPI of all plants together.")
        self.ask_reason(outcome)


class ReadingDeleteForm(_FrozenForm, forms.Form):
    reason = _reason()

    def __init__(self, *args: Any, outcome: Outcome, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ask_reason(outcome)


class BaselineForm(forms.Form):
    reason = forms.CharField(required=False, max_length=300, label=_("Reason for re-baselining"))
