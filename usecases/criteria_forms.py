"""Forms of the scoring model's pages; the rules live in the services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.errors import DomainError
from usecases import elicitation, facts
from usecases.choices import WeightMethod
from usecases.domain.weights import STRONGEST
from usecases.models import CriteriaSet, Criterion
from usecases.services.criteria import REASON_LENGTH, RUBRIC_LENGTH, RUBRIC_LEVELS


class CriteriaSetForm(forms.Form):
    name = forms.CharField(
        max_length=80,
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("A name that exists already gets its next version, begun anew."),
    )
    standard = forms.TypedChoiceField(
        label=gettext_lazy("Begin with"),
        choices=[
            ("yes", gettext_lazy("The standard: measurable ROI, operational feasibility, data maturity")),
            ("no", gettext_lazy("Nothing")),
        ],
        coerce=lambda value: value == "yes",
        initial="yes",
        widget=forms.RadioSelect,
    )


class PublishForm(forms.Form):
    """Asks for both only where comparisons contradict each other."""

    fields: dict[str, Any]
    accept_inconsistent = forms.BooleanField(
        label=gettext_lazy("Publish with the answers that contradict each other"),
        error_messages={"required": gettext_lazy("Tick it, or look again at the answer that is named.")},
    )
    reason = forms.CharField(
        max_length=REASON_LENGTH,
        label=gettext_lazy("Why they are used as they are"),
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, contradicting: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not contradicting:
            self.fields.clear()


class CriterionForm(forms.ModelForm):
    """Weights are not set here but for a whole level at once; anchors left empty are those the source proposes."""

    fields: dict[str, Any]
    fact = forms.ChoiceField(required=False, label=gettext_lazy("Measured by"))

    class Meta:
        model = Criterion
        fields = ("parent", "name", "key", "description", "source", "fact", "anchor_low", "anchor_high")

    def __init__(self, *args: Any, criteria_set: CriteriaSet | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = criteria_set or (self.instance.criteria_set if self.instance.criteria_set_id else None)
        tops = Criterion.objects.filter(criteria_set=chosen, parent=None)
        parent = self.fields["parent"]
        parent.queryset = tops.exclude(pk=self.instance.pk) if not self.instance._state.adding else tops
        parent.label = _("Part of")
        parent.empty_label = _("Nothing: it is a top criterion")
        self.fields["source"].label = _("Its rating is")
        self.fields["key"].required = False
        self.fields["key"].help_text = _(
            "What it is called in exports and the API; the same in every version. Made from the name if left empty."
        )
        known = [(fact.key, f"{fact.label} ({fact.unit})") for fact in facts.every()]
        kept = self.instance.fact
        if kept and facts.get(kept) is None:
            known.append((kept, kept))
        self.fields["fact"].choices = [("", _("Nothing")), *known]
        self.fields["fact"].help_text = _("For a measured one: the number that makes its rating.")
        for name, words in (
            ("anchor_low", _("The value that earns nothing, in the unit of what is measured, or 0 on the rubric.")),
            ("anchor_high", _("The value that earns everything. Where less is better it is the lower one.")),
        ):
            self.fields[name].required = False
            self.fields[name].help_text = words
            if self.instance._state.adding:
                self.initial.pop(name, None)
                self.fields[name].initial = None
        for level in range(RUBRIC_LEVELS):
            kept_text = self.instance.rubric[level] if level < len(self.instance.rubric) else ""
            self.fields[f"rubric_{level}"] = forms.CharField(
                required=False, max_length=RUBRIC_LENGTH, label=str(level), initial=kept_text
            )

    @property
    def fieldsets(self) -> list[tuple[Any, list[Any]]]:
        return [
            ("", [self[name] for name in ("name", "parent", "description", "key")]),
            (
                _("Where its rating comes from"),
                [self[name] for name in ("source", "fact", "anchor_low", "anchor_high")],
            ),
            (_("What 0 to 5 mean"), [self[f"rubric_{level}"] for level in range(RUBRIC_LEVELS)]),
        ]

    def data_of(self) -> dict[str, Any]:
        """What the service takes: the rubric as one list, empty where nothing was written."""
        data = {name: self.cleaned_data[name] for name in self.Meta.fields}
        rubric = [self.cleaned_data[f"rubric_{level}"].strip() for level in range(RUBRIC_LEVELS)]
        while rubric and not rubric[-1]:
            rubric.pop()
        data["rubric"] = rubric
        for name in ("anchor_low", "anchor_high"):
            if data[name] is None:
                del data[name]
        if not data["key"]:
            del data["key"]
        return data


def ratio_words(first: str, second: str, value: float) -> str:
    """ "ROI is 3 times as important as feasibility", the way round that has the larger number."""
    if abs(value - 1) < 1e-9:
        return _("{first} and {second} are equally important").format(first=first, second=second)
    one, two, times = (first, second, value) if value > 1 else (second, first, 1 / value)
    return _("{one} is {times} times as important as {two}").format(one=one, two=two, times=f"{times:.3g}")


def _steps() -> list[float]:
    whole = [float(n) for n in range(int(STRONGEST), 1, -1)]
    return [*whole, 1.0, *(1 / n for n in reversed(whole))]


def step_text(value: float) -> str:
    """A step of the scale as a form sends it: "3", "1", "1/3"; any other number in full."""
    for n in range(1, int(STRONGEST) + 1):
        if abs(value - n) < 1e-9:
            return str(n)
        if abs(value - 1 / n) < 1e-9:
            return f"1/{n}"
    return repr(value)


class RatioField(forms.ChoiceField):
    """One comparison on the scale 1/9 to 9; ``now`` keeps an answer that stands between two steps."""

    def __init__(self, first: str, second: str, now: float | None) -> None:
        values = _steps()
        if now is not None and step_text(now) not in {step_text(v) for v in values}:
            values = sorted([*values, now], reverse=True)
        options = [(step_text(value), ratio_words(first, second, value)) for value in values]
        label = _("{first} or {second}?").format(first=first, second=second)
        super().__init__(
            label=label,
            choices=[("", _("Not compared yet")), *options],
            widget=forms.Select,
            error_messages={"required": _("Compare these two.")},
        )

    def clean(self, value: Any) -> float | None:
        text = super().clean(value)
        if not text:
            return None
        top, _slash, bottom = text.partition("/")
        return float(top) / float(bottom) if bottom else float(top)


class WeightsForm(forms.Form):
    """The answers of one method for one level. ``names``: field -> key of the answer, as the service takes it."""

    fields: dict[str, Any]
    names: dict[str, str]

    def __init__(self, *args: Any, criteria: Sequence[Criterion], method: str, kept: dict[str, Any], **kwargs: Any):
        super().__init__(*args, **kwargs)
        start = elicitation.starting_answers(criteria, method, kept)
        self.names = {}
        if method == WeightMethod.AHP:
            for at, (first, second) in enumerate(elicitation.pairs(criteria)):
                key = elicitation.pair_key(first, second)
                typed = self.data.get(self.add_prefix(f"pair_{at}")) if self.is_bound else None
                now = start.get(key) if typed is None else _float(typed)
                self._add(f"pair_{at}", key, RatioField(first.name, second.name, now), start.get(key))
            return
        for at, criterion in enumerate(criteria):
            made, unit = _NUMBER[method](len(criteria))
            made.label, made.help_text = criterion.name, criterion.description
            made.widget.attrs |= {"data-unit": unit, "inputmode": "decimal", "class": "pg-input-short"} if unit else {}
            self._add(f"answer_{at}", criterion.key, made, start.get(criterion.key))

    def _add(self, name: str, key: str, made: forms.Field, start: float | None) -> None:
        if start is not None:
            made.initial = step_text(start) if isinstance(made, RatioField) else f"{start:g}"
        self.fields[name] = made
        self.names[name] = key

    def unanswered(self) -> int:
        """How many answers are missing, if that is all there is to put right; else 0."""
        codes = [error.code for errors in self.errors.as_data().values() for error in errors]
        return len(codes) if codes and set(codes) == {"required"} else 0

    def answers(self) -> dict[str, float]:
        """What was answered so far, by the key the service takes."""
        given = {key: self.cleaned_data.get(name) for name, key in self.names.items()}
        return {key: value for key, value in given.items() if value is not None}

    def refuse(self, error: DomainError) -> None:
        """Errors of the service at the fields they are about; what concerns all of them stands for the whole."""
        field_of = {key: name for name, key in self.names.items()}
        for row in error.errors or [{"field": "", "message": error.message}]:
            self.add_error(field_of.get(str(row.get("field", ""))), row["message"])


def _float(text: str) -> float | None:
    top, _slash, bottom = str(text).partition("/")
    try:
        value = float(top) / float(bottom) if bottom else float(top)
    except (ValueError, ZeroDivisionError):
        return None
    return value if 1 / STRONGEST - 1e-3 <= value <= STRONGEST else None


_NUMBER: dict[str, Any] = {
    WeightMethod.DIRECT: lambda n: (forms.FloatField(min_value=0, max_value=100), "%"),
    WeightMethod.SWING: lambda n: (forms.FloatField(min_value=0, max_value=100), _("points")),
    WeightMethod.RANK_ORDER: lambda n: (
        forms.TypedChoiceField(
            choices=[("", "–"), *((str(place), _("{n}. place").format(n=place)) for place in range(1, n + 1))],
            coerce=float,
            empty_value=None,
        ),
        "",
    ),
}
