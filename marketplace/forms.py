"""Forms of the pages; the rules live in the services."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.models import Plan, Service
from marketplace.money import CURRENCIES, MICRO, digits, unit_price


class ServiceForm(forms.ModelForm):
    class Meta:
        model = Service
        fields = ["use_case", "model", "code", "name", "summary", "sla_text"]
        help_texts = {
            "model": _("One of the use case's own models, with a live version that scores single rows."),
            "code": _("Part of the address that customers call; it never changes."),
            "sla_text": _("What a customer can rely on: availability, answer time, support."),
        }
        widgets = {"summary": forms.Textarea(attrs={"rows": 3}), "sla_text": forms.Textarea(attrs={"rows": 5})}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        case, model = data.get("use_case"), data.get("model")
        if case and model and model.use_case_id != case.pk:
            self.add_error("model", _("This model belongs to another use case."))
        return data


class ServiceEditForm(forms.ModelForm):
    class Meta:
        model = Service
        fields = ["name", "summary", "sla_text"]
        widgets = ServiceForm.Meta.widgets
        help_texts = {"sla_text": ServiceForm.Meta.help_texts["sla_text"]}


class PlanForm(forms.Form):
    """Prices as people say them; kept as whole minor units and millionths of one."""

    name = forms.CharField(label=_("Name"), max_length=80)
    currency = forms.ChoiceField(label=_("Currency"), choices=[(c, c) for c in CURRENCIES])
    monthly_fee = forms.DecimalField(label=_("Fee a month"), min_value=0, max_value=10**9, max_digits=12, initial=0)
    included_units = forms.IntegerField(
        label=_("Rows included a month"), min_value=0, max_value=10**12, initial=0, widget=forms.NumberInput()
    )
    price_per_thousand = forms.DecimalField(
        label=_("Price of 1,000 further rows"), min_value=0, max_value=10**6, max_digits=12, initial=0
    )
    monthly_quota = forms.IntegerField(label=_("Most rows a month"), min_value=1, max_value=10**12, initial=100_000)
    rate_per_minute = forms.IntegerField(label=_("Most calls a minute"), min_value=1, max_value=100_000, initial=600)

    def __init__(self, *args: Any, instance: Plan | None = None, **kwargs: Any) -> None:
        if instance is not None:
            places = digits(instance.currency)
            kwargs["initial"] = {
                "name": instance.name,
                "currency": instance.currency,
                "monthly_fee": Decimal(instance.monthly_fee_minor).scaleb(-places),
                "included_units": instance.included_units,
                "price_per_thousand": (unit_price(instance.unit_price_micro) * 1000).scaleb(-places).normalize(),
                "monthly_quota": instance.monthly_quota,
                "rate_per_minute": instance.rate_per_minute,
            }
        super().__init__(*args, **kwargs)
        self.fieldsets = [
            (
                _("Price"),
                [self[n] for n in ("name", "currency", "monthly_fee", "included_units", "price_per_thousand")],
            ),
            (_("Limits"), [self[n] for n in ("monthly_quota", "rate_per_minute")]),
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        places = digits(data.get("currency", "EUR"))
        if "monthly_fee" in data:
            fee = data["monthly_fee"].scaleb(places)
            if fee != fee.to_integral_value():
                self.add_error("monthly_fee", _("A fee is a whole number of the smallest coin."))
            else:
                data["monthly_fee_minor"] = int(fee)
        if "price_per_thousand" in data:
            micro = data["price_per_thousand"].scaleb(places) * MICRO / 1000
            if micro != micro.to_integral_value():
                self.add_error("price_per_thousand", _("This has more digits than can be kept exactly."))
            else:
                data["unit_price_micro"] = int(micro)
        return data

    def plan_data(self) -> dict[str, Any]:
        names = (
            "name",
            "currency",
            "monthly_fee_minor",
            "included_units",
            "unit_price_micro",
            "monthly_quota",
            "rate_per_minute",
        )
        return {name: self.cleaned_data[name] for name in names}


class SubscribeForm(forms.Form):
    plan = forms.ModelChoiceField(
        label=_("Plan"), queryset=Plan.objects.none(), widget=forms.RadioSelect, empty_label=None
    )
    customer = forms.CharField(label=_("Customer (as it stands on the invoice)"), max_length=140)


class KeyForm(forms.Form):
    name = forms.CharField(
        label=_("What will use this key?"), max_length=80, help_text=_("For example the plant's control system.")
    )


class PartnerForm(forms.Form):
    email = forms.EmailField(label=_("E-mail address"), help_text=_("The person must have an account here."))


class MonthForm(forms.Form):
    period = forms.RegexField(
        label=_("Month"), regex=r"^\d{4}-(0[1-9]|1[0-2])$", help_text=_("For example 2026-05 (UTC).")
    )
