"""States and bodies with which setting a model up comes to success, for the tests that drive every write route."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.apps import apps

from tests.drive import Stage
from tests.factories import make_channel, make_device


def _one(stage: Stage, label: str) -> Any:
    """The side's row of a model, as the database has it."""
    row = stage.ours.one(label)
    row.refresh_from_db()
    return row


def contract(stage: Stage) -> dict[str, Any]:
    return {
        "use_case": str(stage.cast.ours.pk),
        "name": "Further model",
        "code": "further",
        "kind": "soft_sensor",
        "features": ["AT", "AP"],
        "target": "NOX",
        "unit": "mg/m3",
        "recipe": "gradient_boosting",
    }


def plc(stage: Stage) -> None:
    """A device with the channels of the model."""
    made = make_device(stage.cast.home, "plc", code="further-plc")
    for code in ("AT", "AP"):
        make_channel(made, code)
    make_channel(made, "NOX", role="label", unit="mg/m3")


def labelled_model(stage: Stage) -> None:
    plc(stage)
    model = stage.ours.one("governance.Model")
    type(model).objects.filter(pk=model.pk).update(target="NOX", unit="mg/m3")


def pipeline(stage: Stage) -> dict[str, Any]:
    source = apps.get_model("devices.Device").objects.get(code="further-plc")
    adoption = stage.ours.one("usecases.Adoption")
    return {"adoption": str(adoption.pk), "source": str(source.pk), "name": "Further pipeline"}


def policy_form(stage: Stage) -> dict[str, Any]:
    """Every field as the form shows it, one of them changed."""
    from governance.setup_forms import PipelineForm

    found = _one(stage, "governance.Pipeline")
    shown = PipelineForm(model=_one(stage, "governance.Model"), user=stage.cast.coe_lead, pipeline=found)
    fields = {name: field for name, field in shown.fields.items() if name != "owner"}
    return {name: str(shown.get_initial_for_field(field, name) or 0) for name, field in fields.items()} | {
        "name": "Renamed"
    }


def whole_policy_form(stage: Stage) -> dict[str, Any]:
    return policy_form(stage) | pipeline(stage)


def rehearsable(stage: Stage) -> None:
    """A commissioned pipeline whose version has predicted enough labelled rows."""
    from governance.domain.concept import ConceptLimit, Measure
    from governance.domain.retraining import Limits, RetrainingConfig, RetrainingPolicy

    labelled_model(stage)
    limits = Limits(1.0, 0.0, ConceptLimit(Measure.RMSE, 4.0, 4.0, 1.0, 1.0, 9), 12.0)
    policy = RetrainingPolicy(RetrainingConfig(proportional=False), limits)
    policy.observe(0, np.full(300, 0.1), np.zeros(300))
    found = stage.ours.one("governance.Pipeline")
    type(found).objects.filter(pk=found.pk).update(policy_state={"policy": policy.state(), "watch": None})
    found.retrainings.all().delete()
