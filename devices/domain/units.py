"""Whether a text is a unit code of UCUM (The Unified Code for Units of Measure, case sensitive), as far as plants use them.

Grammar: terms joined by ``.`` or ``/``; a term is a number, an annotation ``{...}``, or prefix + atom + exponent.
"""

from __future__ import annotations

import re
from typing import Final

_PREFIXES: Final = ("", "da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f")
# Atoms that take a metric prefix, and those that stand alone.
_METRIC: Final = frozenset(
    [
        "m",
        "g",
        "s",
        "K",
        "A",
        "cd",
        "mol",
        "rad",
        "sr",
        "Hz",
        "N",
        "Pa",
        "J",
        "W",
        "V",
        "C",
        "F",
        "Ohm",
        "S",
        "Wb",
        "T",
        "H",
        "lm",
        "lx",
        "Bq",
        "Gy",
        "Sv",
        "L",
        "l",
        "t",
        "bar",
        "eV",
        "Cel",
        "cal",
        "B",
        "dB",
        "u",
        "ar",
        "kat",
        "VA",
        "var",
        "Wh",
        "Np",
        "bit",
        "By",
        "Bd",
        "g%",
        "[pH]",
    ]
)
_PLAIN: Final = frozenset(
    [
        "%",
        "min",
        "h",
        "d",
        "wk",
        "mo",
        "a",
        "deg",
        "'",
        "''",
        "gon",
        "[degF]",
        "[degR]",
        "[ppth]",
        "[ppm]",
        "[ppb]",
        "[pptr]",
        "[pi]",
        "[in_i]",
        "[ft_i]",
        "[yd_i]",
        "[mi_i]",
        "[lb_av]",
        "[oz_av]",
        "[gal_us]",
        "[bbl_us]",
        "[psi]",
        "[HP]",
        "[Btu]",
        "[kn_i]",
        "[acr_us]",
        "[cft_i]",
        "[cin_i]",
        "[car_Au]",
        "[in_i'Hg]",
        "[in_i'H2O]",
        "[g]",
        "[lbf_av]",
        "atm",
        "att",
        "Mo",
        "rpm",
        "VA",
        "var",
    ]
)
_TERM: Final = re.compile(
    r"^(?P<atom>[^+\-0-9{}()]*?[^+\-0-9{}()])(?P<exponent>[+-]?[1-9])?(?P<note>\{[^{}]{0,20}\})?$"
)
_NUMBER: Final = re.compile(r"^([1-9][0-9]{0,5}|10[*^][+-]?[0-9]{1,2})(\{[^{}]{0,20}\})?$")
_NOTE: Final = re.compile(r"^\{[^{}]{1,20}\}$")


def is_unit(code: str) -> bool:
    """True for ``Cel``, ``mg/m3``, ``kW.h``, ``{stops}/d``, ``1``; false for ``°C``, ``mg per m3``, an empty text."""
    if not code or any(c.isspace() for c in code):
        return False
    flat = code[1:] if code.startswith("/") else code
    return all(_is_term(term) for term in re.split(r"[./]", flat.replace("(", "").replace(")", "")))


def _is_term(term: str) -> bool:
    if _NUMBER.match(term) or _NOTE.match(term):
        return True
    found = _TERM.match(term)
    if found is None:
        return False
    atom = found["atom"]
    if atom in _PLAIN or atom in _METRIC:
        return True
    return any(atom.startswith(prefix) and atom[len(prefix) :] in _METRIC for prefix in _PREFIXES if prefix)
