"""Charts of rankings: each with a title that says what is to be seen. Plain Plotly figures; the browser adds the colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from portal.core.plots import figure
from usecases.choices import Label
from usecases.domain.robustness import in_100

#: More rows than this carry no figures in their cells or names at their bubbles: they would lie on each other.
LEGIBLE = 12
MARKS = {
    Label.QUICK_WIN: ("circle", "var(--pg-c2)"),
    Label.FOUNDATION: ("square", "var(--pg-c1)"),
    Label.MOON_SHOT: ("diamond", "var(--pg-c4)"),
    Label.UNLABELLED: ("circle-open", "var(--pg-ink-2)"),
}
#: The end of the heat map's scale: dark enough in both themes for the figures in its cells to be read.
_FULL = "light-dark(var(--pg-accent), color-mix(in oklab, var(--pg-accent) 60%, var(--pg-sunken)))"
#: The same symbols where only text can be drawn.
SIGNS = {Label.QUICK_WIN: "●", Label.FOUNDATION: "■", Label.MOON_SHOT: "◆", Label.UNLABELLED: "○"}


def short(title: str, most: int = 26) -> str:
    return title if len(title) <= most else f"{title[: most - 1].rstrip()}…"


def heat_map(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank acceptability: use cases from first to last, ranks along, per cent of the weightings in the cells."""
    count = len(rows)
    shares = [[round(100 * b, 1) for b in row["acceptability"]] for row in rows]
    trace = {
        "type": "heatmap",
        "name": _("% of weightings"),
        "x": list(range(1, count + 1)),
        "y": [short(row["title"]) for row in rows],
        "z": shares,
        "zmin": 0,
        "zmax": 100,
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0, "var(--pg-sunken)"], [1, _FULL]],
        "showscale": count > LEGIBLE,
        "hovertemplate": "%{y}: " + _("rank") + " %{x} " + _("in %{z} % of the weightings") + "<extra></extra>",
    }
    if count <= LEGIBLE:
        trace |= {"texttemplate": "%{text}", "text": [[_cell(b) for b in row["acceptability"]] for row in rows]}
    return figure(
        [trace],
        xaxis={"title": {"text": _("Rank")}, "dtick": 1 if count <= LEGIBLE else 5, "showgrid": False},
        yaxis={"title": {"text": _("Use case")}, "autorange": "reversed", "showgrid": False},
        hovermode="closest",
        showlegend=False,
    )


def _cell(share: float) -> str:
    return "" if share <= 0 else str(in_100(share))


def heat_title(rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) < 2:
        return _("Only one use case is rated")
    sure = [row["title"] for row in rows if row["acceptability"][row["rank"] - 1] >= 0.95]
    if len(sure) == len(rows):
        return _("Every place is as good as certain")
    least = min(rows, key=lambda row: max(row["acceptability"]))
    likely = max(range(len(rows)), key=lambda r: least["acceptability"][r])
    return _("{first} is first in {n} of 100 weightings; least certain is {title}, place {rank} in {m} of 100").format(
        first=rows[0]["title"],
        n=in_100(rows[0]["first"]),
        title=least["title"],
        rank=likely + 1,
        m=in_100(least["acceptability"][likely]),
    )


def tornado(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Any]:
    """How far each weight can fall and rise until somebody else leads, in percentage points; never is written out."""
    labels = [f"{names.get(row['criterion'], row['criterion'])} ({100 * row['weight']:.0f} %)" for row in rows]

    def bars(way: str, name: str, tone: str, pattern: str) -> dict[str, Any]:
        ways = [row[way] for row in rows]
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": labels,
            "x": [
                None if w is None else round(100 * (w["at"] - row["weight"]), 1)
                for w, row in zip(ways, rows, strict=True)
            ],
            "text": [
                "" if w is None else _("{rival} {at} %").format(rival=short(w["rival"], 18), at=_percent(w["at"]))
                for w in ways
            ],
            "textposition": "outside",
            "cliponaxis": False,
            "marker": {"color": tone, "pattern": {"shape": pattern, "size": 5}},
            "hovertemplate": "%{y}: %{x:+.1f} " + _("points") + ", %{text}<extra></extra>",
        }

    never = [
        {
            "x": 0,
            "y": label,
            "text": " " + _("never changes the winner"),
            "showarrow": False,
            "xanchor": "left",
        }
        for label, row in zip(labels, rows, strict=True)
        if row["change"] is None
    ]
    moves = [100 * (w["at"] - row["weight"]) for row in rows for w in (row["falls"], row["rises"]) if w]
    low, high = min([0.0, *moves]), max([0.0, *moves])
    # Room beside the longest bars for who would lead then.
    room = 0.8 * (high - low) or 1.0
    return figure(
        [
            bars("falls", _("Weight falls by"), "var(--pg-c1)", ""),
            bars("rises", _("Weight rises by"), "var(--pg-c4)", "/"),
        ],
        xaxis={
            "title": {"text": _("Change of the weight (points)")},
            "zeroline": True,
            "range": [low - (room if low < 0 else 0.02 * high), high + (room if high > 0 else -0.02 * low)],
        },
        yaxis={"title": {"text": _("Weight")}, "autorange": "reversed"},
        barmode="overlay",
        hovermode="closest",
        annotations=never,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if abs(100 * share - round(100 * share)) < 0.05 else f"{100 * share:.1f}"


def tornado_title(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], winner: str) -> str:
    moved = [row for row in rows if row["change"] is not None]
    if not moved:
        return _("No single weight changes the winner")
    first = moved[0]
    way = min((w for w in (first["falls"], first["rises"]) if w), key=lambda w: abs(w["at"] - first["weight"]))
    points = 100 * abs(way["at"] - first["weight"])
    text = (
        _("Most delicate is {criterion}: {points} points less, and {rival} leads")
        if way["at"] < first["weight"]
        else _("Most delicate is {criterion}: {points} points more, and {rival} leads")
    )
    if points < 0.05:
        return _("{rival} is level with {winner} already").format(rival=way["rival"], winner=winner)
    return text.format(
        criterion=names.get(first["criterion"], first["criterion"]),
        points=f"{points:.0f}" if points >= 1 else f"{points:.1f}",
        rival=way["rival"],
    )


def _placed(points: Sequence[tuple[float, float, float, str]]) -> list[str]:
    """Where each bubble's name stands so that few lie on others: points of x, y (per cent), radius (pixels) and name.

    Reckoned for a chart of 900 x 380 pixels; a much smaller one shows no names.
    """
    wide, high = 900 / 112, 380 / 124
    boxes = [(x * wide - r, y * high - r, x * wide + r, y * high + r) for x, y, r, _name in points]
    chosen = []
    for x, y, r, name in points:
        half, cx, cy = 3.2 * len(name), x * wide, y * high
        spots = {
            "top center": (cx - half, cy + r, cx + half, cy + r + 15),
            "bottom center": (cx - half, cy - r - 15, cx + half, cy - r),
            "middle right": (cx + r, cy - 8, cx + r + 2 * half, cy + 8),
            "middle left": (cx - r - 2 * half, cy - 8, cx - r, cy + 8),
        }
        cost = {spot: sum(_overlap(box, other) for other in boxes) + _outside(box, wide) for spot, box in spots.items()}
        best = min(cost, key=lambda spot: cost[spot])
        boxes.append(spots[best])
        chosen.append(best)
    return chosen


Box = tuple[float, float, float, float]


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, up)


def _outside(box: Box, wide: float) -> float:
    return 1000 * (max(0.0, -4 * wide - box[0]) + max(0.0, box[2] - 108 * wide))


def bubble(
    cases: Iterable[Any], by_top: Mapping[Any, Mapping[str, float | None]], names: Sequence[str]
) -> dict[str, Any] | None:
    """First against second top criterion, size = the third; colour, symbol and legend say what a use case is for.

    ``by_top``: use case -> values 0..1 under the top criteria in their order, as ``names``; None without three of them.
    """
    if len(names) < 3:
        return None
    traces: dict[Label, dict[str, Any]] = {}
    shown = [(case, list(by_top.get(case.pk, {}).values())[:3]) for case in cases]
    shown = [(case, values) for case, values in shown if len(values) == 3 and None not in values]
    points = [
        (100 * float(x or 0), 100 * float(y or 0), 6 + 15 * float(size or 0), short(case.title))
        for case, (x, y, size) in shown
    ]
    for (case, values), spot in zip(shown, _placed(points), strict=True):
        label = Label(case.label)
        symbol, tone = MARKS[label]
        trace = traces.setdefault(
            label,
            {
                "type": "scatter",
                "mode": "markers+text" if len(shown) <= LEGIBLE else "markers",
                "name": str(label.label),
                "x": [],
                "y": [],
                "text": [],
                "textposition": [],
                "marker": {
                    "size": [],
                    "opacity": 0.75,
                    "symbol": symbol,
                    "color": tone,
                    "line": {"width": 1.5, "color": tone},
                },
                "customdata": [],
                "meta": {"sizes": []},
                "hovertemplate": "%{text}<br>"
                + "<br>".join(
                    f"{name}: %{{{key}}} %" for name, key in zip(names, ("x", "y", "customdata"), strict=False)
                )
                + "<extra>%{fullData.name}</extra>",
            },
        )
        x, y, size = (round(100 * float(v or 0)) for v in values)
        trace["x"].append(x)
        trace["y"].append(y)
        trace["text"].append(short(case.title))
        trace["textposition"].append(spot)
        trace["marker"]["size"].append(round(12 + 0.3 * size))
        trace["customdata"].append(size)
        trace["meta"]["sizes"].append(size)
    if not traces:
        return None
    return figure(
        [traces[label] for label in MARKS if label in traces],
        hovermode="closest",
        xaxis={"title": {"text": _("{name} (% of the best)").format(name=names[0])}, "range": [-4, 108]},
        yaxis={"title": {"text": _("{name} (% of the best)").format(name=names[1])}, "range": [-6, 118]},
        showlegend=True,
        legend={"itemsizing": "constant"},
        meta={"size": _("{name} (% of the best)").format(name=names[2]), "group": _("Label"), "item": _("Use case")},
    )


def bubble_title(cases: Iterable[Any], by_top: Mapping[Any, Mapping[str, float | None]], names: Sequence[str]) -> str:
    known = [(case, list(by_top.get(case.pk, {}).values())[:2]) for case in cases]
    known = [(case, values) for case, values in known if len(values) == 2 and None not in values]
    strong = [case.title for case, values in known if min(float(v or 0) for v in values) >= 0.5]
    two = {"x": names[0], "y": names[1]} if len(names) > 1 else {"x": "", "y": ""}
    if not strong:
        return _("None is strong on both {x} and {y}").format(**two)
    if len(strong) <= 2:
        return _("Strong on both {x} and {y}: {titles}").format(titles=", ".join(strong), **two)
    return _("{n} of {of} are strong on both {x} and {y}").format(n=len(strong), of=len(known), **two)
