"""The name of a model in the registry opens its files, so no second model may take it."""

from __future__ import annotations

from typing import Any

import pytest

from governance.models import Model

pytestmark = pytest.mark.django_db


def contract(use_case: Any, **changes: Any) -> dict[str, Any]:
    return {
        "use_case": str(use_case.pk),
        "code": "mine",
        "name": "Mine",
        "kind": "soft_sensor",
        "features": ["AT", "AP"],
        "target": "NOX",
        "unit": "mg/m3",
        "recipe": "gradient_boosting",
    } | changes


def test_a_data_scientist_does_not_take_the_registry_name_of_a_model_elsewhere(cast: Any, api: Any) -> None:
    ours = api(cast.data_scientist).post("/api/v1/models", contract(cast.ours, code="nox"), format="json")
    assert ours.json()["registry_name"] == "phasegate-nox"
    thief = api(cast.stranger)
    assert thief.get(f"/api/v1/models/{ours.json()['id']}").status_code == 404
    taken = thief.post("/api/v1/models", contract(cast.theirs, registry_name="phasegate-nox"), format="json")
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (400, "registry_name")
    own = thief.post("/api/v1/models", contract(cast.theirs), format="json")
    assert own.status_code == 201
    path = f"/api/v1/models/{own.json()['id']}"
    assert thief.patch(path, {"registry_name": "phasegate-nox"}, format="json").status_code == 400
    assert thief.patch(path, {"registry_name": "line-7"}, format="json").status_code == 200
    assert list(Model.objects.filter(registry_name="phasegate-nox").values_list("code", flat=True)) == ["nox"]
