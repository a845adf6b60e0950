"""Forms of the pages."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from coe.models import Action, Appointment, Question, Retrospective
from portal.core.models import User

_DAY = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class AppointmentForm(forms.ModelForm):
    fields: dict[str, Any]
    valid_from = forms.DateTimeField(
        label=_("From"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("Empty: from now on."),
    )
    valid_until = forms.DateTimeField(
        label=_("Until"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("An interim appointment needs an end, within 180 days."),
    )

    class Meta:
        model = Appointment
        fields = ("user", "role", "site", "interim", "valid_from", "valid_until")
        help_texts = {
            "site": _("Empty: for all sites. Model versions are signed for all sites."),
            "interim": _("Stands in for a certificate that was never earned; it signs until it ends."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = User.objects.filter(is_active=True).order_by("name", "email")
        self.fields["user"].label = _("Who")

    def _post_clean(self) -> None:
        """The service checks the rules; the model's own check would run before the term is known."""


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("Reason"), max_length=300, widget=forms.Textarea(attrs={"rows": 3}))


class RetrospectiveForm(forms.ModelForm):
    class Meta:
        model = Retrospective
        fields = ("went_well", "to_improve")
        widgets = {
            "went_well": forms.Textarea(attrs={"rows": 8}),
            "to_improve": forms.Textarea(attrs={"rows": 10}),
        }
        help_texts = {
            "went_well": _("One thought a line. What stands here was written from the records; change it freely.")
        }


class HoldReviewForm(forms.Form):
    note = forms.CharField(
        label=_("Conclusion"),
        max_length=5000,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=_("What you conclude: go on, change something, or stop."),
    )


class BudgetForm(forms.Form):
    amount = forms.DecimalField(
        label=_("Amount"),
        max_digits=14,
        decimal_places=2,
        help_text=_("Above zero: more for this use case in the next budget; below zero: less."),
    )
    reason = forms.CharField(label=_("Reason"), max_length=160, required=False)

    def __init__(self, *args: Any, currency: str = "", suggested: Decimal | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].widget.attrs["data-unit"] = currency
        self.fields["amount"].initial = suggested


class ActionForm(forms.ModelForm):
    fields: dict[str, Any]

    class Meta:
        model = Action
        fields = ("site", "text", "owner", "due_on")
        widgets = {"due_on": _DAY, "text": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = User.objects.filter(is_active=True).order_by("name", "email")
        if self.instance._state.adding is False:
            del self.fields["site"]


class QuizForm(forms.Form):
    """All questions of a track on one page. ``seed`` orders the choices; an answer's value is its index in the record."""

    def __init__(self, questions: list[Question], seed: int, data: Any = None, files: Any = None) -> None:
        super().__init__(data=data)
        self.questions = questions
        for number, question in enumerate(questions, 1):
            options = list(enumerate(question.choices))
            # An order for each attempt, not a secret.
            random.Random(f"{seed}:{question.pk}").shuffle(options)  # noqa: S311
            self.fields[f"q_{question.pk}"] = forms.TypedChoiceField(
                label=f"{number}. {question.text}",
                choices=options,
                coerce=int,
                widget=forms.RadioSelect,
                error_messages={"required": _("Choose one answer.")},
            )

    def answers(self) -> dict[str, int]:
        return {str(q.pk): self.cleaned_data[f"q_{q.pk}"] for q in self.questions}
