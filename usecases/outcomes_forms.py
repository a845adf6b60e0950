"""Forms of outcomes and their readings; the rules live in the services."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from usecases.forms import _Date, _Moment
from usecases.models import KpiReading, Outcome


class OutcomeForm(forms.ModelForm):
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
            "unit",
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


class ReadingForm(forms.ModelForm):
    class Meta:
        model = KpiReading
        fields = ("site", "period_from", "period_to", "value", "exposure", "note")
        widgets = {"period_from": _Moment(), "period_to": _Moment()}


class BaselineForm(forms.Form):
    reason = forms.CharField(required=False, max_length=300, label=_("Reason for re-baselining"))
