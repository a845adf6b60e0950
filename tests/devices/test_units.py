"""A wrong unit is refused beside its field: form, API and list."""

from __future__ import annotations

from typing import Any

from devices.models import Channel
from tests.factories import make_device


def body(device: Any) -> dict[str, Any]:
    return {"device": str(device.pk), "code": "TIT", "name": "Inlet", "unit": "degC", "period_s": 1}


def test_the_api_names_the_field(cast: Any, api: Any):
    device = make_device(cast.home, "plc")
    answer = api(cast.ot_engineer).post("/api/v1/channels", body(device), format="json")
    assert answer.status_code == 400
    assert [row["field"] for row in answer.json()["errors"]] == ["unit"]
    assert "UCUM" in answer.json()["errors"][0]["message"]
    good = body(device) | {"unit": "Cel"}
    assert api(cast.ot_engineer).post("/api/v1/channels", good, format="json").status_code == 201


def test_the_form_says_it_beside_the_field(cast: Any, as_user: Any):
    device = make_device(cast.home, "plc")
    answer = as_user(cast.ot_engineer).post("/channels/new", body(device))
    assert answer.status_code == 422
    assert 'id="id_unit_error"' in answer.content.decode()
    assert not Channel.objects.filter(device=device).exists()


def test_a_list_names_the_row(cast: Any, as_user: Any):
    device = make_device(cast.home, "plc")
    text = f"site,device,code,name,unit\n{cast.home.code},{device.code},TIT,Inlet,degC\n"
    answer = as_user(cast.ot_engineer).post("/devices/import", {"kind": "channels", "text": text, "write": "all"})
    assert answer.status_code == 422
    assert "UCUM" in answer.content.decode()
    assert not Channel.objects.filter(device=device).exists()
