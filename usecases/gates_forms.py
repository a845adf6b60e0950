"""Forms of gates, reviews, conditions and comments; the rules live in the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from usecases import evidence as registry
from usecases.choices import Decision
from usecases.domain.gates import MAX_CONDITIONS
from usecases.models import Gate
from usecases.services.comments import LONGEST
from usecases.services.decisions import Term, labels

#: How many lines of a recycle's list are typed rather than ticked.
MOST_LINES = 20
#: A copy of a frozen document is not larger, in bytes or characters.
LARGEST = 2_000_000


class Moment(forms.DateTimeInput):
    def __init__(self) -> None:
        super().__init__(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class Heading(str):
    """A heading of a form. ``folded``: shown when asked for, or ``open`` because something in it is to be put right."""

    folded: bool = False
    open: bool = False
    note: str = ""

    @classmethod
    def fold(cls, text: Any, note: Any, *, open: bool) -> Heading:
        made = cls(text)
        made.folded, made.open, made.note = True, open, str(note)
        return made


class PersonField(forms.TypedChoiceField):
    """One of a list of people that was read once for all such fields of a form."""

    def __init__(self, people: list[User] | None = None, **kwargs: Any) -> None:
        super().__init__(empty_value=None, required=False, **kwargs)
        self.offer(people or [])

    def offer(self, people: list[User]) -> None:
        known = {str(person.pk): person for person in people}
        self.choices = [("", _("the use case's owner, or you")), *((key, str(person)) for key, person in known.items())]
        self.coerce = known.__getitem__


class WaiverForm(forms.Form):
    fields: dict[str, Any]
    key = forms.ChoiceField(label=_("Criterion"))
    reason = forms.CharField(max_length=500, label=_("Reason"), widget=forms.Textarea(attrs={"rows": 3}))
    expires_at = forms.DateTimeField(label=_("Expires"), widget=Moment(), help_text=_("UTC; a year at most."))

    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].choices = [(s.key, s.label) for s in registry.specs_for(gate.number)]


class SignForm(forms.Form):
    """``others``: people whom the signer stands in for now; ``alone``: the signer may sign as themselves as well."""

    fields: dict[str, Any]
    on_behalf_of = forms.ChoiceField(required=False, widget=forms.RadioSelect, label=_("I sign"))
    approves = forms.TypedChoiceField(
        choices=[("yes", _("I approve")), ("no", _("I do not approve"))],
        coerce=lambda v: v == "yes",
        widget=forms.RadioSelect,
        initial="yes",
        label=_("On this evidence"),
    )
    statement = forms.CharField(
        required=False, max_length=500, label=_("Statement"), widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, *args: Any, others: list[Any] | None = None, alone: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others = {str(person.pk): person for person in others or []}
        if not self.others:
            del self.fields["on_behalf_of"]
            return
        choices: list[tuple[str, Any]] = [("", _("for myself"))] if alone else []
        choices += [(key, _("for %(name)s, as deputy") % {"name": person}) for key, person in self.others.items()]
        self.fields["on_behalf_of"].choices = choices
        self.fields["on_behalf_of"].required = not alone
        self.initial.setdefault("on_behalf_of", choices[0][0])

    def clean_on_behalf_of(self) -> Any:
        return self.others.get(self.cleaned_data.get("on_behalf_of") or "")


class DecideForm(forms.Form):
    """The decision with what each needs. ``open_keys``: criteria that a conditional go leaves open."""

    fields: dict[str, Any]
    decision = forms.ChoiceField(choices=Decision.choices, widget=forms.RadioSelect, label=_("Decision"))
    note = forms.CharField(
        required=False,
        max_length=5000,
        label=_("Reason"),
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Needed for hold, recycle and kill."),
    )
    conditions = forms.CharField(
        required=False,
        max_length=500,
        label=_("What must be done"),
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("A condition that no criterion measures; somebody confirms it."),
    )
    conditions_owner = PersonField(label=_("Who sees to it"))
    conditions_due = forms.DateTimeField(
        required=False, label=_("Until"), widget=Moment(), help_text=_("UTC; 30 days when left empty.")
    )
    redo = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label=_("Criteria to work on again")
    )
    redo_lines = forms.CharField(
        required=False,
        max_length=4000,
        label=_("What else to redo"),
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("One thing a line."),
    )
    redo_owner = PersonField(label=_("Who redoes it"))
    redo_due = forms.DateTimeField(
        required=False, label=_("Until"), widget=Moment(), help_text=_("UTC; may stay empty.")
    )
    confirm = forms.CharField(required=False, max_length=300, label=_("Its name"))

    def __init__(
        self, *args: Any, gate: Gate, open_keys: list[str], people: list[User], name: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.open_keys = open_keys if len(open_keys) <= MAX_CONDITIONS else []
        for key in self.open_keys:
            self.fields[f"owner_{key}"] = PersonField(
                people, label=_("%(what)s: who sees to it") % {"what": labels([key])}
            )
            self.fields[f"due_{key}"] = forms.DateTimeField(
                required=False,
                label=_("%(what)s: until") % {"what": labels([key])},
                widget=Moment(),
                help_text=_("UTC; 30 days when left empty."),
            )
        self.fields["conditions_owner"].offer(people)
        self.fields["redo_owner"].offer(people)
        self.fields["redo"].choices = [(s.key, s.label) for s in registry.specs_for(gate.number)]
        self.initial.setdefault("redo", open_keys)
        self.fields["confirm"].help_text = _("There is no way back: type “%(name)s”.") % {"name": name}
        self._fieldsets: list[Any] | None = None

    @property
    def fieldsets(self) -> list[Any]:
        """Reason first, then a part for each decision that needs more; one with an error stands open."""
        if self._fieldsets is None:
            chosen = self.data.get("decision", "") if self.is_bound else ""
            named = [f"{part}_{key}" for key in self.open_keys for part in ("owner", "due")]
            parts = [
                (
                    Decision.CONDITIONAL_GO,
                    _now("For a conditional go: its conditions"),
                    _now("each with an owner and a date"),
                    [*named, "conditions", "conditions_owner", "conditions_due"],
                ),
                (
                    Decision.RECYCLE,
                    _now("For a recycle: what to redo"),
                    _now("goes to its owner, and stays on the gate until the next review"),
                    ["redo", "redo_lines", "redo_owner", "redo_due"],
                ),
                (Decision.KILL, _now("For a kill: the name"), _now("because it cannot be undone"), ["confirm"]),
            ]
            self._fieldsets = [("", [self["note"]])]
            for decision, legend, note, names in parts:
                wrong = any(self.errors.get(name) for name in names) if self.is_bound else False
                heading = Heading.fold(legend, note, open=wrong or chosen == decision)
                self._fieldsets.append((heading, [self[name] for name in names]))
        return self._fieldsets

    def terms(self) -> list[Term]:
        """What the decision asks for, as the service takes it."""
        data = self.cleaned_data
        if data["decision"] == Decision.CONDITIONAL_GO:
            made = [
                Term(key, "", data.get(f"owner_{key}"), data.get(f"due_{key}") or data.get("conditions_due"))
                for key in self.open_keys
            ]
            if data["conditions"].strip():
                made.append(Term("", data["conditions"], data["conditions_owner"], data["conditions_due"]))
            return made
        if data["decision"] == Decision.RECYCLE:
            lines = [line.strip() for line in data["redo_lines"].splitlines() if line.strip()][:MOST_LINES]
            owner, due = data["redo_owner"], data["redo_due"]
            return [Term(key, "", owner, due) for key in data["redo"]] + [Term("", line, owner, due) for line in lines]
        return []


class WantByForm(forms.Form):
    signatures_due = forms.DateTimeField(label=_("Signatures wanted by"), widget=Moment(), help_text=_("UTC."))


class MeetForm(forms.Form):
    note = forms.CharField(
        max_length=300,
        label=_("How it was met"),
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("And where that can be seen."),
    )


class CommentForm(forms.Form):
    """``people``: who sees the gate; only they can be mentioned."""

    fields: dict[str, Any]
    text = forms.CharField(
        max_length=LONGEST,
        label=_("Comment"),
        widget=forms.Textarea(attrs={"rows": 3, "data-mentions": "id_mentions"}),
        help_text=_("Plain text; @ names somebody, who has a line in the inbox."),
    )
    key = forms.ChoiceField(required=False, label=_("About"))
    mentions = forms.ModelMultipleChoiceField(
        queryset=User.objects.none(),
        required=False,
        label=_("Mention"),
        widget=forms.SelectMultiple(attrs={"size": 4}),
    )

    def __init__(self, *args: Any, gate: Gate, people: Any, editing: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["mentions"].queryset = people
        if editing:
            del self.fields["key"]
            return
        specs = registry.specs_for(gate.number)
        self.fields["key"].choices = [("", _("the gate")), *((s.key, s.label) for s in specs)]


class DocumentForm(forms.Form):
    """A copy of the frozen document, to be held against what was signed."""

    document = forms.FileField(
        required=False,
        label=_("Your copy"),
        help_text=_("The JSON file as it was downloaded, up to 2 MB. It is read and not kept."),
        max_length=200,
    )
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=LARGEST,
        label=_("Or its text"),
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        sent = data.get("document")
        if sent is not None and sent.size > LARGEST:
            self.add_error("document", _("This is larger than 2 MB: no frozen document is."))
        elif sent is None and not data.get("text") and not self.errors:
            self.add_error("document", _("Choose the file, or paste its text."))
        return data

    def content(self) -> tuple[str, bytes]:
        """The field that was used, and its bytes."""
        sent = self.cleaned_data.get("document")
        if sent is not None:
            return "document", sent.read()
        return "text", self.cleaned_data["text"].encode("utf-8", "replace")
