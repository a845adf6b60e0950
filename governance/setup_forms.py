"""Forms to set a model up: its contract, its pipeline with the limits, its first version, a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.choices import ChannelRole
from devices.models import Device
from governance.models import Model, Pipeline
from governance.selectors import setup as reads
from governance.services import setup
from portal.core.models import User
from usecases.models import Adoption, UseCase

_MOMENT = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]
DRIFT_FIELDS: tuple[tuple[str, Any, Any, str], ...] = (
    ("window", _("Rows compared at once"), _("The newest stretch that is held against its reference."), "rows"),
    ("step", _("A comparison every"), "", "rows"),
    (
        "first",
        _("Rows to begin with"),
        _("Before this many rows nothing is compared; of a fixed reference it is the length."),
        "rows",
    ),
    (
        "effect",
        _("Least shift that counts"),
        _("Distance between the distributions, in standard deviations of the reference."),
        "σ",
    ),
    ("share", _("Share of inputs that must shift"), _("From above 0 to 1 (all)."), "0–1"),
)
POLICY_FIELDS: tuple[tuple[str, Any, Any, str], ...] = (
    ("window", _("Error window"), _("The error is judged over this many labelled rows."), "rows"),
    ("stride", _("Judged every"), "", "rows"),
    (
        "sigmas",
        _("Limit above the usual error"),
        _("Standard deviations above the mean of the out-of-fold windows."),
        "σ",
    ),
    ("train_rows", _("Rows to retrain on"), _("The newest labelled rows; older ones weigh less."), "rows"),
    (
        "holdout",
        _("Rows of the champion check"),
        _("Kept from the challenger; both models are scored on them."),
        "rows",
    ),
    ("min_gap", _("Rows between two retrainings"), _("At least."), "rows"),
    ("min_gain", _("Least improvement"), _("Share by which the challenger must be better: 0 means any."), "0–1"),
    ("evidence", _("Rows until it counts as repaired"), _("The new version must hold its error over these."), "rows"),
)
RULE_FIELDS: tuple[tuple[str, Any, Any, str], ...] = (
    ("window", _("Rows looked at"), "", "rows"),
    ("open_share", _("Alarm when this share is unlike healthy"), _("Above 0, at most 1."), "0–1"),
    ("close_share", _("Over when no more than this share is"), "", "0–1"),
)
_WHOLE = {"window", "step", "first", "stride", "train_rows", "holdout", "min_gap", "evidence"}


def _number(name: str, label: Any, help_text: Any, unit: str) -> forms.Field:
    attrs = {"step": "1" if name in _WHOLE else "any", **({"data-unit": unit} if unit else {})}
    kind: Any = forms.IntegerField if name in _WHOLE else forms.FloatField
    return kind(
        label=label, help_text=help_text, widget=forms.NumberInput(attrs=attrs), min_value=0, max_value=1_000_000
    )  # type: ignore[no-any-return]


class Part(str):
    """A heading of a form. ``folded``: shown when asked for, or ``open`` because something in it is to be put right."""

    folded: bool = False
    open: bool = False
    note: str = ""

    @classmethod
    def fold(cls, text: Any, note: Any, *, open: bool) -> Part:
        part = cls(text)
        part.folded, part.open, part.note = True, open, str(note)
        return part


class ModelSetupForm(forms.ModelForm):
    """The contract. Inputs are channel codes in the order of the list; ``user`` sees only channels of sites that are theirs to see."""

    fields: dict[str, Any]
    features = forms.MultipleChoiceField(
        label=_("Inputs"),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one channel.")},
    )
    target = forms.ChoiceField(label=_("Predicts"), required=False)
    recipe = forms.ChoiceField(label=_("How it is trained"))

    class Meta:
        model = Model
        fields = (
            "use_case",
            "name",
            "code",
            "kind",
            "features",
            "target",
            "unit",
            "error_limit",
            "recipe",
            "registry_name",
        )
        widgets = {"error_limit": forms.NumberInput(attrs={"step": "any"})}
        labels = {"kind": _("Task"), "unit": _("Unit of what it says")}
        help_texts = {
            "code": _("Short and unique, such as nox. Gateways and the registry know it by this."),
            "unit": _("UCUM code. Empty: as the label's channel says."),
            "error_limit": _("In that unit. Pages hold the typical error against it."),
            "registry_name": _("In MLflow. Empty: phasegate- and the code."),
        }

    def __init__(self, *args: Any, user: Any, use_case: UseCase | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fixed = not self.instance._state.adding and setup.contract_fixed(self.instance)
        asked = self.data.get(self.add_prefix("use_case")) if self.is_bound else None
        chosen = use_case or (None if self.instance._state.adding else self.instance.use_case)
        if chosen is None and asked:
            chosen = (
                self.fields["use_case"].queryset.permitted(user).filter(pk=asked).first() if _is_id(asked) else None
            )
        self.fields["use_case"].queryset = UseCase.objects.permitted(user, "change")
        if use_case is not None:
            self.initial.setdefault("use_case", use_case.pk)
        self.fields["recipe"].choices = [("", "---------"), *reads.recipe_choices()]
        if not self.instance._state.adding:
            del self.fields["use_case"]
        if self.instance.unit:
            self.fields["error_limit"].widget.attrs["data-unit"] = self.instance.unit
            self.fields["error_limit"].help_text = _("Pages hold the typical error against it.")
        if self.fixed:
            for name in setup.CONTRACT:
                self.fields.pop(name, None)
            return
        self.signals = reads.channel_options(user, chosen)
        self.labels = reads.channel_options(user, chosen, ChannelRole.LABEL)
        kept = list(self.instance.features or [])
        options = {o.code: o.label for o in self.signals}
        order = [*kept, *(code for code in options if code not in kept)]
        self.fields["features"].choices = [(code, options.get(code, code)) for code in order]
        self.fields["features"].help_text = (
            _("In the order of the list. A row without one of them is not predicted.")
            if order
            else format_html(
                gettext('You see no channel yet: <a href="{}">bring in devices and channels</a> first.'),
                reverse("devices:import"),
            )
        )
        targets = [(o.code, o.label) for o in self.labels]
        if self.instance.target and self.instance.target not in dict(targets):
            targets.append((self.instance.target, self.instance.target))
        self.fields["target"].choices = [("", _("nothing: it learns what healthy looks like")), *targets]
        self.fields["target"].help_text = (
            _("A measured value that arrives later, such as a laboratory's. Its channel has the role label.")
            if targets
            else _("No channel has the role label yet; a soft sensor needs one.")
        )

    @property
    def fieldsets(self) -> list[tuple[Any, list[Any]]]:
        parts: tuple[tuple[Any, tuple[str, ...]], ...] = (
            ("", ("use_case", "name", "code")),
            (_("What it reads"), ("features",)),
            (_("What it says"), ("kind", "target", "unit", "error_limit")),
            (_("How it comes to be"), ("recipe", "registry_name")),
        )
        found = [(legend, [self[name] for name in names if name in self.fields]) for legend, names in parts]
        return [(legend if not self.fixed else "", fields) for legend, fields in found if fields]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.fixed:
            return data
        for option in self.signals:
            if option.code in (data.get("features") or []) and len(option.units) > 1:
                self.add_error(
                    "features",
                    _("%(code)s is measured in %(units)s: the devices must agree first.")
                    % {"code": option.code, "units": " / ".join(option.units)},
                )
        if data.get("target") and not data.get("unit"):
            data["unit"] = next((o.units[0] for o in self.labels if o.code == data["target"]), "")
        return data


def _is_id(text: Any) -> bool:
    from uuid import UUID

    try:
        UUID(str(text))
    except ValueError:
        return False
    return True


class PipelineForm(forms.Form):
    """Where the rows come from and the limits. ``pipeline`` is given to change one: its adoption and source stay."""

    fields: dict[str, Any]
    adoption = forms.ModelChoiceField(queryset=Adoption.objects.none(), label=_("Adopted at"))
    source = forms.ModelChoiceField(
        queryset=Device.objects.none(),
        label=_("Rows come from"),
        help_text=_("The device whose channels are the inputs: a PLC behind a gateway, for instance."),
    )
    name = forms.CharField(
        max_length=140, required=False, label=_("Name"), help_text=_("Empty: the model's name and the site.")
    )
    expected_period_s = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=31_536_000,
        label=_("A row every"),
        help_text=_("Plant time. Empty: the slowest of its channels."),
        widget=forms.NumberInput(attrs={"data-unit": "s", "step": "any"}),
    )
    owner = forms.ModelChoiceField(
        queryset=User.objects.none(), required=False, label=_("Data owner"), help_text=_("Who answers for the rows.")
    )
    drift_mode = forms.ChoiceField(
        label=_("Compared with"),
        choices=[("seasonal", _("the same season of earlier years")), ("fixed", _("its first rows"))],
        help_text=_("Seasonal where weather or product plays a part; fixed where healthy always looks alike."),
    )

    def __init__(self, *args: Any, model: Model, user: Any, pipeline: Pipeline | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model, self.pipeline = model, pipeline
        labelled = bool(model.target)
        self._limits(DRIFT_FIELDS, "drift_")
        self._limits(POLICY_FIELDS if labelled else RULE_FIELDS, "" if labelled else "rule_")
        self.fields["owner"].queryset = User.objects.filter(is_active=True).order_by("name", "email")
        if pipeline is None:
            self.fields["adoption"].queryset = reads.adoptions_to_wire(user, model)
            self.fields["source"].queryset = reads.sources_for(user, model)
            drift = setup.drift_settings({}) | {"limits": {}}
            self._initial(
                setup.drift_of(Pipeline(reference={})), setup.retraining_of(Pipeline()), setup.rule_of(Pipeline())
            )
            self.initial["drift_mode"] = drift["mode"]
            self._only_choice("adoption", "source")
            return
        del self.fields["adoption"], self.fields["source"]
        self.fields["name"].required = self.fields["expected_period_s"].required = True
        self.fields["name"].help_text = ""
        self.fields["expected_period_s"].help_text = _("Plant time.")
        self.initial.update(
            {
                "name": pipeline.name,
                "expected_period_s": pipeline.expected_period_s,
                "owner": pipeline.owner_id,
            }
        )
        self._initial(setup.drift_of(pipeline), setup.retraining_of(pipeline), setup.rule_of(pipeline))
        if (pipeline.policy_state or {}).get("policy"):
            for name in set(setup.RETRAINING_FIXED) & set(self.fields):
                self.fields[name].disabled = True
                self.fields[name].help_text = _("Fixed since commissioning: the limits in force were measured with it.")

    def _only_choice(self, *names: str) -> None:
        """Where there is one thing to choose it is chosen."""
        for name in names:
            rows = list(self.fields[name].queryset[:2])
            if len(rows) == 1:
                self.initial.setdefault(name, rows[0].pk)

    def _limits(self, rows: tuple[tuple[str, Any, Any, str], ...], prefix: str) -> None:
        for name, label, help_text, unit in rows:
            self.fields[prefix + name] = _number(name, label, help_text, unit)

    def _initial(self, drift: Mapping[str, Any], policy: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
        known = {f"drift_{k}": v for k, v in {**drift, **drift["limits"]}.items()}
        known |= dict(policy) | {f"rule_{k}": v for k, v in rule.items()}
        for name, value in known.items():
            if name in self.fields:
                self.initial.setdefault(name, value)

    @property
    def fieldsets(self) -> list[tuple[Any, list[Any]]]:
        drift = ["drift_mode", *(f"drift_{row[0]}" for row in DRIFT_FIELDS)]
        labelled = bool(self.model.target)
        policy = [row[0] for row in POLICY_FIELDS] if labelled else [f"rule_{row[0]}" for row in RULE_FIELDS]
        rest = [name for name in self.fields if name not in {*drift, *policy}]
        return [
            ("", [self[name] for name in rest]),
            (self._fold(_("When inputs count as drifted"), drift), [self[name] for name in drift]),
            (
                self._fold(_("When it is retrained") if labelled else _("When it is an alarm"), policy),
                [self[name] for name in policy],
            ),
        ]

    def _fold(self, text: Any, names: list[str]) -> Part:
        wrong = bool(set(names) & set(self.errors)) if self.is_bound else False
        return Part.fold(text, _("the defaults serve most plants"), open=wrong or self.pipeline is not None)

    def settings(self) -> dict[str, Any]:
        """``drift``, ``retraining`` and ``rule`` as the services take them."""
        data = self.cleaned_data
        drift = {"mode": data["drift_mode"], **{row[0]: data[f"drift_{row[0]}"] for row in DRIFT_FIELDS}}
        drift["limits"] = {name: drift.pop(name) for name in ("effect", "share")}
        if self.model.target:
            return {"drift": drift, "retraining": {row[0]: data[row[0]] for row in POLICY_FIELDS}}
        return {"drift": drift, "rule": {row[0]: data[f"rule_{row[0]}"] for row in RULE_FIELDS}}


class CommissionForm(forms.Form):
    """Train the first version on the rows on record, or bring one. Moments are plant time, read as UTC."""

    fields: dict[str, Any]
    method = forms.ChoiceField(
        label=_("The first version is"),
        widget=forms.RadioSelect,
        initial="train",
        choices=[
            ("train", _("trained here, on the rows on record")),
            ("file", _("brought as an ONNX file")),
            ("registry", _("taken from the model registry (MLflow)")),
        ],
    )
    split_at = forms.DateTimeField(
        required=False,
        input_formats=_MOMENT,
        label=_("Limits are measured on rows after"),
        help_text=_("Plant time. A model of the rows before is scored on those after. Empty: half of the rows."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_MOMENT[0]),
    )
    until = forms.DateTimeField(
        required=False,
        input_formats=_MOMENT,
        label=_("Only rows before"),
        help_text=_("Plant time. Leave out what came after a known fault. Empty: all rows."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_MOMENT[0]),
    )
    onnx = forms.FileField(
        required=False,
        label=_("ONNX file"),
        help_text=_(
            "One float32 input [rows, inputs] in the model's order, one number a row as first output. At most 5 MiB."
        ),
        widget=forms.ClearableFileInput(attrs={"accept": ".onnx"}),
    )
    registry_version = forms.CharField(required=False, max_length=20, label=_("Version in the registry"))
    trained_until = forms.DateTimeField(
        required=False,
        input_formats=_MOMENT,
        label=_("It has seen rows up to"),
        help_text=_("Plant time. It is judged, and its limits are measured, on newer rows only."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_MOMENT[0]),
    )

    def __init__(self, *args: Any, model: Model, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["registry_version"].help_text = _("A number, of the model %(name)s.") % {
            "name": escape(model.registry_name or model.code)
        }
        if not model.target:
            del self.fields["split_at"], self.fields["trained_until"]

    @property
    def fieldsets(self) -> list[tuple[Any, list[Any]]]:
        parts: tuple[tuple[Any, tuple[str, ...]], ...] = (
            ("", ("method",)),
            (_("What is brought"), ("onnx", "registry_version", "trained_until")),
            (_("Which rows count"), ("split_at", "until")),
        )
        return [(legend, [self[name] for name in names if name in self.fields]) for legend, names in parts]


class RehearsalForm(forms.Form):
    reason = forms.CharField(
        max_length=300,
        label=_("Reason"),
        help_text=_(
            "It stands on the record beside the result, such as: quarterly rehearsal, or new fuel since Monday."
        ),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
