"""The form of a list that is brought in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from usecases.imports import readers


class ImportForm(forms.Form):
    fields: dict[str, Any]
    kind = forms.ChoiceField(label=_("What"), widget=forms.RadioSelect)
    file = forms.FileField(
        required=False,
        label=_("File"),
        help_text=_("CSV or XLSX, at most 10,000 rows and 5 MB."),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx"}),
    )
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=5_000_000,
        label=_("Or paste the rows"),
        help_text=_("The first row names the columns."),
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "pg-mono"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kind"].choices = [(key, reader.label) for key, reader in readers().items()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("file") and not (data.get("text") or "").strip() and not self.errors:
            self.add_error("file", _("Choose a file, or paste the rows below."))
        return data
