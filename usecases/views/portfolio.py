"""What the budget buys: the plan of record, scenarios, runs of the optimiser, scenarios side by side, person-days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.models import Site
from portal.core import audit, exports
from portal.core.access import get_permitted, require_global
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.pages import ActionPage, DeletePage, DetailPage, FormPage, ListPage, Page, sent_version, whole_number
from portal.core.templatetags.phasegate import money
from usecases import planning, portfolio_words, services
from usecases.choices import RunKind
from usecases.filters import ScenarioFilter
from usecases.models import PortfolioRun, Scenario, UseCase
from usecases.portfolio_forms import MAX_QUARTERS, EffortForm, ScenarioForm
from usecases.portfolio_tables import ScenarioTable
from usecases.services import portfolio as verbs
from usecases.views.common import etag_of, polled
from usecases.views.use_cases import latest_scores

SCENARIOS = Scenario.objects.select_related("owner")
MAY_ADD = "usecases.add_usecase"


def site_names(scenario: Scenario, user: Any) -> dict[str, str]:
    if not scenario.site_shares:
        return {}
    return {str(pk): name for pk, name in Site.objects.permitted(user).values_list("pk", "name")}


class PortfolioPage(Page):
    """The plan of record first, then the scenarios, then what each use case scores and is worth."""

    title = gettext_lazy("Portfolio")

    def get(self, request: HttpRequest) -> HttpResponse:
        cases = list(UseCase.objects.permitted(request.user).select_related("business_case", "sponsor"))
        scores = latest_scores(cases)
        ranked = sorted(cases, key=lambda c: (-(scores.get(c.pk) or {}).get("score", -1.0), c.title))
        scenarios = list(SCENARIOS.permitted(request.user).order_by("-of_record", "-created_at")[:20])
        record = next((s for s in scenarios if s.of_record), None)
        run = planning.newest_run(record) if record is not None else None
        told = portfolio_words.Told(run, record, {str(c.pk) for c in cases}) if run is not None and record else None
        return self.render(
            "usecases/portfolio.html",
            {
                "rows": [{"case": c, "score": scores.get(c.pk)} for c in ranked],
                "scenarios": scenarios,
                "record": record,
                "told": told,
                "run": run,
                "may_add": request.user.has_perm(MAY_ADD),
            },
        )


class ScenariosPage(ListPage):
    title = gettext_lazy("Scenarios")
    model = Scenario
    table_class = ScenarioTable
    filterset_class = ScenarioFilter
    create_url_name = "usecases:scenario-create"
    create_label = gettext_lazy("New scenario")
    create_permission = MAY_ADD
    empty = gettext_lazy("No scenario yet. A scenario asks what a budget and the people at hand buy.")

    def get_queryset(self) -> Any:
        return SCENARIOS


#: What a change of a scenario names use cases in: they stand in its form and plan, for who may see them.
_NAMING = ("candidates", "must", "must_not", "exclusions")


def history(scenario: Scenario) -> list[Any]:
    entries = audit.history(scenario)
    for entry in entries:
        entry.changes = {name: change for name, change in entry.changes.items() if name not in _NAMING}
    return entries


def newest_runs(scenario: Scenario) -> tuple[dict[str, PortfolioRun], dict[str, PortfolioRun]]:
    """The newest run of each kind, and the newest of each that has found something: that one is shown until the next has."""
    tells = ExpressionWrapper(~Q(result={}), output_field=BooleanField())
    rows = list(scenario.runs.order_by("created_at", "id").values_list("kind", "pk", tells))
    newest = {kind: pk for kind, pk, _tells in rows}
    telling = {kind: pk for kind, pk, tells_something in rows if tells_something}
    found = scenario.runs.select_related("job").in_bulk({*newest.values(), *telling.values()})
    return {kind: found[pk] for kind, pk in newest.items()}, {kind: found[pk] for kind, pk in telling.items()}


class ScenarioPage(DetailPage):
    """With ``?export=csv`` or ``xlsx`` the plan as a table."""

    model = Scenario
    template = "usecases/scenario.html"
    asks = ("change", "delete")
    errors: Sequence[str] = ()

    def get(self, request: HttpRequest, pk: Any = None, **kwargs: Any) -> HttpResponse:
        if (kind := request.GET.get("export")) not in {"csv", "xlsx"}:
            return super().get(request, pk, **kwargs)
        scenario = get_permitted(SCENARIOS, request.user, pk)
        run = newest_runs(scenario)[1].get(RunKind.PLAN)
        if run is None:
            raise DomainError("no_plan", _("There is no finished plan for this scenario yet: run the optimiser first."))
        told = portfolio_words.Told(
            run, scenario, planning.visible_ids(request.user), site_names(scenario, request.user)
        )
        send: Any = exports.csv_response if kind == "csv" else exports.xlsx_response
        return send("plan", *told.table())

    def get_queryset(self) -> Any:
        return SCENARIOS

    def actions(self, obj: Scenario) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if not self.may(obj, "change"):
            return found
        found.append(
            {
                "label": _("Run the optimiser"),
                "url": reverse("usecases:scenario-run", args=[obj.pk]),
                "method": "post",
                "primary": True,
            }
        )
        if not obj.of_record:
            found.append(
                {
                    "label": _("Make it the plan of record"),
                    "url": reverse("usecases:scenario-adopt", args=[obj.pk]),
                    "method": "post",
                }
            )
        found.append({"label": _("Change"), "url": reverse("usecases:scenario-edit", args=[obj.pk])})
        found.append({"label": _("Copy"), "url": reverse("usecases:scenario-copy", args=[obj.pk]), "method": "post"})
        if not obj.of_record:
            found.append(
                {"label": _("Delete"), "url": reverse("usecases:scenario-delete", args=[obj.pk]), "method": "post"}
            )
        return found  # fmt: skip

    def more(self, obj: Scenario) -> dict[str, Any]:
        context = scenario_context(obj, self.request.user, may_change=self.may(obj, "change"))
        return context | {
            "breadcrumbs": [(_("Portfolio"), reverse("usecases:portfolio")), (str(obj), "")],
            "history": history(obj),
            "errors": self.errors,
            "export_formats": [("CSV", "?export=csv"), ("XLSX", "?export=xlsx")] if context["has_plan"] else [],
            **self.check(obj),
        }

    def check(self, obj: Scenario) -> dict[str, Any]:
        """Whether the plan is up to date asks for every figure behind it, so the page asks after it is there."""
        run = planning.newest_run(obj) if "check" in self.request.GET else None
        changed = planning.changed_since(run, planning.visible_ids(self.request.user)) if run is not None else []
        return {"checked": run is not None, "changed": changed}


def scenario_context(obj: Scenario, user: Any, *, may_change: bool) -> dict[str, Any]:
    runs, telling = newest_runs(obj)
    visible, sites = planning.visible_ids(user), site_names(obj, user)
    plan, core, frontier = (telling.get(kind) for kind in (RunKind.PLAN, RunKind.CORE, RunKind.FRONTIER))
    told = portfolio_words.Told(plan, obj, visible, sites) if plan is not None else None
    return {
        "object": obj,
        "runs": [r for r in runs.values() if r.job is not None],
        "busy": any(r.finished_at is None and r.job is not None and r.job.finished_at is None for r in runs.values()),
        "told": told,
        "plan": plan,
        "has_plan": bool(plan is not None and plan.result.get("starts")),
        "earlier": plan is not None and plan.pk != runs[RunKind.PLAN].pk,
        "core": core if core is not None and core.result.get("share") else None,
        "bets": portfolio_words.Told(core, obj, visible).bets(core) if core is not None else [],
        "frontier": portfolio_words.frontier_figure(frontier, obj.currency) if frontier and frontier.result else None,
        "frontier_title": portfolio_words.frontier_title(frontier, obj.currency)
        if frontier and frontier.result
        else "",
        "may_change": may_change,
        "state": runs_state(runs),
        "etag": etag_of(runs_state(runs)),
    }


def runs_state(runs: dict[str, PortfolioRun]) -> Any:
    return [
        [
            str(r.pk),
            r.finished_at,
            r.job.state if r.job else "",
            r.job.step if r.job else "",
            r.job.progress if r.job else 0,
        ]
        for r in runs.values()
    ]


class ScenarioResult(Page):
    """The polled part: how far the optimiser is and what it has found."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        scenario = get_permitted(SCENARIOS, request.user, pk)
        may_change = Scenario.objects.permitted(request.user, "change").filter(pk=scenario.pk).exists()
        context = scenario_context(scenario, request.user, may_change=may_change)
        return polled(request, "usecases/_scenario_result.html", context, context["state"])


class _ScenarioForm(FormPage):
    template = "usecases/scenario_form.html"
    form_class = ScenarioForm

    def quarters(self, obj: Scenario | None) -> int:
        asked = whole_number(self.request.POST.get("quarters") or "", 3)
        known = obj.quarters if obj is not None else 4
        return min(MAX_QUARTERS, max(1, asked)) if asked is not None else known

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> ScenarioForm:
        today = wall_now().date()
        start = today.replace(month=3 * ((today.month - 1) // 3) + 1, day=1)
        initial = {} if obj is not None else {"start": start}
        return ScenarioForm(data, user=self.request.user, scenario=obj, quarters=self.quarters(obj), initial=initial)

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "resized": "resize" in self.request.POST,
            "breadcrumbs": [(_("Portfolio"), reverse("usecases:portfolio")), (str(obj or _("New scenario")), "")],
        }

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if "resize" not in request.POST:
            return super().post(request, **kwargs)
        obj = self.load(**kwargs)
        form = self.get_form(obj)
        form.keep(request.POST)
        return self.show(obj, form)

    def show(self, obj: Any, form: Any, status: int = 200, conflict: Any = None) -> HttpResponse:
        self.extra = {"parts": form_parts(form)}
        return super().show(obj, form, status, conflict)

    def render(self, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        return super().render(template, context | self.extra, status)

    def refused(self, form: Any, error: InvalidInput) -> InvalidInput:
        return InvalidInput([{"field": form.field_of(e["field"]), "message": e["message"]} for e in error.errors])


def people_rows(form: Any, quarters: Sequence[str]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """One row of inputs for each role, each with the name of its quarter."""
    return [
        (portfolio_words.role_label(role), [(name, form[f"days_{role}_{q}"]) for q, name in enumerate(quarters)])
        for role in verbs.PEOPLE
    ]


def form_parts(form: ScenarioForm) -> dict[str, Any]:
    """The fields in the order of the steps of the form."""
    cases = []
    for case in form.cases:
        worth = getattr(case, "business_case", None)
        result = worth.result if worth is not None else None
        cost = -sum(result["capex"]) - sum(result["opex"]) if result else None
        cases.append(
            {
                "case": case,
                "field": form[f"case_{case.pk}"],
                "value": money(result["p50"], worth.currency) if result and worth else "",
                "cost": money(cost, worth.currency) if result and worth else "",
            }
        )
    return {
        "plain": [form[n] for n in ("name", "note", "start", "currency")],
        "rules": [form[n] for n in ("lag", "foundation_share")] + [form[f"site_{s.pk}"] for s in form.sites],
        "solver": [form[n] for n in ("gap", "time_limit", "seed")],
        "cases": cases,
        "quarters": form.quarter_names,
        "budget": [(_("Budget"), [(name, form[f"budget_{q}"]) for q, name in enumerate(form.quarter_names)])],
        "people": people_rows(form, form.quarter_names),
        "pairs": [(form[f"first_{at}"], form[f"second_{at}"], form[f"why_{at}"]) for at in form.pairs],
    }


class ScenarioCreate(_ScenarioForm):
    title = gettext_lazy("New scenario")
    submit_label = gettext_lazy("Save the scenario")

    def load(self, **kwargs: Any) -> Any:
        require_global(self.request.user, MAY_ADD, "plan")

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:portfolio")

    def save(self, obj: Any, form: Any) -> str:
        values = form.values()
        try:
            made = services.scenario_create(
                actor=self.request.user, many=values["many"], exclusions=values["exclusions"], **values["data"]
            )
        except InvalidInput as error:
            raise self.refused(form, error) from error
        return made.get_absolute_url()


class ScenarioEdit(_ScenarioForm):
    title = gettext_lazy("Change scenario")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(SCENARIOS, self.request.user, pk, "change")

    def save(self, obj: Any, form: Any) -> str:
        values = form.values()
        try:
            services.scenario_update(
                actor=self.request.user,
                scenario=Scenario.objects.get(pk=obj.pk),
                data=values["data"],
                many=values["many"],
                exclusions=values["exclusions"],
                expected_version=sent_version(self.request),
            )
        except InvalidInput as error:
            raise self.refused(form, error) from error
        return obj.get_absolute_url()


class ScenarioCopy(ActionPage):
    """The same question again, one click from a suggestion: ``quarter`` and ``amount`` move the budget, ``relief`` raises what is lacking,
    ``drop`` takes musts back; with ``run`` the optimiser sets out at once."""

    model = Scenario
    verb = "view"
    success = gettext_lazy("This is the copy. Its plan appears as soon as the optimiser has run.")

    def act(self, obj: Scenario) -> str:
        require_global(self.request.user, MAY_ADD, "plan")
        post = self.request.POST
        more: dict[int, float] = {}
        for quarter, amount in zip(post.getlist("quarter"), post.getlist("amount"), strict=False):
            try:
                more[int(quarter)] = float(amount)
            except ValueError as error:
                raise InvalidInput({"budget": _("A quarter and an amount are needed.")}) from error
        name = post.get("name", "")
        if not name and sum(more.values()) > 0:
            name = _("{name}, {amount} more").format(
                name=obj.name[:110], amount=money(sum(more.values()), obj.currency)
            )
        made = services.scenario_copy(
            actor=self.request.user,
            scenario=obj,
            name=name[:140],
            more=more,
            without=post.getlist("drop"),
            relief=bool(post.get("relief")),
        )
        if post.get("run"):
            services.run_start(actor=self.request.user, scenario=made)
        return made.get_absolute_url()


class ScenarioDelete(DeletePage):
    model = Scenario
    verb = "delete"

    def act(self, obj: Scenario) -> str:
        services.scenario_delete(actor=self.request.user, scenario=obj)
        return reverse("usecases:portfolio")


class ScenarioRun(ActionPage):
    model = Scenario
    success = gettext_lazy("The optimiser is at work; the page shows what it finds.")

    def act(self, obj: Scenario) -> str | None:
        kind = self.request.POST.get("kind", RunKind.PLAN)
        if kind not in RunKind.values:
            raise InvalidInput({"kind": _("There is no such question.")})
        services.run_start(actor=self.request.user, scenario=obj, kind=kind)
        return None

    def post(self, request: HttpRequest, pk: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, pk, **kwargs)
        except InvalidInput as error:
            again = ScenarioPage()
            again.setup(request, pk=pk)
            again.errors = [row["message"] for row in error.errors]
            shown = again.get(request, pk)
            shown.status_code = 422
            return shown


class ScenarioAdopt(ActionPage):
    model = Scenario
    success = gettext_lazy("This is the plan of record now.")

    def act(self, obj: Scenario) -> str | None:
        services.scenario_adopt(actor=self.request.user, scenario=obj)
        return None


class RunCancel(ActionPage):
    model = PortfolioRun
    success = gettext_lazy("Stopped. What was found so far is kept.")

    def act(self, obj: PortfolioRun) -> str:
        services.run_cancel(actor=self.request.user, run=PortfolioRun.objects.select_related("job").get(pk=obj.pk))
        return obj.get_absolute_url()


class EffortEdit(FormPage):
    title = gettext_lazy("Person-days")
    template = "usecases/effort_form.html"
    form_class = EffortForm

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, pk, "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> EffortForm:
        return EffortForm(data, use_case=obj)

    def show(self, obj: Any, form: Any, status: int = 200, conflict: Any = None) -> HttpResponse:
        self.form_quarters = [_("Quarter {q}").format(q=q) for q in range(form.horizon)]
        self.people = people_rows(form, self.form_quarters)
        return super().show(obj, form, status, conflict)

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "people": self.people,
            "quarters": self.form_quarters,
            "subtitle": str(obj),
            "breadcrumbs": [
                (_("Use cases"), reverse("usecases:use-cases")),
                (str(obj), obj.get_absolute_url()),
                (_("Person-days"), ""),
            ],
        }

    def save(self, obj: Any, form: Any) -> str:
        try:
            services.efforts_put(actor=self.request.user, use_case=obj, rows=form.rows())
        except InvalidInput as error:
            raise DomainError("invalid", error.errors[0]["message"]) from error
        return obj.get_absolute_url()
