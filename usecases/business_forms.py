"""Forms of business cases; the rules live in the services."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from usecases.forms import _Date
from usecases.models import BusinessCase, BusinessLine


class BusinessCaseForm(forms.ModelForm):
    class Meta:
        model = BusinessCase
        fields = ("currency", "discount_rate", "quarters", "start", "assumption")
        widgets = {"start": _Date(), "assumption": forms.Textarea(attrs={"rows": 4})}
        help_texts = {"discount_rate": _("0.08 is 8 % a year.")}


class LineForm(forms.ModelForm):
    class Meta:
        model = BusinessLine
        fields = (
            "kind",
            "name",
            "low",
            "likely",
            "high",
            "first_quarter",
            "last_quarter",
            "ramp_quarters",
            "attribution",
        )


LineFormSet = forms.formset_factory(LineForm, extra=2, can_delete=True, max_num=100, absolute_max=100)
