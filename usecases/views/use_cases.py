"""Use cases: three views of one list, the use case with its tabs, outcomes, adoptions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import F, Prefetch
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.access import get_permitted, with_may
from portal.core.pages import (
    CreatePage,
    DetailPage,
    FormPage,
    ListPage,
    PanelsPart,
    UpdatePage,
)
from usecases import figures, planning, selectors, services, standing, wording
from usecases.choices import Phase, RoundState
from usecases.filters import UseCaseFilter
from usecases.forms import NotPursueForm, UseCaseForm
from usecases.models import Adoption, Gate, GateReview, ScoringRound, UseCase
from usecases.tables import UseCaseTable
from usecases.views.outcomes import outcome_figure, with_readings

_VIEWS = {"table": "Table", "board": "Board", "bubble": "Bubble chart"}


def latest_scores(cases: list[UseCase]) -> dict[Any, dict[str, Any]]:
    """Per use case its row in the newest closed round that ranked it (one query)."""
    rounds = ScoringRound.objects.filter(state=RoundState.CLOSED, use_cases__in=cases).distinct()
    return scores_in(rounds.order_by("-closed_at")[:20], cases)


def scores_in(rounds: Iterable[ScoringRound], cases: list[UseCase]) -> dict[Any, dict[str, Any]]:
    """The same from closed rounds at hand, the newest first."""
    found: dict[Any, dict[str, Any]] = {}
    wanted = {str(c.pk): c.pk for c in cases}
    for meeting in rounds:
        for row in meeting.result.get("rows", []):
            pk = wanted.get(row["id"])
            if pk is not None and pk not in found:
                found[pk] = row | {"round": meeting, "of": len(meeting.result["rows"])}
    return found


class UseCasesPage(ListPage):
    title = "Use cases"
    model = UseCase
    table_class = UseCaseTable
    filterset_class = UseCaseFilter
    template = "usecases/use_cases.html"
    create_url_name = "usecases:use-case-create"
    create_label = "New use case"
    create_permission = "usecases.add_usecase"
    empty = "No use case yet. Start with one high-leverage use case, prove it, then scale it."

    def rows(self) -> Any:
        rows = UseCase.objects.permitted(self.request.user).select_related("sponsor", "business_case")
        return rows.filter(adoptions__site_id=self.site_id).distinct() if self.site_id else rows

    def more(self) -> dict[str, Any]:
        shown = self.request.GET.get("view", "table")
        shown = shown if shown in _VIEWS else "table"
        query = self.request.GET.copy()
        tabs = []
        for key, label in _VIEWS.items():
            query["view"] = key
            tabs.append({"label": label, "url": f"?{query.urlencode()}", "active": key == shown})
        for label, name in ((_("Ranking"), "ranking"), (_("Foundations"), "use-case-map")):
            tabs.append({"label": label, "url": reverse(f"usecases:{name}"), "active": False})
        context: dict[str, Any] = {"tabs": tabs, "view": shown}
        if shown == "table" or self.partial:
            return context
        cases = list(UseCaseFilter(self.request.GET, queryset=self.rows(), request=self.request).qs[:200])
        if shown == "board":
            scores = latest_scores(cases)
            context["columns"] = [
                {
                    "phase": phase.value,
                    "label": phase.label,
                    "cards": [{"case": c, "score": scores.get(c.pk)} for c in cases if c.phase == phase],
                }
                for phase in Phase
            ]
        else:
            context |= self.bubble([c.pk for c in cases])
        return context

    def bubble(self, pks: list[Any]) -> dict[str, Any]:
        """The chart over the same values that the programme's ranking stands on."""
        table = standing.of_programme(self.request.user, UseCase.objects.filter(pk__in=pks))
        if table is None:
            return {"figure": None, "unscored": []}
        by_top = standing.by_top(table)
        names = [c.name for c in table.model.tops]
        return {
            "figure": figures.bubble(table.cases, by_top, names),
            "figure_title": figures.bubble_title(table.cases, by_top, names),
            "unscored": [c for c in table.cases if c.pk not in by_top] + [c for c, _reason in table.apart],
        }


class UseCaseCreate(CreatePage):
    title = "New use case"
    model = UseCase
    form_class = UseCaseForm
    create_permission = "usecases.add_usecase"

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        return services.use_case_create(actor=self.request.user, many=many, **data)

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:use-cases")


class UseCaseEdit(UpdatePage):
    title = "Change use case"
    model = UseCase
    form_class = UseCaseForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.use_case_update(
            actor=self.request.user, use_case=obj, data=data, many=many, expected_version=version
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class NotPursue(FormPage):
    title = "Leave phase 5 out"
    form_class = NotPursueForm
    submit_label = "Do not pursue phase 5"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def save(self, obj: Any, form: Any) -> str:
        services.use_case_not_pursue(actor=self.request.user, use_case=obj, **form.cleaned_data)
        return obj.get_absolute_url()


class UseCasePage(DetailPage):
    model = UseCase
    template = "usecases/use_case.html"
    panels_url_name = "usecases:use-case-panels"
    asks = ("change",)

    def get_queryset(self) -> Any:
        needed = Prefetch("depends_on", with_may(UseCase.objects.order_by("title", "pk"), self.request.user, "view"))
        return UseCase.objects.select_related("sponsor", "owner", "business_case").prefetch_related(needed)

    def facts(self, obj: UseCase) -> list[tuple[str, Any]]:
        needed: Iterable[Any] = obj.depends_on.all()
        return [
            (_("Code"), obj.code),
            (_("Label"), obj.get_label_display()),
            (_("Sponsor"), obj.sponsor or ""),
            (_("Owner"), obj.owner or ""),
            (_("Depends on"), ", ".join(str(d) if d.may_view else _("a use case you may not see") for d in needed)),
            (_("Required signals"), ", ".join(obj.required_signals)),
            (_("Phase 5"), _("pursued") if obj.pursue_monetisation else _("not pursued")),
        ]

    def actions(self, obj: UseCase) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        return [
            {"label": _("Change"), "url": reverse("usecases:use-case-edit", args=[obj.pk]), "icon": "edit"},
            {
                "label": _("Adopt at a site"),
                "url": reverse("usecases:adoption-create", args=[obj.pk]),
                "primary": True,
                "icon": "adoption",
            },
        ]

    def more(self, obj: UseCase) -> dict[str, Any]:
        gates: dict[Any, list[Gate]] = defaultdict(list)
        for gate in Gate.objects.filter(use_case=obj).order_by("number"):
            gates[gate.adoption_id].append(gate)
        adoptions: list[Any] = list(
            selectors.with_health(Adoption.objects.permitted(self.request.user))
            .filter(use_case=obj)
            .select_related("site", "location", "use_case")
        )
        rounds = list(
            ScoringRound.objects.filter(use_cases=obj).order_by(
                F("closed_at").desc(nulls_last=True), "-created_at", "id"
            )
        )
        closed = [r for r in rounds if r.state == RoundState.CLOSED]
        case = getattr(obj, "business_case", None)
        score = scores_in(closed, [obj]).get(obj.pk)
        result = score["round"].result if score is not None else None
        return {
            "breadcrumbs": [(_("Use cases"), reverse("usecases:use-cases")), (str(obj), "")],
            "subtitle": obj.summary,
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "tabs": [
                {"label": label, "url": f"#{key}", "count": count}
                for key, label, count in (
                    ("overview", _("Overview"), None),
                    ("score", _("Score"), None),
                    ("business-case", _("Business case"), None),
                    ("evidence", _("Evidence and gates"), None),
                    ("adoptions", _("Adoptions"), len(adoptions)),
                )
            ],
            "gates": self.phases(obj, gates, adoptions),
            "own_gates": [(gate, selectors.evidence_rows(gate)) for gate in gates[None] if gate.number == 1],
            "adoptions": [(a, a.health, selectors.stepper(gates[a.pk], a.phase)) for a in adoptions],
            "outcomes": [(o, outcome_figure(o, found), f"kpi-{o.pk}") for o, found in with_readings(obj)],
            "score": score,
            "score_text": wording.sentence_for(result, planning.visible_ids(self.request.user)) if result else "",
            "case": case,
            "open_rounds": [r for r in rounds if r.state != RoundState.CLOSED][:3],
            "can_change": self.may(obj, "change"),
            "reviews": list(
                GateReview.objects.filter(gate__use_case=obj, gate__adoption=None)
                .select_related("gate")
                .order_by("-created_at")[:5]
            ),
        }

    def phases(self, obj: UseCase, gates: dict[Any, list[Gate]], adoptions: list[Adoption]) -> list[dict[str, Any]]:
        """The five steps: its own gates 1 and 5, and for 2 to 4 the adoption that is furthest."""
        best = max(adoptions, key=lambda a: a.phase, default=None)
        own = {g.number: g for g in gates[None]}
        steps = []
        for phase in Phase:
            gate = own.get(phase.value)
            if gate is None and best is not None:
                gate = next((g for g in gates[best.pk] if g.number == phase.value), None)
            if gate is not None:
                steps += selectors.stepper([gate], obj.phase)
            else:
                steps.append(
                    {
                        "phase": phase.value,
                        "label": phase.label,
                        "state": "pending",
                        "state_label": _("Not adopted yet"),
                        "url": "",
                        "current": phase.value == obj.phase,
                    }
                )
        return steps


class UseCasePanels(PanelsPart):
    model = UseCase

    def trail(self) -> list[tuple[str, str]]:
        return [(_("Use cases"), reverse("usecases:use-cases"))]
