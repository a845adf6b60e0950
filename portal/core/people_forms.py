"""Forms about people: who they are, and which roles hold where."""

from __future__ import annotations

from typing import Any

from django import forms
from django.apps import apps
from django.utils.translation import gettext_lazy as _

from portal.core import people
from portal.core.people import KINDS, RoleOn
from portal.core.places import kind_words
from portal.core.roles import ROLES

MOST_ROLES = len(ROLES)


class PlacesInput(forms.CheckboxSelectMultiple):
    """Check boxes under the name of their kind, in a box that scrolls."""

    template_name = "core/places_input.html"


def role_choices() -> list[tuple[str, Any]]:
    bound = [(role.key, role.label) for role in ROLES.values() if not role.everywhere]
    everywhere = [(role.key, role.label) for role in ROLES.values() if role.everywhere]
    return [("", "—"), (str(_("On chosen places")), bound), (str(_("Everywhere")), everywhere)]


def containers_by_value(user: Any) -> dict[str, dict[str, Any]]:
    """Kind -> value -> container, of all that the user may see. Three queries."""
    return {
        label: {f"{word}:{row.pk}": row for row in apps.get_model(label).objects.permitted(user)}
        for word, label in KINDS.items()
    }


def _place_choices(known: dict[str, dict[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (
            kind_words(label),
            sorted(((value, str(row)) for value, row in rows.items()), key=lambda pair: pair[1].lower()),
        )
        for label, rows in known.items()
        if rows
    ]


class _WithRoles(forms.Form):
    """A form some of whose fields come in pairs: a role, and the places it is to hold on."""

    fields: dict[str, Any]

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = containers_by_value(user)
        self.rows: dict[str, Any] = {value: row for rows in self.known.values() for value, row in rows.items()}

    def fill(self, role: str, where: str) -> None:
        self.fields[role].choices = role_choices()
        self.fields[where].choices = _place_choices(self.known)

    def chosen(self, role: str, where: str) -> RoleOn | None:
        """The pair as it was filled in; an error beside its field where the two do not fit."""
        key = self.cleaned_data.get(role, "")
        containers = tuple(self.rows[value] for value in self.cleaned_data.get(where, ()))
        if not key:
            if containers:
                self.add_error(role, _("Choose the role that holds on these places."))
            return None
        for text in people.not_given(key, containers).values():
            self.add_error(where, text)
        return RoleOn(key, containers)


def _role_field(*, required: bool = True) -> forms.ChoiceField:
    return forms.ChoiceField(label=_("Role"), required=required)


def _where_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        required=False,
        label=_("Holds on"),
        widget=PlacesInput,
        help_text=_("Without a place, a role that does not hold everywhere sees nothing. Places can be added later."),
    )


class PersonForm(forms.Form):
    email = forms.EmailField(max_length=254, label=_("E-mail address"), help_text=_("The person signs in with it."))
    name = forms.CharField(max_length=120, label=_("Name"))
    organisation = forms.CharField(max_length=120, required=False, label=_("Organisation"))


class GrantForm(_WithRoles):
    role = _role_field()
    where = _where_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fill("role", "where")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("role"):
            cleaned["wanted"] = self.chosen("role", "where")
        return cleaned


class InviteForm(_WithRoles, PersonForm):
    """``count`` pairs of role and places; the page shows one more when asked."""

    def __init__(self, *args: Any, count: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count = max(1, min(count, MOST_ROLES))
        for at in range(self.count):
            self.fields[f"role_{at}"] = _role_field(required=False)
            self.fields[f"where_{at}"] = _where_field()
            self.fill(f"role_{at}", f"where_{at}")

    @property
    def fieldsets(self) -> list[tuple[Any, list[Any]]]:
        who = (_("Who"), [self[name] for name in PersonForm.base_fields])
        pairs = [
            (_("Role") if at == 0 else _("Role %(n)d") % {"n": at + 1}, [self[f"role_{at}"], self[f"where_{at}"]])
            for at in range(self.count)
        ]
        return [who, *pairs]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        wanted: dict[str, RoleOn] = {}
        for at in range(self.count):
            if f"role_{at}" in self.errors or f"where_{at}" in self.errors:
                continue
            pair = self.chosen(f"role_{at}", f"where_{at}")
            if pair is not None:
                before = wanted[pair.role].containers if pair.role in wanted else ()
                more = tuple(row for row in pair.containers if row not in before)
                wanted[pair.role] = RoleOn(pair.role, before + more)
        cleaned["roles"] = list(wanted.values())
        return cleaned
