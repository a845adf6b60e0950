"""Forms of governance: a check's rule, an SLO, a signature, a standing approval."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from governance.choices import CheckKind, SloKind
from governance.models import Check, Slo


class CheckForm(forms.ModelForm):
    """The rule as fields, kept in ``Check.config``; which fields there are depends on the kind."""

    columns = forms.CharField(
        required=False,
        max_length=1000,
        label=_("Columns that must be there"),
        help_text=_("Names, separated by commas. Empty: every input of the model."),
    )
    period_s = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=31_536_000,
        label=_("One row every"),
        help_text=_("Plant time. Empty: as the pipeline says."),
        widget=forms.NumberInput(attrs={"data-unit": "s", "step": "any"}),
    )
    allowed_gap_s = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=31_536_000,
        label=_("Longest gap"),
        help_text=_("Plant time. Empty: one and a half periods."),
        widget=forms.NumberInput(attrs={"data-unit": "s", "step": "any"}),
    )
    limits = forms.CharField(
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 5}),
        label=_("Ranges"),
        help_text=_("A line each: name, lowest, highest, such as AT -20 50. Empty: the ranges of the channels."),
    )
    _BY_KIND = {
        CheckKind.SCHEMA: ("columns",),
        CheckKind.STALENESS: ("period_s", "allowed_gap_s"),
        CheckKind.RANGE: ("limits",),
    }

    class Meta:
        model = Check
        fields = ("name", "enabled", "max_failed_share")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["max_failed_share"].help_text = _("From 0 (none) to 1 (all) of a batch.")
        self.fields["enabled"].label = _("Switched on")
        keep = self._BY_KIND[CheckKind(self.instance.kind)]
        config = self.instance.config or {}
        for names in self._BY_KIND.values():
            for name in names:
                if name not in keep:
                    del self.fields[name]
        self.initial["max_failed_share"] = self.instance.max_failed_share
        if "columns" in keep:
            self.initial["columns"] = ", ".join(config.get("columns", []))
        if "period_s" in keep:
            self.initial.update({name: config.get(name) for name in keep})
        if "limits" in keep:
            self.initial["limits"] = "\n".join(
                f"{name} {low:g} {high:g}" for name, (low, high) in config.get("limits", {}).items()
            )

    def clean_columns(self) -> list[str]:
        return [name.strip() for name in self.cleaned_data["columns"].split(",") if name.strip()]

    def clean_limits(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for number, line in enumerate(self.cleaned_data["limits"].splitlines(), 1):
            parts = line.replace(",", " ").split()
            if not parts:
                continue
            try:
                name, low, high = parts[0], float(parts[1]), float(parts[2])
            except (IndexError, ValueError):
                raise ValidationError(_("Line %(n)d: a name and two numbers."), params={"n": number}) from None
            if not low < high or low - low != 0 or high - high != 0:
                raise ValidationError(_("Line %(n)d: the lowest must be below the highest."), params={"n": number})
            found[name] = [low, high]
        return found

    def config(self) -> dict[str, Any]:
        """The rule as the processing reads it; empty fields fall back to what the pipeline and its channels say."""
        names = self._BY_KIND[CheckKind(self.instance.kind)]
        return {name: self.cleaned_data[name] for name in names if self.cleaned_data.get(name)}


class SloForm(forms.ModelForm):
    class Meta:
        model = Slo
        fields = (
            "adoption",
            "kind",
            "name",
            "target",
            "limit_seconds",
            "window_days",
            "minimum_events",
            "ot_owner",
            "ds_owner",
        )
        widgets = {
            "target": forms.NumberInput(attrs={"step": "any"}),
            "limit_seconds": forms.NumberInput(attrs={"data-unit": "s", "step": "any"}),
            "window_days": forms.NumberInput(attrs={"data-unit": "days"}),
        }
        help_texts = {
            "target": _("Share of good events, such as 0.995."),
            "limit_seconds": _("Wall time. Needed where an answer counts as good only within a time."),
            "minimum_events": _("With fewer answers nothing is judged."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding is False:
            del self.fields["adoption"], self.fields["kind"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = data.get("kind") or self.instance.kind
        if kind == SloKind.ALERT_TO_RETRAIN and not data.get("limit_seconds"):
            self.add_error("limit_seconds", _("Say within how many seconds a repair is good, such as 7200."))
        limit = data.get("limit_seconds")
        if limit is not None and not 0 < limit <= 31_536_000:
            self.add_error("limit_seconds", _("More than 0 seconds, at most a year."))
        if data.get("ot_owner") and data.get("ot_owner") == data.get("ds_owner"):
            self.add_error("ds_owner", _("Two owners are two people: choose another person."))
        return data


class WithdrawForm(forms.Form):
    reason = forms.CharField(
        max_length=300,
        label=_("Reason"),
        help_text=_("Machines that run this version are told to fall back."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class StandingApprovalForm(forms.Form):
    until = forms.DateTimeField(
        label=_("Until"),
        help_text=_(
            "At most 180 days from now (wall time). Challengers that pass every check then go out without waiting for a hand."
        ),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"],
    )
