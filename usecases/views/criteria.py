"""The scoring model: versions, their criteria, what a version changed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.access import get_permitted, require_global
from portal.core.errors import InvalidInput
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, UpdatePage, sent_version
from usecases import selectors_criteria as reads
from usecases import services
from usecases.choices import SetState
from usecases.criteria_forms import CriteriaSetForm, CriterionForm, PublishForm, ratio_words
from usecases.models import CriteriaSet, Criterion, ScoringRound
from usecases.services.criteria import inconsistent_levels
from usecases.tables import CriteriaSetTable

MAKE = "usecases.add_usecase"


def set_page(criteria_set: CriteriaSet, anchor: str = "") -> str:
    return reverse("usecases:criteria-set", args=[criteria_set.pk]) + (f"#{anchor}" if anchor else "")


def crumbs(criteria_set: CriteriaSet | None = None, here: str = "") -> list[tuple[str, str]]:
    trail = [(_("Scoring"), reverse("usecases:rounds")), (_("Criteria"), reverse("usecases:criteria-sets"))]
    if criteria_set is not None:
        trail.append((str(criteria_set), set_page(criteria_set) if here else ""))
    return [*trail, (here, "")] if here else trail


class CriteriaSetsPage(ListPage):
    title = gettext_lazy("Criteria")
    model = CriteriaSet
    table_class = CriteriaSetTable
    create_url_name = "usecases:criteria-set-create"
    create_label = gettext_lazy("New criteria")
    create_permission = MAKE

    @property
    def empty(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "title": _("No criteria yet"),
            "text": _("Begin with the standard: measurable ROI, operational feasibility, data maturity."),
            "icon": "scoring",
            "phase": 1,
            "action_url": self.create_url(),
            "action_label": _("New criteria"),
        }

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Scoring"), reverse("usecases:rounds")), (_("Criteria"), "")]


class CriteriaSetCreate(FormPage):
    title = gettext_lazy("New criteria")
    form_class = CriteriaSetForm
    submit_label = gettext_lazy("Create")

    def load(self, **kwargs: Any) -> None:
        require_global(self.request.user, MAKE, "create")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return crumbs(here=str(self.title))

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:criteria-sets")

    def save(self, obj: Any, form: Any) -> str:
        return set_page(services.criteria_set_create(actor=self.request.user, **form.cleaned_data))


class CriteriaSetPage(DetailPage):
    model = CriteriaSet
    template = "usecases/criteria_set.html"

    def actions(self, obj: CriteriaSet) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        if obj.state == SetState.DRAFT:
            return [
                {
                    "label": _("Throw away"),
                    "url": reverse("usecases:criteria-set-discard", args=[obj.pk]),
                    "danger": True,
                },
                {
                    "label": _("Add a criterion"),
                    "url": reverse("usecases:criterion-create", args=[obj.pk]),
                    "icon": "add",
                },
                {
                    "label": _("Publish"),
                    "url": reverse("usecases:criteria-set-publish", args=[obj.pk]),
                    "primary": True,
                },
            ]
        return [
            {
                "label": _("Edit"),
                "url": reverse("usecases:criteria-set-next", args=[obj.pk]),
                "method": "post",
                "primary": True,
            }
        ]

    def context(self, obj: CriteriaSet) -> dict[str, Any]:
        found = super().context(obj)
        return found | {"published_by": reads.published_by(found["history"])}

    def more(self, obj: CriteriaSet) -> dict[str, Any]:
        rows = list(obj.criteria.all())
        before = CriteriaSet.objects.filter(name=obj.name, number__lt=obj.number).order_by("-number").first()
        people = reads.people(obj)
        rounds = ScoringRound.objects.permitted(self.request.user, "view").filter(criteria_set=obj)
        return {
            "breadcrumbs": crumbs(obj),
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "tree": reads.told(rows),
            "top_weights": reads.weighed(obj, "", people),
            "level_weights": {row.key: reads.weighed(obj, row.key, people) for row in rows if row.parent_id is None},
            "editable": obj.state == SetState.DRAFT and self.may(obj, "change"),
            "contradictions": contradictions(obj, {row.key: row.name for row in rows}),
            "before": before,
            "changes": reads.changes(list(before.criteria.all()), rows) if before is not None else [],
            "rounds": list(rounds.order_by("-created_at")[:20]),
        }


def contradictions(criteria_set: CriteriaSet, names: dict[str, str]) -> list[dict[str, Any]]:
    """Per level whose answers in pairs contradict each other: the one to look at again and the value that would agree, in words."""
    found = []
    for key in inconsistent_levels(criteria_set):
        kept = criteria_set.weighting[key]
        again = kept["consistency"]["revisit"]
        first, second = (names.get(again[side], again[side]) for side in ("first", "second"))
        found.append(
            {
                "level": key,
                "name": names.get(key, "") if key else _("Top criteria"),
                "given": ratio_words(first, second, again["given"]),
                "step": ratio_words(first, second, again["step"]),
                "accepted": kept.get("accepted"),
                "url": f"{reverse('usecases:criteria-weights', args=[criteria_set.pk])}?parent={key}&method=ahp",
            }
        )
    return found


class CriteriaSetPublish(FormPage):
    title = gettext_lazy("Publish")
    form_class = PublishForm
    template = "usecases/criteria_publish.html"
    submit_label = gettext_lazy("Publish")
    success = gettext_lazy("Published. It never changes from now on.")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(CriteriaSet.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return PublishForm(data, contradicting=bool(inconsistent_levels(obj)))

    def cancel_url(self, obj: Any) -> str:
        return set_page(obj)

    def more(self, obj: CriteriaSet) -> dict[str, Any]:
        names = dict(obj.criteria.values_list("key", "name"))
        others = CriteriaSet.objects.filter(name=obj.name, state=SetState.PUBLISHED).exclude(pk=obj.pk)
        return {
            "title": _("Publish {name}").format(name=obj),
            "breadcrumbs": crumbs(obj, str(self.title)),
            "retires": list(others),
            "contradictions": contradictions(obj, names),
        }

    def save(self, obj: Any, form: Any) -> str:
        try:
            services.criteria_set_publish(actor=self.request.user, criteria_set=obj, **form.cleaned_data)
        except InvalidInput as error:
            names = dict(obj.criteria.values_list("key", "name"))
            rows = [
                row if row["field"] in form.fields else {"field": "", "message": _said(names, row)}
                for row in error.errors
            ]
            raise InvalidInput(rows, error.message) from error
        return set_page(obj)


def _said(names: dict[str, str], row: dict[str, Any]) -> str:
    return f"{names[row['field']]}: {row['message']}" if row["field"] in names else str(row["message"])


class CriteriaSetNext(ActionPage):
    """The draft of the next version: the one that is being edited already, or a new one."""

    model = CriteriaSet
    success = ""

    def act(self, obj: Any) -> str:
        draft = CriteriaSet.objects.filter(name=obj.name, state=SetState.DRAFT).order_by("-number").first()
        if draft is not None and draft.number > obj.number:
            messages.info(self.request, _("This version is being edited already; here is its draft."))
            return set_page(draft)
        made = services.criteria_set_next(actor=self.request.user, criteria_set=obj)
        messages.success(self.request, _("A draft of the next version; old rounds keep theirs."))
        return set_page(made)


class CriteriaSetDiscard(FormPage):
    title = gettext_lazy("Throw away the draft")
    form_class = PublishForm
    template = "generic/confirm.html"
    submit_label = gettext_lazy("Throw away")
    success = gettext_lazy("The draft is gone.")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(CriteriaSet.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return PublishForm(data, contradicting=False)

    def cancel_url(self, obj: Any) -> str:
        return set_page(obj)

    def more(self, obj: CriteriaSet) -> dict[str, Any]:
        return {
            "title": _("Throw away {name}").format(name=obj),
            "breadcrumbs": crumbs(obj, str(self.title)),
            "text": _("The draft and its criteria are deleted. Published versions and their rounds stay as they are."),
            "effects": [{"count": obj.criteria.count(), "label": _("criteria")}],
            "undo_text": _("A published version can be edited again at any time."),
        }

    def save(self, obj: Any, form: Any) -> str:
        services.criteria_set_delete(actor=self.request.user, criteria_set=obj)
        return reverse("usecases:criteria-sets")


class CriterionCreate(FormPage):
    title = gettext_lazy("New criterion")
    form_class = CriterionForm

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(CriteriaSet.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        key = self.request.GET.get("parent", "")[:40]
        parent = obj.criteria.filter(key=key, parent=None).first() if key else None
        return CriterionForm(
            data, criteria_set=obj, instance=Criterion(criteria_set=obj), initial={"parent": parent} if parent else {}
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"breadcrumbs": crumbs(obj, str(self.title))}

    def cancel_url(self, obj: Any) -> str:
        return set_page(obj)

    def save(self, obj: Any, form: Any) -> str:
        made = services.criterion_create(actor=self.request.user, criteria_set=obj, **form.data_of())
        return set_page(obj, f"c-{made.pk}")


class CriterionEdit(UpdatePage):
    title = gettext_lazy("Change criterion")
    model = Criterion
    form_class = CriterionForm

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        rows = Criterion.objects.select_related("criteria_set")
        return get_permitted(rows, self.request.user, pk, "change")

    def cancel_url(self, obj: Any) -> str:
        return set_page(obj.criteria_set, f"c-{obj.pk}")

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "version": self.request.POST.get("version") or obj.version,
            "breadcrumbs": crumbs(obj.criteria_set, str(self.title)),
        }

    def save(self, obj: Any, form: Any) -> str:
        fresh = Criterion.objects.select_related("criteria_set", "parent").get(pk=obj.pk)
        services.criterion_update(
            actor=self.request.user,
            criterion=fresh,
            data=form.data_of(),
            expected_version=sent_version(self.request),
        )
        return self.cancel_url(obj)


class CriterionMove(ActionPage):
    """``by`` is -1 (up) or 1 (down)."""

    model = Criterion
    success = ""

    def act(self, obj: Any) -> str:
        raw = self.request.POST.get("by", "")
        services.criterion_move(actor=self.request.user, criterion=obj, by=int(raw) if raw in {"-1", "1"} else 0)
        return set_page(obj.criteria_set, f"c-{obj.pk}")


class CriterionDelete(FormPage):
    title = gettext_lazy("Delete criterion")
    form_class = PublishForm
    template = "generic/confirm.html"
    success = gettext_lazy("Deleted.")

    def load(self, **kwargs: Any) -> Any:
        rows = Criterion.objects.select_related("criteria_set")
        return get_permitted(rows, self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return PublishForm(data, contradicting=False)

    def cancel_url(self, obj: Any) -> str:
        return set_page(obj.criteria_set, f"c-{obj.pk}")

    def more(self, obj: Criterion) -> dict[str, Any]:
        below = [str(child) for child in obj.children.all()]
        return {
            "title": _("Delete {name}").format(name=obj),
            "breadcrumbs": crumbs(obj.criteria_set, str(self.title)),
            "text": _(
                "The criterion leaves this draft; published versions keep it. The weights of its level are set anew."
            ),
            "effects": [{"count": None, "label": _("with it: {name}").format(name=name)} for name in below],
            "submit_label": _("Delete"),
        }

    def save(self, obj: Any, form: Any) -> str:
        services.criterion_delete(actor=self.request.user, criterion=obj)
        return set_page(obj.criteria_set)
