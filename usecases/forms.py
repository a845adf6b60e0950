"""Forms of the pages; the rules live in the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from usecases.choices import SetState
from usecases.models import (
    Adoption,
    CriteriaSet,
    UseCase,
)


class _Date(forms.DateInput):
    def __init__(self) -> None:
        super().__init__(attrs={"type": "date"}, format="%Y-%m-%d")


class _Moment(forms.DateTimeInput):
    def __init__(self) -> None:
        super().__init__(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class CodesField(forms.CharField):
    """Channel codes, separated by commas or spaces."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return [code for code in text.replace(",", " ").split() if code]


class UseCaseForm(forms.ModelForm):
    fields: dict[str, Any]
    required_signals = CodesField(
        required=False,
        max_length=4000,
        label=_("Required signals"),
        help_text=_("Channel codes its model needs, separated by commas: AT, AP, TIT."),
    )

    class Meta:
        model = UseCase
        fields = ("title", "code", "summary", "label", "sponsor", "owner", "depends_on", "required_signals")
        widgets = {"summary": forms.Textarea(attrs={"rows": 4})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = User.objects.filter(is_active=True).order_by("name", "email")
        self.fields["sponsor"].queryset = people
        self.fields["owner"].queryset = people
        self.fields["sponsor"].label = _("Sponsor")
        self.fields["owner"].label = _("Owner")
        self.fields["depends_on"].help_text = _("Foundations that must exist first.")
        if self.instance.pk:
            self.fields["depends_on"].queryset = UseCase.objects.exclude(pk=self.instance.pk)


class NotPursueForm(forms.Form):
    reason = forms.CharField(max_length=300, label=_("Why it will not be sold"))


class RoundForm(forms.Form):
    title = forms.CharField(max_length=140, label=_("Title"))
    criteria_set = forms.ModelChoiceField(
        queryset=CriteriaSet.objects.filter(state=SetState.PUBLISHED), label=_("Criteria")
    )
    use_cases = forms.ModelMultipleChoiceField(
        queryset=UseCase.objects.all(), widget=forms.CheckboxSelectMultiple, label=_("Use cases")
    )
    raters = forms.ModelMultipleChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("name", "email"),
        widget=forms.CheckboxSelectMultiple,
        label=_("Raters"),
        help_text=_("Gate 1 asks for a plant manager, an OT engineer and a data scientist."),
    )


class AdoptionForm(forms.ModelForm):
    class Meta:
        model = Adoption
        fields = ("site", "scope", "location", "proven_by", "devices", "started_on")
        widgets = {"started_on": _Date(), "devices": forms.CheckboxSelectMultiple}


class AdoptionEditForm(forms.ModelForm):
    fields: dict[str, Any]

    class Meta:
        model = Adoption
        fields = ("location", "devices", "started_on")
        widgets = {"started_on": _Date(), "devices": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("location", "devices"):
            self.fields[name].queryset = self.fields[name].queryset.filter(site=self.instance.site)
