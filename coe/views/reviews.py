"""Retrospectives, ROI reviews and actions."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from coe import selectors, services
from coe.charts import planned_and_measured
from coe.choices import ActionState, RetrospectiveState
from coe.filters import ActionPageFilter, RetrospectiveFilter, RoiReviewPageFilter
from coe.forms import ActionForm, BudgetForm, HoldReviewForm, RetrospectiveForm
from coe.models import Action, Retrospective, RoiReview
from coe.periods import plus_months, quarter_name
from coe.tables import ActionTable, RetrospectiveTable, RoiReviewTable, action_state, review_state
from coe.views.common import button, coe_crumb, tabs, unnamed
from devices.plant_time import plant_now
from portal.core.access import get_permitted, require
from portal.core.clock import day_text, moment_text, month_text
from portal.core.errors import StaleWrite
from portal.core.pages import ActionPage, DeletePage, DetailPage, FormPage, ListPage, UpdatePage, sent_version


class RetrospectiveList(ListPage):
    title = gettext_lazy("Retrospectives")
    model = Retrospective
    table_class = RetrospectiveTable
    filterset_class = RetrospectiveFilter
    site_path = "site_id"
    empty = {
        "title": gettext_lazy("No month is over yet"),
        "text": gettext_lazy("When a site's month of plant time is over, its retrospective appears here, filled in."),
        "icon": "retrospective",
        "phase": 4,
    }

    def get_queryset(self) -> Any:
        return Retrospective.objects.select_related("site", "held_by").prefetch_related("held_by__groups")


def actions_of(viewer: Any, **origin: Any) -> list[dict[str, Any]]:
    """The actions that came from a retrospective or review, as their page shows them."""
    names = selectors.may_see_names(viewer)
    rows = Action.objects.permitted(viewer).filter(**origin).select_related("owner").prefetch_related("owner__groups")
    return [
        {"row": row, "owner": selectors.person_label(viewer, row.owner, names=names), "state": action_state(row)}
        for row in rows.order_by("due_on", "pk")
    ]


class RetrospectivePage(DetailPage):
    model = Retrospective
    template = "coe/retrospective.html"

    def get_queryset(self) -> Any:
        return Retrospective.objects.select_related("site__plant_clock", "held_by")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Retrospectives"), reverse("coe:retrospectives")), (_("Month"), "")]

    def facts(self, obj: Retrospective) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [
            (_("Site"), obj.site),
            (_("Month"), _("%s (plant time)") % month_text(obj.month)),
        ]
        if obj.held_at:
            rows += [
                (_("Held"), f"{moment_text(obj.held_at)} UTC"),
                (_("Held by"), selectors.person_label(self.request.user, obj.held_by)),
            ]
        return rows

    def actions(self, obj: Retrospective) -> list[dict[str, Any]]:
        if obj.state == RetrospectiveState.HELD:
            return []
        allowed = self.may_review
        over = plant_now(obj.site).date() >= plus_months(obj.month, 1)
        found = [
            button(
                _("Edit the text"),
                reverse("coe:retrospective-edit", args=[obj.pk]),
                allowed=allowed,
                model=Retrospective,
                verb="change",
                icon="edit",
            )
        ]
        if over or not allowed:
            found.append(
                button(
                    _("Hold it"),
                    reverse("coe:retrospective-hold", args=[obj.pk]),
                    allowed=allowed,
                    model=Retrospective,
                    verb="hold",
                    primary=True,
                    icon="done",
                )
            )
        else:
            found.append({"label": _("Hold it"), "refused": _("The month is still running (plant time).")})
        return found

    def context(self, obj: Retrospective) -> dict[str, Any]:
        self.may_review = self.may(obj, "hold")
        return super().context(obj)

    def more(self, obj: Retrospective) -> dict[str, Any]:
        held = obj.state == RetrospectiveState.HELD
        return {
            "title": f"{obj.site}: {month_text(obj.month)}",
            "subtitle": _("Monthly retrospective, plant time"),
            "state": "done" if held else "draft",
            "state_label": obj.get_state_display() if obj.summary.get("complete", True) else _("Month still running"),
            "summary": obj.summary,
            **_notes(obj.summary),
            "drift_rows": [
                (_KINDS.get(kind, kind), row) for kind, row in obj.summary.get("drift", {}).get("kinds", {}).items()
            ],
            **unnamed(self.request.user),
            "actions_taken": actions_of(self.request.user, retrospective=obj),
            "new_action_url": f"{reverse('coe:action-new')}?retrospective={obj.pk}&site={obj.site_id}"
            if self.may_review
            else "",
        }


_KINDS = {
    "feature": gettext_lazy("Inputs"),
    "label": gettext_lazy("Label"),
    "concept": gettext_lazy("Error (concept)"),
    "residual": gettext_lazy("Error, row by row"),
}


def _notes(summary: dict[str, Any]) -> dict[str, Any]:
    """The small print of the figures."""
    refused = summary.get("retrainings", {}).get("refused", 0)
    rows_refused = summary.get("data", {}).get("rows_refused", 0)
    return {
        "refused_note": _("%(n)s challengers refused") % {"n": refused} if refused else "",
        "checks_unit": _("of %(n)s") % {"n": f"{summary.get('checks', {}).get('results', 0):,}"},
        "rows_note": _("%(n)s refused by checks") % {"n": f"{rows_refused:,}"} if rows_refused else "",
    }


class RetrospectiveUpdate(UpdatePage):
    title = gettext_lazy("Edit the retrospective")
    model = Retrospective
    form_class = RetrospectiveForm
    success = gettext_lazy("Saved.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Retrospectives"), reverse("coe:retrospectives")), (str(self.title), "")]

    def more(self, obj: Retrospective) -> dict[str, Any]:
        return {"subtitle": str(obj)}

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.retrospective_update(
            actor=self.request.user, retrospective=obj, data=data, expected_version=version
        )


class RetrospectiveHold(RetrospectiveUpdate):
    title = gettext_lazy("Hold the retrospective")
    verb = "hold"
    submit_label = gettext_lazy("We have talked it over: hold it")
    success = gettext_lazy("Held. Text and figures stay as they are now.")

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.retrospective_hold(
            actor=self.request.user, retrospective=obj, data=data, expected_version=version
        )


class RoiReviewList(ListPage):
    title = gettext_lazy("ROI reviews")
    model = RoiReview
    table_class = RoiReviewTable
    filterset_class = RoiReviewPageFilter
    site_path = "adoption__site_id"
    empty = {
        "title": gettext_lazy("No quarter is over yet"),
        "text": gettext_lazy(
            "When an adoption's quarter of plant time is over, planned and measured value appear here."
        ),
        "icon": "roi_review",
        "phase": 4,
    }

    def get_queryset(self) -> Any:
        return RoiReview.objects.select_related("adoption__use_case", "adoption__site")


class RoiReviewPage(DetailPage):
    model = RoiReview
    template = "coe/roi_review.html"

    def get_queryset(self) -> Any:
        return RoiReview.objects.select_related("adoption__use_case", "adoption__site", "held_by")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("ROI reviews"), reverse("coe:roi-reviews")), (_("Quarter"), "")]

    def facts(self, obj: RoiReview) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [
            (_("Use case"), obj.adoption.use_case),
            (_("Site"), obj.adoption.site),
            (_("Quarter"), _("%s (plant time)") % quarter_name(obj.quarter)),
        ]
        if obj.held_at:
            rows += [
                (_("Held"), f"{moment_text(obj.held_at)} UTC"),
                (_("Held by"), selectors.person_label(self.request.user, obj.held_by)),
            ]
        return rows

    def context(self, obj: RoiReview) -> dict[str, Any]:
        self.may_review = self.may(obj, "hold")
        return super().context(obj)

    def actions(self, obj: RoiReview) -> list[dict[str, Any]]:
        found = [
            button(
                _("Move budget"),
                reverse("coe:roi-review-budget", args=[obj.pk]),
                allowed=self.may_review,
                model=RoiReview,
                verb="hold",
                icon="portfolio",
                primary=obj.held_at is not None,
            )
        ]
        if obj.held_at is None:
            found.append(
                button(
                    _("Hold it"),
                    reverse("coe:roi-review-hold", args=[obj.pk]),
                    allowed=self.may_review,
                    model=RoiReview,
                    verb="hold",
                    icon="done",
                    primary=True,
                )
            )
        return found

    def more(self, obj: RoiReview) -> dict[str, Any]:
        shown, label = review_state(obj)
        others = list(RoiReview.objects.permitted(self.request.user).filter(adoption=obj.adoption_id))
        return {
            "title": f"{obj.adoption.use_case}: {quarter_name(obj.quarter)}",
            "subtitle": _("Quarterly ROI review at %(site)s, plant time") % {"site": obj.adoption.site},
            "state": shown,
            "state_label": label,
            "plan": obj.detail.get("plan", {}),
            "outcomes": obj.detail.get("outcomes", []),
            "finding": finding(obj),
            "interval_text": _("between %(low)s and %(high)s")
            % {"low": f"{obj.measured_low:,.0f}", "high": f"{obj.measured_high:,.0f}"}
            if obj.measured_low is not None and obj.measured_high is not None
            else "",
            "figure": planned_and_measured(others),
            **unnamed(self.request.user),
            "actions_taken": actions_of(self.request.user, roi_review=obj),
        }


def finding(review: RoiReview) -> str:
    """The finding in one sentence, for the head of the page and of its chart."""
    return {
        "open": _("Nothing measured to judge it by yet"),
        "on_plan": _("The plan lies inside what was measured"),
        "above": _("More than planned, beyond chance"),
        "below": _("Less than planned, beyond chance"),
        "not_provable": _("Not provable yet"),
    }[review.verdict]


class RoiReviewHold(FormPage):
    title = gettext_lazy("Hold the ROI review")
    form_class = HoldReviewForm
    submit_label = gettext_lazy("Hold it")
    success = gettext_lazy("Held. Figures and conclusion stay as they are now.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("ROI reviews"), reverse("coe:roi-reviews")), (str(self.title), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> RoiReview:
        rows = RoiReview.objects.select_related("adoption__site", "adoption__use_case")
        found: RoiReview = get_permitted(rows, self.request.user, pk, "hold")
        return found

    def more(self, obj: RoiReview) -> dict[str, Any]:
        return {"subtitle": f"{obj}. {finding(obj)}."}

    def save(self, obj: RoiReview, form: Any) -> str:
        services.roi_review_hold(
            actor=self.request.user,
            review=obj,
            note=form.cleaned_data["note"],
            expected_version=sent_version(self.request),
        )
        return obj.get_absolute_url()

    def conflict(self, obj: RoiReview, form: Any, error: StaleWrite) -> list[dict[str, Any]]:
        now = RoiReview.objects.get(pk=obj.pk)
        return [
            {"label": _("Verdict"), "yours": _("as you read it"), "theirs": now.get_verdict_display()},
            {"label": _("Conclusion"), "yours": form.cleaned_data["note"], "theirs": now.note},
        ]


class RoiReviewBudget(FormPage):
    title = gettext_lazy("Move budget")
    form_class = BudgetForm
    template = "coe/budget.html"
    submit_label = gettext_lazy("Propose it")
    success = gettext_lazy("Proposed: the portfolio's owner has an action with the amount and this review.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("ROI reviews"), reverse("coe:roi-reviews")), (str(self.title), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> RoiReview:
        rows = RoiReview.objects.select_related("adoption__site", "adoption__use_case")
        found: RoiReview = get_permitted(rows, self.request.user, pk, "hold")
        return found

    def get_form(self, obj: RoiReview, data: Any = None, files: Any = None) -> BudgetForm:
        return BudgetForm(data, currency=obj.currency, suggested=services.suggested_move(obj))

    def more(self, obj: RoiReview) -> dict[str, Any]:
        owner = services.portfolio_owner()
        return {
            "subtitle": f"{obj}. {finding(obj)}.",
            "owner": selectors.person_label(self.request.user, owner),
            "suggested": services.suggested_move(obj),
        }

    def save(self, obj: RoiReview, form: BudgetForm) -> str:
        services.roi_move_budget(actor=self.request.user, review=obj, **form.cleaned_data)
        return f"{obj.get_absolute_url()}#actions"


class ActionList(ListPage):
    title = gettext_lazy("Actions")
    model = Action
    table_class = ActionTable
    filterset_class = ActionPageFilter
    site_path = "site_id"
    create_url_name = "coe:action-new"
    create_label = gettext_lazy("New action")
    empty = {
        "title": gettext_lazy("No action yet"),
        "text": gettext_lazy("Actions come from retrospectives and ROI reviews, or are written here."),
        "icon": "action",
        "phase": 4,
    }

    def get_queryset(self) -> Any:
        return Action.objects.select_related("site", "owner").prefetch_related("owner__groups")

    def more(self) -> dict[str, Any]:
        return {"tabs": tabs("actions")}


class ActionDetail(DetailPage):
    model = Action
    template = "coe/action.html"

    def get_queryset(self) -> Any:
        return Action.objects.select_related(
            "site", "owner", "retrospective__site", "roi_review__adoption__site", "roi_review__adoption__use_case"
        )

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (_("Actions"), reverse("coe:actions")), (_("Action"), "")]

    def facts(self, obj: Action) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [
            (_("Site"), obj.site),
            (_("Owner"), selectors.person_label(self.request.user, obj.owner)),
            (_("Due (wall time)"), day_text(obj.due_on)),
        ]
        if obj.amount is not None:
            rows.append((_("Budget to move"), f"{obj.amount:+,.0f} {obj.currency}"))
        if obj.closed_at:
            rows.append((_("Closed"), f"{moment_text(obj.closed_at)} UTC"))
        return rows

    def actions(self, obj: Action) -> list[dict[str, Any]]:
        allowed = self.may(obj, "change")
        if obj.state != ActionState.OPEN:
            url = reverse("coe:action-reopen", args=[obj.pk])
            return [button(_("Open again"), url, allowed=allowed, model=Action, verb="change", method="post")]
        close = reverse("coe:action-close", args=[obj.pk])
        common: dict[str, Any] = {"allowed": allowed, "model": Action, "verb": "change"}
        return [
            button(_("Done"), close, method="post", primary=True, icon="done", **common),
            button(_("Drop it"), f"{close}?state=dropped", method="post", **common),
            button(_("Change"), reverse("coe:action-edit", args=[obj.pk]), icon="edit", **common),
        ]

    def more(self, obj: Action) -> dict[str, Any]:
        shown, label = action_state(obj)
        return {"title": obj.text, "state": shown, "state_label": label, **unnamed(self.request.user)}


class ActionCreate(FormPage):
    title = gettext_lazy("New action")
    form_class = ActionForm
    submit_label = gettext_lazy("Create")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (_("Actions"), reverse("coe:actions")), (str(self.title), "")]

    def _origin(self) -> Retrospective | None:
        pk = self.request.GET.get("retrospective")
        return get_permitted(Retrospective.objects.all(), self.request.user, pk) if pk else None

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        form.fields["site"].queryset = form.fields["site"].queryset.permitted(self.request.user, "review")
        if data is None:
            form.initial = {"site": self.request.GET.get("site") or self.site_id}
        return form

    def cancel_url(self, obj: Any) -> str:
        origin = self._origin()
        return origin.get_absolute_url() if origin else reverse("coe:actions")

    def save(self, obj: Any, form: ActionForm) -> str:
        data = dict(form.cleaned_data)
        require(data["site"], self.request.user, "review")
        origin = self._origin()
        action = services.action_create(actor=self.request.user, retrospective=origin, **data)
        return f"{origin.get_absolute_url()}#actions" if origin else action.get_absolute_url()


class ActionUpdate(UpdatePage):
    title = gettext_lazy("Change the action")
    model = Action
    form_class = ActionForm

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (_("Actions"), reverse("coe:actions")), (str(self.title), "")]

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.action_update(actor=self.request.user, action=obj, data=data, expected_version=version)


class ActionClose(ActionPage):
    model = Action
    success = gettext_lazy("Closed.")

    def act(self, obj: Action) -> str:
        services.action_close(
            actor=self.request.user, action=obj, state=self.request.GET.get("state", ActionState.DONE)
        )
        return obj.get_absolute_url()


class ActionReopen(ActionPage):
    model = Action
    success = gettext_lazy("Open again.")

    def act(self, obj: Action) -> str:
        services.action_reopen(actor=self.request.user, action=obj)
        return obj.get_absolute_url()


class ActionDelete(DeletePage):
    model = Action
    verb = "delete"

    def act(self, obj: Action) -> str:
        services.action_delete(actor=self.request.user, action=obj)
        return reverse("coe:actions")
