"""Forms of the pages: units in the input, help below, nothing lost on error."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from devices import choices
from devices.importing import CHANNELS, DEVICES
from devices.models import Asset, Channel, Device, DeviceType, Location, Site
from devices.plant_time import MAX_PACE


class SiteForm(forms.ModelForm):
    class Meta:
        model = Site
        fields = (
            "name",
            "code",
            "kind",
            "description",
            "data_notice",
            "time_zone",
            "currency",
            "external_source",
            "external_id",
        )
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}


class LocationForm(forms.ModelForm):
    class Meta:
        model = Location
        fields = ("site", "parent", "level", "name", "code", "external_source", "external_id")


class AssetForm(forms.ModelForm):
    class Meta:
        model = Asset
        fields = ("location", "name", "code", "kind", "manufacturer", "serial", "external_source", "external_id")


class DeviceTypeForm(forms.ModelForm):
    class Meta:
        model = DeviceType
        fields = (
            "name",
            "manufacturer",
            "kind",
            "protocol",
            "standard",
            "memory_kb",
            "latency_budget_us",
            "external_source",
            "external_id",
        )
        widgets = {
            "memory_kb": forms.NumberInput(attrs={"data-unit": "KiB"}),
            "latency_budget_us": forms.NumberInput(attrs={"data-unit": "µs"}),
        }


class DeviceForm(forms.ModelForm):
    fields: dict[str, Any]

    class Meta:
        model = Device
        fields = (
            "site",
            "name",
            "code",
            "device_type",
            "location",
            "asset",
            "gateway",
            "serial",
            "report_every_s",
            "fallback",
            "address",
            "external_source",
            "external_id",
        )
        widgets = {
            "report_every_s": forms.NumberInput(attrs={"data-unit": "s", "min": 1}),
            "address": forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        }
        labels = {"address": _("address (JSON)")}
        help_texts = {"address": _('How it is reached, such as {"host": "10.0.4.7", "port": 502, "unit": 1}.')}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["gateway"].queryset = Device.objects.filter(device_type__kind=choices.DeviceKind.GATEWAY)
        if self.instance.pk and not self.instance._state.adding:
            # A device stays at its site, so only what stands there is offered.
            site = self.instance.site_id
            self.fields["site"].disabled = True
            self.fields["location"].queryset = Location.objects.filter(site_id=site)
            self.fields["asset"].queryset = Asset.objects.filter(location__site_id=site)
            self.fields["gateway"].queryset = (
                self.fields["gateway"].queryset.filter(site_id=site).exclude(pk=self.instance.pk)
            )

    def clean_address(self) -> dict[str, Any]:
        address = self.cleaned_data.get("address") or {}
        if not isinstance(address, dict):
            raise forms.ValidationError(_("A JSON object in braces."))
        return address


class ChannelForm(forms.ModelForm):
    class Meta:
        model = Channel
        fields = ("device", "code", "name", "role", "unit", "range_low", "range_high", "period_s", "source")
        widgets = {
            "period_s": forms.NumberInput(attrs={"data-unit": "s", "step": "any"}),
            "source": forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        }
        labels = {"source": _("source (JSON)")}

    def clean_source(self) -> dict[str, Any]:
        source = self.cleaned_data.get("source") or {}
        if not isinstance(source, dict):
            raise forms.ValidationError(_("A JSON object in braces."))
        return source


class StopForm(forms.Form):
    reason = forms.CharField(
        max_length=300,
        label=_("Why"),
        help_text=_("The next shift and the AI Safety Officer read this."),
        widget=forms.TextInput(attrs={"autofocus": True}),
    )
    fallback = forms.ChoiceField(
        choices=choices.Fallback.choices, label=_("What goes on meanwhile"), widget=forms.RadioSelect
    )


class EnrolForm(forms.Form):
    ttl = forms.TypedChoiceField(
        label=_("Good for"),
        choices=((1, _("1 hour")), (24, _("24 hours")), (168, _("7 days"))),
        initial=24,
        coerce=lambda hours: timedelta(hours=int(hours)),
        help_text=_("The code works once. A new one ends the one before."),
    )


class ReplayForm(forms.Form):
    """Pace, jump and pause of a replaying PLC; each is optional, together at least one."""

    rows_per_second = forms.FloatField(
        required=False,
        min_value=0,
        max_value=MAX_PACE,
        label=_("Pace"),
        help_text=_("0 is as fast as the rows are read."),
        widget=forms.NumberInput(attrs={"data-unit": "rows/s", "step": "any"}),
    )
    jump_row = forms.IntegerField(
        required=False, min_value=0, label=_("Go on at row"), help_text=_("Row of the set, counted from 0.")
    )
    paused = forms.NullBooleanField(required=False, widget=forms.HiddenInput)


class ImportForm(forms.Form):
    kind = forms.ChoiceField(
        choices=((DEVICES, _("Devices")), (CHANNELS, _("Channels"))), label=_("What"), widget=forms.RadioSelect
    )
    file = forms.FileField(
        required=False,
        label=_("File"),
        help_text=_("CSV (UTF-8) or XLSX, at most 10,000 rows and 5 MB."),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx"}),
    )
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=5_000_000,
        label=_("Or paste the rows"),
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "pg-mono"}),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("file") and not (data.get("text") or "").strip() and not self.errors:
            self.add_error("file", _("Choose a file, or paste the rows below."))
        return data
