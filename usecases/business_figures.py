"""The charts of a business case: cash with its band, the spread of the NPV, the NPV over the rate, what to find out more about."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _

from portal.core.plots import figure, line

#: Light enough for both themes, and for a line through it.
_BAND = "rgba(96, 128, 208, 0.24)"
_ZERO = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"width": 1}}


def cash_figure(result: dict[str, Any], currency: str) -> dict[str, Any]:
    """Cumulative cash flow per quarter: likely case, with the band of bad to good case, and what comes and goes each quarter."""
    quarters = list(range(len(result["cumulative"])))
    return figure(
        [
            line(quarters, result["band_high"], _("good case"), role="band", showlegend=False) | {"line": {"width": 0}},
            line(quarters, result["band_low"], _("from bad to good case"), role="band", fill="tonexty")
            | {"line": {"width": 0}, "fillcolor": _BAND},
            line(quarters, result["cumulative"], _("likely case, added up")),
            {
                "type": "bar",
                "name": _("in the quarter"),
                "x": quarters,
                "y": result["flow"],
                "opacity": 0.5,
                "meta": {"role": "reference"},
            },
        ],
        x_title=_("quarter after the decision"),
        y_title=currency,
        height=340,
        shapes=[_ZERO],
    )


def cash_title(result: dict[str, Any]) -> str:
    """The title of the chart says what it shows."""
    if result.get("payback") is None:
        return _("The money is not back within {n} quarters in the likely case").format(n=len(result["flow"]) - 1)
    return _("The money is back after {n} quarters in the likely case").format(n=f"{result['payback']:.1f}")


def spread_figure(result: dict[str, Any], currency: str) -> dict[str, Any]:
    """How often which NPV was drawn, with the bad, expected and good case."""
    edges, counts = result["histogram"]["edges"], result["histogram"]["counts"]
    marks = [("p10", _("bad")), ("p50", _("expected")), ("p90", _("good"))]
    return figure(
        [
            {
                "type": "bar",
                "name": _("drawn cases"),
                "x": [round((a + b) / 2, 2) for a, b in pairwise(edges)],
                "y": counts,
                "width": [round(b - a, 2) for a, b in pairwise(edges)],
                "meta": {"role": "primary"},
            }
        ],
        x_title=f"NPV ({currency})",
        y_title=_("drawn cases of {n}").format(n=f"{result['draws']:,}"),
        height=300,
        bargap=0.04,
        yaxis={
            "title": {"text": _("drawn cases of {n}").format(n=f"{result['draws']:,}")},
            "range": [0, 1.15 * max(counts)],
        },
        shapes=[
            {
                "type": "line",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": result[key],
                "x1": result[key],
                "line": {"dash": "dot", "width": 1.5},
            }
            for key, _word in marks
        ]
        + [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "line": {"width": 1}}],
        annotations=[
            {
                "x": result[key],
                "yref": "paper",
                "y": 1.0,
                "yanchor": "top",
                "xanchor": "left",
                "text": word,
                "showarrow": False,
            }
            for key, word in marks
        ],
    )


def spread_title(result: dict[str, Any]) -> str:
    return _("A gain in {n} of 100 drawn cases").format(n=f"{100 * result['chance_of_gain']:.0f}")


def curve_figure(result: dict[str, Any], currency: str) -> dict[str, Any] | None:
    """NPV over the yearly rate; None where the result was computed before there was one."""
    curve = result.get("curve")
    if not curve:
        return None
    percent = [round(100 * rate, 2) for rate in curve["rates"]]
    return figure(
        [line(percent, curve["npv"], "NPV")],
        x_title=_("discount rate, % a year"),
        y_title=f"NPV ({currency})",
        height=300,
        shapes=[
            _ZERO,
            *(
                {
                    "type": "line",
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "x0": 100 * zero,
                    "x1": 100 * zero,
                    "line": {"dash": "dot", "width": 1},
                }
                for zero in curve["zeros"]
            ),
        ],
    )


def rate_reason(result: dict[str, Any]) -> str:
    """Why there is no single internal rate; empty where there is one."""
    status = result.get("irr_status")
    if status == "several":
        return _("More than one rate fits: look at the curve")
    if status == "outside":
        return _("No rate between −90 and 1,000 % a year fits")
    if status == "no_sign_change":
        return _("Money flows one way only, so no rate fits")
    return ""


def curve_title(result: dict[str, Any]) -> str:
    zeros = result.get("curve", {}).get("zeros", [])
    if len(zeros) > 1:
        shown = _(" and ").join(f"{100 * zero:.0f} %" for zero in zeros)
        return _("Worth nothing at {rates} a year: none of them alone is its return").format(rates=shown)
    return rate_reason(result)


def tornado_figure(result: dict[str, Any], currency: str) -> dict[str, Any]:
    """NPV with one line's amount at its low and at its high, the widest on top."""
    rows = list(reversed(result["tornado"]))
    base = result["npv"]
    return figure(
        [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": [r["line"] for r in rows],
                "x": [round(r[side] - base, 2) for r in rows],
                "base": base,
            }
            for side, name in (("low", _("at its low amount")), ("high", _("at its high amount")))
        ],
        x_title=f"NPV ({currency})",
        height=120 + 36 * len(rows),
        barmode="overlay",
        hovermode="closest",
        margin={"l": 150, "r": 16, "t": 12, "b": 44},
    )


def tornado_title(result: dict[str, Any]) -> str:
    rows = result["tornado"]
    if not rows or rows[0]["low"] == rows[0]["high"]:
        return _("No line has a range: each is entered as if it were certain")
    return _("Find out more about {line} first").format(line=rows[0]["line"])
