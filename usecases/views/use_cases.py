"""Use cases: three views of one list, the use case with its tabs, outcomes, adoptions, the portfolio as far as it goes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.access import get_permitted
from portal.core.pages import CreatePage, DetailPage, FormPage, ListPage, Page, UpdatePage, limit_choices
from portal.core.plots import figure
from usecases import selectors, services
from usecases.choices import Label, Phase, RoundState
from usecases.filters import AdoptionFilter, UseCaseFilter
from usecases.forms import (
    AdoptionEditForm,
    AdoptionForm,
    BaselineForm,
    NotPursueForm,
    OutcomeForm,
    ReadingForm,
    UseCaseForm,
)
from usecases.models import Adoption, Gate, GateReview, KpiReading, Outcome, ScoringRound, UseCase
from usecases.tables import AdoptionTable, UseCaseTable

_VIEWS = {"table": "Table", "board": "Board", "bubble": "Bubble chart"}
_COLOURS = {Label.QUICK_WIN: "quick win", Label.FOUNDATION: "foundation", Label.UNLABELLED: "not labelled"}


def latest_scores(cases: list[UseCase]) -> dict[Any, dict[str, Any]]:
    """Per use case its row in the newest closed round that ranked it (one query)."""
    found: dict[Any, dict[str, Any]] = {}
    wanted = {str(c.pk): c.pk for c in cases}
    rounds = ScoringRound.objects.filter(state=RoundState.CLOSED, use_cases__in=cases).distinct()
    for meeting in rounds.order_by("-closed_at")[:20]:
        for row in meeting.result.get("rows", []):
            pk = wanted.get(row["id"])
            if pk is not None and pk not in found:
                found[pk] = row | {"round": meeting, "of": len(meeting.result["rows"])}
    return found


def bubble(cases: list[UseCase], scores: dict[Any, dict[str, Any]]) -> dict[str, Any] | None:
    """ROI x feasibility, size = data maturity, one trace per label; by position of the three top criteria."""
    traces: dict[str, dict[str, Any]] = {}
    names: list[str] = []
    for case in cases:
        by_top = (scores.get(case.pk) or {}).get("by_top", {})
        values = list(by_top.values())
        if len(values) < 3 or any(v is None for v in values[:3]):
            continue
        names = list(by_top)
        trace = traces.setdefault(
            _COLOURS[Label(case.label)],
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": _COLOURS[Label(case.label)],
                "x": [],
                "y": [],
                "text": [],
                "textposition": "top center",
                "marker": {"size": [], "opacity": 0.7},
                "customdata": [],
                "hovertemplate": "%{text}<br>ROI %{x:.0f} %, feasibility %{y:.0f} %, data maturity %{customdata} %",
            },
        )
        trace["x"].append(round(100 * values[0], 1))
        trace["y"].append(round(100 * values[1], 1))
        trace["text"].append(case.title)
        trace["marker"]["size"].append(round(14 + 36 * values[2]))
        trace["customdata"].append(round(100 * values[2]))
    if not traces or not names:
        return None
    return figure(
        list(traces.values()),
        x_title="Measurable ROI (% of the best anchor)",
        y_title="Operational feasibility (%)",
        height=460,
        hovermode="closest",
        xaxis={"title": {"text": "Measurable ROI (% of the best anchor)"}, "range": [0, 105]},
        yaxis={"title": {"text": "Operational feasibility (%)"}, "range": [0, 125]},
        showlegend=True,
    )


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
        context: dict[str, Any] = {"tabs": tabs, "view": shown}
        if shown == "table" or self.partial:
            return context
        cases = list(UseCaseFilter(self.request.GET, queryset=self.rows(), request=self.request).qs[:200])
        scores = latest_scores(cases)
        if shown == "board":
            context["columns"] = [
                {
                    "phase": phase.value,
                    "label": phase.label,
                    "cards": [{"case": c, "score": scores.get(c.pk)} for c in cases if c.phase == phase],
                }
                for phase in Phase
            ]
        else:
            context["figure"] = bubble(cases, scores)
            context["unscored"] = [c for c in cases if c.pk not in scores]
        return context


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

    def get_queryset(self) -> Any:
        return UseCase.objects.select_related("sponsor", "owner", "business_case").prefetch_related("depends_on")

    def facts(self, obj: UseCase) -> list[tuple[str, Any]]:
        return [
            (_("Code"), obj.code),
            (_("Label"), obj.get_label_display()),
            (_("Sponsor"), obj.sponsor or ""),
            (_("Owner"), obj.owner or ""),
            (_("Depends on"), ", ".join(str(d) for d in obj.depends_on.all())),
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
        gates = list(Gate.objects.filter(use_case=obj, adoption=None).order_by("number"))
        adoptions = list(
            Adoption.objects.permitted(self.request.user)
            .filter(use_case=obj)
            .select_related("site", "location", "use_case")
            .prefetch_related(Prefetch("gates", queryset=Gate.objects.order_by("number")))
        )
        health = selectors.adoption_health(adoptions)
        score = latest_scores([obj]).get(obj.pk)
        case = getattr(obj, "business_case", None)
        outcomes = list(obj.outcomes.prefetch_related("readings__site"))
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
            "own_gates": [(gate, selectors.evidence_rows(gate)) for gate in gates if gate.number == 1],
            "adoptions": [(a, health[a.pk], selectors.stepper(a.gates.all(), a.phase)) for a in adoptions],
            "outcomes": [(o, outcome_figure(o), f"kpi-{o.pk}") for o in outcomes],
            "score": score,
            "case": case,
            "open_rounds": list(ScoringRound.objects.filter(use_cases=obj, state=RoundState.OPEN)[:3]),
            "can_change": self.may(obj, "change"),
            "reviews": list(
                GateReview.objects.filter(gate__use_case=obj, gate__adoption=None)
                .select_related("gate")
                .order_by("-created_at")[:5]
            ),
        }

    def phases(self, obj: UseCase, gates: list[Gate], adoptions: list[Adoption]) -> list[dict[str, Any]]:
        """The five steps: its own gates 1 and 5, and for 2 to 4 the adoption that is furthest."""
        best = max(adoptions, key=lambda a: a.phase, default=None)
        own = {g.number: g for g in gates}
        steps = []
        for phase in Phase:
            gate = own.get(phase.value)
            if gate is None and best is not None:
                gate = next((g for g in best.gates.all() if g.number == phase.value), None)
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


def outcome_figure(outcome: Outcome) -> dict[str, Any] | None:
    """KPI per exposure over plant time, with baseline and target as lines."""
    readings = [r for r in outcome.readings.all() if r.exposure]
    if len(readings) < 2:
        return None
    x = [r.period_from.isoformat() for r in readings]
    y = [round(r.value / r.exposure, 6) for r in readings]
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": level,
            "y1": level,
            "line": {"dash": dash, "width": 1},
        }
        for level, dash in ((outcome.baseline_value, "dash"), (outcome.target_value, "dot"))
        if level is not None
    ]
    return figure(
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": outcome.kpi,
                "x": x,
                "y": y,
                "meta": {"role": "primary"},
            }
        ],
        x_title="plant time",
        y_title=f"{outcome.unit} per {outcome.exposure_unit}",
        shapes=shapes,
        height=240,
    )


class OutcomeCreate(FormPage):
    title = "New outcome"
    form_class = OutcomeForm
    submit_label = "Create"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return OutcomeForm(data, instance=Outcome(use_case=obj))

    def save(self, obj: Any, form: Any) -> str:
        data = {k: v for k, v in form.cleaned_data.items() if k != "reason"}
        services.outcome_create(actor=self.request.user, use_case=obj, **data)
        return obj.get_absolute_url()


class OutcomeEdit(UpdatePage):
    title = "Change outcome"
    model = Outcome
    form_class = OutcomeForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        reason = data.pop("reason", "")
        return services.outcome_update(
            actor=self.request.user, outcome=obj, data=data, expected_version=version, reason=reason
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class BaselineCompute(FormPage):
    title = "Baseline from readings"
    form_class = BaselineForm
    submit_label = "Compute the baseline"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Outcome.objects.select_related("use_case"), self.request.user, kwargs["pk"], "change")

    def save(self, obj: Any, form: Any) -> str:
        made = services.baseline_compute(actor=self.request.user, outcome=obj, **form.cleaned_data)
        messages.success(
            self.request,
            _("Baseline: {value} {unit} per {exposure_unit}.").format(
                value=f"{made.baseline_value:.4g}", unit=made.unit, exposure_unit=made.exposure_unit
            ),
        )
        return made.get_absolute_url()


class ReadingCreate(FormPage):
    title = "New KPI reading"
    form_class = ReadingForm
    submit_label = "Add the reading"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Outcome.objects.select_related("use_case"), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = ReadingForm(data, instance=KpiReading(outcome=obj))
        limit_choices(form, self.request.user)
        return form

    def save(self, obj: Any, form: Any) -> str:
        services.reading_create(actor=self.request.user, outcome=obj, **form.cleaned_data)
        return obj.get_absolute_url()


class AdoptionsPage(ListPage):
    title = "Adoptions"
    model = Adoption
    table_class = AdoptionTable
    filterset_class = AdoptionFilter
    site_path = "site_id"
    empty = "No use case is adopted at a site yet."

    def get_queryset(self) -> Any:
        return Adoption.objects.select_related("use_case", "site", "location")


class AdoptionCreate(FormPage):
    title = "Adopt at a site"
    form_class = AdoptionForm
    submit_label = "Adopt"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form: Any = AdoptionForm(data, instance=Adoption(use_case=obj))
        limit_choices(form, self.request.user)
        form.fields["proven_by"].queryset = form.fields["proven_by"].queryset.filter(use_case=obj)
        return form

    def save(self, obj: Any, form: Any) -> str:
        data = dict(form.cleaned_data)
        return services.adoption_create(actor=self.request.user, use_case=obj, **data).get_absolute_url()


class AdoptionEdit(UpdatePage):
    title = "Change adoption"
    model = Adoption
    form_class = AdoptionEditForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.adoption_update(
            actor=self.request.user, adoption=obj, data=data, many=many, expected_version=version
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class AdoptionPage(DetailPage):
    model = Adoption
    template = "usecases/adoption.html"

    def get_queryset(self) -> Any:
        return Adoption.objects.select_related("use_case", "site", "location", "proven_by__site", "proven_by__use_case")

    def facts(self, obj: Adoption) -> list[tuple[str, Any]]:
        return [
            (_("Site"), obj.site),
            (_("Scope"), obj.get_scope_display()),
            (_("Place"), obj.location or ""),
            (_("Proven by"), obj.proven_by or ""),
            (_("Started"), obj.started_on or ""),
            (_("Data"), obj.site.data_notice),
        ]

    def actions(self, obj: Adoption) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        return [{"label": _("Change"), "url": reverse("usecases:adoption-edit", args=[obj.pk]), "icon": "edit"}]

    def more(self, obj: Adoption) -> dict[str, Any]:
        gates = list(Gate.objects.filter(adoption=obj).select_related("use_case").order_by("number"))
        for gate in gates:
            gate.adoption = obj
        shown = next((g for g in gates if g.number == obj.phase), gates[-1] if gates else None)
        rows = selectors.evidence_rows(shown) if shown is not None else []
        health = selectors.adoption_health([obj])[obj.pk]
        kind = obj.site.kind
        return {
            "breadcrumbs": [
                (_("Use cases"), reverse("usecases:use-cases")),
                (str(obj.use_case), obj.use_case.get_absolute_url()),
                (str(obj.site), ""),
            ],
            "gates": selectors.stepper(gates, obj.phase),
            "gate": shown,
            "rows": rows,
            "summary": selectors.evidence_summary(rows),
            "state": {
                "state": health,
                "label": {"ok": _("Healthy"), "unknown": _("No gate passed yet")}.get(health, ""),
            },
            "origin": kind if kind in {"replay", "simulated"} else "",
            "origin_label": obj.site.get_kind_display(),
            "devices": list(obj.devices.select_related("device_type", "location")[:50]),
            "wider": list(obj.widened_to.select_related("site", "use_case")),
        }


class PortfolioPage(Page):
    title = "Portfolio"

    def get(self, request: HttpRequest) -> HttpResponse:
        cases = list(UseCase.objects.permitted(request.user).select_related("business_case", "sponsor"))
        scores = latest_scores(cases)
        ranked = sorted(cases, key=lambda c: (-(scores.get(c.pk) or {}).get("score", -1.0), c.title))
        return self.render(
            "usecases/portfolio.html", {"rows": [{"case": c, "score": scores.get(c.pk)} for c in ranked]}
        )
