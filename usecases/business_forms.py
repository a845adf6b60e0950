"""Forms of business cases and exchange rates; the rules live in the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from usecases.forms import _Date
from usecases.models import BusinessCase, BusinessLine, ExchangeRate


class BusinessCaseForm(forms.ModelForm):
    fields: dict[str, Any]

    class Meta:
        model = BusinessCase
        fields = ("currency", "discount_rate", "quarters", "start", "assumption", "seed")
        widgets = {"start": _Date(), "assumption": forms.Textarea(attrs={"rows": 4})}
        help_texts = {"discount_rate": _("0.08 is 8 % a year.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].required = False

    def clean_seed(self) -> int:
        """Who says nothing of a seed keeps the one there is."""
        found = self.cleaned_data["seed"]
        return int(self.instance.seed if found is None else found)


class LineForm(forms.ModelForm):
    fields: dict[str, Any]

    class Meta:
        model = BusinessLine
        fields = (
            "kind",
            "name",
            "note",
            "low",
            "likely",
            "high",
            "attribution",
            "first_quarter",
            "last_quarter",
            "ramp_quarters",
            "delay_low",
            "delay_likely",
            "delay_high",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("delay_low", "delay_likely", "delay_high"):
            # An older form, or a program, that says nothing of delays means none.
            self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name in ("delay_low", "delay_likely", "delay_high"):
            if data.get(name) is None and name not in self.errors:
                data[name] = 0.0
        return data


LineFormSet = forms.formset_factory(LineForm, extra=2, can_delete=True, max_num=100, absolute_max=100)


class ExchangeRateForm(forms.ModelForm):
    class Meta:
        model = ExchangeRate
        fields = ("base", "quote", "rate", "on", "source")
        widgets = {"on": _Date()}
        help_texts = {
            "base": _("One unit of this, such as EUR."),
            "quote": _("buys this much of that, such as USD."),
        }
