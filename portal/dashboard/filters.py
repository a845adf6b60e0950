"""The filters of the scale map, for page and API alike."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from devices.models import Site
from devices.selectors import reach_of
from portal.dashboard.scale import HEALTHS
from usecases.choices import Label

_HEALTH = {"breach": _("Breach"), "watch": _("Watch"), "ok": _("Healthy"), "unknown": _("Unknown")}


class ScaleMapForm(forms.Form):
    """Which rows and cells of the map to show; only sites in sight are offered."""

    q = forms.CharField(label=_("Use case contains"), required=False, max_length=140)
    site = forms.ModelChoiceField(Site.objects.none(), label=_("Site"), required=False, empty_label=_("All sites"))
    label = forms.ChoiceField(label=_("Label"), required=False, choices=[("", _("All labels")), *Label.choices])
    health = forms.ChoiceField(
        label=_("Health"), required=False, choices=[("", _("Any health")), *((key, _HEALTH[key]) for key in HEALTHS)]
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["site"].queryset = Site.objects.permitted(user)  # type: ignore[attr-defined]
        self.fields["site"].choices = [  # type: ignore[attr-defined]
            ("", _("All sites")),
            *((str(site.pk), site.name) for site in reach_of(user).sites),
        ]

    def wanted(self, site_id: Any = None) -> dict[str, Any]:
        """Arguments of ``scale_map``; ``site_id`` holds where the form chooses none."""
        data = self.cleaned_data if self.is_valid() else {}
        site = data.get("site")
        return {
            "site_id": site.pk if site else site_id,
            "label": data.get("label") or "",
            "text": data.get("q") or "",
            "health": data.get("health") or "",
        }
