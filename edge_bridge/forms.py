"""Forms of the pages."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from edge_bridge.rollouts import SIGNED
from governance.models import ModelVersion
from usecases.models import Adoption


class RolloutForm(forms.Form):
    version = forms.ModelChoiceField(
        queryset=ModelVersion.objects.filter(state__in=SIGNED).exclude(signature="").select_related("model"),
        label=_("Signed version"),
        help_text=_("Only versions that an AI Safety Officer has signed can be chosen."),
    )
    adoption = forms.ModelChoiceField(
        queryset=Adoption.objects.select_related("use_case", "site"), label=_("Adoption"), help_text=_("Where to.")
    )
    soak_rows = forms.IntegerField(
        min_value=1,
        max_value=100_000,
        initial=24,
        label=_("Rows to watch the canary"),
        help_text=_("Rows with a laboratory value that the canary and the version in force both computed."),
    )
    worst_error_ratio = forms.FloatField(
        min_value=0.1,
        max_value=10,
        initial=1.1,
        label=_("Canary's error at most, times the version in force"),
    )


class StopForm(forms.Form):
    reason = forms.CharField(
        max_length=250,
        label=_("Reason"),
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Every gateway goes back to the version before. The next shift reads this."),
    )
