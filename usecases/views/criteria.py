"""The criteria behind the scoring: versions, rubrics and weights."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.access import get_permitted
from portal.core.errors import InvalidInput
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, UpdatePage
from usecases import services
from usecases.choices import SetState
from usecases.forms import CriterionForm
from usecases.models import CriteriaSet, Criterion
from usecases.tables import CriteriaSetTable


class CriteriaSetsPage(ListPage):
    title = "Criteria"
    model = CriteriaSet
    table_class = CriteriaSetTable
    empty = "No criteria yet."


class CriteriaSetPage(DetailPage):
    model = CriteriaSet
    template = "usecases/criteria_set.html"

    def actions(self, obj: CriteriaSet) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        if obj.state == SetState.DRAFT:
            return [
                {"label": _("Add a criterion"), "url": reverse("usecases:criterion-create", args=[obj.pk])},
                {
                    "label": _("Publish"),
                    "url": reverse("usecases:criteria-set-publish", args=[obj.pk]),
                    "method": "post",
                    "primary": True,
                },
            ]
        return [
            {
                "label": _("Make the next version"),
                "url": reverse("usecases:criteria-set-next", args=[obj.pk]),
                "method": "post",
            }
        ]

    def more(self, obj: CriteriaSet) -> dict[str, Any]:
        rows = list(obj.criteria.all())
        tops = [c for c in rows if c.parent_id is None]
        return {
            "breadcrumbs": [
                (_("Scoring"), reverse("usecases:rounds")),
                (_("Criteria"), reverse("usecases:criteria-sets")),
                (str(obj), ""),
            ],
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "tree": [(top, [c for c in rows if c.parent_id == top.pk] or [top]) for top in tops],
            "editable": obj.state == SetState.DRAFT and self.may(obj, "change"),
        }


class _SetVerb(ActionPage):
    model = CriteriaSet

    def post(self, request: HttpRequest, pk: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, pk, **kwargs)
        except InvalidInput as error:
            for row in error.errors:
                messages.error(request, f"{row['field']}: {row['message']}")
            return HttpResponseRedirect(reverse("usecases:criteria-set", args=[pk]))


class CriteriaSetPublish(_SetVerb):
    success = "Published. It never changes from now on."

    def act(self, obj: Any) -> str:
        services.criteria_set_publish(actor=self.request.user, criteria_set=obj)
        return reverse("usecases:criteria-set", args=[obj.pk])


class CriteriaSetNext(_SetVerb):
    success = "A draft of the next version; old rounds keep theirs."

    def act(self, obj: Any) -> str:
        made = services.criteria_set_next(actor=self.request.user, criteria_set=obj)
        return reverse("usecases:criteria-set", args=[made.pk])


class CriterionCreate(FormPage):
    title = "New criterion"
    form_class = CriterionForm

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(CriteriaSet.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return CriterionForm(data, criteria_set=obj, instance=Criterion(criteria_set=obj))

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:criteria-set", args=[obj.pk])

    def save(self, obj: Any, form: Any) -> str:
        services.criterion_create(actor=self.request.user, criteria_set=obj, **form.cleaned_data)
        return self.cancel_url(obj)


class CriterionEdit(UpdatePage):
    title = "Change criterion"
    model = Criterion
    form_class = CriterionForm

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:criteria-set", args=[obj.criteria_set_id])

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}

    def save(self, obj: Any, form: Any) -> str:
        raw = self.request.POST.get("version", "")
        fresh = Criterion.objects.select_related("criteria_set").get(pk=obj.pk)
        services.criterion_update(
            actor=self.request.user,
            criterion=fresh,
            data=dict(form.cleaned_data),
            expected_version=int(raw) if raw.isdigit() else None,
        )
        return self.cancel_url(obj)
