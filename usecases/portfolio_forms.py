"""Forms of the portfolio; the rules live in the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from devices.models import Site
from usecases.forms import _Date
from usecases.models import Scenario, UseCase
from usecases.planning import quarter_label
from usecases.portfolio_words import role_label
from usecases.services.portfolio import PEOPLE

CHOICES = [
    ("no", _("Not asked about")),
    ("may", _("May be in")),
    ("must", _("Must be in")),
    ("must_not", _("Must stay out")),
]
EXTRA_EXCLUSIONS = 2
MAX_QUARTERS = 16


def _plain(number: float | None) -> float | int | None:
    """25 and not 25.0 in the input."""
    return int(number) if number is not None and float(number).is_integer() else number


class ScenarioForm(forms.Form):
    """One question. Fields of quarters, use cases, roles, sites and exclusions are made for what there is."""

    fields: dict[str, Any]
    quarters = forms.IntegerField(
        min_value=1,
        max_value=MAX_QUARTERS,
        label=_("Quarters"),
        widget=forms.NumberInput(attrs={"class": "pg-control"}),
    )
    name = forms.CharField(max_length=140, label=_("Name"))
    note = forms.CharField(required=False, max_length=2000, label=_("Note"), widget=forms.Textarea(attrs={"rows": 2}))
    currency = forms.RegexField(
        r"^[A-Z]{3}$", label=_("Currency"), initial="EUR", error_messages={"invalid": _("Three capital letters.")}
    )
    start = forms.DateField(label=_("First quarter begins"), widget=_Date())
    lag = forms.IntegerField(
        min_value=0,
        max_value=16,
        initial=0,
        label=_("Quarters after a foundation"),
        help_text=_("How long after what it depends on a use case may start."),
    )
    foundation_share = forms.FloatField(
        min_value=0,
        max_value=100,
        initial=0,
        label=_("Least share on foundations"),
        widget=forms.NumberInput(attrs={"data-unit": "%"}),
    )
    gap = forms.FloatField(
        min_value=0,
        max_value=50,
        initial=1,
        label=_("Good enough within"),
        widget=forms.NumberInput(attrs={"data-unit": "%"}),
        help_text=_("The optimiser stops when no plan can be better by more than this."),
    )
    time_limit = forms.FloatField(
        min_value=0.1,
        max_value=600,
        initial=10,
        label=_("Time limit"),
        widget=forms.NumberInput(attrs={"data-unit": "s"}),
        help_text=_("Then the best plan found so far is taken."),
    )
    seed = forms.IntegerField(
        min_value=0,
        max_value=2_147_483_647,
        initial=1,
        label=_("Seed"),
        help_text=_("The same seed draws the same plans."),
    )

    def __init__(
        self, data: Any = None, *, user: Any, scenario: Scenario | None = None, quarters: int = 4, **keywords: Any
    ) -> None:
        super().__init__(data, initial=self._initial(scenario) | {"quarters": quarters} | keywords.pop("initial", {}))
        self.horizon = quarters
        self.cases = list(UseCase.objects.permitted(user).select_related("business_case").order_by("title", "pk"))
        self.sites = list(Site.objects.permitted(user).order_by("name"))
        start = scenario.start if scenario is not None else self.initial.get("start")
        names = self.quarter_names = [quarter_label(start, q) if start else f"Q{q + 1}" for q in range(quarters)]
        chosen = self._chosen(scenario)
        for case in self.cases:
            self.fields[f"case_{case.pk}"] = forms.ChoiceField(
                choices=CHOICES,
                label=case.title,
                initial=chosen.get(case.pk, "may" if scenario is None else "no"),
                widget=forms.Select(attrs={"class": "pg-control"}),
            )
        for q, name in enumerate(names):
            known = scenario.budget[q] if scenario is not None and q < len(scenario.budget) else None
            self.fields[f"budget_{q}"] = forms.FloatField(
                min_value=0,
                max_value=1e12,
                label=_("Budget, {quarter}").format(quarter=name),
                initial=_plain(known),
                widget=forms.NumberInput(attrs={"step": "any"}),
            )
        for role in PEOPLE:
            days = (scenario.capacity.get(role) if scenario is not None else None) or []
            for q, name in enumerate(names):
                self.fields[f"days_{role}_{q}"] = forms.FloatField(
                    min_value=0,
                    max_value=1e6,
                    required=False,
                    label=f"{role_label(role)}, {name}",
                    initial=_plain(days[q]) if q < len(days) else None,
                    widget=forms.NumberInput(attrs={"step": "any"}),
                )
        for site in self.sites:
            share = scenario.site_shares.get(str(site.pk)) if scenario is not None else None
            self.fields[f"site_{site.pk}"] = forms.FloatField(
                min_value=0,
                max_value=100,
                required=False,
                label=_("Least share, {site}").format(site=site.name),
                initial=None if share is None else _plain(round(100 * share, 6)),
                widget=forms.NumberInput(attrs={"data-unit": "%"}),
            )
        known_pairs = list(scenario.exclusions.all()) if scenario is not None else []
        self.pairs = range(len(known_pairs) + EXTRA_EXCLUSIONS)
        options = [("", _("none"))] + [(str(c.pk), c.title) for c in self.cases]
        for at in self.pairs:
            pair = known_pairs[at] if at < len(known_pairs) else None
            for name, label in (("first", _("One")), ("second", _("Other"))):
                self.fields[f"{name}_{at}"] = forms.ChoiceField(
                    choices=options,
                    required=False,
                    label=label,
                    initial=str(getattr(pair, f"{name}_id")) if pair else "",
                )
            self.fields[f"why_{at}"] = forms.CharField(
                required=False, max_length=300, label=_("Why not both"), initial=pair.reason if pair else ""
            )

    def keep(self, typed: Any) -> None:
        """What was typed so far, right or wrong, for a form with another number of quarters."""
        for name, field in self.fields.items():
            if name in typed and name != "quarters":
                self.initial[name] = field.widget.value_from_datadict(typed, {}, name)

    @staticmethod
    def _initial(scenario: Scenario | None) -> dict[str, Any]:
        if scenario is None:
            return {}
        plain = {n: getattr(scenario, n) for n in ("name", "note", "currency", "start", "lag", "time_limit", "seed")}
        plain |= {"foundation_share": round(100 * scenario.foundation_share, 6), "gap": round(100 * scenario.gap, 6)}
        return {name: _plain(value) if isinstance(value, float) else value for name, value in plain.items()}

    @staticmethod
    def _chosen(scenario: Scenario | None) -> dict[Any, str]:
        if scenario is None:
            return {}
        found = dict.fromkeys(scenario.candidates.values_list("pk", flat=True), "may")
        found |= dict.fromkeys(scenario.must.values_list("pk", flat=True), "must")
        return found | dict.fromkeys(scenario.must_not.values_list("pk", flat=True), "must_not")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for at in self.pairs:
            first, second = data.get(f"first_{at}"), data.get(f"second_{at}")
            if bool(first) != bool(second):
                self.add_error(f"second_{at}" if first else f"first_{at}", _("Choose both, or none."))
        return data

    def values(self) -> dict[str, Any]:
        """Arguments of the service."""
        data = self.cleaned_data
        by_choice: dict[str, list[UseCase]] = {key: [] for key, _label in CHOICES}
        for case in self.cases:
            by_choice[data[f"case_{case.pk}"]].append(case)
        known = {str(c.pk): c for c in self.cases}
        capacity = {}
        for role in PEOPLE:
            days = [data.get(f"days_{role}_{q}") for q in range(self.horizon)]
            if any(d is not None for d in days):
                capacity[role] = [float(d or 0) for d in days]
        plain = {n: data[n] for n in ("name", "note", "currency", "start", "lag", "time_limit", "seed")}
        return {
            "data": plain
            | {
                "quarters": self.horizon,
                "budget": [data[f"budget_{q}"] for q in range(self.horizon)],
                "capacity": capacity,
                "foundation_share": data["foundation_share"] / 100,
                "gap": data["gap"] / 100,
                "site_shares": {str(s.pk): data[f"site_{s.pk}"] / 100 for s in self.sites if data.get(f"site_{s.pk}")},
            },
            "many": {
                "candidates": [*by_choice["may"], *by_choice["must"], *by_choice["must_not"]],
                "must": by_choice["must"],
                "must_not": by_choice["must_not"],
            },
            "exclusions": [
                {
                    "first": known[data[f"first_{at}"]],
                    "second": known[data[f"second_{at}"]],
                    "reason": data[f"why_{at}"],
                }
                for at in self.pairs
                if data.get(f"first_{at}")
            ],
        }

    def field_of(self, name: str) -> str:
        """The form's field that a service's complaint is about."""
        plain = name.replace("]", "").replace("[", ".").split(".")
        if plain[0] == "budget":
            return f"budget_{plain[1]}" if len(plain) > 1 else "budget_0"
        if plain[0] == "capacity" and len(plain) > 1:
            return f"days_{plain[1]}_{plain[2] if len(plain) > 2 else 0}"
        if plain[0] == "exclusions" and len(plain) > 1:
            filled = [at for at in self.pairs if self.cleaned_data.get(f"first_{at}")]
            at = int(plain[1])
            return f"second_{filled[at]}" if at < len(filled) else ""
        return plain[0]


class EffortForm(forms.Form):
    """Person-days by role and quarter after the start."""

    fields: dict[str, Any]

    def __init__(self, data: Any = None, *, use_case: UseCase, quarters: int = 6, **_keywords: Any) -> None:
        super().__init__(data)
        rows = {(e.role, e.quarter): e.days for e in use_case.efforts.all()}
        self.horizon = max([quarters, *(q + 1 for _role, q in rows)])
        for role in PEOPLE:
            for q in range(self.horizon):
                self.fields[f"days_{role}_{q}"] = forms.FloatField(
                    min_value=0,
                    max_value=10_000,
                    required=False,
                    label=_("{role}, quarter {q}").format(role=role_label(role), q=q),
                    initial=_plain(rows.get((role, q))),
                    widget=forms.NumberInput(attrs={"step": "any"}),
                )

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for role in PEOPLE:
            for q in range(self.horizon):
                days = self.cleaned_data.get(f"days_{role}_{q}")
                if days:
                    found.append({"role": role, "quarter": q, "days": days})
        return found
