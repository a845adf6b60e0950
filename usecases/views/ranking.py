"""The ranking of a round and of the whole programme: sentence, sliders, second opinions, charts. The address holds the weights.

One address answers twice: the page, and for the sliders (``Accept: application/json``) what of it changes with the weights.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import exports
from portal.core.access import get_permitted
from portal.core.errors import InvalidInput
from portal.core.pages import Page
from usecases import figures, opinions, ranking, standing, wording
from usecases.choices import Label
from usecases.domain.robustness import in_100
from usecases.models import ScoringRound, UseCase
from usecases.ranking import Model
from usecases.standing import Table

ROUNDS = ScoringRound.objects.select_related("criteria_set", "facilitator")


def sliders(model: Model, result: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The sliders of the top criteria, and per top criterion with several sub-criteria those below it."""

    def slider(key: str, name: str, share: float, agreed: float, group: str) -> dict[str, Any]:
        return {
            "name": key,
            "label": name,
            "value": round(100 * share),
            "agreed": round(100 * agreed),
            "text": f"{100 * share:.0f} %",
            "group": group,
        }

    tops = [
        slider(c.key, c.name, result["weights"][c.key], float(w), "top")
        for c, w in zip(model.tops, model.tree.top_weights, strict=True)
    ]
    groups = []
    for index, top in enumerate(model.tops):
        below = [at for at in range(len(model.leaves)) if model.tree.parent[at] == index]
        if len(below) > 1:
            rows = [
                slider(
                    model.leaves[at].key,
                    model.leaves[at].name,
                    result["sub_weights"][model.leaves[at].key],
                    float(model.tree.within[at]),
                    f"sub-{top.key}",
                )
                for at in below
            ]
            groups.append({"label": _("Shares of {criterion}").format(criterion=top.name), "sliders": rows})
    return tops, groups


def ranked_rows(result: dict[str, Any], table: Table) -> list[dict[str, Any]]:
    """Rows of the ranking component; the sliders replace them by key."""
    rows, seen = [], {str(pk) for pk in table.seen}
    for row in result["rows"]:
        notes = [_("first in {n} of 100").format(n=in_100(row["first"]))]
        if row["known"] < 0.9995:
            notes.append(
                _("{n} % of the weight is rated, so {low} to {high}").format(
                    n=round(100 * row["known"]), low=f"{100 * row['low']:.0f}", high=f"{100 * row['high']:.0f}"
                )
            )
        score = round(100 * row["score"])
        rows.append(
            {
                "key": row["id"],
                "rank": row["rank"],
                "label": row["title"],
                "url": reverse("usecases:use-case", args=[row["id"]]) if row["id"] in seen else "",
                "score": f"{score}",
                "bar": round(100 * row["score"], 1),
                "bar_label": _("{title}: score {n} of 100").format(title=row["title"], n=score),
                "note": "; ".join(notes),
            }
        )
    return rows


def spoken(result: dict[str, Any]) -> str:
    """The sentence above the ranking; it begins with why the order flipped."""
    return " ".join(part for part in (result.get("flip", ""), result.get("sentence", "")) if part)


def changing(result: dict[str, Any], table: Table) -> dict[str, Any]:
    """Everything on the page that follows from the weights."""
    names = table.model.names
    rows = result["rows"]
    agreed = {c.key: float(w) for c, w in zip(table.model.tops, table.model.tree.top_weights, strict=True)}
    context: dict[str, Any] = {
        "result": result,
        "verdict_text": spoken(result),
        "verdict_label": wording.verdict_label(result["verdict"]),
        "verdict_tone": wording.VERDICTS.get(result["verdict"], "unknown"),
        "ranking": ranked_rows(result, table),
    }
    if not rows:
        return context
    tornado = result["tornado"]
    origins = {str(pk): meeting for pk, meeting in table.origins.items()}
    by_top = {case.pk: row["by_top"] for case in table.cases for row in rows if row["id"] == str(case.pk)}
    top_names = [c.name for c in table.model.tops]
    charts = {
        "tornado": (
            figures.tornado_title(tornado, names, result["winner"]),
            figures.tornado(tornado, names) if len(rows) > 1 else None,
        ),
        "heat": (figures.heat_title(rows), figures.heat_map(rows)),
        "bubble": (
            figures.bubble_title(table.cases, by_top, top_names),
            figures.bubble(table.cases, by_top, top_names),
        ),
    }
    return context | {
        "firsts": firsts(result),
        "opinions": [
            row
            | {
                "in_100": in_100(row["first"]),
                "methods": [row["second"][m] for m in ("topsis", "promethee")],
                "origin": origins.get(row["id"]),
            }
            for row in rows
        ],
        "methods": result["methods"],
        "charts": {key: {"title": title, "figure": drawn} for key, (title, drawn) in charts.items() if drawn},
        "central": [
            {
                "title": row["title"],
                "for_whom": opinions.for_whom(row["title"], row["central"], agreed, names),
                "weights": [(row["central"] or {}).get(key) for key in agreed],
                "confidence": row["confidence"],
            }
            for row in rows
        ],
        "sub_tornado": [
            {
                "name": names[row["criterion"]],
                "weight": row["weight"],
                "falls": row["falls"],
                "rises": row["rises"],
            }
            for row in result["sub_tornado"]
        ],
        "top_names": top_names,
    }


def firsts(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Winner, runner-up and who else is first more often than that one, each with the bar of how often it is first."""
    rows = {row["title"]: row for row in result["rows"]}
    often = max(rows.values(), key=lambda row: (row["title"] != result["winner"], row["first"]))["title"]
    said = {
        result["winner"]: _("first in {n} of 100 plausible weightings"),
        result["runner_up"]: _("runner-up, first in {n} of 100"),
    }
    if often not in said and rows[often]["first"] > rows[result["runner_up"]]["first"]:
        said[often] = _("first in {n} of 100: what most often leads instead")
    return [
        {
            "title": title,
            "says": text.format(n=in_100(rows[title]["first"])),
            "bar": round(100 * rows[title]["first"], 1),
        }
        for title, text in said.items()
        if title in rows
    ]


#: Parts of the page that a moved slider writes anew: id -> template.
PARTS = {
    "ranking-verdict": "usecases/_ranking_verdict.html",
    "ranking-firsts": "usecases/_ranking_firsts.html",
    "ranking-opinions": "usecases/_ranking_opinions.html",
    "ranking-central": "usecases/_ranking_central.html",
}


class RankingPage(Page):
    """Shared by the ranking of a round and of the programme."""

    def table(self, **kwargs: Any) -> tuple[Table | None, dict[str, Any]]:
        raise NotImplementedError

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        table, about = self.table(**kwargs)
        if table is None:
            return self.render("usecases/ranking_empty.html", about)
        wrong: list[dict[str, Any]] = []
        weights: standing.Asked = (None, None)
        try:
            weights = standing.asked_weights(table.model, request.GET)
            result = ranking.rank(table, *weights)
        except InvalidInput as error:
            if self.wants_json:
                return _json({"code": error.code, "detail": error.message, "errors": error.errors}, 400)
            wrong = error.errors
            result = ranking.rank(table)
        asked = weights != (None, None) and not wrong
        if request.GET.get("export") in {"csv", "xlsx"} and not wrong:
            return self.export(table, result, asked, request.GET["export"])
        context = about | changing(result, table)
        if self.wants_json:
            return _json(answer(request, context))
        tops, groups = sliders(table.model, result)
        query = {k: v for k, v in request.GET.items() if k != "export"}
        context |= {
            "table": table,
            "sliders": tops,
            "slider_groups": groups,
            "subs_open": weights[1] is not None,
            "asked": asked,
            "errors": [e | {"name": table.model.names.get(e["field"], "")} for e in wrong],
            "export_formats": [(kind.upper(), f"?{_encoded(query | {'export': kind})}") for kind in ("csv", "xlsx")],
            "kappa": result["kappa"],
            "draws": result["draws"],
            "thresholds": result["thresholds"],
            "full_preference": opinions.FULL_PREFERENCE,
        }
        response = self.render("usecases/ranking.html", context, 400 if wrong else 200)
        response["Vary"] = "Accept, HX-Request"
        return response

    @property
    def wants_json(self) -> bool:
        return self.request.headers.get("Accept", "").startswith("application/json")

    def export(self, table: Table, result: dict[str, Any], asked: bool, kind: str) -> Any:
        tops = table.model.tops
        header = [
            _("Rank"),
            _("Use case"),
            _("Code"),
            _("Label"),
            _("Score"),
            _("Lowest"),
            _("Highest"),
            _("Known share of the weight"),
            *(
                _("{name} (weight {share} %)").format(name=c.name, share=f"{100 * result['weights'][c.key]:.0f}")
                for c in tops
            ),
            _("Share of weightings first"),
            _("Share of weightings in its place or better"),
            _("TOPSIS rank"),
            _("TOPSIS closeness"),
            _("PROMETHEE II rank"),
            _("PROMETHEE II net flow"),
            _("Values from round"),
        ]
        cases = {str(case.pk): case for case in table.cases}
        rows = [
            [
                row["rank"],
                row["title"],
                cases[row["id"]].code,
                Label(cases[row["id"]].label).label,
                *(row[key] for key in ("score", "low", "high", "known")),
                *(row["by_top"][c.key] for c in tops),
                row["first"],
                row["keeps_place"],
                *(row["second"][m][key] for m in ("topsis", "promethee") for key in ("rank", "value")),
                str(table.origins.get(cases[row["id"]].pk, "")),
            ]
            for row in result["rows"]
        ]
        name = "ranking-what-if" if asked else "ranking"
        return (exports.csv_response if kind == "csv" else exports.xlsx_response)(name, header, rows)


def _encoded(values: dict[str, Any]) -> str:
    query = QueryDict(mutable=True)
    query.update(values)
    return query.urlencode()


def _json(data: dict[str, Any], status: int = 200) -> JsonResponse:
    response = JsonResponse(data, status=status)
    response["Vary"] = "Accept"
    response["Cache-Control"] = "no-store"
    return response


def answer(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the sliders put into the page."""
    return {
        "verdict": context["verdict_text"],
        "rows": context["ranking"],
        "charts": context.get("charts", {}),
        "parts": {key: render_to_string(template, context, request) for key, template in PARTS.items()}
        if context["ranking"]
        else {},
    }


class RoundRanking(RankingPage):
    def table(self, **kwargs: Any) -> tuple[Table, dict[str, Any]]:
        meeting = get_permitted(ROUNDS, self.request.user, kwargs["pk"])
        table = standing.of_round(self.request.user, meeting)
        return table, {
            "title": _("Ranking: {round}").format(round=meeting),
            "breadcrumbs": [
                (_("Scoring"), reverse("usecases:rounds")),
                (meeting.title, meeting.get_absolute_url()),
                (_("Ranking"), ""),
            ],
            "subtitle": _("{state}, on {criteria}").format(
                state=meeting.get_state_display(), criteria=meeting.criteria_set
            ),
            "object": meeting,
            "back_url": meeting.get_absolute_url(),
            "back_label": _("The round"),
            "page_url": reverse("usecases:round-ranking", args=[meeting.pk]),
        }


class ProgrammeRanking(RankingPage):
    title = gettext_lazy("Ranking")

    def table(self, **kwargs: Any) -> tuple[Table | None, dict[str, Any]]:
        cases: Any = UseCase.objects.permitted(self.request.user)
        if self.site_id:
            cases = cases.filter(adoptions__site_id=self.site_id).distinct()
        table = standing.of_programme(self.request.user, cases)
        return table, {
            "breadcrumbs": [(_("Use cases"), reverse("usecases:use-cases")), (_("Ranking"), "")],
            "subtitle": ""
            if table is None
            else _("Every use case with the values of its newest closed round, on {criteria}").format(
                criteria=table.model.tops[0].criteria_set
            ),
            "back_url": reverse("usecases:rounds"),
            "back_label": _("Scoring rounds"),
            "page_url": reverse("usecases:ranking"),
            "whole": True,
        }
