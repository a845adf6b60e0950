"""Forms of scoring rounds; the rules live in ``services.rounds``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.models import User
from portal.core.roles import ROLES
from usecases.choices import RoundWeighting, SetState
from usecases.gate_rules import RATER_WEIGHTS, RATERS
from usecases.models import CriteriaSet, ScoringRound, UseCase
from usecases.services.rounds import NOT_RATING
from usecases.votes import role_label

RATING_ROLES = tuple(key for key in ROLES if key not in NOT_RATING)
_WEIGHT = "weight_"
HEAVIEST = 100


class _Moment(forms.DateTimeInput):
    def __init__(self) -> None:
        super().__init__(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class _Seats(forms.CheckboxSelectMultiple):
    """People under the roles they hold."""

    template_name = "usecases/seats_input.html"

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["wanted"] = "|".join(f"{role}={role_label(role)}" for role in RATERS)
        return context


class Part(str):
    """A heading of a form; ``folded``: shown when asked for, or ``open`` because something in it is to be put right."""

    folded: bool = False
    open: bool = False
    note: str = ""

    @classmethod
    def fold(cls, text: Any, note: Any, *, open: bool) -> Part:
        part = cls(text)
        part.folded, part.open, part.note = True, open, str(note)
        return part


def _people() -> list[User]:
    rows = User.objects.filter(is_active=True).prefetch_related("groups")
    return sorted(rows, key=str)


def seat_choices(people: Iterable[User], taken: Iterable[Any] = ()) -> list[tuple[str, list[tuple[str, str]]]]:
    """The people by role, those gate 1 asks for first; somebody with several roles stands under each of them."""
    gone = set(taken)
    by_role: dict[str, list[tuple[str, str]]] = {role: [] for role in (*RATERS, *RATING_ROLES)}
    for person in people:
        if person.pk in gone:
            continue
        held = {g.name for g in person.groups.all()}
        for role in held & set(RATING_ROLES):
            by_role[role].append((f"{role}:{person.pk}", str(person)))
        if not held:
            by_role.setdefault("", []).append((f":{person.pk}", str(person)))
    return [(role_label(role), rows) for role, rows in by_role.items() if rows]


def asked_roles() -> str:
    return ", ".join(role_label(role) for role in RATERS)


def _as_seats(chosen: Iterable[str], people: dict[str, User]) -> list[tuple[User, str]]:
    return [(people[pk], role) for role, _sep, pk in (text.partition(":") for text in chosen)]


def _weight_field(role: str) -> forms.FloatField:
    return forms.FloatField(
        label=role_label(role),
        required=False,
        min_value=0.01,
        max_value=HEAVIEST,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


class _WithWeights(forms.Form):
    """A field for the weight of each role; what is left empty weighs as usual."""

    fields: dict[str, Any]

    def add_weights(self, given: dict[str, Any]) -> None:
        for role in RATING_ROLES:
            self.fields[_WEIGHT + role] = _weight_field(role)
            self.initial.setdefault(_WEIGHT + role, given.get(role, RATER_WEIGHTS.get(role, 1.0)))

    def weights(self) -> dict[str, float]:
        """Only those that differ from what a role weighs anyway."""
        found = {role: self.cleaned_data.get(_WEIGHT + role) for role in RATING_ROLES}
        return {
            role: float(weight)
            for role, weight in found.items()
            if weight is not None and weight != RATER_WEIGHTS.get(role, 1.0)
        }

    def weight_fields(self) -> list[Any]:
        return [self[_WEIGHT + role] for role in RATING_ROLES]

    def weight_part(self) -> Part:
        wrong = any(name.startswith(_WEIGHT) for name in self.errors) if self.is_bound else False
        return Part.fold(_("Weight of each role"), _("1 unless you say otherwise"), open=wrong)


class RoundForm(_WithWeights):
    title = forms.CharField(max_length=140, label=gettext_lazy("Title"))
    criteria_set = forms.ModelChoiceField(
        queryset=CriteriaSet.objects.filter(state=SetState.PUBLISHED), label=gettext_lazy("Criteria")
    )
    use_cases = forms.ModelMultipleChoiceField(
        queryset=UseCase.objects.all(), widget=forms.CheckboxSelectMultiple, label=gettext_lazy("Use cases")
    )
    seats = forms.MultipleChoiceField(widget=_Seats, label=gettext_lazy("Who rates, and as what"))
    due_at = forms.DateTimeField(
        required=False, widget=_Moment(), label=gettext_lazy("Answers wanted by"), help_text=gettext_lazy("UTC.")
    )
    weighting = forms.ChoiceField(
        choices=RoundWeighting.choices,
        initial=RoundWeighting.CRITERIA,
        widget=forms.RadioSelect,
        label=gettext_lazy("Weights of the criteria"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        criteria = self.fields["criteria_set"]
        published = list(criteria.queryset)
        empty = [] if criteria.empty_label is None else [("", criteria.empty_label)]
        criteria.choices = [*empty, *((str(row.pk), criteria.label_from_instance(row)) for row in published)]
        if not published:
            criteria.help_text = format_html(
                '{} <a href="{}">{}</a>',
                _("There are no published criteria yet: publish a version first."),
                reverse("usecases:criteria-sets"),
                _("Criteria"),
            )
        people = _people()
        self.people = {str(person.pk): person for person in people}
        self.fields["seats"].choices = seat_choices(people)
        self.fields["seats"].help_text = _(
            "Gate 1 asks for: {roles}. Somebody with several roles rates in the one you tick."
        ).format(roles=asked_roles())
        self.add_weights({})

    @property
    def fieldsets(self) -> Iterator[tuple[Any, list[Any]]]:
        yield "", [self[name] for name in ("title", "criteria_set", "use_cases", "seats", "due_at", "weighting")]
        yield self.weight_part(), self.weight_fields()

    def clean_seats(self) -> list[tuple[User, str]]:
        return _as_seats(self.cleaned_data["seats"], self.people)


class RoundEditForm(_WithWeights):
    title = forms.CharField(max_length=140, label=gettext_lazy("Title"))
    due_at = forms.DateTimeField(
        required=False, widget=_Moment(), label=gettext_lazy("Answers wanted by"), help_text=gettext_lazy("UTC.")
    )

    def __init__(self, *args: Any, meeting: ScoringRound | None = None, **kwargs: Any) -> None:
        if meeting is not None:
            kwargs["initial"] = {"title": meeting.title, "due_at": meeting.due_at} | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self.add_weights(meeting.role_weights if meeting is not None else {})

    @property
    def fieldsets(self) -> Iterator[tuple[Any, list[Any]]]:
        yield "", [self["title"], self["due_at"]]
        yield self.weight_part(), self.weight_fields()


class SeatForm(forms.Form):
    fields: dict[str, Any]
    seat = forms.ChoiceField(label=gettext_lazy("Whom to invite, and as what"))

    def __init__(self, *args: Any, meeting: ScoringRound | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = _people()
        self.people = {str(person.pk): person for person in people}
        taken = meeting.raters.values_list("pk", flat=True) if meeting is not None else ()
        self.fields["seat"].choices = [("", "–"), *seat_choices(people, taken)]

    def clean_seat(self) -> tuple[User, str]:
        found = _as_seats([self.cleaned_data["seat"]], self.people)
        if not found:
            raise ValidationError(_("Choose a person."))
        return found[0]
