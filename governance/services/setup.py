"""Setting a model and its pipelines up: the contract, the way of the rows, the checks, the limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from devices.choices import ChannelRole
from devices.models import Channel, Device
from governance import recipes
from governance.choices import CheckKind, ModelKind, StageKind
from governance.domain.anomaly import AnomalyRule
from governance.domain.drift import DriftLimits
from governance.domain.retraining import RetrainingConfig, RetrainingPolicy
from governance.models import Check, Model, Pipeline, Stage
from governance.services import loop
from portal.core import audit
from portal.core.errors import InvalidInput
from portal.core.records import entity_create, entity_update

MAX_INPUTS = 200
MAX_ROWS = 100_000
CONTRACT = ("kind", "features", "target", "unit", "recipe", "registry_name", "code")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
# What a limit was measured with stays as long as the limit does; the others may change between two retrainings.
RETRAINING_LIVE = ("train_rows", "memory", "min_gap", "holdout", "min_gain", "evidence", "backoff_limit")
RETRAINING_FIXED = ("proportional", "window", "stride", "sigmas", "allowance", "cap", "headroom")
DRIFT_DEFAULTS: dict[str, Any] = {"mode": "seasonal", "window": 600, "step": 300, "first": 600}
DRIFT_LIMITS = ("alpha", "effect", "missing", "share")
RULE = ("window", "open_share", "close_share")
STAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (StageKind.SOURCE, "PLC registers", (CheckKind.SCHEMA, CheckKind.STALENESS)),
    (StageKind.WINDOW, "Windowing", (CheckKind.RANGE,)),
    (StageKind.FEATURES, "Model input", (CheckKind.STALENESS,)),
    (StageKind.PREDICTION, "Prediction", (CheckKind.SCHEMA,)),
    (StageKind.LABEL, "Laboratory label", (CheckKind.SCHEMA, CheckKind.RANGE)),
)
_CHECK_WORDS: dict[str, str] = {
    CheckKind.SCHEMA: "every value present",
    CheckKind.STALENESS: "rows in time order, none missing",
    CheckKind.RANGE: "values within the channel's range",
}


# ---- models ----------------------------------------------------------------------------------------------------------


def _check_contract(values: Mapping[str, Any]) -> None:
    """``values``: every field of the contract. Raises InvalidInput with what is wrong beside each field."""
    wrong: dict[str, str] = {}
    features, target = values.get("features"), values.get("target") or ""
    recipe = recipes.RECIPES.get(values.get("recipe") or "")
    named = isinstance(features, list) and all(isinstance(f, str) and _CODE.fullmatch(f) for f in features)
    if not named or not features:
        wrong["features"] = _("Choose at least one channel as an input.")
    elif len(set(features)) != len(features):
        wrong["features"] = _("Each channel counts once.")
    elif len(features) > MAX_INPUTS:
        wrong["features"] = _("At most %(n)s inputs.") % {"n": MAX_INPUTS}
    elif target in features:
        wrong["target"] = _("What the model predicts cannot be one of its inputs.")
    if recipe is None:
        wrong["recipe"] = _("Choose how it is trained.")
    else:
        labelled = values.get("kind") == ModelKind.SOFT_SENSOR
        if recipe.labelled != labelled:
            wrong["recipe"] = (
                _("A soft sensor learns from labels: choose a recipe that does.")
                if labelled
                else _("A detector learns what healthy looks like: choose a recipe without labels.")
            )
        elif "features" not in wrong and features and not recipe.fewest <= len(features) <= recipe.most:
            wrong["features"] = _recipe_inputs(recipe)
        if recipe.labelled and not target:
            wrong["target"] = _("Say which channel holds the measured value that it learns.")
        elif recipe.labelled and not _CODE.fullmatch(target):
            wrong["target"] = _("The code of a channel: a letter first, then letters, digits, underscore.")
        elif not recipe.labelled and target:
            wrong["target"] = _("This recipe learns without labels: leave it empty.")
        if recipe.labelled and not values.get("unit"):
            wrong["unit"] = _("The unit of the value, as a UCUM code such as mg/m3.")
    if values.get("registry_name") and not _REGISTRY.fullmatch(values["registry_name"]):
        wrong["registry_name"] = _("Letters, digits, space, dot, dash and underscore.")
    if wrong:
        raise InvalidInput(wrong)


def _check_error_limit(limit: float | None) -> None:
    if limit is not None and not 0 < limit < 1e12:
        raise InvalidInput({"error_limit": _("A number above 0, in the unit of the output.")})


def _check_registry_name(name: str, model: Model | None = None) -> None:
    """A name in the registry is one model's: whoever could give it to a second one would read the files of the first."""
    others = Model.objects.exclude(pk=model.pk) if model is not None else Model.objects.all()
    if others.filter(Q(registry_name=name) | Q(registry_name="", code=name)).exists():
        raise InvalidInput({"registry_name": _("Another model has this name in the registry.")})


def _recipe_inputs(recipe: recipes.Recipe) -> str:
    if recipe.fewest == recipe.most:
        return _("This recipe takes exactly %(n)s input.") % {"n": recipe.fewest}
    return _("This recipe takes %(a)s to %(b)s inputs.") % {"a": recipe.fewest, "b": recipe.most}


def model_create(*, actor: Any, **data: Any) -> Model:
    """A model with its contract. Without ``registry_name`` it is known in the registry as ``phasegate-<code>``."""
    data["registry_name"] = data.get("registry_name") or f"phasegate-{data.get('code', '')}"
    _check_contract(data)
    _check_registry_name(data["registry_name"])
    _check_error_limit(data.get("error_limit"))
    return entity_create(actor=actor, model=Model, data=data)


def contract_fixed(model: Model) -> bool:
    """Whether a pipeline or a version rests on the contract, so that it can no longer change."""
    return model.pipelines.exists() or model.versions.exists()


@transaction.atomic
def model_update(*, actor: Any, model: Model, data: dict[str, Any], expected_version: int | None = None) -> Model:
    """Change a model. Its contract (inputs, target, unit, recipe, names) is fixed once a pipeline or version rests on it."""
    moved = [name for name in CONTRACT if name in data and data[name] != getattr(model, name)]
    if "use_case" in data and data["use_case"].pk != model.use_case_id:
        raise InvalidInput({"use_case": _("A model stays with its use case.")})
    if moved and contract_fixed(model):
        raise InvalidInput(
            dict.fromkeys(
                moved, _("Fixed: a pipeline or a version rests on it. Set up another model for another contract.")
            )
        )
    if moved:
        wanted = {name: getattr(model, name) for name in CONTRACT} | data
        _check_contract(wanted)
        _check_registry_name(wanted["registry_name"] or wanted["code"], model)
    _check_error_limit(data.get("error_limit"))
    values = {name: value for name, value in data.items() if name != "use_case"}
    return entity_update(actor=actor, obj=model, data=values, expected_version=expected_version)


# ---- pipelines -------------------------------------------------------------------------------------------------------


def drift_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """``mode, window, step, first`` and ``limits``, checked; field names in errors carry the prefix ``drift_``."""
    found = DRIFT_DEFAULTS | {k: v for k, v in given.items() if k in DRIFT_DEFAULTS and v is not None}
    limits = {k: float(v) for k, v in (given.get("limits") or {}).items() if k in DRIFT_LIMITS and v is not None}
    wrong: dict[str, str] = {}
    if found["mode"] not in {"seasonal", "fixed"}:
        wrong["drift_mode"] = _("Seasonal or fixed.")
    least = DriftLimits().min_rows
    for name in ("window", "first"):
        if not least <= int(found[name]) <= MAX_ROWS:
            wrong[f"drift_{name}"] = _("From %(a)s to %(b)s rows.") % {"a": least, "b": f"{MAX_ROWS:,}"}
    if not 1 <= int(found["step"]) <= int(found["window"]):
        wrong["drift_step"] = _("At least one row, and no more than the window.")
    bounds = {"alpha": (0.0, 1.0), "effect": (0.0, 100.0), "missing": (0.0, 1.0), "share": (0.0, 1.0)}
    for name, value in limits.items():
        low, high = bounds[name]
        if not (low < value < high if name == "alpha" else low <= value <= high) or (name == "share" and value == 0):
            wrong[f"drift_{name}"] = _("From %(a)g to %(b)g.") % {"a": low, "b": high}
    if wrong:
        raise InvalidInput(wrong)
    for name in ("window", "step", "first"):
        found[name] = int(found[name])
    return found | ({"limits": limits} if limits else {})


def retraining_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the loop that differ from its defaults, checked as a whole."""
    known = {k: v for k, v in given.items() if k in (*RETRAINING_LIVE, *RETRAINING_FIXED) and v is not None}
    default = RetrainingConfig()
    known = {k: type(getattr(default, k))(v) for k, v in known.items()}
    whole = {k: known.get(k, getattr(default, k)) for k in (*RETRAINING_LIVE, *RETRAINING_FIXED)}
    wrong: dict[str, str] = {}
    for name in ("window", "stride", "train_rows", "min_gap", "holdout", "evidence"):
        if not 1 <= whole[name] <= MAX_ROWS:
            wrong[name] = _("From 1 to %(b)s rows.") % {"b": f"{MAX_ROWS:,}"}
    for name, low, high in (
        ("memory", 1.0, 1e6),
        ("sigmas", 0.0, 20.0),
        ("allowance", 0.0, 100.0),
        ("cap", 0.1, 100.0),
        ("headroom", 1.0, 100.0),
        ("min_gain", 0.0, 0.99),
        ("backoff_limit", 0, 10),
    ):
        if not low <= whole[name] <= high:
            wrong[name] = _("From %(a)g to %(b)g.") % {"a": low, "b": high}
    if not wrong and whole["holdout"] > whole["min_gap"]:
        wrong["holdout"] = _(
            "No more than the rows between two retrainings (%(n)s): the incumbent must not know them."
        ) % {"n": whole["min_gap"]}
    if not wrong and whole["train_rows"] <= 2 * whole["holdout"]:
        wrong["train_rows"] = _("More than twice the rows held out for the check (%(n)s).") % {"n": whole["holdout"]}
    if not wrong and whole["stride"] > whole["window"]:
        wrong["stride"] = _("No more than the window.")
    if wrong:
        raise InvalidInput(wrong)
    return {k: v for k, v in known.items() if v != getattr(default, k)}


def rule_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """When a stream of anomaly scores is an alarm: ``window, open_share, close_share``."""
    default = AnomalyRule(0.0)
    found = {k: type(getattr(default, k))(given[k]) for k in RULE if given.get(k) is not None}
    whole = {k: found.get(k, getattr(default, k)) for k in RULE}
    if not 1 <= whole["window"] <= MAX_ROWS:
        raise InvalidInput({"rule_window": _("From 1 to %(b)s rows.") % {"b": f"{MAX_ROWS:,}"}})
    if not 0 < whole["open_share"] <= 1:
        raise InvalidInput({"rule_open_share": _("Above 0, at most 1.")})
    if not 0 <= whole["close_share"] < whole["open_share"]:
        raise InvalidInput({"rule_close_share": _("From 0 to below the share that opens.")})
    return found


def missing_channels(model: Model, source: Device) -> list[str]:
    """Inputs of the model that the device has no signal channel for, in the model's order."""
    known = set(source.channels.filter(role=ChannelRole.SIGNAL).values_list("code", flat=True))
    return [name for name in model.features if name not in known]


def _check_source(model: Model, source: Device, site_id: Any) -> None:
    if source.site_id != site_id:
        raise InvalidInput({"source": _("This device stands at another site.")})
    missing = missing_channels(model, source)
    if missing:
        raise InvalidInput(
            {
                "source": _("%(device)s has no channel %(codes)s. Describe it there first.")
                % {"device": source, "codes": ", ".join(missing)}
            }
        )
    labels = Channel.objects.filter(device__site_id=site_id, role=ChannelRole.LABEL, code=model.target)
    if model.target and not labels.exists():
        raise InvalidInput(
            {
                "source": _(
                    "No channel of this site holds the label %(code)s. Describe it as a channel with the role label."
                )
                % {"code": model.target}
            }
        )


@transaction.atomic
def pipeline_create(
    *,
    actor: Any,
    model: Model,
    adoption: Any,
    source: Device,
    name: str = "",
    expected_period_s: float | None = None,
    owner: Any = None,
    drift: Mapping[str, Any] | None = None,
    retraining: Mapping[str, Any] | None = None,
    rule: Mapping[str, Any] | None = None,
) -> Pipeline:
    """From the device's channels to the model's prediction: the pipeline with its stages and the checks of each.

    ``drift``, ``retraining`` (labelled models) and ``rule`` (detectors) override the defaults. Raises InvalidInput beside the field.
    """
    if model.use_case_id != adoption.use_case_id:
        raise InvalidInput({"adoption": _("This adoption belongs to another use case.")})
    _check_source(model, source, adoption.site_id)
    channels = source.channels.filter(role=ChannelRole.SIGNAL, code__in=model.features)
    period = expected_period_s if expected_period_s is not None else max(c.period_s for c in channels)
    reference: dict[str, Any] = {"drift": drift_settings(drift or {})}
    if recipes.recipe_of(model).labelled:
        reference["retraining"] = retraining_settings(retraining or {})
    else:
        reference["rule"] = rule_settings(rule or {})
    if not 0 < period <= 31_536_000:
        raise InvalidInput({"expected_period_s": _("More than 0 seconds, at most a year.")})
    if Pipeline.objects.filter(adoption=adoption, model=model, stream=source.code).exists():
        raise InvalidInput({"source": _("A pipeline brings the rows of this device to this model already.")})
    pipeline = entity_create(
        actor=actor,
        model=Pipeline,
        data={
            "adoption": adoption,
            "model": model,
            "name": name or f"{model.name}, {adoption.site}"[:140],
            "stream": source.code,
            "expected_period_s": period,
            "owner": owner,
            "reference": reference,
        },
    )
    for position, (kind, title, checks) in enumerate(STAGES):
        if kind == StageKind.LABEL and not model.target:
            continue
        stage = entity_create(
            actor=actor, model=Stage, data={"pipeline": pipeline, "position": position, "kind": kind, "name": title}
        )
        if kind in {StageKind.SOURCE, StageKind.WINDOW}:
            stage.channels.set(channels)
        elif kind == StageKind.LABEL:
            labels = Channel.objects.filter(device__site_id=adoption.site_id, role=ChannelRole.LABEL, code=model.target)
            stage.channels.set(labels.filter(device=source) or labels)
        for check in checks:
            entity_create(
                actor=actor,
                model=Check,
                data={"stage": stage, "kind": check, "name": f"{title}: {_CHECK_WORDS[check]}"},
            )
    return pipeline


@transaction.atomic
def pipeline_update(
    *,
    actor: Any,
    pipeline: Pipeline,
    data: dict[str, Any],
    drift: Mapping[str, Any] | None = None,
    retraining: Mapping[str, Any] | None = None,
    rule: Mapping[str, Any] | None = None,
    expected_version: int | None = None,
) -> Pipeline:
    """Change name, period, owner and the limits. What is not given stays.

    Settings that the limits of a commissioned model were measured with are fixed; the others reach the policy at once, unless a
    retraining is under way (``InvalidInput`` beside the field).
    """
    locked = Pipeline.objects.select_for_update(of=("self",)).select_related("model").get(pk=pipeline.pk)
    period = data.get("expected_period_s", locked.expected_period_s)
    if not 0 < period <= 31_536_000:
        raise InvalidInput({"expected_period_s": _("More than 0 seconds, at most a year.")})
    reference = dict(locked.reference)
    if drift is not None:
        kept = dict(reference.get("drift", {}))
        limits = {**kept.get("limits", {}), **{k: v for k, v in (drift.get("limits") or {}).items() if v is not None}}
        reference["drift"] = drift_settings(kept | dict(drift) | {"limits": limits})
    state = loop.LoopState.of(locked)
    moved = False
    if retraining is not None and recipes.recipe_of(locked.model).labelled:
        wanted = retraining_settings({**retraining_of(locked, state), **retraining})
        moved = _change_policy(state, wanted)
        reference["retraining"] = wanted
    if rule is not None and not recipes.recipe_of(locked.model).labelled:
        wanted = rule_settings({**rule_of(locked, state), **rule})
        reference["rule"] = wanted
        moved = _change_rule(state, wanted) or moved
    values: dict[str, Any] = {k: data[k] for k in ("name", "expected_period_s", "owner") if k in data}
    if reference != locked.reference:
        values["reference"] = reference
    changed = entity_update(actor=actor, obj=pipeline, data=values, expected_version=expected_version)
    if moved:
        loop.state_save(changed, state)
        audit.record(
            actor=actor,
            action="pipeline.policy",
            obj=changed,
            changes={"retraining": reference.get("retraining"), "rule": reference.get("rule")},
        )
    return changed


def retraining_of(pipeline: Pipeline, state: loop.LoopState | None = None) -> dict[str, Any]:
    """Every setting of the loop as it is in force, or as it will be once the pipeline is commissioned."""
    known = state or loop.LoopState.of(pipeline)
    if known.policy is not None:
        return dict(known.policy.state()["config"])
    default = RetrainingConfig()
    chosen = pipeline.reference.get("retraining", {})
    return {k: chosen.get(k, getattr(default, k)) for k in (*RETRAINING_LIVE, *RETRAINING_FIXED)}


def rule_of(pipeline: Pipeline, state: loop.LoopState | None = None) -> dict[str, Any]:
    """The alarm rule in force, or as it will be."""
    known = state or loop.LoopState.of(pipeline)
    rule: Any = known.watch.rule if known.watch is not None else AnomalyRule(0.0, **pipeline.reference.get("rule", {}))
    return {name: getattr(rule, name) for name in RULE}


def drift_of(pipeline: Pipeline) -> dict[str, Any]:
    """The drift settings in force, ``limits`` with every limit."""
    found = DRIFT_DEFAULTS | pipeline.reference.get("drift", {})
    default = DriftLimits()
    limits = found.get("limits", {})
    return found | {"limits": {name: limits.get(name, getattr(default, name)) for name in DRIFT_LIMITS}}


def _change_policy(state: loop.LoopState, wanted: Mapping[str, Any]) -> bool:
    """Put the settings into the policy under way; says whether they differ from its own."""
    if state.policy is None:
        return False
    raw = state.policy.state()
    default = RetrainingConfig()
    asked = {name: wanted.get(name, getattr(default, name)) for name in raw["config"]}
    differ = [name for name, value in asked.items() if value != raw["config"][name]]
    fixed = [name for name in differ if name in RETRAINING_FIXED]
    if fixed:
        raise InvalidInput(
            dict.fromkeys(fixed, _("Fixed since commissioning: the limits in force were measured with it."))
        )
    if differ and state.policy.busy:
        raise InvalidInput(dict.fromkeys(differ, _("A retraining is under way: change it when that is over.")))
    state.policy = RetrainingPolicy.from_state(raw | {"config": asked})
    return bool(differ)


def _change_rule(state: loop.LoopState, wanted: Mapping[str, Any]) -> bool:
    if state.watch is None:
        return False
    rule = AnomalyRule(state.watch.rule.threshold, **wanted)
    if rule == state.watch.rule:
        return False
    state.watch.rule = rule
    state.watch.recent = state.watch.recent[-rule.window :]
    return True
