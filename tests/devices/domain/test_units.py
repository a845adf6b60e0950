"""Unit codes of UCUM, as far as plants use them."""

from __future__ import annotations

import pytest

from devices.domain.units import is_unit


@pytest.mark.parametrize(
    "code",
    ["Cel", "[degF]", "mbar", "kPa", "mg/m3", "%", "1", "MW.h", "10*3.m3/h", "kg/h", "m3/h", "kW", "{stops}", "{stops}/d",
     "mm/s", "m/s2", "uS/cm", "[ppm]", "A", "V", "Hz", "/min", "h", "[psi]", "[pH]", "L/min", "N.m", "dB", "s-1", "bar"],
)  # fmt: skip
def test_units_of_plants(code: str):
    assert is_unit(code)


@pytest.mark.parametrize(
    "code", ["", "°C", "degC", "mg per m3", "m 3", "furlong", "mg//m3", "mg/", "kscmh", "{", "x" * 50, "0", "m{"]
)
def test_what_is_no_unit(code: str):
    assert not is_unit(code)
